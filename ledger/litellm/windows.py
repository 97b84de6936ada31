"""What members of teams have spent on single models in the present windows of their budgets: LiteLLM keeps that apart.

It has these rows only where it works without Redis. Of other payers the daily sums say as much.
"""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from ledger.litellm.source import Row, Source
from ledger.litellm.spend import Spending
from ledger.litellm.values import Calendar, moment, spent
from schemas.access import Account

_KIND, _MEMBERS = "model_max_budget", "team_member_model_spend:"
Windows = dict[str, list[tuple[str, Row]]]
"""By user: `<team>:<model>` and the row."""


async def member_windows(source: Source) -> Windows:
    """Rows whose `entity_id` is `team_member_model_spend:<length of user>:<user>:<team>:<model>:<duration>`."""
    found: Windows = defaultdict(list)
    async for batch in source.batches("BudgetWindowSpend", "entity_id"):
        for row in batch:
            length, _, rest = row["entity_id"].removeprefix(_MEMBERS).partition(":")
            if row["entity_type"] == _KIND and row["entity_id"].startswith(_MEMBERS) and length.isdecimal():
                user, rest = rest[: int(length)], rest[int(length) + 1 :]
                found[user].append((rest.removesuffix(f":{row['window_duration']}"), row))
    return found


def spendings(windows: Windows, team: str, user: str, calendar: Calendar) -> Iterable[Spending]:
    """What a member of a team has spent on each model, in windows that have not ended."""
    for place, row in windows.get(user, ()):
        period = calendar.period(row["window_duration"], lambda _: None)
        if not place.startswith(f"{team}:") or period is None:
            continue
        began, ends = calendar.window(period, calendar.now)
        account = Account("member", team, user).on(place.removeprefix(f"{team}:"))
        over = (moment(row["window_start"]) or began) + (ends - began)
        yield Spending(account, Decimal(0), spent(row["spend"]), period, over)
