"""The failures' table is total, and its statuses and types are ones that OpenAI's SDKs know."""

import openai
import pytest

from schemas.failures import TABLE, Failure, Kind, Refused


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_row(kind: Kind) -> None:
    row = TABLE[kind]
    assert 400 <= row.status < 600
    assert row.type
    if row.retry_after:
        assert row.status in (429, 502, 503)


def test_the_table_has_nothing_else() -> None:
    assert set(TABLE) == set(Kind)


def test_what_may_be_tried_again_is_an_error_that_the_sdk_retries() -> None:
    retried = {kind for kind, row in TABLE.items() if row.again}
    assert all(TABLE[kind].status in (408, 409, 429) or TABLE[kind].status >= 500 for kind in retried)
    assert issubclass(openai.RateLimitError, openai.APIStatusError)


def test_refused_carries_the_failure_it_was_made_from() -> None:
    failure = Failure(Kind.CONTEXT_WINDOW, "too long", status=400)
    assert Refused.carrying(failure).failure is failure
    assert str(Refused.carrying(failure)) == "too long"
