"""`penstock admin teams members|add-member|update-member|remove-member`: who is in a team, with which terms."""

from pathlib import Path
from typing import Any

import click

from penstock.admin.desk import Desk, at_desk, team_named
from penstock.admin.fields import body, table
from penstock.admin.running import AS_JSON, CONFIG

_COLUMNS = {
    "user": "user_id",
    "role": "role",
    "spend": "spend",
    "budget": "max_budget",
    "period": "budget_duration",
    "rpm": "rpm_limit",
    "tpm": "tpm_limit",
    "models": "allowed_models",
}
_NAMES = {"max_budget": "max_budget_in_team", "models": "allowed_models"}
_BUDGET = click.option("--max-budget", help="US dollars that a member may spend in the team. `none` takes it away.")
_PERIOD = click.option("--budget-duration", help="After which the budget begins anew. `none` takes it away.")
_MODELS = click.option("--models", help="Of the team's, that a member may call, separated by commas.")
_TEAM = click.argument("team")


def member(given: str) -> dict[str, str]:
    """`ann`, or `ann:admin`, as a field of a request."""
    user, colon, role = given.rpartition(":")
    if colon and role in ("admin", "user"):
        return {"user_id": user, "role": role}
    return {"user_id": given, "role": "user"}


@click.command("members")
@CONFIG
@AS_JSON
@_TEAM
def members_command(path: Path | None, as_json: bool, team: str) -> None:
    """The members of a team, with their budgets and limits there."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        return await _members(desk, await team_named(desk, team))

    table(at_desk(path, work), _COLUMNS, as_json=as_json)


@click.command("add-member")
@CONFIG
@AS_JSON
@_TEAM
@click.argument("users", nargs=-1, required=True, metavar="USER[:admin]...")
@_BUDGET
@_PERIOD
@_MODELS
def add_member_command(
    path: Path | None, as_json: bool, team: str, users: tuple[str, ...], **options: str | None
) -> None:
    """Put users into a team, each with these terms; then all members.

    \b
    Example:
        penstock admin teams add-member red ann:admin bob --max-budget 10 --budget-duration 30d
    """
    fields = {**body(options, (), **_NAMES), "member": [member(one) for one in users]}
    _change(path, team, "/team/member_add", [fields], as_json=as_json)


@click.command("update-member")
@CONFIG
@AS_JSON
@_TEAM
@click.argument("user")
@click.option("--role", type=click.Choice(("admin", "user")))
@_BUDGET
@_PERIOD
@_MODELS
@click.option("--rpm-limit", help="Requests a minute. `none` takes it away.")
@click.option("--tpm-limit", help="Tokens a minute. `none` takes it away.")
def update_member_command(path: Path | None, as_json: bool, team: str, user: str, **options: str | None) -> None:
    """Change what is given of a member; then all members.

    \b
    Example:
        penstock admin teams update-member red bob --role admin --max-budget 25
    """
    fields = {**body(options, (), **_NAMES), "user_id": user}
    _change(path, team, "/team/member_update", [fields], as_json=as_json)


@click.command("remove-member")
@CONFIG
@AS_JSON
@_TEAM
@click.argument("users", nargs=-1, required=True, metavar="USER...")
def remove_member_command(path: Path | None, as_json: bool, team: str, users: tuple[str, ...]) -> None:
    """Take users out of a team, and their keys of it away; then all members."""
    _change(path, team, "/team/member_delete", [{"user_id": user} for user in users], as_json=as_json)


def _change(path: Path | None, team: str, route: str, bodies: list[dict[str, Any]], *, as_json: bool) -> None:
    async def work(desk: Desk) -> list[dict[str, Any]]:
        team_id = await team_named(desk, team)
        for fields in bodies:
            await desk.post(route, {**fields, "team_id": team_id})
        return await _members(desk, team_id)

    table(at_desk(path, work), _COLUMNS, as_json=as_json)


async def _members(desk: Desk, team_id: str) -> list[dict[str, Any]]:
    found = (await desk.get("/team/info", team_id=team_id))["team_memberships"]
    return [{**(one["litellm_budget_table"] or {}), **one} for one in found]
