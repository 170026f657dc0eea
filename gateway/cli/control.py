"""Running the gateway as one process or several, and finding one that runs, to tell it something."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from gateway.cli.terminal import fail, say
from gateway.config import Config, load
from gateway.errors import ConfigError
from gateway.log import ALWAYS

log = logging.getLogger("gateway.cli")


def work(file: Path, config: Config, worker: int | None) -> None:
    """Be a gateway until SIGTERM; with a number, one of those that `supervise` started. SIGHUP reads `file` again."""
    import uvloop  # noqa: PLC0415 - and what a worker is made of: whoever supervises needs neither

    from gateway import process, supervise  # noqa: PLC0415

    def own(whole: Config) -> Config:
        return whole if worker is None else whole.for_worker(worker)

    def run(stopping: asyncio.Event | None = None) -> Coroutine[Any, Any, None]:
        return process.run(own(config), lambda: own(load(file)), stopping)

    uvloop.run(run() if worker is None else supervise.supervised(run))


def supervise(file: Path, workers: int, *logging_as: str) -> int:
    """Run so many workers, or one for each core if 0, which log as these options say; return the exit code."""
    from gateway.supervise import Restarts, Supervisor, run  # noqa: PLC0415

    command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(file), *logging_as]

    def usable() -> bool:
        try:
            load(file)
        except ConfigError as error:
            for problem in error.problems:
                log.error("the changed configuration is refused: %s", problem, extra=ALWAYS)
            return False
        return True

    supervisor = Supervisor(lambda index: [*command, "--worker", str(index)], workers or _cores(), Restarts())
    return asyncio.run(run(supervisor, usable))


def _cores() -> int:
    """Those that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def pidfile(file: Path | None) -> Iterator[None]:
    """Have our process id in a file while the context is open; end the command if another process has its own there.

    The lock says whether it is there, not the file: that stays, empty, since removing it could remove another's.
    """
    if file is None:
        yield
        return
    try:
        opened = file.open("a+")
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", 2)
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"{file} belongs to a gateway that runs")
        opened.truncate(0)
        opened.write(f"{os.getpid()}\n")
        opened.flush()
        try:
            yield
        finally:
            opened.truncate(0)


def running(file: Path) -> int:
    """The process id in a file, or end the command if the process that wrote it is gone."""
    pid = ""
    try:
        with file.open() as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = opened.read().strip()
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", 2)
    if not pid.isdecimal():
        fail(f"no gateway runs with {file}")
    return int(pid)


def hang_up(pid: int) -> None:
    """Ask a gateway to read its configuration again; it says in its log what it makes of it."""
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        fail(f"there is no process {pid}")
    except PermissionError:
        fail(f"process {pid} belongs to somebody else")
    say(f"recado: process {pid} reads its configuration again; its log says what changed")
