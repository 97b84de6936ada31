"""`make bench`: Penstock's roles as separate processes over RabbitMQ and Postgres, against a mock upstream in C.

    bench/run.py [--scenarios closed,open10,stream,…] [--rounds 3] [--peer NAME URL PID [HEADER …]]

Without a peer: CPU per request by process, latency added to the mock's own, overload (`bench/yardstick/bench.py`).
With one, which has `http://127.0.0.1:$MOCK_PORT/v1` as its upstream: ours and the peer in turn (`versus.py`).
Everything that it needs is built and started here, and ended again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.processes import BUILT, RESULTS, build, process, wait_ready  # noqa: E402 (the repository is not installed)
from tests.support.postgres import private_postgres  # noqa: E402
from tests.support.process import free_ports  # noqa: E402
from tests.support.rabbitmq import private_rabbitmq  # noqa: E402

KEY = "sk-bench-0123456789"


def main() -> int:
    """Build, start, measure, end."""
    args = _arguments()
    build()
    with ExitStack() as stack:
        free_port, api_port = free_ports(2)
        mock_port = int(os.environ.get("MOCK_PORT", free_port))  # a peer must know it
        rabbit, postgres = stack.enter_context(private_rabbitmq()), stack.enter_context(private_postgres())
        stack.enter_context(process([str(BUILT / "mock"), str(mock_port)], dict(os.environ), "mock"))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
        environ = {
            **os.environ,
            "AMQP_URL": rabbit.broker.url(),
            "DATABASE_URL": postgres.postgres.url(),
            "PENSTOCK_MASTER_KEY": KEY,
            "PENSTOCK_STATE_DIR": folder,
            "PENSTOCK_CONFIG": str(_config(Path(folder), mock_port)),
        }
        pids = {"rabbit": rabbit.pid, "postgres": postgres.pid}
        for role, options in (("accounting", []), ("worker", []), ("api", ["--port", str(api_port)])):
            command = [sys.executable, "-m", "penstock", role, *options]
            pids[role] = stack.enter_context(process(command, environ, role))
        wait_ready(f"http://127.0.0.1:{api_port}/health/readiness")
        return subprocess.call(_measurement(args, api_port, pids), env={**environ, "MOCK_PORT": str(mock_port)})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="closed,open10,open,stream,paced,slow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", nargs="+", metavar="NAME URL PID [HEADER ...]")
    return parser.parse_args()


def _config(folder: Path, mock_port: int) -> Path:
    path = folder / "config.yaml"
    params = {"model": "openai/gpt-4o-mini", "api_base": f"http://127.0.0.1:{mock_port}/v1", "api_key": "sk-mock"}
    path.write_text(json.dumps({"model_list": [{"model_name": "gpt-4o-mini", "litellm_params": params}]}))
    return path


def _measurement(args: argparse.Namespace, api_port: int, pids: dict[str, int]) -> list[str]:
    base = f"http://127.0.0.1:{api_port}/v1"
    groups = ",".join(f"{name}={pid}" for name, pid in pids.items())
    header = f"Authorization: Bearer {KEY}"
    if args.peer:
        ours = ["--target", "penstock", base, groups, header]
        return [sys.executable, str(BUILT / "versus.py"), *ours, "--target", *args.peer, "--rounds", str(args.rounds)]
    return [
        *(sys.executable, str(BUILT / "bench.py"), "--target", "penstock", "--base-url", base, "--pids", groups),
        *("--header", header, "--reps", str(args.rounds), "--scenarios", args.scenarios),
        *("--out", str(RESULTS / "penstock.json")),
    ]


if __name__ == "__main__":
    sys.exit(main())
