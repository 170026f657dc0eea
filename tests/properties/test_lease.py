"""In any interval of T seconds all processes together grant at most burst + rate * T, whatever happens to them and the store.

The real script runs in a real store. Processes have clocks of their own, of one speed; calls are lost, repeated, delayed and
overtaken, processes crash, join and leave, and the store loses its memory or comes back with an old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from redis import Redis

from ratelimit.lease import Lease
from ratelimit.lease_script import LEASE_SCRIPT

TICKS = 1024
"""A tick of time is exact as a float, and so are the sums of the account."""
TTL = 2 * TICKS
SLICE = TICKS // 10
_PREFIXES = count()

steps = st.one_of(st.integers(1, SLICE), st.sampled_from([SLICE, TTL // 2, TTL, TTL + 1, 3 * TICKS, 20 * TICKS]))
waits = st.sampled_from([0, 1, 2, 10, 19, 24, 27, 40])
"""Slices: none, a few, nearly a share's life, its life and the margin, and more."""
some = st.sets(st.integers(0, 3))


class Process:
    """A lease with a clock of its own, and the call that is under way."""

    def __init__(self, name: str, offset: int, rate: int, burst: int) -> None:
        self.name, self.offset = name, offset
        self.limit = rate, burst
        self.lease = Lease("l", rate, burst, holder=name, ttl_s=2.0, margin_s=0.5)
        self.reply: Any = None
        """The answer that is on its way back."""

    def now(self, ticks: int) -> float:
        return (ticks + self.offset) / TICKS


class Call:
    """A call that is on its way to the store, or stays there to be repeated."""

    def __init__(self, process: Process, request: list[Any]) -> None:
        self.process, self.request = process, request


class Account:
    """What was granted, and what the contract allows between any two times, in 1/1024 tokens.

    After a reduction the higher limit counts for the life of a share: it may be under way to a process.
    """

    def __init__(self) -> None:
        self.ticks = self.allowed = 0
        self.limits: list[tuple[int, int, int]] = []
        self.grants: list[tuple[int, int, int]] = []

    def limit(self) -> tuple[int, int]:
        last = [(rate, burst) for until, rate, burst in self.limits if until >= self.ticks - TTL]
        return max((rate for rate, _ in last), default=0), max((burst for _, burst in last), default=0)

    def know(self, processes: Sequence[Process]) -> None:
        """Enter the highest contract that any process knows from now on."""
        if self.limits:
            self.limits[-1] = (self.ticks, *self.limits[-1][1:])
        if processes:
            rate, burst = max(p.limit[0] for p in processes), max(p.limit[1] for p in processes)
            self.limits.append((1 << 62, rate, burst))

    def advance(self, ticks: int, using: tuple[float, int]) -> None:
        self.allowed += ticks * max(self.limit()[0], int(using[0]))
        self.ticks += ticks

    def grant(self, tokens: int, using: int) -> None:
        """Enter a grant, and check every interval that it is the end of."""
        if not tokens:
            return
        self.grants.append((tokens, max(self.limit()[1], using), self.allowed))
        granted = burst = 0
        for tokens_then, burst_then, allowed_then in reversed(self.grants):
            granted += tokens_then
            burst = max(burst, burst_then)
            assert granted * TICKS <= burst * TICKS + self.allowed - allowed_then


class LeaseMachine(RuleBasedStateMachine):
    """Up to four processes and everything that can happen to them."""

    client: Redis
    changes = False
    """Whether the contract changes: if it never does, the account is strict."""

    @initialize(
        slices=st.sampled_from([0, 30]),
        greedy=some,
        rate=st.sampled_from([1, 7, 64, 1000]),
        burst=st.sampled_from([1, 2, 3, 10, 200]),
    )
    def start(self, rate, burst, slices, greedy):
        self.prefix = f"m{next(_PREFIXES)}:"
        self.key = f"{self.prefix}lease:l"
        self.script = self.client.register_script(LEASE_SCRIPT)
        self.contract = rate, burst
        self.account = Account()
        self.processes: list[Process] = []
        self.calls: list[Call] = []
        self.names = count()
        for _ in range(2):
            self.join(0)
        self.run(slices, greedy)

    def teardown(self):
        if hasattr(self, "key"):
            self.client.delete(self.key)

    def pick(self, which: int) -> Process:
        return self.processes[which % len(self.processes)]

    def now(self, process: Process) -> float:
        return process.now(self.account.ticks)

    def execute(self, *calls: Call) -> Any:
        """The answers; calls that arrive one after the other can be one call to the script."""
        return self.script(args=[msgspec.msgpack.encode([self.prefix, [call.request for call in calls]])])

    def using(self) -> tuple[float, int]:
        """The sum of all shares that have not lapsed. Looking at them does not make them notice that they have."""
        leases = [copy(process.lease) for process in self.processes]
        for lease, process in zip(leases, self.processes, strict=True):
            lease.available(self.now(process))
        return sum(lease.rate for lease in leases), sum(lease.burst for lease in leases)

    def audit(self, before: tuple[float, int]) -> None:
        rate, burst = self.account.limit()
        rate_now, burst_now = self.using()
        assert rate_now <= max(rate, before[0])
        assert burst_now <= max(burst, before[1])

    def deliver_to(self, *processes: Process) -> None:
        before = self.using() if self.changes else (0.0, 0)
        for process in processes:
            reply, process.reply = process.reply, None
            process.lease.answered(reply, self.now(process))
        self.audit(before)

    def call(self, processes: Sequence[Process]) -> None:
        """They all send at once, are served in turn, and are answered at once."""
        calls = [Call(process, process.lease.request(self.now(process))) for process in processes]
        for process, reply in zip(processes, self.execute(*calls), strict=True):
            process.reply = reply
        self.deliver_to(*processes)

    @precondition(lambda self: len(self.processes) < 4)
    @rule(offset=st.integers(-(10**6), 10**6))
    def join(self, offset):
        self.processes.append(Process(f"p{next(self.names)}", offset, *self.contract))
        self.account.know(self.processes)

    @rule(ticks=steps)
    def time_passes(self, ticks):
        self.account.advance(ticks, self.using() if self.changes else (0.0, 0))

    @rule(slices=waits, greedy=some)
    def slices_pass(self, slices, greedy):
        """All is well; the greedy ones take all that they can get."""
        self.run(slices, greedy)

    def run(self, slices: int, greedy: set[int], away: Process | None = None) -> None:
        for _ in range(slices):
            self.time_passes(SLICE)
            there = [process for process in self.processes if process is not away]
            self.call(there)
            if owing := [process for process in there if process.lease.owes]:
                self.call(owing)
            for n in greedy & set(range(len(self.processes))):
                self.take(n, 10_000)

    @precondition(lambda self: self.processes)
    @rule(
        which=st.integers(0, 3),
        before=waits,
        after=waits,
        greedy=some,
        then=some,
        away=waits,
        lost=st.booleans(),
        stays=st.booleans(),
    )
    def slow_call(self, which, before, after, greedy, then, away, lost, stays):
        """One waits long for the store and for its answer, and has no store after it; meanwhile the others go on."""
        process = self.pick(which)
        call = self.begin(process)
        self.run(before, greedy, away=process)
        [process.reply] = self.execute(call)
        if not stays:
            self.calls.remove(call)
        self.run(after, then, away=process)
        if not lost:
            self.deliver_to(process)
        self.run(away, then, away=process)

    def begin(self, process: Process) -> Call:
        """The call before, if it is not over, has failed for the process; it may still arrive."""
        process.reply = None
        call = Call(process, process.lease.request(self.now(process)))
        self.calls.append(call)
        return call

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 3), n=st.sampled_from([1, 3, 100, 10_000]))
    def take(self, which, n):
        process = self.pick(which)
        granted = process.lease.take(n, self.now(process))
        self.account.grant(granted, self.using()[1] if self.changes else 0)

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 3), n=st.sampled_from([0, 10]), urgent=st.booleans())
    def want(self, which, n, urgent):
        self.pick(which).lease.want(n, urgent=urgent)

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 3))
    def send(self, which):
        """See `begin`."""
        self.begin(self.pick(which))

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 9), stays=st.booleans())
    def arrive(self, which, stays):
        """A call is executed, and may be executed again; only the answer to the last one sent finds anybody waiting."""
        which %= len(self.calls)
        call = self.calls[which]
        [reply] = self.execute(call)
        latest = all(other.process is not call.process for other in self.calls[which + 1 :])
        if latest and call.process in self.processes:
            call.process.reply = reply
        if not stays:
            del self.calls[which]

    @precondition(lambda self: any(p.reply for p in self.processes))
    @rule(which=st.integers(0, 3))
    def deliver(self, which):
        waiting = [p for p in self.processes if p.reply]
        self.deliver_to(waiting[which % len(waiting)])

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 3), crashed=st.booleans())
    def leave(self, which, crashed):
        process = self.pick(which)
        if not crashed:
            self.calls.append(Call(process, process.lease.release(self.now(process))))
        self.processes.remove(process)
        self.account.know(self.processes)

    @rule(slices=waits, greedy=some, empty=st.booleans())
    def store_restarts(self, slices, greedy, empty):
        """It comes back with nothing, or with what it had a while before, written in an earlier life."""
        saved = self.client.get(self.key)
        self.run(slices, greedy)
        if empty or not saved:
            self.client.delete(self.key)
        else:
            self.client.set(self.key, msgspec.msgpack.encode(msgspec.msgpack.decode(saved) | {"run": "before"}))


class ChangingLeaseMachine(LeaseMachine):
    """The contract changes as well, for one process after the other."""

    changes = True

    @precondition(lambda self: self.processes)
    @rule(which=st.integers(0, 3), rate=st.sampled_from([0, 1, 64, 1000]), burst=st.sampled_from([1, 10, 200]))
    def change(self, which, rate, burst):
        process = self.pick(which)
        self.contract = process.limit = rate, burst
        process.lease.set_limit(rate, burst, self.now(process))
        self.account.know(self.processes)


@pytest.mark.parametrize(("machine", "examples"), [(LeaseMachine, 30), (ChangingLeaseMachine, 20)])
def test_never_more_than_the_contract(machine, examples, store_url):
    """See the machines."""
    with Redis.from_url(store_url) as client:
        machine.client = client
        run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=20))
