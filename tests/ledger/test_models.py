"""Models in the ledger: what goes in comes out, and an id is one model's."""

from decimal import Decimal

from ledger.models import Model, delete, everything, insert, locked, update
from ledger.pool import Pool, open_pool

ONE = Model("1", "g", {"model": "openai/x", "price": Decimal("0.000000001"), "tags": ["a"]}, b"\0sealed", {"note": "ü"})


async def test_what_goes_in_comes_out(pool: Pool) -> None:
    async with pool.acquire() as connection:
        row = await insert(connection, ONE, "me")
        assert row is not None
        assert (row.model, row.created_by, row.updated_by) == (ONE, "me", "me")
        assert await insert(connection, ONE._replace(name="other"), "you") is None
        other = ONE._replace(name="h", params={}, sealed=None, info={}, blocked=True)
        changed = await update(connection, other, "you")
        assert changed is not None
        assert (changed.model, changed.created_by, changed.updated_by) == (other, "me", "you")
        assert changed.created_at == row.created_at
        assert changed.updated_at > row.updated_at
        assert await locked(connection, "1") == changed
        assert await locked(connection, "2") is None
        assert await update(connection, ONE._replace(id="2"), "me") is None
        second = await insert(connection, ONE._replace(id="0"), "me")
        assert await everything(pool) == (changed, second)
        assert await delete(connection, "1")
        assert not await delete(connection, "1")
    assert await everything(pool) == (second,)


async def test_an_older_schema_has_none(database_url: str) -> None:
    pool = await open_pool(database_url)
    assert await everything(pool) == ()
    await pool.close()
