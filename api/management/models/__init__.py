"""Models: those in the ledger that change at run time, and all of them listed, over LiteLLM's `/model/*`."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from api.management.models import credentials, info, lifecycle, reload
from api.management.models.stock import Stock
from ledger.pool import Pool
from ledger.prices import PriceBook
from schemas.access import Access


def routers(
    pool: Pool, stock: Stock, prices: PriceBook, admit: Callable[..., Any], may_of: Callable[[Access], info.May]
) -> tuple[APIRouter, ...]:
    """Its routers. `admit` is a dependency that lets pass who may call a route; `may_of` says what he may see."""
    return (
        lifecycle.routes(pool, stock, admit),
        info.routes(stock, prices, admit, may_of),
        credentials.routes(pool, stock, admit),
        reload.routes(stock, admit),
    )
