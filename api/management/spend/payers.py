"""Keys, users and teams by what they spent: `/spend/keys`, `/spend/users`, `/team/spend/by_user`; the global reset."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.management import profiles
from api.management.keys import shown as keys_shown
from api.management.office import Caller, Desk, answer, forbidden
from api.management.spend import scopes
from api.management.spend.bounds import Days, Ids, Text, needed
from api.management.spend.scopes import Asked
from api.management.spend.sight import Viewer
from ledger import tenants
from ledger.reports import Question, reading, sums
from ledger.standing import dearest_keys, dearest_users, reset
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["spend"])
_MOST = 10_000
_RESET = ("key", "team")

Limit = Annotated[int, Query(ge=1, le=_MOST)]
Offset = Annotated[int, Query(ge=0, le=10**9)]


class OfTeams(Days):
    """The query of `/team/spend/by_user`."""

    team_ids: Ids = None


@ROUTER.get("/spend/keys")
async def keys(view: Viewer, limit: Limit = 1000, offset: Offset = 0) -> Response:
    """Keys as `/key/list` shows them, the dearest first: all for who sees everything, else the caller's own."""
    user = view.access.caller.user
    if not view.access.reads_all and not user:
        return answer([])
    with view.office.reading() as pool:
        ids = await dearest_keys(pool, None if view.access.reads_all else user, limit, offset)
        return answer(await keys_shown.shown(pool, view.office, await tenants.in_order(pool, tenants.KEYS, ids)))


@ROUTER.get("/spend/users")
async def users(view: Viewer, user_id: Text = None, limit: Limit = 1000, offset: Offset = 0) -> Response:
    """Users, the dearest first, or the one that is named: any for who sees everything, else the caller."""
    user = view.access.caller.user
    if not view.access.reads_all:
        if not user:
            return answer([])
        if user_id is not None and user_id != user:
            raise forbidden("view spend for another user")
        user_id = user
    with view.office.reading() as pool:
        ids = [user_id] if user_id is not None else await dearest_users(pool, limit, offset)
        return answer(await profiles.shown(pool, view.office, await tenants.in_order(pool, tenants.USERS, ids)))


@ROUTER.get("/team/spend/by_user")
async def by_user(view: Viewer, query: Annotated[OfTeams, Query()]) -> Response:
    """What each user spent within teams: {start_date, end_date, results}, the dearest first.

    A member without rights to his team's reports finds his own spend alone.
    """
    since, until = needed(query.start_date, query.end_date)
    if not query.team_ids:
        raise Refused(Kind.INVALID_REQUEST, "Please provide team_ids", param="team_ids")
    whose = await scopes.of_teams(view, Asked(query.team_ids, None, None, None, 0))
    question = Question(("team", "user"), since, until, whose.scope.sight, team=whose.scope.entities)
    with view.office.reading() as pool:
        async with reading(pool) as connection:
            found = await sums(connection, question)
        people = await tenants.matching(
            pool, tenants.USERS, {"user_id": sorted({line.user or "" for line in found})}, limit=len(found) + 1
        )
    teams = await whose.names({line.team or "" for line in found})
    users = {row["user_id"]: row for row in people}
    results = [
        {
            "team_id": line.team,
            "team_alias": teams.get(line.team or "", {}).get("team_alias"),
            "user_id": line.user,
            "user_email": users.get(line.user or "", {}).get("user_email"),
            "user_alias": users.get(line.user or "", {}).get("user_alias"),
            "spend": line.spend,
            "prompt_tokens": line.prompt,
            "completion_tokens": line.completion,
            "total_tokens": line.tokens,
            "api_requests": line.requests,
            "successful_requests": line.successes,
            "failed_requests": line.failures,
        }
        for line in found
    ]
    return answer({"start_date": since, "end_date": until, "results": results})


@ROUTER.post("/global/spend/reset")
async def global_reset(desk: Desk, caller: Caller) -> Response:
    """Set what all keys and teams have spent to 0, in all and in the present windows of their budgets.

    The spend logs and every report stay as they are.
    """
    if not caller.is_admin:
        raise forbidden("reset spend")
    async with desk.change(caller) as change:
        count = await reset(change.connection, _RESET)
        await change.record("reset", "spend", "global", None, {"kinds": list(_RESET), "payers": count})
    return answer({"message": "Spend for all API Keys and Teams reset successfully", "status": "success"})
