"""What fails a simulation whatever it measures: an error in the log, where callbacks that fail end up."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    errors = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not errors, errors
