"""The house's rules, read from the source: who may import whom, which package is used where, how long a file is."""

import ast
import fnmatch
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "schemas": {"schemas"},
    "broker": {"broker", "schemas"},
    "ledger": {"ledger", "schemas"},
    "policy": {"policy", "schemas"},
    "workers": {"workers", "schemas", "policy", "broker", "ledger"},
    "api": {"api", "schemas", "policy", "broker", "ledger"},
    "penstock": {"penstock", "schemas", "policy", "broker", "ledger", "workers", "api"},
}

# The consumers that a worker process is built from: they may speak FastStream.
WORKER_ENTRIES = ["workers.accounting.dead_letters"]

# package -> the modules that may import it
ONLY_IN = {
    "aio_pika": ["broker.*", *WORKER_ENTRIES],
    "aiohttp": ["workers.transport"],
    "aiormq": ["broker.*"],
    "asyncpg": ["ledger.*"],
    "click": ["penstock.*"],
    "fastapi": ["api.*"],
    "faststream": ["broker.*", *WORKER_ENTRIES],
    "httpx": ["penstock.*"],
    "langfuse": [],
    "mlflow": [],
    "pamqp": ["broker.*"],
    "starlette": ["api.*"],
    "uvicorn": ["penstock.*"],
    "uvloop": ["penstock.*"],
    "yaml": ["penstock.configuration.*", "workers.providers.catalog"],
}

VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))}
ALL_FILES = [
    *MODULES.values(),
    *(path for place in ("tests", "scripts", "bench") for path in sorted((ROOT / place).rglob("*.py"))),
]


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Every module that a tree imports, at any depth; `from a import b` is `a.b` when that is a module, else `a`."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            for name in (f"{base}.{alias.name}" for alias in node.names):
                yield name if name in MODULES else base


def without_types(tree: ast.Module) -> ast.Module:
    """The module less its `if TYPE_CHECKING:` blocks, which nothing runs."""
    kept = [n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")]
    return ast.Module(kept, [])


def imported(module: str, *, types: bool = True) -> set[str]:
    """The modules that one of ours imports."""
    path = MODULES[module]
    tree = ast.parse(path.read_text())
    return set(imports(tree if types else without_types(tree), module, path.name == "__init__.py"))


GRAPH = {module: imported(module) for module in MODULES}


def test_there_is_something_to_judge() -> None:
    assert set(MAY_IMPORT) <= {module.split(".")[0] for module in MODULES}
    assert "schemas" in {name.split(".")[0] for name in GRAPH["workers.execute"]}, "imports are no longer found"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_the_list_only(module: str) -> None:
    rooms = {name.split(".")[0] for name in GRAPH[module]}
    assert rooms & {*MAY_IMPORT, "tests", "scripts", "bench"} <= MAY_IMPORT[module.split(".")[0]]


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_stays_in_its_room(package: str) -> None:
    users = {module for module, names in GRAPH.items() if package in {name.split(".")[0] for name in names}}
    strangers = {user for user in users if not any(fnmatch.fnmatch(f"{user}.", f"{at}*.") for at in ONLY_IN[package])}
    assert not strangers


def packages_of(module: str) -> set[str]:
    """The packages that a module is in: Python runs their `__init__` before it."""
    parts = module.split(".")
    return {".".join(parts[:number]) for number in range(1, len(parts))}


def run_first(module: str) -> set[str]:
    """What runs before a module does, less the packages that it is itself in."""
    names = imported(module, types=False)
    return names.union(*map(packages_of, names)) & MODULES.keys() - packages_of(module) - {module}


def test_there_is_no_import_cycle() -> None:
    left = {module: run_first(module) for module in MODULES}
    while free := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in free}
    assert not left, "these import each other (or what does)"


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_has_a_name(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert not VAGUE & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    said = ast.get_docstring(ast.parse(MODULES[module].read_text()))
    assert said
    assert said.splitlines()[0].endswith((".", ":", "?"))


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("import aiohttp.web", "api.x", False, {"aiohttp.web"}),
        ("def f():\n    from ledger import pool", "api.x", False, {"ledger.pool"}),
        ("from ledger import nothing", "api.x", False, {"ledger"}),
        ("from . import wire", "broker.amqp.x", False, {"broker.amqp.wire"}),
        ("from .port import Bus", "broker", True, {"broker.port"}),
        ("from ..port import Bus", "broker.amqp.x", False, {"broker.port"}),
        ("from broker import port", "api.x", False, {"broker.port"}),
    ],
)
def test_every_kind_of_import_is_seen(source: str, module: str, is_package: bool, expected: set[str]) -> None:
    assert set(imports(ast.parse(source), module, is_package)) == expected
