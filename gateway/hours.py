"""When people may be written to: the hours of each day of the week, without holidays, by the country of their number. Pure.

Asked when a message is about to be written and not when its job is read: a campaign that is still under way at the end of the
hours goes on when they begin again. Contact laws of the region are of this form (Colombia, Ley 2300 of 2023, art. 3; Chile, Ley
19.496, art. 37; Ecuador, LODC, art. 49): which of them holds for whom is the configuration's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from math import inf
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct

from gateway import numbers
from gateway.model import Message, TrafficClass
from gateway.quantities import Text
from gateway.route_config import Countries
from gateway.tables import Contradiction

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_AHEAD = 400
"""Days in which hours are looked for: more than a year without any is never."""

Window = tuple[time, time]
"""From and to, of one day; midnight as the end is that of the day."""


class Hours(Struct, frozen=True, kw_only=True):
    """One table `[[hours]]`: whom it is for, and when they may be written to. The first that fits a message counts."""

    # Whose clock: a name of the IANA database.
    time_zone: Text
    # A day or days in a row, and from when to when; a day that is not named has none.
    days: Annotated[
        Mapping[Text, Text], Meta(min_length=1, description='{ mon-fri = "07:00-19:00", sat = "08:00-15:00" }')
    ]
    # Days without any.
    holidays: Annotated[tuple[date, ...], Meta(description="[2026-12-08, 2026-12-25]")] = ()
    country: Countries | None = None
    # What numbers begin with, where a country has several clocks or laws.
    prefixes: tuple[Annotated[str, Meta(pattern=r"^\+[0-9]{1,15}\Z", description='["+5511", "+5512"]')], ...] = ()
    classes: tuple[TrafficClass, ...] = (TrafficClass.BULK,)

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Contradiction("time_zone", "is no time zone", '"America/Bogota"') from None
        for name in self.countries:
            if numbers.calling_code(name) is None:
                raise Contradiction("country", f"{name} has no telephone numbers", "two letters of ISO 3166")
        named: set[int] = set()
        for days, span in self.days.items():
            several = _weekdays(days)
            if not several:
                raise Contradiction("days", f"{days} is no day of the week", '"sat" or "mon-fri"')
            if named.intersection(several):
                raise Contradiction("days", f"{days} is named twice", "each day once")
            named.update(several)
            window = _window(span)
            if window is None:
                raise Contradiction(
                    "days", f"{span} is no part of a day", '"07:00-19:00", the end behind the beginning'
                )

    @property
    def countries(self) -> tuple[str, ...]:
        """Those of which the number must be one; empty for any."""
        return (self.country,) if isinstance(self.country, str) else self.country or ()

    @property
    def week(self) -> tuple[Window | None, ...]:
        """The hours of each day, Monday first."""
        found: list[Window | None] = [None] * 7
        for days, span in self.days.items():
            for day in _weekdays(days):
                found[day] = _window(span)
        return tuple(found)

    def is_for(self, message: Message) -> bool:
        """Whether these are the hours of a message."""
        to = message.to
        return (
            message.class_ in self.classes
            and (not self.prefixes or to.startswith(self.prefixes))
            and (not self.countries or (to.startswith("+") and numbers.country(to) in self.countries))
        )


class Calendar:
    """All hours of a configuration; `now` is Unix seconds."""

    def __init__(self, several: Iterable[Hours] = ()) -> None:
        self._clocks = [(hours, _Clock(hours)) for hours in several]

    def __bool__(self) -> bool:
        return bool(self._clocks)

    def wait(self, message: Message, now: float) -> float:
        """Seconds until the person may be written to; 0 for now, infinite for never."""
        clock = self._of(message)
        return clock.opens(now) - now if clock else 0.0

    def ends(self, message: Message, now: float) -> float:
        """Until when the person may be written to, without a break from now on; `now` outside the hours, infinite for ever."""
        clock = self._of(message)
        return clock.closes(now) if clock else inf

    def _of(self, message: Message) -> _Clock | None:
        return next((clock for hours, clock in self._clocks if hours.is_for(message)), None)


class _Clock:
    """One set of hours, which knows when they change next: most messages ask between two changes."""

    def __init__(self, hours: Hours) -> None:
        self._zone = ZoneInfo(hours.time_zone)
        self._week = hours.week
        self._holidays = frozenset(hours.holidays)
        self._asked = inf  # when the next two were looked for
        self._opens = self._closes = 0.0

    def opens(self, now: float) -> float:
        """`now`, if it is within the hours, else when they begin."""
        self._look(now)
        return max(now, self._opens)

    def closes(self, now: float) -> float:
        """The end of the hours that `now` is in, else `now`."""
        self._look(now)
        return self._closes if self._opens <= now else now

    def _look(self, now: float) -> None:
        if self._asked <= now < self._closes:
            return
        self._asked = now
        self._opens = self._closes = inf
        for opens, closes in self._spans(datetime.fromtimestamp(now, self._zone).date()):
            if self._closes < inf and opens > self._closes:
                break
            if closes > now:  # hours that end at midnight may go on at once
                self._opens, self._closes = min(self._opens, opens), closes

    def _spans(self, today: date) -> Iterator[tuple[float, float]]:
        for day in range(_AHEAD):
            at = today + timedelta(days=day)
            window = None if at in self._holidays else self._week[at.weekday()]
            if window is not None:
                begin, end = window
                over = at if end != time() else at + timedelta(days=1)
                yield self._at(at, begin), self._at(over, end)

    def _at(self, day: date, clock: time) -> float:
        return datetime.combine(day, clock, self._zone).timestamp()


def _weekdays(days: str) -> range | tuple[()]:
    first, _, last = days.partition("-")
    if first not in _DAYS or (last or first) not in _DAYS:
        return ()
    return range(_DAYS.index(first), _DAYS.index(last or first) + 1)


def _window(span: str) -> Window | None:
    found = _SPAN.fullmatch(span)
    if found is None:
        return None
    begin = time(int(found[1]), int(found[2]))
    end = time(int(found[3] or 0), int(found[4] or 0))
    return (begin, end) if end > begin or end == time() else None
