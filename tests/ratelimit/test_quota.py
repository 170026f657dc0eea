"""Quota: distinct keys in a moving window, told by hours of a day."""

from __future__ import annotations

from math import inf

import pytest

from ratelimit.quota import Quota


def quota(limit: int = 2) -> Quota:
    return Quota(limit, window=24)


def test_as_many_distinct_keys_as_the_limit_allows():
    """The third is refused, and nothing is counted for it."""
    subject = quota()
    assert [subject.reserve(key, 0) for key in "abc"] == [True, True, False]
    assert (subject.used(0), subject.left(0)) == (2, 0)


def test_a_key_that_is_counted_is_free():
    """As often as one likes, also when nothing is left."""
    subject = quota(1)
    assert [subject.reserve("a", hour, str(hour)) for hour in range(5)] == [True] * 5
    assert subject.used(5) == 1


def test_a_reservation_counts_for_a_window():
    """Nobody said what came of it: it may have been delivered as late as that."""
    subject = quota(1)
    subject.reserve("a", 0)
    assert [subject.reserve("b", 23), subject.reserve("b", 24)] == [False, True]


def test_a_delivery_begins_the_window_anew():
    """It is deliveries that the provider counts."""
    subject = quota(1)
    subject.reserve("a", 0)
    subject.confirm("a", 10)
    assert [subject.reserve("b", 33), subject.reserve("b", 34)] == [False, True]


def test_a_failure_gives_the_slot_back_at_once():
    """It certainly reached nobody."""
    subject = quota(1)
    subject.reserve("a", 0)
    subject.release("a")
    assert subject.used(0) == 0
    assert subject.reserve("b", 0)


def test_a_failure_takes_back_its_own_attempt_only():
    """Another attempt of the same key may still be delivered."""
    subject = quota(1)
    subject.reserve("a", 0, "first")
    subject.reserve("a", 5, "second")
    subject.release("a", "second")
    assert [subject.used(23), subject.used(24)] == [1, 0]


def test_a_failure_takes_back_no_delivery():
    """What was delivered before still counts, and no longer than before."""
    subject = quota(1)
    subject.reserve("a", 0, "first")
    subject.confirm("a", 1, "first")
    subject.reserve("a", 5, "second")
    subject.release("a", "second")
    assert [subject.used(24), subject.used(25)] == [1, 0]


@pytest.mark.parametrize("release", [("b", ""), ("a", "unknown")])
def test_an_unknown_failure_changes_nothing(release):
    """It was noted before, or belongs to another process."""
    subject = quota(1)
    subject.reserve("a", 0)
    subject.release(*release)
    assert subject.used(0) == 1


def test_a_failure_that_is_told_after_the_window_changes_nothing():
    """The slot was free already."""
    subject = quota(1)
    subject.reserve("a", 0)
    assert subject.reserve("b", 30)
    subject.release("a")
    assert subject.used(30) == 1


def test_a_delivery_nobody_reserved_counts_even_beyond_the_limit():
    """It is a fact, if a late one: nothing new is granted until there is room again."""
    subject = quota(1)
    subject.reserve("a", 0)
    subject.confirm("b", 1)
    assert (subject.used(1), subject.left(1), subject.next_free(1)) == (2, 0, 25)
    assert [subject.reserve("c", 24), subject.reserve("c", 25)] == [False, True]


def test_next_free_is_when_another_key_can_be_reserved():
    """Now, if one can."""
    subject = quota()
    assert subject.next_free(3) == 3
    subject.reserve("a", 3)
    subject.reserve("b", 5)
    assert subject.next_free(6) == 27
    subject.confirm("a", 7)
    assert subject.next_free(8) == 29
    assert subject.reserve("c", 29)


def test_a_lower_limit_lets_what_is_counted_run_out():
    """The next one has to wait for as many as are too many, and one more."""
    subject = quota(3)
    for hour, key in enumerate("abc"):
        subject.reserve(key, hour)
    subject.set_limit(1)
    assert (subject.left(3), subject.next_free(3)) == (0, 26)
    assert [subject.reserve("d", 25), subject.reserve("d", 26)] == [False, True]


def test_a_higher_limit_counts_at_once():
    """There is room for one more."""
    subject = quota(1)
    subject.reserve("a", 0)
    subject.set_limit(2)
    assert subject.reserve("b", 0)


def test_limit_0_grants_nothing_ever():
    """Also not later."""
    subject = quota(0)
    assert (subject.reserve("a", 0), subject.next_free(0)) == (False, inf)


def test_a_clock_that_goes_back_frees_nothing_and_forgets_nothing():
    """Time stands still until it has caught up."""
    subject = quota(1)
    subject.reserve("a", 30)
    subject.release("a")
    subject.reserve("b", 10)
    assert [subject.used(53), subject.used(54)] == [1, 0]


def test_repetitions_take_no_memory():
    """A key that is confirmed all the time has one entry; one that is reserved and released behind it, few."""
    subject = quota(10)
    for n in range(10_000):
        subject.confirm("a", n / 1000)
        subject.reserve("b", 10 + n / 1000)
        subject.release("b")
    assert len(subject._heap) < 100


@pytest.mark.parametrize(("limit", "window"), [(-1, 24), (1, 0), (1, -1), (1, inf)])
def test_impossible_quotas_are_refused(limit, window):
    """At the start, and as a change."""
    with pytest.raises(ValueError, match="must"):
        Quota(limit, window)
    if limit < 0:
        with pytest.raises(ValueError, match="must not be negative"):
            quota().set_limit(limit)


def test_repr_shows_how_full_it_is():
    """As of the last call with a time."""
    subject = quota()
    subject.reserve("a", 0)
    assert repr(subject) == "Quota(used=1, limit=2, window=24)"
