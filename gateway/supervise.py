"""Several workers as one command: a process for each, started again when it dies, all stopped together.

The parent carries no message and knows no Kafka: what breaks a worker should not break it. It holds one end of every
worker's standard input. When that end closes, because the workers are to stop or because the parent is gone, in
whatever way it went, the worker stops as it does on SIGTERM: nobody is left without a parent. A line on it has the worker read
its configuration again.

A worker that has ended in good order without having been told so from here was drained by a person, at its admin port or
by a signal of its own. It stays down until there is a reload, and when all have been drained, the parent ends as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gateway.log import ALWAYS

log = logging.getLogger("gateway.supervise")

_STDIN = 0
_STEADY_S = 60.0
"""A worker that was up for so long was well: it begins with the first pause again."""
_KILLED_S = 5.0
"""The same of one that somebody has killed: it comes back while the group still waits for it, and slots move once, not twice."""
_AT_ONCE_S = 10.0
"""A worker that ends sooner has not come up: Kafka is away, a topic is missing, a port is taken."""
_ATTEMPTS = 5
"""How often in a row, while none comes up, until it is for a person to look at."""


class Restarts:
    """When a worker that has ended is started again, or that there is no point in it; pure.

    The pause begins with `first_s` seconds, and doubles up to `most_s` while a worker does not stay up.
    """

    def __init__(self, first_s: float = 1.0, most_s: float = 30.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._ended: dict[int, int] = {}
        self._came_up = False

    def ended(self, worker: int, lived_s: float, others_s: float = 0.0, *, killed: bool = False) -> float | None:
        """Seconds until worker `worker`, which lived for `lived_s`, is started again; None to give up.

        `others_s` is for how long another has been up by now. Once one has come up, its configuration and its topics are
        right, and an end at once has a cause that passes: then there is no giving up, which would end those that run.
        """
        self._came_up = self._came_up or max(lived_s, others_s) >= _AT_ONCE_S
        ended = 1 if lived_s >= (_KILLED_S if killed else _STEADY_S) else self._ended.get(worker, 0) + 1
        self._ended[worker] = ended
        if ended >= _ATTEMPTS and not self._came_up:
            return None
        # Long before the exponent is too large for a float.
        return min(self._most_s, self._first_s * 2.0 ** min(ended - 1, 64))


class Supervisor:
    """Keeps `workers` processes running until `stop`. `command` says how the one with an index is started."""

    def __init__(self, command: Callable[[int], Sequence[str]], workers: int, restarts: Restarts) -> None:
        self._command = command
        self._workers = workers
        self._restarts = restarts
        self._running: dict[int, tuple[Process, float]] = {}
        """Process and when it was started, by index."""
        self._drained: dict[int, asyncio.Event] = {}
        """Those that a person has drained, and what they wait for to be started again."""
        self._stopping = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Return when all have ended, and the exit code: 0 in good order, 2 if none came up for its configuration, else 1."""
        async with asyncio.TaskGroup() as keeping:
            for index in range(self._workers):
                keeping.create_task(self._keep(index), name=f"worker {index}")
        return self._code

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask every worker to drain and end. Asking again changes nothing."""
        self._stopping.set()
        self._resume()
        for process, _ in self._running.values():
            _close(process)

    def kill(self) -> None:
        """End every worker at once."""
        self.stop()
        for process, _ in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def hang_up(self) -> None:
        """Have every worker read its configuration again; those that were drained are started with it."""
        for process, _ in self._running.values():
            assert process.stdin is not None
            if not process.stdin.is_closing():
                # It waits there for a worker that is only starting, and would die of a signal.
                process.stdin.write(b"\n")
        self._resume()

    def _resume(self) -> None:
        for wanted in self._drained.values():
            wanted.set()

    async def _keep(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        while not self.stopping:
            started = loop.time()
            try:
                code = await self._live(index)
            except OSError as error:
                # No memory, no process to be had, no interpreter while it is upgraded: that passes.
                code, ending = 1, f"reason={str(error)!r}"
            else:
                ending = _ending(code)
            if self.stopping:
                self._code = self._code or int(code != 0)
                log.info("worker=%d ended %s", index, ending)
                break
            if code == 0:
                await self._until_wanted(index)
                continue
            now = loop.time()
            others_s = max((now - start for _, start in self._running.values()), default=0.0)
            pause = self._restarts.ended(index, now - started, others_s, killed=code == -signal.SIGKILL)
            if pause is None:
                log.critical("worker=%d ended %s again and none comes up: giving up", index, ending)
                self._code = 2 if code == 2 else 1  # 2: a person has to mend the configuration, or free a port
                self.stop()
                break
            log.error("worker=%d ended %s, starts again in %g s", index, ending, pause, extra=ALWAYS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _live(self, index: int) -> int:
        """Start a worker, and return its exit code when it has ended."""
        # A session of its own: Ctrl-C reaches the parent alone, and the workers by it.
        process = await asyncio.create_subprocess_exec(*self._command(index), stdin=PIPE, start_new_session=True)
        self._running[index] = process, asyncio.get_running_loop().time()
        if self.stopping:  # while it was being started
            _close(process)
        else:
            log.info("worker=%d started pid=%d", index, process.pid)
        code = await process.wait()
        _close(process)
        del self._running[index]
        return code

    async def _until_wanted(self, index: int) -> None:
        log.warning("worker=%d was drained, stays down until a reload", index, extra=ALWAYS)
        self._drained[index] = wanted = asyncio.Event()
        if len(self._drained) == self._workers:
            log.info("stopping: every worker was drained")
            self.stop()
        await wanted.wait()
        del self._drained[index]


async def run(supervisor: Supervisor, usable: Callable[[], bool]) -> int:
    """Supervise until SIGTERM or SIGINT; a second one kills the workers. Returns the exit code.

    SIGHUP is passed on if the configuration, as it is then, is `usable`.
    """

    def on_stop() -> None:
        if supervisor.stopping:
            supervisor.kill()
        else:
            log.info("stopping: every worker drains and unbinds; a second signal kills them")
            supervisor.stop()

    def on_hang_up() -> None:
        if usable():
            supervisor.hang_up()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, on_hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    return await supervisor.run()


async def supervised(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a worker, in its own process, until it ends; it is asked to when its standard input is closed.

    What comes by that before is a wish to read the configuration again. `main` has a handler for SIGHUP before it first waits.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def on_input() -> None:
        if os.read(_STDIN, 4096):
            signal.raise_signal(signal.SIGHUP)
        else:
            loop.remove_reader(_STDIN)
            stopping.set()

    loop.add_reader(_STDIN, on_input)
    try:
        await main(stopping)
    finally:
        loop.remove_reader(_STDIN)


def _close(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _ending(code: int) -> str:
    if code >= 0:
        return f"code={code}"
    try:
        return f"signal={signal.Signals(-code).name}"
    except ValueError:  # those for real time have no names
        return f"signal={-code}"
