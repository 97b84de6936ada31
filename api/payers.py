"""Who pays beside the key: the end user and the tags that a request names, where anything is known of them."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from ledger.access import Payer, find_payers, payers_exist
from ledger.pool import Pool, ledger_needed
from ledger.rows import END_USER
from schemas.access import Account
from schemas.failures import Kind, Refused
from schemas.usage import Caller

_KNOWN = 60.0  # seconds for which something read is believed
_MOST = 10_000
_NONE: tuple[Payer, ...] = ()


class Payers:
    """Customers and tags, remembered for a minute; while there are none in the ledger, nothing is asked."""

    def __init__(self, pool: Pool, clock: Callable[[], float], default: str | None = None) -> None:
        self._pool = pool
        self._clock = clock
        self._default = default  # the budget of customers who have none of their own
        self._changes = 0
        self._exist = (True, True)  # customers, tags
        self._looked = -math.inf
        self._found: OrderedDict[tuple[Account, str], tuple[float, Payer | None]] = OrderedDict()

    def known(self, caller: Caller, budget: str = "") -> Sequence[Payer] | None:
        """What is remembered; None when the ledger must be asked. `budget`: see `find`."""
        if not caller.end_user and not caller.tags:
            return _NONE
        now = self._clock()
        if now - self._looked > _KNOWN:
            return None
        found = []
        for account in self._accounts(caller, budget):
            kept = self._found.get((account, budget))
            if kept is None or now > kept[0]:
                return None
            if kept[1] is not None:
                found.append(kept[1])
        return found

    async def find(self, caller: Caller, budget: str = "") -> Sequence[Payer]:
        """Who pays. `budget`, if there is such, goes before the default of customers. Raises `Refused(LEDGER_DOWN)`."""
        with ledger_needed():
            while True:
                before = self._changes
                if self._clock() - self._looked > _KNOWN:
                    customers, tags = await payers_exist(self._pool)
                    self._exist, self._looked = (customers or self._default is not None, tags), self._clock()
                accounts = self._accounts(caller, budget)
                if not accounts:
                    return _NONE
                asked = self._clock()
                defaults = [name for name in (budget, self._default) if name]
                found = await find_payers(self._pool, caller.end_user, caller.tags, defaults)
                if before == self._changes:  # else it may be what it was before the change
                    break
        for account in accounts:
            self._found[account, budget] = (asked + _KNOWN, found.get(account))
            self._found.move_to_end((account, budget))
        while len(self._found) > _MOST:
            self._found.popitem(last=False)
        return [found[account] for account in accounts if account in found]

    def changed(self, names: Iterable[str]) -> None:
        """Customers, tags or budgets are others now."""
        if any(name.startswith(("customer:", "tag:", "budget:")) for name in names):
            self._forget()

    def adopt(self, default: str | None) -> None:
        """From now on this is the budget of customers who have none of their own."""
        self._default = default
        self._forget()

    def _forget(self) -> None:
        self._changes += 1
        self._found.clear()
        self._looked = -math.inf

    def _accounts(self, caller: Caller, budget: str) -> list[Account]:
        customers, tags = self._exist
        limited = (customers or budget) and 0 < len(caller.end_user) <= END_USER
        found = [Account("customer", caller.end_user)] if limited else []
        return found + ([Account("tag", tag) for tag in caller.tags if len(tag) <= 150] if tags else [])


def refuse_blocked(payers: Iterable[Payer]) -> None:
    """Raises `Refused` for a customer who is blocked."""
    for payer in payers:
        if payer.blocked:
            raise Refused(Kind.KEY_BLOCKED, "Authentication Error, the end user of this request is blocked.")
