"""`penstock admin migrate|topology|permissions|queues|spend`: setting up, and looking at queues and spend."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import get_args

import click

from broker.control import declare, inspect
from broker.topology import ROLES
from ledger.migrate import migrate
from ledger.spend import By, Sum, summary
from penstock.admin.running import AS_JSON, CONFIG, amqp, config, database, ledger, plan, run, show

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("migrate")
@CONFIG
def migrate_command(path: Path | None) -> None:
    """Bring the database at DATABASE_URL to this version's schema.

    \b
    Example:
        DATABASE_URL=postgresql://localhost/penstock penstock admin migrate
    """
    applied = run(migrate(database(config(path))))
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to do")


@click.command("topology")
@CONFIG
def topology_command(path: Path | None) -> None:
    """Declare exchanges and queues on RabbitMQ, for roles whose users may not.

    \b
    Example:
        AMQP_URL=amqp://setup:...@rabbitmq/ penstock admin topology --config config.yaml
    """
    found = config(path)
    queues = plan(found)
    run(declare(amqp(found), queues))
    click.echo(f"{len(queues.exchanges)} exchanges and {len(queues.queues)} queues are there")


@click.command("permissions")
@click.argument("role", type=click.Choice(sorted(ROLES)))
def permissions_command(role: str) -> None:
    """The RabbitMQ permissions that ROLE needs: configure, write, read, as `rabbitmqctl set_permissions` wants them.

    \b
    Example:
        rabbitmqctl set_permissions -p / penstock-api $(penstock admin permissions api)
    """
    needed = ROLES[role]
    click.echo(f"{needed.configure} {needed.write} {needed.read}")


@click.command("queues")
@CONFIG
@AS_JSON
def queues_command(path: Path | None, as_json: bool) -> None:
    """Messages and consumers of every queue.

    \b
    Example:
        penstock admin queues --config config.yaml --json
    """
    known = config(path)
    found = run(inspect(amqp(known), plan(known)))
    rows = [
        {"queue": name, **(asdict(q) if q else {"messages": "missing", "consumers": ""})} for name, q in found.items()
    ]
    show(rows, as_json=as_json)


@click.command("spend")
@CONFIG
@AS_JSON
@click.option("--by", type=click.Choice(get_args(By)), default="model", show_default=True)
@click.option("--since", type=_DAY, help="First day, UTC.")
@click.option("--until", type=_DAY, help="Last day, UTC.")
def spend_command(path: Path | None, as_json: bool, by: By, since: datetime | None, until: datetime | None) -> None:
    """Spend in US dollars, summed up by one dimension.

    \b
    Examples:
        penstock admin spend --by key --since 2026-11-01
        penstock admin spend --by day --json
    """
    lines = run(_spend(database(config(path)), by, since, until))
    rows = [{by: line.value, **{k: v for k, v in line._asdict().items() if k != "value"}} for line in lines]
    show([{k: format(v, "f") if k == "spend" else v for k, v in row.items()} for row in rows], as_json=as_json)


async def _spend(url: str, by: By, since: datetime | None, until: datetime | None) -> list[Sum]:
    async with ledger(url) as pool:
        return await summary(pool, by=by, since=since and since.date(), until=until and until.date())
