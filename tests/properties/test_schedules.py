"""Whatever happens to the messages of a queue, in whatever order: when it is calm again, each has come to an end."""

from __future__ import annotations

import time
from collections import defaultdict
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dispatch import Dispatcher
from gateway.flight import Part
from gateway.ledger import _decode
from gateway.model import TrafficClass, encode_message
from ratelimit import Adaptive
from smpp.constants import CommandStatus
from smpp.events import LateResponse, Response
from tests.support.dispatching import NOW, Line, begin, configured, long_text, message, port_of, record

_ANSWERS = (
    CommandStatus.ESME_ROK,
    CommandStatus.ESME_ROK,
    CommandStatus.ESME_RTHROTTLED,
    CommandStatus.ESME_RSYSERR,
    CommandStatus.ESME_RINVDSTADR,
)
_MESSAGES = 4


class History:
    """A worker that owns one queue now and then, its ledger, and an operator that does as the schedule says."""

    def __init__(self, class_: str, window: int, routes: bool, random: Random) -> None:
        ways = [{"lanes": ["a", "b"]}] if routes else []
        self.line = Line(configured({"a": {"window": window}, "b": {}}, routes=ways))
        self.queue = self.line.queue("a", class_)
        self.port = port_of(self.queue.slot)
        self.random = random
        self.on_the_way: list[Part] = []
        self.unanswered: list[Part] = []
        self.outcomes: dict[int, Any] = {}
        self.intent = -1
        self.ends: dict[int, list[str]] = defaultdict(list)
        self.worker: Any = SimpleNamespace(_settler=self.line.settler, _inbox=self.line.inbox)
        self.records = [
            record(self.queue.tp.topic, n, encode_message(each))
            for n, each in enumerate(
                message(
                    f"m{n}",
                    to=f"+57300000000{n}",
                    source=f"0:7:{n}",
                    text=long_text(random.randint(1, 3)),
                    class_=TrafficClass(class_),
                )
                for n in range(_MESSAGES)
            )
        ]
        begin(self.queue, self.records)

    # What happens.

    def write(self, *, fenced: bool = False, revoked: bool = False) -> None:
        """A turn, in whose exchange the queue may turn out to be another's; its revoke may come before that is known."""
        if self.queue.fenced:
            return
        self.queue.slot.lane.adaptive = Adaptive(100_000, 0.0)  # whoever was throttled has waited long enough
        chosen, _ = self.line.forwarder.choose(self.line.slots.values(), NOW)
        if revoked:
            self.revoke()
        self.queue.fenced = fenced
        self.exchange()
        Dispatcher._write(self.worker, chosen, time.time())
        for parts in self.port.written:
            self.on_the_way += parts
        self.port.written.clear()

    def fence(self) -> None:
        self.write(fenced=True)

    def fence_after_a_revoke(self) -> None:
        self.write(fenced=True, revoked=True)

    def answer(self) -> None:
        if some := self._some():
            statuses = [self.random.choice(_ANSWERS) for _ in some]
            self._answer(some, statuses)

    def silence(self) -> None:
        if some := self._some():
            self.unanswered += some
            self.line.settler.unanswered(some, NOW)

    def late(self) -> None:
        if self.unanswered:
            part = self.unanswered.pop(self.random.randrange(len(self.unanswered)))
            self.line.settler.late([LateResponse(part, 0, f"late-{part.number}")], NOW)

    def revoke(self) -> None:
        Dispatcher.release(self.worker, self.queue)

    def give(self) -> None:
        """The queue is ours again: its records come again, and what the ledger knows of them."""
        if self.queue.owned:
            return
        queue = self.queue
        queue.take(queue.entry.epoch + 1, 0)
        queue.recovered = dict(self.outcomes)
        queue.recover_before = queue.entry.intent = self.intent
        queue.owned = True
        begin(queue, self.records)

    def down(self) -> None:
        self.line.failover.down = {"a"}

    def up(self) -> None:
        self.line.failover.down = set()

    def exchange(self) -> None:
        """The ledger and the publisher hear of the turn; of a queue with another owner they take nothing."""
        queue, turn = self.queue, self.line.turn
        if not queue.fenced:
            self.line.exchange(NOW)
        turn.unwritten.clear()
        _, _, intent, outcomes, rewritten = queue.entry.taken()
        settled, turn.settled = turn.settled, []
        for flight, outcome in settled:
            if queue.flights.get(flight.offset) is flight:
                del queue.flights[flight.offset]
            if not queue.fenced:
                self.ends[flight.offset].append(outcome.kind)
        if not queue.fenced:
            self.intent = intent
            for n in range(0, len(outcomes), 3):
                self.outcomes[outcomes[n + 1]] = _decode(outcomes[n + 2])
            for offset in rewritten[1::2]:
                self.outcomes.pop(offset, None)

    # What has to be true.

    def check(self) -> None:
        """Each message that is not at its end waits for something that comes: an answer, or its turn."""
        for flight in self.queue.flights.values():
            if not flight.concluded:
                ready = sum(part.flight is flight for part in self.queue.ready)
                flying = sum(part.flight is flight for part in self.on_the_way)
                assert flight.flying == flying
                assert flight.left == ready + flying
                assert flying or (ready and self.queue.owned) or flight in self.line.turn.unwritten

    def calm(self) -> None:
        """Nobody disturbs any more, and all is accepted."""
        self.up()
        if self.queue.fenced:
            self.revoke()
        for _ in range(20):
            self.give()
            self.write()
            if self.on_the_way:
                parts, self.on_the_way = self.on_the_way, []
                self.port.in_flight -= len(parts)
                self._answer(parts, [CommandStatus.ESME_ROK] * len(parts))
            self.exchange()
        assert self.ends.keys() == set(range(_MESSAGES))
        assert self.queue.quiet
        assert not self.queue.ready

    # Private.

    def _some(self) -> list[Part]:
        some = [part for part in self.on_the_way if self.random.random() < 0.5]
        self.on_the_way = [part for part in self.on_the_way if part not in some]
        self.port.in_flight -= len(some)
        return some

    def _answer(self, parts: list[Part], statuses: list[CommandStatus]) -> None:
        self.line.settler.answers(
            [
                Response(part, status, "" if status else f"id-{part.number}")
                for part, status in zip(parts, statuses, strict=True)
            ],
            NOW,
        )


_EVENTS = (
    *("write", "write", "answer", "answer", "silence", "late", "exchange"),
    *("revoke", "give", "down", "up", "fence", "fence_after_a_revoke"),
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["otp", "bulk"]),
    st.sampled_from([1, 2, 10]),
    st.booleans(),
    st.lists(st.sampled_from(_EVENTS), max_size=40),
    st.randoms(use_true_random=False),
)
def test_no_schedule_leaves_a_message_behind(
    class_: str, window: int, routes: bool, schedule: list[str], random: Random
) -> None:
    """Long and short ones, of classes that send again and that report, with another lane and without."""
    history = History(class_, window, routes, random)
    for event in schedule:
        getattr(history, event)()
        history.check()
    history.calm()
