import ssl
import time

import pytest

from ledger.pool import address, connect, ledger_needed, open_pool, reachable
from schemas.failures import Kind, Refused
from tests.support.postgres import Postgres
from tests.support.process import free_ports


@pytest.mark.parametrize(
    ("given", "dsn", "options"),
    [
        ("postgresql://u:p@h:5/d", "postgresql://u:p@h:5/d", {}),
        (
            "postgres://u:p%40@h/d?sslmode=verify-full&sslrootcert=%2Fca.pem",
            "postgres://u:p%40@h/d?sslmode=verify-full&sslrootcert=%2Fca.pem",
            {},
        ),
        ("postgresql+asyncpg://h/d", "postgresql://h/d", {}),
        (
            "postgresql://h/d?connection_limit=10&pool_timeout=60&sslmode=require",
            "postgresql://h/d?sslmode=require",
            {},
        ),
        ("postgresql://h/d?schema=llm", "postgresql://h/d", {"server_settings": {"search_path": "llm"}}),
        ("postgresql://h/d?pgbouncer=true", "postgresql://h/d", {"statement_cache_size": 0}),
        ("postgresql://h/d?connect_timeout=3", "postgresql://h/d", {"timeout": 3.0}),
    ],
)
def test_addresses(given: str, dsn: str, options: dict[str, object]) -> None:
    assert address(given) == (dsn, options)


def test_the_systems_certificates() -> None:
    dsn, options = address("postgresql://h/d?sslmode=verify-full&sslrootcert=system")
    assert dsn == "postgresql://h/d"
    assert options["ssl"].verify_mode is ssl.CERT_REQUIRED
    assert options["ssl"].check_hostname


async def test_nobody_there() -> None:
    (port,) = free_ports(1)
    pool = await open_pool(f"postgresql://ann:s3cret@127.0.0.1:{port}/x")
    trouble = await reachable(pool)
    assert trouble is not None
    assert trouble.startswith("ledger: ")
    assert "s3cret" not in trouble
    with pytest.raises(Refused) as refused, ledger_needed():
        await pool.fetchval("SELECT 1")
    assert refused.value.failure.kind is Kind.LEDGER_DOWN
    assert "s3cret" not in refused.value.failure.message
    await pool.close()


async def test_a_pool_outlives_the_servers_restart(database_url: str, postgres: Postgres) -> None:
    pool = await open_pool(database_url)
    assert await reachable(pool) is None
    pid = await pool.fetchval("SELECT pg_backend_pid()")
    postgres.run(f"SELECT pg_terminate_backend({pid}, 5000)")
    with pytest.raises(Refused), ledger_needed():
        await pool.fetchval("SELECT 1")
    assert await reachable(pool) is None
    await pool.close()


async def test_a_busy_pool_is_reported_in_time(database_url: str) -> None:
    pool = await open_pool(database_url, size=1)
    async with pool.acquire():
        begun = time.monotonic()
        assert await reachable(pool, 0.05) == "ledger: no answer within 0.05 s"
        assert time.monotonic() - begun < 5
    await pool.close()


async def test_other_errors_pass(database_url: str) -> None:
    pool = await open_pool(database_url)
    with pytest.raises(Exception, match="does not exist"), ledger_needed():
        await pool.fetchval("SELECT * FROM nowhere")
    await pool.close()


async def test_tls_checks_the_certificate(postgres: Postgres) -> None:
    if not postgres.tls_base_url:
        return
    connection = await connect(f"{postgres.tls_url()}?sslmode=verify-full&sslrootcert={postgres.cafile}")
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    with pytest.raises(Refused), ledger_needed():
        await connect(f"{postgres.tls_url()}?sslmode=verify-full&sslrootcert=system")
