"""`/credentials`: values of `litellm_params` that models refer to by `litellm_credential_name`.

A credential of the configuration file is changed in the file alone. A change counts at once and everywhere for the
models that refer to it; one with which a model could not be used any more is refused.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from api.management.fields import Body, Json, Name
from api.management.models.stock import Stock
from api.management.office import answer
from ledger import audit
from ledger import credentials as ledger
from ledger.credentials import Credential
from ledger.pool import Connection, Pool, ledger_needed, storable
from schemas.access import Access
from schemas.failures import Kind, Refused
from schemas.params import divided, shown, unmasked


class NewCredential(Body):
    """The body of `POST /credentials`."""

    credential_name: Name
    credential_values: Json | None = None
    credential_info: Json | None = None
    display_name: Name | None = None
    model_id: str | None = None


class CredentialPatch(Body):
    """The body of `PATCH /credentials/{name}`: what is given and not null changes, the rest stays."""

    credential_name: str | None = None
    credential_values: Json | None = None
    credential_values_to_delete: list[str] | None = None
    credential_info: Json | None = None
    display_name: Name | None = None
    model_id: str | None = None


def routes(pool: Pool, stock: Stock, admin: Callable[..., Any]) -> APIRouter:
    """The routes. `admin` is a dependency that lets proxy admins pass, and gives who it is."""
    router = APIRouter(tags=["credential management"])
    clerk = _Clerk(pool, stock)
    admitted = Depends(admin)

    @router.post("/credentials")
    async def new(body: NewCredential, who: Annotated[Access, admitted]) -> dict[str, Any]:
        """Add a credential. `os.environ/NAME` in its values means the variable of the process that reads it."""
        await clerk.add(body, who)
        return {"success": True, "message": "Credential created successfully"}

    @router.get("/credentials", dependencies=[admitted])
    async def listing() -> Response:
        """All of them, what is secret masked."""
        return answer({"success": True, "credentials": _listed(stock)})

    @router.get("/credentials/by_name/{credential_name:path}", dependencies=[admitted])
    async def by_name(credential_name: str) -> Response:
        """The one of this name."""
        found = next((row for row in _listed(stock) if row["credential_name"] == credential_name), None)
        if found is None:
            raise _missing(credential_name)
        return answer(found)

    @router.patch("/credentials/{credential_name:path}")
    async def patch(credential_name: str, body: CredentialPatch, who: Annotated[Access, admitted]) -> dict[str, Any]:
        """Change a credential. A mask that is sent back changes nothing."""
        await clerk.change(credential_name, body, who)
        return {"success": True, "message": "Credential updated successfully"}

    @router.delete("/credentials/{credential_name:path}")
    async def delete(credential_name: str, who: Annotated[Access, admitted]) -> dict[str, Any]:
        """Remove a credential that no model needs."""
        await clerk.remove(credential_name, who)
        return {"success": True, "message": "Credential deleted successfully"}

    return router


class _Clerk:
    """Changes credentials: judged first, then written with their entry in the audit log, then told."""

    def __init__(self, pool: Pool, stock: Stock) -> None:
        self._pool = pool
        self._stock = stock

    async def add(self, body: NewCredential, who: Access) -> None:
        self._refuse_filed(body.credential_name)
        _refuse_copy(body.model_id)
        if not body.credential_values:
            raise Refused(Kind.INVALID_REQUEST, "credential_values are needed", param="credential_values")
        public, secret = divided(_set(body.credential_values))
        made = Credential(body.credential_name, public, None, body.credential_info or {}, body.display_name)
        with ledger_needed(), storable():
            await self._stock.judge_credential(made, secret)
            made = made._replace(sealed=self._stock.seal(made.name, secret, "credential"))
            async with self._pool.acquire() as connection, connection.transaction():
                if not await ledger.insert(connection, made, who.actor):
                    said = f"Credential '{made.name}' already exists. Update it with PATCH, or delete it first."
                    raise Refused(Kind.INVALID_REQUEST, said, param="credential_name")
                await _record(connection, who, "created", made.name, None, _view(made, secret))
        await self._stock.settle("")

    async def change(self, name: str, patch: CredentialPatch, who: Access) -> None:
        self._refuse_filed(name)
        _refuse_copy(patch.model_id)
        if patch.credential_name not in (None, name):
            raise Refused(Kind.INVALID_REQUEST, "credential_name is immutable.", param="credential_name")
        with ledger_needed(), storable():
            async with self._pool.acquire() as connection, connection.transaction():
                before = await _found(connection, name)
                had = self._stock.unseal(before)
                made, secret = _changed(before, had, patch)
                await self._stock.judge_credential(made, secret)
                made = made._replace(sealed=self._stock.seal(name, secret, "credential"))
                await ledger.update(connection, made, who.actor)
                await _record(connection, who, "updated", name, _view(before, had), _view(made, secret))
        await self._stock.settle("")

    async def remove(self, name: str, who: Access) -> None:
        self._refuse_filed(name)
        with ledger_needed(), storable():
            async with self._pool.acquire() as connection, connection.transaction():
                before = await _found(connection, name)
                await self._stock.judge_credential(before, None)
                await ledger.delete(connection, name)
                await _record(connection, who, "deleted", name, {"credential_values": dict(before.values)}, None)
        await self._stock.settle("")

    def _refuse_filed(self, name: str) -> None:
        if name in self._stock.config.credentials:
            said = f"Credential '{name[:200]}' is defined in config. Edit config.yaml to change it."
            raise Refused(Kind.INVALID_REQUEST, said, param="credential_name")


def _changed(
    before: Credential, secret: Mapping[str, Any], patch: CredentialPatch
) -> tuple[Credential, dict[str, Any]]:
    given = unmasked(_set(patch.credential_values or {}), secret)
    gone = frozenset(patch.credential_values_to_delete or ())
    if not gone.isdisjoint(given):
        said = f"credential_values has this too: {', '.join(sorted(gone & given.keys()))[:200]}"
        raise Refused(Kind.INVALID_REQUEST, said, param="credential_values_to_delete")
    values = {name: value for name, value in {**before.values, **secret, **given}.items() if name not in gone}
    public, kept = divided(values)
    info = {**before.info, **(patch.credential_info or {})}
    label = patch.display_name if "display_name" in patch.model_fields_set else before.display_name
    return before._replace(values=public, info=info, display_name=label), kept


def _listed(stock: Stock) -> list[dict[str, Any]]:
    filed = [
        {"credential_name": name, "display_name": None, "credential_values": values, "credential_info": {}}
        for name, values in stock.config.credentials.items()
    ]
    stored = [
        _view(credential, _readable(stock, credential)) | {"source": "db"}
        for credential in stock.credentials
        if credential.name not in stock.config.credentials
    ]
    return [row | {"source": "config"} for row in filed] + stored


def _readable(stock: Stock, credential: Credential) -> Mapping[str, Any]:
    try:
        return stock.unseal(credential)
    except Refused:
        return {}


def _view(credential: Credential, secret: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "credential_name": credential.name,
        "display_name": credential.display_name,
        "credential_values": {**credential.values, **shown(secret)},
        "credential_info": dict(credential.info),
    }


async def _found(connection: Connection, name: str) -> Credential:
    found = await ledger.locked(connection, name)
    if found is None:
        raise _missing(name)
    return found


async def _record(
    connection: Connection,
    who: Access,
    action: str,
    name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    entry = audit.Entry(who.actor, who.caller.key_hash, action, "credential", name, before, after)
    await audit.record(connection, entry)


def _refuse_copy(model_id: str | None) -> None:
    if model_id is not None:
        said = "To take the values of a model is not supported: give credential_values."
        raise Refused(Kind.INVALID_REQUEST, said, param="model_id")


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _missing(name: str) -> Refused:
    return Refused(Kind.NOT_FOUND, f"Credential not found. Got credential name: {name[:200]}", param="credential_name")
