"""What `penstock serve` says when it is ready: where it answers, where the key is, what it offers, what to try."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from penstock.house import House
from schemas.catalog import Catalog

_VARIABLES = ("PENSTOCK_MASTER_KEY", "LITELLM_MASTER_KEY")


def greeting(house: House, *, to_terminal: bool, environ: Mapping[str, str] = os.environ) -> str:
    """A few lines; the key itself only where a person reads them."""
    settings, server = house.config.settings, house.server
    assert server is not None
    host = f"[{server.host}]" if ":" in server.host else server.host
    base = f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{server.port}/v1"  # noqa: S104
    names = Catalog(house.config).listing()
    key = "" if settings.master_key is None else settings.master_key.get_secret_value()
    where, shell = _source(key, Path(settings.state_dir) / "master-key", environ)
    lines = [
        "",
        f"  Penstock is ready:  {base}",
        f"  Master key:         {where}",
        f"  Models:             {', '.join(names) or 'none'}",
        "",
        "  Try it:",
        f"    curl {base}/chat/completions -H \"Authorization: Bearer {shell}\" -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{_sample(names)}", "messages": [{{"role": "user", "content": "Hello!"}}]}}\'',
        "",
    ]
    if to_terminal and key:
        lines.insert(3, f"                      {key}")
    return "\n".join(lines)


def _source(key: str, generated: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """(where the key is, how a shell gets it there), without the key: the `curl` line is to be pasted as it is."""
    files = [generated, *(Path(environ[f"{name}_FILE"]) for name in _VARIABLES if environ.get(f"{name}_FILE"))]
    for file in files:
        if _holds(file, key):
            return str(file), f"$(cat {shlex.quote(str(file))})"
    for name in (*_VARIABLES, *environ):  # the file may say os.environ/ANY_NAME
        if environ.get(name) == key and name.isidentifier():
            return f"in the variable {name}", f"${name}"
    return "in the configuration; put it into PENSTOCK_MASTER_KEY for the line below", "$PENSTOCK_MASTER_KEY"


def _holds(file: Path, key: str) -> bool:
    try:
        return file.read_text().strip() == key
    except (OSError, UnicodeDecodeError):
        return False


def _sample(names: tuple[str, ...] | list[str]) -> str:
    concrete = [name for name in names if "*" not in name]
    return "demo" if "demo" in concrete else (concrete or ["demo"])[0]
