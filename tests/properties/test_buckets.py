"""In any interval of T seconds a bucket grants at most burst + rate * T, exactly, whatever the schedule and the clock.

The account is kept in fractions: `now` and `rate` are what their floats are, to the last bit.
"""

from fractions import Fraction
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ratelimit import Chain, TokenBucket

rates = st.one_of(st.integers(1, 2000), st.floats(0.01, 2000))
bursts = st.integers(1, 500)
starts = st.floats(-1e6, 1e9)
small_steps = st.one_of(st.floats(0, 2), st.floats(0, 1e-6), st.sampled_from([0.1, 0.001, 1 / 3]))
requests = st.integers(-5, 2000)


class Account:
    """What one bucket granted and what its limits were, as (tokens, burst, tokens that the rate allowed so far).

    Its time is the latest that the bucket was shown, by any call: a second that the clock shows twice is one second.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate, self.burst, self.now = Fraction(rate), burst, Fraction(now)
        self.allowed = Fraction(0)
        self.entries: list[tuple[int, int, Fraction]] = []

    def see(self, now: float) -> None:
        if Fraction(now) > self.now:
            self.allowed += self.rate * (Fraction(now) - self.now)
            self.now = Fraction(now)

    def grant(self, tokens: int, now: float) -> None:
        """Enter a grant, and check every interval that it is the end of."""
        self.see(now)
        self.entries.append((tokens, self.burst, self.allowed))
        granted = burst = 0
        for tokens_then, burst_then, allowed_then in reversed(self.entries):
            granted += tokens_then
            burst = max(burst, burst_then)
            assert granted <= burst + self.allowed - allowed_then

    def change(self, rate: float, burst: int, now: float) -> None:
        self.see(now)
        self.rate, self.burst = Fraction(rate), burst


class BucketMachine(RuleBasedStateMachine):
    """One bucket under any schedule of calls, with a clock that steps back and jumps ahead."""

    @initialize(rate=rates, burst=bursts, now=starts)
    def make(self, rate, burst, now):
        self.now, self.rate, self.burst = now, rate, burst
        self.bucket = TokenBucket(rate, burst, now)
        self.account = Account(rate, burst, now)

    @rule(step=small_steps)
    def time_passes(self, step):
        self.now += step

    @rule(jump=st.floats(0, 1e5))
    def clock_jumps_ahead(self, jump):
        self.now += jump

    @rule(step=st.one_of(st.floats(0, 1e-3), st.floats(0, 4000)))
    def clock_steps_back(self, step):
        self.now -= step

    @rule(n=requests)
    def take(self, n):
        available = self.bucket.available(self.now)
        granted = self.bucket.take(n, self.now)
        assert granted == max(0, min(n, available))
        self.account.grant(granted, self.now)

    @rule(rate=st.one_of(st.just(0), rates), burst=st.one_of(st.none(), bursts))
    def change_rate(self, rate, burst):
        before = self.bucket.available(self.now)
        paused = self.rate == 0
        self.bucket.set_rate(rate, self.now, burst)
        self.rate, self.burst = rate, burst or self.burst
        self.account.change(rate, self.burst, self.now)
        assert self.bucket.burst == self.burst
        assert paused or self.bucket.available(self.now) <= before

    @rule(n=st.integers(1, 2000))
    def wait_and_take(self, n):
        """The tokens are there when `wait` says so: a caller that sleeps that long never finds too few."""
        delay = self.bucket.wait(self.now, n)
        self.account.see(self.now)
        if self.rate == 0:
            assert delay == inf
            return
        assert delay >= 0
        self.now += delay
        granted = self.bucket.take(n, self.now)
        assert granted == min(n, self.burst)
        self.account.grant(granted, self.now)

    @precondition(lambda self: self.rate == 0)
    @rule(n=requests)
    def take_while_paused(self, n):
        assert self.bucket.take(n, self.now) == 0
        self.account.see(self.now)


class ChainMachine(RuleBasedStateMachine):
    """Two chains that share a bucket, which others take from too."""

    @initialize(limits=st.lists(st.tuples(st.one_of(st.just(0), rates), bursts), min_size=3, max_size=3), now=starts)
    def make(self, limits, now):
        self.now = now
        self.buckets = [TokenBucket(rate, burst, now) for rate, burst in limits]
        self.accounts = [Account(rate, burst, now) for rate, burst in limits]
        self.members = [(0, 1), (0, 2)]
        self.chains = [Chain(self.buckets[i] for i in members) for members in self.members]

    @rule(step=st.floats(-1, 10))
    def time_passes(self, step):
        self.now += step

    @rule(which=st.integers(0, 1), n=requests)
    def take_from_chain(self, which, n):
        before = [bucket.available(self.now) for bucket in self.buckets]
        granted = self.chains[which].take(n, self.now)
        after = [bucket.available(self.now) for bucket in self.buckets]
        assert granted == max(0, min(n, *(before[i] for i in self.members[which])))
        for i in range(3):
            taken = granted if i in self.members[which] else 0
            assert before[i] - after[i] == taken
            self.accounts[i].grant(taken, self.now)

    @rule(which=st.integers(0, 2), n=requests)
    def take_from_bucket(self, which, n):
        self.accounts[which].grant(self.buckets[which].take(n, self.now), self.now)

    @rule(which=st.integers(0, 1), n=st.integers(1, 2000))
    def wait_and_take(self, which, n):
        chain = self.chains[which]
        delay = chain.wait(self.now, n)
        if delay < inf:
            self.now += delay
            assert chain.available(self.now) >= min(n, chain.burst)
        for i in self.members[which]:
            self.accounts[i].see(self.now)


TestBucket = BucketMachine.TestCase
TestChain = ChainMachine.TestCase


@given(
    rate=st.integers(1, 100_000),
    now=st.floats(0, 1e9),
    steps=st.lists(st.floats(1e-6, 0.01), min_size=20, max_size=200),
)
def test_steady_use_gets_the_rate(rate, now, steps):
    """However finely the time is cut, all but the token under way and a tick a call is granted."""
    bucket = TokenBucket(rate, 100_000, now)
    start, granted = now, 0
    for step in steps:
        now += step
        granted += bucket.take(100_000, now)
    lost = Fraction(rate) * (Fraction(now) - Fraction(start)) - granted
    assert 0 <= lost < 1 + Fraction(rate) * (len(steps) + 2) / 2**30


@given(start=starts, steps=st.lists(st.floats(-0.01, 0.02), min_size=1, max_size=60))
def test_callers_with_stale_times_gain_nothing(start, steps):
    """A bucket that is also asked with times of the past grants what one asked with the latest times only grants."""
    asked, latest_only = TokenBucket(1000, 100_000, start), TokenBucket(1000, 100_000, start)
    latest = now = start
    for step in steps:
        now += step
        latest = max(latest, now)
        asked.take(0, now)
        latest_only.take(0, latest)
    assert asked.available(latest) == latest_only.available(latest)
