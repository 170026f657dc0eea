"""What one turn of the dispatcher has to tell the ledger and the publisher, gathered by settling and forwarding."""

from __future__ import annotations

from typing import Any

from gateway.flight import Flight, Queue
from gateway.ledger import Outcome

Settled = tuple[Flight, Outcome]

_MAY_ARRIVE = "sudq"
"""Outcomes after which a message may yet be delivered: itself, or the one that it is a copy of, whose place is the same."""


class Turn:
    """Emptied once a turn: by the exchange with the ledger, and, `settled`, by the publisher."""

    __slots__ = ("claimed", "claims", "doubts", "expired", "forgotten", "released", "rows", "settled", "touched")

    def __init__(self) -> None:
        self.settled: list[Settled] = []
        self.touched: dict[str, Queue] = {}
        """Queues whose entry has something for the ledger."""
        self.claimed: list[Flight] = []
        """What is written for the first time, in the order of `claims`."""
        self.claims: list[str] = []
        self.expired: list[Flight] = []
        """Too late to be written, if their claims are good."""
        self.rows: list[Any] = []
        self.doubts: list[Any] = []
        self.forgotten: list[str] = []
        self.released: list[Flight] = []
        """What gives back its place: it certainly reached nobody."""

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
