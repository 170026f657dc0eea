"""Tests of what one person gets from one number: a part every 6 seconds, 45 at once on credit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.pairs import Pairs

PERIOD_S, BURST = 6.0, 45
ANA, LUIS = "+525512345678", "+5511987654321"
LONG_AGO = BURST * PERIOD_S
"""The first second at which a takeover at 0 is forgotten."""


def settled(jitter: float = 0.999) -> Pairs:
    return Pairs(PERIOD_S, BURST, 0.0, lambda: jitter)


def spend(pairs: Pairs, recipient: str, now: float) -> int:
    """Write as many parts as go, and say how many did."""
    written = 0
    while not pairs.wait(recipient, 1, now):
        written += 1
    return written


def test_a_person_gets_the_burst_at_once_and_then_one_part_in_six_seconds() -> None:
    """What was taken at once is paid back before the next burst."""
    pairs = settled()
    assert spend(pairs, ANA, LONG_AGO) == BURST
    assert [spend(pairs, ANA, LONG_AGO + n * PERIOD_S) for n in (1, 2, 4)] == [1, 1, 2]


def test_a_person_is_slowed_down_alone() -> None:
    """Pairs have nothing to do with each other."""
    pairs = settled()
    spend(pairs, ANA, LONG_AGO)
    assert pairs.wait(LUIS, 1, LONG_AGO) == 0.0


def test_each_that_waits_is_told_a_later_time() -> None:
    """They are due one by one as the tokens come, and the first finds its token."""
    pairs = settled()
    now = LONG_AGO
    for _ in range(BURST):
        pairs.wait(ANA, 1, now)
    assert [pairs.wait(ANA, 1, now) for _ in range(3)] == [6.0, 12.0, 18.0]
    assert pairs.wait(ANA, 1, now + 6.0) == 0.0


def test_more_parts_than_the_burst_take_all_of_it() -> None:
    """A message is never too long to go at all."""
    pairs = settled()
    assert pairs.wait(ANA, BURST + 1, LONG_AGO) == 0.0
    assert pairs.wait(ANA, 1, LONG_AGO) == PERIOD_S


def test_after_a_takeover_a_pair_gets_one_part_and_then_what_has_accrued_since() -> None:
    """Whoever had the slot before may have used up everything; known pairs are no better off, that may be long ago."""
    pairs = settled()
    pairs.wait(LUIS, 1, 500.0)
    pairs.taken_over(1000.0)
    assert spend(pairs, LUIS, 1000.0) == 1
    assert spend(pairs, ANA, 1000.0) == 1
    assert spend(pairs, ANA, 1000.0 + 3 * PERIOD_S) == 3


def test_a_start_is_a_takeover() -> None:
    """A crash does not bring a new burst."""
    assert spend(settled(), ANA, 0.0) == 1


def test_a_refused_pair_waits_longer_each_time_up_to_four_minutes() -> None:
    """4^X seconds, and never less than a token takes, since there was none."""
    pairs = settled(jitter=1.0)
    waits = []
    now = LONG_AGO
    for _ in range(6):
        waits.append(pairs.refused(ANA, now))
        assert pairs.wait(ANA, 1, now + waits[-1] - 0.1) > 0.0
        now += waits[-1]
    assert waits == [6.0, 16.0, 64.0, 256.0, 256.0, 256.0]


def test_the_wait_after_a_refusal_has_full_jitter() -> None:
    """From one token on, anything up to the step: pairs refused together do not come back together."""
    pairs = settled(jitter=0.25)
    assert [pairs.refused(ANA, LONG_AGO) for _ in range(4)] == [6.0, 6.0, 16.0, 64.0]


def test_others_go_on_while_a_pair_is_refused() -> None:
    """131056 is about one person."""
    pairs = settled()
    pairs.refused(ANA, LONG_AGO)
    assert spend(pairs, LUIS, LONG_AGO) == BURST


def test_after_a_refusal_the_bucket_is_empty() -> None:
    """The provider's was, whatever ours held."""
    pairs = settled()
    wait = pairs.refused(ANA, LONG_AGO)
    assert spend(pairs, ANA, LONG_AGO + wait) == 1


def test_what_is_accepted_ends_the_steps() -> None:
    """Only refusals in a row count."""
    pairs = settled(jitter=1.0)
    for _ in range(3):
        pairs.refused(ANA, LONG_AGO)
    pairs.accepted(ANA)
    assert pairs.refused(ANA, LONG_AGO) == 6.0


def test_messages_that_come_while_a_pair_is_refused_queue_behind_it() -> None:
    """The refused one is due first, then one in every six seconds."""
    pairs = settled(jitter=1.0)
    pairs.refused(ANA, LONG_AGO)
    pairs.refused(ANA, LONG_AGO)
    assert [pairs.wait(ANA, 1, LONG_AGO) for _ in range(2)] == [22.0, 28.0]


def test_pairs_whose_bucket_is_full_are_forgotten() -> None:
    """80 a second for an hour leave no more than some thousands, whoever they are for."""
    pairs = settled()
    most = 0
    for n in range(80 * 3600):
        pairs.wait(f"+{n}", 1, LONG_AGO + n / 80)
        most = max(most, len(pairs))
    assert most < 3000


def test_what_a_sweep_forgets_makes_no_difference() -> None:
    """A pair that owes but one part is remembered through it."""
    pairs = settled()
    pairs.wait(ANA, 1, LONG_AGO)
    for n in range(5000):
        pairs.wait(f"+{n}", 1, LONG_AGO + 5.9)
    assert spend(pairs, ANA, LONG_AGO + 5.9) == BURST - 1


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 50), st.booleans()), max_size=60))
def test_in_any_interval_a_person_gets_the_burst_and_the_rate_and_one_for_each_takeover(
    steps: list[tuple[int, int, bool]],
) -> None:
    """Two processes, one of which has the pair at a time; times in 1/1024 s, which floats hold exactly."""
    now = 0
    processes = [Pairs(PERIOD_S, BURST, 0.0, lambda: 0.5) for _ in range(2)]
    owner = 0
    written: list[tuple[int, int]] = []
    """When, and how many takeovers were before it."""
    takeovers = 1
    for pause, tries, moves in steps:
        now += pause * 16
        if moves:
            owner = 1 - owner
            takeovers += 1
            processes[owner].taken_over(now / 1024)
        went = sum(not processes[owner].wait(ANA, 1, now / 1024) for _ in range(tries))
        written += [(now, takeovers)] * went
        for i, (start, before) in enumerate(written):
            allowed = BURST + (now - start) / 1024 / PERIOD_S + takeovers - before
            assert len(written) - i <= allowed


def test_another_limit_counts_what_a_pair_has_used() -> None:
    """Ten of the new burst as of the old, and from then on one in the new time."""
    pairs = settled()
    for _ in range(10):
        pairs.wait(ANA, 1, LONG_AGO)
    pairs.configure(1.0, 12, LONG_AGO)
    assert spend(pairs, ANA, LONG_AGO) == 2
    assert spend(pairs, ANA, LONG_AGO + 3.0) == 3
    assert spend(pairs, LUIS, LONG_AGO) == 12


def test_a_smaller_burst_that_is_used_up_is_no_debt() -> None:
    """The next part is due after one period, however much more the old burst let through."""
    pairs = settled()
    for _ in range(BURST):
        pairs.wait(ANA, 1, LONG_AGO)
    pairs.configure(PERIOD_S, 5, LONG_AGO)
    assert pairs.wait(ANA, 1, LONG_AGO) == PERIOD_S
    assert spend(pairs, LUIS, LONG_AGO) == 5


def test_another_limit_leaves_a_takeover_its_part() -> None:
    """The first message to everybody does not wait."""
    pairs = settled()
    pairs.configure(2.0, 5, 0.0)
    assert spend(pairs, ANA, 0.0) == 1
    assert spend(pairs, LUIS, 4.0) == 3


def test_who_waits_for_a_pair_waits_as_long_as_the_new_limit_says() -> None:
    """Those that were told before may come back too early, and are told anew; a refusal is the provider's and stays."""
    pairs = settled(jitter=1.0)
    spend(pairs, ANA, LONG_AGO)
    assert pairs.wait(ANA, 1, LONG_AGO) == 2 * PERIOD_S
    refused = pairs.refused(LUIS, LONG_AGO)
    pairs.configure(1.0, BURST, LONG_AGO)
    assert pairs.wait(ANA, 1, LONG_AGO) == 3.0
    assert pairs.wait(LUIS, 1, LONG_AGO + refused - 0.1) > 0.0
