"""A connection without a broker: what RabbitMQ would say is put into it byte by byte."""

import asyncio

import pytest
from pamqp import commands

from broker.amqp import wire
from broker.amqp.channel import Closed
from broker.amqp.connection import Connection, Options
from broker.amqp.endpoint import endpoint


async def test_as_many_channels_as_the_broker_allows_and_no_more() -> None:
    connection = Connection(endpoint("amqp://localhost"), Options("test"))
    connection.data_received(wire.method(commands.Connection.Tune(channel_max=2, frame_max=2**17, heartbeat=0), 0))
    for number in (1, 2):
        opening = asyncio.create_task(connection.channel())
        await asyncio.sleep(0)
        connection.data_received(wire.method(commands.Channel.OpenOk(), number))
        assert (await opening).number == number
    with pytest.raises(Closed, match="all 2 channels"):
        await connection.channel()
    connection.forget(1)
    opening = asyncio.create_task(connection.channel())
    await asyncio.sleep(0)
    connection.data_received(wire.method(commands.Channel.OpenOk(), 1))
    assert (await opening).number == 1
    connection.abort("done")
