import pytest

from schemas.failures import Kind
from workers.providers.refusals import error_object, failure_of, retry_after, scrub

DATE = "Tue, 01 Jan 2030 00:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1),
        ({"retry-after": "Tue, 01 Jan 2030 00:01:00 GMT", "date": DATE}, 60),
        ({"retry-after": "Tue, 01 Jan 2030 00:01:00 GMT"}, 0),
        ({"retry-after": "Mon, 31 Dec 2029 23:59:00 GMT", "date": DATE}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "99999999"}, 86400),
        ({"retry-after": "garbage", "x-ratelimit-reset-tokens": "7.66s"}, 7.66),
        ({"x-ratelimit-reset-requests": "1h2m3s"}, 3723),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "6m0s"}, 0.02),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0"}, 360),
        ({"x-ratelimit-reset-requests": "1741305600000"}, 0),
        ({"retry-after": "30s"}, 30),
        ({"retry-after": "1893456002", "date": DATE}, 2),
        ({"retry-after": "Tue, 01 Jan 99999999999999999999 00:01:00 GMT", "date": DATE}, 0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "26"}, 26),  # Azure
        ({"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"}, 0),  # Azure, too
        ({"date": DATE, "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1893456007500"}, 7.5),  # OpenRouter
        (
            {
                "x-ratelimit-remaining-requests-day": "0",
                "x-ratelimit-reset-requests-day": "33011.38",
                "x-ratelimit-remaining-tokens-minute": "0",
                "x-ratelimit-reset-tokens-minute": "11.38",
            },
            33011.38,
        ),
        (
            {
                "x-ratelimit-remaining-requests-day": "2000",
                "x-ratelimit-reset-requests-day": "33011.38",
                "x-ratelimit-remaining-tokens-minute": "0",
                "x-ratelimit-reset-tokens-minute": "11.38",
            },
            11.38,
        ),
        ({"x-ratelimit-remaining-requests-day": "2000", "x-ratelimit-reset-requests-day": "33011.38"}, 0),
    ],
)
def test_when_to_come_back(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == pytest.approx(seconds)


ANTHROPIC = {
    "date": DATE,
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2030-01-01T00:00:02Z",
    "anthropic-ratelimit-input-tokens-remaining": "0",
    "anthropic-ratelimit-input-tokens-reset": "2030-01-01T00:00:41Z",
    "anthropic-ratelimit-output-tokens-remaining": "8000",
    "anthropic-ratelimit-output-tokens-reset": "2030-01-01T00:01:00Z",
}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 41),
        ({"retry-after": "7"}, 7),
        ({"anthropic-ratelimit-output-tokens-remaining": "0"}, 60),
        ({"anthropic-ratelimit-input-tokens-remaining": "1000"}, 0),
        ({"date": ""}, 0),
    ],
)
def test_only_what_is_exhausted_is_waited_for(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(ANTHROPIC | headers) == seconds


GOOGLE = b"""[{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": [
    {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.25s"}]}}]"""


def test_google_says_in_the_body_when_to_come_back() -> None:
    assert failure_of(429, {}, error_object(GOOGLE)).retry_after == 17.25
    assert failure_of(429, {"retry-after": "3"}, error_object(GOOGLE)).retry_after == 3
    assert failure_of(0, {}, error_object(GOOGLE)).retry_after == 17.25
    assert failure_of(400, {}, error_object(GOOGLE)).retry_after == 0


@pytest.mark.parametrize("delay", ["-1s", "soon", "", 17, None, ["17s"], "9" * 99 + "s", "17"])
def test_a_delay_that_is_none_is_ignored(delay: object) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    assert retry_after({}, {"message": "a", "details": details}) == 0


@pytest.mark.parametrize("details", [None, "17s", {"retryDelay": "17s"}, ["17s"], [None], [{"retryDelay": "17s"}]])
def test_other_details_say_nothing(details: object) -> None:
    assert retry_after({}, {"message": "a", "details": details}) == 0


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "x", "code": "context_length_exceeded"}, Kind.CONTEXT_WINDOW),
        (401, {"message": "x", "code": "insufficient_quota"}, Kind.PROVIDER_AUTH),
        (403, {"message": "flagged by our content filter"}, Kind.CONTENT_POLICY),
        (403, {"message": "x"}, Kind.PROVIDER_AUTH),
        (402, {"message": "x"}, Kind.PROVIDER_QUOTA),
        (500, {"message": "The input length exceeds the context length"}, Kind.CONTEXT_WINDOW),
        (500, {"message": "x"}, Kind.PROVIDER_ERROR),
        (0, {"message": "x", "code": 429}, Kind.PROVIDER_RATE_LIMIT),
        (0, {"message": "x", "code": True}, Kind.PROVIDER_ERROR),
        (0, {"message": "x", "type": "invalid_request_error"}, Kind.INVALID_REQUEST),
        (404, {"message": "context window"}, Kind.PROVIDER_NOT_FOUND),
        (418, None, Kind.INVALID_REQUEST),
        (301, None, Kind.PROVIDER_NOT_FOUND),
        (599, None, Kind.PROVIDER_ERROR),
    ],
)
def test_kinds(status: int, error: dict[str, object] | None, kind: Kind) -> None:
    assert failure_of(status, {}, error).kind is kind


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefghijklmnop",
        "gsk_abcdefghijklmnop",
        "AIzaSyA-abcdefghijklmnopqrstuv",
        "Bearer abc.def",
        "sk-ab***********yz",
        "https://user:password@host/",
        "own-deployment-key",
    ],
)
def test_keys_are_scrubbed(text: str) -> None:
    found = scrub(f"before {text} after", ["own-deployment-key"])
    assert "[key]" in found
    assert found.startswith("before ")
    assert "abc" not in found
    assert "password" not in found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"a"}}', "a"),
        (b'{"error":"a"}', "a"),
        (b'{"message":"a"}', "a"),
        (b'[{"error":{"message":"a"}}]', "a"),
        (b'{"error":{"detail":"a"}}', "a"),
        (b'{"error":{"message":["a"]}}', None),
        (b'{"error":5}', None),
        (b"[]", None),
        (b"<html>", None),
        (b"[" * 100_000, None),
    ],
)
def test_error_objects(body: bytes, message: str | None) -> None:
    error = error_object(body)
    assert (error and error["message"]) == message
