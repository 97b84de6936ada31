"""`penstock admin`: what an operator does beside running the roles."""

import click

from penstock.admin.importing import import_group
from penstock.admin.operations import (
    migrate_command,
    permissions_command,
    queues_command,
    spend_command,
    topology_command,
)


@click.group()
def admin() -> None:
    """Migrate the database, declare the queues, look at queues and spend, move over from LiteLLM."""


for _command in (
    migrate_command,
    topology_command,
    permissions_command,
    queues_command,
    spend_command,
    import_group,
):
    admin.add_command(_command)
