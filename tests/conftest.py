"""What every test gets: a broker and a store to share, coroutines that run, and no exception that goes unnoticed."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

import pytest
import uvloop
from hypothesis import settings

from tests.support import kafka, store

_PATIENCE_S = 1.0

# A shared machine is slow now and then, and a failure has to come again when it is looked for.
settings.register_profile("recado", deadline=None, derandomize=True)
settings.load_profile("recado")


_ALONE = {"test_many_lanes.py", "test_many_workers.py", "test_rates.py", "test_shared_rate.py", "test_urgency.py"}
"""Files whose tests measure rates or start many processes: run beside others they would measure those."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "servers: uses the broker or the store, of which there are two kinds (automatic)"
    )
    config.addinivalue_line("markers", "alone: measures rates, or starts many processes (automatic for whole files)")


_SLOW = ("faults", "e2e", "benchmarks")
"""Folders whose tests mostly wait: begun first, they wait beside those that compute, and not behind them."""


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark what has to pass on both kinds of broker and store, and what needs the machine for itself; slow ones go first."""
    items.sort(key=lambda item: _SLOW.index(item.path.parent.name) if item.path.parent.name in _SLOW else len(_SLOW))
    for item in items:
        if item.path.name in _ALONE:
            item.add_marker("alone")
        if {"broker", "idempotence", "store_url"} & set(item.fixturenames):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The bootstrap address of the broker that all tests share: each makes topics of its own (see `namespace`)."""
    yield from _held(kafka.start_broker())


@pytest.fixture(scope="session")
def idempotence() -> bool:
    """Whether the broker takes idempotent production; the embedded one does not."""
    return kafka.IDEMPOTENCE


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """The URL of the store that all tests share: each uses keys of its own (see `namespace`)."""
    yield from _held(store.start_store())


@pytest.fixture
def namespace() -> str:
    """A prefix for topics, groups and keys that no other test has."""
    return f"t{uuid4().hex[:10]}"


class _Unexpected(logging.Handler):
    """Keeps the records that a healthy process does not write: exceptions, and what asyncio complains about."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.name == "asyncio":
            self.records.append(record)


@pytest.fixture(autouse=True)
def logged_exceptions() -> Iterator[list[logging.LogRecord]]:
    """The exceptions logged so far. A test that expects one takes it out of the list; any other fails the test."""
    handler = _Unexpected()
    logging.getLogger().addHandler(handler)
    yield handler.records
    logging.getLogger().removeHandler(handler)
    format_ = logging.Formatter().format
    assert not handler.records, "\n".join(map(format_, handler.records))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, each on an event loop of its own, the kind that the gateway runs on."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        runner.run(_leaving_nothing_behind(pyfuncitem.obj(**arguments), _bound(pyfuncitem)))
    finally:
        with warnings.catch_warnings(record=True, action="always") as unclosed:
            runner.close()  # uvloop warns of what is still open, and would wait for ever if that raised
    assert not unclosed, "\n".join(str(warning.message) for warning in unclosed)
    gc.collect(1)  # a task whose exception nobody saw says so when it is collected
    return True


def _bound(item: pytest.Function) -> float:
    """Seconds that a test may take. The plugin's own signal is swallowed by uvloop, and the test would hang."""
    marker = item.get_closest_marker("timeout")
    return float((marker.args[0] if marker else item.config.getini("timeout")) or 120)


async def _leaving_nothing_behind(test: Coroutine[object, object, None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await test
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:  # what was closed may need a few turns of the loop
        _, left = await asyncio.wait(left, timeout=_PATIENCE_S)
    assert not left, f"tasks left running: {left}"


def _held(context: AbstractAsyncContextManager[str]) -> Iterator[str]:
    """Keep an asynchronous context open for as long as a synchronous fixture lives."""
    with asyncio.Runner() as runner:
        value = runner.run(context.__aenter__())
        try:
            yield value
        finally:
            runner.run(context.__aexit__(None, None, None))
