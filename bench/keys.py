"""`make bench-keys`: what a virtual key with a budget and limits costs on the request path, against the master key.

    python -m bench.keys [--rounds 12] [--seconds 5] [--stored 1000000] [--used 10000]

One set of roles; rounds with either key in turn (ABBA), CPU of all processes per request. Then the same with `used`
keys in turn out of `stored` ones.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from bench.overload.cost import TAIL, WARMUP, failed, load
from bench.overload.figures import Figure, at_most, bootstrap, told
from bench.overload.stage import COUNT_CPU, GROUP, Servers, own_place, servers
from bench.processes import BUILT, build, process
from ledger.pepper import pepper
from ledger.pool import Pool, open_pool
from tests.support.house import MASTER_KEY, House, separate
from tests.support.process import free_ports

BOUND = 0.1  # ms of CPU per request
MASTER, KEY, KEYS = "master", "one key", "many keys"
_STORE = """
WITH made AS (
    INSERT INTO virtual_keys (key_id, key_name, max_budget, rpm_limit, tpm_limit)
    SELECT hash, 'sk-...', 1000000, 100000000, 1000000000 FROM unnest($1::text[]) AS hash RETURNING key_id
)
INSERT INTO key_hashes (hash, key_id) SELECT key_id, key_id FROM made
"""
_FILL = """
WITH made AS (
    INSERT INTO virtual_keys (key_id, key_name, max_budget)
    SELECT encode(sha256(n::text::bytea), 'hex'), 'sk-...', 1 FROM generate_series(1, $1) AS n RETURNING key_id
)
INSERT INTO key_hashes (hash, key_id) SELECT key_id, key_id FROM made
"""


async def main() -> int:
    """Start, measure, print."""
    args = _arguments()
    build()
    (port,) = free_ports(1)
    params = {"model": f"openai/{GROUP}", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "sk-mock"}
    params |= {"input_cost_per_token": 1e-7, "output_cost_per_token": 4e-7}
    config = {"model_list": [{"model_name": GROUP, "litellm_params": params}]}
    async with AsyncExitStack() as stack:
        stack.enter_context(process([str(BUILT / "mock"), str(port)], dict(os.environ), "mock"))
        on = stack.enter_context(servers())
        urls = stack.enter_context(own_place(on))
        on.postgres.postgres.run("ALTER SYSTEM SET track_functions = 'pl'")
        on.postgres.postgres.run("SELECT pg_reload_conf()")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        house = await stack.enter_async_context(separate(config, folder, 1, 1, **urls))
        pool = await open_pool(urls["DATABASE_URL"])
        stack.push_async_callback(pool.close)
        figures = await _measured(args, on, house, pool, folder)
    print("\n".join(figure.line() for figure in figures))
    return int(any(figure.ok is False for figure in figures))


async def _measured(args: argparse.Namespace, on: Servers, house: House, pool: Pool, folder: Path) -> list[Figure]:
    salt = await pepper(pool, None)
    keys = [f"sk-{random.Random(n).randbytes(20).hex()}" for n in range(args.used)]
    await pool.execute(_STORE, [salt.hash(key.encode()) for key in keys])
    (folder / "keys").write_text("".join(f"{key}\n" for key in keys))
    await pool.execute("ANALYZE")
    one = ["-H", f"Authorization: Bearer {keys[0]}"]
    figures = await _against_master(args, on, house, pool, KEY, one)
    await pool.execute(_FILL, args.stored - args.used, timeout=600)
    await pool.execute("ANALYZE")
    return figures + await _against_master(args, on, house, pool, KEYS, [*one, "-K", str(folder / "keys")])


async def _against_master(
    args: argparse.Namespace, on: Servers, house: House, pool: Pool, name: str, with_key: list[str]
) -> list[Figure]:
    options = {MASTER: ["-H", f"Authorization: Bearer {MASTER_KEY}"], name: with_key}
    for which, option in options.items():  # until each key has been used more than once
        await load(house, max(WARMUP, 0.004 * args.used if which == KEYS else 0), *option)
    found: dict[str, list[float]] = {which: [] for which in options}
    statements, calls = -await _statements(pool), 0.0
    parts: dict[str, list[dict[str, float]]] = {which: [] for which in options}
    wrong = 0.0
    for turn in range(args.rounds):
        for which in (MASTER, name) if turn % 2 else (name, MASTER):
            cpu, bad, done = await _round(on, house, args.seconds, options[which])
            calls += done if which == name else 0
            found[which].append(sum(cpu.values()))
            parts[which].append(cpu)
            wrong += bad
    differences = [a - b for a, b in zip(found[name], found[MASTER], strict=True)]
    bound = bootstrap(differences, random.Random(1))
    return [
        told(f"CPU ms per request, {MASTER}", statistics.median(found[MASTER])),
        told(f"CPU ms per request, {name}", statistics.median(found[name])),
        told(f"{name}: median of the paired differences, ms", bound.median),
        at_most(f"{name}: its upper 90 % bound, ms", bound.upper90, BOUND),
        *(
            told(
                f"{name}: median difference in {part}, ms",
                statistics.median(a[part] - b[part] for a, b in zip(parts[name], parts[MASTER], strict=True)),
            )
            for part in parts[name][0]
        ),
        told(f"{name}: lease statements per request", (statements + await _statements(pool)) / calls),
        at_most(f"{name}: requests not answered 200", wrong, 0),
    ]


async def _statements(pool: Pool) -> int:
    """How often leases were asked for so far."""
    await pool.execute("SELECT pg_stat_force_next_flush()")
    said = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions WHERE funcname = 'lease_budgets'"
    found: int = await pool.fetchval(said)
    return found


async def _round(
    on: Servers, house: House, seconds: float, options: list[str]
) -> tuple[dict[str, float], float, float]:
    groups = {name: [pid] for name, pid in {**on.pids(), **{n: one.pid for n, one in house.processes.items()}}.items()}
    before = COUNT_CPU(groups)
    said = await load(house, seconds, *options)
    await asyncio.sleep(TAIL)
    after = COUNT_CPU(groups)
    done = max(1.0, said["sent_all"] - said["connerr"])
    return {name: (after[name] - before[name]) * 1000 / done for name in groups}, failed(said), done


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--used", type=int, default=10_000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
