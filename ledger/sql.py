"""The SQL, one statement per file in `ledger/queries/`, loaded once by name."""

from functools import cache
from importlib.resources import files


@cache
def query(name: str) -> str:
    """The statement in `queries/<name>.sql`."""
    return (files("ledger") / "queries" / f"{name}.sql").read_text("utf-8")
