"""The stages of an import before the keys: budgets, organizations, users, customers, tags."""

from collections.abc import Sequence

from ledger import tenants
from ledger.litellm import entities
from ledger.litellm.source import Row
from ledger.litellm.spend import Spending
from ledger.litellm.store import Verdict
from ledger.litellm.values import name, names
from ledger.litellm.work import Work, ended
from ledger.sql import query
from schemas.access import Account

_SCRYPT = "scrypt:"


async def budgets(work: Work) -> None:
    """Budgets; they are remembered for those who are linked to them."""
    permissions = await work.source.rows("ObjectPermissionTable", "object_permission_id")
    work.permissions = {row["object_permission_id"]: row for row in permissions}
    async for batch in work.source.batches("BudgetTable", "budget_id"):
        rows = [entities.budget(row, work.calendar, work.report.about("budget", row["budget_id"])) for row in batch]
        work.budgets |= {row["budget_id"]: ended(row, there) for row, there in zip(rows, batch, strict=True)}
        await work.store("budget", tenants.BUDGETS, rows)


async def organizations(work: Work) -> None:
    """Organizations."""
    async for batch in work.source.batches("OrganizationTable", "organization_id"):
        rows = [
            entities.organization(row, work.permission(row), work.report.about("organization", row["organization_id"]))
            for row in batch
        ]
        verdicts = await work.store("organization", tenants.ORGANIZATIONS, rows)
        work.spend(verdicts, _linked(work, "organization", "organization_id", batch))


async def organization_members(work: Work) -> None:
    """Who is in which organization, and what they have spent there."""
    async for batch in work.source.batches("OrganizationMembership", "organization_id", "user_id"):
        rows = [entities.organization_member(row) for row in batch]
        verdicts = await work.store("organization_member", tenants.ORGANIZATION_MEMBERS, rows)
        work.spend(verdicts, [_in_organization(work, row) for row in batch])
        written = [row["user_id"] for row, verdict in zip(rows, verdicts, strict=True) if verdict.written]
        work.report.touched.update(f"user:{user}" for user in written)


def _in_organization(work: Work, row: Row) -> Spending:
    account = Account("organization_member", row["organization_id"], row["user_id"])
    return entities.spending(account, row, None, work.linked(row))


async def users(work: Work) -> None:
    """Users with their passwords. The one that stands for the proxy is none, but what it has spent counts."""
    async for batch in work.source.batches("UserTable", "user_id"):
        people = []
        for row in batch:
            if row["user_id"] == entities.PROXY:
                _proxy(work, row)
            else:
                people.append(row)
        await _users(work, people)


async def customers(work: Work) -> None:
    """End users."""
    async for batch in work.source.batches("EndUserTable", "user_id"):
        rows = [entities.customer(row, work.permission(row)) for row in batch]
        verdicts = await work.store("customer", tenants.CUSTOMERS, rows)
        work.spend(verdicts, _linked(work, "customer", "user_id", batch))


async def tags(work: Work) -> None:
    """Tags."""
    async for batch in work.source.batches("TagTable", "tag_name"):
        rows = [entities.tag(row, work.report.about("tag", row["tag_name"])) for row in batch]
        verdicts = await work.store("tag", tenants.TAGS, rows)
        work.spend(verdicts, _linked(work, "tag", "tag_name", batch))


async def _users(work: Work, people: Sequence[Row]) -> None:
    rows = [
        entities.user(row, work.permission(row), work.calendar, work.report.about("user", row["user_id"]))
        for row in people
    ]
    work.by_email |= {row["user_email"].lower(): row["user_id"] for row in rows if row["user_email"]}
    for row in people:
        for team in names(row.get("teams")):
            work.claims.setdefault(team, set()).add(row["user_id"])
    verdicts = await work.store("user", tenants.USERS, rows)
    work.spend(
        verdicts,
        [
            entities.spending(Account("user", row["user_id"]), there, None, ended(row, there))
            for row, there in zip(rows, people, strict=True)
        ],
    )
    for row, verdict in zip(people, verdicts, strict=True):
        if verdict is Verdict.NEW and name(row.get("password")):
            await _password(work, row)


async def _password(work: Work, row: Row) -> None:
    """LiteLLM's present form is ours too; older ones can be computed back, and are not kept."""
    if not row["password"].startswith(_SCRYPT):
        work.report.about("user", row["user_id"])("the password is stored in an old way: it has to be set again")
        return
    reset = bool(row.get("password_reset_required"))
    await work.on.execute(query("litellm_password"), row["user_id"], row["password"], reset)


def _proxy(work: Work, row: Row) -> None:
    say = work.report.about("user", row["user_id"])
    terms = ended(entities.terms(row, work.calendar, say), row)
    work.spendings.append(entities.spending(Account("proxy", ""), row, None, terms))
    said = "it stands for the proxy, whose budget is litellm_settings.max_budget in the file; its spend is taken over"
    work.report.skip("user", row["user_id"], said)


def _linked(work: Work, kind: str, key: str, batch: Sequence[Row]) -> list[Spending]:
    """What entities have spent whose only budget is the one that they are linked to."""
    return [entities.spending(Account(kind, row[key]), row, None, work.linked(row)) for row in batch]
