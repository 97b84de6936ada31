"""LiteLLM's own client code for keys works unchanged, over a real socket."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from api.management.office import Office
from ledger.pool import Pool
from penstock.serving import HttpServer
from schemas.access import Access
from schemas.failures import Kind, Refused
from tests.support.keys import key_bureau
from tests.support.office import ADMIN

MASTER = "sk-master-of-this-test"
DRIVER = Path(__file__).with_name("litellm_keys_driver.py")


async def driven(port: int, home: Path) -> Any:
    """What LiteLLM's client and command line say of the server at this port."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1"}
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched from the network
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        DRIVER,
        f"http://127.0.0.1:{port}",
        MASTER,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return json.loads(said.splitlines()[-1])


@pytest.mark.timeout(180)  # LiteLLM takes long to import on a busy machine
async def test_litellms_client_and_command_line(pool: Pool, tmp_path: Path) -> None:
    async def admit(request: Request) -> Access:
        if request.headers.get("authorization") != f"Bearer {MASTER}":
            raise Refused(Kind.UNAUTHENTICATED, "Authentication Error, Invalid API key provided.")
        return ADMIN

    async with key_bureau(pool) as bureau:
        bureau.application.state.office = Office(pool, admit, bureau.told.append)
        server = HttpServer(bureau.application, "127.0.0.1", 0, drain=1)
        await server.start()
        try:
            said = await driven(server.port, tmp_path)
        finally:
            await server.stop()
    client, cli = said["client"], said["cli"]
    made, id = client["made"], client["made"]["token"]
    assert made["key"].startswith("sk-")
    assert (made["spend"], made["models"], made["aliases"], made["config"]) == (1.5, ["m"], {"a": "m"}, {"x": 1})
    assert (client["updated"]["key"], client["updated"]["spend"]) == (made["key"], 0.5)
    assert [(one["token"], one["key_alias"], one["user_id"]) for one in client["listed"]["keys"]] == [
        (id, "second", "v")
    ]
    assert client["told"]["info"]["models"] == ["n"]
    assert client["deleted"] == {"deleted_keys": [made["key"]]}
    assert client["refused"] is True
    assert cli["made"]["models"] == ["m", "n"]
    assert "Showing 1 keys out of 1" in cli["table"]
    assert "cli" in cli["table"]
    assert [one["token"] for one in cli["listed"]["keys"]] == [cli["made"]["token"]]
    assert "Found 1 keys" in cli["imported"]
    assert cli["deleted"] == {"deleted_keys": ["cli"]}
