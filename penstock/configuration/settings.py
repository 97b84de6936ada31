"""`Settings`: our own section `penstock:`, LiteLLM's sections, and variables, in a stated order.

For each setting the first of these that is set wins: `PENSTOCK_<SETTING>`, `penstock.<setting>`, LiteLLM's key in the
file, the variable that others use too (`DATABASE_URL`, `LITELLM_MASTER_KEY` …), the default. A secret can be read from
the file that `<VARIABLE>_FILE` names.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import SecretStr

from broker.amqp.endpoint import endpoint
from penstock.configuration import database, values
from penstock.configuration.environment import Environment
from penstock.configuration.problems import Place, Problems, Wrong
from penstock.configuration.source import Node
from penstock.configuration.values import Section
from schemas.config import Settings

SHARED_VARIABLES: Mapping[str, str] = {
    "master_key": "LITELLM_MASTER_KEY",
    "salt_key": "LITELLM_SALT_KEY",
    "database_url": "DATABASE_URL",
    "amqp_url": "AMQP_URL",
}
_ABOVE_ZERO = frozenset({"request_timeout", "stream_gap", "beat_every"})
_ONE_OR_MORE = frozenset({"max_request_bytes", "max_answer_bytes", "slow_reader_bytes", "queue_bytes"})


def parser(name: str) -> values.Parse[Any]:
    """What a setting wants, from its annotation."""
    annotation = Settings.model_fields[name].annotation
    if annotation is float:
        return values.duration if name in _ABOVE_ZERO else values.seconds
    if annotation is int:
        return _port if name == "port" else values.count if name in _ONE_OR_MORE else values.whole
    if annotation is bool:
        return values.flag
    if annotation is str:
        return values.text
    if annotation == tuple[str, ...]:
        return values.words
    if SecretStr in get_args(annotation):
        return values.secret
    raise TypeError(f"no parser for the setting {name}")


def is_secret(name: str) -> bool:
    """Whether `<VARIABLE>_FILE` works for the setting."""
    return SecretStr in get_args(Settings.model_fields[name].annotation)


def read_settings(sections: Mapping[str, Section], environment: Environment, problems: Problems) -> Settings:
    """All settings; takes what it understands out of the sections."""
    own, general = sections["penstock"], sections["general_settings"]
    litellm_keys = {
        "master_key": lambda: general.take("master_key", values.secret),
        "database_url": lambda: general.take("database_url", values.secret),
        "max_request_bytes": lambda: general.take("max_request_size_mb", _megabytes),
        "request_timeout": _first(
            lambda: sections["router_settings"].take("timeout", values.duration),
            lambda: sections["litellm_settings"].take("request_timeout", values.duration),
        ),
    }
    found = {}
    for name in Settings.model_fields:
        sources = [
            _variable(f"PENSTOCK_{name.upper()}", name, environment, problems),
            own.take(name, parser(name)),
            litellm_keys[name]() if name in litellm_keys else None,
            _variable(SHARED_VARIABLES.get(name), name, environment, problems),
        ]
        value = next((source for source in sources if source is not None), None)
        if value is not None:
            found[name] = value
    general.take("store_model_in_db", values.flag)  # the ledger can always keep models
    for key, node in own.rest().items():
        problems.error(node.place, f'there is no setting "{key}"')
    _finish_database(found, environment, problems)
    _check_amqp(found, problems)
    return Settings(**found)


def _first(*sources: Callable[[], Any]) -> Callable[[], Any]:
    """Asks every source, so that each key is taken, and gives the first answer."""

    def ask() -> Any:
        answers = [source() for source in sources]
        return next((answer for answer in answers if answer is not None), None)

    return ask


def _variable(variable: str | None, name: str, environment: Environment, problems: Problems) -> Any:
    if variable is None:
        return None
    try:
        value = environment.secret(variable) if is_secret(name) else environment.get(variable)
        if value is None or _is_service_link(variable, value):
            return None
        return parser(name)(Node(value, Place(variable, 0), value))
    except Wrong as wrong:
        problems.error(variable, str(wrong))
        return None


def _finish_database(found: dict[str, Any], environment: Environment, problems: Problems) -> None:
    try:
        url = found["database_url"].get_secret_value() if "database_url" in found else database.from_parts(environment)
        if url is None:
            return
        url, left_out = database.normalised(url)
    except Wrong as wrong:
        problems.error("the database URL", str(wrong))
        return
    found["database_url"] = SecretStr(url)
    if left_out:
        problems.warn("the database URL", f"{', '.join(left_out)}: not used, the pool's size and timeouts are ours")


def _check_amqp(found: Mapping[str, Any], problems: Problems) -> None:
    if "amqp_url" in found:
        try:
            endpoint(found["amqp_url"].get_secret_value())
        except (ValueError, OSError) as error:  # of its form, or of the certificates that it names
            problems.error("AMQP_URL", str(error))


def _is_service_link(variable: str, value: str) -> bool:
    """Kubernetes sets `PENSTOCK_PORT=tcp://10.0.0.7:4000` in every pod beside a service named penstock."""
    return variable == "PENSTOCK_PORT" and value.startswith("tcp://")


def _port(node: Node) -> int:
    value = values.whole(node)
    if value > 65535:
        raise Wrong(f"a port from 0 to 65535 is wanted, not {values.shown(node)}")
    return value


def _megabytes(node: Node) -> int:
    return max(1, int(values.number(node) * 2**20))


def variables() -> Iterator[tuple[str, str | None]]:
    """(variable, shared variable) of every setting: the documentation's table."""
    for name in Settings.model_fields:
        yield f"PENSTOCK_{name.upper()}", SHARED_VARIABLES.get(name)
