"""docker-compose.yml and Dockerfile, without a container engine.

Each service's command runs as a local process with the file's own environment and secrets, on a RabbitMQ that has no
other users and permissions than the file gives it.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from broker.topology import ROLES
from schemas.config import Settings
from scripts.environment import UV
from tests.support.house import ROOT, Process, _bare, start
from tests.support.rabbitmq import private_rabbitmq

COMPOSE = ROOT / "docker-compose.yml"
FILE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ONE_SHOT = ("queues", "schema")
RUNNING = tuple(name for name in OURS if name not in ONE_SHOT)
SECRETS = "/run/secrets/"


def credentials(into: Path, **environ: str) -> dict[str, str]:
    """What deploy/credentials.py makes, by name."""
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    command = [sys.executable, "-S", str(ROOT / "deploy" / "credentials.py"), str(into)]
    said = subprocess.run(command, env={**kept, **environ}, check=True, capture_output=True, text=True).stdout
    found = {path.name: path.read_text() for path in into.iterdir()}
    assert not [name for name, value in found.items() if value.strip() and value.strip() in said]
    return found


def test_the_file_is_valid(tmp_path):
    """By Compose itself where its client is; what it would say of references, by us in any case."""
    client = shutil.which("docker")
    known = client and subprocess.run([client, "compose", "version"], capture_output=True, check=False).returncode == 0
    if client and known:
        checked = subprocess.run(
            [client, "compose", "--file", str(COMPOSE), "config", "--quiet"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        assert checked.returncode == 0, checked.stderr
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z]+:[0-9][0-9.]*", service["image"]), f"{name}: an image without a version"
        for needed in service.get("depends_on", {}):
            assert needed in SERVICES
        for secret in service.get("secrets", ()):
            assert FILE["secrets"][secret]["file"] == f"./deploy/secrets/{secret}"
        for volume in service.get("volumes", ()):
            source = re.sub(r"^\$\{[A-Z_]+:-([^}]+)\}", r"\1", volume).split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in FILE["volumes"], volume
        for value in service.get("environment", {}).values():
            if value.startswith(SECRETS):
                assert value.removeprefix(SECRETS) in service["secrets"], f"{name}: {value} is not mounted"


def test_no_secret_is_in_the_file():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if name.endswith(("_KEY", "_PASSWORD", "_URL")):
                assert not value, f"{name} should be {name}_FILE"
    assert not re.search(r"://[^/\s:]+:[^@\s]+@", COMPOSE.read_text())


def test_who_is_stopped_has_the_time_to_drain():
    ends_within = Settings().drain + 5 + 5  # what ran, the last words of what was stopped, the bus
    for name in RUNNING:
        assert float(OURS[name]["stop_grace_period"].removesuffix("s")) > ends_within


def test_there_is_a_worker_for_each_provider_of_the_configuration():
    config = yaml.safe_load((ROOT / "deploy" / "config.example.yaml").read_text())
    models = [entry["litellm_params"]["model"] for entry in config["model_list"]]
    wanted = {model.split("/")[0] if "/" in model else "openai" for model in models}
    assert {service["command"][1] for service in OURS.values() if service["command"][0] == "worker"} == wanted


def test_each_role_has_only_its_own_secrets():
    keys = {name: {s for s in service["secrets"] if s.endswith("api_key")} for name, service in OURS.items()}
    assert {name: found for name, found in keys.items() if found} == {
        "worker-openai": {"openai_api_key"},
        "worker-anthropic": {"anthropic_api_key"},
    }
    assert [name for name, service in OURS.items() if "master_key" in service["secrets"]] == ["api"]
    amqp = {name: {s for s in service["secrets"] if s.startswith("amqp_")} for name, service in OURS.items()}
    roles = {"queues": "setup"} | {name: OURS[name]["command"][0] for name in RUNNING}
    assert amqp == {name: {f"amqp_{roles[name]}"} if name in roles else set() for name in OURS}


def test_credentials_are_random_kept_and_never_said(tmp_path):
    first = credentials(tmp_path / "one", OPENAI_API_KEY="sk-openai-key")
    assert set(first) == set(FILE["secrets"])
    again = credentials(tmp_path / "one")
    definitions = "rabbitmq_definitions"  # its salts are new each time
    assert {**again, definitions: ""} == {**first, definitions: ""}
    other = credentials(tmp_path / "two")
    same = {name for name in first if first[name] == other[name]}
    assert same == {"anthropic_api_key"}
    assert (first["openai_api_key"], other["openai_api_key"]) == ("sk-openai-key\n", "")
    passwords = [urlsplit(value.strip()).password for name, value in first.items() if name.startswith("amqp_")]
    assert len(set(passwords)) == len(ROLES)
    assert all(password and password not in first[definitions] for password in passwords)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700


def test_the_image_is_built_as_the_repository_is():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"pip install --no-cache-dir {UV}\n" in dockerfile
    final = dockerfile.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.M)
    assert 'ENTRYPOINT ["penstock"]' in final
    assert "uv" not in re.findall(r"[a-z]+", final)
    copied = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / path).exists() for path in copied)
    packages = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= set(copied)


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Iterator[Path]:
    """The directory of the mounted secrets, as they lead to a RabbitMQ and a Postgres that run here."""
    secrets = tmp_path / "secrets"
    credentials(secrets)
    settings = (ROOT / "deploy" / "rabbitmq" / "rabbitmq.conf").read_text().replace(SECRETS, f"{secrets}/")
    with private_rabbitmq(settings=settings) as server:
        address = urlsplit(server.broker.base_url).netloc.rpartition("@")[2]
        for path in secrets.glob("amqp_*"):
            path.write_text(path.read_text().replace("@rabbitmq:5672/", f"@{address}/"))
        (secrets / "database_url").write_text(database_url)
        users = server.broker.ctl("list_users", "--no-table-headers").splitlines()
        assert {user.split()[0] for user in users} == {f"penstock-{role}" for role in ROLES}
        yield secrets


@pytest.mark.timeout(150)
async def test_every_service_runs_and_a_call_passes_through_them(place, tmp_path):
    for name in ONE_SHOT:
        code, said = await once(name, tmp_path)
        assert code == 0, f"{name}: {said}"
    async with everything(tmp_path) as running:
        await call(running["api"].base, (place / "master_key").read_text().strip())
        await add(running["api"].base, (place / "master_key").read_text().strip())
        for name, process in running.items():
            assert await health(str(process.pid)) == (0, ""), name
        for process in running.values():
            process.signal(signal.SIGTERM)
        codes = await asyncio.gather(*(process.exited() for process in running.values()))
    said = "".join(process.output() for process in running.values())
    assert codes == [0] * len(RUNNING), said
    leaked = [path.name for path in place.iterdir() if path.read_text().strip() and path.read_text().strip() in said]
    assert leaked == []


_NOT_READY = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if self.path == "/health/readiness" else 404)
        self.end_headers()
        self.wfile.write(b'{"reasons":{"queue":"blocked"}}')
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print("listening", flush=True)
server.serve_forever()
"""


async def test_who_is_not_ready_is_not_healthy():
    """The health check must be able to say no: here to what answers 503, to what is silent, and to who is gone."""
    refusing = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _NOT_READY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert await refusing.stdout.readline() == b"listening\n"
        assert await health(str(refusing.pid)) == (1, '{"reasons":{"queue":"blocked"}}\n')
    finally:
        refusing.kill()
        await refusing.communicate()
    silent = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        code, said = await health(str(silent.pid))
        assert (code, "nothing listens" in said) == (1, True)
    finally:
        silent.kill()
        await silent.wait()
    assert (await health(str(silent.pid)))[0] == 1


@asynccontextmanager
async def everything(tmp_path: Path) -> AsyncIterator[dict[str, Process]]:
    """Every service that keeps running, ready."""
    running: dict[str, Process] = {}

    async def begin(name: str) -> None:
        command = [*OURS[name]["command"], "--port", "0"]  # the last one counts
        running[name] = await start(name, *command, environ=environ(name, tmp_path), within=90)

    try:
        async with asyncio.TaskGroup() as starting:
            for name in RUNNING:
                starting.create_task(begin(name))
        yield running
    finally:
        for process in running.values():
            if process.process.returncode is None:
                process.kill()
                await process.exited()


def environ(name: str, tmp_path: Path) -> dict[str, str]:
    """A service's environment, with what would be mounted where it is on this machine."""
    state = tmp_path / "state" / name
    found = {}
    for key, value in OURS[name]["environment"].items():
        value = re.sub(r"^\$\{[A-Z_]+:-([^}]+)\}", r"\1", value)
        value = value.replace(SECRETS, f"{tmp_path}/secrets/").replace("/var/lib/penstock", str(state))
        found[key] = value.replace("/etc/penstock/config.yaml", str(ROOT / "deploy" / "config.example.yaml"))
    return found


async def once(name: str, tmp_path: Path) -> tuple[int | None, str]:
    """Run a one-shot service to its end."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("penstock")),
        *OURS[name]["command"],
        env={**_bare(), **environ(name, tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def call(base: str, key: str) -> None:
    """A call to the demo, and its row in the ledger."""
    base = base.replace("0.0.0.0", "127.0.0.1").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=20, trust_env=False) as client:
        body = {"model": "demo", "messages": [{"role": "user", "content": "through every container"}]}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert "through every container" in answer.json()["choices"][0]["message"]["content"]
        rows: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            while not rows:
                rows = (await client.get("/spend/logs")).raise_for_status().json()
                await asyncio.sleep(0.05)
        assert len(rows) == 1
        assert (rows[0]["status"], rows[0]["model_group"]) == ("success", "demo")


async def add(base: str, key: str) -> None:
    """A model that comes while all run: the users' permissions are enough for its queues."""
    base = base.replace("0.0.0.0", "127.0.0.1").removesuffix("/v1")
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
        params = {"model": "demo/demo", "extra_headers": {"x-key": "a secret header"}}
        for id in ("one", "two"):  # two, so that each has a queue of its own besides
            model = {"model_name": "later", "litellm_params": params, "model_info": {"id": id}}
            answer = await client.post("/model/new", json=model)
            assert answer.status_code == 200, answer.text
        for name in ("later", "one", "two"):
            body = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text


async def health(pid: str) -> tuple[int | None, str]:
    """What the container's health check says of a process."""
    check = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        str(ROOT / "deploy" / "healthcheck.py"),
        pid,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await check.communicate()
    return check.returncode, said.decode()
