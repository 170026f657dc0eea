"""When a refused message is tried again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.model import Message, TrafficClass
from gateway.retry import FIRST_S, MAX_ATTEMPTS, next_attempt

NOW = 1_800_000_000.0
HALF_AN_HOUR = 1800

rolls = st.floats(0, 1, exclude_max=True)
attempts = st.integers(1, MAX_ATTEMPTS - 1)


def message(attempt: int, expires_at: float = 0.0, first_attempt: int = 1) -> Message:
    plain = Message("m", "+573001234567", "t", "", "j", "", "", TrafficClass.BULK, expires_at, "0:0:0", NOW, attempt)
    return replace(plain, first_attempt=first_attempt)


@pytest.mark.parametrize(
    ("attempt", "first_s", "most"),
    [(1, 10, 10), (2, 10, 20), (3, 10, 40), (8, 10, 1280), (9, 10, 1800), (15, 10, 1800), (1, 60, 60), (3, 60, 240)],
)
def test_the_wait_is_spread_over_twice_as_long_after_every_attempt(attempt: int, first_s: float, most: float) -> None:
    """From a second on, up to half an hour: what failed together does not come back together."""
    assert next_attempt(message(attempt), NOW, lambda: 0.0, first_s=first_s) == NOW + 1
    assert next_attempt(message(attempt), NOW, lambda: 0.5, first_s=first_s) == NOW + 1 + most / 2


def test_the_last_attempt_is_the_last() -> None:
    """A message that was tried often enough has failed."""
    assert next_attempt(message(MAX_ATTEMPTS), NOW) is None
    assert next_attempt(message(MAX_ATTEMPTS - 1), NOW) is not None
    assert next_attempt(message(3), NOW, limit=3) is None
    assert next_attempt(message(1_000_000), NOW, limit=1_000_001) is not None


def test_attempts_count_from_the_first_of_their_channel() -> None:
    """The limit and the wait alike: what a channel before it used up is not taken from a step of the fallback."""
    first, last = message(17, first_attempt=17), message(19, first_attempt=17)
    assert next_attempt(first, NOW, lambda: 0.5) == next_attempt(message(1), NOW, lambda: 0.5)
    assert next_attempt(last, NOW, lambda: 0.5, limit=4) == next_attempt(message(3), NOW, lambda: 0.5)
    assert next_attempt(last, NOW, limit=3) is None


def test_by_default_patience_is_two_hours_on_average() -> None:
    """What `MAX_ATTEMPTS` promises."""
    waits = [next_attempt(message(attempt), NOW, lambda: 0.5) for attempt in range(1, MAX_ATTEMPTS)]
    assert 7200 <= sum(due - NOW for due in waits if due is not None) <= 7800


@given(attempts, st.floats(-10, 10_000), rolls, st.floats(0, 5000), st.floats(0.1, 3600))
def test_nothing_is_due_after_it_has_expired(
    attempt: int, left: float, roll: float, after: float, first_s: float
) -> None:
    """`expires_at` bounds every retry, and only when there is no time for one is the message given up."""
    due = next_attempt(message(attempt, NOW + left), NOW, lambda: roll, first_s=first_s, after=after)
    if due is None:
        assert left < max(1.0, after) + 1.001
    else:
        assert NOW + 1 <= due < NOW + left


@given(attempts, rolls, st.floats(0, 1e6))
def test_what_the_provider_asked_for_is_kept(attempt: int, roll: float, after: float) -> None:
    """Never sooner, and spread behind it like any other."""
    due = next_attempt(message(attempt), NOW, lambda: roll, after=after)
    assert due is not None
    assert NOW + after <= due <= NOW + max(1.0, after) + HALF_AN_HOUR


@given(attempts, rolls, rolls)
def test_the_wait_follows_the_roll(attempt: int, one: float, other: float) -> None:
    """A larger share of the spread is a later attempt: jitter is over the whole of it."""
    first, second = sorted((one, other))
    sooner, later = (next_attempt(message(attempt), NOW, lambda roll=roll: roll) for roll in (first, second))
    assert sooner is not None
    assert later is not None
    assert sooner <= later


def test_a_thousand_that_failed_at_once_come_back_spread_out() -> None:
    """No tenth of the spread gets much more than its tenth."""
    roll = random.Random(1).random
    tenths = [0] * 10
    for _ in range(1000):
        due = next_attempt(message(1), NOW, roll)
        assert due is not None
        tenths[int((due - NOW - 1) / FIRST_S * 10)] += 1
    assert max(tenths) < 150
