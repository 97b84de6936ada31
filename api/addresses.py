"""From where one may call: the client's address, and the list of those that are let in. Asked before the key is."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from schemas.failures import Kind, Refused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

OPEN = frozenset({"/health/liveliness", "/health/liveness", "/health/readiness"})
"""Paths that are answered to any address: whoever probes has one of the cluster's."""


class Addresses:
    """`allowed` and `trusted_proxies` are addresses and networks; None of `allowed` lets everybody in, () nobody.

    `X-Forwarded-For` is believed as far as it was written by trusted proxies: read from its end, the first address
    that is none of theirs is the client's. Whatever stands before it, anybody can have written.
    """

    def __init__(self, allowed: Iterable[str] | None, trusted_proxies: Iterable[str], use_forwarded: bool) -> None:
        self._allowed = None if allowed is None else tuple(map(network, allowed))
        self._proxies = tuple(map(network, trusted_proxies)) if use_forwarded else ()

    @property
    def open(self) -> bool:
        """Whether every address is let in, so that nothing needs to be checked."""
        return self._allowed is None

    def client(self, scope: Mapping[str, Any]) -> str:
        """The client's address; "" when the connection has none (a Unix socket)."""
        peer = scope.get("client")
        host: str = peer[0] if peer else ""
        if not self._proxies or not _within(host, self._proxies):
            return host
        for hop in reversed(_forwarded(scope)):
            found = _parsed(hop)
            if found is None:
                return host  # garbage: whoever wrote it, what stands before it means nothing
            if not _within(hop, self._proxies):
                return str(found)
        return host

    def check(self, scope: Mapping[str, Any]) -> None:
        """Raises `Refused(FORBIDDEN)` when the client's address is not on the list."""
        if self._allowed is None or scope["path"] in OPEN:
            return
        client = self.client(scope)
        if not _within(client, self._allowed):
            raise Refused(Kind.FORBIDDEN, f"Access forbidden: IP address {client or 'unknown'} not allowed.")


def network(text: str) -> Network:
    """An address or a network in CIDR form. Raises `ValueError`."""
    return ip_network(text.strip(), strict=False)


def _forwarded(scope: Mapping[str, Any]) -> list[str]:
    """The hops of all `X-Forwarded-For` headers, in order; empty ones left out."""
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop for hop in b",".join(values).decode("latin-1").replace(" ", "").split(",") if hop]


def _parsed(text: str) -> Address | None:
    """The address, without the port that some proxies add; a mapped IPv4 address as what it is."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _within(text: str, networks: tuple[Network, ...]) -> bool:
    found = _parsed(text)
    return found is not None and any(found in one for one in networks)
