"""Chain: several buckets as one."""

from math import inf

import pytest

from ratelimit import Chain, TokenBucket


def test_grants_what_the_scarcest_grants():
    """Ten of one, three of the other: three."""
    chain = Chain([TokenBucket(10, 100, now=0.0), TokenBucket(3, 100, now=0.0)])
    assert chain.available(1.0) == 3
    assert chain.take(50, 1.0) == 3


def test_a_partial_grant_takes_the_same_from_each():
    """What the scarcest refuses stays in the others."""
    account, sender = TokenBucket(10, 100, now=0.0), TokenBucket(3, 100, now=0.0)
    Chain([account, sender]).take(50, 1.0)
    assert (account.available(1.0), sender.available(1.0)) == (7, 0)


@pytest.mark.parametrize("order", [(0, 10), (10, 0)])
def test_a_paused_bucket_costs_the_others_nothing(order):
    """Wherever in the chain it stands."""
    buckets = [TokenBucket(rate, 100, now=0.0) for rate in order]
    assert Chain(buckets).take(5, 1.0) == 0
    assert max(bucket.available(1.0) for bucket in buckets) == 10


def test_chains_that_share_a_bucket_share_its_tokens():
    """Two senders of one account get no more than the account."""
    account = TokenBucket(10, 100, now=0.0)
    chains = [Chain([account, TokenBucket(8, 100, now=0.0)]) for _ in range(2)]
    assert [chain.take(100, 1.0) for chain in chains] == [8, 2]


def test_a_chain_is_a_bucket():
    """Chains nest."""
    inner = Chain([TokenBucket(10, 100, now=0.0), TokenBucket(3, 50, now=0.0)])
    chain = Chain([TokenBucket(5, 70, now=0.0), inner])
    assert (chain.burst, chain.available(1.0), chain.take(100, 1.0)) == (50, 3, 3)


@pytest.mark.parametrize("n", [0, -1])
def test_asking_for_nothing_changes_nothing(n):
    """A negative number of tokens is none."""
    chain = Chain([TokenBucket(10, 100, now=0.0)])
    assert (chain.take(n, 1.0), chain.available(1.0)) == (0, 10)


def test_waits_for_the_slowest():
    """Two tokens: one second here, half a second there."""
    chain = Chain([TokenBucket(2, 100, now=0.0), TokenBucket(4, 100, now=0.0)])
    assert chain.wait(0.0, 2) == 1.0


def test_waits_for_no_more_than_the_smallest_burst():
    """More will never be granted at once, so the slow bucket need not hold more either."""
    chain = Chain([TokenBucket(1024, 4, now=0.0), TokenBucket(1, 100, now=0.0)])
    assert chain.wait(0.0, 50) == 4.0


def test_waits_for_ever_while_one_is_paused():
    """No time is enough."""
    assert Chain([TokenBucket(5, 5, now=0.0), TokenBucket(0, 5, now=0.0)]).wait(9.0) == inf


def test_an_empty_chain_is_refused():
    """No bucket would be no limit."""
    with pytest.raises(ValueError, match="at least one"):
        Chain([])


def test_repr_shows_its_buckets():
    """As they show themselves."""
    chain = Chain([TokenBucket(2, 5, now=0.0)])
    assert repr(chain) == "Chain([TokenBucket(rate=2, burst=5, level=0)])"
