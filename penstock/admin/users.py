"""`penstock admin users`: users."""

from pathlib import Path
from typing import Any

import click

from api.management.users.bodies import NewUser, UserUpdate
from penstock.admin.desk import Desk, at_desk, team_named
from penstock.admin.fields import LIMIT, body, one, settable, table
from penstock.admin.running import AS_JSON, CONFIG

_COLUMNS = {
    "user": "user_id",
    "email": "user_email",
    "alias": "user_alias",
    "role": "user_role",
    "keys": "key_count",
    "models": "models",
    "spend": "spend",
    "budget": "max_budget",
}
_NAMES = {"id": "user_id", "email": "user_email", "alias": "user_alias", "role": "user_role"}
_settable = settable(
    NewUser,
    UserUpdate,
    email="The email.",
    alias="A name.",
    role="proxy_admin, proxy_admin_viewer, internal_user, internal_user_viewer …",
)


@click.group("users")
def users_group() -> None:
    """Users. A USER is named by the id."""


@users_group.command("list")
@CONFIG
@AS_JSON
@LIMIT
@click.option("--email", help="With this in the email.")
@click.option("--role", help="With this role.")
@click.option("--team", help="Members of this team, by its id or alias.")
def listing(
    path: Path | None, as_json: bool, limit: int, email: str | None, role: str | None, team: str | None
) -> None:
    """Users, the newest first."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        of = None if team is None else await team_named(desk, team)
        return await desk.pages("/user/list", "users", limit, user_email=email, role=role, team=of)

    table(at_desk(path, work), _COLUMNS, as_json=as_json)


@users_group.command("info")
@CONFIG
@AS_JSON
@click.argument("user")
def info(path: Path | None, as_json: bool, user: str) -> None:
    """All about a user; as JSON the user's keys and teams too."""

    async def work(desk: Desk) -> dict[str, Any]:
        found: dict[str, Any] = await desk.get("/user/info", user_id=user)
        return found if as_json else found["user_info"]

    one(at_desk(path, work), as_json=as_json)


@users_group.command("create")
@CONFIG
@AS_JSON
@click.option("--id", help="The user's id; else one is made.")
@click.option("--with-key", is_flag=True, help="Make a key too: it is shown this once.")
@_settable
def create(path: Path | None, as_json: bool, with_key: bool, others: tuple[str, ...], **options: str | None) -> None:
    """A new user.

    \b
    Example:
        penstock admin users create --id ann --email ann@example.com --role internal_user --max-budget 50
    """
    fields = {"auto_create_key": with_key, **body(options, others, **_NAMES)}

    async def work(desk: Desk) -> dict[str, Any]:
        made: dict[str, Any] = await desk.post("/user/new", fields)
        return made

    one(at_desk(path, work), as_json=as_json)
    if with_key:
        click.echo("The key is shown this once.", err=True)


@users_group.command("update")
@CONFIG
@AS_JSON
@click.argument("user")
@_settable
def update(path: Path | None, as_json: bool, user: str, others: tuple[str, ...], **options: str | None) -> None:
    """Change what is given of a user."""
    fields = body(options, others, **_NAMES)

    async def work(desk: Desk) -> dict[str, Any]:
        changed: dict[str, Any] = (await desk.post("/user/update", {**fields, "user_id": user}))["data"]
        return changed

    one(at_desk(path, work), as_json=as_json)


@users_group.command("delete")
@CONFIG
@AS_JSON
@click.argument("users", nargs=-1, required=True, metavar="USER...")
def delete(path: Path | None, as_json: bool, users: tuple[str, ...]) -> None:
    """Remove users, with their keys."""

    async def work(desk: Desk) -> dict[str, Any]:
        return {"deleted_users": await desk.post("/user/delete", {"user_ids": list(users)})}

    one(at_desk(path, work), as_json=as_json)
