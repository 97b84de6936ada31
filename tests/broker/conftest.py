"""A bus on RabbitMQ whose connections go through a proxy that can break them."""

from collections.abc import AsyncIterator

import pytest

from broker import control
from broker.rabbitmq import RabbitBus
from broker.topology import topology
from tests.support.proxy import Proxy

TOPOLOGY = topology(("a",), 64 * 2**20)


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    """In front of a vhost that has the topology."""
    await control.declare(amqp_url, TOPOLOGY)
    async with Proxy(amqp_url) as proxy:
        yield proxy


@pytest.fixture
async def bus(proxy: Proxy) -> AsyncIterator[RabbitBus]:
    """Declares nothing, so that `proxy.lines` are its two connections: the publishing one, the consuming one."""
    bus = RabbitBus(proxy.url, TOPOLOGY, name="broken", declare=False, heartbeat=1, goodbye=1)
    await bus.open()
    yield bus
    await bus.close()
