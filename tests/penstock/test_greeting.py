"""What `serve` says when it is ready: the line to paste has the key's place, whichever that is, and never the key."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from penstock.greeting import greeting
from schemas.config import Config, Deployment, Settings

KEY = "sk-greeting-0123456789"
DEMO = Deployment(id="d", group="demo", provider="demo", model="demo")


def _greeting(state_dir: Path, environ: Mapping[str, str], *, to_terminal: bool = False) -> str:
    settings = Settings(master_key=SecretStr(KEY), state_dir=str(state_dir))
    server = SimpleNamespace(host="127.0.0.1", port=4000)
    house: Any = SimpleNamespace(config=Config(deployments=(DEMO,), settings=settings), server=server)
    return greeting(house, to_terminal=to_terminal, environ=environ)


def _as_a_shell_reads_it(said: str, environ: Mapping[str, str]) -> str:
    """The key that the pasted line sends."""
    header = re.search(r'curl .* -H ("Authorization: .*?") -H ', said)
    assert header is not None
    shell = subprocess.run(
        ["/bin/sh", "-c", f"printf %s {header[1]}"], env=dict(environ), capture_output=True, text=True, check=True
    )
    return shell.stdout.removeprefix("Authorization: Bearer ")


@pytest.mark.parametrize("name", ["PENSTOCK_MASTER_KEY", "LITELLM_MASTER_KEY", "MY_OWN"])
@pytest.mark.parametrize("in_file", [False, True])
def test_the_line_has_the_key_that_works(tmp_path: Path, name: str, in_file: bool) -> None:
    state = tmp_path / "a state"
    state.mkdir()
    environ = {"PATH": "/usr/bin:/bin", name: KEY}
    if in_file:
        file = state / "master-key" if name == "MY_OWN" else tmp_path / "my key"
        file.write_text(f"{KEY}\n")
        environ = {"PATH": "/usr/bin:/bin"} | ({} if name == "MY_OWN" else {f"{name}_FILE": str(file)})
    said = _greeting(state, environ)
    assert KEY not in said
    assert _as_a_shell_reads_it(said, environ) == KEY


def test_a_key_that_only_the_configuration_has_is_to_be_put_where_the_line_takes_it(tmp_path: Path) -> None:
    said = _greeting(tmp_path, {"PATH": "/usr/bin:/bin", "PENSTOCK_MASTER_KEY_FILE": str(tmp_path / "none")})
    assert KEY not in said
    assert "put it into PENSTOCK_MASTER_KEY" in said
    assert _as_a_shell_reads_it(said, {"PENSTOCK_MASTER_KEY": KEY}) == KEY


def test_a_person_at_a_terminal_sees_the_key(tmp_path: Path) -> None:
    assert KEY in _greeting(tmp_path, {"PENSTOCK_MASTER_KEY": KEY}, to_terminal=True)
