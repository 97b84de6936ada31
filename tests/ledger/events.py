"""UsageEvents to record."""

import random
from decimal import Decimal

from schemas.usage import Caller, Status, Usage, UsageEvent

START = 1_790_000_000_000_000  # microseconds; 2026-09-21T14:13:20Z


def event(attempt: str = "a1", **fields: object) -> UsageEvent:
    given = {
        "request": f"req-{attempt}",
        "started": START,
        "ended": START + 1_500_000,
        "first_byte": START + 250_000,
        "status": Status.SUCCESS,
        "http_status": 200,
        "endpoint": "chat/completions",
        "group": "gpt-4o",
        "model": "gpt-4o-2024-11-20",
        "provider": "openai",
        "deployment": "d1",
        "worker": "w1",
        "caller": Caller(key_hash="hash", key_alias="laptop", user="ann", team="red", tags=("x", "y", "x")),
        "usage": Usage(prompt=100, completion=20, cached=10),
        "cost": Decimal("0.000123"),
    }
    return UsageEvent(attempt=attempt, **(given | fields))  # type: ignore[arg-type]


def lost(real: UsageEvent) -> UsageEvent:
    """What would be recorded for this attempt if nobody heard of its end."""
    return UsageEvent(
        attempt=real.attempt,
        request=real.request,
        started=real.started,
        ended=real.ended + 7_000_000,
        status=Status.LOST,
        group=real.group,
        model=real.model,
        provider=real.provider,
        caller=real.caller,
        usage=Usage(prompt=90, completion=300, estimated=True),
        cost=Decimal("0.5"),
    )


def random_event(chance: random.Random, number: int) -> UsageEvent:
    """An event of one of a few keys, teams, tags, models and days, with any status; one in five has no price."""
    return event(
        f"{chance.getrandbits(64):016x}-{number}",
        started=START + chance.randrange(3 * 86_400_000_000),
        ended=START + 4 * 86_400_000_000,
        status=chance.choice([Status.SUCCESS, Status.SUCCESS, Status.FAILURE, Status.CANCELLED]),
        model=chance.choice(["gpt-4o", "claude", "llama"]),
        provider=chance.choice(["openai", "anthropic"]),
        caller=Caller(
            key_hash=f"key{chance.randrange(4)}",
            user=chance.choice(["", "ann", "bob"]),
            team=chance.choice(["", "red", "blue"]),
            organization=chance.choice(["", "org"]),
            end_user=chance.choice(["", "eve"]),
            tags=tuple(chance.choices(["x", "y", "z", ""], k=chance.randrange(4))),
        ),
        usage=Usage(
            prompt=chance.randrange(1000), completion=chance.randrange(500), cached=chance.randrange(3), cache_write=1
        ),
        cost=None if chance.random() < 0.2 else Decimal(chance.randrange(10**9)).scaleb(-chance.randrange(6, 12)),
    )
