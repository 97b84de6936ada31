"""The container's health, for every role alike: 0 when the process says that it is ready. Standard library only.

It asks /health/readiness on the port that the process listens on: an API always does, a worker and accounting do with
`--port`. What is looked at is process 1, or the one whose id is the first argument.
"""

import sys
import urllib.error
import urllib.request
from pathlib import Path

_LISTENING = "0A"  # https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html


def main(pid: str = "1") -> int:
    """The exit code."""
    try:
        port = listening(pid)
        trouble = readiness(port) if port else "nothing listens: start workers and accounting with --port"
    except OSError as error:
        trouble = str(error)
    if trouble:
        sys.stderr.write(f"{trouble}\n")
    return 1 if trouble else 0


def listening(pid: str) -> int:
    """The TCP port that a process listens on, 0 if none. Raises `OSError` when there is no such process of ours."""
    mine = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = link.readlink().name
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            mine.add(target[8:-1])
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTENING and columns[9] in mine:
                return int(columns[1].rpartition(":")[2], 16)
    return 0


def readiness(port: int) -> str:
    """Why the process is not ready, or nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health/readiness", timeout=4):
            return ""
    except urllib.error.HTTPError as error:
        return error.read(2000).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
