"""Dead letters: what no consumer could use, kept for a person to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.pool import Pool
from ledger.sql import query


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was rejected or expired. `body` is a usage event's text; a request's is never kept."""

    queue: str
    reason: str
    message_id: str = ""
    correlation_id: str = ""
    body: str | None = field(default=None, repr=False)


async def bury(pool: Pool, letters: Sequence[DeadLetter]) -> None:
    """Store dead letters. One that is delivered again is stored again: nothing is counted from this table."""
    rows = [tuple(_clean(text) for text in _texts(letter)) for letter in letters]
    await pool.execute(query("bury"), *zip(*rows, strict=True))


def _texts(letter: DeadLetter) -> tuple[str | None, ...]:
    return letter.queue, letter.reason, letter.message_id, letter.correlation_id, letter.body


def _clean(text: str | None) -> str | None:
    return None if text is None else text.replace("\0", "\ufffd")
