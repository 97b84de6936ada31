"""`api.management.models.stock.Stock`: the models of this process for the management routes."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from api.management.models.stock import Entity, Stock
from broker.seal import Seal
from ledger.credentials import Credential
from ledger.models import Model, Row
from penstock.configuration.problems import ConfigurationError, Wrong
from penstock.configuration.stored import given, sealed, unsealed
from penstock.current import Change, Current
from policy.roster import Roster
from schemas.config import Config, Deployment
from schemas.failures import Kind, Refused

_LOOK, _LOOKS = 0.02, 50  # an answer waits a second for a worker which serves the model
_FIELD = re.compile(r"((?:model_name|litellm_params|model_info)[\w.\[\]-]*): ")


class LiveStock:
    """Of one API process. `roster` knows which deployments are served."""

    def __init__(self, current: Current, roster: Roster) -> None:
        self._current = current
        self._roster = roster
        salt = current.config.settings.salt_key
        self._seal = None if salt is None else Seal(salt.get_secret_value())

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self._current.config

    @property
    def rows(self) -> tuple[Row, ...]:
        """The models in the ledger, as they were read last."""
        return self._current.rows

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The credentials in the ledger, as they were read last."""
        return self._current.kept.credentials

    async def judge(self, model: Model, secrets: Mapping[str, Any]) -> None:
        """Raises `Refused(INVALID_REQUEST)` with what is wrong with the model."""
        try:
            await self._current.judge(model, secrets)
        except ConfigurationError as error:
            raise _refused(error) from None

    async def judge_credential(self, credential: Credential, secrets: Mapping[str, Any] | None) -> None:
        """Raises `Refused(INVALID_REQUEST)` when a model could not be used any more with it; None: without it."""
        try:
            values = None if secrets is None else given(credential, secrets)
            await self._current.judge_credential(credential.name, values)
        except ConfigurationError as error:
            raise _refused(error) from None
        except Wrong as wrong:
            raise Refused(Kind.INVALID_REQUEST, str(wrong), param="credential_values") from None

    def seal(self, id: str, secrets: Mapping[str, Any], entity: Entity = "model") -> bytes | None:
        """What is secret of it, as it is stored."""
        if not secrets:
            return None
        if self._seal is None:
            said = "Provider keys in the database are sealed with the salt key: set PENSTOCK_SALT_KEY in every process."
            param = "litellm_params" if entity == "model" else "credential_values"
            raise Refused(Kind.INVALID_REQUEST, said, param=param)
        return sealed(secrets, id, self._seal, entity)

    def unseal(self, kept: Model | Credential) -> dict[str, Any]:
        """The same, open."""
        try:
            return unsealed(kept, self._seal)
        except Wrong as wrong:
            entity = "model" if isinstance(kept, Model) else "credential"
            raise Refused(Kind.INVALID_REQUEST, f"The {entity} cannot be changed: {wrong}.") from None

    async def settle(self, id: str) -> None:
        """Tell everybody, work by it, and wait a moment for a worker that serves the model.

        The change is committed: what fails here is tried again, and is no failure of the call.
        """
        self._current.tell_models()
        try:
            await self._current.reread()
        except Refused:
            self._current.look_again()
            return
        if any(deployment.id == id for deployment in self.config.deployments):
            await self._served(id)

    async def _served(self, id: str) -> None:
        for _ in range(_LOOKS):
            if self._roster.standing(id).alive:
                return
            await asyncio.sleep(_LOOK)

    async def reload(self) -> dict[str, Any]:
        """Read the file again, here and then everywhere; what has changed."""
        try:
            change = await self._current.reload()
        except ConfigurationError as error:
            raise _refused(error) from None
        self._current.tell_reload()
        return _told(change)


def _refused(error: ConfigurationError) -> Refused:
    said = str(error).encode(errors="backslashreplace").decode()  # half a surrogate pair is JSON, and no text
    named = _FIELD.match(said)
    return Refused(Kind.INVALID_REQUEST, said, param=named[1] if named else None)


def _told(change: Change) -> dict[str, Any]:
    return {
        "message": "The configuration was read again.",
        "models": {
            "added": _named(change.added),
            "removed": _named(change.removed),
            "changed": _named(change.changed),
        },
        "ignored_until_restart": list(change.ignored),
        "warnings": list(change.warnings),
    }


def _named(deployments: tuple[Deployment, ...]) -> list[dict[str, str]]:
    return [{"model_name": deployment.group, "id": deployment.id} for deployment in deployments]


_: type[Stock] = LiveStock
