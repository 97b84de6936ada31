"""`/team/{team_id}/callback`, `/team/{team_id}/disable_logging`: a team's callbacks, kept and not yet used."""

from typing import Any

from fastapi import APIRouter, Response

from api.management.fields import Name
from api.management.metadata import closed, masked
from api.management.office import Caller, Desk, answer
from api.management.rules import ForTeams
from api.management.teams.bodies import Callback
from api.management.teams.changing import changed
from api.management.teams.rights import managed
from api.management.teams.shown import one
from ledger.tenants import Row
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["teams"])


@ROUTER.post("/team/{team_id}/callback")
async def add_callback(team_id: Name, body: Callback, desk: Desk, caller: Caller, rules: ForTeams) -> Response:
    """Keep a callback; its credentials are sealed."""
    async with desk.change(caller) as change:
        before = await managed(change.connection, caller, team_id, lock=True, absent=Kind.INVALID_REQUEST)
        stored = before["metadata"]
        present = _logging(before)
        for one_there in present:
            if isinstance(one_there, dict) and _same(one_there, body):
                raise Refused(
                    Kind.INVALID_REQUEST, f"There is such a callback '{body.callback_name}'.", param="callback_name"
                )
        made = {name: getattr(body, name) for name in ("callback_name", "callback_type", "callback_vars")}
        metadata = closed({**stored, "logging": [*present, made]}, stored, rules.seal)
        found = await one(change.connection, desk, await changed(change, before, {"metadata": metadata}))
    return answer({"status": "success", "data": found})


@ROUTER.get("/team/{team_id}/callback")
async def callbacks(team_id: Name, desk: Desk, caller: Caller) -> Response:
    """The team's callbacks; credentials are masked."""
    with desk.reading() as pool:
        row = await managed(pool, caller, team_id)
    return answer({"status": "success", "data": {"team_id": team_id, **_effective(masked(row["metadata"]))}})


@ROUTER.post("/team/{team_id}/disable_logging")
async def disable_logging(team_id: Name, desk: Desk, caller: Caller) -> Response:
    """Forget the team's callbacks."""
    async with desk.change(caller) as change:
        before = await managed(change.connection, caller, team_id, lock=True)
        older = before["metadata"].get("callback_settings")
        settings = {**(older if isinstance(older, dict) else {}), "success_callback": [], "failure_callback": []}
        metadata = {**before["metadata"], "callback_settings": settings, "logging": []}
        await changed(change, before, {"metadata": metadata})
    return answer(
        {
            "status": "success",
            "message": f"Logging disabled for team {team_id}",
            "data": {"team_id": team_id, "success_callbacks": [], "failure_callbacks": []},
        }
    )


@ROUTER.delete("/team/{team_id}/callback/{callback_name}")
async def remove_callback(team_id: Name, callback_name: Name, desk: Desk, caller: Caller) -> Response:
    """Forget the callbacks with this name; those that are left."""
    async with desk.change(caller) as change:
        before = await managed(change.connection, caller, team_id, lock=True)
        present = _logging(before)
        left = [one_there for one_there in present if not _named(one_there, callback_name)]
        if len(left) == len(present):
            raise Refused(Kind.NOT_FOUND, f"There is no callback '{callback_name}'.", param="callback_name")
        row = await changed(change, before, {"metadata": {**before["metadata"], "logging": left}})
    found = _effective(masked(row["metadata"]))
    names = {name: found[name] for name in ("success_callbacks", "failure_callbacks")}
    said = f"Callback {callback_name} removed for team {team_id}"
    return answer({"status": "success", "message": said, "data": {"team_id": team_id, **names}})


def _logging(row: Row) -> list[Any]:
    found = row["metadata"].get("logging")
    return found if isinstance(found, list) else []


def _named(callback: Any, name: str) -> bool:
    return isinstance(callback, dict) and callback.get("callback_name") == name


def _same(stored: dict[str, Any], body: Callback) -> bool:
    return (stored.get("callback_name"), stored.get("callback_type")) == (body.callback_name, body.callback_type)


def _effective(metadata: dict[str, Any]) -> dict[str, Any]:
    """`logging`, and only without it the older `callback_settings`."""
    if not isinstance(logging := metadata.get("logging"), list):
        older = metadata.get("callback_settings")
        older = older if isinstance(older, dict) else {}
        return {
            "success_callbacks": older.get("success_callback") or [],
            "failure_callbacks": older.get("failure_callback") or [],
            "callback_vars": older.get("callback_vars") or {},
        }
    found: dict[str, Any] = {"success_callbacks": [], "failure_callbacks": [], "callback_vars": {}}
    for callback in logging:
        if not isinstance(callback, dict):
            continue
        for outcome in ("success", "failure"):
            names = found[f"{outcome}_callbacks"]
            if outcome in str(callback.get("callback_type")) and callback.get("callback_name") not in names:
                names.append(callback.get("callback_name"))
        if isinstance(variables := callback.get("callback_vars"), dict):
            found["callback_vars"] |= variables
    return found
