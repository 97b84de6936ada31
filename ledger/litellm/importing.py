"""The import of a LiteLLM database: its stages in order, each in a transaction of its own.

A stage that was done once does nothing the second time, so one that was interrupted is simply begun again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime

from ledger import audit, changes
from ledger.litellm import stage_entities, stage_keys, stage_teams
from ledger.litellm.ciphers import Cipher
from ledger.litellm.configuration import written
from ledger.litellm.days import DIMENSIONS, TABLES, Dimension, carry_days
from ledger.litellm.keys import Rotated
from ledger.litellm.logs import carry_logs
from ledger.litellm.report import Report
from ledger.litellm.source import Source
from ledger.litellm.spend import carry_spend
from ledger.litellm.stage_models import BY, Models, Vault
from ledger.litellm.values import Calendar
from ledger.litellm.work import Work
from ledger.pepper import Pepper
from ledger.pool import Connection
from ledger.sql import query

_READ = (
    "BudgetTable",
    "BudgetWindowSpend",
    "CredentialsTable",
    "Config",
    "DeprecatedVerificationToken",
    "EndUserTable",
    "ModelTable",
    "ObjectPermissionTable",
    "OrganizationMembership",
    "OrganizationTable",
    "ProxyModelTable",
    "TagTable",
    "TeamMembership",
    "TeamTable",
    "UserTable",
    "VerificationToken",
)
_OF_ITS_OWN = (
    "CronJob",
    "DailyGatewayFailedRequests",
    "DailyGatewayRequests",
    "DailyModelUsage",
    "DailyRequestErrors",
    "HealthCheckTable",
    "ProxyWorkerHeartbeat",
    "SpendLogGuardrailIndex",
    "SpendLogToolIndex",
    "TelemetryReport",
)
"""Tables for LiteLLM's own work, whose loss nobody notices."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done. `tell` hears of each stage that is done."""

    pepper: Callable[[Connection], Awaitable[Pepper]]
    calendar: Calendar
    cipher: Cipher | None
    vault: Vault
    tell: Callable[[str], None]
    logs_since: datetime | None = None  # single calls that began then or later; None: none
    overwrite: bool = False
    dry_run: bool = False


async def carry_over(source: Source, on: Connection, order: Order) -> Report:
    """Everything, or with `dry_run` everything and then back again. Raises what asyncpg raises."""
    report = Report()
    async with AsyncExitStack() as stack:
        if order.dry_run:
            await stack.enter_async_context(_undone(on))
        work = Work(source, on, await order.pepper(on), order.calendar, report, order.overwrite)
        for stage in _STAGES:
            await _stage(work, order, stage)
        rotated: list[Rotated] = []

        async def keys(of: Work) -> None:
            rotated.append(await stage_keys.carry_keys(of))

        await _stage(work, order, keys)
        models = Models(work, order.cipher, order.vault)
        await _stage(work, order, lambda _: models.carry())
        for dimension in DIMENSIONS:
            await _days(work, order, dimension, rotated[0])
        if order.logs_since is not None:
            await _logs(work, order, order.logs_since, rotated[0])
        report.models_changed = models.changed
        report.configuration = written(await source.rows("Config", "param_name"))
        logs = () if order.logs_since is None else ("SpendLogs",)
        report.left = await source.filled({*_READ, *TABLES, *_OF_ITS_OWN, *logs})
        await _record(work)
    return report


_STAGES: Sequence[Callable[[Work], Awaitable[None]]] = (
    stage_entities.budgets,
    stage_entities.organizations,
    stage_entities.users,
    stage_entities.organization_members,
    stage_teams.teams,
    stage_entities.customers,
    stage_entities.tags,
)


async def _stage(work: Work, order: Order, stage: Callable[[Work], Awaitable[None]]) -> None:
    """The rows, and then what they have spent: totals and balances are locked last, and in order."""
    before, touched = set(work.report.tallies), set(work.report.touched)
    async with work.on.transaction():
        await work.on.execute(query("litellm_lock"))
        await stage(work)
        await carry_spend(work.on, work.spendings, order.calendar)
        if news := work.report.touched - touched:
            await changes.note(work.on, news)
    work.spendings.clear()
    for entity in work.report.tallies.keys() - before:
        order.tell(entity)


async def _days(work: Work, order: Order, dimension: Dimension, rotated: Rotated) -> None:
    def named(value: str) -> str:
        return work.keys.get(rotated.active(value), value) if dimension.name == "key" else value

    entity = f"days_by_{dimension.name}"
    async with work.on.transaction():
        await work.on.execute(query("litellm_lock"))
        odd = work.report.about(entity, dimension.table)
        counts = await carry_days(work.on, work.source, dimension, named, lambda day: odd(f"'{day[:20]}' is no date"))
    if counts.found:
        tally = work.report.tally(entity)
        tally.found, tally.updated, tally.unchanged = counts.found, counts.moved, counts.found - counts.moved
        order.tell(entity)


async def _logs(work: Work, order: Order, since: datetime, rotated: Rotated) -> None:
    """Not in one transaction: there can be any number of them, and each is complete in itself."""
    tally = work.report.tally("spend_log")

    def counted(found: int, new: int) -> None:
        tally.found, tally.new, tally.unchanged = tally.found + found, tally.new + new, tally.unchanged + found - new

    def named(token: str) -> str:
        return work.keys.get(rotated.active(token), token)

    await carry_logs(work.on, work.source, since, named, counted)
    order.tell("spend_log")


async def _record(work: Work) -> None:
    """One entry of the audit log."""
    done = {entity: asdict(tally) for entity, tally in work.report.tallies.items()}
    await audit.record(work.on, audit.Entry(BY, "", "imported", "litellm", "litellm", None, done))


@asynccontextmanager
async def _undone(on: Connection) -> AsyncIterator[None]:
    transaction = on.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()
