"""LiteLLM's own schema as SQL, made from the `schema.prisma` of the installed package."""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_TYPES = {
    "String": "text",
    "Int": "integer",
    "BigInt": "bigint",
    "Float": "double precision",
    "Boolean": "boolean",
    "DateTime": "timestamp(3)",
    "Json": "jsonb",
}
_MODEL = re.compile(r"^model (LiteLLM_\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s+(\w+)(\[\])?(\?)?(?:\s+(@.*))?$")
_MAPPED = re.compile(r'@map\("(\w+)"\)')
_ENUM = re.compile(r"^enum (\w+)", re.MULTILINE)
_DEFAULT = re.compile(r'@default\s*\((?:"(.*?)"|(\[\])|([\w.-]+(?:\(\))?))\)')


def tables(without: Collection[str] = ()) -> str:
    """`CREATE TABLE` for every model, less columns `without`: "Table.column" or just "Table", without `LiteLLM_`."""
    made = [
        _table(name, [column for column in columns if f"{name}.{_named(column)}" not in without])
        for name, columns in _models().items()
        if name not in without
    ]
    assert made, "there is no model in schema.prisma"
    return "\n".join(made)


@cache
def _models() -> dict[str, list[str]]:
    """Columns, and the primary key last, by the name of the model less `LiteLLM_`."""
    text = re.sub(r"//.*", "", _prisma().read_text())
    types = _TYPES | dict.fromkeys(_ENUM.findall(text), "text")
    return {name.removeprefix("LiteLLM_"): list(_lines(body, types)) for name, body in _MODEL.findall(text)}


def _prisma() -> Path:
    spec = find_spec("litellm")
    assert spec is not None, "litellm is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent / "proxy" / "schema.prisma"


def _lines(body: str, types: Mapping[str, str]) -> Iterator[str]:
    names: dict[str, str] = {}
    for line in body.splitlines():
        if key := re.match(r"\s*@@id\(\[(.*?)\]", line):
            yield f"PRIMARY KEY ({', '.join(names[one.strip()] for one in key[1].split(','))})"
        found = _FIELD.match(line.rstrip())
        if found is None or found[2] not in types:
            continue
        attributes = found[5] or ""
        mapped = _MAPPED.search(attributes)
        names[found[1]] = f'"{mapped[1] if mapped else found[1]}"'
        yield " ".join([names[found[1]], *_kind(types[found[2]], bool(found[3]), bool(found[4]), attributes)])


def _kind(kind: str, array: bool, optional: bool, attributes: str) -> Iterator[str]:
    yield "serial" if "autoincrement()" in attributes else kind + ("[]" if array else "")
    if not optional and not array:
        yield "NOT NULL"
    default = _DEFAULT.search(attributes)
    if default is not None and (value := _value(default, kind)) is not None:
        yield f"DEFAULT {value}"
    if "@id" in attributes.split():
        yield "PRIMARY KEY"
    elif "@unique" in attributes.split():
        yield "UNIQUE"


def _value(default: re.Match[str], kind: str) -> str | None:
    text, empty, word = default.groups()
    if text is not None:
        return f"'{text}'"
    if empty is not None:
        return "'{}'"
    if word == "now()":
        return "CURRENT_TIMESTAMP"
    return None if word.endswith("()") or kind == "text" else word


def _named(line: str) -> str:
    return line.split()[0].strip('"')


def _table(name: str, lines: list[str]) -> str:
    return f'CREATE TABLE "LiteLLM_{name}" (' + ", ".join(lines) + ");"
