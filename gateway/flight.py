"""What a worker holds in memory of the messages that are on their way to a socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from gateway.ledger import Entry, Outcome
from gateway.model import Message, TrafficClass
from gateway.progress import Progress

if TYPE_CHECKING:
    from gateway.lane import Slot
    from gateway.providers.contract import Failure


class Part(msgspec.Struct, gc=False, eq=False):
    """What is written and answered at once: one submit_sm of a message, or all of it over HTTP; and where its answer belongs."""

    flight: Flight
    number: int
    body: Any
    written: float = 0.0
    """Monotonic seconds of its last write."""
    silent: bool = False
    """It was written before, and not answered."""


class Flight(msgspec.Struct, gc=False, eq=False):
    """One attempt at one message, from its record until its outcome is settled.

    Once one part has failed for good the rest of the message is worth nothing to anybody: what is not yet written is
    dropped. Not seen by the garbage collector: its queue holds it until it is settled, and nothing in it points to itself.
    """

    queue: Queue
    offset: int
    message: Message
    """The raw record, where it could not be read."""
    ids: list[str]
    """The provider's id of each part, empty while it has none."""
    left: int = 0
    """Parts without a final answer."""
    flying: int = 0
    """Parts that are written and not answered."""
    intended: bool = False
    opened: bool = False
    """The ledger says "certainly not under way": that has to be taken back before the next write."""
    in_doubt: bool = False
    """A part of it was written and will not be answered."""
    doubts: frozenset[int] = frozenset()
    """Which parts these are, of a message that no earlier owner may have written: when all are answered it is in no doubt."""
    concluded: bool = False
    stray: bool = False
    """In flight since before a rebalance gave its queue back to us, and its record has not come again yet."""
    written_at: float = 0.0
    """Unix time of the first write; 0 when that was an earlier owner's."""
    encoded_at: float = 0.0
    """Unix time, where its octets say how long it is good for."""
    admitted_at: float = 0.0
    """Unix time when its lane's own conditions let it go (lanes of WhatsApp); 0 while they have not."""
    placed: bool = False
    """It has one of the places of its portfolio."""
    had_place: bool = False
    """Its attempt had the place before: until it is claimed, the place may be that of the message that this is a copy of."""
    failure: Failure | None = None
    """Why a part was refused, of several the gravest; or all of it, before anything was written."""

    @property
    def doubtful(self) -> bool:
        """It may have been accepted without our knowing, now or at an earlier attempt."""
        return self.in_doubt or self.message.doubtful

    @property
    def gives_back(self) -> bool:
        """Whether its place is free when nothing of it is under way any more."""
        return self.placed and not self.in_doubt and (self.intended or not self.had_place)


class Queue:
    """One partition of one lane topic, as its owner sees it.

    records → (admitted: decoded, encoded) → ready → (written) → flights of the links → settled. Offsets are begun in
    `progress` when their record arrives and done when their events are in Kafka.
    """

    __slots__ = (
        "class_",
        "committed",
        "entry",
        "fenced",
        "flights",
        "limit",
        "line",
        "name",
        "owned",
        "progress",
        "ready",
        "records",
        "recover_before",
        "recovered",
        "served",
        "slot",
        "tp",
        "unsure",
    )

    def __init__(self, tp: TopicPartition, slot: Slot, class_: TrafficClass) -> None:
        self.tp = tp
        self.name = f"{tp.topic}:{tp.partition}"
        self.slot = slot
        self.class_ = class_
        self.records: deque[ConsumerRecord] = deque()
        self.ready: deque[Part] = deque()
        self.flights: dict[int, Flight] = {}
        self.progress = Progress(0)
        self.entry = Entry(self.name, 0)
        self.owned = False
        """Ours to forward; not so from a revoke until the assignment that gives it back."""
        self.fenced = False
        self.recovered: dict[int, Outcome] = {}
        self.recover_before = 0
        """Offsets below it may have been written by an earlier owner: `recovered` says what it knew of them."""
        self.unsure = False
        """The ledger was lost: `recover_before` is the most that may have been written, not what was."""
        self.committed = 0
        self.limit = slot.lane.span
        """No record from this offset on is admitted before more is committed."""
        self.served = 0.0
        """What it has been given, in its class's virtual time (`fair.py`)."""
        self.line = slot.lane.meter.line(class_)
        """How long what is `ready` has waited, for the metrics."""

    def __repr__(self) -> str:
        return (
            f"<Queue {self.name} records={len(self.records)} ready={len(self.ready)} flights={len(self.flights)}"
            f" {self.progress!r}>"
        )

    @property
    def quiet(self) -> bool:
        """Nothing of it is on its way: all that was written is settled, published and in the ledger."""
        return not self.flights and not self.entry.outcomes

    def keep(self, staying: Iterable[Part], now: float) -> None:
        """Let only these be ready: the others moved, stepped aside or ended."""
        self.ready = deque(staying)
        self.line.left(len(self.ready), now)

    def take(self, epoch: int, start: int) -> None:
        """Start afresh at the committed offset, as the ledger's owner of this epoch.

        What is still in flight stays in flight; its records will come again, and are known by their offsets.
        """
        self.records.clear()
        self.line.clear()
        self.progress = Progress(start)
        self.entry.epoch = epoch
        self.fenced = False
        self.advance(start)
        for flight in self.flights.values():
            flight.stray = True

    def advance(self, committed: int) -> None:
        """The group's offset is known to be here."""
        self.committed = committed
        self.limit = committed + self.slot.lane.span
