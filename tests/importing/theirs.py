"""A LiteLLM database that a test fills, and the import of it."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from nacl.secret import SecretBox

from ledger.litellm.ciphers import Cipher
from ledger.litellm.importing import Order, carry_over
from ledger.litellm.report import Report
from ledger.litellm.source import opened
from ledger.litellm.values import Calendar
from ledger.models import Model
from ledger.pepper import Pepper, pepper
from ledger.pool import Connection, Pool, connect
from policy.periods import window

NOW = datetime.now(UTC)
SALT = "sk-their-salt"


def token(key: str) -> str:
    """What LiteLLM stores of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def wall(at: datetime) -> datetime:
    """A time as Prisma stores it."""
    return at.astimezone(UTC).replace(tzinfo=None)


def encrypted(text: str, salt: str = SALT) -> str:
    """As LiteLLM encrypts: a NaCl secret box under the SHA-256 of the salt key."""
    box = SecretBox(hashlib.sha256(salt.encode()).digest())
    return base64.urlsafe_b64encode(box.encrypt(text.encode())).decode()


def params(**given: Any) -> dict[str, Any]:
    """`litellm_params` as they are stored: every text encrypted."""
    return {name: encrypted(value) if isinstance(value, str) else value for name, value in given.items()}


class Vault:
    """Keeps secrets of models in the clear, marked; without `has_key` it keeps none."""

    def __init__(self, *, has_key: bool = True) -> None:
        self.has_key = has_key

    def close(self, id: str, secrets: Any) -> bytes | None:
        return json.dumps({"sealed": id, **secrets}).encode() if self.has_key else None

    def open(self, model: Model) -> dict[str, Any] | None:
        if model.sealed is None:
            return {}
        found: dict[str, Any] = json.loads(model.sealed)
        assert found.pop("sealed") == model.id
        return found

    def judge(self, model: Model, _: Any) -> str | None:
        return "no such provider" if model.params.get("model") == "nobody/x" else None


@dataclass
class Theirs:
    """The database, and the import of it into `pool`'s."""

    url: str
    pool: Pool
    vault: Vault = field(default_factory=Vault)
    salt: str | None = SALT
    now: datetime = NOW

    async def add(self, table: str, **values: Any) -> None:
        """A row; objects and lists of objects are JSON."""
        on = await self._connected()
        names = ", ".join(f'"{name}"' for name in values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        try:
            await on.execute(
                f'INSERT INTO "LiteLLM_{table}" ({names}) VALUES ({places})', *map(_stored, values.values())
            )
        finally:
            await on.close()

    async def run(self, sql: str, *given: Any) -> None:
        """Any statement."""
        on = await self._connected()
        try:
            await on.execute(sql, *given)
        finally:
            await on.close()

    async def carry(
        self, *, overwrite: bool = False, dry_run: bool = False, logs_since: datetime | None = None
    ) -> Report:
        """Import it."""

        async def peppered(on: Connection) -> Pepper:
            return await pepper(cast(Pool, on), None)

        order = Order(
            pepper=peppered,
            calendar=Calendar(self.now, window),
            cipher=None if self.salt is None else Cipher(self.salt),
            vault=self.vault,
            tell=lambda _: None,
            logs_since=logs_since,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        async with opened(self.url) as source, self.pool.acquire() as on:
            return await carry_over(source, on, order)

    async def key(self, secret: str, **values: Any) -> str:
        """A key of theirs; its token."""
        named = {"key_name": f"sk-...{secret[-4:]}", "models": [], **values}
        await self.add("VerificationToken", token=token(secret), **named)
        return token(secret)

    async def person(self, user_id: str, **values: Any) -> None:
        """A user of theirs."""
        await self.add("UserTable", user_id=user_id, **{"models": [], **values})

    async def team(self, team_id: str, *members: Any, **values: Any) -> None:
        """A team of theirs; members are ids of users, or what stands in `members_with_roles`."""
        listed = [one if isinstance(one, dict) else {"user_id": one, "role": "user"} for one in members]
        empty: dict[str, Any] = {"admins": [], "members": [], "models": [], "members_with_roles": listed}
        await self.add("TeamTable", team_id=team_id, **empty | values)

    async def budget(self, budget_id: str, **values: Any) -> None:
        """A budget of theirs."""
        await self.add("BudgetTable", budget_id=budget_id, created_by="x", updated_by="x", **values)

    async def _connected(self) -> Connection:
        on = await connect(self.url)
        await on.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        return on


class Json:
    """A value for a JSON column that is neither an object nor a list of them."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _stored(value: Any) -> Any:
    return value.value if isinstance(value, Json) else value


def later(**delta: float) -> datetime:
    """A time from now on, as Prisma stores it."""
    return wall(NOW + timedelta(**delta))
