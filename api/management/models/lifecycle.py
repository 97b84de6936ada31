"""`/model/new`, `/model/update`, `/model/delete`, `/model/block`: models that come, change and go while Penstock runs.

A model of the configuration file is changed in the file alone. After the commit every process is told, and the answer
comes once the change counts here.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from api.management.models.entries import (
    BlockedModel,
    ModelId,
    ModelPatch,
    NewModel,
    changed,
    id_of,
    made,
    written,
)
from api.management.models.stock import Stock
from api.management.office import answer
from ledger import audit
from ledger import models as ledger
from ledger.models import Model, Row
from ledger.pool import Connection, Pool, ledger_needed, storable
from schemas.access import Access
from schemas.failures import Kind, Refused

_IN_FILE = "Can't edit model. Model in config. Store model in db via `/model/new`. to edit."
_PATCHING_FILE = "Cannot edit config-based model. Store model in DB via /model/new first."


def routes(pool: Pool, stock: Stock, admin: Callable[..., Any]) -> APIRouter:
    """The routes that change models. `admin` is a dependency that lets proxy admins pass, and gives who it is."""
    router = APIRouter(tags=["model management"])
    clerk = _Clerk(pool, stock)
    admitted = Depends(admin)

    @router.post("/model/new")
    async def new(body: NewModel, who: Annotated[Access, admitted]) -> Response:
        """Add a model; its row. `os.environ/NAME` in `litellm_params` means this process's variables."""
        return answer(await clerk.add(body, who))

    @router.post("/model/update")
    async def update(body: ModelPatch, who: Annotated[Access, admitted]) -> Response:
        """Change the fields that are given and not null, of the model `model_info.id`; its row."""
        return answer(await clerk.change(id_of(body), body, who, clears=False))

    @router.patch("/model/{model_id:path}/update")
    async def patch(model_id: str, body: ModelPatch, who: Annotated[Access, admitted]) -> Response:
        """Change the fields that are given; null removes a parameter that is not secret. The row."""
        return answer(await clerk.change(model_id, body, who, clears=True))

    @router.post("/model/delete")
    async def delete(body: ModelId, who: Annotated[Access, admitted]) -> dict[str, str]:
        """Remove a model. Calls under way end as they began."""
        await clerk.remove(body.id, who)
        return {"message": f"Model: {body.id} deleted successfully"}

    @router.post("/model/block")
    async def block(body: BlockedModel, who: Annotated[Access, admitted]) -> Response:
        """Have nothing sent to a model until it is unblocked; its row."""
        return answer(await clerk.change(body.model_id, ModelPatch(blocked=True), who, clears=True))

    @router.post("/model/unblock")
    async def unblock(body: BlockedModel, who: Annotated[Access, admitted]) -> Response:
        """Use a model again; its row."""
        return answer(await clerk.change(body.model_id, ModelPatch(blocked=False), who, clears=True))

    return router


class _Clerk:
    """Changes models: judged first, then written with their entry in the audit log, then told."""

    def __init__(self, pool: Pool, stock: Stock) -> None:
        self._pool = pool
        self._stock = stock

    async def add(self, body: NewModel, who: Access) -> Mapping[str, Any]:
        model, secret = made(body)
        if any(deployment.id == model.id for deployment in self._stock.config.deployments):
            raise _taken(model.id)
        with ledger_needed(), storable():
            await self._stock.judge(model, secret)
            model = model._replace(sealed=self._stock.seal(model.id, secret))
            async with self._pool.acquire() as connection, connection.transaction():
                row = await ledger.insert(connection, model, who.caller.user)
                if row is None:
                    raise _taken(model.id)
                shown = written(row, secret)
                await _record(connection, who, "created", model.id, None, shown)
        await self._stock.settle(model.id)
        return shown

    async def change(self, id: str, patch: ModelPatch, who: Access, *, clears: bool) -> Mapping[str, Any]:
        with ledger_needed(), storable():
            async with self._pool.acquire() as connection, connection.transaction():
                before = await self._found(connection, id, patching=clears)
                only_blocked = patch.model_name is None and patch.litellm_params is None and patch.model_info is None
                had = self._readable(before.model) if only_blocked else self._stock.unseal(before.model)
                model, secret = changed(before.model, had, patch, clears=clears)
                if model != before.model._replace(blocked=model.blocked) or secret != had:
                    await self._stock.judge(model, secret)
                    model = model._replace(sealed=self._stock.seal(id, secret))
                row = await ledger.update(connection, model, who.caller.user)
                assert row is not None  # it is locked
                shown = written(row, secret)
                action = _action(before.model, model)
                await _record(connection, who, action, id, written(before, had), shown)
        await self._stock.settle(id)
        return shown

    async def remove(self, id: str, who: Access) -> None:
        with ledger_needed(), storable():
            async with self._pool.acquire() as connection, connection.transaction():
                before = await ledger.locked(connection, id)
                if before is None:
                    said = f"Model with id={id[:200]} not found in db"
                    raise Refused(Kind.INVALID_REQUEST, said, param="id")
                await ledger.delete(connection, id)
                await _record(connection, who, "deleted", id, written(before, self._readable(before.model)), None)
        await self._stock.settle(id)

    def _readable(self, model: Model) -> dict[str, Any]:
        try:
            return self._stock.unseal(model)
        except Refused:
            return {}

    async def _found(self, connection: Connection, id: str, *, patching: bool) -> Row:
        row = await ledger.locked(connection, id)
        if row is not None:
            return row
        if any(deployment.id == id for deployment in self._stock.config.deployments):
            raise Refused(Kind.INVALID_REQUEST, _PATCHING_FILE if patching else _IN_FILE)
        if patching:
            raise Refused(Kind.NOT_FOUND, f"Model {id[:200]} not found on proxy.", param="model_id")
        raise Refused(Kind.INVALID_REQUEST, "model not found", param="model_info.id")


async def _record(
    connection: Connection,
    who: Access,
    action: str,
    id: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    entry = audit.Entry(who.actor, who.caller.key_hash, action, "model", id, before, after)
    await audit.record(connection, entry)


def _action(before: Model, after: Model) -> str:
    if before._replace(blocked=after.blocked) != after or before.blocked == after.blocked:
        return "updated"
    return "blocked" if after.blocked else "unblocked"


def _taken(id: str) -> Refused:
    return Refused(Kind.INVALID_REQUEST, f"There is a model with the id '{id[:200]}' already.", param="model_info.id")
