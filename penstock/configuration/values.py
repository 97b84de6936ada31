"""What a key wants: each parser takes a node that is not null and returns its value, or raises `Wrong`."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from pydantic import SecretStr

from penstock.configuration.problems import Problems, Wrong
from penstock.configuration.source import Node

_LARGEST = 2**63 - 1  # of whole numbers
T = TypeVar("T")
Parse = Callable[[Node], T]


def shown(node: Node) -> str:
    """The value for a message: never one that came from the environment, never a whole tree."""
    if node.variable:
        return f"what {node.variable} holds"
    if isinstance(node.value, dict | list):
        return "a mapping" if isinstance(node.value, dict) else "a list"
    if not isinstance(node.value, str):
        return "null" if node.value is None else node.text
    return json.dumps(node.text if len(node.text) <= 40 else node.text[:37] + "…", ensure_ascii=False)


def text(node: Node) -> str:
    """A string; a number is taken as it is written."""
    if isinstance(node.value, bool | dict | list | None) and not (node.variable and isinstance(node.value, bool)):
        raise Wrong(f"a string is wanted, not {shown(node)}")
    return node.text


def secret(node: Node) -> SecretStr:
    """A string that is never shown, not even when it is wrong."""
    if isinstance(node.value, dict | list):
        raise Wrong("a string is wanted")
    return SecretStr(node.text)


def number(node: Node) -> Decimal:
    """An exact decimal of the written form, not below zero."""
    if isinstance(node.value, bool | dict | list):
        raise Wrong(f"a number is wanted, not {shown(node)}")
    try:
        value = Decimal(node.value if isinstance(node.value, int) else node.text.replace("_", ""))
    except InvalidOperation:
        raise Wrong(f"a number is wanted, not {shown(node)}") from None
    if not value.is_finite() or value < 0:
        raise Wrong(f"a number of at least 0 is wanted, not {shown(node)}")
    return value


def real(node: Node) -> float:
    """A number as a float, not below zero."""
    value = float(number(node))
    if not math.isfinite(value):
        raise Wrong(f"a number is wanted, not {shown(node)}")
    return value


def amount(node: Node) -> float:
    """A number as a float, above zero: a limit."""
    value = real(node)
    if value <= 0:
        raise Wrong(f"a number above 0 is wanted, not {shown(node)}")
    return value


def seconds(node: Node) -> float:
    """A time in seconds."""
    value = float(number(node))
    if not math.isfinite(value):
        raise Wrong(f"a number of seconds is wanted, not {shown(node)}")
    return value


def duration(node: Node) -> float:
    """A time in seconds, above zero: a timeout."""
    value = seconds(node)
    if value <= 0:
        raise Wrong(f"a number of seconds above 0 is wanted, not {shown(node)}")
    return value


def whole(node: Node) -> int:
    """A whole number, not below zero."""
    value = number(node)
    if value > _LARGEST or value != value.to_integral_value():
        raise Wrong(f"a whole number is wanted, not {shown(node)}")
    return int(value)


def count(node: Node) -> int:
    """A whole number of at least one."""
    value = whole(node)
    if value < 1:
        raise Wrong(f"a whole number of at least 1 is wanted, not {shown(node)}")
    return value


def flag(node: Node) -> bool:
    """true or false; the words "true" and "false" too, for variables."""
    if isinstance(node.value, bool):
        return node.value
    if isinstance(node.value, str) and node.value.strip().lower() in ("true", "false"):
        return node.value.strip().lower() == "true"
    raise Wrong(f"true or false is wanted, not {shown(node)}")


def names(node: Node) -> tuple[str, ...]:
    """A list of strings; one string is a list of one."""
    if isinstance(node.value, list):
        return tuple(text(row) for row in node.value)
    return (text(node),)


def words(node: Node) -> tuple[str, ...]:
    """A list of strings, or one string of them with commas between, as a variable has it."""
    if isinstance(node.value, list):
        return names(node)
    return tuple(word for part in text(node).split(",") if (word := part.strip()))


def headers(node: Node) -> Mapping[str, str]:
    """HTTP headers; the values may be secrets."""
    if not isinstance(node.value, dict):
        raise Wrong("a mapping of header names to values is wanted")
    if any(isinstance(value.value, dict | list) for value in node.value.values()):
        raise Wrong("each header's value must be a string")
    return {name: value.text for name, value in node.value.items() if value.value is not None}


def mapping(node: Node) -> Mapping[str, Any]:
    """Any mapping, as JSON would have it."""
    if not isinstance(node.value, dict):
        raise Wrong(f"a mapping is wanted, not {shown(node)}")
    plain: Mapping[str, Any] = node.plain()
    return plain


def address(node: Node) -> str:
    """An http(s) URL. It may hold credentials, so it is not shown."""
    value = text(node)
    if not value.startswith(("http://", "https://")):
        raise Wrong("a URL with http:// or https:// is wanted")
    return value


class Section:
    """One mapping that keys are taken from; what is left over can then be reported."""

    def __init__(self, node: Node, problems: Problems) -> None:
        self.node = node
        self.problems = problems
        if not isinstance(node.value, dict | None):
            problems.error(node.place, f"a mapping is wanted, not {shown(node)}")
        self._left = dict(node.items())

    def take(self, key: str, parse: Parse[T]) -> T | None:
        """The key's value; None when it is absent, null or wrong (then the error is recorded)."""
        node = self._left.pop(key, None)
        if node is None or node.value is None or (node.variable and node.value == ""):
            return None
        try:
            return parse(node)
        except Wrong as wrong:
            self.problems.error(node.place, str(wrong))
            return None

    def rest(self) -> dict[str, Node]:
        """What nobody took, nulls left out."""
        return {key: node for key, node in self._left.items() if node.value is not None}

    def report(self, known: Iterable[str], name: str) -> None:
        """Warn of what is left: keys LiteLLM knows and we do not act on yet, and keys nobody knows."""
        known = frozenset(known)
        for key, node in self.rest().items():
            why = NOT_YET if key in known else UNKNOWN
            self.problems.unused(node.place, f"{name}.{key}" if name else key, why)


NOT_YET = "not supported yet, has no effect"
UNKNOWN = "unknown key, has no effect"
