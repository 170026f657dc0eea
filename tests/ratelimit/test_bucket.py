"""TokenBucket: what one caller sees. Times are dyadic, so that every expected number is exact."""

from math import inf, nan

import pytest

from ratelimit import TokenBucket


def full_bucket(rate: float, burst: int, now: float = 0.0) -> TokenBucket:
    """Make a bucket that has had the time to fill up by `now`."""
    return TokenBucket(rate, burst, now - burst / rate - 1)


def test_a_new_bucket_is_empty():
    """A restart mints no burst."""
    bucket = TokenBucket(rate=100, burst=50, now=8.0)
    assert bucket.take(1, 8.0) == 0


def test_tokens_accrue_with_time():
    """A quarter of a second at 100 a second is 25 tokens."""
    bucket = TokenBucket(rate=100, burst=50, now=8.0)
    assert bucket.take(50, 8.25) == 25


def test_take_grants_up_to_what_was_asked():
    """What is not asked for stays."""
    bucket = full_bucket(rate=100, burst=50)
    assert [bucket.take(20, 0.0) for _ in range(4)] == [20, 20, 10, 0]


def test_level_is_capped_at_the_burst():
    """A day without traffic is worth one burst."""
    bucket = TokenBucket(rate=100, burst=50, now=0.0)
    assert bucket.take(1000, 86400.0) == 50


def test_fractions_of_tokens_are_kept():
    """Asking too early costs nothing: two halves make a token."""
    bucket = TokenBucket(rate=1, burst=5, now=0.0)
    assert [bucket.take(1, now) for now in (0.5, 1.0, 1.5, 2.0)] == [0, 1, 0, 1]


@pytest.mark.parametrize("n", [0, -1, -100])
def test_asking_for_nothing_changes_nothing(n):
    """A negative number of tokens is none, and does not mint any."""
    bucket = full_bucket(rate=1, burst=5)
    assert bucket.take(n, 0.0) == 0
    assert bucket.take(100, 0.0) == 5


def test_steady_use_gets_the_whole_rate():
    """Polled 128 times a second for 10 seconds, not one token is lost to rounding."""
    bucket = TokenBucket(rate=100, burst=10, now=0.0)
    assert sum(bucket.take(10, tick / 128) for tick in range(1, 1281)) == 1000


def test_a_rate_below_one_a_second():
    """One token in four seconds."""
    bucket = TokenBucket(rate=0.25, burst=1, now=0.0)
    assert [bucket.take(1, float(now)) for now in range(1, 9)] == [0, 0, 0, 1, 0, 0, 0, 1]


def test_time_before_zero_is_like_any_other():
    """The origin of the clock does not matter."""
    bucket = TokenBucket(rate=4, burst=50, now=-10.25)
    assert bucket.take(50, -9.0) == 5


def test_time_before_the_first_whole_tick_is_not_paid():
    """Made in the middle of a tick of 2**-30 s, at one token a tick: there is none half a tick later."""
    bucket = TokenBucket(rate=2**30, burst=5, now=2**-31)
    assert [bucket.take(5, ticks * 2**-30) for ticks in (1, 2)] == [0, 1]


def test_available_tells_what_take_grants_and_takes_nothing():
    """Asking twice gives the same answer."""
    bucket = TokenBucket(rate=100, burst=50, now=0.0)
    assert [bucket.available(0.25), bucket.available(0.25), bucket.take(50, 0.25)] == [25, 25, 25]


def test_clock_going_back_grants_nothing_twice():
    """The same second is not paid out again when the clock shows it again."""
    bucket = TokenBucket(rate=8, burst=100, now=0.0)
    assert bucket.take(100, 10.0) == 80
    assert [bucket.take(100, now) for now in (5.0, 9.0, 10.0)] == [0, 0, 0]
    assert bucket.take(100, 10.5) == 4


def test_clock_going_back_leaves_what_has_accrued():
    """Tokens that are there can be had at any time."""
    bucket = TokenBucket(rate=8, burst=100, now=0.0)
    assert bucket.available(10.0) == 80
    assert bucket.take(100, 3.0) == 80


def test_wait_is_zero_when_the_tokens_are_there():
    """No wait for what can be had now."""
    assert full_bucket(rate=2, burst=5).wait(0.0, 5) == 0.0


def test_wait_tells_when_the_tokens_are_there():
    """Three tokens at 2 a second, half of one there: 1.25 seconds."""
    bucket = TokenBucket(rate=2, burst=5, now=0.0)
    assert bucket.wait(0.25, 3) == 1.25


@pytest.mark.parametrize("start", [-1000 / 3, 1e9 + 1 / 3])
def test_wait_is_not_rounded_down(start):
    """Before zero and after years of uptime, where floats are coarse: the tokens are there when it says so."""
    bucket = TokenBucket(rate=3, burst=5000, now=start)
    assert bucket.take(2138, start + bucket.wait(start, 2138)) == 2138


def test_wait_for_more_than_the_burst_waits_for_the_burst():
    """More will never be there at once."""
    bucket = TokenBucket(rate=2, burst=5, now=0.0)
    assert bucket.wait(0.0, 500) == bucket.wait(0.0, 5) == 2.5


def test_wait_covers_the_time_that_a_stepped_back_clock_has_to_catch_up():
    """A clock 10 s behind: those, and the half second of the token."""
    bucket = TokenBucket(rate=2, burst=5, now=10.0)
    assert bucket.wait(0.0) == 10.5


def test_rate_zero_is_paused():
    """Nothing is granted, not even what is left, and no wait will change that."""
    bucket = full_bucket(rate=10, burst=5)
    bucket.set_rate(0, now=0.0)
    assert (bucket.take(5, 100.0), bucket.available(100.0), bucket.wait(100.0)) == (0, 0, inf)


def test_a_pause_is_worth_no_tokens():
    """After it the bucket goes on with what it had."""
    bucket = TokenBucket(rate=4, burst=50, now=0.0)
    bucket.set_rate(0, now=0.5)
    bucket.set_rate(4, now=100.0)
    assert bucket.take(50, 100.0) == 2


def test_a_new_rate_counts_from_now_on():
    """The time before it is paid at the old rate."""
    bucket = TokenBucket(rate=4, burst=1000, now=0.0)
    bucket.set_rate(100, now=1.0)
    assert bucket.available(1.0) == 4
    assert bucket.available(2.0) == 104


def test_a_larger_burst_is_not_granted_at_once():
    """It fills up at the rate."""
    bucket = full_bucket(rate=4, burst=10)
    bucket.set_rate(8, now=0.0, burst=100)
    assert bucket.take(1000, 0.0) == 10
    assert bucket.take(1000, 60.0) == 100


def test_a_smaller_burst_counts_at_once():
    """What is above it is gone."""
    bucket = full_bucket(rate=4, burst=100)
    bucket.set_rate(4, now=0.0, burst=10)
    assert bucket.take(1000, 0.0) == 10


@pytest.mark.parametrize(("rate", "burst"), [(-1, 10), (nan, 10), (inf, 10), (10, 0), (10, -5)])
def test_impossible_limits_are_refused(rate, burst):
    """At the start and later, and a refused change changes nothing."""
    with pytest.raises(ValueError, match="must be"):
        TokenBucket(rate, burst, now=0.0)
    bucket = TokenBucket(rate=4, burst=20, now=0.0)
    with pytest.raises(ValueError, match="must be"):
        bucket.set_rate(rate, 1.0, burst)
    assert (bucket.rate, bucket.burst, bucket.take(20, 2.0)) == (4, 20, 8)


def test_repr_shows_the_limit_and_the_level():
    """As of the last call with a time."""
    bucket = TokenBucket(rate=2.5, burst=10, now=0.0)
    bucket.available(1.0)
    assert repr(bucket) == "TokenBucket(rate=2.5, burst=10, level=2.5)"
