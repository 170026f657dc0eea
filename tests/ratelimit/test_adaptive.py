"""Adaptive: how the rate gives way and comes back. Times are dyadic where numbers have to be exact."""

from __future__ import annotations

from math import inf, nan

import pytest

from ratelimit.adaptive import Adaptive


def adaptive(**changes: float) -> Adaptive:
    """Make one of 100 a second that recovers a hundredth of it a second: one a second."""
    return Adaptive(100, 0.0, **({"recover_s": 100.0} | changes))


def test_begins_with_the_contract_and_never_exceeds_it():
    """Nobody has complained."""
    assert [adaptive().rate(now) for now in (0.0, 1.0, 1e6)] == [100, 100, 100]


def test_a_complaint_holds_and_halves():
    """A second of silence, then half the rate, which grows from there."""
    subject = adaptive()
    subject.throttled(10.0, 10.0)
    assert [subject.rate(now) for now in (10.0, 10.75, 11.0, 12.0, 61.0, 100.0)] == [0, 0, 50, 51, 100, 100]


def test_a_window_that_bounces_is_one_complaint():
    """All complaints of a second cut once; the silence begins with the last of them."""
    subject = adaptive()
    for now in (10.0, 10.25, 10.5, 11.0):
        subject.throttled(now, now)
    assert [subject.rate(now) for now in (11.75, 12.0)] == [0, 50]


@pytest.mark.parametrize("spread_s", [1.5, 3.0, 5.0, 60.0])
@pytest.mark.parametrize("hold_s", [0.0, 1.0])
def test_a_window_that_bounces_for_long_is_one_complaint(spread_s, hold_s):
    """All of it was written before the first of it came back: it says nothing of the lower rate."""
    subject = adaptive(hold_s=hold_s)
    for bounce in range(50):
        subject.throttled(10.0, 10.0 + spread_s * bounce / 49)
    assert subject.rate(10.0 + spread_s + hold_s) == 50


def test_a_complaint_about_the_lower_rate_cuts_again():
    """A second later it is about what was sent since."""
    subject = adaptive()
    subject.throttled(9.5, 10.0)
    subject.throttled(11.0, 12.0)
    assert subject.rate(13.0) == 25.5


def test_what_was_sent_before_a_cut_is_cut_no_more_when_the_rate_has_grown_since():
    """It says again what was said then."""
    subject = adaptive(hold_s=0.0)
    subject.throttled(9.5, 10.0)
    assert subject.rate(30.0) == 70
    subject.throttled(9.5, 30.0)
    assert subject.rate(30.0) == 50


def test_complaints_during_a_long_silence_cut_no_more():
    """Answers that come late, of a provider that is slow as well."""
    subject = adaptive()
    subject.throttled(9.5, 10.0, after=60.0)
    subject.throttled(9.5, 20.0)
    assert [subject.rate(now) for now in (69.75, 70.0)] == [0, 50]


@pytest.mark.parametrize(("after", "silent_until"), [(0.25, 10.25), (30.0, 40.0)])
def test_the_provider_may_say_how_long(after, silent_until):
    """Shorter or longer than ours."""
    subject = adaptive()
    subject.throttled(10.0, 10.0, after)
    assert subject.rate(silent_until) == 50
    assert subject.rate(silent_until - 0.125) == 0


def test_the_provider_may_ask_for_no_silence():
    """Then it is only cut."""
    subject = adaptive()
    subject.throttled(10.0, 10.0, 0.0)
    assert subject.rate(10.0) == 50


def test_a_shorter_silence_does_not_end_a_longer_one():
    """The longest that was asked for counts."""
    subject = adaptive()
    subject.throttled(10.0, 10.0, 30.0)
    subject.throttled(10.0, 10.5, 0.0)
    assert [subject.rate(39.0), subject.rate(40.0)] == [0, 50]


def test_complaints_without_end_leave_the_floor():
    """So that it is noticed when they end."""
    subject = adaptive(floor=0.125)
    for second in range(0, 60, 2):
        subject.throttled(float(second), float(second))
    assert subject.rate(59.0) == 12.5


def test_no_cut_is_silence_only():
    """For a provider whose complaints mean a pause."""
    subject = adaptive(cut=1.0)
    subject.throttled(10.0, 10.0)
    assert [subject.rate(10.5), subject.rate(11.0)] == [0, 100]


def test_a_new_contract_keeps_the_share():
    """Half of the old becomes half of the new."""
    subject = adaptive()
    subject.throttled(10.0, 10.0)
    subject.set_contract(40, 10.5)
    assert [subject.rate(10.5), subject.rate(11.0)] == [0, 20]
    subject.set_contract(0, 11.0)
    assert subject.rate(11.0) == 0
    subject.set_contract(200, 12.0)
    assert subject.rate(12.0) == 102


MANNER = {"cut": 0.5, "recover_s": 100.0, "floor": 0.05, "hold_s": 1.0, "ramp_s": 0.0}


def test_another_manner_ends_no_silence_and_forgets_no_cut():
    """It goes on from where it is; from then on it grows at the new pace."""
    subject = adaptive()
    subject.throttled(10.0, 10.0, 30.0)
    subject.configure(20.0, **MANNER | {"recover_s": 50.0, "hold_s": 0.0})
    assert [subject.rate(now) for now in (20.0, 39.0, 40.0, 45.0)] == [0, 0, 50, 60]
    subject.configure(45.0, **MANNER)
    assert [subject.rate(now) for now in (45.0, 50.0, 100.0)] == [60, 65, 100]
    subject.throttled(100.0, 100.0)
    assert subject.rate(100.5) == 0


def test_another_manner_does_not_end_a_slow_start():
    """Whether or not the seconds of it change; one that is over does not begin again."""
    subject = adaptive(ramp_s=9.0)
    subject.restarted(16.0)
    subject.configure(17.0, **MANNER | {"ramp_s": 9.0, "cut": 0.25})
    assert round(subject.rate(17.0), 9) == 20
    subject.configure(17.0, **MANNER | {"ramp_s": 18.0})
    assert [round(subject.rate(now), 9) for now in (17.0, 34.0)] == [15, 100]
    subject.configure(35.0, **MANNER | {"ramp_s": 90.0})
    assert subject.rate(35.0) == 100


def test_another_floor_counts_at_once():
    """A higher one lifts what is below it."""
    subject = adaptive(cut=0.125)
    subject.throttled(10.0, 10.0)
    subject.configure(11.0, **MANNER | {"floor": 0.25})
    assert subject.rate(11.0) == 25


def test_a_complaint_after_another_manner_is_about_the_rate_before():
    """Bounces of one window, on both sides of the change."""
    subject = adaptive()
    subject.throttled(10.0, 10.0)
    subject.configure(10.25, **MANNER | {"ramp_s": 4.0})
    subject.throttled(10.0, 10.5)
    assert subject.rate(11.5) == 50


def test_a_restart_is_slow():
    """From a tenth to all of it in a straight line."""
    subject = adaptive(ramp_s=9.0)
    subject.restarted(16.0)
    assert [round(subject.rate(now), 9) for now in (16.0, 17.0, 20.5, 25.0)] == [10, 20, 55, 100]


def test_a_restart_without_a_ramp_changes_nothing():
    """There is none unless asked for."""
    subject = adaptive()
    subject.restarted(16.0)
    assert subject.rate(16.0) == 100


def test_a_restart_forgets_no_complaint():
    """The lower of both counts."""
    subject = adaptive(ramp_s=2.0)
    subject.throttled(10.0, 10.0)
    subject.restarted(10.0)
    assert subject.rate(10.5) == 0
    assert subject.rate(12.0) == 51


def test_a_complaint_right_after_a_restart_is_about_the_time_before():
    """It holds, and cuts nothing that is lower already."""
    subject = adaptive(ramp_s=64.0)
    subject.restarted(16.0)
    subject.throttled(15.5, 16.0)
    assert subject.rate(17.0) == 10


def answers(subject: Adaptive, now: float, seconds: int, per_s: int, latency_s: float) -> float:
    """Let a provider answer in batches, sixteen a second; tell when it is over."""
    for _ in range(seconds * 16):
        now += 1 / 16
        subject.answered(per_s // 16, latency_s, now)
    return now


def test_slow_answers_at_our_rate_cut_gently():
    """Five times as slow, for ten seconds, with as much under way as there would be at the full rate or more."""
    subject = adaptive()
    now = answers(subject, 0.0, 10, per_s=96, latency_s=0.25)
    assert subject.rate(now) == 100
    now = answers(subject, now, 10, per_s=96, latency_s=1.25)
    assert 55 < subject.rate(now) < 70


@pytest.mark.parametrize(
    ("per_s", "latency_s"), [(16, 1.0), (96, 0.5), (96, 0.125)], ids=["few under way", "hardly slower", "quick"]
)
def test_other_answers_cut_nothing(per_s, latency_s):
    """A provider that is slow without our doing is not helped by sending less."""
    subject = adaptive()
    now = answers(subject, 0.0, 10, per_s=96, latency_s=0.25)
    now = answers(subject, now, 10, per_s=per_s, latency_s=latency_s)
    assert subject.rate(now) == 100


def test_slow_answers_do_not_shorten_a_silence():
    """What is under way while it lasts may take its time; the rate grows from its end."""
    subject = adaptive()
    now = answers(subject, 0.0, 10, per_s=96, latency_s=0.25)
    subject.throttled(now, now, after=60.0)
    answers(subject, now, 1, per_s=960, latency_s=1.25)
    assert [subject.rate(now + 59.0), subject.rate(now + 60.0)] == [0, 50]


def test_one_slow_second_cuts_nothing():
    """It has to last."""
    subject = adaptive()
    now = answers(subject, 0.0, 10, per_s=96, latency_s=0.25)
    for _ in range(5):
        now = answers(subject, now, 1, per_s=96, latency_s=1.25)
        now = answers(subject, now, 1, per_s=96, latency_s=0.25)
    assert subject.rate(now) == 100


def test_a_provider_may_become_slower_for_good():
    """After minutes the new latency is the usual one, and the rate comes back."""
    subject = adaptive()
    now = answers(subject, 0.0, 10, per_s=96, latency_s=0.25)
    now = answers(subject, now, 300, per_s=96, latency_s=1.25)
    assert subject.rate(now) == 100


def test_no_answers_say_nothing():
    """However long they would have taken."""
    subject = adaptive()
    subject.answered(0, 5.0, 100.0)
    assert subject.rate(100.0) == 100


@pytest.mark.parametrize(
    "changes", [{"cut": 0}, {"cut": 1.5}, {"floor": 0}, {"floor": 2}, {"recover_s": 0}, {"hold_s": -1}, {"ramp_s": -1}]
)
def test_impossible_settings_are_refused(changes):
    """A floor of nothing would never probe."""
    with pytest.raises(ValueError, match="must be"):
        adaptive(**changes)
    with pytest.raises(ValueError, match="must be"):
        adaptive().configure(0.0, **MANNER | changes)


@pytest.mark.parametrize("rate", [-1, nan, inf])
def test_impossible_contracts_are_refused(rate):
    """At the start and later, and a refused change changes nothing."""
    with pytest.raises(ValueError, match="must be"):
        Adaptive(rate, 0.0)
    subject = adaptive()
    with pytest.raises(ValueError, match="must be"):
        subject.set_contract(rate, 0.0)
    assert subject.rate(0.0) == 100


def test_repr_shows_the_contract_and_the_level():
    """The level as of the last cut."""
    subject = adaptive()
    subject.throttled(0.0, 0.0)
    assert repr(subject) == "Adaptive(contract=100, level=0.5)"
