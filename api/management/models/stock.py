"""What the routes about models, and about the configuration, need of the process that they run in."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from ledger.credentials import Credential
from ledger.models import Model, Row
from schemas.config import Config

Entity = Literal["model", "credential"]


class Stock(Protocol):
    """The models of one process, from its file and from the ledger. `penstock.stock` is the implementation."""

    @property
    def config(self) -> Config:
        """The configuration as it is now."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The models in the ledger, as they were read last."""

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The credentials in the ledger, as they were read last."""

    async def judge(self, model: Model, secrets: Mapping[str, Any]) -> None:
        """Raises `Refused(INVALID_REQUEST)` with what is wrong with a model."""

    async def judge_credential(self, credential: Credential, secrets: Mapping[str, Any] | None) -> None:
        """Raises `Refused(INVALID_REQUEST)` when a model could not be used any more with it; None: without it."""

    def seal(self, id: str, secrets: Mapping[str, Any], entity: Entity = "model") -> bytes | None:
        """What is secret of it, as it is stored. Raises `Refused(INVALID_REQUEST)` without a salt key."""

    def unseal(self, kept: Model | Credential) -> dict[str, Any]:
        """The same, open. Raises `Refused(INVALID_REQUEST)` when it was sealed with another key."""

    async def settle(self, id: str) -> None:
        """A change is committed: tell everybody, work by it, and return once the model can be used, or soon after."""

    async def reload(self) -> dict[str, Any]:
        """Read the file again, here and everywhere; what has changed. Raises `Refused(INVALID_REQUEST)` for errors."""
