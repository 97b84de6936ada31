"""Passwords and invitations: who may set what, and that a hash is never seen."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from api.management.users import passwords
from ledger import users
from ledger.pool import Pool
from schemas.access import Role
from tests.management.tenancy import belongs, organization, person, tenancy
from tests.support.audit import audited
from tests.support.office import ADMIN, Bureau

GOOD, BETTER = "correct horse battery", "staple correct horse"


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The routes of teams and users, with a user `u`."""
    async with tenancy(pool) as found:
        await found.post("/user/new", user_id="u", auto_create_key=False)
        yield found


async def stored(office: Bureau, user_id: str) -> str:
    """The hash of the user's password."""
    found = await users.password(office.pool, user_id)
    assert found is not None
    return found


async def test_a_password_is_set_by_an_admin_and_changed_by_its_user(office: Bureau) -> None:
    await office.post("/user/update", 400, user_id="u", password="too short")
    answer = await office.post("/user/update", user_id="u", password=GOOD)
    assert await passwords.matches(GOOD, await stored(office, "u"))
    assert await office.pool.fetchval("SELECT reset_required FROM passwords")
    office.access = person("u")
    change = "/user/password/change"
    await office.post(change, 400, current_password="wrong password", new_password=BETTER)
    await office.post(change, 400, current_password=GOOD, new_password=GOOD)
    await office.post(change, 400, current_password=GOOD, new_password="short")
    await office.post(change, 400, current_password=GOOD, new_password="x" * 1025)
    assert await passwords.matches(GOOD, await stored(office, "u"))
    await office.post(change, current_password=GOOD, new_password=BETTER)
    assert await passwords.matches(BETTER, await stored(office, "u"))
    assert not await passwords.matches(GOOD, await stored(office, "u"))
    assert not await office.pool.fetchval("SELECT reset_required FROM passwords")
    await office.post("/user/update", 403, user_id="u", password=GOOD)
    office.access = ADMIN
    seen = [answer, await office.get("/user/info", user_id="u"), await office.get("/user/list")]
    seen += [await audited(office.pool)]
    for secret in (GOOD, BETTER, await stored(office, "u"), "scrypt"):
        assert secret not in str(seen)
    await office.post("/user/delete", user_ids=["u"])
    assert await users.password(office.pool, "u") is None


async def test_who_has_no_password_cannot_change_it(office: Bureau) -> None:
    office.access = person("u")
    await office.post("/user/password/change", 400, current_password=GOOD, new_password=BETTER)
    office.access = person("")
    await office.post("/user/password/change", 400, current_password=GOOD, new_password=BETTER)


async def test_secrets_are_not_kept_with_the_user(office: Bureau) -> None:
    everybody = {"all_users": True, "user_updates": {"password": GOOD, "rpm_limit": 1}}
    await office.post("/user/bulk_update", 400, **everybody)
    await office.post("/user/new", 400, user_id="n", password=GOOD)
    made = await office.post("/user/new", user_id="n", key=GOOD, token=GOOD, auto_create_key=False)
    await office.post("/user/update", user_id="n", key=GOOD, password=None)
    assert GOOD not in str([made, await office.get("/user/list"), await audited(office.pool)])
    assert GOOD not in str(await office.pool.fetch("SELECT * FROM users"))


async def test_a_wrong_type_is_refused_without_its_value(office: Bureau) -> None:
    answer = await office.post("/user/update", 400, user_id="u", password=[GOOD])
    assert GOOD not in str(answer)


LITELLM = "AAECAwQFBgcICQoLDA0OD+luxrqMY6I2mCIPN8f8BCkl1DDH/q3snOsErwPKu58v"
"""Salt and scrypt (n 16384, r 8, p 1, 32 bytes) of GOOD, as LiteLLM 1.109 keeps it."""


@pytest.mark.parametrize(
    ("kept", "fits"),
    [
        (f"scrypt:{LITELLM}", True),
        (f"sha256:{LITELLM}", False),
        (LITELLM, False),
        ("scrypt:not base64", False),
        ("scrypt:", False),
        ("", False),
    ],
)
async def test_which_stored_forms_are_understood(kept: str, fits: bool) -> None:
    assert await passwords.matches(GOOD, kept) is fits
    assert not await passwords.matches(BETTER, kept)


async def test_an_invitation_from_first_to_last(office: Bureau) -> None:
    made = await office.post("/invitation/new", user_id="u")
    assert (made["user_id"], made["is_accepted"], made["accepted_at"]) == ("u", False, None)
    week = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert week == timedelta(days=7)
    assert await office.get("/invitation/info", invitation_id=made["id"]) == made
    changed = await office.post("/invitation/update", invitation_id=made["id"], is_accepted=True)
    assert changed["is_accepted"]
    assert changed["accepted_at"] is not None
    assert made["id"] not in str(await audited(office.pool)), "who has the id could use it"
    assert (await office.post("/invitation/delete", invitation_id=made["id"]))["id"] == made["id"]
    await office.get("/invitation/info", 400, invitation_id=made["id"])
    await office.post("/invitation/delete", 400, invitation_id=made["id"])
    await office.post("/invitation/new", 400, user_id="none")
    await office.post("/invitation/new", user_id="u")
    await office.post("/user/delete", user_ids=["u"])
    assert await office.pool.fetchval("SELECT count(*) FROM invitations") == 0


async def test_who_may_invite_whom(office: Bureau) -> None:
    await organization(office.pool, "o")
    for team in ("t", "s"):
        await office.post("/team/new", team_id=team)
    for user_id, role, teams in (
        ("mine", "internal_user", ["t"]),
        ("another's", "internal_user", ["t"]),
        ("elsewhere too", "internal_user", ["t", "s"]),
        ("boss", "proxy_admin", ["t"]),
        ("chief", "internal_user", ["t"]),
        ("known", "internal_user", ["t"]),
        ("in o", "internal_user", []),
        ("boss in o", "proxy_admin_viewer", []),
    ):
        await office.post("/user/new", user_id=user_id, user_role=role, teams=teams, auto_create_key=False)
    await office.post("/team/member_add", team_id="s", member={"user_id": "chief", "role": "admin"})
    await office.post("/user/update", user_id="known", password=GOOD)
    for user_id in ("in o", "boss in o"):
        await belongs(office.pool, "o", user_id)
    await office.pool.execute("UPDATE users SET created_by = 'a' WHERE user_id <> 'another''s'")
    invited = {
        "team admin": (person("a", admin_of=("t",)), {"mine"}),
        "organization's admin": (person("b", organizations=("o",)), {"in o"}),
        "member": (person("c", teams=("t",)), set()),
        "viewer": (person("d", Role.VIEWER), set()),
    }
    for access, expected in invited.values():
        office.access = access
        for user_id in ("mine", "another's", "elsewhere too", "boss", "chief", "known", "in o", "boss in o", "u"):
            status = 200 if user_id in expected else 403
            made = await office.post("/invitation/new", status, user_id=user_id)
            if status == 200:
                await office.get("/invitation/info", 403, invitation_id=made["id"])
                await office.post("/invitation/update", invitation_id=made["id"], is_accepted=True)
                await office.post("/invitation/update", 403, invitation_id=made["id"], is_accepted=False)
                office.access = person("somebody", admin_of=("t",), organizations=("o",))
                await office.post("/invitation/update", 403, invitation_id=made["id"], is_accepted=True)
                await office.post("/invitation/delete", 403, invitation_id=made["id"])
                office.access = access
                await office.post("/invitation/delete", invitation_id=made["id"])
