"""Which rows of the spend logs somebody may see."""

from typing import Any, NamedTuple


class Sight(NamedTuple):
    """Everything, or the rows of these users (and of the keys they have), keys, teams and organizations."""

    everything: bool = False
    users: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()

    def parameters(self) -> tuple[Any, ...]:
        """In the order in which the statements take them."""
        return (self.everything, self.users, self.keys, self.teams, self.organizations)


EVERYTHING = Sight(everything=True)
