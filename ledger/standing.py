"""What payers have spent as a whole: who spent most, and setting all of it back to nothing."""

from ledger.pool import Asked, Connection
from ledger.sql import query


async def dearest_keys(on: Asked, user: str | None, limit: int, offset: int = 0) -> list[str]:
    """The ids of keys (of one user), the dearest first; those without spend come last."""
    return [row["id"] for row in await on.fetch(query("dearest_keys"), user, limit, offset)]


async def dearest_users(on: Asked, limit: int, offset: int = 0) -> list[str]:
    """The ids of users, the dearest first; those without spend come last."""
    return [row["id"] for row in await on.fetch(query("dearest_users"), limit, offset)]


async def reset(on: Connection, kinds: tuple[str, ...]) -> int:
    """Set the totals of all payers of these kinds to 0, and what is spent of their budgets' present windows.

    What they spend from then on counts; the spend logs and the daily sums stay. Answers how many totals there were.
    """
    status = await on.execute(query("reset_totals"), kinds)
    await on.execute(query("reset_balances"), kinds)
    return int(status.rsplit(" ", 1)[-1])
