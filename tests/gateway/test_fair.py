"""Who is next on a slot: classes by urgency and reserve, tenants of a class in turn. See also properties/test_fair.py."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.fair import Turns, queue_of
from gateway.model import TrafficClass

OTP, TRANSACTIONAL, BULK = TrafficClass
RESERVE = {TRANSACTIONAL: 0.05, BULK: 0.05}


class Waiting:
    """A queue: how much of whom is waiting in it."""

    def __init__(self, tenant: str, ready: int, class_: TrafficClass = BULK) -> None:
        self.tenant = tenant
        self.ready = ready
        self.class_ = class_
        self.served = 0.0


def serve(turns: Turns, queues: list[Waiting], parts: int) -> list[str]:
    """Give so many parts to queues of one class: the tenants of the parts in their order."""
    order: list[str] = []
    while parts and (ready := [queue for queue in queues if queue.ready]):
        queue, most = turns.next(ready, parts)
        given = min(most, queue.ready)
        queue.ready -= given
        parts -= given
        turns.took(queue, given, queue.tenant)
        order += [queue.tenant] * given
    return order


def turns(weights: dict[str, int] | None = None, reserve: dict[TrafficClass, float] | None = None) -> Turns:
    return Turns(RESERVE if reserve is None else reserve, weights or {})


# Classes.


def test_urgent_classes_go_first() -> None:
    """They get all but the reserves; what is left goes to the next class, in their order."""
    shares = turns().shares({OTP: 30, TRANSACTIONAL: 50, BULK: 1000}, 100)
    assert shares == [(OTP, 30), (TRANSACTIONAL, 50), (BULK, 20)]


def test_a_class_alone_gets_everything() -> None:
    """But no more than it has waiting."""
    one = turns()
    assert one.shares({BULK: 1000}, 100) == [(BULK, 100)]
    assert one.shares({BULK: 30}, 100) == [(BULK, 30)]


def test_a_reserve_is_kept_while_urgent_classes_take_all_they_can() -> None:
    """Of a hundred parts five go to each of the others."""
    shares = turns().shares({OTP: 1000, TRANSACTIONAL: 1000, BULK: 1000}, 100)
    assert shares == [(OTP, 90), (TRANSACTIONAL, 5), (BULK, 5)]


def test_a_reserve_is_saved_up_over_small_grants() -> None:
    """One part at a time, every twentieth is its own."""
    one = turns(reserve={BULK: 0.05})
    given = Counter(class_ for _ in range(200) for class_, _ in one.shares({OTP: 1000, BULK: 1000}, 1))
    assert given == {OTP: 190, BULK: 10}


def test_without_a_reserve_an_urgent_class_takes_it_all() -> None:
    """Whoever wants that says 0."""
    one = turns(reserve={})
    assert [one.shares({OTP: 1000, BULK: 1000}, 10) for _ in range(5)] == [[(OTP, 10)]] * 5


def test_two_reserves_that_come_due_together_take_turns() -> None:
    """A grant of one part has room for one: no share is negative, and the other is owed its part."""
    one = turns()
    given: Counter[TrafficClass] = Counter()
    for _ in range(400):
        shares = one.shares({OTP: 1000, TRANSACTIONAL: 1000, BULK: 1000}, 1)
        assert sum(share for _, share in shares) == 1
        assert all(share > 0 for _, share in shares)
        given.update(dict(shares))
    assert given[TRANSACTIONAL] == pytest.approx(20, abs=1)
    assert given[BULK] == pytest.approx(20, abs=1)


def test_a_reserve_that_was_not_needed_is_not_saved_up() -> None:
    """A class that trickled for long is owed no more than its reserve when it swells."""
    one = turns()
    for _ in range(100):
        assert one.shares({OTP: 999, BULK: 1}, 1000) == [(OTP, 999), (BULK, 1)]
    assert one.shares({OTP: 1000, BULK: 1000}, 100) == [(OTP, 95), (BULK, 5)]


def test_what_a_class_gets_for_nothing_is_no_debt() -> None:
    """Whoever filled the gaps of an urgent class has its reserve as before."""
    one = turns()
    one.shares({OTP: 1, BULK: 1000}, 1000)
    assert one.shares({OTP: 1000, BULK: 1000}, 100) == [(OTP, 95), (BULK, 5)]


# Tenants.


def test_queues_take_turns() -> None:
    """A few parts each, so that a turn is worth its cost."""
    order = serve(turns(), [Waiting("a", 1000), Waiting("b", 1000)], 64)
    assert Counter(order) == {"a": 32, "b": 32}
    assert max(order[n : n + 16].count("a") for n in range(48)) <= 8


def test_a_queue_alone_is_not_cut_in_small_runs() -> None:
    """There is nobody to take turns with."""
    one = turns()
    assert one.next([Waiting("a", 1000)], 500)[1] == 500


def test_a_million_waiting_delay_a_hundred_by_no_more_than_their_turn() -> None:
    """The hundred are through after two hundred parts, though the million came first."""
    one = turns()
    million, hundred = Waiting("a", 1_000_000), Waiting("b", 100)
    serve(one, [million], 10_000)
    order = serve(one, [million, hundred], 208)
    assert order.count("b") == 100


def test_weights_divide_what_is_given() -> None:
    """Three to one, as long as both are waiting."""
    order = serve(turns({"a": 3}), [Waiting("a", 10_000), Waiting("b", 10_000)], 4000)
    assert order.count("a") == pytest.approx(3000, abs=16)


def test_who_was_idle_has_saved_nothing_up() -> None:
    """Neither at first nor after a pause: it is behind by what the other was last given at once, not by all before."""
    one = turns()
    busy, other = Waiting("a", 100_000), Waiting("b", 0)
    for _ in range(3):
        for _ in range(100):
            serve(one, [busy, other], 40)
        other.ready = 500
        order = serve(one, [busy, other], 400)
        assert order.count("b") == pytest.approx(200, abs=40 / 2 + 4)
        other.ready = 0


def test_the_turns_of_one_class_are_not_those_of_another() -> None:
    """Much given to one-time passwords delays no bulk."""
    one = turns()
    serve(one, [Waiting("a", 5000, OTP), Waiting("b", 5000, OTP)], 8000)
    assert Counter(serve(one, [Waiting("a", 5000), Waiting("b", 5000)], 64)) == {"a": 32, "b": 32}


# Queues of tenants.


@pytest.mark.parametrize(("tenant", "queue"), [("", 0), ("banco", 1), ("tienda", 6), ("señal", 3)])
def test_a_tenant_keeps_its_queue(tenant: str, queue: int) -> None:
    """In every process and version: messages wait in it over a restart."""
    assert queue_of(tenant, 8) == queue


def test_with_one_queue_all_share_it() -> None:
    """Fairness is off."""
    assert {queue_of(f"t{n}", 1) for n in range(100)} == {0}


def test_tenants_spread_over_the_queues() -> None:
    """No queue has twice its part of a thousand."""
    counts = Counter(queue_of(f"tenant-{n}", 8) for n in range(1000))
    assert counts.keys() == set(range(8))
    assert max(counts.values()) < 2 * 1000 / 8
