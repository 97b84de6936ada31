"""The container's health, for every role alike: 0 when the process can do its work. Standard library only.

A process that listens (api, serve) is asked for its readiness. Any other (worker, accounting) is healthy while both
of its connections to RabbitMQ stand. What is looked at is process 1, or the one whose id is the first argument.
"""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

ESTABLISHED, LISTENING = "01", "0A"  # https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
_PORTS = {"amqp": 5672, "amqps": 5671}


class Socket(NamedTuple):
    """One TCP socket of the process."""

    state: str
    local_port: int
    remote_port: int


def main(pid: str = "1") -> int:
    """The exit code."""
    try:
        found = list(sockets(pid))
        trouble = _readiness(found) if any(s.state == LISTENING for s in found) else _connections(found)
    except OSError as error:
        trouble = str(error)
    if trouble:
        sys.stderr.write(f"{trouble}\n")
    return 1 if trouble else 0


def sockets(pid: str) -> Iterator[Socket]:
    """The TCP sockets that a process holds. Raises `OSError` when there is no such process of ours."""
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
            if columns[9] in mine:
                yield Socket(columns[3], _port(columns[1]), _port(columns[2]))


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _readiness(found: list[Socket]) -> str:
    port = next(s.local_port for s in found if s.state == LISTENING)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health/readiness", timeout=4):
            return ""
    except urllib.error.HTTPError as error:
        return error.read(2000).decode(errors="replace")


def _connections(found: list[Socket]) -> str:
    port = _amqp_port()
    standing = sum(s.state == ESTABLISHED and s.remote_port == port for s in found)
    return "" if standing >= 2 else f"{standing} of 2 connections to RabbitMQ (port {port})"


def _amqp_port() -> int:
    for name in ("PENSTOCK_AMQP_URL", "AMQP_URL"):
        path = os.environ.get(f"{name}_FILE")
        url = os.environ.get(name) or (Path(path).read_text(encoding="utf-8").strip() if path else "")
        if url:
            parts = urlsplit(url)
            return parts.port or _PORTS.get(parts.scheme, 5672)
    return _PORTS["amqp"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
