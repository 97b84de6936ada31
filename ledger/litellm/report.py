"""What an import has done: counts for each kind of entity, and every row that needs a word."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True)
class Tally:
    """How many rows there were, and what became of them.

    `updated` had changed there and not here since they came; `kept` were changed here, or made here, and stay as they
    are; `skipped` could not be carried over.
    """

    found: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    skipped: int = 0


class Remark(NamedTuple):
    """Something about one row. Holds no secret."""

    entity: str
    id: str
    said: str


@dataclass(slots=True)
class Report:
    """All of it. `touched` are names as events have them: `key:<id>`; `configuration` is YAML for the file.

    `left` are LiteLLM's tables that hold something and have no counterpart here.
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    configuration: str = ""
    left: list[str] = field(default_factory=list)
    models_changed: bool = False

    def tally(self, entity: str) -> Tally:
        """The counts of one kind."""
        return self.tallies.setdefault(entity, Tally())

    def about(self, entity: str, id: str) -> Callable[[str], None]:
        """Takes remarks about one row."""
        return lambda said: self.remarks.append(Remark(entity, id, said))

    def skip(self, entity: str, id: str, why: str) -> None:
        """A row that is not carried over."""
        tally = self.tally(entity)
        tally.found += 1
        tally.skipped += 1
        self.remarks.append(Remark(entity, id, why))
