"""What one turn of the dispatcher has to tell the ledger and the publisher, gathered by settling and forwarding."""

from __future__ import annotations

from typing import Any

from gateway.correlation import attempt_key
from gateway.flight import Flight, Queue
from gateway.ledger import Outcome

Settled = tuple[Flight, Outcome]

_MAY_ARRIVE = "sudq"
"""Outcomes after which a message may yet be delivered: itself, or the one that it is a copy of, whose place is the same."""


class Turn:
    """Emptied once a turn: by the exchange with the ledger, and, `settled`, by the publisher."""

    __slots__ = ("claimed", "claims", "doubts", "forgotten", "released", "rows", "settled", "touched", "unwritten")

    def __init__(self) -> None:
        self.settled: list[Settled] = []
        self.touched: dict[str, Queue] = {}
        """Queues whose entry has something for the ledger."""
        self.claimed: list[Flight] = []
        """What is written for the first time, or not at all, in the order of `claims`."""
        self.claims: list[str] = []
        self.unwritten: list[Flight] = []
        """Refused, or too late to be written, if their claims are good."""
        self.rows: list[Any] = []
        self.doubts: list[Any] = []
        self.forgotten: list[str] = []
        self.released: list[Flight] = []
        """What gives back its place: it certainly reached nobody."""

    def claim(self, flight: Flight) -> None:
        """This attempt is about to be written, or to end: whoever had it before has said what became of it."""
        message = flight.message
        self.claimed.append(flight)
        self.claims += (attempt_key(message), f"{message.source}|{flight.queue.name}:{flight.offset}")

    def settle(self, flight: Flight, outcome: Outcome) -> None:
        """The end of an attempt: for the ledger, then for the publisher."""
        queue = flight.queue
        flight.concluded = True
        if outcome.kind not in _MAY_ARRIVE and flight.gives_back:
            self.released.append(flight)
        queue.flights[flight.offset] = flight
        queue.entry.settle(flight.offset, outcome)
        self.touched[queue.name] = queue
        self.settled.append((flight, outcome))

    def open(self, flight: Flight, now: float) -> None:
        """Certainly not under way, and known to the ledger as that until it is written (again)."""
        queue = flight.queue
        queue.entry.settle(flight.offset, Outcome("o", now, tuple(flight.ids), parts=len(flight.ids)))
        self.touched[queue.name] = queue
