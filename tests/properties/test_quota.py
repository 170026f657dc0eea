"""Quota counts what a slow and simple account counts, and the script in a store decides as it does."""

from __future__ import annotations

from itertools import count
from math import inf

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from ratelimit.quota import Quota
from ratelimit.quota_script import QUOTA_SCRIPT

WINDOW = 100

ops = st.tuples(
    st.sampled_from(["reserve", "reserve", "confirm", "release"]), st.sampled_from("abcdef"), st.sampled_from("12")
)
steps = st.one_of(st.integers(0, 5), st.integers(0, 120), st.integers(-30, 0))


class Account:
    """What every attempt and every delivery counts for, and nothing clever."""

    def __init__(self) -> None:
        self.now = -inf
        self.pending: dict[tuple[str, str], float] = {}
        self.delivered: dict[str, float] = {}

    def counted(self, now: float) -> dict[str, float]:
        """When each of the keys that are counted stops counting."""
        self.now = max(self.now, now)
        until = dict(self.delivered)
        for (key, _), at in self.pending.items():
            until[key] = max(until.get(key, -inf), at)
        return {key: at for key, at in until.items() if at > self.now}

    def reserve(self, key: str, now: float, attempt: str, limit: int) -> bool:
        counted = self.counted(now)
        if key not in counted and len(counted) >= limit:
            return False
        self.pending[key, attempt] = self.end(now, self.pending.get((key, attempt), -inf))
        return True

    def confirm(self, key: str, now: float, attempt: str) -> None:
        self.counted(now)
        repeated = self.pending.pop((key, attempt), -inf) <= self.now
        self.delivered[key] = self.end(now, self.delivered.get(key, -inf) if repeated else -inf)

    def end(self, now: float, before: float) -> float:
        """What is told again of something that still counts can only prolong it, and not if it is the same call again."""
        return max(before, now + WINDOW) if before > self.now else self.now + WINDOW

    def next_free(self, now: float, limit: int) -> float:
        ends = sorted(self.counted(now).values())
        if len(ends) < limit:
            return now
        return ends[len(ends) - limit] if limit else inf


@settings(max_examples=300)
@given(
    limits=st.lists(st.integers(0, 4), min_size=1, max_size=3), schedule=st.lists(st.tuples(steps, ops), max_size=40)
)
def test_counts_what_the_account_counts(limits, schedule):
    """Whatever is reserved, confirmed and released, with a clock that goes back, and with limits that change."""
    quota, account, now = Quota(limits[0], WINDOW), Account(), 0
    for n, (step, (op, key, attempt)) in enumerate(schedule):
        now += step
        limit = limits[n % len(limits)]
        quota.set_limit(limit)
        if op == "reserve":
            assert quota.reserve(key, now, attempt) == account.reserve(key, now, attempt, limit)
        elif op == "confirm":
            quota.confirm(key, now, attempt)
            account.confirm(key, now, attempt)
        else:
            quota.release(key, attempt)
            account.pending.pop((key, attempt), None)
        used = len(account.counted(now))
        assert (quota.used(now), quota.left(now)) == (used, max(0, limit - used))
        assert quota.next_free(now) == account.next_free(now, limit)


@given(limit=st.integers(0, 4), schedule=st.lists(st.tuples(st.integers(0, 60), ops), max_size=60))
def test_no_window_sees_more_distinct_deliveries_than_the_limit(limit, schedule):
    """As long as each comes within a window of a reservation that was granted, and is confirmed when it comes."""
    quota, now = Quota(limit, WINDOW), 0
    granted: dict[tuple[str, str], int] = {}
    deliveries: list[tuple[int, str]] = []
    for step, (op, key, attempt) in schedule:
        now += step
        if op == "reserve":
            if quota.reserve(key, now, attempt):
                granted[key, attempt] = now
            continue
        reserved = granted.pop((key, attempt), None)
        if op == "release":
            quota.release(key, attempt)
        elif reserved is not None and now < reserved + WINDOW:
            quota.confirm(key, now, attempt)
            deliveries.append((now, key))
            assert len({key for at, key in deliveries if at > now - WINDOW}) <= limit


_KEYS = count()
batches = st.lists(st.tuples(steps, ops), min_size=1, max_size=4)


def test_the_script_decides_as_the_quota_does(store_url, namespace):
    """Op for op, batch for batch, repeated or not."""
    with Redis.from_url(store_url) as store:
        script = store.register_script(QUOTA_SCRIPT)

        @settings(max_examples=100)
        @given(limit=st.integers(0, 4), schedule=st.lists(st.tuples(batches, st.booleans()), max_size=12))
        def agree(limit, schedule):
            quota, now, name = Quota(limit, WINDOW), 1_700_000_000_000, f"{namespace}:{next(_KEYS)}"
            for batch, repeated in schedule:
                arguments: list[str | int] = []
                for step, (op, key, attempt) in batch:
                    now += step
                    arguments += [op, key, now, attempt]
                packed = msgspec.msgpack.encode([name, limit, WINDOW, arguments])
                for _ in range(2 if repeated else 1):
                    expected = [decided(quota, *arguments[n : n + 4]) for n in range(0, len(arguments), 4)]
                    used, free, granted = script(args=[packed])
                    assert granted == expected
                    assert used == quota.used(-inf)
                    next_free = quota.next_free(-inf)
                    assert free == (-1 if next_free == inf else next_free) or used < limit
            store.delete(name, f"{name}:pending")

        agree()


def decided(quota: Quota, op: str, key: str, at: int, attempt: str) -> int:
    if op == "reserve":
        return int(quota.reserve(key, at, attempt))
    if op == "confirm":
        quota.confirm(key, at, attempt)
    else:
        quota.release(key, attempt)
    return 1


def test_repeating_a_call_to_the_script_changes_nothing(store_url, namespace):
    """A call that timed out may have run: what was reserved is counted once, what failed fails once."""
    with Redis.from_url(store_url) as store:
        script = store.register_script(QUOTA_SCRIPT)

        def call(*ops: str | int) -> tuple[object, object, object]:
            reply = script(args=[msgspec.msgpack.encode([namespace, 2, WINDOW, ops])])
            stored = store.hgetall(f"{namespace}:pending")
            pending = {key: msgspec.msgpack.decode(value) for key, value in stored.items() if key != b"now"}
            return reply, pending, store.zrange(namespace, 0, -1, withscores=True)

        calls = [
            ("reserve", "a", 10, "1", "reserve", "b", 11, "1", "reserve", "c", 11, "1"),
            ("confirm", "a", 20, "1"),
            ("release", "b", 30, "1"),
        ]
        for ops in calls:
            assert call(*ops) == call(*ops)
        assert call("reserve", "c", 31, "1")[0] == [2, 120, [1]]


def test_the_script_leaves_nothing_of_what_is_over(store_url, namespace):
    """Keys go when their time is over, a thousand a call; what is left lives for two windows."""
    window = 60_000  # by the store's clock too
    with Redis.from_url(store_url) as store:
        script = store.register_script(QUOTA_SCRIPT)

        def call(at: int, n: int) -> list[int]:
            ops = [value for key in range(n) for value in ("reserve", f"{at}/{key}", at, "1")]
            return script(args=[msgspec.msgpack.encode([namespace, 1500, window, ops])])[:2]

        assert call(1, 1600) == [1500, window + 1]
        assert 0 < store.pttl(namespace) <= 2 * window
        assert call(window + 1, 1) == [1, window + 1]
        assert store.zcard(namespace) == 501
        assert call(window + 2, 1) == [2, window + 2]
        assert (store.zcard(namespace), store.hlen(f"{namespace}:pending")) == (2, 3)
