"""A key's new secret: the old one works as long as it is told to; when the next is due is only shown."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api.management.keys import KeyRules
from ledger import keys as stored_keys
from ledger.pool import Pool
from tests.support.audit import audited
from tests.support.keys import KeyBureau, key_bureau


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[KeyBureau]:
    async with key_bureau(pool) as found:
        yield found


async def works(office: KeyBureau, secret: str) -> bool:
    """Whether the secret proves anything now."""
    found = await stored_keys.identify(office.pool, office.pepper, [secret], office.now)
    return secret in found


async def test_the_old_secret_is_void_at_once_without_grace(office: KeyBureau) -> None:
    made = await office.post("/key/generate", key_alias="a", max_budget=3)
    said = await office.post("/key/regenerate", key=made["key"], max_budget=4, metadata={"x": 1})
    assert said["key"] != made["key"]
    assert (said["token"], said["token_id"], said["key_alias"]) == (made["token"], made["token"], "a")
    assert said["key_name"] == f"sk-...{said['key'][-4:]}"
    assert (said["max_budget"], said["metadata"], said["rotation_count"]) == (4, {"x": 1}, 1)
    assert said["last_rotation_at"] == "2026-03-04T12:00:00Z"
    assert not await works(office, made["key"])
    assert await works(office, said["key"])
    await office.get("/key/info", 404, key=made["key"])
    await office.post("/key/regenerate", 404, key=made["key"])
    assert office.told[-1] == frozenset({f"key:{made['token']}"})
    log = await audited(office.pool, action="rotated")
    assert made["key"] not in str(log)
    assert said["key"] not in str(log)


async def test_the_old_secret_works_until_its_grace_ends(office: KeyBureau) -> None:
    first = await office.post("/key/generate")
    second = await office.post(f"/key/{first['key']}/regenerate", grace_period="24h")
    office.now += timedelta(hours=23)
    assert (await office.get("/key/info", key=first["key"]))["info"]["token"] == first["token"]
    third = await office.post(f"/key/{first['key']}/regenerate", grace_period="24h")
    assert [await works(office, one["key"]) for one in (first, second, third)] == [True, True, True]
    office.now += timedelta(hours=1)
    assert [await works(office, one["key"]) for one in (first, second, third)] == [False, True, True]
    last = await office.post(f"/key/{first['token']}/regenerate")
    assert [await works(office, one["key"]) for one in (second, third, last)] == [False, False, True]
    assert (await office.row(first["token"]))["rotation_count"] == 3


async def test_a_secret_may_be_chosen_and_is_nobody_elses(office: KeyBureau) -> None:
    made, other = await office.post("/key/generate"), await office.post("/key/generate")
    await office.post("/key/regenerate", 400, key=made["key"], new_key="sk-short")
    await office.post("/key/regenerate", 400, key=made["key"], new_key=other["key"])
    await office.post("/key/regenerate", 400)
    assert (await office.post("/key/regenerate", key=made["key"], new_key="sk-chosen-by-hand"))["key"] == (
        "sk-chosen-by-hand"
    )
    await office.post("/key/generate", 400, key=made["key"])  # its hash is the key's id, which logs name
    await office.post("/key/regenerate", 400, key=other["key"], new_key=made["key"])
    back = await office.post("/key/regenerate", key=made["token"], new_key=made["key"])
    assert await works(office, back["key"])


async def test_the_configurations_grace_is_what_is_not_said(pool: Pool) -> None:
    async with key_bureau(pool, KeyRules(grace="1h", custom=False)) as office:
        made = await office.post("/key/generate")
        await office.post("/key/regenerate", key=made["key"])
        assert await works(office, made["key"])
        await office.post("/key/regenerate", 403, key=made["key"], new_key="sk-chosen-by-hand")
        await office.post("/key/generate", 403, key="sk-chosen-by-hand")


async def test_when_it_is_due_follows_what_is_set(office: KeyBureau) -> None:
    key = await office.post("/key/generate", auto_rotate=True, rotation_interval="30d")
    assert key["key_rotation_at"] == "2026-04-03T12:00:00Z"
    changed = await office.post("/key/update", key=key["key"], rotation_interval="1d")
    assert changed["key_rotation_at"] == "2026-03-05T12:00:00Z"
    changed = await office.post("/key/update", key=key["key"], auto_rotate=False)
    assert (changed["auto_rotate"], changed["key_rotation_at"]) == (False, None)
    await office.post("/key/update", 400, key=key["key"], auto_rotate=True, rotation_interval=None)
    office.now += timedelta(days=1)
    changed = await office.post("/key/update", key=key["key"], auto_rotate=True)
    assert changed["key_rotation_at"] == "2026-03-06T12:00:00Z"
    office.now += timedelta(hours=1)
    rotated = await office.post("/key/regenerate", key=key["key"])
    assert rotated["key_rotation_at"] == "2026-03-06T13:00:00Z"
