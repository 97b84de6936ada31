"""A YAML file as a tree of nodes that know their line, their path and how they were written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from penstock.configuration.problems import ConfigurationError, Place, Problems

Scalar = None | bool | int | Decimal | str

_DEEPEST = 64
_MOST_NODES = 500_000  # aliases of aliases ("a billion laughs") end here
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "value"})


@dataclass(frozen=True, slots=True)
class Node:
    """One value. `text` is a scalar as written, so that `0.00000015` stays exactly that.

    `variable` names the environment variable that the value came from: then it may be a secret and is never shown.
    """

    value: "Scalar | list[Node] | dict[str, Node]" = field(repr=False)
    place: Place
    text: str = field(default="", repr=False)
    variable: str = ""

    def items(self) -> "Iterator[tuple[str, Node]]":
        """The pairs of a mapping; nothing for any other kind."""
        if isinstance(self.value, dict):
            yield from self.value.items()

    def plain(self) -> Any:
        """The value as JSON would have it: numbers as int or float."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return float(self.value) if isinstance(self.value, Decimal) else self.value


def read(path: Path, name: str, problems: Problems) -> Node:
    """The file as a mapping; an empty file is an empty one. Duplicate keys and unknown tags go to `problems`.

    Raises `ConfigurationError` when there is no tree to go on with: unreadable, not YAML, not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError([f"{name}: cannot be read: {error.strerror or type(error).__name__}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{name}: is not UTF-8 text"]) from None
    return parse(text, name, problems)


def parse(text: str, name: str, problems: Problems) -> Node:
    """As `read`, from a string."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return Node({}, Place(name, 1))
        tree = _Tree(loader, problems).node(root, Place(name, root.start_mark.line + 1))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigurationError(
            [f"{where}: not valid YAML: {_without_content(error.problem or error.context or '')}"]
        ) from None
    except yaml.YAMLError:
        raise ConfigurationError([f"{name}: not valid YAML: it holds characters that YAML does not allow"]) from None
    except RecursionError:
        raise ConfigurationError([f"{name}: nested too deeply"]) from None
    if not isinstance(tree.value, dict):
        raise ConfigurationError([f"{tree.place}: a mapping is wanted at the top of the file"])
    return tree


class _Tree:
    """Turns PyYAML's nodes into ours. Merge keys (`<<`) and aliases are followed as PyYAML's safe loader does."""

    def __init__(self, loader: yaml.SafeLoader, problems: Problems) -> None:
        self._loader = loader
        self._problems = problems
        self._left = _MOST_NODES
        self._depth = 0

    def node(self, raw: yaml.Node, place: Place) -> Node:
        self._left -= 1
        if self._left < 0 or self._depth > _DEEPEST:
            raise ConfigurationError([f"{place}: nested too deeply, or too many aliases"])
        self._depth += 1
        try:
            if isinstance(raw, yaml.MappingNode):
                return Node(self._mapping(raw, place), place)
            if isinstance(raw, yaml.SequenceNode):
                rows = enumerate(raw.value)
                return Node([self.node(row, place.under(i, row.start_mark.line + 1)) for i, row in rows], place)
            if isinstance(raw, yaml.ScalarNode):
                return Node(self._scalar(raw, place), place, raw.value)
            raise TypeError(f"PyYAML has no such node: {type(raw).__name__}")
        finally:
            self._depth -= 1

    def _mapping(self, raw: yaml.MappingNode, place: Place) -> dict[str, Node]:
        self._refuse_duplicates(raw, place)
        self._loader.flatten_mapping(raw)
        found: dict[str, Node] = {}
        for key, value in raw.value:
            line = value.start_mark.line if isinstance(value, yaml.ScalarNode) else key.start_mark.line
            if isinstance(key, yaml.ScalarNode):
                found[key.value] = self.node(value, place.under(key.value, line + 1))
            else:
                self._problems.error(place.under("?", key.start_mark.line + 1), "a key must be a plain string")
        return found

    def _refuse_duplicates(self, raw: yaml.MappingNode, place: Place) -> None:
        lines: dict[str, int] = {}
        for key, _ in raw.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                self._problems.error(place.under(key.value, line), f"written twice, first on line {lines[key.value]}")
            lines.setdefault(key.value, line)

    def _scalar(self, raw: yaml.ScalarNode, place: Place) -> Scalar:
        kind = raw.tag.removeprefix(_TAG)
        if raw.tag in _TEXT_TAGS:
            return str(raw.value)
        if kind == "null":
            return None
        if kind == "bool":
            return bool(self._loader.construct_yaml_bool(raw))
        if kind == "int":
            return int(self._loader.construct_yaml_int(raw))
        if kind == "float":
            return _decimal(raw.value)
        self._problems.error(place, "YAML tags (!…) are not supported; quote a value that begins with !")
        return str(raw.value)


def _without_content(problem: str) -> str:
    """PyYAML quotes what it stumbled over, which may be an unquoted password; single characters may stay."""
    return re.sub(r"""(['"])(?!<)(.{2,}?)\1""", "(…)", problem)


def _decimal(text: str) -> Decimal | str:
    try:
        return Decimal(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except InvalidOperation:
        return text  # sexagesimal: nobody means it
