"""What an administrator has changed, told to the processes that run."""

import click

from broker.port import Address, BusError, Message, Unroutable
from broker.rabbitmq import RabbitBus
from broker.topology import EVENTS
from penstock.admin.running import plan
from schemas.config import Config
from schemas.envelope import Changed, Event, ModelsChanged, pack

_AT_ONCE = 1000  # names in one event
_LATER = "Processes that are running see it within 60 s: "
_BY = "penstock admin"


async def tell(config: Config, names: frozenset[str], *, models: bool = False) -> None:
    """Have every process forget these (`key:<id>` …), and read the `models` again. A line on stderr when none hears."""
    ordered = sorted(names)
    events: list[Event] = [
        Changed(tuple(ordered[first : first + _AT_ONCE])) for first in range(0, len(ordered), _AT_ONCE)
    ]
    events += [ModelsChanged(_BY)] if models else []
    if not events:
        return
    if config.settings.amqp_url is None:
        click.echo(f"{_LATER}AMQP_URL is not set.", err=True)
        return
    try:
        await _publish(config.settings.amqp_url.get_secret_value(), config, events)
    except BusError as error:
        click.echo(f"{_LATER}{error}", err=True)


async def _publish(url: str, config: Config, events: list[Event]) -> None:
    bus = RabbitBus(url, plan(config), name=_BY, declare=False)
    await bus.open()
    try:
        for event in events:
            await bus.publish(Address(EVENTS, ""), Message(pack(event)))
    except Unroutable:
        pass  # nobody is running
    finally:
        await bus.close()
