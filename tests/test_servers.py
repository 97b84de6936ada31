"""The test servers themselves: what the fixtures promise to everybody else."""

import fcntl
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import aio_pika
import asyncpg
import pytest

from tests.support.postgres import Postgres, private_postgres
from tests.support.rabbitmq import RabbitMQ


async def test_a_vhost_and_a_database_per_test(amqp_url: str, database_url: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue("q", durable=True)
    database = await asyncpg.connect(database_url)
    assert await database.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
    await database.close()


async def test_tls_of_both(rabbitmq: RabbitMQ, postgres: Postgres) -> None:
    if not rabbitmq.tls_base_url or not postgres.tls_base_url:
        pytest.fail("unset AMQP_URL and DATABASE_URL: the servers given have no TLS that is known here")
    connection = await aio_pika.connect(
        rabbitmq.tls_url(), ssl_context=ssl.create_default_context(cafile=rabbitmq.cafile)
    )
    await connection.close()
    context = ssl.create_default_context(cafile=postgres.cafile)
    database = await asyncpg.connect(postgres.tls_url(), ssl=context)
    assert await database.fetchval("select length($1)", "x" * 1_000_000) == 1_000_000
    await database.close()


async def test_a_private_postgres_is_killed_and_comes_back() -> None:
    with private_postgres() as server:
        server.postgres.run("create table kept (n int); insert into kept values (1)")
        server.kill()
        server.start()
        assert server.postgres.run("select n from kept").strip() == "1"


def test_a_run_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    code = (
        "import os, time\nfrom tests.support import process, servers\nrun = servers.Run()\n"
        "print(servers.shared_postgres().base_url, os.environ[process.RUN], flush=True)\ntime.sleep(60)\n"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PENSTOCK_TEST_RUN")}
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    assert run.stdout is not None
    with run.stdout as said:
        url, directory = said.readline().split()
    kept = Path(directory) / "postgres.kept"
    assert Postgres(url).run("select 1").strip() == "1"
    run.send_signal(signal.SIGKILL)
    run.wait()
    with kept.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
    assert not kept.exists()
    with pytest.raises(RuntimeError, match="psql"):
        Postgres(url).run("select 1")
