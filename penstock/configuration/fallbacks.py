"""Fallbacks in all the forms that LiteLLM takes: lists of mappings, names, and names with parameters."""

from typing import Any

from penstock.configuration.known import FALLBACK_PARAMS, PARAMETERS
from penstock.configuration.problems import Problems, Wrong
from penstock.configuration.source import Node
from penstock.configuration.values import NOT_YET, UNKNOWN, Section, shown, text
from schemas.catalog import Catalog
from schemas.config import Fallback

ANY = "*"  # the key for every group that has no entry of its own
_CONTENT = frozenset({"messages", "prompt", "input"})


class FallbackReader:
    """Reads `fallbacks` and its like, and warns of what the model list makes pointless."""

    def __init__(self, catalog: Catalog, problems: Problems) -> None:
        self._catalog = catalog
        self._problems = problems

    def read(self, node: Node) -> dict[str, tuple[Fallback, ...]]:
        """`[{group: [fallback, …]}, …]`, or all groups in one mapping. Of two entries for a group the first counts."""
        found: dict[str, tuple[Fallback, ...]] = {}
        for row in _rows(node):
            if not isinstance(row.value, dict):
                self._problems.error(row.place, f"a mapping of a group to its fallbacks is wanted, not {shown(row)}")
            for group, listed in row.items():
                if group in found:
                    self._problems.warn(listed.place, f'"{group}" has fallbacks already, these have no effect')
                elif listed.value is not None:
                    found |= self._entry(group, listed)
        return found

    def default(self, node: Node) -> dict[str, tuple[Fallback, ...]]:
        """`default_fallbacks`, a list without a group: those of every group that has none."""
        targets = self._targets(ANY, node)
        return {ANY: targets} if targets else {}

    def _entry(self, group: str, listed: Node) -> dict[str, tuple[Fallback, ...]]:
        """An empty list is an entry (no fallback for this group), but not one of which nothing is left."""
        self._check_group(group, listed)
        targets = self._targets(group, listed)
        return {group: targets} if targets or listed.value == [] else {}

    def _check_group(self, group: str, listed: Node) -> None:
        if group == ANY:
            return
        meant = self._catalog.resolve(group)
        if meant is None:
            self._problems.warn(listed.place, f'"{group}" names no model group')
        elif group not in (meant.group, meant.model, meant.model.partition("/")[2]):
            why = f'"{group}" is another name of "{meant.model}": fallbacks under it have no effect'
            self._problems.warn(listed.place, why)

    def _targets(self, group: str, listed: Node) -> tuple[Fallback, ...]:
        found = [self._target(group, row) for row in _rows(listed)]
        return tuple(target for target in found if target is not None)

    def _target(self, group: str, row: Node) -> Fallback | None:
        name, body = self._parts(row) if isinstance(row.value, dict) else (row, {})
        if name is None:
            self._problems.error(row.place, "model is missing")
            return None
        try:
            model = text(name)
        except Wrong as wrong:
            self._problems.error(name.place, str(wrong))
            return None
        meant = self._catalog.resolve(model)
        if model == group or (meant is not None and group != ANY and meant == self._catalog.resolve(group)):
            self._problems.warn(name.place, f"{shown(name)} falls back to itself, this is left out")
            return None
        if meant is None:
            self._problems.warn(name.place, f"{shown(name)} names no model group")
        return Fallback(model=model, body=body)

    def _parts(self, row: Node) -> tuple[Node | None, dict[str, Any]]:
        """The name, and the parameters that replace the request's. What is no parameter (a key above all) is left out.

        A body travels through the queue, where no credentials may be.
        """
        section = Section(row, self._problems)
        name = section.take("model", lambda node: node)
        body = {}
        for key, node in section.rest().items():
            if key in PARAMETERS or key in _CONTENT:
                body[key] = node.plain()
            else:
                called = f"{row.place.path.partition('[')[0]}[].{key}"
                self._problems.unused(node.place, called, NOT_YET if key in FALLBACK_PARAMS else UNKNOWN)
        return name, body


def _rows(node: Node) -> list[Node]:
    return node.value if isinstance(node.value, list) else [node]
