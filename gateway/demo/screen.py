"""What the demo shows: a live table on a terminal, a line every few seconds elsewhere, and a report at the end."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.config import Config
from gateway.demo.account import Finding
from gateway.demo.script import WHATSAPP
from gateway.demo.standing import Standing
from gateway.demo.tally import Tally
from gateway.model import EventStatus

_LINE_EVERY_S = 2.0
_RATE_OVER_S = 2.0
_BAR_WIDTH = 16
_SHOWN = (
    EventStatus.SUBMITTED,
    EventStatus.DELIVERED,
    EventStatus.READ,
    EventStatus.FALLBACK,
    EventStatus.FAILED,
    EventStatus.EXPIRED,
    EventStatus.REJECTED,
    EventStatus.DUPLICATE,
)
_COLOURS = {"GREEN": "green", "YELLOW": "yellow", "RED": "bold red"}


class Screen:
    """Shows one demo."""

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
        if self._console.is_terminal and not self._console.is_dumb_terminal:
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
            mark = ("✗ ", "bold red") if finding.wrong else ("✓ ", "bold green")
            self._console.print(Text.assemble(mark, str(finding)))
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
        self.standing = Standing()
        """Of the number of WhatsApp."""
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
            self.say(f"{self.line()} · {WHATSAPP} {self._parts_per_s(WHATSAPP):,.0f}/s")

    def say(self, text: str) -> None:
        """One line that stays."""
        self._screen.say(text)

    def stand(self, standing: Standing) -> None:
        """Show another standing of the number, once its quality is known; a change of that or of its limit is said."""
        if standing.quality == "UNKNOWN":
            return
        before, self.standing = self.standing, standing
        if (standing.quality, standing.limit) != (before.quality, before.limit):
            self.say(f"{WHATSAPP}: {standing}")

    def __rich__(self) -> RenderableType:
        tally = self._tally
        table = _table("lane", "", "submitted", "delivered", "read", "failed", "in flight", "parts/s", "limit")
        for name, lane in self._config.lanes.items():
            rate = self.standing.rate if name == WHATSAPP else lane.rate
            table.add_row(
                name,
                ProgressBar(total=tally.planned[name] or 1, completed=tally.ended[name]),
                f"{tally.of(EventStatus.SUBMITTED, lane=name):,}",
                f"{tally.of(EventStatus.DELIVERED, lane=name):,}",
                f"{tally.of(EventStatus.READ, lane=name):,}",
                f"{tally.of(EventStatus.FAILED, EventStatus.EXPIRED, lane=name):,}",
                f"{tally.in_flight[name]:,}",
                f"{self._parts_per_s(name):,.0f}",
                f"{rate:,.0f}",
            )
        number = Text(f"{WHATSAPP}: ").append(str(self.standing), _COLOURS.get(self.standing.quality, "default"))
        return Group("", Text(self.line()), "", table, "", number)

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
            f"open {len(tally.script.messages) - tally.final:,} · {rate:,.0f} msg/s"
        )

    def _parts_per_s(self, lane: str) -> float:
        (began, _, before), (ended, _, after) = self._samples[0], self._samples[-1]
        return _per_s(after.get(lane, 0) - before.get(lane, 0), ended - began)

    def _sample(self, now: float) -> None:
        self._samples.append((now, self._tally.final, dict(self._tally.parts)))
        while self._samples[0][0] < now - _RATE_OVER_S:
            self._samples.popleft()


def _report(tally: Tally) -> RenderableType:
    lanes = [*filter(None, tally.planned), ""]
    table = _table("", *(name or "before a lane" for name in lanes))
    figures: list[tuple[str, list[int]]] = [
        ("messages", [tally.planned[name] for name in lanes]),
        *((status, [tally.of(status, lane=name) for name in lanes]) for status in _SHOWN),
        ("parts", [tally.parts[name] for name in lanes]),
        ("second try", [tally.attempts[name] for name in lanes]),
    ]
    for what, of_lanes in figures:
        table.add_row(what, *(f"{figure:,}" if figure else "-" for figure in of_lanes))
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
        justify: JustifyMethod = "left" if position == 0 or not name else "right"
        table.add_column(name, justify=justify, no_wrap=bool(name), max_width=None if name else _BAR_WIDTH)
    return table
