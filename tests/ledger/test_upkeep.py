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
    await pool.execute("INSERT INTO rates (kind, id, scope, unit) VALUES ('key', 'k', '', 'requests')")
    await pool.execute("INSERT INTO rates (kind, id, scope, unit) VALUES ('key', 'gone', '', 'requests')")
    await tidy(pool)
    assert {row["hash"] for row in await pool.fetch("SELECT hash FROM key_hashes")} == {"now", "grace"}
    assert await pool.fetchval("SELECT count(*) FROM balances") == 2
    assert [row["id"] for row in await pool.fetch("SELECT id FROM rates")] == ["k"]
