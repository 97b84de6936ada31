"""What an account has spent, as somebody says it has: in all, and in the window of its budget that lies open now."""

from decimal import Decimal

from api.management.office import Office
from ledger import keys
from ledger.pool import Connection
from policy.periods import window
from schemas.access import Account


async def set_spend(on: Connection, office: Office, account: Account, value: Decimal, period: str) -> None:
    """So much, in US dollars, counts against a budget with this period ("" is one for all time)."""
    now = office.now()
    bounds = window(period, now, office.zone) if period else None
    await keys.reset_spend(on, account, value, now, period, bounds)
