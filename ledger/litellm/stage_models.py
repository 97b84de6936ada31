"""The stage of models: their secrets are opened with LiteLLM's salt key and sealed with ours."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from ledger import models as ledger
from ledger.litellm.ciphers import Cipher
from ledger.litellm.models import Unreadable, credentials, model, named_credential
from ledger.litellm.source import Row
from ledger.litellm.store import Verdict
from ledger.litellm.work import Work
from ledger.models import Model
from ledger.sql import query

_MODEL = "model"
BY = "litellm import"
"""Who has made and changed what has come."""


class Vault(Protocol):
    """How secrets of models are kept here."""

    def close(self, id: str, secrets: Mapping[str, Any]) -> bytes | None:
        """Sealed; None without a salt key."""

    def open(self, model: Model) -> dict[str, Any] | None:
        """The secrets again; None when they cannot be read."""

    def judge(self, model: Model, secrets: Mapping[str, Any]) -> str | None:
        """Why the model would be left out here; None when it would not."""


class Models:
    """All models of an import. `changed` says whether any of ours has."""

    def __init__(self, work: Work, cipher: Cipher | None, vault: Vault) -> None:
        self._work = work
        self._cipher = cipher
        self._vault = vault
        self._known: dict[str, dict[str, Any]] = {}
        self.changed = False

    async def carry(self) -> None:
        """Carry all of them over. Credentials go into the models that refer to them; the others are named."""
        rows = await self._work.source.rows("CredentialsTable", "credential_name")
        self._known = credentials(rows, self._cipher, self._work.report.about)
        used: set[str | None] = set()
        async for batch in self._work.source.batches("ProxyModelTable", "created_at", "model_id"):
            for row in batch:
                used.add(named_credential(row, self._cipher))
                await self._one(row)
        for unused in sorted(self._known.keys() - used):
            self._work.report.skip("credential", unused, "no model refers to it")

    async def _one(self, row: Row) -> None:
        called = f"{row['model_name']} ({row['model_id']})"
        say = self._work.report.about(_MODEL, called)
        try:
            made, secret = model(row, self._known, self._cipher, say)
        except Unreadable as why:
            self._work.report.skip(_MODEL, called, str(why))
            return
        made = made._replace(sealed=self._vault.close(made.id, secret) if secret else None)
        if secret and made.sealed is None:
            say(f"without {', '.join(sorted(secret))}: they are kept only sealed, with PENSTOCK_SALT_KEY")
            secret = {}
        if (wrong := self._vault.judge(made, secret)) is not None:
            say(f"it is carried over, but left out as long as this is so: {wrong}")
        verdict = await self._store(made, secret)
        self._work.count(_MODEL, called, verdict)
        self.changed |= verdict.written

    async def _store(self, made: Model, secret: Mapping[str, Any]) -> Verdict:
        on, wanted = self._work.on, self._print(made, secret)
        here = await ledger.locked(on, made.id)
        known = await on.fetchval(query("litellm_model_known"), made.id)
        if here is None:
            if known is not None and not self._work.overwrite:
                return Verdict.DELETED_HERE
            await ledger.insert(on, made, BY)
        else:
            opened = self._vault.open(here.model)
            present = None if opened is None else self._print(here.model, opened)
            if present == wanted:
                return Verdict.UNCHANGED
            if not self._work.overwrite and (present is None or present != known):
                return Verdict.CHANGED_HERE
            await ledger.update(on, made, BY)
        await on.execute(query("litellm_model_remember"), made.id, wanted)
        return Verdict.NEW if here is None else Verdict.UPDATED

    def _print(self, one: Model, secret: Mapping[str, Any]) -> str:
        """A digest that tells nobody what is secret: only the pepper makes it."""
        said = [one.name, one.params, one.info, one.blocked, secret]
        return self._work.pepper.hash(json.dumps(said, sort_keys=True, default=float).encode())
