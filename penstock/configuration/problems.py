"""What is wrong with a configuration, collected so that all of it is said at once."""

import copy
from collections.abc import Iterable
from typing import NamedTuple


class Place(NamedTuple):
    """Where a value is written: `config.yaml:12: model_list[0].litellm_params.rpm`."""

    file: str
    line: int  # from 1; 0: it has none
    path: str = ""

    @property
    def spot(self) -> str:
        """File and line alone."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        return ": ".join(part for part in (self.spot, self.path) if part)

    def under(self, key: str | int, line: int) -> "Place":
        """The place of a mapping's key or a list's item."""
        if isinstance(key, int):
            return Place(self.file, line, f"{self.path}[{key}]")
        return Place(self.file, line, f"{self.path}.{key}" if self.path else key)


class ConfigurationError(ValueError):
    """The configuration cannot be used; the message has one line per fault. It never holds a secret's value."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class Wrong(ValueError):
    """A value that is not what its key wants; whoever knows the place catches it."""


class Problems:
    """Errors and warnings of one load. A key without effect is warned of once, with every line it stands on.

    With `before` they begin with what was found then.
    """

    def __init__(self, before: "Problems | None" = None) -> None:
        self.errors: list[str] = [] if before is None else list(before.errors)
        self._warnings: list[str] = [] if before is None else list(before._warnings)
        self._unused: dict[tuple[str, str], list[str]] = {} if before is None else copy.deepcopy(before._unused)

    def error(self, place: Place | str, message: str) -> None:
        """Something that makes the configuration unusable."""
        self.errors.append(f"{place}: {message}" if str(place) else message)

    def warn(self, place: Place | str, message: str) -> None:
        """Something the operator should know."""
        self._warnings.append(f"{place}: {message}" if str(place) else message)

    def unused(self, place: Place, name: str, why: str) -> None:
        """`name` has no effect here; the same name elsewhere joins the same warning."""
        self._unused.setdefault((name, why), []).append(place.spot)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each."""
        grouped = (f"{name}: {why} ({_listed(spots)})" for (name, why), spots in self._unused.items())
        return (*self._warnings, *grouped)

    def check(self) -> None:
        """Raises `ConfigurationError` if there was an error."""
        if self.errors:
            raise ConfigurationError(self.errors)


def _listed(spots: list[str], most: int = 3) -> str:
    distinct = list(dict.fromkeys(spots))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + more
