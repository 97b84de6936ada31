"""`GET /spend/logs`: what the ledger has, row by row."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from ledger.pool import Pool, ledger_needed
from ledger.spend import MOST_ROWS, Which, listing


def routes(pool: Pool, admit: Callable[..., object]) -> APIRouter:
    """The spend routes."""
    router = APIRouter(tags=["spend"], dependencies=[Depends(admit)])

    @router.get("/spend/logs")
    async def logs(
        api_key: str | None = None,
        user_id: str | None = None,
        request_id: str | None = None,
        start_date: date | None = None,
        end_date: date | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 10_000,
    ) -> Response:
        """One object per upstream attempt, the newest last; at most `limit` of them, the newest.

        `api_key` is a key or its hash. Days are UTC, both included.
        """
        which = Which(
            key_hash=_hash(api_key),
            user=user_id,
            request=request_id,
            since=_midnight(start_date),
            until=_midnight(end_date + timedelta(days=1)) if end_date else None,
            limit=limit,
        )
        with ledger_needed():
            rows = await listing(pool, which)
        return Response(await asyncio.to_thread(msgspec.json.encode, rows), media_type="application/json")

    return router


def _hash(key: str | None) -> str | None:
    return hashlib.sha256(key.encode()).hexdigest() if key and key.startswith("sk-") else key


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
