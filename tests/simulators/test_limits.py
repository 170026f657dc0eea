"""WhatsApp's limits at the far end."""

from __future__ import annotations

import pytest

from gateway.simulators.limits import DistinctRecipients, Limits, PairRate, tier


def test_a_pair_has_45_at_once_and_one_each_6_seconds() -> None:
    """What it borrows it has to wait for; another pair need not."""
    pairs = PairRate()
    assert sum(pairs.admit("n", "1", 0.0) for _ in range(100)) == 45
    assert not pairs.admit("n", "1", 5.9)
    assert pairs.admit("n", "1", 6.0)
    assert not pairs.admit("n", "1", 6.1)
    assert pairs.admit("n", "2", 6.1)
    assert pairs.admit("m", "1", 6.1)
    assert sum(pairs.admit("n", "1", 10_000.0) for _ in range(100)) == 45


def test_pairs_with_a_full_bucket_are_forgotten() -> None:
    """So that a million of them are not kept."""
    pairs = PairRate()
    for number in range(50_000):
        assert pairs.admit("n", str(number), number / 100)
    assert len(pairs._full_at) <= 10_001


def test_people_count_from_the_last_message_to_them() -> None:
    """And until the window is over, to the moment."""
    reached = DistinctRecipients()
    reached.add("1", 0.0, 10.0)
    reached.add("2", 1.0, 10.0)
    reached.add("1", 5.0, 10.0)
    assert (reached.count(10.9, 10.0), reached.count(11.0, 10.0), reached.count(15.0, 10.0)) == (2, 1, 0)
    assert reached.most == 2


def test_who_was_reached_is_admitted_beyond_the_limit() -> None:
    """Only different people count."""
    reached = DistinctRecipients()
    reached.add("1", 0.0, 10.0)
    assert reached.admits("1", 1, 1.0, 10.0)
    assert not reached.admits("2", 1, 1.0, 10.0)
    assert reached.admits("2", 1, 10.0, 10.0)


@pytest.mark.parametrize(
    ("limit", "name"), [(250, "TIER_250"), (2000, "TIER_2K"), (None, "TIER_UNLIMITED"), (7, 7), (0, 0)]
)
def test_a_limit_goes_by_its_tier(limit: int | None, name: str | int) -> None:
    """Or by itself, if it has none."""
    assert tier(limit) == name


@pytest.mark.parametrize("wrong", [{"throughput_mps": 0}, {"messaging_limit": -1}, {"day_s": 0}])
def test_limits_that_mean_nothing_are_refused(wrong: dict[str, int]) -> None:
    """At once, not when they are reached."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]
