"""What commands need of a terminal: two consoles, progress that also reads well in a log, and a clean end by Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""

_WIDTH_OF_A_PIPE = 200
"""Nobody wants a table folded at 80 columns in a file."""
_LINE_EVERY_S = 5.0


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr that respects NO_COLOR, and folds nothing where there is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_PIPE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Tell the person something that is not the result: on stderr."""
    typer.echo(text, err=True)


def fail(text: str, code: int = 1) -> NoReturn:
    """Say what went wrong on stderr and end the command with an exit code."""
    say(f"recado: {text}")
    raise typer.Exit(code)


def run_until_signal(main: Coroutine[Any, Any, T]) -> T | None:
    """Run on an event loop of our own; return None when SIGINT or SIGTERM cancelled it and it has cleaned up."""
    import uvloop  # noqa: PLC0415 - half of the commands never need it

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await main

    try:
        return uvloop.run(cancellable())
    except asyncio.CancelledError:
        return None


class Meter:
    """Progress towards a known total on stderr: a bar on a terminal, elsewhere a line every few seconds and at the end."""

    def __init__(self, what: str, total: int) -> None:
        self.done = 0
        self._what = what
        self._total = total
        self._bar: Progress | None = None
        self._due = time.monotonic() + _LINE_EVERY_S

    def __enter__(self) -> Self:
        screen = console(stderr=True)
        if screen.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=screen)
            self._bar.add_task(self._what, total=self._total)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, count: int) -> None:
        self.done += count
        if self._bar:
            self._bar.advance(self._bar.task_ids[0], count)
        elif (now := time.monotonic()) >= self._due:
            self._due = now + _LINE_EVERY_S
            say(f"{self._what}: {self.done:,} of {self._total:,}")
