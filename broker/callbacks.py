"""Calling back: those who listen to the bus must not raise, and when one does the others are still told."""

import logging
from collections.abc import Callable
from typing import TypeVar

_LOG = logging.getLogger("penstock.bus")
T = TypeVar("T")


def tell(callback: Callable[[T], None], news: T) -> None:
    """Call, and log what it raises."""
    try:
        callback(news)
    except Exception:  # noqa: BLE001 - nobody up the stack could do better
        _LOG.exception("a callback of the bus failed")
