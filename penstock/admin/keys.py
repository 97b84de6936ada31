"""`penstock admin keys`: virtual keys."""

import re
from pathlib import Path
from typing import Any

import click

from api.management.keys.bodies import KeyTerms
from penstock.admin.desk import Desk, at_desk, with_team
from penstock.admin.fields import LIMIT, body, one, settable, table
from penstock.admin.running import AS_JSON, CONFIG

_ID = re.compile(r"sk-.*|[0-9a-f]{64}", re.IGNORECASE | re.DOTALL)
_COLUMNS = {
    "alias": "key_alias",
    "key": "key_name",
    "user": "user_id",
    "team": "team_id",
    "models": "models",
    "spend": "spend",
    "budget": "max_budget",
    "expires": "expires",
    "blocked": "blocked",
    "id": "token",
}
_NAMES = {"alias": "key_alias", "user": "user_id", "team": "team_id", "organization": "organization_id"}
_settable = settable(
    KeyTerms,
    alias="A name.",
    user="The user's id.",
    team="The team's id or alias.",
    organization="The organization's id.",
    budget_id="A budget to have the terms of.",
    duration="How long the key works: 30d … (-1: for ever).",
    tags="Separated by commas.",
)


@click.group("keys")
def keys_group() -> None:
    """Virtual keys. A KEY is named by its id, its alias, or itself."""


@keys_group.command("list")
@CONFIG
@AS_JSON
@LIMIT
@click.option("--user", help="Of this user.")
@click.option("--team", help="Of this team, by its id or alias.")
@click.option("--alias", help="With this in the alias.")
def listing(
    path: Path | None, as_json: bool, limit: int, user: str | None, team: str | None, alias: str | None
) -> None:
    """Keys, the newest first."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        query = {"user_id": user, "team_id": team, "key_alias": alias, "substring_matching": True}
        query = await with_team(desk, query)
        return await desk.pages("/key/list", "keys", limit, return_full_object=True, **query)

    table(at_desk(path, work), _COLUMNS, as_json=as_json)


@keys_group.command("info")
@CONFIG
@AS_JSON
@click.argument("key")
def info(path: Path | None, as_json: bool, key: str) -> None:
    """All about a key."""

    async def work(desk: Desk) -> dict[str, Any]:
        found: dict[str, Any] = (await desk.get("/key/info", key=await _named(desk, key)))["info"]
        return found

    one(at_desk(path, work), as_json=as_json)


@keys_group.command("create")
@CONFIG
@AS_JSON
@_settable
def create(path: Path | None, as_json: bool, others: tuple[str, ...], **options: str | None) -> None:
    """A new key: it is shown this once.

    With the API's --config its defaults and bounds for new keys apply; without one there are none.

    \b
    Examples:
        penstock admin keys create --alias ci --team red --max-budget 10 --budget-duration 30d
        penstock admin keys create --user ann --set 'metadata={"cost_center": 7}' --json
        penstock admin keys create --alias ci --config config.yaml
    """
    fields = body(options, others, **_NAMES)
    if path is None:
        click.echo("No --config: upperbound_key_generate_params and the like do not apply.", err=True)

    async def work(desk: Desk) -> dict[str, Any]:
        made: dict[str, Any] = await desk.post("/key/generate", await with_team(desk, fields))
        return made

    _show_new(at_desk(path, work), as_json=as_json)


@keys_group.command("update")
@CONFIG
@AS_JSON
@click.argument("key")
@_settable
def update(path: Path | None, as_json: bool, key: str, others: tuple[str, ...], **options: str | None) -> None:
    """Change what is given of a key."""
    fields = body(options, others, **_NAMES)

    async def work(desk: Desk) -> dict[str, Any]:
        given = {**await with_team(desk, fields), "key": await _named(desk, key)}
        changed: dict[str, Any] = await desk.post("/key/update", given)
        return changed

    one(at_desk(path, work), as_json=as_json)


@keys_group.command("delete")
@CONFIG
@AS_JSON
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def delete(path: Path | None, as_json: bool, keys: tuple[str, ...]) -> None:
    """Remove keys."""

    async def work(desk: Desk) -> dict[str, Any]:
        named = [await _named(desk, key) for key in keys]
        gone: dict[str, Any] = await desk.post("/key/delete", {"keys": named})
        return gone

    one(at_desk(path, work), as_json=as_json)


@keys_group.command("block")
@CONFIG
@AS_JSON
@click.argument("key")
def block(path: Path | None, as_json: bool, key: str) -> None:
    """Refuse a key until it is unblocked."""
    one(_set_blocked(path, key, "/key/block"), as_json=as_json)


@keys_group.command("unblock")
@CONFIG
@AS_JSON
@click.argument("key")
def unblock(path: Path | None, as_json: bool, key: str) -> None:
    """Use a key again."""
    one(_set_blocked(path, key, "/key/unblock"), as_json=as_json)


@keys_group.command("rotate")
@CONFIG
@AS_JSON
@click.argument("key")
@click.option("--grace", help="How long the old secret still works: 24h …")
def rotate(path: Path | None, as_json: bool, key: str, grace: str | None) -> None:
    """A new secret for a key: it is shown this once."""

    async def work(desk: Desk) -> dict[str, Any]:
        fields = {"key": await _named(desk, key), **({} if grace is None else {"grace_period": grace})}
        made: dict[str, Any] = await desk.post("/key/regenerate", fields)
        return made

    _show_new(at_desk(path, work), as_json=as_json)


def _set_blocked(path: Path | None, key: str, route: str) -> dict[str, Any]:
    async def work(desk: Desk) -> dict[str, Any]:
        changed: dict[str, Any] = await desk.post(route, {"key": await _named(desk, key)})
        return changed

    return at_desk(path, work)


async def _named(desk: Desk, given: str) -> str:
    """What the routes know a key by. Raises `click.ClickException` when there is no key of that alias."""
    if _ID.fullmatch(given):
        return given
    found: list[str] = (await desk.get("/key/list", key_alias=given, size=1))["keys"]
    if not found:
        raise click.ClickException(f"There is no key with the alias '{given}'.")
    return found[0]


def _show_new(key: dict[str, Any], *, as_json: bool) -> None:
    one(key, as_json=as_json)
    click.echo("The key is shown this once.", err=True)
