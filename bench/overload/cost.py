"""What pacing costs on the request path: on and off in the same build, measured in turn with the yardstick's tools.

Two complete sets of roles stand side by side, each with its own vhost and database, with limits far above the load.
"""

import asyncio
import json
import os
import random
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.overload.figures import Figure, at_most, bootstrap, told
from bench.overload.observation import Outcome
from bench.overload.stage import COUNT_CPU, GROUP, Servers, own_place
from bench.processes import BUILT, build, process
from tests.support.house import MASTER_KEY, House, separate
from tests.support.process import free_ports

CONNECTIONS = 32
RPM = 10_000_000
BLOCK = 8  # rounds, of on and off each, until both sets are started anew
TAIL = 0.3  # seconds after a round for what is accounted later
WARMUP = 3.0  # seconds of load before the first round: lazy imports, pools
BOUND = 0.1  # ms of CPU per request
ON, OFF = "on", "off"


class Round(NamedTuple):
    """One measurement of one set. `cpu` has ms per request by process, `told` is what the load generator said."""

    pacing: str
    total: float
    cpu: dict[str, float]
    told: dict[str, float]


async def cost(on: Servers, rounds: int, seconds: float, seed: int) -> Outcome:
    """`rounds` times on and off, in the order ABBA, `seconds` each."""
    build()
    (port,) = free_ports(1)
    measured: list[Round] = []
    with process([str(BUILT / "mock"), str(port)], os.environ, "mock"):
        for first in range(0, rounds, BLOCK):
            turns = [(ON, OFF), (OFF, ON)] * (BLOCK // 2)
            measured += await _block(on, port, turns[: rounds - first], seconds)
    return Outcome(_figures(measured, seed), [{"name": "cost", "rounds": [one._asdict() for one in measured]}])


async def _block(on: Servers, port: int, turns: list[tuple[str, str]], seconds: float) -> list[Round]:
    """Rounds on two sets started for them, so that one process's luck is not taken for what pacing costs."""
    async with _house(on, port, ON) as paced, _house(on, port, OFF) as plain:
        houses = {ON: paced, OFF: plain}
        for house in houses.values():
            await load(house, WARMUP)
        return [await _round(on, pacing, houses[pacing], seconds) for turn in turns for pacing in turn]


def _figures(measured: list[Round], seed: int) -> list[Figure]:
    by = {pacing: [one for one in measured if one.pacing == pacing] for pacing in (ON, OFF)}
    differences = [a.total - b.total for a, b in zip(by[ON], by[OFF], strict=True)]
    bound = bootstrap(differences, random.Random(seed))
    return [
        told("rounds", len(differences)),
        *(
            told(f"CPU ms per request, pacing {pacing}", statistics.median(r.total for r in by[pacing]))
            for pacing in by
        ),
        *(
            told(f"requests per second, pacing {pacing}", statistics.median(r.told["rps"] for r in by[pacing]))
            for pacing in by
        ),
        told("median of the paired differences, ms", bound.median),
        at_most("its upper 90 % bound, ms", bound.upper90, BOUND),
        told("its upper 95 % bound, ms", bound.upper95),
        *(told(f"median difference in {name}, ms", value) for name, value in _by_process(by).items()),
        at_most("requests not answered 200", sum(failed(one.told) for one in measured), 0),
    ]


def _by_process(by: dict[str, list[Round]]) -> dict[str, float]:
    return {
        name: statistics.median(a.cpu[name] - b.cpu[name] for a, b in zip(by[ON], by[OFF], strict=True))
        for name in by[ON][0].cpu
    }


def failed(said: dict[str, float]) -> float:
    """Requests that were not answered as they should have been."""
    return sum(said[kind] for kind in ("bad200", "s429", "s4xx", "s5xx", "connerr", "timeout"))


@asynccontextmanager
async def _house(on: Servers, port: int, pacing: str) -> AsyncIterator[House]:
    params = {"model": f"openai/{GROUP}", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "sk-mock", "rpm": RPM}
    config = {"model_list": [{"model_name": GROUP, "litellm_params": params}]}
    with own_place(on) as urls, tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        switch = {**urls, "PENSTOCK_PACING": "true" if pacing == ON else "false"}
        async with separate(config, Path(folder), 1, 1, **switch) as house:
            yield house


async def _round(on: Servers, pacing: str, house: House, seconds: float) -> Round:
    pids = {**on.pids(), **{name: one.pid for name, one in house.processes.items()}}
    groups = {name: [pid] for name, pid in pids.items()}
    before = COUNT_CPU(groups)
    said = await load(house, seconds)
    await asyncio.sleep(TAIL)
    after = COUNT_CPU(groups)
    done = max(1.0, said["sent_all"] - said["connerr"])
    cpu = {name: (after[name] - before[name]) * 1000 / done for name in groups}
    return Round(pacing, sum(cpu.values()), cpu, said)


async def load(house: House, seconds: float, *options: str) -> dict[str, float]:
    """Load for some seconds; what the load generator says. Without options it comes with the master key."""
    url = house.base.removesuffix("/v1").rstrip("/") + "/v1/chat/completions"
    child = await asyncio.create_subprocess_exec(
        *(BUILT / "loadgen", "-u", url, "-B", BUILT / "body.json"),
        *(options or ("-H", f"Authorization: Bearer {MASTER_KEY}")),
        *("-c", str(CONNECTIONS), "-d", f"{seconds:g}", "-w", "0.3", "-t", "30"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds + 60):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    told_by_it: dict[str, Any] = json.loads(output)
    return {name: float(value) for name, value in told_by_it.items()}
