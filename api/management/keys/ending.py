"""A key is removed, or its spend begins anew."""

from typing import Any

from api.management.keys import rights
from api.management.keys.bodies import MOST, Reset, Which
from api.management.keys.changing import peppered, wanted
from api.management.keys.desk import Work
from api.management.keys.rights import Act
from api.management.keys.shown import period_of, shown
from api.management.metadata import recorded
from api.management.spending import set_spend
from ledger import keys as stored_keys
from ledger import tenants
from schemas.access import Account
from schemas.failures import Kind, Refused


async def delete(work: Work, body: Which) -> dict[str, Any]:
    """Remove all these keys, or none when the caller may not remove one of them. 404 when there is none.

    What was named and is not there is left out of the answer.
    """
    pepper = await peppered(work)
    async with work.office.change(work.access) as change:
        on = change.connection
        names = await stored_keys.identify(on, pepper, body.keys or [], work.office.now())
        aliased = await tenants.matching(on, tenants.KEYS, {"key_alias": body.key_aliases or []}, limit=MOST)
        names |= {row["key_alias"]: row["key_id"] for row in aliased}
        ids = sorted(set(names.values()))  # in order: two who delete the same keys do not block each other
        for key_id in ids:
            row = await tenants.find(on, tenants.KEYS, key_id, lock=True)
            if row is not None:
                await rights.may_touch(on, work, row, Act.DELETE)
                await change.record("deleted", "key", key_id, recorded(row), None)
        await stored_keys.drop(on, ids)
    if not names:
        raise Refused(Kind.NOT_FOUND, "No keys found.", param="keys")
    asked = [*(body.keys or []), *(body.key_aliases or [])]
    return {"deleted_keys": [one for one in asked if one in names]}


async def reset_spend(work: Work, given: str, body: Reset) -> dict[str, Any]:
    """The key has spent `reset_to` US dollars, which is not more than it has, nor than it may; what it had before."""
    pepper = await peppered(work)
    async with work.office.change(work.access) as change:
        on = change.connection
        row = await wanted(on, work, pepper, given)
        await rights.must_be_in_charge(on, work, row, "reset the spend of this key")
        before = (await shown(on, work.office, [row]))[0]
        budget = before["litellm_budget_table"]
        bounds = (before["spend"], row["max_budget"], budget["max_budget"] if budget else None)
        for bound in bounds:
            if bound is not None and body.reset_to > bound:
                message = f"reset_to {body.reset_to} is more than the key's spend or budget, {bound}."
                raise Refused(Kind.INVALID_REQUEST, message, param="reset_to")
        account, period = Account("key", row["key_id"]), period_of(row, budget)
        await set_spend(on, work.office, account, body.reset_to, period)
        spends = ({"spend": before["spend"]}, {"spend": body.reset_to})
        await change.record("spend reset", "key", row["key_id"], *spends)
    return {
        "key_hash": row["key_id"],
        "spend": body.reset_to,
        "previous_spend": before["spend"],
        "max_budget": row["max_budget"],
        "budget_reset_at": before["budget_reset_at"],
    }
