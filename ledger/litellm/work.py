"""What the stages of an import share: the two databases, what is being done, and what was learned on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.litellm.report import Report
from ledger.litellm.source import Row, Source
from ledger.litellm.spend import Spending
from ledger.litellm.store import Verdict, carry, complete
from ledger.litellm.values import Calendar, moment
from ledger.pepper import Pepper
from ledger.pool import Connection
from ledger.tenants import Table

KEPT = {
    Verdict.CHANGED_HERE: "was changed or made here and stays as it is",
    Verdict.DELETED_HERE: "was deleted here and stays so",
}


@dataclass(slots=True)
class Work:
    """One import. `spendings` are those of the stage that runs."""

    source: Source
    on: Connection
    pepper: Pepper
    calendar: Calendar
    report: Report
    overwrite: bool = False
    spendings: list[Spending] = field(default_factory=list)
    permissions: dict[str, Row] = field(default_factory=dict)  # LiteLLM's, by id
    budgets: dict[str, Row] = field(default_factory=dict)  # what counts of each, as `ended` gives it
    by_email: dict[str, str] = field(default_factory=dict)  # a user's id by the email in lower case
    claims: dict[str, set[str]] = field(default_factory=dict)  # a team's members as the users have it
    key_ids: set[str] = field(default_factory=set)
    new_key_told: bool = False
    keys: dict[str, str] = field(default_factory=dict)  # a key's id here by its name there

    async def store(
        self, entity: str, table: Table, rows: Sequence[Row], called: Sequence[str] | None = None
    ) -> list[Verdict]:
        """Rows of one entity, what became of them counted. `called`: how the report names each, else by its key."""
        names = called or [" in ".join(str(row[name]) for name in reversed(table.key)) for row in rows]
        completed = [complete(table, row, self.calendar.now) for row in rows]
        verdicts = await carry(self.on, entity, table, completed, overwrite=self.overwrite)
        for row, name, verdict in zip(rows, names, verdicts, strict=True):
            self.count(entity, name, verdict)
            if verdict.written:
                self._touch(entity, row[table.key[0]], verdict)
        return verdicts

    def _touch(self, entity: str, id: str, verdict: Verdict) -> None:
        """Nobody remembers a new key; but one name says to all that what was no key may be one now."""
        if entity == "key" and verdict is Verdict.NEW and self.new_key_told:
            return
        self.new_key_told |= entity == "key" and verdict is Verdict.NEW
        self.report.touched.add(f"{entity}:{id}")

    def count(self, entity: str, name: str, verdict: Verdict) -> None:
        """What became of one row."""
        tally = self.report.tally(entity)
        tally.found += 1
        match verdict:
            case Verdict.NEW:
                tally.new += 1
            case Verdict.UPDATED:
                tally.updated += 1
            case Verdict.UNCHANGED:
                tally.unchanged += 1
            case Verdict.CHANGED_HERE | Verdict.DELETED_HERE:
                tally.kept += 1
                self.report.about(entity, name)(KEPT[verdict])

    def spend(self, verdicts: Sequence[Verdict], spendings: Sequence[Spending | None]) -> None:
        """What the rows of a batch have spent; nothing of those that were deleted here."""
        pairs = zip(verdicts, spendings, strict=True)
        self.spendings += [one for verdict, one in pairs if one is not None and verdict is not Verdict.DELETED_HERE]

    def permission(self, row: Row) -> Row | None:
        """The row that says what an entity may use beside models."""
        return self.permissions.get(row.get("object_permission_id") or "")

    def linked(self, row: Row) -> Row:
        """What counts of the budget that a row is linked to."""
        return self.budgets.get(row.get("budget_id") or "", {})


def ended(terms: Row, row: Row) -> Row:
    """What counts of terms for spending, with the end of LiteLLM's window."""
    counted: dict[str, Any] = {name: terms.get(name) for name in ("max_budget", "soft_budget", "budget_duration")}
    return counted | {"ends": moment(row.get("budget_reset_at"))}
