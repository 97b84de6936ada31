"""`include`: several files as one tree, by LiteLLM's rule.

Files are merged breadth first in the order they are named. A value that is a list in both is appended; any other key
is overridden as a whole by the file merged later (an included `general_settings` replaces the main one). Each file is
read once. Source: the proxy's documentation, "config management"; behaviour of litellm 1.109.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from penstock.configuration.problems import Place, Problems
from penstock.configuration.source import Node, read


def read_all(path: Path, problems: Problems) -> dict[str, Node]:
    """The top-level keys of the file and of everything it includes. Raises `ConfigurationError` as `read` does."""
    root = read(path, str(path), problems)
    merged, pending = _open(root, path, problems)
    seen = {path.resolve()}
    while pending:
        entry, declared_in = pending.popleft()
        found = _find(entry, declared_in, path, problems)
        if found is None or found.resolve() in seen:
            continue
        seen.add(found.resolve())
        included, more = _open(read(found, str(found), problems), found, problems)
        pending.extend(more)
        merged = merge(merged, included)
    return merged


def merge(base: dict[str, Node], included: dict[str, Node]) -> dict[str, Node]:
    """Lists are appended, other keys overridden as a whole."""
    merged = dict(base)
    for key, node in included.items():
        before = base.get(key)
        if before is not None and isinstance(before.value, list) and isinstance(node.value, list):
            merged[key] = Node([*before.value, *node.value], before.place)
        else:
            merged[key] = node
    return merged


def _open(tree: Node, path: Path, problems: Problems) -> tuple[dict[str, Node], deque[tuple[Node, Path]]]:
    own = dict(tree.items())
    include = own.pop("include", None)
    return own, deque((entry, path) for entry in _entries(include, problems))


def _entries(include: Node | None, problems: Problems) -> Iterator[Node]:
    if include is None:
        return
    if not isinstance(include.value, list):
        problems.error(include.place, "a list of file paths is wanted")
        return
    for entry in include.value:
        if isinstance(entry.value, str):
            yield entry
        else:
            problems.error(entry.place, "a file path is wanted")


def _find(entry: Node, declared_in: Path, root: Path, problems: Problems) -> Path | None:
    beside, at_root = declared_in.parent / entry.text, root.parent / entry.text
    if beside.exists():
        _warn_of_two(entry.place, beside, at_root, problems)
        return beside
    if at_root.exists():
        problems.warn(entry.place, f"not found beside the file that names it; {at_root} was read instead")
        return at_root
    problems.error(entry.place, f"no such file: {beside}")
    return None


def _warn_of_two(place: Place, beside: Path, at_root: Path, problems: Problems) -> None:
    if at_root.exists() and at_root.resolve() != beside.resolve():
        problems.warn(place, f"names two files: {beside} was read, {at_root} was not")
