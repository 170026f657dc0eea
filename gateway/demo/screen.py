"""What the demo shows: a live table on a terminal, a line every few seconds elsewhere, and a report at the end."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.config import Config
from gateway.demo.account import Finding
from gateway.demo.tally import Tally
from gateway.model import EventStatus

_LINE_EVERY_S = 2.0
_RATE_OVER_S = 2.0
_SHOWN = (EventStatus.SUBMITTED, EventStatus.DELIVERED, EventStatus.FAILED, EventStatus.EXPIRED)


class Screen:
    """Shows one demo. `now` is monotonic seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """One line with the seconds since the beginning."""
        self._console.print(Text(f"{time.monotonic() - self._began:5.1f} s  {text}"))

    @contextlib.contextmanager
    def live(self, config: Config, tally: Tally) -> Iterator[Show]:
        """Keep the state of the campaign on the screen, drawn whenever `tick` is called."""
        show = Show(self, config, tally)
        if self._console.is_terminal:
            with Live(show, console=self._console, auto_refresh=False) as drawn:
                show.draw = drawn.refresh
                yield show
        else:
            yield show
            self.say(show.line())

    def report(self, tally: Tally, findings: Sequence[Finding]) -> None:
        """What became of the campaign, per lane and status, and whether the account closes."""
        self._console.print(_report(tally))
        for finding in findings:
            mark = Text("✗ ", "bold red") if finding.wrong else Text("✓ ", "bold green")
            self._console.print(mark.append(str(finding), "default"))
        if any(finding.wrong for finding in findings):
            self._console.print(Text("\nThe account does not close.", "bold red"))
        else:
            self._console.print(Text("\nThe account closes.", "bold green"))


class Show:
    """The state of the campaign at the moment it is drawn."""

    def __init__(self, screen: Screen, config: Config, tally: Tally) -> None:
        self.published = 0
        self.draw: Callable[[], None] | None = None
        """Draws again; on a terminal."""
        self._screen = screen
        self._config = config
        self._tally = tally
        self._due = 0.0
        self._samples: deque[tuple[float, int, dict[str, int]]] = deque()
        """When, messages with a final state, and parts accepted by lane; never empty."""
        self._sample(time.monotonic())

    def tick(self) -> None:
        """Show how far it is: now on a terminal, in a log now and then."""
        now = time.monotonic()
        self._sample(now)
        if self.draw:
            self.draw()
        elif now >= self._due:
            self._due = now + _LINE_EVERY_S
            self._screen.say(self.line())

    def __rich__(self) -> RenderableType:
        tally = self._tally
        (began, _, before), (ended, _, after) = self._samples[0], self._samples[-1]
        table = _table("lane", "", *_SHOWN, "in flight", "parts/s", "limit")
        for name, lane in self._config.lanes.items():
            submitted = tally.of(EventStatus.SUBMITTED, lane=name)
            table.add_row(
                name,
                ProgressBar(total=tally.planned[name] or 1, completed=tally.final(name), width=24),
                *(f"{tally.of(status, lane=name):,}" for status in _SHOWN),
                f"{submitted - self._receipts(name):,}",
                f"{_per_s(after.get(name, 0) - before.get(name, 0), ended - began):,.0f}",
                f"{lane.rate:,.0f}",
            )
        return Group("", Text(self.line()), "", table)

    def line(self) -> str:
        """The whole campaign in one line."""
        tally = self._tally
        failed = tally.of(EventStatus.FAILED, EventStatus.EXPIRED)
        (began, before, _), (ended, after, _) = self._samples[0], self._samples[-1]
        rate = _per_s(after - before, ended - began)
        return (
            f"published {self.published:,} · submitted {tally.of(EventStatus.SUBMITTED):,} · "
            f"delivered {tally.of(EventStatus.DELIVERED):,} · failed {failed:,} · "
            f"rejected {tally.of(EventStatus.REJECTED):,} · duplicates {tally.of(EventStatus.DUPLICATE):,} · "
            f"open {len(tally.script.messages) - tally.final():,} · {rate:,.0f} msg/s"
        )

    def _sample(self, now: float) -> None:
        self._samples.append((now, self._tally.final(), dict(self._tally.parts)))
        while self._samples[0][0] < now - _RATE_OVER_S:
            self._samples.popleft()

    def _receipts(self, lane: str) -> int:
        """Messages of which a receipt has told the end."""
        tally = self._tally
        told = sum(
            count for (name, _, code), count in tally.reasons.items() if name == lane and code.startswith("receipt:")
        )
        return tally.of(EventStatus.DELIVERED, lane=lane) + told


def _report(tally: Tally) -> RenderableType:
    table = _table("", "messages", *_SHOWN, EventStatus.REJECTED, EventStatus.DUPLICATE, "parts", "2nd try")
    lanes = [name for name in tally.planned if name]
    for name in [*lanes, ""]:
        statuses = (*_SHOWN, EventStatus.REJECTED, EventStatus.DUPLICATE)
        figures = [tally.planned[name], *(tally.of(status, lane=name) for status in statuses)]
        figures += [tally.parts[name], tally.attempts[name]]
        table.add_row(name or "before a lane", *(f"{figure:,}" if figure else "-" for figure in figures))
    reasons = _table("why", "", "messages")
    for (name, status, code), count in sorted(tally.reasons.items()):
        if status is not EventStatus.DUPLICATE:
            reasons.add_row(f"{status}: {code}", name, f"{count:,}")
    return Group("", table, "", reasons, "")


def _per_s(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for position, name in enumerate(columns):
        table.add_column(name, justify="left" if position == 0 or not name else "right")
    return table
