"""What a process keeps when it has to stop at a bad moment."""

from pathlib import Path

from tests.support.house import serving
from tests.support.postgres import private_postgres

CONFIG = {"model_list": [{"model_name": "demo", "litellm_params": {"model": "demo/demo"}}]}
BODY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


async def test_serve_without_rabbitmq_keeps_rows_that_postgres_could_not_take(tmp_path: Path) -> None:
    with private_postgres() as server:
        url = server.postgres.url()
        async with serving(CONFIG, tmp_path, DATABASE_URL=url) as house, house.client() as client:
            server.stop()
            for _ in range(3):
                assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200
        server.start()
        async with serving(CONFIG, tmp_path, DATABASE_URL=url) as house:
            assert {row["status"] for row in await house.rows(3)} == {"success"}
