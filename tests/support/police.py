"""What fails a test that otherwise passes: a blocked event loop, a task left running, a coroutine nobody awaited.

The last comes from `filterwarnings = error` in pyproject.toml: a warning in a destructor fails the test that is
running when the collector comes by, so the collector comes by after every asynchronous test.
"""

import asyncio
import gc
import inspect
import time
from asyncio import events, runners
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import harness_time

LONGEST = 0.5  # seconds that one callback may hold the loop, waiting for a core not counted
_SLOW = 0.02  # seconds of one collection
SCHEDULER = Path("/proc/thread-self/schedstat")  # nanoseconds on a core, nanoseconds waiting for one, times
MARK = "blocks_loop"

_blocked: list[str] = []
_leaked: list[str] = []
_waited_before = [0.0]
_run_handle = events.Handle._run
_cancel_all_tasks = runners._cancel_all_tasks  # type: ignore[attr-defined]  # where asyncio.Runner ends what is left


def _timed_run(handle: events.Handle) -> None:
    start, busy, ours = time.monotonic(), time.thread_time(), harness_time()
    _run_handle(handle)
    took = time.monotonic() - start - (harness_time() - ours)
    # Reading the scheduler's word before every callback would cost more than the callback: the wait is counted
    # from the test's start, so that a busy machine makes the police mild, never unjust.
    if took > LONGEST and took - (_waited() - _waited_before[0]) > LONGEST:
        _blocked.append(f"{handle!r} took {took:.2f} s, {time.thread_time() - busy:.2f} s of it computing")


def _waited() -> float:
    """Seconds that this thread was ready to run and had no core."""
    return int(SCHEDULER.read_text().split()[1]) / 1e9 if SCHEDULER.exists() else 0.0


def _recorded_cancel(loop: asyncio.AbstractEventLoop) -> None:
    _leaked.extend(repr(task) for task in asyncio.all_tasks(loop))
    _cancel_all_tasks(loop)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}: the test holds the event loop for more than {LONGEST} s on purpose")
    events.Handle._run = _timed_run  # type: ignore[method-assign, assignment]
    runners._cancel_all_tasks = _recorded_cancel  # type: ignore[attr-defined]


def pytest_unconfigure() -> None:
    gc.unfreeze()
    events.Handle._run = _run_handle  # type: ignore[method-assign]
    runners._cancel_all_tasks = _cancel_all_tasks  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what the imports made stays: later collections are quick


def _collect() -> None:
    """What nobody refers to ends now, with its warnings. What is left is put aside when looking at it takes long."""
    start = time.monotonic()
    gc.collect()
    if time.monotonic() - start > _SLOW:
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _waited_before[0] = _waited()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge the test when all its fixtures, the event loop's runner among them, are gone."""
    result = yield
    blocked, _blocked[:] = list(_blocked), []
    leaked, _leaked[:] = list(_leaked), []
    if inspect.iscoroutinefunction(getattr(item, "obj", None)):
        _collect()
    if leaked:
        pytest.fail("left running at the end of the test:\n" + "\n".join(leaked), pytrace=False)
    if blocked and item.get_closest_marker(MARK) is None:
        pytest.fail("the event loop was blocked:\n" + "\n".join(blocked), pytrace=False)
    return result
