"""How messages fared second by second, and when after an accident they fared as usual again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from benchmarks.campaign import Campaign
from benchmarks.support import percentile_ms

_TIMES_USUAL = 3.0
"""A second is as usual when its 99th percentile is at most so many times what it mostly was, or …"""
_USUAL_MS = 250.0
"""… no more than this …"""
_STEADY = 3
"""… and so for as many seconds on end."""


class Second(Struct, frozen=True):
    """The messages published within one second, by when they were written to the SMSC."""

    at: int
    """Its number, from 0."""
    messages: int
    p50_ms: float
    p99_ms: float


def seconds(campaign: Campaign, per_job: int, jobs: range, stamps: Sequence[float]) -> list[Second]:
    """The seconds in which the jobs of a range were published. Those in which nothing was, or nothing arrived, are left out."""
    appended_at = campaign.appended_at
    started = appended_at[jobs.start]
    rows = []
    first = jobs.start
    while first < jobs.stop:
        number = int(appended_at[first] - started)
        last = first
        while last < jobs.stop and appended_at[last] < started + number + 1:
            last += 1
        messages = range(first * per_job, min(last * per_job, campaign.messages))
        took = sorted(stamps[n] - appended_at[n // per_job] for n in messages if stamps[n])
        if took:
            rows.append(Second(number, len(took), percentile_ms(took, 0.5), percentile_ms(took, 0.99)))
        first = last
    return rows


def usual_ms(rows: Sequence[Second], until: float) -> float:
    """What the 99th percentile mostly was before a moment. The first second is that of the first fetches."""
    before = sorted(row.p99_ms for row in rows if 1 <= row.at <= until - 1) or [rows[0].p99_ms]
    return before[len(before) // 2]


def back_after_s(
    rows: Sequence[Second], usual: float, at: float, over: float, until: float = float("inf")
) -> float | None:
    """Seconds from the end of an accident, which began `at` and was `over`, until a second that is as usual and stays so.

    None if there was none before `until`, the next accident.
    """
    bound = max(_TIMES_USUAL * usual, _USUAL_MS)
    later = [row for row in rows if int(at) <= row.at < until]
    for number, row in enumerate(later):
        if all(each.p99_ms <= bound for each in later[number : number + _STEADY]):
            return max(0.0, round(row.at - over, 2))
    return None


def rate_over_time(stamps: Sequence[float], every_s: float = 1.0) -> list[tuple[float, float]]:
    """[seconds since the first, messages a second] of those that arrived; the second that is not over is left out."""
    arrivals = sorted(stamp for stamp in stamps if stamp)
    if not arrivals:
        return []
    counts = [0] * (int((arrivals[-1] - arrivals[0]) / every_s) + 1)
    for stamp in arrivals:
        counts[int((stamp - arrivals[0]) / every_s)] += 1
    return [(round(number * every_s, 3), count / every_s) for number, count in enumerate(counts[:-1])]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the straight line that fits best, in y per x; 0 for less than two points."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / max(count, 1)
    mean_y = sum(y for _, y in points) / max(count, 1)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
