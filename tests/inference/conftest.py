"""A real inference server: `transformers serve` in a virtual environment of its own, with a model made on the spot."""

import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.process import end, free_ports, tail

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".test" / "inference"  # 1.2 GB; kept between runs
NEEDED = ("torch==2.13.0", "transformers[serving]==5.23.0")
START = 180.0  # seconds


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """The Python that has torch and transformers; installs them into `.test/inference` at the first run."""
    python = HOME / "bin" / "python"
    done = HOME / "installed"
    if not done.exists() or done.read_text() != "\n".join(NEEDED):
        venv.create(HOME, with_pip=True)
        install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *NEEDED]
        subprocess.run(install, check=True, stdout=sys.stderr)
        done.write_text("\n".join(NEEDED))
    return python


@pytest.fixture(scope="session")
def inference_server(interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that answers for a tiny Llama with random weights."""
    folder = tmp_path_factory.mktemp("inference")
    model, log = folder / "tiny-llama", folder / "server.log"
    # Nothing is looked up anywhere: the model is on this disk.
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "2"}
    environ.pop("PYTHONPATH", None)
    subprocess.run([interpreter, Path(__file__).with_name("tiny.py"), model], check=True, env=environ)
    (port,) = free_ports(1)
    command = [interpreter.with_name("transformers"), "serve", model.name, "--port", str(port), "--device", "cpu"]
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/health", child, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end(child, 15)


def _wait(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    last = time.monotonic() + START
    with httpx.Client(trust_env=False) as client:
        while child.poll() is None and time.monotonic() < last:
            try:
                client.get(url).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.2)
            else:
                return
    raise RuntimeError(f"transformers serve did not start:\n{tail(log)}")
