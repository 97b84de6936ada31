"""What a measurement needs beside the servers: tools that are built, children that end with us, a door that opens."""

import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
YARDSTICK = ROOT / "bench" / "yardstick"
BUILT = ROOT / "bench" / "bin"
RESULTS = ROOT / "bench" / "results"


def build() -> None:
    """Compile the yardstick's mock and load generator into `BUILT`, with the scripts that look for them beside them."""
    BUILT.mkdir(exist_ok=True)
    for name in ("mock", "loadgen"):
        source, target = YARDSTICK / f"{name}.c", BUILT / name
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            subprocess.check_call(["cc", "-O2", "-w", "-o", target, source, "-lm"])
    for file in ("bench.py", "versus.py", "body.json", "body_stream.json"):
        (BUILT / file).write_bytes((YARDSTICK / file).read_bytes())


@contextmanager
def process(command: Sequence[str], environ: Mapping[str, str], name: str) -> Iterator[int]:
    """A child's process id, while it runs. Raises `SystemExit` with its output when it ends at once."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, cwd=ROOT, env=dict(environ), stdout=log, stderr=log)
        try:
            time.sleep(0.5)
            if child.poll() is not None:
                log.seek(0)
                raise SystemExit(f"{name} ended:\n{log.read().decode()}")
            yield child.pid
        finally:
            child.terminate()
            child.wait()


def wait_ready(url: str, patience: float = 60) -> None:
    """Return when a GET of `url` succeeds. Raises `SystemExit` after `patience` seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + patience
    while True:
        try:
            opener.open(url, timeout=2).close()
            return
        except OSError as problem:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url}: not ready within {patience:g} s: {problem}") from None
            time.sleep(0.2)
