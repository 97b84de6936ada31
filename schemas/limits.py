"""What a provider says is left of its limits."""

from typing import NamedTuple


class Remaining(NamedTuple):
    """One limit: how much it allows, how much of it is left, and in how many seconds it is whole again.

    All as the provider says it; None: it does not say.
    """

    limit: float | None
    left: float
    reset: float | None


class Told(NamedTuple):
    """What one answer says. `tokens` counts both kinds; None: nothing is said of it."""

    requests: Remaining | None = None
    tokens: Remaining | None = None
    input: Remaining | None = None
    output: Remaining | None = None


NOTHING = Told()
