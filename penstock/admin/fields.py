"""Options of commands as fields of a request, and answers as tables."""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from api.management.metadata import FOLDED
from penstock.admin.running import show

Function = TypeVar("Function", bound=Callable[..., Any])
_NONE = "none"
_LISTS = frozenset({"models", "tags"})
_KEPT = frozenset({"router_settings", "object_permission", "access_group_ids", "allowed_cache_controls"})
"""Fields that LiteLLM has and we only keep."""
_LIMITS = {
    "models": "Models that may be called, separated by commas.",
    "max_budget": "US dollars.",
    "soft_budget": "US dollars at which an alert is raised.",
    "budget_duration": "After which the budget begins anew: 24h, 7d, 30d, 1mo …",
    "rpm_limit": "Requests a minute.",
    "tpm_limit": "Tokens a minute.",
    "max_parallel_requests": "Calls at the same time.",
}

LIMIT = click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Rows at most.")


def settable(*bodies: type[BaseModel], **more: str) -> Callable[[Function], Function]:
    """Options for the fields that can be set: those named here with their help, limits, and `--set` for any other.

    `bodies` are those of the routes: a name that neither they nor LiteLLM know is a mistake.
    """
    known = frozenset(_KEPT | FOLDED).union(*(body.model_fields for body in bodies))

    def checked(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            _check(one, known)
        return given

    def add(function: Function) -> Function:
        function = click.option(
            "--set",
            "others",
            multiple=True,
            metavar="NAME=VALUE",
            callback=checked,
            help="Any other field of the HTTP route; the value is JSON, or else a text. What has no field of its own"
            " goes into the metadata.",
        )(function)
        for name, said in reversed({**more, **_LIMITS}.items()):
            function = click.option(f"--{name.replace('_', '-')}", name, help=f"{said} `none` takes it away.")(function)
        return function

    return add


def body(options: Mapping[str, str | None], others: Sequence[str], **names: str) -> dict[str, Any]:
    """The fields that were given. `names`: what the API calls an option that has another name there."""
    found: dict[str, Any] = {}
    for name, text in options.items():
        if text is not None:
            found[names.get(name, name)] = _value(name, text)
    for one in others:
        name, _, text = one.partition("=")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _check(one: str, known: Iterable[str]) -> None:
    name, equals, _ = one.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--set wants NAME=VALUE, not '{one}'")
    if name not in known:
        like = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean {like[0]}?)" if like else """: --set 'metadata={"name": …}' keeps what has none"""
        raise click.UsageError(f"--set: there is no field '{name}'{hint}")


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool) -> None:
    """Rows with these columns, by their headings: as JSON all fields."""
    if as_json:
        show([dict(row) for row in rows], as_json=True)
        return
    show([{heading: _cell(row.get(name)) for heading, name in columns.items()} for row in rows], as_json=False)


def one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing: a line for each field that says something, or JSON."""
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    said = {name: value for name, value in row.items() if value not in (None, "", [], {})}
    width = max(map(len, said), default=0)
    for name, value in said.items():
        click.echo(f"{name.ljust(width)}  {_cell(value)}")


def _value(name: str, text: str) -> Any:
    if text == _NONE:
        return None
    return [part.strip() for part in text.split(",") if part.strip()] if name in _LISTS else text


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value) or "-"
    return value if isinstance(value, str) else json.dumps(value)
