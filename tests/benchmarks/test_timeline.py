"""What is said of a run second by second, from moments that are written down here."""

import pytest

from benchmarks.campaign import Campaign
from benchmarks.timeline import Second, back_after_s, rate_over_time, seconds, slope, usual_ms


def campaign(*appended_at: float, per_job: int = 2) -> Campaign:
    """One whose jobs were published at these moments."""
    made = Campaign(first=0, messages=per_job * len(appended_at), per_job=per_job, lanes=1, long=0.0)
    for job, at in enumerate(appended_at):
        made.appended_at[job] = at
    return made


def row(at: int, p99_ms: float) -> Second:
    return Second(at, 1, p99_ms, p99_ms)


def test_messages_belong_to_the_second_in_which_their_job_was_published() -> None:
    """However late they arrive; a second without any is left out."""
    found = seconds(campaign(100.0, 100.9, 103.0), 2, range(3), [100.01, 100.02, 107.9, 100.93, 103.5, 103.5])
    assert [(row.at, row.messages) for row in found] == [(0, 4), (3, 2)]
    assert found[0].p50_ms == pytest.approx(30)
    assert found[0].p99_ms == pytest.approx(7000)


def test_only_the_jobs_of_the_range_count_and_only_what_arrived() -> None:
    """The first of the range is the beginning of the time."""
    found = seconds(campaign(100.0, 200.0, 201.0), 2, range(1, 3), [1.0, 1.0, 200.25, 0.0, 0.0, 0.0])
    assert found == [Second(0, 1, 250.0, 250.0)]


def test_the_usual_is_the_middle_before_the_moment_without_the_first_second() -> None:
    """A start is no usual second, and neither is the one in which it happens."""
    rows = [row(0, 900), row(1, 10), row(2, 30), row(3, 20), row(4, 5000)]
    assert usual_ms(rows, 4.9) == 20
    assert usual_ms(rows[:1], 0.5) == 900


@pytest.mark.parametrize(
    ("p99s", "back"),
    [
        ([10, 10, 10, 10, 10, 10, 10], 0.0),
        ([10, 10, 5000, 900, 10, 10, 10], 2.0),
        ([10, 10, 5000, 10, 10, 900, 10, 10, 10], 4.0),  # one or two good seconds are no peace
        ([10, 10, 5000, 260, 240, 250, 250], 2.0),  # three times very little is still very little
        ([10, 10, 5000, 5000, 5000, 5000, 5000], None),
    ],
)
def test_a_second_is_as_usual_again_when_the_next_ones_are_too(p99s: list[float], back: float | None) -> None:
    """Counted from the end of an accident in second 2."""
    rows = [row(at, p99) for at, p99 in enumerate(p99s)]
    assert back_after_s(rows, 10, at=2.0, over=2.0) == back


def test_what_comes_with_the_next_accident_is_its_own() -> None:
    """Nothing was as usual before it, so there is no answer."""
    rows = [row(at, p99) for at, p99 in enumerate([10, 5000, 5000, 10, 10, 10])]
    assert back_after_s(rows, 10, at=1.0, over=1.0, until=3.0) is None
    assert back_after_s(rows, 10, at=1.0, over=1.5) == 1.5


def test_the_rate_counts_arrivals_from_the_first_and_leaves_out_the_second_that_is_not_over() -> None:
    """Messages that did not arrive have no moment."""
    assert rate_over_time([0.0, 10.0, 10.5, 11.2, 12.1]) == [(0, 2), (1, 1)]
    assert rate_over_time([0.0]) == []


def test_the_slope_is_that_of_the_straight_line() -> None:
    """Of points on one it is exact; of none it is flat."""
    assert slope([(x, 5 + 2.5 * x) for x in range(10)]) == pytest.approx(2.5)
    assert slope([(1.0, 7.0)]) == slope([]) == 0
