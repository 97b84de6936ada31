"""LiteLLM's settings in its database, as YAML for the configuration file: what is secret of them is only named."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ledger.litellm.ciphers import looks_encrypted
from ledger.litellm.source import Row
from ledger.litellm.values import secret

_HIDDEN = "# set it yourself: it is secret"
_VARIABLES = "environment_variables"


def written(rows: list[Row]) -> str:
    """The sections that hold something; "" when none does. JSON is YAML: values are written as JSON."""
    return "\n".join(text for row in rows if (text := _section(row["param_name"], row.get("param_value"))))


def _section(name: str, value: Any) -> str:
    if value in (None, {}, []):
        return ""
    if not isinstance(value, Mapping):
        return _line(name, value, "")
    lines = [f"  {key}:  {_HIDDEN}" if name == _VARIABLES else _line(key, one, "  ") for key, one in value.items()]
    return "\n".join([f"{name}:", *lines])


def _line(name: str, value: Any, indent: str) -> str:
    if _hides(name, value):
        return f"{indent}{name}:  {_HIDDEN}"
    return f"{indent}{name}: {json.dumps(value, default=_exact)}"


def _hides(name: str, value: Any) -> bool:
    """Whether there is, or could be, a secret in a value: those of lists and objects at any depth."""
    if isinstance(value, Mapping):
        return any(_hides(str(key), one) for key, one in value.items())
    if isinstance(value, list):
        return any(_hides(name, one) for one in value)
    if not isinstance(value, str) or value.startswith("os.environ/"):
        return False
    # an address too: that of a webhook is one, and those of databases hold passwords
    return secret(name) or looks_encrypted(value) or value.startswith("sk-") or "://" in value


def _exact(value: object) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return str(value)
