"""When people may be written to: hours, days, holidays and clocks, and whose they are."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, loads
from gateway.errors import ConfigError
from gateway.hours import Calendar, Hours
from gateway.model import TrafficClass
from tests.support.dispatching import message

BOGOTA = ZoneInfo("America/Bogota")
LAW = {"mon-fri": "07:00-19:00", "sat": "08:00-15:00"}
"""Colombia's, for collections."""


def colombian(**other: Any) -> Hours:
    return Hours(**{"time_zone": "America/Bogota", "days": LAW, "holidays": (date(2026, 12, 8),)} | other)


def unix(text: str, zone: ZoneInfo = BOGOTA) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        ("2026-11-23 06:59:59", "2026-11-23 07:00"),  # a Monday
        ("2026-11-23 07:00", None),
        ("2026-11-23 18:59:59", None),
        ("2026-11-23 19:00", "2026-11-24 07:00"),
        ("2026-11-28 14:59", None),  # a Saturday
        ("2026-11-28 15:00", "2026-11-30 07:00"),
        ("2026-12-07 19:00", "2026-12-09 07:00"),  # the day between is a holiday
        ("2026-12-08 12:00", "2026-12-09 07:00"),
    ],
)
def test_a_message_waits_until_the_next_hours_begin(at: str, opens: str | None) -> None:
    """The second in which they end is not one of them."""
    now = unix(at)
    assert Calendar([colombian()]).wait(message(), now) == (unix(opens) - now if opens else 0)


def test_hours_end_where_they_end_and_not_at_midnight_if_they_go_on() -> None:
    """A provider may be told to try until then."""
    assert Calendar([colombian()]).ends(message(), unix("2026-11-23 12:00")) == unix("2026-11-23 19:00")
    assert Calendar([colombian()]).ends(message(), unix("2026-11-23 20:00")) == unix("2026-11-23 20:00")
    weekend = Calendar([colombian(days={"sat-sun": "00:00-24:00", "mon": "00:00-08:00"})])
    assert weekend.ends(message(), unix("2026-11-28 03:00")) == unix("2026-11-30 08:00")


def test_a_clock_that_is_put_forward_or_back_takes_the_hours_with_it() -> None:
    """Santiago: to summer time in the night of 5 September 2026, and back on 4 April 2027, at 24:00."""
    zone = ZoneInfo("America/Santiago")
    calendar = Calendar([colombian(time_zone="America/Santiago", days={"mon-sun": "08:00-20:00"}, holidays=())])
    before = unix("2026-09-05 20:00", zone)
    assert calendar.wait(message(), before) == 11 * 3600
    before = unix("2027-04-03 20:00", zone)
    assert calendar.wait(message(), before) == 13 * 3600


def test_whoever_is_named_has_the_hours_and_all_others_have_all() -> None:
    """By class, country and what the number begins with; the first that fits counts."""
    night = unix("2026-11-23 23:00")
    paulista = colombian(
        time_zone="America/Sao_Paulo", country="BR", prefixes=("+5511", "+5512"), days={"mon-sun": "00:00-24:00"}
    )
    rest = colombian(country=("CO", "BR"), classes=(TrafficClass.BULK, TrafficClass.TRANSACTIONAL))
    calendar = Calendar([paulista, rest])
    assert calendar.wait(message(to="+5511987654321"), night) == 0
    assert calendar.wait(message(to="+5521987654321"), night) > 0
    assert calendar.wait(message(), night) > 0
    assert calendar.wait(message(class_=TrafficClass.TRANSACTIONAL), night) > 0
    assert calendar.wait(message(class_=TrafficClass.OTP), night) == 0
    assert calendar.wait(message(to="+525512345678"), night) == 0
    assert calendar.wait(message(to="ana@example.com"), night) == 0
    assert calendar.ends(message(to="ana@example.com"), night) == inf


def test_without_any_day_left_it_is_never() -> None:
    """Not a search without an end."""
    sundays = tuple(date(2026, 11, 29) + timedelta(weeks=week) for week in range(60))
    calendar = Calendar([colombian(days={"sun": "08:00-12:00"}, holidays=sundays)])
    assert calendar.wait(message(), unix("2026-11-23 12:00")) == inf


def test_a_clock_that_steps_back_is_looked_at_again() -> None:
    """What was found for later moments does not hold for earlier ones."""
    calendar = Calendar([colombian()])
    assert calendar.wait(message(), unix("2026-11-24 12:00")) == 0
    assert calendar.wait(message(), unix("2026-11-23 19:30")) == 11.5 * 3600
    assert calendar.wait(message(), unix("2026-11-23 12:00")) == 0


@given(st.lists(st.integers(0, 40 * 86_400), min_size=1, max_size=20), st.sets(st.integers(0, 40), max_size=10))
def test_a_message_goes_within_the_hours_and_only_then(moments: list[int], days_off: set[int]) -> None:
    """Whatever was asked before."""
    start = datetime(2026, 11, 20, tzinfo=BOGOTA)
    holidays = frozenset((start + timedelta(days=day)).date() for day in days_off)
    calendar = Calendar([colombian(holidays=tuple(holidays))])

    def allowed(at: float) -> bool:
        local = datetime.fromtimestamp(at, BOGOTA)
        if local.date() in holidays or local.weekday() == 6:
            return False
        begin, end = (time(8), time(15)) if local.weekday() == 5 else (time(7), time(19))
        return begin <= local.time() < end

    for seconds in moments:
        now = start.timestamp() + seconds
        wait = calendar.wait(message(), now)
        assert (wait == 0) == allowed(now)
        assert allowed(now + wait)
        assert not wait or not allowed(now + wait - 1)
        end = calendar.ends(message(), now + wait)
        assert allowed(end - 1)
        assert not allowed(end)


def test_the_configuration_says_whose_hours_they_are() -> None:
    """TOML has dates of its own."""
    found = with_hours(
        """
[[hours]]
country = "CO"
time_zone = "America/Bogota"
days = { mon-fri = "07:00-19:00", sat = "08:00-15:00" }
holidays = [2026-12-08]
"""
    )
    assert found.hours == (colombian(country="CO"),)


@pytest.mark.parametrize(
    ("table", "path", "what"),
    [
        ('time_zone = "Mars/Base"\ndays = { mon = "07:00-19:00" }', "hours[0].time_zone", "is no time zone"),
        ('time_zone = "UTC"\ndays = { mon = "19:00-07:00" }', "hours[0].days", "19:00-07:00 is no part of a day"),
        ('time_zone = "UTC"\ndays = { mon = "7-19" }', "hours[0].days", "7-19 is no part of a day"),
        ('time_zone = "UTC"\ndays = { fri-mon = "07:00-19:00" }', "hours[0].days", "fri-mon is no day of the week"),
        (
            'time_zone = "UTC"\ndays = { mon-fri = "07:00-19:00", wed = "07:00-12:00" }',
            "hours[0].days",
            "wed is named twice",
        ),
        (
            'time_zone = "UTC"\ndays = { mon = "07:00-19:00" }\ncountry = "QQ"',
            "hours[0].country",
            "QQ has no telephone numbers",
        ),
    ],
)
def test_hours_that_mean_nothing_are_refused(table: str, path: str, what: str) -> None:
    """With the place in the file."""
    with pytest.raises(ConfigError) as refused:
        with_hours(f"\n[[hours]]\n{table}\n")
    assert [(each.path, each.what) for each in refused.value.problems] == [(path, what)]


def with_hours(text: str) -> Config:
    tables = """
kafka = { bootstrap = "localhost:9092" }
store = { url = "redis://localhost" }
routes = [{ lane = "a" }]
lanes = { a = { host = "localhost", port = 1, system_id = "a", password_env = "P", rate = 1 } }
"""
    return loads(tables + text, {"P": "secret"})
