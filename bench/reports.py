"""How long the spend reports take over a full ledger: `python -m bench.reports [ROWS]` (a million by default).

A private Postgres gets thirty days of calls by 1,000 keys, 500 users, 50 teams, 5,000 customers, and the daily sums of
them. Each route is asked five times in this process. Printed are the median, and what this process (not Postgres) spent
of it. The widest reports are those of all payers and all days, with all that they are broken down by.
"""

import asyncio
import statistics
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import Request

from api import app
from api.management import spend
from api.management.keys.desk import KeyDesk
from api.management.office import Office
from ledger.migrate import migrate
from ledger.pepper import Pepper
from ledger.pool import open_pool
from schemas.access import Access, Role
from schemas.usage import Caller
from tests.support.office import ADMIN
from tests.support.postgres import Postgres, private_postgres

ROUNDS = 5
NOW = datetime(2026, 9, 30, 23, tzinfo=UTC)
DAYS = {"start_date": "2026-09-01", "end_date": "2026-09-30"}
EVERY_KEY = {"api_key_limit": 1000}
USER = Access(caller=Caller(key_hash="key7", user="user7", team="team7"), role=Role.USER, teams=frozenset({"team7"}))
ROUTES: list[tuple[str, dict[str, Any], Access]] = [
    ("/spend/logs/v2", {}, ADMIN),
    ("/spend/logs/v2", {"page": 150}, ADMIN),
    ("/spend/logs/v2", {"api_key": "key7"}, ADMIN),
    ("/spend/logs/v2", {"user_id": "user7"}, ADMIN),
    ("/spend/logs/v2", {"status_filter": "failure"}, ADMIN),
    ("/spend/logs/v2", {"sort_by": "spend"}, ADMIN),
    ("/spend/logs/v2", {}, USER),
    ("/spend/logs", {"limit": 10_000}, ADMIN),
    ("/spend/logs", DAYS, ADMIN),
    ("/user/daily/activity", {"page_size": 1000}, ADMIN),
    ("/user/daily/activity/aggregated", {}, ADMIN),
    ("/user/daily/activity/aggregated", EVERY_KEY, ADMIN),
    ("/user/daily/activity/aggregated", {}, USER),
    ("/team/daily/activity", {"page_size": 1000}, ADMIN),
    ("/team/daily/activity/aggregated", {}, ADMIN),
    ("/team/daily/activity/aggregated", EVERY_KEY, ADMIN),
    ("/team/daily/activity/aggregated", {"team_ids": "team7"}, ADMIN),
    ("/team/daily/activity/aggregated", {}, USER),
    ("/organization/daily/activity", {"page_size": 1000}, ADMIN),
    ("/organization/daily/activity/aggregated", {}, ADMIN),
    ("/customer/daily/activity", {}, ADMIN),
    ("/customer/daily/activity/aggregated", {}, ADMIN),
    ("/customer/daily/activity/aggregated", EVERY_KEY, ADMIN),
    ("/tag/daily/activity", {}, ADMIN),
    ("/tag/daily/activity/aggregated", {}, ADMIN),
    ("/tag/daily/activity/aggregated", {}, USER),
    ("/global/spend/report", {"group_by": "api_key"}, ADMIN),
    ("/global/spend/report", {"group_by": "team"}, ADMIN),
    ("/global/spend/report", {"group_by": "customer", "start_date": "2026-09-21"}, ADMIN),  # as many lines as may be
    ("/global/spend/keys", {}, ADMIN),
    ("/global/spend/teams", {}, ADMIN),
    ("/global/activity", {}, ADMIN),
    ("/global/activity/model", {}, ADMIN),
    ("/global/activity/exceptions/deployment", {"model_group": "group3"}, ADMIN),
    ("/team/spend/by_user", {"team_ids": "team7"}, ADMIN),
    ("/tag/summary", {}, ADMIN),
    ("/spend/tags", {}, ADMIN),
]

ROWS = """
INSERT INTO spend_logs
SELECT
    'a' || n, at, at + interval '1 second', NULL, 'r' || n,
    CASE WHEN n % 20 = 0 THEN 'failure' ELSE 'success' END, CASE WHEN n % 20 = 0 THEN 429 ELSE 200 END, '',
    CASE WHEN n % 9 = 0 THEN 'embeddings' ELSE 'chat/completions' END, false,
    'group' || m, 'model' || m, 'provider' || m % 3, 'd' || n % 14, 'w',
    'key' || key, 'alias' || key, 'user' || key % 500, 'team' || key % 50, 'org' || key % 5, 'customer' || n % 5000,
    CASE WHEN n % 4 = 0 THEN ARRAY['tag' || n % 12, 'all'] ELSE '{{}}' END,
    100 + n % 900, 50 + n % 300, 0, 0, 0, 0, 0, false, false, 0.000012 * (100 + n % 900), '{{}}', now()
FROM (
    SELECT n, n % 1000 AS key, (n % 1000 + (n / 1000) % 2) % 7 AS m,
        timestamptz '2026-09-01Z' + n * (interval '30 days' / {rows}) AS at
    FROM generate_series(0, {rows} - 1) AS n
) AS calls
"""
DAILY = """
INSERT INTO daily_spend
SELECT
    (started AT TIME ZONE 'UTC')::date, dimension, value, model_group, model, provider, sum(cost), sum(prompt),
    sum(completion), sum(cached), sum(cache_write), count(*), count(*) FILTER (WHERE status = 'success'),
    count(*) FILTER (WHERE status = 'failure'), 0
FROM spend_logs CROSS JOIN LATERAL (
    VALUES ('all', ''), ('key', key_hash), ('team', team), ('user', user_id), ('organization', organization),
        ('customer', end_user)
    UNION ALL SELECT 'tag', unnest(tags)
) AS paid (dimension, value)
GROUP BY 1, 2, 3, 4, 5, 6
"""


def main() -> None:
    """Fill, measure, print milliseconds."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with private_postgres(options={"shared_buffers": "128MB", "jit": "off"}) as server:
        postgres = server.postgres
        asyncio.run(migrate(postgres.url()))
        fill(postgres, rows)
        asyncio.run(measure(postgres.url()))


def fill(postgres: Postgres, rows: int) -> None:
    """That many calls in September of 2026. Psql's patience is a minute, so in parts."""
    part = 500_000
    statement = ROWS.format(rows=rows)
    for first in range(0, rows, part):
        last = min(rows, first + part) - 1
        postgres.run(statement.replace(f"generate_series(0, {rows} - 1)", f"generate_series({first}, {last})"))
    for day in (1, 11, 21):
        begin = f"timestamptz '2026-09-{day:02}Z'"
        within = f"WHERE started >= {begin} AND started < {begin} + interval '10 days'"
        postgres.run(DAILY.replace("GROUP BY", f"{within} GROUP BY"))
    postgres.run("VACUUM ANALYZE")


async def measure(url: str) -> None:
    """Ask every route."""
    pool = await open_pool(url)
    access = ADMIN

    async def admit(_: Request) -> Access:
        return access

    async def pepper() -> Pepper:
        return Pepper(b"bench")

    application = app.bare(spend.ROUTERS, "0")
    application.state.office = Office(pool, admit, lambda _told: None, now=lambda: NOW)
    application.state.keys = KeyDesk(pepper)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://bench", timeout=60
    ) as http:
        for path, given, access in ROUTES:
            query = given if path == "/spend/logs" else {**DAYS, **given}
            times = []
            for _ in range(ROUNDS):
                begun, busy = time.perf_counter(), time.process_time()
                answer = await http.get(path, params=query)
                times.append((time.perf_counter() - begun, time.process_time() - busy))
                assert answer.status_code == 200, answer.text
            who = "a user" if access is USER else "an admin"
            whole, own = (statistics.median(each) * 1000 for each in zip(*times, strict=True))
            print(
                f"{whole:6.0f} ms, {own:5.0f} of it here {len(answer.content) / 1000:7.0f} kB  {path} {given} as {who}"
            )
    await pool.close()


if __name__ == "__main__":
    main()
