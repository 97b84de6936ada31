"""`/audit`: what was recorded is found again, page by page and by what one asks for; only for those who read all."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from api.management import audit, budgets
from ledger.audit import Entry, record
from ledger.pool import Pool
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.support.office import ADMIN, Bureau, bureau

FIELDS = {
    "id",
    "updated_at",
    "changed_by",
    "changed_by_api_key",
    "action",
    "table_name",
    "object_id",
    "before_value",
    "updated_values",
}


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Bureau]:
    """The audit routes over five entries."""
    entries = [
        Entry("ada", "hash-a", "created", "key", "k1", None, {"max_budget": 1}),
        Entry("ada", "hash-a", "updated", "key", "k1", {"max_budget": 1}, {"max_budget": 2}),
        Entry("bob", "hash-b", "created", "team", "t1", None, {"team_alias": "x"}),
        Entry("bob", "hash-b", "deleted", "team", "t1", {"team_alias": "x"}, None),
        Entry("ada", "hash-b", "rotated", "key", "k2"),
    ]
    async with pool.acquire() as connection:
        for one in entries:
            await record(connection, one)
    async with bureau(pool, audit.ROUTER) as found:
        yield found


async def ids(office: Bureau, **query: object) -> list[tuple[str, str]]:
    found = await office.get("/audit", **query)
    assert found["total"] == len(found["audit_logs"])
    return [(row["action"], row["object_id"]) for row in found["audit_logs"]]


async def test_an_entry_has_the_fields_of_litellm(office: Bureau) -> None:
    (row,) = (await office.get("/audit", action="updated"))["audit_logs"]
    assert set(row) == FIELDS
    assert row["table_name"] == "LiteLLM_VerificationToken"
    assert (row["before_value"], row["updated_values"]) == ({"max_budget": 1}, {"max_budget": 2})
    assert (row["changed_by"], row["changed_by_api_key"]) == ("ada", "hash-a")
    assert await office.get(f"/audit/{row['id']}") == row


async def test_pages(office: Bureau) -> None:
    first = await office.get("/audit", page=1, page_size=2)
    last = await office.get("/audit", page=3, page_size=2)
    assert {name: first[name] for name in ("total", "page", "page_size", "total_pages")} == {
        "total": 5,
        "page": 1,
        "page_size": 2,
        "total_pages": 3,
    }
    assert [row["action"] for row in first["audit_logs"]] == ["rotated", "deleted"]
    assert [row["action"] for row in last["audit_logs"]] == ["created"]
    assert (await office.get("/audit", page=4, page_size=2))["audit_logs"] == []
    oldest = await office.get("/audit", page_size=2, sort_order="asc")
    assert [row["action"] for row in oldest["audit_logs"]] == ["created", "updated"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"changed_by": "bob"}, [("deleted", "t1"), ("created", "t1")]),
        ({"changed_by_api_key": "hash-b"}, [("rotated", "k2"), ("deleted", "t1"), ("created", "t1")]),
        ({"table_name": "LiteLLM_TeamTable"}, [("deleted", "t1"), ("created", "t1")]),
        ({"table_name": "team"}, [("deleted", "t1"), ("created", "t1")]),
        ({"table_name": "LiteLLM_Nothing"}, []),
        ({"object_id": "k1"}, [("updated", "k1"), ("created", "k1")]),
        ({"object_id": "k1", "action": "created"}, [("created", "k1")]),
    ],
)
async def test_filters(office: Bureau, query: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert await ids(office, **query) == expected


async def test_times(office: Bureau) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert len(await ids(office, start_date=(now - hour).isoformat(), end_date=(now + hour).isoformat())) == 5
    assert await ids(office, end_date=(now - hour).isoformat()) == []
    assert await ids(office, start_date=(now + hour).replace(tzinfo=None).isoformat()) == []


async def test_an_admin_acts_for_somebody_and_stays_known(pool: Pool) -> None:
    async with bureau(pool, budgets.ROUTER, audit.ROUTER) as office:
        named = {"litellm-changed-by": "ada"}

        async def changed_by(name: str, headers: dict[str, str], status: int = 200) -> list[tuple[str, str]]:
            body = {"budget_id": name, "max_budget": 1}
            said = await office.http.post("/budget/new", json=body, headers=headers)
            assert said.status_code == status
            office.access = ADMIN
            rows = (await office.get("/audit", object_id=name))["audit_logs"]
            return [(row["changed_by"], row["changed_by_api_key"]) for row in rows]

        assert await changed_by("a", named) == [("ada", "master")]
        assert await changed_by("b", {}) == [("default_user_id", "master")]
        assert await changed_by("c", {"litellm-changed-by": "x" * 151}, 400) == []
        office.access = Access(caller=Caller(user="token"), role=Role.ADMIN)  # no key that would tell who it was
        assert await changed_by("d", named) == [("token", "")]
        office.access = Access(caller=Caller(user="u", key_hash="h"), role=Role.ORG_ADMIN)
        assert await changed_by("e", named) == [("u", "h")]


@pytest.mark.parametrize("id", ["0", "999999", "9" * 19, "9" * 400, "x", "-1", "²"])
async def test_what_is_not_there(office: Bureau, id: str) -> None:
    assert (await office.get(f"/audit/{id}", 404))["error"]["param"] == "id"


@pytest.mark.parametrize(
    "query",
    [
        {"page": 0},
        {"page_size": 101},
        {"page_size": 0},
        {"sort_by": "action"},
        {"start_date": "x"},
        {"object_id": "\0"},
    ],
)
async def test_what_means_nothing_is_refused(office: Bureau, query: dict[str, object]) -> None:
    await office.get("/audit", 400, **query)


@pytest.mark.parametrize("role", Role)
async def test_only_who_reads_everything_reads_it(office: Bureau, role: Role) -> None:
    newest = (await office.get("/audit"))["audit_logs"][0]["id"]
    office.access = Access(caller=Caller(user="u"), role=role)
    status = 200 if role in (Role.ADMIN, Role.VIEWER) else 403
    await office.get("/audit", status)
    await office.get(f"/audit/{newest}", status)
