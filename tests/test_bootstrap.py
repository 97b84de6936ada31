"""What `make setup` and `make test` decide before they do anything: pip's settings for uv, the way to uv, the stamp."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import environment, rabbitmq

ROOT = Path(__file__).resolve().parents[1]
ALWAYS = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}


def test_the_environment_beats_the_command_and_that_the_general_section() -> None:
    listing = """install.index-url='https://command/simple'
global.index-url='https://general/simple'
global.cert='/etc/ca.pem'
:env:.timeout='60'
global.timeout='15'
download.index-url='https://elsewhere/simple'
WARNING: this is no option
"""
    expected = {"index-url": "https://command/simple", "cert": "/etc/ca.pem", "timeout": "60"}
    assert environment.parse_pip_config(listing) == expected


@pytest.mark.parametrize(
    ("pip", "environ", "expected"),
    [
        ({}, {}, {"UV_SYSTEM_CERTS": "true"}),
        ({}, {"SSL_CERT_FILE": "/mine"}, {}),
        ({"cert": "/ca.pem"}, {}, {"SSL_CERT_FILE": "/ca.pem"}),
        ({"cert": "/ca.pem"}, {"SSL_CERT_FILE": "/mine"}, {}),
        ({"index-url": "https://pypi.org/simple/"}, {"SSL_CERT_FILE": "/mine"}, {}),
        ({"index-url": "https://i/s", "cert": "/c"}, {}, {"UV_DEFAULT_INDEX": "https://i/s", "SSL_CERT_FILE": "/c"}),
        ({"index-url": "https://i/s", "cert": "/c"}, {"UV_DEFAULT_INDEX": "https://u/s"}, {"SSL_CERT_FILE": "/c"}),
        (
            {"extra-index-url": "https://a/s\nhttps://b/s file:///not/there", "cert": "/c"},
            {},
            {"UV_INDEX": "https://a/s https://b/s", "UV_INDEX_STRATEGY": "unsafe-best-match", "SSL_CERT_FILE": "/c"},
        ),
        ({"find-links": "/not/there", "cert": "/c"}, {}, {"SSL_CERT_FILE": "/c"}),
        ({"find-links": f"/not/there {ROOT}", "cert": "/c"}, {}, {"UV_FIND_LINKS": str(ROOT), "SSL_CERT_FILE": "/c"}),
        (
            {"proxy": "http://p:1", "trusted-host": "h", "client-cert": "/k", "timeout": "9", "cert": "/c"},
            {"HTTPS_PROXY": "http://mine:1"},
            {
                "HTTP_PROXY": "http://p:1",
                "UV_INSECURE_HOST": "h",
                "SSL_CLIENT_CERT": "/k",
                "UV_HTTP_TIMEOUT": "9",
                "SSL_CERT_FILE": "/c",
            },
        ),
    ],
)
def test_what_pip_is_told_uv_is_told(pip: dict[str, str], environ: dict[str, str], expected: dict[str, str]) -> None:
    assert environment.uv_environment(pip, environ) == expected | ALWAYS


@pytest.mark.parametrize(
    ("environ", "other"),
    [
        ({}, False),
        ({"UV_DEFAULT_INDEX": "https://pypi.org/simple/"}, False),
        ({"UV_DEFAULT_INDEX": "https://mirror/simple"}, True),
        ({"UV_INDEX_URL": "https://mirror/simple"}, True),
        ({"UV_INDEX": "https://extra/simple"}, False),
        ({"UV_NO_INDEX": "true"}, True),
    ],
)
def test_the_locks_addresses_serve_only_pypi(environ: dict[str, str], other: bool) -> None:
    assert environment.uses_other_index(environ) is other


def test_the_way_to_uv() -> None:
    assert environment.way_to_uv(venv=True, pip=True, apt=True) == "venv"
    assert environment.way_to_uv(venv=False, pip=True, apt=True) == "pip"
    assert environment.way_to_uv(venv=False, pip=False, apt=True) == "apt"
    with pytest.raises(environment.CannotSetUp, match="apt-get install python3-venv"):
        environment.way_to_uv(venv=False, pip=False, apt=False)


def test_the_stamp() -> None:
    stamp = json.dumps({"key": "k", "groups": ["dev", "test"]})
    assert environment.missing_groups(stamp, "k", ["test"]) == (False, {"dev", "test"})
    assert environment.missing_groups(stamp, "k", []) == (False, {"dev", "test"}), "make setup takes nothing away"
    assert environment.missing_groups(stamp, "other", []) == (True, {"dev", "test"})
    assert environment.missing_groups(stamp, "k", ["inference"]) == (True, {"dev", "test", "inference"})
    assert environment.missing_groups("", "k", []) == (True, set())


def test_the_fingerprint_follows_the_lock(tmp_path: Path) -> None:
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text("one")
    before = environment.fingerprint(tmp_path, "3.11")
    assert environment.fingerprint(tmp_path, "3.11") == before
    assert environment.fingerprint(tmp_path, "3.12") != before
    (tmp_path / "uv.lock").write_text("two")
    assert environment.fingerprint(tmp_path, "3.11") != before


def test_rabbitmq_is_installed_only_when_it_must_and_can_be() -> None:
    def step(environ: dict[str, str], installed: bool, root: bool, apt: bool) -> str:
        return rabbitmq.next_step(environ, installed=installed, root=root, apt=apt)

    assert step({}, False, True, True) == "install"
    assert step({}, True, True, True) == "nothing"
    assert step({"AMQP_URL": "amqp://somewhere"}, False, False, False) == "nothing"
    assert step({}, False, False, True).startswith("The tests need RabbitMQ")
    assert step({}, False, True, False).startswith("The tests need RabbitMQ")


@pytest.mark.parametrize("before", ["#!/bin/sh\nexit 0\n", None])
def test_a_policy_that_was_there_comes_back(tmp_path: Path, before: str | None) -> None:
    policy = tmp_path / "policy-rc.d"
    if before is not None:
        policy.write_text(before)
    with rabbitmq.no_service_starts(policy):
        assert subprocess.run([policy, "rabbitmq-server", "start"], check=False).returncode == 101
    assert (policy.read_text() if policy.exists() else None) == before
    assert len(list(tmp_path.iterdir())) == (before is not None)


def test_make_alone_lists_every_target() -> None:
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[0] for line in said.splitlines()}
    assert listed >= {"help", "setup", "run", "test", "lint", "check", "bench", "test-inference", "lock"}


def test_without_venv_and_pip_there_is_one_sentence(tmp_path: Path) -> None:
    """In a copy of the scripts, by a Python that finds neither module and no apt-get."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    code = (
        "import importlib.util as u, runpy, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('venv', 'ensurepip', 'pip') else find(name, *a)\n"
        "sys.argv = ['environment.py']\nrunpy.run_path('scripts/environment.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, env={"PATH": "/nowhere"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [
        "This Python has neither venv nor pip: run `apt-get install python3-venv` as root "
        "(or `make PYTHON=…` with a Python that has them) and try again."
    ]
    assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pyproject.toml", "scripts", "uv.lock"]


def test_a_lock_names_no_place_of_this_machine() -> None:
    environ = {"UV_INDEX": "file:///opt/wheels", "UV_FIND_LINKS": "/opt/wheels", "UV_SYSTEM_CERTS": "true"}
    assert environment.for_everybody(environ) == {"UV_SYSTEM_CERTS": "true"}
