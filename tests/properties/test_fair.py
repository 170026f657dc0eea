"""Shares of classes and turns of queues: the bounds that hold for any queues, weights and grants."""

from __future__ import annotations

from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.fair import Turns
from gateway.model import TrafficClass

RUN = 4
"""Parts that a queue is given at once."""

reserves = st.fixed_dictionaries(
    {TrafficClass.TRANSACTIONAL: st.floats(0, 0.25), TrafficClass.BULK: st.floats(0, 0.25)}
)
grants = st.integers(1, 200) | st.just(1)
waiting = st.dictionaries(st.sampled_from(TrafficClass), st.integers(1, 300), min_size=1)


def in_order(given: dict[TrafficClass, int]) -> dict[TrafficClass, int]:
    """As a slot has its queues: the most urgent first."""
    return {class_: given[class_] for class_ in TrafficClass if class_ in given}


@given(reserves, st.lists(st.tuples(waiting, grants), max_size=60), st.integers(1, 60))
def test_shares_are_what_is_granted_and_no_more_than_is_ready(reserve, turns_taken, ones):
    """Nothing granted is left over while somebody waits, nobody gets less than nothing, and no class is named twice."""
    turns = Turns(reserve, {})
    everybody = dict.fromkeys(TrafficClass, 1000)
    for ready, granted in [*turns_taken, *[(everybody, 1)] * ones]:
        shares = turns.shares(in_order(ready), granted)
        assert sum(share for _, share in shares) == min(granted, sum(ready.values()))
        assert all(0 < share <= ready[class_] for class_, share in shares)
        assert [class_ for class_, _ in shares] == list(in_order(dict(shares)))


@given(reserves, st.lists(st.integers(2, 200), min_size=1, max_size=100))
def test_a_reserve_is_honoured_and_not_exceeded(reserve, granted):
    """While all classes have more than enough: each gets its share of what was granted, to a part."""
    turns = Turns(reserve, {})
    got: Counter[TrafficClass] = Counter()
    for count in granted:
        got.update(dict(turns.shares(dict.fromkeys(TrafficClass, 1000), count)))
    total = sum(granted)
    assert got.total() == total
    for class_, share in reserve.items():
        assert share * total - 1.001 <= got[class_] <= share * total + 0.001


@given(
    reserves, st.lists(st.tuples(waiting, grants), max_size=40), st.lists(st.integers(2, 200), min_size=1, max_size=20)
)
def test_no_class_is_owed_more_than_its_reserve_whatever_was_before(reserve, before, granted):
    """Of what is granted from any moment on, while the most urgent one could use it all."""
    turns = Turns(reserve, {})
    for ready, count in [*before, ({TrafficClass.OTP: 1000, TrafficClass.BULK: 1}, 100)]:
        turns.shares(in_order(ready), count)
    got: Counter[TrafficClass] = Counter()
    for count in granted:
        got.update(dict(turns.shares(dict.fromkeys(TrafficClass, 1000), count)))
    for class_, share in reserve.items():
        assert got[class_] <= share * sum(granted) + 1.001


class Waiting:
    def __init__(self, tenant: str, class_: TrafficClass = TrafficClass.BULK) -> None:
        self.tenant, self.class_, self.ready, self.served = tenant, class_, 0, 0.0


weights = st.lists(st.integers(1, 20), min_size=2, max_size=6)
AT_ONCE = 40
"""The most that is granted at once: a window. A queue that is alone may get all of it."""
# What arrives where, between what is given.
arrivals = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 200), st.integers(1, AT_ONCE)), max_size=60)


@given(weights, arrivals, st.integers(50, 600))
def test_whoever_waits_gets_his_weight_whatever_was_before(weight, arrivals, count):
    """From any moment on at which several wait: each pair's parts by weight differ by two runs, and what one got alone."""
    names = [f"t{n}" for n in range(len(weight))]
    turns = Turns({}, dict(zip(names, weight, strict=True)))
    queues = [Waiting(name) for name in names]

    def give(parts):
        got: Counter[str] = Counter()
        while parts and (ready := [queue for queue in queues if queue.ready]):
            queue, most = turns.next(ready, parts)
            assert 0 < most <= parts
            given = min(most, queue.ready)
            queue.ready -= given
            parts -= given
            got[queue.tenant] += given
            turns.took(queue, given, queue.tenant)
        return got

    for which, came, parts in arrivals:
        queues[which % len(queues)].ready += came
        give(parts)
    for queue in queues:
        queue.ready += 100_000
    got = give(count)
    normal = [got[name] / share for name, share in zip(names, weight, strict=True)]
    for n, one in enumerate(normal):
        for m, other in enumerate(normal):
            assert one <= other + 2 * RUN / weight[n] + (2 * RUN + AT_ONCE) / weight[m]


@given(
    st.integers(2, 6), st.integers(1, 200), st.integers(0, 5000), st.lists(st.integers(1, 100), min_size=1, max_size=10)
)
def test_a_small_queue_is_through_after_its_turns(queues, small, before, grants):
    """However much waits in the others and was given to them: no more than the others' equal parts come before its last."""
    turns = Turns({}, {})
    others = [Waiting(f"big{n}") for n in range(queues - 1)]
    for queue in others:
        queue.ready = 10**9

    def serve(ready, parts):
        queue, most = turns.next(ready, parts)
        given = min(most, queue.ready)
        queue.ready -= given
        turns.took(queue, given, queue.tenant)
        return given

    left = before
    while left > 0:
        left -= serve(others, left)
    late = Waiting("small")
    late.ready = small
    sent = turn = 0
    while late.ready:
        left = grants[turn % len(grants)]
        turn += 1
        while left and late.ready:
            given = serve([late, *others], left)
            left -= given
            sent += given
    assert sent <= queues * (small + 2 * RUN)


@given(weights)
def test_nobody_starves(weight):
    """Between two turns of a queue every other has no more than its weight's worth and a run."""
    names = [f"t{n}" for n in range(len(weight))]
    assume(len(weight) > 1)
    turns = Turns({}, dict(zip(names, weight, strict=True)))
    queues = [Waiting(name) for name in names]
    since = dict.fromkeys(names, 0)
    for _ in range(40 * sum(weight)):
        queue, most = turns.next(queues, 1000)
        turns.took(queue, most, queue.tenant)
        share = weight[names.index(queue.tenant)]
        assert since[queue.tenant] <= RUN * (sum(weight) / share + len(weight))
        for name in names:
            since[name] = 0 if name == queue.tenant else since[name] + most
