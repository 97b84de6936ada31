"""The stage of keys: the rows, the hashes that prove them, and old secrets that still work for a while."""

from ledger import tenants
from ledger.litellm import entities, keys
from ledger.litellm.keys import Rotated
from ledger.litellm.source import Row
from ledger.litellm.store import Verdict
from ledger.litellm.work import Work, ended
from ledger.sql import query
from schemas.access import Account

_KEY = "key"


async def carry_keys(work: Work) -> Rotated:
    """All keys; what they were called before. The keys that have gone from the source are named."""
    rotated = Rotated(await work.source.rows("DeprecatedVerificationToken", "created_at"))
    new: set[str] = set()
    async for batch in work.source.batches("VerificationToken", "created_at", "token"):
        new |= await _keys(work, batch)
    await _old_secrets(work, rotated, new)
    for row in await work.on.fetch(query("litellm_keys_gone"), list(work.key_ids)):
        work.report.about(_KEY, row["called"])("came from LiteLLM, is not in this database, and still works here")
    return rotated


async def _keys(work: Work, batch: list[Row]) -> set[str]:
    """A batch; the ids of those that are new here."""
    rows, there = [], []
    for row in batch:
        key_id = _id(work, row)
        if key_id is not None:
            work.keys[row["token"]] = key_id
            say = work.report.about(_KEY, keys.called(row))
            rows.append(keys.key(row, key_id, work.permission(row), work.calendar, say))
            there.append(row)
    rows, there = await _without_taken(work, rows, there)
    verdicts = await work.store(_KEY, tenants.KEYS, rows, [keys.called(row) for row in there])
    work.spend(
        verdicts,
        [
            entities.spending(
                Account(_KEY, row["key_id"]), source, source.get("total_spend"), ended(row, source), work.linked(source)
            )
            for row, source in zip(rows, there, strict=True)
        ],
    )
    new = [row["key_id"] for row, verdict in zip(rows, verdicts, strict=True) if verdict is Verdict.NEW]
    await work.on.execute(query("litellm_hashes"), new, new, [None] * len(new))
    return set(new)


def _id(work: Work, row: Row) -> str | None:
    """What the key is called here; None when it is left out, which is said."""
    if row.get("team_id") == keys.SESSIONS:
        work.report.skip(_KEY, keys.called(row), "it is a session of LiteLLM's own pages")
        return None
    key_id = keys.hash_of(row.get("token"), work.pepper)
    if key_id is None:
        work.report.skip(_KEY, keys.called(row), "what is stored of it is no SHA-256")
    elif key_id in work.key_ids:
        work.report.skip(_KEY, keys.called(row), "it is there twice: as it is and as its SHA-256")
        return None
    else:
        work.key_ids.add(key_id)
    return key_id


async def _without_taken(work: Work, rows: list[Row], there: list[Row]) -> tuple[list[Row], list[Row]]:
    """Those whose secret is no other key's. A key whose alias is another's comes without it."""
    aliases = [row["key_alias"] for row in rows if row["key_alias"] is not None]
    found = await work.on.fetch(query("litellm_taken"), [row["key_id"] for row in rows], aliases)
    taken = {(row["what"], row["value"]): row["key_id"] for row in found}
    kept: list[Row] = []
    sources: list[Row] = []
    for row, source in zip(rows, there, strict=True):
        id, alias = row["key_id"], row["key_alias"]
        if taken.setdefault(("hash", id), id) != id:
            work.report.skip(_KEY, keys.called(source), "its secret is an old one of another key here")
            continue
        if alias is not None and taken.setdefault(("alias", alias), id) != id:
            work.report.about(_KEY, alias)("another key here has this alias: it comes without one")
            row = {**row, "key_alias": None}
        kept.append(row)
        sources.append(source)
    return kept, sources


async def _old_secrets(work: Work, rotated: Rotated, new: set[str]) -> None:
    """Secrets that were rotated away and have time left, of keys that are new here."""
    found = []
    for old in rotated.old:
        hash = keys.hash_of(old.token, work.pepper)
        key_id = work.keys.get(rotated.active(old.token))
        if hash is not None and key_id in new and old.until > work.calendar.now:
            found.append((hash, key_id, old.until))
    if found:
        await work.on.execute(query("litellm_hashes"), *(list(column) for column in zip(*found, strict=True)))
