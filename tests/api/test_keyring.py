"""What a process knows of keys: looked up once, true for a minute, void when anything about them changes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from api.authenticate import DoorRules, Gatekeeper
from api.keyring import KNOWN, Keyring
from ledger import changes
from ledger.pepper import Pepper
from ledger.pool import Pool, open_pool
from ledger.terms import Rules
from schemas.failures import Kind, Refused

PEPPER = Pepper(b"pepper")
KEY, OTHER = b"sk-one-0123456789abcdef", b"sk-two-0123456789abcdef"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    """Of the keyring."""
    return Clock()


@pytest.fixture
def keyring(pool: Pool, clock: Clock) -> Keyring:
    """With a real ledger, and a wall clock that goes with the other."""

    async def pepper() -> Pepper:
        return PEPPER

    return Keyring(pool, pepper, Rules(), clock, clock)


@pytest.fixture
async def away() -> AsyncIterator[Pool]:
    """A ledger that cannot be reached."""
    pool = await open_pool("postgresql://nobody@127.0.0.1:1/nothing")
    yield pool
    await pool.close()


async def store(pool: Pool, key: bytes, **columns: object) -> str:
    """A key; its id."""
    key_id = PEPPER.hash(key)
    await pool.execute("INSERT INTO virtual_keys (key_id, key_name) VALUES ($1, 'sk-...cdef')", key_id)
    await pool.execute("INSERT INTO key_hashes (hash, key_id) VALUES ($1, $1)", key_id)
    for name, value in columns.items():
        await pool.execute(f"UPDATE virtual_keys SET {name} = $1", value)
    return key_id


async def kind(keyring: Keyring, key: bytes, address: str = "1.1.1.1") -> Kind:
    """Why a key is refused."""
    with pytest.raises(Refused) as refused:
        await keyring.find(key, address)
    return refused.value.failure.kind


async def test_a_key_is_looked_up_once_however_many_ask(keyring: Keyring, pool: Pool, clock: Clock) -> None:
    key_id = await store(pool, KEY)
    assert keyring.known(KEY) is None
    found = await asyncio.gather(*(keyring.find(KEY, "1.1.1.1") for _ in range(20)))
    assert {access.caller.key_hash for access in found} == {key_id}
    assert keyring.lookups == 1
    clock.at += KNOWN - 1
    assert keyring.known(KEY) is found[0]
    clock.at += 1
    assert keyring.known(KEY) is None


async def test_an_unknown_key_costs_one_lookup_and_a_guesser_soon_waits(keyring: Keyring, clock: Clock) -> None:
    for _ in range(5):
        assert await kind(keyring, KEY) is Kind.KEY_UNKNOWN
    assert keyring.lookups == 1
    for n in range(70):
        await kind(keyring, b"sk-guess-%d" % n)
    assert keyring.lookups == 60
    assert await kind(keyring, b"sk-guess") is Kind.TOO_MANY_UNKNOWN
    assert await kind(keyring, b"sk-guess", "2.2.2.2") is Kind.KEY_UNKNOWN
    clock.at += 1
    assert await kind(keyring, b"sk-another") is Kind.KEY_UNKNOWN
    assert await kind(keyring, b"sk-third") is Kind.TOO_MANY_UNKNOWN


async def test_a_network_of_ipv6_is_one_guesser(keyring: Keyring) -> None:
    for n in range(70):
        await kind(keyring, b"sk-guess-%d" % n, f"2001:db8::{n:x}")
    assert keyring.lookups == 60


async def test_a_good_key_behind_a_guessers_address_gets_its_turn(keyring: Keyring, pool: Pool, clock: Clock) -> None:
    await store(pool, KEY)
    for n in range(70):
        await kind(keyring, b"sk-guess-%d" % n)
    clock.at += 1
    assert await keyring.find(KEY, "1.1.1.1")


async def test_who_guesses_does_not_lock_out_those_who_are_known(keyring: Keyring, pool: Pool) -> None:
    await store(pool, KEY)
    await keyring.find(KEY, "1.1.1.1")
    for n in range(70):
        await kind(keyring, b"sk-guess-%d" % n)
    assert keyring.known(KEY) is not None


@pytest.mark.parametrize("name", ["key", "team", "user", "organization", "budget"])
async def test_what_a_key_depends_on_makes_it_void(keyring: Keyring, pool: Pool, name: str) -> None:
    key_id = await store(pool, KEY, team_id="t", user_id="u", organization_id="o", budget_id="b")
    await pool.execute("INSERT INTO teams (team_id) VALUES ('t')")
    ids = {"key": key_id, "team": "t", "user": "u", "organization": "o", "budget": "b"}
    await keyring.find(KEY, "1.1.1.1")
    keyring.changed([f"{name}:another"])
    assert keyring.known(KEY) is not None
    keyring.changed([f"{name}:{ids[name]}"])
    assert keyring.known(KEY) is None


async def test_a_change_during_a_lookup_is_not_lost(keyring: Keyring, pool: Pool) -> None:
    key_id = await store(pool, KEY)
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("LOCK TABLE virtual_keys IN ACCESS EXCLUSIVE MODE")
            looking = asyncio.create_task(keyring.find(KEY, "1.1.1.1"))
            for _ in range(10):
                await asyncio.sleep(0)
            assert keyring.lookups == 1
            await connection.execute("UPDATE virtual_keys SET blocked = true")
        keyring.changed([f"key:{key_id}"])
    with pytest.raises(Refused):
        await looking


async def test_a_new_key_works_where_it_was_just_refused(keyring: Keyring, pool: Pool) -> None:
    assert await kind(keyring, KEY) is Kind.KEY_UNKNOWN
    key_id = await store(pool, KEY)
    keyring.changed([f"key:{key_id}"])
    assert (await keyring.find(KEY, "1.1.1.1")).caller.key_hash == key_id


async def test_what_has_ended_or_is_blocked_says_so(keyring: Keyring, pool: Pool, clock: Clock) -> None:
    await store(pool, KEY)
    await pool.execute("UPDATE virtual_keys SET expires = to_timestamp($1)", clock.at + 30)
    await keyring.find(KEY, "1.1.1.1")
    clock.at += 30
    with pytest.raises(Refused) as refused:
        keyring.known(KEY)
    assert refused.value.failure.kind is Kind.KEY_EXPIRED
    await pool.execute("UPDATE virtual_keys SET expires = NULL, blocked = true")
    keyring.changed([f"key:{PEPPER.hash(KEY)}"])
    assert await kind(keyring, KEY) is Kind.KEY_BLOCKED


async def test_a_ledger_that_is_away_leaves_known_keys_a_minute(
    keyring: Keyring, pool: Pool, away: Pool, clock: Clock
) -> None:
    await store(pool, KEY)
    await keyring.find(KEY, "1.1.1.1")
    keyring.pool = away
    clock.at += KNOWN - 1
    assert keyring.known(KEY) is not None
    clock.at += 1
    assert keyring.known(KEY) is None
    assert await kind(keyring, KEY) is Kind.LEDGER_DOWN
    assert await kind(keyring, OTHER) is Kind.LEDGER_DOWN
    keyring.pool = pool
    assert await keyring.find(KEY, "1.1.1.1")


async def test_changes_in_the_ledger_are_followed_and_keep_the_rest_true(
    keyring: Keyring, pool: Pool, clock: Clock
) -> None:
    key_id = await store(pool, KEY)
    await keyring.find(KEY, "1.1.1.1")
    heard: asyncio.Queue[list[str]] = asyncio.Queue()

    def changed(names: object) -> None:
        assert isinstance(names, list)
        keyring.changed(names)
        heard.put_nowait(names)

    following = asyncio.create_task(keyring.follow(changed))
    assert await heard.get() == []
    following.cancel()
    await keyring.find(KEY, "1.1.1.1")
    clock.at += 30
    following = asyncio.create_task(keyring.follow(changed))
    await heard.get()
    following.cancel()
    clock.at += KNOWN - 1
    lookups = keyring.lookups
    assert keyring.known(KEY) is not None
    assert keyring.lookups == lookups
    async with pool.acquire() as connection:
        await changes.note(connection, [f"key:{key_id}"])
    following = asyncio.create_task(keyring.follow(changed))
    assert await heard.get() == [f"key:{key_id}"]
    following.cancel()
    assert keyring.known(KEY) is None


async def test_a_key_of_a_team_that_is_not_there_calls_nothing_until_it_is(keyring: Keyring, pool: Pool) -> None:
    await store(pool, KEY, team_id="ghost", models=["all-team-models"])
    with pytest.raises(Refused) as refused:
        await keyring.find(KEY, "1.1.1.1")
    failure = refused.value.failure
    assert (failure.kind, failure.param, failure.row.status) == (Kind.TEAM_GONE, "team_id", 404)
    await pool.execute("INSERT INTO teams (team_id) VALUES ('ghost')")
    keyring.changed(["team:ghost"])
    assert (await keyring.find(KEY, "1.1.1.1")).caller.team == "ghost"


async def test_what_a_keys_calls_must_say_is_its_own_its_services_and_everybodys(keyring: Keyring, pool: Pool) -> None:
    await store(pool, KEY, metadata='{"enforced_params": ["user"]}', service=True)
    await keyring.find(KEY, "1.1.1.1")
    assert keyring.known(KEY).enforced == ("user",)  # type: ignore[union-attr]
    keyring.adopt(Rules(enforced_of_services=("seed",)))
    keeper = Gatekeeper(SecretStr("sk-master"), keyring, DoorRules(enforced=("metadata",)))

    def scope(key: bytes) -> dict[str, Any]:
        return {"headers": [(b"x-litellm-api-key", key)], "path": "/v1/embeddings", "method": "POST", "client": None}

    assert (await keeper.admit_to_inference(scope(KEY))).enforced == ("metadata", "seed", "user")
    assert (await keeper.admit_to_inference(scope(b"sk-master"))).enforced == ("metadata",)
