"""How often one address may name keys that do not exist: sixty at once, then one a second."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from schemas.failures import Kind, Refused

_AT_ONCE = 60
_PACE = 1.0  # a second
_REMEMBERED = 10_000  # networks


class Guesses:
    """Counts lookups of unknown keys by network. `clock` is monotonic.

    Beyond the bound keys that nobody here knows yet are looked up at a bounded pace, so that a guesser behind the same
    address keeps others waiting and not out; keys that are known are not asked about here.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # network -> (guesses left, when)

    def check(self, address: str) -> None:
        """Raises `Refused(TOO_MANY_UNKNOWN)` when another one may not be looked up yet."""
        left = self._now(_network(address))
        if left < 1:
            said = "Too many invalid API keys came from this address: unknown keys are looked up one by one now."
            raise Refused(Kind.TOO_MANY_UNKNOWN, said, retry_after=(1 - left) / _PACE)

    def count(self, address: str) -> None:
        """One more was unknown."""
        network = _network(address)
        self._left[network] = (self._now(network) - 1, self._clock())
        self._left.move_to_end(network)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)

    def _now(self, network: str) -> float:
        left, at = self._left.get(network, (float(_AT_ONCE), self._clock()))
        return min(float(_AT_ONCE), left + (self._clock() - at) * _PACE)


def _network(address: str) -> str:
    """Of IPv6 the first 64 bits: whoever has one address there has them all."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64)) if parsed.version == 6 else address
