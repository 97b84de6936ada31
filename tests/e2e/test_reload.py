"""Models and a configuration that change while two API processes and two workers run, over RabbitMQ."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e import wire
from tests.e2e.conftest import deployment
from tests.e2e.stand import ONLY_THE_TEST, urls
from tests.support import upstream as up
from tests.support.house import House, Process, separate, write
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitMQ
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), ONLY_THE_TEST]
ASK = {"messages": [{"role": "user", "content": "Say hello."}]}
SECRET = "sk-of-a-model-0123456789abcdef"
APIS, WORKERS = ("api0", "api1"), 2


class Scene:
    """The system, its upstream, and the file that it reads."""

    def __init__(self, house: House, upstream: Upstream, folder: Path, environ: dict[str, str]) -> None:
        self.house, self.upstream, self.folder, self.environ = house, upstream, folder, environ

    def http(self, api: str = "api0") -> httpx.AsyncClient:
        """A client of an API process."""
        return self.house.client(base=self.house.processes[api].base)

    def model(self, name: str, **params: Any) -> dict[str, Any]:
        """What `/model/new` wants."""
        return {
            "model_name": name,
            "litellm_params": {
                "model": "openai/up",
                "api_base": self.upstream.url + "/v1",
                "api_key": SECRET,
                **params,
            },
            "model_info": {"id": f"id-{name}"},
        }

    def file(self, *names: str, **sections: Any) -> dict[str, Any]:
        """A configuration with these models."""
        listed = [deployment(name, "openai/filed", self.upstream.url + "/v1") for name in ("always", *names)]
        return {"model_list": listed, **sections}

    async def change(self, path: str, **body: Any) -> Any:
        """A management call at the first API process."""
        async with self.http() as http:
            return (await http.post(path, json=body)).raise_for_status().json()

    async def asked(self, api: str, model: str) -> httpx.Response:
        """The answer to a chat."""
        async with self.http(api) as http:
            return await http.post("/v1/chat/completions", json={"model": model, **ASK})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    rabbitmq: RabbitMQ, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with Upstream() as upstream:
        with urls(rabbitmq, postgres) as environ:
            environ["PENSTOCK_SALT_KEY"] = "a salt of the tests"
            folder = tmp_path_factory.mktemp("reload")
            config = Scene(House("", {}), upstream, folder, environ).file()
            async with separate(config, folder, workers=WORKERS, apis=2, **environ) as house:
                yield Scene(house, upstream, folder, environ)


@pytest.fixture
def scene(shared: Scene) -> Scene:
    """With the file as it was at first, and nothing asked of the upstream yet."""
    shared.upstream.requests.clear()
    shared.upstream.script(up.raw(wire.ANSWER))
    write(shared.file(), shared.folder)
    return shared


async def becomes(what: Callable[[], Any], wanted: Callable[[Any], bool], within: float = 5.0) -> Any:
    """What an asynchronous look gives once it is as wanted."""
    async with asyncio.timeout(within):
        while True:
            found = await what()
            if wanted(found):
                return found
            await asyncio.sleep(0.02)


async def listed(scene: Scene, api: str) -> set[str]:
    async with scene.http(api) as http:
        return {model["id"] for model in (await http.get("/v1/models")).json()["data"]}


async def serving(scene: Scene, api: str, deployment: str) -> int:
    """How many workers serve the deployment, as the API process knows."""
    workers = await scene.house.knows(WORKERS, api)
    return sum(any(row["deployment"] == deployment for row in rows) for rows in workers.values())


async def test_a_new_model_is_there_at_once_and_everywhere_within_a_second(scene: Scene, postgres: Postgres) -> None:
    row = await scene.change("/model/new", **scene.model("fresh"))
    assert (await scene.asked("api0", "fresh")).content == wire.ANSWER
    answer = await becomes(lambda: scene.asked("api1", "fresh"), lambda answer: answer.status_code == 200, within=1)
    assert answer.content == wire.ANSWER
    for api in APIS:
        await becomes(lambda api=api: serving(scene, api, "id-fresh"), lambda count: count == WORKERS)
        assert "fresh" in await listed(scene, api)
    assert {call.headers["authorization"] for call in scene.upstream.requests} == {f"Bearer {SECRET}"}
    kept = postgres.run("select * from models; select * from audit_log", scene.environ["DATABASE_URL"].rsplit("/")[-1])
    assert "id-fresh" in kept
    said = "".join(process.output() for process in scene.house.processes.values())
    assert SECRET not in str(row) + kept + said
    await scene.change("/model/delete", id="id-fresh")


async def test_a_removed_model_is_gone_and_its_running_call_ends_as_it_began(scene: Scene) -> None:
    await scene.change("/model/new", **scene.model("passing"))
    gate = asyncio.Event()
    scene.upstream.script(up.chunked([gate, wire.ANSWER], "application/json"))
    running = asyncio.create_task(scene.asked("api0", "passing"))
    await scene.upstream.received(1)
    await scene.change("/model/delete", id="id-passing")
    for api in APIS:
        answer = await becomes(lambda api=api: scene.asked(api, "passing"), lambda answer: answer.status_code == 404)
        assert answer.json()["error"]["code"] == "model_not_found"
        await becomes(lambda api=api: serving(scene, api, "id-passing"), lambda count: count == 0)
    gate.set()
    assert (await running).content == wire.ANSWER


async def test_what_waits_for_a_model_that_is_removed_is_told_or_falls_back(scene: Scene) -> None:
    write(scene.file(router_settings={"fallbacks": [{"scarce": ["always"]}]}), scene.folder)
    await scene.change("/config/reload")
    for name in ("scarce", "rare"):
        await scene.change("/model/new", **scene.model(name, rpm=1))
    asked = {name: [asyncio.create_task(scene.asked("api0", name)) for _ in range(5)] for name in ("scarce", "rare")}
    async with scene.http() as http:

        async def waiting() -> list[Any]:
            lines = (await http.get("/health")).json()["lines"]
            return [line for line in lines if line["waiting"] + line["queued"]]

        await becomes(waiting, lambda lines: len(lines) == 2, within=10)
    for name in ("scarce", "rare"):
        await scene.change("/model/delete", id=f"id-{name}")
    fallen = await asyncio.gather(*asked["scarce"])
    assert {answer.status_code for answer in fallen} == {200}
    assert "always" in {answer.headers["x-litellm-model-group"] for answer in fallen}
    refused = [answer for answer in await asyncio.gather(*asked["rare"]) if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert answer.status_code == 503
        assert "was removed" in answer.json()["error"]["message"]


async def test_a_changed_key_and_a_second_deployment_count_for_the_next_call(scene: Scene) -> None:
    await scene.change("/model/new", **scene.model("growing"))
    await scene.change(
        "/model/update", model_info={"id": "id-growing"}, litellm_params={"api_key": "sk-another-key-0123456789"}
    )

    async def key() -> str:
        await scene.asked("api1", "growing")
        return str(scene.upstream.requests[-1].headers["authorization"])

    await becomes(key, lambda key: key == "Bearer sk-another-key-0123456789")
    second = scene.model("growing")
    second["model_info"] = {"id": "id-second"}
    await scene.change("/model/new", **second)
    for api in APIS:
        await becomes(lambda api=api: serving(scene, api, "id-second"), lambda count: count == WORKERS)

    async def keys() -> set[str]:
        scene.upstream.requests.clear()
        answers = await asyncio.gather(*(scene.asked("api1", "growing") for _ in range(12)))
        assert {answer.status_code for answer in answers} == {200}
        return {call.headers["authorization"] for call in scene.upstream.requests}

    await becomes(keys, lambda keys: len(keys) == 2, within=10)
    for id in ("id-growing", "id-second"):
        await scene.change("/model/delete", id=id)


async def test_a_credential_counts_in_every_process(scene: Scene) -> None:
    await scene.change("/credentials", credential_name="ours", credential_values={"api_key": SECRET})
    model = scene.model("credited", api_key=None, litellm_credential_name="ours")
    await scene.change("/model/new", **model)

    async def key() -> str:
        answer = await scene.asked("api1", "credited")
        return str(scene.upstream.requests[-1].headers["authorization"]) if answer.status_code == 200 else ""

    await becomes(key, lambda key: key == f"Bearer {SECRET}")
    async with scene.http() as http:
        changed = await http.patch("/credentials/ours", json={"credential_values": {"api_key": f"{SECRET}-2"}})
        assert changed.status_code == 200
        await becomes(key, lambda key: key == f"Bearer {SECRET}-2")
        await scene.change("/model/delete", id="id-credited")
        assert (await http.delete("/credentials/ours")).status_code == 200


async def test_a_reload_over_http_reaches_every_process(scene: Scene) -> None:
    write(scene.file("later", penstock={"stream_gap": 100}), scene.folder)
    answer = await scene.change("/config/reload")
    assert [model["model_name"] for model in answer["models"]["added"]] == ["later"]
    assert answer["ignored_until_restart"] == ["stream_gap"]
    for api in APIS:
        assert (await becomes(lambda api=api: scene.asked(api, "later"), lambda a: a.status_code == 200)).content
    write(scene.file(), scene.folder)
    answer = await scene.change("/config/reload")
    assert [model["model_name"] for model in answer["models"]["removed"]] == ["later"]
    for api in APIS:
        await becomes(lambda api=api: listed(scene, api), lambda names: "later" not in names)


async def test_rules_of_who_may_call_count_in_every_process_with_the_reload(scene: Scene) -> None:
    async def statuses(api: str) -> tuple[int, int]:
        async with scene.http(api) as http:
            made = await http.post("/key/generate", json={"rpm_limit": 9})
            return (await http.get("/team/list")).status_code, made.status_code

    for api in APIS:
        assert await statuses(api) == (200, 200)
    rules = {
        "general_settings": {"allowed_routes": ["llm_api_routes", "/key", "/config", "/health"]},
        "litellm_settings": {"upperbound_key_generate_params": {"rpm_limit": 5}},
    }
    write(scene.file(**rules), scene.folder)
    assert (await scene.change("/config/reload"))["ignored_until_restart"] == []
    for api in APIS:
        await becomes(lambda api=api: statuses(api), lambda found: found == (403, 400))
    write(scene.file(**rules) | {"litellm_settings": {"default_team_params": 7}}, scene.folder)
    async with scene.http() as http:
        assert (await http.post("/config/reload")).status_code == 400
    assert await statuses("api0") == (403, 400)
    write(scene.file(), scene.folder)
    await scene.change("/config/reload")
    for api in APIS:
        await becomes(lambda api=api: statuses(api), lambda found: found == (200, 200))


async def test_no_request_is_lost_while_the_configuration_changes(scene: Scene) -> None:
    stop, statuses = asyncio.Event(), list[tuple[int, str]]()

    async def use(api: str) -> None:
        async with scene.http(api) as http:
            while not stop.is_set():
                answer = await http.post("/v1/chat/completions", json={"model": "always", **ASK})
                statuses.append((answer.status_code, answer.text[:200]))

    async def path() -> str:
        return "".join(call.path for call in scene.upstream.requests[-1:])

    users = [asyncio.create_task(use(api)) for api in APIS for _ in range(4)]
    for number in range(4):  # each time another deployment in place of the one before
        config = scene.file()
        config["model_list"][0]["litellm_params"]["api_base"] += f"/{number}"
        write(config, scene.folder)
        answer = await scene.change("/config/reload")
        assert (len(answer["models"]["added"]), len(answer["models"]["removed"])) == (1, 1)
        await becomes(path, lambda path, number=number: f"/{number}/" in path)
    stop.set()
    await asyncio.gather(*users)
    assert [found for found in statuses if found[0] != 200] == []
    write(scene.file(), scene.folder)
    await scene.change("/config/reload")


async def test_a_hangup_signal_makes_a_process_read_its_file(scene: Scene) -> None:
    write(scene.file("hung-up"), scene.folder)
    processes = [one for name, one in scene.house.processes.items() if name != "accounting"]
    for process in processes:
        process.signal(signal.SIGHUP)
    for api in APIS:
        assert (await becomes(lambda api=api: scene.asked(api, "hung-up"), lambda a: a.status_code == 200)).content
    write(scene.file(), scene.folder)
    for process in processes:
        process.signal(signal.SIGHUP)
    for api in APIS:
        await becomes(lambda api=api: listed(scene, api), lambda names: "hung-up" not in names)


async def test_a_bad_file_changes_nothing_and_says_why(scene: Scene) -> None:
    (scene.folder / "config.yaml").write_text(
        "model_list:\n- model_name: broken\n  litellm_params: {model: openai/x, rpm: many}\n"
    )
    async with scene.http() as http:
        refused = await http.post("/config/reload")
    assert refused.status_code == 400
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}
    assert "config.yaml:3: model_list[0].litellm_params.rpm" in refused.json()["error"]["message"]
    worker: Process = scene.house.processes["worker0"]
    worker.signal(signal.SIGHUP)

    async def said() -> str:
        return worker.output()

    await becomes(said, lambda text: "has errors and stays as it was" in text)
    for api in APIS:
        assert (await scene.asked(api, "always")).content == wire.ANSWER


async def test_who_missed_the_news_reads_them_when_the_bus_is_back(scene: Scene) -> None:
    async with Proxy(scene.environ["AMQP_URL"]) as proxy:
        own = {"AMQP_URL": proxy.url}
        api = await scene.house.add("api2", "api", "--port", "0", **own)
        worker = await scene.house.add("worker2", "worker", **own)
        try:
            await scene.house.knows(WORKERS + 1, "api2")
            proxy.refusing = True
            proxy.cut()
            await scene.change("/model/new", **scene.model("missed"))
            assert "missed" not in await listed(scene, "api2")
            proxy.refusing = False

            async def both() -> int:
                workers = await scene.house.knows(WORKERS + 1, "api2")
                return sum(any(row["deployment"] == "id-missed" for row in rows) for rows in workers.values())

            await becomes(both, lambda count: count == WORKERS + 1, within=15)
            answer = await becomes(lambda: scene.asked("api2", "missed"), lambda a: a.status_code == 200, within=15)
            assert answer.content == wire.ANSWER
            await scene.change("/model/delete", id="id-missed")
        finally:
            for process in (scene.house.processes.pop("api2"), scene.house.processes.pop("worker2")):
                assert process in (api, worker)
                await process.stop()
