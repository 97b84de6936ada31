"""`penstock admin`: what an operator does beside running the roles."""

import click

from penstock.admin.importing import import_group
from penstock.admin.keys import keys_group
from penstock.admin.operations import (
    migrate_command,
    permissions_command,
    queues_command,
    spend_command,
    topology_command,
)
from penstock.admin.teams import teams_group
from penstock.admin.users import users_group


@click.group()
def admin() -> None:
    """Migrate the database, declare the queues, look at queues and spend, manage keys, teams and users."""


for _command in (
    migrate_command,
    topology_command,
    permissions_command,
    queues_command,
    spend_command,
    keys_group,
    teams_group,
    users_group,
    import_group,
):
    admin.add_command(_command)
