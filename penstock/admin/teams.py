"""`penstock admin teams`: teams."""

from pathlib import Path
from typing import Any

import click

from api.management.teams.bodies import NewTeam
from penstock.admin.desk import Desk, at_desk, team_named
from penstock.admin.fields import LIMIT, body, one, settable, table
from penstock.admin.members import (
    add_member_command,
    member,
    members_command,
    remove_member_command,
    update_member_command,
)
from penstock.admin.running import AS_JSON, CONFIG

_COLUMNS = {
    "team": "team_id",
    "alias": "team_alias",
    "organization": "organization_id",
    "members": "members_count",
    "keys": "keys_count",
    "models": "models",
    "spend": "spend",
    "budget": "max_budget",
    "blocked": "blocked",
}
_NAMES = {"id": "team_id", "alias": "team_alias", "organization": "organization_id"}
_settable = settable(NewTeam, alias="A name.", organization="The organization's id.")


@click.group("teams")
def teams_group() -> None:
    """Teams. A TEAM is named by its id or its alias, which no other may have as either."""


@teams_group.command("list")
@CONFIG
@AS_JSON
@LIMIT
@click.option("--user", help="That this user is a member of.")
@click.option("--organization", help="Of this organization.")
@click.option("--alias", help="With this in the alias.")
def listing(
    path: Path | None, as_json: bool, limit: int, user: str | None, organization: str | None, alias: str | None
) -> None:
    """Teams, the newest first."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        query = {"user_id": user, "organization_id": organization, "team_alias": alias}
        return await desk.pages("/v2/team/list", "teams", limit, **query)

    table(at_desk(path, work), _COLUMNS, as_json=as_json)


@teams_group.command("info")
@CONFIG
@AS_JSON
@click.argument("team")
def info(path: Path | None, as_json: bool, team: str) -> None:
    """All about a team; as JSON its keys and members too."""

    async def work(desk: Desk) -> dict[str, Any]:
        found: dict[str, Any] = await desk.get("/team/info", team_id=await team_named(desk, team))
        return found if as_json else found["team_info"]

    one(at_desk(path, work), as_json=as_json)


@teams_group.command("create")
@CONFIG
@AS_JSON
@click.option("--id", help="The team's id; else one is made.")
@click.option("--member", "members", multiple=True, metavar="USER[:admin]", help="A member, by the user's id.")
@_settable
def create(
    path: Path | None, as_json: bool, members: tuple[str, ...], others: tuple[str, ...], **options: str | None
) -> None:
    """A new team.

    \b
    Example:
        penstock admin teams create --alias red --member ann:admin --member bob --max-budget 100 --budget-duration 30d
    """
    fields = body(options, others, **_NAMES)
    if members:
        fields["members_with_roles"] = [member(one) for one in members]

    async def work(desk: Desk) -> dict[str, Any]:
        made: dict[str, Any] = await desk.post("/team/new", fields)
        return made

    one(at_desk(path, work), as_json=as_json)


@teams_group.command("update")
@CONFIG
@AS_JSON
@click.argument("team")
@_settable
def update(path: Path | None, as_json: bool, team: str, others: tuple[str, ...], **options: str | None) -> None:
    """Change what is given of a team."""
    fields = body(options, others, **_NAMES)

    async def work(desk: Desk) -> dict[str, Any]:
        given = {**fields, "team_id": await team_named(desk, team)}
        changed: dict[str, Any] = (await desk.post("/team/update", given))["data"]
        return changed

    one(at_desk(path, work), as_json=as_json)


@teams_group.command("delete")
@CONFIG
@AS_JSON
@click.argument("teams", nargs=-1, required=True, metavar="TEAM...")
def delete(path: Path | None, as_json: bool, teams: tuple[str, ...]) -> None:
    """Remove teams, with their keys."""

    async def work(desk: Desk) -> dict[str, Any]:
        named = [await team_named(desk, team) for team in teams]
        gone: dict[str, Any] = await desk.post("/team/delete", {"team_ids": named})
        return gone

    one(at_desk(path, work), as_json=as_json)


@teams_group.command("block")
@CONFIG
@AS_JSON
@click.argument("team")
def block(path: Path | None, as_json: bool, team: str) -> None:
    """Refuse all keys of a team until it is unblocked."""
    one(_set_blocked(path, team, "/team/block"), as_json=as_json)


@teams_group.command("unblock")
@CONFIG
@AS_JSON
@click.argument("team")
def unblock(path: Path | None, as_json: bool, team: str) -> None:
    """Use the keys of a team again."""
    one(_set_blocked(path, team, "/team/unblock"), as_json=as_json)


def _set_blocked(path: Path | None, team: str, route: str) -> dict[str, Any]:
    async def work(desk: Desk) -> dict[str, Any]:
        changed: dict[str, Any] = await desk.post(route, {"team_id": await team_named(desk, team)})
        return changed

    return at_desk(path, work)


for _command in (members_command, add_member_command, update_member_command, remove_member_command):
    teams_group.add_command(_command)
