"""Requests for a test to throw at routes: bodies and queries that nearly fit what the OpenAPI document says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

_DEEP = {f"@{levels} deep@": "[" * levels + "]" * levels for levels in (40, 100, 900, 915, 930, 3000)}
"""What `encoded` puts in the place of these texts. Around 915 levels a body can be read, and its row cannot."""
_METHODS = ("get", "post", "put", "patch", "delete")

# Few names: what one request makes the next one finds.
_TEXTS = [*["a"] * 9, *["b"] * 3, "sk-1", "a@b.c", "proxy_admin", "internal_user"]
_BY_NAME = {
    "duration": ["1d", "30s", "1mo"],
    "period": ["1d"],
    "date": ["2026-01-02"],
    "email": ["a@b.c", "b@b.c"],
}
_TELLING = {"user_id", "keys", "budget_id", "start_date", "end_date", "member"}
_NO_JSON = [b"", b"{", b"\xff", b"null", b'{"a":1}x', b'{"a":"\x00"}', b"[" * 100_000]
_ODDITIES: list[Any] = [
    *(
        "\0",
        "a\0b",
        "\ud800",
        "a\udfffb",
        "",
        " ",
        "\n",
        "%",
        "\\",
        "'",
        "٣",
        "x" * 20_000,
        "NaN",
        "1e999",
        "-1",
        "9" * 40,
    ),
    *(True, False, None, 0, -1, 0.5, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400),
    *(1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *(
        [],
        {},
        [[]],
        [None],
        [{}],
        {"": None},
        {"a": {"b": []}},
        {"\0": 1},
        {"\ud800": 1},
        {"a": 10**30},
    ),
    *({"a": {"b": mark}} for mark in _DEEP),
    *(["a"] * 2000, {str(number): number for number in range(2000)}),
]
_ODD: st.SearchStrategy[Any] = st.sampled_from(_ODDITIES)


@dataclass(frozen=True)
class Operation:
    """One method of one path. `body` is a schema, or None; `parameters` are (in, name, schema, required)."""

    method: str
    path: str
    body: Mapping[str, Any] | None
    parameters: tuple[tuple[str, str, Mapping[str, Any], bool], ...]


@dataclass(frozen=True)
class Sent:
    """A request. The path is filled in and not yet quoted; `body` b"" is none."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Everything that an OpenAPI document offers."""
    return [
        Operation(
            method.upper(),
            path,
            item.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema"),
            tuple((p["in"], p["name"], p["schema"], p.get("required", False)) for p in item.get("parameters", ())),
        )
        for path, methods in document["paths"].items()
        for method, item in methods.items()
        if method in _METHODS
    ]


def encoded(value: Any) -> bytes:
    """JSON as no careful client writes it: lone surrogates, NaN and Infinity are kept."""
    text = json.dumps(value)
    for mark, deep in _DEEP.items():
        text = text.replace(f'"{mark}"', deep)
    return text.encode()


def requests(operation: Operation, document: Mapping[str, Any]) -> st.SearchStrategy[Sent]:
    """Requests to one operation: every second one fits, in most others one value does not."""
    schemas = _Schemas(document)
    queried = [(name, schema, must) for place, name, schema, must in operation.parameters if place == "query"]
    query = _mostly(
        _some({n: schemas.fitting(s, n) for n, s, _ in queried}, {n for n, _, must in queried if must}),
        [name for name, *_ in queried],
    )
    places = {
        name.partition(":")[0]: _weighted({schemas.fitting(schema, name): 3, _ODD: 1})
        for place, name, schema, _ in operation.parameters
        if place == "path"
    }
    return st.builds(
        lambda query, places, body: Sent(
            operation.method,
            operation.path.replace(":path}", "}").format(**{name: _text(value) for name, value in places.items()}),
            {_text(name): _text(value) for name, value in query.items()} if isinstance(query, dict) else {},
            body,
        ),
        query,
        st.fixed_dictionaries(places),
        st.just(b"") if operation.body is None else _bodies(schemas, operation.body),
    )


def _bodies(schemas: "_Schemas", schema: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    names = [*schemas.resolved(schema).get("properties", {}), "metadata", "not_declared", "\0", "\ud800"]
    whole = _mostly(schemas.fitting(schema, ""), names).map(encoded)
    return _weighted({whole: 30, st.sampled_from(_NO_JSON): 1})


def _mostly(fitting: st.SearchStrategy[Any], names: list[str]) -> st.SearchStrategy[Any]:
    """What fits, or that with an odd value at one of these names, or something odd."""
    if not names:
        return fitting
    one_odd = st.builds(
        lambda fits, name, odd: {**fits, name: odd} if isinstance(fits, dict) else odd,
        fitting,
        st.sampled_from(names),
        _ODD,
    )
    return _weighted({fitting: 8, one_odd: 8, _ODD: 1})


def _weighted(weights: Mapping[st.SearchStrategy[Any], int]) -> st.SearchStrategy[Any]:
    every = [one for one, weight in weights.items() for _ in range(weight)]
    return st.integers(0, len(every) - 1).flatmap(lambda index: every[index])


def _some(fields: Mapping[str, st.SearchStrategy[Any]], required: set[str]) -> st.SearchStrategy[dict[str, Any]]:
    """The required fields, mostly those that say what is meant, and at most two others."""
    musts = st.fixed_dictionaries({name: fields[name] for name in fields if name in required})
    telling = st.fixed_dictionaries({name: fields[name] for name in fields if name in _TELLING - required})
    others = [st.tuples(st.just(name), fields[name]) for name in fields if name not in required]
    more = st.lists(st.one_of(others), max_size=2).map(dict) if others else st.just({})
    return st.builds(
        lambda must, told, more: {**must, **told, **more}, musts, _weighted({telling: 3, st.just({}): 1}), more
    )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "a" if isinstance(value, list) else json.dumps(value)
    return text[:2000].encode("utf-8", "replace").decode()


class _Schemas:
    """The JSON schemas of a document, and values that fit them, roughly."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a reference leads to."""
        while "$ref" in schema:
            found = self._document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema

    def fitting(self, schema: Mapping[str, Any], name: str, depth: int = 0) -> st.SearchStrategy[Any]:
        """Values for a field of this name."""
        schema = self.resolved(schema)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return st.one_of([self.fitting(one, name, depth) for one in schema[several]])
        if "const" in schema or "enum" in schema:
            return st.sampled_from(schema.get("enum") or [schema["const"]])
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return st.lists(self.fitting(schema.get("items", {}), name, depth + 1), min_size=1, max_size=2)
            case "string":
                return st.sampled_from(next((texts for part, texts in _BY_NAME.items() if part in name), _TEXTS))
            case kind:
                return _PLAIN.get(kind, st.sampled_from(["a", 1, {}, {"a": 1}]))

    def _object(self, schema: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
        properties = schema.get("properties", {})
        if depth > 3:
            return st.just({})
        if not properties:
            more = schema.get("additionalProperties")
            values = self.fitting(more if isinstance(more, dict) else {}, "", depth + 1)
            return st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=1)
        fields = {name: self.fitting(one, name, depth + 1) for name, one in properties.items()}
        return _some(fields, set(schema.get("required", ())))


_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    "integer": st.integers(0, 3),
    "number": st.sampled_from([0, 1, 2.5]),
    "boolean": st.booleans(),
    "null": st.none(),
}
