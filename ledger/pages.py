"""One page of a search: which slice is wanted and in which order, and what was found."""

from typing import NamedTuple


class Slice(NamedTuple):
    """Rows after `offset` others, `limit` at most, by a column's name."""

    limit: int
    offset: int = 0
    by: str = ""
    descending: bool = True


class Found(NamedTuple):
    """How many rows match, and the ids of the slice's, in order."""

    total: int
    ids: list[str]


def containing(text: str | None) -> str | None:
    """The pattern of ILIKE for "contains this text"; None stays None."""
    if text is None:
        return None
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"
