"""Environment variables: `NAME`, the file named by `NAME_FILE`, and `os.environ/NAME` inside the configuration."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from penstock.configuration.problems import Problems, Wrong
from penstock.configuration.source import Node

REFERENCE = "os.environ/"
_SECRET_ENDS = ("_KEY", "_TOKEN", "_PASSWORD", "_SECRET", "_URL", "_CREDENTIALS")


class Environment:
    """The process's variables and what `environment_variables` of the file adds to them (the file wins)."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)

    def get(self, name: str) -> str | None:
        """The variable; an empty one counts as unset."""
        return self._variables.get(name) or None

    def secret(self, name: str) -> str | None:
        """The variable, else the stripped content of the file named by `<name>_FILE`. Raises `Wrong`."""
        value = self.get(name)
        if value is not None:
            return value
        path = self.get(f"{name}_FILE")
        if path is None:
            return None
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except UnicodeDecodeError:
            reason = "not UTF-8 text"
        raise Wrong(f"{name}_FILE: the file it names cannot be read: {reason}")

    def first(self, names: Iterable[str]) -> str | None:
        """The first of several secrets that is set. Raises `Wrong`."""
        return next((value for name in names if (value := self.secret(name))), None)

    def first_plain(self, names: Iterable[str]) -> str | None:
        """The first of several variables that is set."""
        return next((value for name in names if (value := self.get(name))), None)

    def reference(self, name: str) -> str | None:
        """What `os.environ/NAME` means: as it is, so that an empty one stays empty. Raises `Wrong`."""
        if name in self._variables:
            return self._variables[name]
        return self.secret(name) if name.endswith(_SECRET_ENDS) else None

    def export(self, pairs: Node | None, problems: Problems) -> None:
        """Take over `environment_variables`; `os.environ/NAME` there means the variable as it was before."""
        if pairs is None or pairs.value is None:
            return
        if not isinstance(pairs.value, dict):
            problems.error(pairs.place, "a mapping of names to values is wanted")
            return
        for name, node in resolve(pairs, self, problems).items():
            if isinstance(node.value, dict | list):
                problems.error(node.place, "a string is wanted")
            elif node.value is not None:
                self._variables[name] = node.text


def resolve(node: Node, environment: Environment, problems: Problems) -> Node:
    """The tree with every `os.environ/NAME` replaced: in mappings, and in mappings in lists; not bare in a list.

    An unset variable gives None, "true" and "false" booleans, as LiteLLM has it.
    """
    if isinstance(node.value, dict):
        return replace(node, value={key: resolve(child, environment, problems) for key, child in node.items()})
    if isinstance(node.value, list):
        rows = [resolve(row, environment, problems) if isinstance(row.value, dict) else row for row in node.value]
        return replace(node, value=rows)
    if not isinstance(node.value, str) or not node.value.startswith(REFERENCE):
        return node
    return _looked_up(node, environment, problems)


def _looked_up(node: Node, environment: Environment, problems: Problems) -> Node:
    name = node.text.removeprefix(REFERENCE)
    try:
        found = environment.reference(name)
    except Wrong as wrong:
        problems.error(node.place, str(wrong))
        return replace(node, value=None, text="", variable=name)
    if found is None:
        problems.unused(node.place, node.text, "is not set, counts as null")
    value = {"true": True, "false": False}.get((found or "").strip().lower(), found)
    return replace(node, value=value, text=found or "", variable=name)
