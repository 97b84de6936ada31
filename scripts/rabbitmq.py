"""Installs Debian's RabbitMQ for the tests when it is missing, without starting it. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
POLICY = Path("/usr/sbin/policy-rc.d")  # Debian's word on which services a package may start


def next_step(environ: Mapping[str, str], *, installed: bool, root: bool, apt: bool) -> str:
    """`nothing`, `install`, or the sentence that says why the tests cannot run."""
    if environ.get("AMQP_URL") or installed:
        return "nothing"
    if root and apt:
        return "install"
    return (
        "The tests need RabbitMQ: run `apt-get install rabbitmq-server` as root (it need not be started), "
        "or set AMQP_URL to one that may be used."
    )


@contextmanager
def no_service_starts(policy: Path = POLICY) -> Iterator[None]:
    """Forbid packages to start services meanwhile; a policy that is already there comes back afterwards."""
    saved = policy.with_name(policy.name + ".before-penstock")
    if policy.exists():
        policy.rename(saved)
    try:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)
        if saved.exists():
            saved.rename(policy)


def install() -> None:
    """apt-get update and install. Raises `subprocess.CalledProcessError`."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    subprocess.run([*apt, "update"], env=environ, check=True)
    packages = ["rabbitmq-server", "erlang-base"]  # erlang-base has erl_call
    with no_service_starts():
        subprocess.run([*apt, "-y", "--no-install-recommends", "install", *packages], env=environ, check=True)


def main() -> int:
    """Install when needed; 1 with one sentence when that cannot be done."""
    apt = shutil.which("apt-get") is not None
    step = next_step(os.environ, installed=SERVER.exists(), root=os.geteuid() == 0, apt=apt)
    if step == "install":
        print("Installing rabbitmq-server for the tests …", flush=True)
        install()
    elif step != "nothing":
        print(step)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
