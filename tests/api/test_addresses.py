"""The client's address, with and without proxies in front, and who is let in by it."""

from typing import Any

import pytest

from api.addresses import Addresses
from schemas.failures import Kind, Refused


def scope(peer: str | None, *forwarded: str, path: str = "/v1/models") -> dict[str, Any]:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode()) for value in forwarded)]
    return {"client": None if peer is None else (peer, 1234), "headers": headers, "path": path}


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),  # the first is what the client has written
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["1.2.3.4, 10.0.0.7"], "1.2.3.4"),
        ("10.0.0.1", ["1.2.3.4,10.0.0.7 ,10.0.0.8"], "1.2.3.4"),
        ("10.0.0.1", ["10.0.0.7"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        ("10.0.0.1", ["[2001:db8::1]:5678"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("1.1.1.1", ["1.2.3.4"], "1.1.1.1"),  # nobody whom we trust has said that
        (None, ["1.2.3.4"], ""),
    ],
)
def test_the_clients_address_behind_trusted_proxies(peer: str | None, forwarded: list[str], expected: str) -> None:
    assert Addresses(None, ["10.0.0.0/8"], True).client(scope(peer, *forwarded)) == expected


def test_without_the_setting_or_without_trusted_proxies_the_header_means_nothing() -> None:
    asked = scope("10.0.0.1", "1.2.3.4")
    assert Addresses(None, ["10.0.0.0/8"], False).client(asked) == "10.0.0.1"
    assert Addresses(None, [], True).client(asked) == "10.0.0.1"


@pytest.mark.parametrize(
    ("allowed", "peer", "let_in"),
    [
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.2", False),
        (["192.0.2.0/24"], "192.0.2.200", True),
        (["192.0.2.7/24"], "192.0.2.200", True),
        (["192.0.2.0/24", "2001:db8::/32"], "2001:db8:1::2", True),
        (["2001:db8::/32"], "192.0.2.1", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.9", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["127.0.0.1"], None, False),
        (["127.0.0.1"], "not-an-address", False),
        ([], "127.0.0.1", False),
    ],
)
def test_who_is_let_in(allowed: list[str], peer: str | None, let_in: bool) -> None:
    addresses = Addresses(allowed, [], False)
    assert not addresses.open
    if let_in:
        addresses.check(scope(peer))
        return
    with pytest.raises(Refused) as caught:
        addresses.check(scope(peer))
    assert caught.value.failure.kind is Kind.FORBIDDEN
    for path in ("/health/liveliness", "/health/liveness", "/health/readiness"):
        addresses.check(scope(peer, path=path))


def test_nothing_configured_asks_nothing() -> None:
    addresses = Addresses(None, [], False)
    assert addresses.open
    addresses.check({})


def test_a_forged_header_lets_nobody_in() -> None:
    addresses = Addresses(["192.0.2.1"], ["10.0.0.0/8"], True)
    addresses.check(scope("10.0.0.1", "192.0.2.1"))
    for asked in (scope("6.6.6.6", "192.0.2.1"), scope("10.0.0.1", "192.0.2.1, 6.6.6.6")):
        with pytest.raises(Refused):
            addresses.check(asked)


@pytest.mark.parametrize("text", ["x", "10.0.0.0/33", "", "10.0.0.1-10.0.0.9"])
def test_what_is_no_address_is_an_error_at_start(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        Addresses([text], [], False)
