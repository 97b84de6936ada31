"""A keyring while keys change all the time: lookups end, and nothing old is remembered."""

import asyncio

import pytest

from api import keyring as module
from api.keyring import Keyring
from ledger.pepper import Pepper
from ledger.pool import Pool
from ledger.terms import Rules
from schemas.access import Access
from schemas.usage import Caller

KEY = b"sk-one-0123456789abcdef"


async def test_a_lookup_ends_though_something_changes_all_the_time(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = asyncio.get_running_loop().time

    async def pepper() -> Pepper:
        return Pepper(b"pepper")

    async def find_key(*_: object) -> Access:
        await asyncio.sleep(0)
        ring.changed(["key:another"])
        return Access(caller=Caller(key_hash="k"))

    monkeypatch.setattr(module, "find_key", find_key)
    ring = Keyring(pool, pepper, Rules(), clock, clock)
    async with asyncio.timeout(5):
        assert (await ring.find(KEY, "1.1.1.1")).caller.key_hash == "k"
    assert ring.known(KEY) is None
