"""LiteLLM's ways to say where Postgres is."""

import asyncpg
import pytest

from penstock.configuration.database import from_parts, normalised
from penstock.configuration.environment import Environment
from penstock.configuration.problems import Wrong


@pytest.mark.parametrize(
    ("url", "expected", "left_out"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql://u:p@h:5432/d", ()),
        ("postgres://u:p@h/d", "postgres://u:p@h/d", ()),
        (
            "postgresql://u:p@h/d?connection_limit=10&pool_timeout=60&schema=public&pgbouncer=true",
            "postgresql://u:p@h/d",
            ("connection_limit", "pool_timeout", "pgbouncer"),
        ),
        ("postgresql://u:p@h/d?schema=litellm", "postgresql://u:p@h/d?options=-csearch_path%3Dlitellm", ()),
        ("postgresql://h/d?connect_timeout=5", "postgresql://h/d", ("connect_timeout",)),
        ("postgresql://h/d?sslmode=require&sslaccept=strict", "postgresql://h/d?sslmode=require", ("sslaccept",)),
        ("postgresql:///d?host=/run/pg&application_name=a%20b", None, ()),
        ("postgresql://u:p@[::1]:5432,h:65535,i/d", "postgresql://u:p@[::1]:5432,h:65535,i/d", ()),
        ("postgresql://u:p%40%2F%3F@h/d", "postgresql://u:p%40%2F%3F@h/d", ()),
    ],
)
def test_prismas_form(url, expected, left_out):
    found, out = normalised(url)
    assert out == left_out
    if expected is not None:
        assert found == expected


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://h/d", "h:5432", "postgresql://[h/d", "postgresql://u:a#b@h/d", "postgresql://h/d?schema=a%3Bb"),
        *("postgresql://u:a@b:c@h/d", "postgresql://u:p@h:65536/d", "postgresql://u:p@h:1,i:x/d"),
    ],
)
def test_what_cannot_be_used(url):
    with pytest.raises(Wrong) as caught:
        normalised(url)
    assert url not in str(caught.value)


def test_separate_variables():
    environ = {"DATABASE_HOST": "db:5433", "DATABASE_USERNAME": "us er", "DATABASE_NAME": "d", "DATABASE_SCHEMA": "s"}
    assert from_parts(Environment(environ)) == "postgresql://us%20er@db:5433/d?schema=s"
    environ |= {"DATABASE_PASSWORD": "p@/w", "DATABASE_HOST": "db", "DATABASE_PORT": "1"}
    assert from_parts(Environment(environ)) == "postgresql://us%20er:p%40%2Fw@db:1/d?schema=s"
    assert from_parts(Environment({"DATABASE_HOST": "db"})) is None


def test_the_password_can_be_in_a_file(tmp_path):
    (tmp_path / "pw").write_text("secret\n")
    environ = {"DATABASE_HOST": "h", "DATABASE_USERNAME": "u", "DATABASE_NAME": "d"}
    environ["DATABASE_PASSWORD_FILE"] = str(tmp_path / "pw")
    assert from_parts(Environment(environ)) == "postgresql://u:secret@h/d"


async def test_the_schema_reaches_postgres(database_url):
    url, _ = normalised(f"{database_url}{'&' if '?' in database_url else '?'}schema=tenant_7&connection_limit=3")
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SHOW search_path") == "tenant_7"
    finally:
        await connection.close()
