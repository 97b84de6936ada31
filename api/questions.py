"""What a purse asks the ledger about one of its holdings; a question also tells what goes back and what was used."""

from ledger.leases import BudgetWish, RateWish
from policy.holdings import BudgetHolding, RateHolding
from schemas.access import Account

_OF_MEMBERS = {"member": "team", "organization_member": "organization"}


def budget_wish(n: int, holding: BudgetHolding, serial: int, lag: float, now: float) -> BudgetWish:
    """The question with the number `serial`; `lag` is how long after a call's deadline its cost may be unknown."""
    budget, back = holding.budget, holding.tells(serial, now)
    need, want = holding.wants(now) if holding.returns is None else (0, 0)
    holding.covering = holding.longest if need else holding.covers
    return BudgetWish(
        n=n,
        kind=budget.account.kind,
        id=budget.account.id,
        scope=budget.account.scope,
        period=budget.period,
        began=holding.began,
        ends=holding.ends,
        most=budget.most,
        soft=budget.soft,
        need=need,
        want=want,
        back=back,
        life=(holding.asked_life or holding.life) + holding.covering + lag,
        era=holding.era,
        serial=serial,
        sure=holding.sure,
        paid=holding.paid,
    )


def rate_wish(n: int, holding: RateHolding, now: float) -> RateWish:
    """What is wanted, and what was used since the last question."""
    rate = holding.rate
    holding.gives_back(now)
    need, want = holding.wants(now)
    ages, amounts = holding.report(now)
    return RateWish(
        n=n,
        kind=rate.account.kind,
        id=rate.account.id,
        scope=rate.account.scope,
        unit=rate.unit.value if rate.window in (0, 60) else f"{rate.unit.value} in {rate.window}",
        window=rate.window,
        most=rate.most,
        need=need,
        want=want,
        unused=holding.unused,
        ages=ages,
        amounts=amounts,
        life=holding.asked_life or holding.life,
    )


def names(account: Account) -> set[str]:
    """The entities (`key:<id>` …) on whose change an account's terms may change."""
    payer, _ = account.parted()
    if payer.kind in _OF_MEMBERS:
        return {f"{_OF_MEMBERS[payer.kind]}:{payer.id}", f"user:{payer.scope}"}
    return {f"{payer.kind}:{payer.id}"}
