"""Makes `.venv` from `uv.lock`: `python3 scripts/environment.py [--group NAME …]`. Standard library only.

uv comes from pip, into `.bootstrap`; what pip is told about indexes and certificates, uv is told too. Nothing is
done when the environment is already the one that the lock describes. `--lock` renews `uv.lock`.
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.9"
PYPI = "https://pypi.org/simple"
OLDEST = (3, 11)

# pip's option -> uv's variable, where the value only moves over
MOVED = {
    "client-cert": "SSL_CLIENT_CERT",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}


class CannotSetUp(Exception):
    """What is missing and what to do about it, in one sentence."""


def parse_pip_config(listing: str) -> dict[str, str]:
    """Options by name from the output of `pip config list`: `:env:` beats the command's section, that `global`."""
    found: dict[str, tuple[int, str]] = {}
    ranks = {"global": 0, "install": 1, ":env:": 2}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        if section in ranks and value[:1] in ("'", '"') and found.get(name, (-1, ""))[0] <= ranks[section]:
            found[name] = ranks[section], ast.literal_eval(value)
    return {name: value for name, (_, value) in found.items()}


def uv_environment(pip: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What uv must find in its environment to use the same indexes, proxies and certificates as pip does.

    What the user has set for uv himself stays. Folders that are not there are left out: pip warns, uv would fail.
    """
    told = {variable: pip[option] for option, variable in MOVED.items() if option in pip}
    told["UV_FIND_LINKS"] = ",".join(_reachable(pip.get("find-links", "")))
    if not is_pypi(pip.get("index-url", PYPI)):
        told["UV_DEFAULT_INDEX"] = pip["index-url"]
    told["UV_INDEX"] = " ".join(_reachable(pip.get("extra-index-url", "")))
    if told["UV_INDEX"]:
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip looks at all indexes alike
    if pip.get("proxy"):
        told |= {"HTTP_PROXY": pip["proxy"], "HTTPS_PROXY": pip["proxy"]}
    if pip.get("cert"):
        told["SSL_CERT_FILE"] = pip["cert"]
    elif "SSL_CERT_FILE" not in environ:
        told["UV_SYSTEM_CERTS"] = "true"  # as pip does since 24.2
    told |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    return {name: value for name, value in told.items() if value and name not in environ}


def is_pypi(index: str) -> bool:
    """Whether an index is the one that the lock's own addresses lead to."""
    return index.rstrip("/") == PYPI


def uses_other_index(environ: Mapping[str, str]) -> bool:
    """Whether uv is told to install from somewhere else than the lock's own addresses."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or PYPI
    return not is_pypi(index) or environ.get("UV_NO_INDEX", "").lower() in ("1", "true", "yes", "on")


def for_everybody(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a lock that holds no place of this machine's: its extra indexes and folders are left out."""
    return {name: value for name, value in environ.items() if name not in ("UV_INDEX", "UV_FIND_LINKS")}


def way_to_uv(*, venv: bool, pip: bool, apt: bool) -> str:
    """How to get uv: `venv`, `pip` (into a folder), or `apt` first. Raises `CannotSetUp` when there is no way."""
    if venv:
        return "venv"
    if pip:
        return "pip"
    if apt:
        return "apt"
    raise CannotSetUp(
        "This Python has neither venv nor pip: run `apt-get install python3-venv` as root "
        "(or `make PYTHON=…` with a Python that has them) and try again."
    )


def fingerprint(root: Path, python: str) -> str:
    """Changes when the environment has to be made again: the lock, the project's metadata, its place, the Python."""
    digest = hashlib.sha256(f"{root}\n{python}\n{UV}\n".encode())
    for name in ("uv.lock", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def missing_groups(stamp: str, key: str, wanted: Iterable[str]) -> tuple[bool, set[str]]:
    """(whether there is something to do, the groups to install): groups that were installed before stay."""
    known = json.loads(stamp) if stamp else {}
    installed = set(known.get("groups", ()))
    groups = installed | set(wanted)
    return known.get("key") != key or groups != installed, groups


def set_up(wanted: Sequence[str]) -> None:
    """Make or complete `.venv`. Raises `CannotSetUp`, `subprocess.CalledProcessError`."""
    stamp = ROOT / ".venv" / ".set-up"
    key = fingerprint(ROOT, f"{_python()} {sys.version}")
    needed, groups = missing_groups(stamp.read_text() if stamp.exists() else "", key, wanted)
    if not needed and (ROOT / ".venv" / "bin" / "penstock").exists():
        return
    print("Setting up .venv …", flush=True)
    uv, environ = _uv()
    stamp.unlink(missing_ok=True)
    selection = ["--no-default-groups", *(word for group in sorted(groups) for word in ("--group", group))]
    if uses_other_index(environ):
        _install_from_index(uv, environ, selection)
    else:
        _run([uv, "sync", "--quiet", "--frozen", "--python", _python(), *selection], environ)
    stamp.write_text(json.dumps({"key": key, "groups": sorted(groups)}))


def _install_from_index(uv: str, environ: Mapping[str, str], selection: Sequence[str]) -> None:
    """Install what the lock names, with its hashes, from the user's index: the lock's addresses lead to pypi.org."""
    requirements = str(ROOT / ".bootstrap" / "requirements.txt")
    export = [uv, "export", "--quiet", "--frozen", "--no-emit-project", *selection]
    _run([*export, "--output-file", requirements], environ)
    python = str(ROOT / ".venv" / "bin" / "python")
    _run([uv, "venv", "--quiet", "--allow-existing", "--python", _python(), str(ROOT / ".venv")], environ)
    _run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, requirements], environ)
    _run([uv, "pip", "install", "--quiet", "--no-deps", "--python", python, "--editable", str(ROOT)], environ)


def _uv() -> tuple[str, dict[str, str]]:
    """uv's path and the environment to run it in; installs it when it is not there."""
    home = ROOT / ".bootstrap"
    way = _way()
    if way == "apt":
        _apt_get_venv()
        way = _way(may_apt=False)
    pip = [str(home / "bin" / "python"), "-m", "pip"] if way == "venv" else [sys.executable, "-m", "pip"]
    done = home / "installed"
    if not done.exists() or done.read_text() != UV:
        shutil.rmtree(home, ignore_errors=True)
        install = [*pip, "install", "--quiet", "--disable-pip-version-check"]
        if way == "venv":
            _run([_python(), "-m", "venv", str(home)], os.environ)
        else:
            install += ["--target", str(home)]
        _run([*install, UV], os.environ)
        done.write_text(UV)
    listing = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=False).stdout
    environ = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME")}
    environ["UV_PROJECT_ENVIRONMENT"] = str(ROOT / ".venv")
    return str(home / "bin" / "uv"), environ | uv_environment(parse_pip_config(listing), environ)


def _way(*, may_apt: bool = True) -> str:
    importlib.invalidate_caches()

    def has(module: str) -> bool:
        return importlib.util.find_spec(module) is not None

    apt = may_apt and os.geteuid() == 0 and shutil.which("apt-get") is not None
    return way_to_uv(venv=has("venv") and has("ensurepip"), pip=has("pip"), apt=apt)


def _apt_get_venv() -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("This Python has neither venv nor pip: installing python3-venv …", flush=True)
    _run(["apt-get", "-qq", "update"], environ)
    _run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", "python3-venv"], environ)


def _python() -> str:
    """The interpreter itself, also when we run in somebody's virtual environment."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _reachable(places: str) -> list[str]:
    folders = [(place, place[len("file://") :] if place.startswith("file://") else place) for place in places.split()]
    return [place for place, path in folders if "://" in path or Path(path).exists()]


def _run(command: Sequence[str], environ: Mapping[str, str]) -> None:
    subprocess.run(command, env=dict(environ), cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def main() -> int:
    """Set up, or renew the lock; 1 with one sentence when that cannot be done."""
    parser = argparse.ArgumentParser(description="Make .venv from uv.lock.")
    parser.add_argument("--group", action="append", default=[], help="a dependency group of pyproject.toml")
    parser.add_argument("--lock", action="store_true", help="renew uv.lock instead")
    arguments = parser.parse_args()
    if sys.version_info[:2] < OLDEST:
        print(f"Penstock needs Python 3.11 or later; this is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")
        return 1
    place = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(place, fcntl.LOCK_EX)  # two makes at once: the second finds the work done
    try:
        if arguments.lock:
            uv, environ = _uv()
            _run([uv, "lock", "--python", _python()], for_everybody(environ))
        else:
            set_up(arguments.group)
    except CannotSetUp as missing:
        print(missing)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"Setting up failed: {Path(failed.cmd[0]).name} exited with {failed.returncode} (its words are above).")
        return 1
    finally:
        os.close(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
