"""What is over is forgotten, and nothing else."""

from ledger.pool import Pool
from ledger.upkeep import tidy


async def test_only_what_is_over_goes(pool: Pool) -> None:
    await pool.execute("INSERT INTO virtual_keys (key_id, key_name) VALUES ('k', 'sk-...')")
    await pool.execute(
        "INSERT INTO key_hashes VALUES ('now', 'k', NULL), ('grace', 'k', now() + interval '1 hour'), "
        "('over', 'k', now() - interval '1 second')"
    )
    await pool.execute(
        "INSERT INTO balances (kind, id, scope, period, began, ends, spent) VALUES "
        "('key', 'k', '', '', '-infinity', 'infinity', 1), ('key', 'k', '', '1d', '2020-01-01', '2020-01-02', 1), "
        "('key', 'k', '', '1d', now() - interval '2 days', now() - interval '1 day', 1)"
    )
    await pool.execute(
        "INSERT INTO rates (kind, id, scope, unit, ats, amounts) "
        "SELECT 'customer', id, '', 'requests', ARRAY[1, at::bigint], '{1, 1}' FROM (VALUES "
        "('used', extract(epoch FROM now()) - 86400), ('held', 2), ('locked', 2), ('over', 2)) AS r (id, at)"
    )
    await pool.execute("INSERT INTO rate_holds VALUES ('customer', 'held', '', 'requests', 'api', 1, now())")
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM rates WHERE id = 'locked' FOR UPDATE")
        await tidy(pool)
    assert {row["hash"] for row in await pool.fetch("SELECT hash FROM key_hashes")} == {"now", "grace"}
    assert await pool.fetchval("SELECT count(*) FROM balances") == 2
    assert {row["id"] for row in await pool.fetch("SELECT id FROM rates")} == {"used", "held", "locked"}
