from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import NOTHING, Remaining, Told
from workers.providers.durations import until
from workers.providers.limits import told, wait
from workers.providers.refusals import retry_after

NOON = 1893499200  # Tue, 01 Jan 2030 12:00:00 GMT
DATE = "Tue, 01 Jan 2030 12:00:00 GMT"

STYLES: dict[str, tuple[Mapping[str, str], Told]] = {
    "none": ({"date": DATE, "content-type": "application/json", "x-request-id": "1"}, NOTHING),
    "openai": (
        {
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-limit-tokens": "30000000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-remaining-tokens": "29999976",
            "x-ratelimit-reset-requests": "6ms",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        Told(Remaining(10000, 9999, 0.006), Remaining(30000000, 29999976, 360)),
    ),
    "openai, the project's limit is the smaller": (
        {
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-tokens": "6ms",
            "x-ratelimit-limit-project-tokens": "60000",
            "x-ratelimit-remaining-project-tokens": "57000",
            "x-ratelimit-reset-project-tokens": "3s",
        },
        Told(tokens=Remaining(60000, 57000, 3)),
    ),
    "openai, the project's limit is the larger": (
        {
            "x-ratelimit-limit-project-tokens": "600000",
            "x-ratelimit-remaining-project-tokens": "570000",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-tokens": "149984",
        },
        Told(tokens=Remaining(150000, 149984, None)),
    ),
    "azure": (
        {"x-ratelimit-remaining-requests": "79", "x-ratelimit-remaining-tokens": "61353", "x-ms-region": "West US"},
        Told(Remaining(None, 79, None), Remaining(None, 61353, None)),
    ),
    "azure, newer": (
        {
            "x-ratelimit-limit-requests": "20000",
            "x-ratelimit-remaining-requests": "19999",
            "x-ratelimit-renewalperiod-requests": "60",
            "x-ratelimit-reset-requests": "3",
            "x-ratelimit-limit-tokens": "-1",
            "x-ratelimit-remaining-tokens": "-1",
            "x-ratelimit-reset-tokens": "0",
        },
        Told(Remaining(20000, 19999, 3)),
    ),
    "groq": (
        {
            "retry-after": "2",
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-remaining-tokens": "17997",
            "x-ratelimit-reset-requests": "2m59.56s",
            "x-ratelimit-reset-tokens": "7.66s",
        },
        Told(Remaining(14400, 14370, 179.56), Remaining(18000, 17997, 7.66)),
    ),
    "anthropic": (
        {
            "date": DATE,
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": "999",
            "anthropic-ratelimit-requests-reset": "2030-01-01T11:59:59Z",
            "anthropic-ratelimit-tokens-limit": "96000",
            "anthropic-ratelimit-tokens-remaining": "48000",
            "anthropic-ratelimit-tokens-reset": "2030-01-01T12:00:30Z",
            "anthropic-ratelimit-input-tokens-limit": "80000",
            "anthropic-ratelimit-input-tokens-remaining": "40000",
            "anthropic-ratelimit-input-tokens-reset": "2030-01-01T13:01:00+01:00",
            "anthropic-ratelimit-output-tokens-limit": "16000",
            "anthropic-ratelimit-output-tokens-remaining": "8000",
            "anthropic-ratelimit-output-tokens-reset": "2030-01-01T12:00:00.5Z",
        },
        Told(
            Remaining(1000, 999, 0),
            Remaining(96000, 48000, 30),
            Remaining(80000, 40000, 60),
            Remaining(16000, 8000, 0.5),
        ),
    ),
    "mistral": (
        {
            "x-ratelimit-limit-req-minute": "60",
            "x-ratelimit-limit-tokens-minute": "50000",
            "x-ratelimit-limit-tokens-month": "4000000",
            "x-ratelimit-remaining-req-minute": "59",
            "x-ratelimit-remaining-tokens-minute": "47196",
            "x-ratelimit-remaining-tokens-month": "3950246",
            "x-ratelimit-tokens-query-cost": "2804",
        },
        Told(Remaining(60, 59, None), Remaining(50000, 47196, None)),
    ),
    "cerebras, of a day and a minute": (
        {
            "x-ratelimit-limit-requests-day": "1000000000",
            "x-ratelimit-limit-tokens-minute": "1000000000",
            "x-ratelimit-remaining-requests-day": "999997455",
            "x-ratelimit-remaining-tokens-minute": "999998298",
            "x-ratelimit-reset-requests-day": "33011.382867097855",
            "x-ratelimit-reset-tokens-minute": "11.382867097854614",
        },
        Told(tokens=Remaining(1000000000, 999998298, 11.382867097854614)),
    ),
    "cerebras, the day is used up": (
        {
            "x-ratelimit-limit-requests-minute": "5",
            "x-ratelimit-limit-requests-hour": "150",
            "x-ratelimit-limit-requests-day": "2400",
            "x-ratelimit-remaining-requests-minute": "4",
            "x-ratelimit-remaining-requests-hour": "100",
            "x-ratelimit-remaining-requests-day": "0",
            "x-ratelimit-reset-requests-day": "33011.5",
        },
        Told(Remaining(2400, 0, 33011.5)),
    ),
    "sambanova": (
        {
            "date": DATE,
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "42",
            "x-ratelimit-reset-requests": str(NOON + 30),
            "x-ratelimit-limit-requests-day": "1000",
            "x-ratelimit-remaining-requests-day": "900",
            "x-ratelimit-reset-requests-day": str(NOON + 43200),
        },
        Told(Remaining(60, 42, 30)),
    ),
    "digitalocean": (
        {
            "date": DATE,
            "x-ratelimit-limit-tokens-per-day": "9000000",
            "x-ratelimit-remaining-tokens-per-day": "8000000",
            "x-ratelimit-limit-tokens-per-minute": "90000",
            "x-ratelimit-remaining-tokens-per-minute": "80000",
            "x-ratelimit-reset-tokens-per-minute": str(NOON + 1),
        },
        Told(tokens=Remaining(90000, 80000, 1)),
    ),
    "fireworks": (
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "58",
            "x-ratelimit-limit-tokens-prompt": "3600000",
            "x-ratelimit-remaining-tokens-prompt": "3599000",
            "x-ratelimit-limit-tokens-cache-adjusted-prompt": "900000",
            "x-ratelimit-remaining-tokens-cache-adjusted-prompt": "899500",
            "x-ratelimit-limit-tokens-generated": "36000",
            "x-ratelimit-remaining-tokens-generated": "35000",
            "x-ratelimit-over-limit": "no",
        },
        Told(
            Remaining(60, 58, None),
            input=Remaining(900000, 899500, None),
            output=Remaining(36000, 35000, None),
        ),
    ),
    "together, of one second": (
        {
            "x-ratelimit-limit": "10",
            "x-ratelimit-remaining": "9",
            "x-ratelimit-reset": "1",
            "x-tokenlimit-limit": "3000",
            "x-tokenlimit-remaining": "2980",
            "x-ratelimit-limit-dynamic": "12",
            "x-ratelimit-remaining-dynamic": "11",
        },
        NOTHING,
    ),
    "openrouter": (
        {
            "date": DATE,
            "x-ratelimit-limit": "50",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": f"{NOON + 20}500",
        },
        Told(Remaining(50, 0, 20.5)),
    ),
    "github": (
        {
            "date": DATE,
            "x-ratelimit-limit": "5000",
            "x-ratelimit-remaining": "4999",
            "x-ratelimit-reset": str(NOON + 3600),
            "x-ratelimit-used": "1",
        },
        Told(Remaining(5000, 4999, 3600)),
    ),
    "ietf": (
        {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "9", "ratelimit-reset": "53"},
        Told(Remaining(None, 9, 53)),
    ),
    "a proxy's own limit beside the provider's": (
        {
            "x-ratelimit-limit": "5",
            "x-ratelimit-remaining": "4",
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
        },
        Told(Remaining(500, 499, None)),
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_what_providers_say(style: str) -> None:
    headers, expected = STYLES[style]
    assert told(headers) == expected
    assert told({name: headers[name] for name in reversed(list(headers))}) == expected


@pytest.mark.parametrize("left", ["", "-1", "nan", "inf", "-inf", "many", "5 requests", "0x10", "9" * 5000, "½"])
def test_what_is_no_number_is_not_there(left: str) -> None:
    assert told({"x-ratelimit-remaining-requests": left, "x-ratelimit-limit-requests": "10"}) is NOTHING
    assert told({"x-ratelimit-remaining-tokens": "3", "x-ratelimit-limit-tokens": left}).tokens == (None, 3, None)


def test_a_word_without_what_is_left_says_nothing() -> None:
    assert told({"x-ratelimit-limit-tokens": "3", "x-ratelimit-reset-tokens": "1s"}) is NOTHING


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1d2h", 93600),
        ("120µs", 0.00012),
        ("120us", 0.00012),
        ("5000ns", 0.000005),
        ("0s", 0),
        ("42", 42),
        ("0.5", 0.5),
        ("2592000", 2592000),
        (str(NOON + 5), 5),
        (str(NOON - 5), 0),
        (f"{NOON + 5}250", 5.25),
        ("2030-01-01T12:00:05Z", 5),
        ("2030-01-01T12:00:05.123456789Z", 5.123456),
        ("2030-01-01T12:00:05", 5),
        ("2030-01-01T14:00:05+02:00", 5),
        ("Tue, 01 Jan 2030 12:00:05 GMT", 5),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0),
        ("", None),
        ("s", None),
        ("6m 0s", None),
        ("6x", None),
        ("-6s", None),
        ("1m-2s", None),
        ("1.2.3s", None),
        ("1e3s", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("9" * 400 + "s", None),
        ("1s" * 40, None),
        ("2030-13-01T12:00:05Z", None),
        ("Tue, 41 Jan 2030 12:00:05 GMT", None),
        ("Tue, 01 Jan 99999999999999999999 12:00:05 GMT", None),
        ("Tue, 01 Jan 2030 12:00:05 +99999999999999", None),
    ],
)
def test_how_long_until(text: str, seconds: float | None) -> None:
    found = until(text, DATE)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize("text", [str(NOON), f"{NOON}000", "2030-01-01T12:00:05Z", DATE])
@pytest.mark.parametrize("date", ["", "today", "nan", "x" * 100])
def test_a_moment_needs_the_date_of_the_answer(text: str, date: str) -> None:
    assert until(text, date) is None


NAMES = sorted({name for headers, _ in STYLES.values() for name in headers} | {"retry-after-ms"})
VALUES = st.one_of(
    st.text("0123456789.,:;+-_smhdTZeEn GMTJanµ½٣²\x00\udcff", max_size=80),
    st.from_regex(r"(\d{1,9}(\.\d{1,9})?(ms|[smhd]|[uµn]s)){0,9}", fullmatch=True, alphabet="0123456789.smhduµn"),
    st.sampled_from([value for headers, _ in STYLES.values() for value in headers.values()]),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_nothing_raises_and_nothing_is_negative(headers: dict[str, str]) -> None:
    said = [one for one in told(headers) if one is not None]
    assert all(0 <= value < float("inf") for one in said for value in one if value is not None)
    assert 0 <= wait(headers) < float("inf")
    assert 0 <= retry_after(headers) <= 86400
