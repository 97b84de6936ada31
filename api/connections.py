"""What an asker needs of the world."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from api.announced import AnnouncedAttempts
from api.planner import Planner
from broker.events import Events
from broker.port import Bus
from policy.roster import Roster


@dataclass(frozen=True, slots=True)
class Connections:
    """The bus, the events on it, who is there, and what follows from a failure."""

    bus: Bus
    events: Events
    roster: Roster
    attempts: AnnouncedAttempts
    planner: Planner
    now: Callable[[], float] = time.time
