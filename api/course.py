"""Where one request may go, where it has been, and what it brought along to decide that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.catalog import Resolution
from schemas.config import Deployment, Fallback, Fallbacks
from schemas.failures import Failure, Kind, Refused

_MOST = 10  # fallbacks that a request may name, and times that it may ask to be retried


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request says of its own routing; None: nothing."""

    fallbacks: Fallbacks | None = None
    retries: int | None = None
    most_fallbacks: int | None = None
    test_fallbacks: bool = False  # fail the first group, to see where requests would go


@dataclass(slots=True)
class Course:
    """The state of one request's routing. `tried` are deployments of the present group, `visited` model groups."""

    eligible: tuple[Deployment, ...]
    wishes: Wishes
    prompt: int  # tokens, about
    only: frozenset[str] | None = None  # of the present group's deployments those that may be asked; None: all
    allowed: Callable[[str, Resolution], bool] | None = None  # whether a fallback to this may be made; None: to any
    refusal: Failure | None = None  # why no deployment of the group that was asked for may serve it
    tried: set[str] = field(default_factory=set)
    visited: list[str] = field(default_factory=list)
    left: list[Fallback] = field(default_factory=list)  # of the list that was followed last
    tries: int = 0  # failed calls in this group that count
    retried: int = 0  # calls that were followed by another in the same group
    fallbacks: int = 0  # model groups that were left

    def untried(self) -> tuple[Deployment, ...]:
        """The deployments that were not tried; all of them when every one was."""
        if not self.tried:
            return self.eligible
        return tuple(d for d in self.eligible if d.id not in self.tried) or self.eligible

    def arrive(self, group: str, eligible: tuple[Deployment, ...]) -> None:
        """In another model group."""
        self.eligible = eligible
        self.tried.clear()
        self.visited.append(group)
        self.tries = 0


def wishes(controls: Mapping[str, Any], retries: str | None = None) -> Wishes:
    """From the control fields, and the `x-litellm-num-retries` header. Raises `Refused(INVALID_REQUEST)`."""
    most = _count(controls.get("max_fallbacks"), "max_fallbacks")
    asked = controls.get("num_retries") if retries is None else _number(retries)
    own = None
    if controls.get("disable_fallbacks") is True:
        own = {}
    elif controls.get("fallbacks") is not None:
        own = {"*": tuple(_fallback(item) for item in _list(controls["fallbacks"]))}
    test = controls.get("mock_testing_fallbacks") is True
    if own is None and asked is None and most is None and not test:
        return _NONE
    return Wishes(own, _count(asked, "num_retries"), most, test)


_NONE = Wishes()


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise Refused(Kind.INVALID_REQUEST, f"'fallbacks' must be a list of at most {_MOST} models.", param="fallbacks")
    return value


def _fallback(item: Any) -> Fallback:
    if isinstance(item, str) and item:
        return Fallback(model=item)
    if isinstance(item, dict) and isinstance(item.get("model"), str):
        return Fallback(model=item["model"], body={name: value for name, value in item.items() if name != "model"})
    said = "Each of 'fallbacks' must be a model's name, or an object with 'model' and parameters."
    raise Refused(Kind.INVALID_REQUEST, said, param="fallbacks")


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _count(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _MOST:
        raise Refused(Kind.INVALID_REQUEST, f"'{name}' must be a whole number from 0 to {_MOST}.", param=name)
    return value
