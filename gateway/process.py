"""The gateway as one process: what signals ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable

from gateway.app import Worker
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.log import ALWAYS

log = logging.getLogger("gateway.app")


async def run(config: Config, load: Callable[[], Config] | None = None, stopping: asyncio.Event | None = None) -> None:
    """Run one worker until SIGTERM, SIGINT or `stopping`; a second signal ends the process at once.

    SIGQUIT asks for a stop as well, and never for an end at once, however often it comes. SIGHUP applies what `load` answers.
    """
    stopping = stopping or asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal() -> None:
        nonlocal asked
        if asked:
            signal.raise_signal(signal.SIGKILL)
            # Still here: it is the first process of a container, which nothing inside can kill.
            os._exit(128 + signal.SIGKILL)
        asked = True
        log.info("stopping: intake stops, windows drain, binds unbind; a second signal ends at once")
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGQUIT, stopping.set)
    worker = Worker(config)
    if load is not None:
        loop.add_signal_handler(signal.SIGHUP, _reload, worker, load)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    starting = asyncio.create_task(worker.start())
    stop_early = asyncio.create_task(stopping.wait())
    await asyncio.wait([starting, stop_early], return_when=asyncio.FIRST_COMPLETED)
    stop_early.cancel()
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    await starting
    _calm_garbage_collector()
    try:
        await worker.wait(stopping)
    finally:
        await worker.stop()


def _reload(worker: Worker, load: Callable[[], Config]) -> None:
    """Apply a changed file, or say why not and go on as before."""
    try:
        applied = worker.reload(load())
    except ConfigError as error:
        for problem in error.problems:
            log.error("reload refused %s", problem, extra=ALWAYS)
    except Exception as error:  # whatever is wrong with a file must not stop what runs
        log.error("reload refused: %s", error, extra=ALWAYS)
    else:
        for change in applied:
            log.info("reload %s", change)
        log.info("reloaded changes=%d", len(applied))


def _calm_garbage_collector() -> None:
    """Most of what a message needs is freed by counting; a pass every 700 objects over all that lives costs 2 µs a message."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
