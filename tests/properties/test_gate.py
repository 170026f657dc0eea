"""Caps are kept exactly, by any schedule of messages, and hold up only whom they are about."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Caps
from gateway.gate import AGAIN_S, Gate
from gateway.model import Message
from tests.support.dispatching import message

START = 1000.0
MOST_PARTS = 6
"""Of one message: a lane's default."""
TENANTS = [message(tenant=name, sender=sender) for name in ("a", "b") for sender in ("1", "2")]
RATES = st.sampled_from([0.5, 1, 3, 10, 33.3, 250])

steps = st.one_of(st.floats(0, 0.01), st.floats(0, 3))
asks = st.tuples(steps, st.sampled_from(TENANTS))
changes = st.tuples(steps, st.tuples(RATES, RATES, st.sampled_from([0, 0.25, 1])))


class Account:
    """What one name was let through, against what its cap allowed: in any interval, and one burst beside."""

    def __init__(self, burst: int) -> None:
        self.rate = Fraction(0)
        self.now = Fraction(START)
        self.allowed = Fraction(0)
        self.burst = burst
        self.entries: list[tuple[int, Fraction]] = []

    def see(self, now: float) -> None:
        self.allowed += self.rate * (Fraction(now) - self.now)
        self.now = Fraction(now)

    def pass_(self, parts: int) -> None:
        self.entries.append((parts, self.allowed))
        granted = 0
        for parts_then, allowed_then in reversed(self.entries):
            granted += parts_then
            assert granted <= self.burst + self.allowed - allowed_then


def run(schedule: list[tuple[float, object]], parts: int, tenant: float, sender: float) -> None:
    """Ask for each message in its time; the books of every tenant and sender have to balance."""
    caps = Caps(tenant=tenant, sender=sender)
    gate = Gate(caps, MOST_PARTS)
    # The most that a rate of the strategy may bunch up, or one message.
    accounts = {(kind, name): Account(max(MOST_PARTS, 250 // 4 + 1)) for kind, name in
                (("tenant", "a"), ("tenant", "b"), ("sender", "1"), ("sender", "2"))}  # fmt: skip
    now = START

    def change(rates: tuple[float, float, float]) -> None:
        by_tenant, by_sender, part = rates
        gate.configure(Caps(tenant=by_tenant, sender=by_sender), part, now)
        for (kind, _), account in accounts.items():
            account.see(now)
            # Rounded up: the bucket's own rate is no more.
            account.rate = Fraction((by_tenant if kind == "tenant" else by_sender) * part)

    change((tenant, sender, 1))
    for step, what in schedule:
        now += step
        if not isinstance(what, Message):
            change(what)  # type: ignore[arg-type]
        elif gate.wait(what, parts, now) == 0:
            for key in (("tenant", what.tenant), ("sender", what.sender)):
                accounts[key].see(now)
                accounts[key].pass_(parts)


@given(st.lists(st.one_of(asks, asks, asks, changes), max_size=200), RATES, RATES)
def test_a_cap_holds_in_every_interval(schedule, tenant, sender):
    """Of both its tenant and its sender, however the caps and this process's part of them change."""
    run(schedule, 1, tenant, sender)


@given(st.lists(asks, max_size=60), st.integers(2, MOST_PARTS), st.sampled_from([0.5, 1, 3]))
def test_a_cap_counts_every_part(schedule, parts, rate):
    """Long messages are no way around it."""
    run([*schedule, *[(parts / rate / 2, TENANTS[0])] * 40], parts, rate, 1000)


@given(st.lists(asks, max_size=200), RATES)
def test_whoever_is_not_capped_never_waits(schedule, rate):
    """Whatever the one who is sends."""
    gate = Gate(Caps(tenant={"a": rate}))
    now = START
    for step, what in schedule:
        now += step
        if what.tenant == "b":
            assert gate.wait(what, 1, now) == 0
        else:
            assert gate.wait(what, 1, now) >= 0


@given(st.lists(st.tuples(steps, st.sampled_from(TENANTS), st.one_of(st.none(), st.floats(0, 10))), max_size=100))
def test_nothing_of_a_held_sender_passes_before_its_time(schedule):
    """And everything else does at once; what waits is told when exactly."""
    gate = Gate(Caps())
    held: dict[str, float] = {}
    now = START
    for step, what, hold in schedule:
        now += step
        if hold is not None:
            held[what.sender] = now + hold
            gate.hold("sender", what.sender, now + hold)
        left = max(0.0, held.get(what.sender, 0.0) - now)
        assert gate.wait(what, 1, now) == left
        assert gate.open or any(until > START for until in held.values())


@given(RATES, st.integers(1, MOST_PARTS), st.lists(st.just(0.0) | st.floats(0, 0.5), min_size=1, max_size=200))
def test_waits_are_spread_at_the_rate(rate, parts, gaps):
    """Of two that step aside one after the other, the later is due no sooner than its parts take, or asks in good time."""
    gate = Gate(Caps(tenant=rate))
    now, before = START, 0.0
    for gap in gaps:
        now += gap
        wait = gate.wait(TENANTS[0], parts, now)
        if wait and max(before, now) + parts / rate - now > AGAIN_S:
            assert AGAIN_S / 2 <= wait <= AGAIN_S
        elif wait:
            due = now + wait
            assert due >= before + parts / rate - 1e-6
            assert wait >= parts / rate - 1e-6
            before = due
