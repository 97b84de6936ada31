"""`/team/{team_id}/member/{user_id}/reset_spend` and `reset_budget`: a member begins anew."""

from decimal import Decimal
from typing import NamedTuple

from fastapi import APIRouter, Response

from api.management.fields import Body, Money, Name
from api.management.office import Caller, Change, Desk, answer
from api.management.spending import set_spend
from api.management.teams.budgets import default_of
from api.management.teams.joining import check_self
from api.management.teams.rights import managed
from ledger import tenants
from ledger.balances import Spent, spent
from ledger.tenants import Row
from schemas.access import Account
from schemas.failures import Kind, Refused

ROUTER = APIRouter(tags=["teams"])


class Reset(Body):
    """The body of `reset_spend`."""

    reset_to: Money


class _Place(NamedTuple):
    """A member of a team, locked, with the budget that he has there."""

    team: Row
    member: Row
    budget: Row


@ROUTER.post("/team/{team_id}/member/{user_id}/reset_spend")
async def reset_spend(team_id: Name, user_id: Name, body: Reset, desk: Desk, caller: Caller) -> Response:
    """The member has spent `reset_to` US dollars in the team, not more than he has, nor than he may."""
    async with desk.change(caller) as change:
        place = await _place(change, team_id, user_id)
        check_self(caller, user_id, None, limits=True)
        account, period = Account("member", team_id, user_id), place.budget.get("budget_duration") or ""
        before = (await spent(change.connection, [(account, period)]))[account]
        _check_amount(body.reset_to, before, place.budget.get("max_budget"))
        await set_spend(change.connection, desk, account, body.reset_to, period)
        change.touches("user", user_id)
        change_of = {"user_id": user_id, "spend": before.window}, {"user_id": user_id, "spend": body.reset_to}
        await change.record("spend_reset", "team", team_id, *change_of)
    return answer(
        {
            "team_id": team_id,
            "user_id": user_id,
            "spend": body.reset_to,
            "previous_spend": before.window,
            "max_budget": place.budget.get("max_budget"),
        }
    )


@ROUTER.post("/team/{team_id}/member/{user_id}/reset_budget")
async def reset_budget(team_id: Name, user_id: Name, desk: Desk, caller: Caller) -> Response:
    """The member has the budget that all have by default, or none when there is no such."""
    async with desk.change(caller) as change:
        place = await _place(change, team_id, user_id)
        check_self(caller, user_id, None, limits=True)
        default = await default_of(change, place.team)
        budget_id = None if default is None else default["budget_id"]
        values = {"budget_id": budget_id}
        row = await tenants.change(change.connection, tenants.TEAM_MEMBERS, [team_id, user_id], values)
        change.touches("user", user_id)
        await change.record("member_updated", "team", team_id, place.member, row)
    return answer(
        {
            "team_id": team_id,
            "user_id": user_id,
            "budget_id": budget_id,
            "previous_budget_id": place.member["budget_id"],
            "budget_source": "none" if budget_id is None else "team_default",
        }
    )


async def _place(change: Change, team_id: str, user_id: str) -> _Place:
    team = await managed(change.connection, change.access, team_id, lock=True)
    member = await tenants.find(change.connection, tenants.TEAM_MEMBERS, team_id, user_id, lock=True)
    if member is None:
        raise Refused(Kind.NOT_FOUND, f"'{user_id}' is not a member of the team '{team_id}'.", param="user_id")
    budget_id = member["budget_id"]
    budget = None if budget_id is None else await tenants.find(change.connection, tenants.BUDGETS, budget_id)
    return _Place(team, member, budget or {})


def _check_amount(wanted: Decimal, before: Spent, most: Decimal | None) -> None:
    if wanted > before.window:
        raise Refused(
            Kind.INVALID_REQUEST, f"reset_to ({wanted}) is more than was spent ({before.window}).", param="reset_to"
        )
    if most is not None and wanted > most:
        raise Refused(Kind.INVALID_REQUEST, f"reset_to ({wanted}) is above the budget ({most}).", param="reset_to")
