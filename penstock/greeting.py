"""What `penstock serve` says when it is ready: where it answers, where the key is, what it offers, what to try."""

import os
from pathlib import Path

from penstock.house import House
from schemas.catalog import Catalog


def greeting(house: House, *, to_terminal: bool) -> str:
    """A few lines; the key itself only where a person reads them."""
    settings, server = house.config.settings, house.server
    assert server is not None
    host = f"[{server.host}]" if ":" in server.host else server.host
    base = f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{server.port}/v1"  # noqa: S104
    names = Catalog(house.config).listing()
    key_file = Path(settings.state_dir) / "master-key"
    where = (
        f"{key_file}" if _is_generated(house, key_file) else "as configured (PENSTOCK_MASTER_KEY or the config file)"
    )
    key = f"$(cat {key_file})" if _is_generated(house, key_file) else "$PENSTOCK_MASTER_KEY"
    lines = [
        "",
        f"  Penstock is ready:  {base}",
        f"  Master key:         {where}",
        f"  Models:             {', '.join(names) or 'none'}",
        "",
        "  Try it:",
        f"    curl {base}/chat/completions -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{_sample(names)}", "messages": [{{"role": "user", "content": "Hello!"}}]}}\'',
        "",
    ]
    if to_terminal and settings.master_key is not None:
        lines.insert(3, f"                      {settings.master_key.get_secret_value()}")
    return "\n".join(lines)


def _is_generated(house: House, key_file: Path) -> bool:
    key = house.config.settings.master_key
    return key is not None and os.access(key_file, os.R_OK) and key_file.read_text().strip() == key.get_secret_value()


def _sample(names: tuple[str, ...] | list[str]) -> str:
    concrete = [name for name in names if "*" not in name]
    return "demo" if "demo" in concrete else (concrete or ["demo"])[0]
