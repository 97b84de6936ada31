"""Health of the roles that have no API: what an orchestrator asks a worker and an accounting consumer."""

from pathlib import Path

import httpx
import pytest

from ledger.pool import Pool
from tests.support.house import MASTER_KEY, start, write
from tests.support.postgres import private_postgres

CONFIG = {"model_list": [{"model_name": "demo", "litellm_params": {"model": "demo/demo"}}]}


def _get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=10)


@pytest.mark.parametrize("role", ["worker", "accounting"])
async def test_a_role_without_an_api_answers_probes_where_it_is_told_to(
    role: str, amqp_url: str, pool: Pool, database_url: str, tmp_path: Path
) -> None:
    processes = "SELECT count(*) FROM recorded"
    environ = {
        "AMQP_URL": amqp_url,
        "DATABASE_URL": database_url,
        "PENSTOCK_CONFIG": str(write(CONFIG, tmp_path)),
        "PENSTOCK_STATE_DIR": str(tmp_path / "state"),
    }
    process = await start(role, role, "--port", "0", environ=environ)
    try:
        live, ready = _get(f"{process.base}/liveliness"), _get(f"{process.base}/readiness")
        assert (live.status_code, ready.status_code) == (200, 200)
        assert ready.json()["status"] == "healthy"
        other = _get(process.base.replace("/health", "/v1/models"))
        assert other.status_code == 404
        assert set(other.json()["error"]) == {"message", "type", "param", "code"}
        assert await pool.fetchval(processes) == (role == "accounting")
    finally:
        assert await process.stop() == 0
    assert await pool.fetchval(processes) == 0, "nobody waits for the word of one that has ended"


async def test_readiness_says_what_is_missing(amqp_url: str, tmp_path: Path) -> None:
    with private_postgres() as server:
        environ = {
            "AMQP_URL": amqp_url,
            "DATABASE_URL": server.postgres.url(),
            "PENSTOCK_MASTER_KEY": MASTER_KEY,
            "PENSTOCK_CONFIG": str(write(CONFIG, tmp_path)),
            "PENSTOCK_STATE_DIR": str(tmp_path / "state"),
        }
        process = await start("api", "api", "--port", "0", environ=environ)
        try:
            health = process.base.replace("/v1", "/health")
            assert _get(f"{health}/readiness").status_code == 200
            server.stop()
            answer = _get(f"{health}/readiness")
            assert answer.status_code == 503
            assert list(answer.json()["reasons"]) == ["ledger"]
            assert _get(f"{health}/liveliness").status_code == 200
        finally:
            assert await process.stop() == 0
