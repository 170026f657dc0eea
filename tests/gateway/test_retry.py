"""When a refused message is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Message, TrafficClass
from gateway.retry import MAX_ATTEMPTS, next_attempt

NOW = 1_800_000_000.0


def message(attempt: int, expires_at: float = 0.0) -> Message:
    return Message("m", "+573001234567", "t", "", "j", "", "", TrafficClass.BULK, expires_at, "0:0:0", NOW, attempt)


@pytest.mark.parametrize(("attempt", "least", "most"), [(1, 5, 10), (2, 10, 20), (3, 20, 40), (7, 320, 640)])
def test_waits_double_with_every_attempt(attempt: int, least: float, most: float) -> None:
    """The upper half of an exponential ceiling, so that a retry is never at once."""
    assert next_attempt(message(attempt), NOW, lambda: 0.0) == NOW + least
    assert next_attempt(message(attempt), NOW, lambda: 1.0) == NOW + most


def test_the_last_attempt_is_the_last() -> None:
    """A message that was tried often enough has failed."""
    assert next_attempt(message(MAX_ATTEMPTS), NOW) is None
    assert next_attempt(message(MAX_ATTEMPTS - 1), NOW) is not None


@given(attempt=st.integers(1, MAX_ATTEMPTS), left=st.floats(-10, 10_000), roll=st.floats(0, 1, exclude_max=True))
def test_nothing_is_due_after_it_has_expired(attempt: int, left: float, roll: float) -> None:
    """expires_at bounds every retry."""
    due = next_attempt(message(attempt, NOW + left), NOW, lambda: roll)
    assert due is None or NOW < due < NOW + left
