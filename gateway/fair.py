"""Who is next on a slot: urgent classes first with a reserve for the others, and tenants of a class in turn.

Pure. A class waits in a few queues, among which tenants are spread by a hash (stochastic fair queueing): whoever has a million
waiting shares his queue with few, and delays the others' queues no more than his weight says. The queues of a class are served
by virtual time: next is the one that has been given least, in parts divided by the weight of their tenant.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from gateway.model import TrafficClass

_RUN = 4
"""Parts that a queue is given before the next has its turn: fewer would cost more than all the rest, more is less fair."""


class Waiting(Protocol):
    """What is asked of a queue: a place to note what it has been given so far."""

    class_: TrafficClass
    served: float


Q = TypeVar("Q", bound=Waiting)


def queue_of(tenant: str, queues: int) -> int:
    """Which of its class's queues a tenant waits in; the same in every process."""
    return zlib.crc32(tenant.encode()) % queues if queues > 1 else 0


class Turns:
    """The order of one slot's queues. `reserve` is the share that a class keeps while more urgent ones are waiting."""

    __slots__ = ("_clock", "_credit", "_reserve", "weights")

    def __init__(self, reserve: Mapping[TrafficClass, float], weights: Mapping[str, int | float]) -> None:
        self._reserve = reserve
        self.weights = weights
        self._credit = dict.fromkeys(TrafficClass, 0.0)
        self._clock = dict.fromkeys(TrafficClass, 0.0)

    def configure(self, reserve: Mapping[TrafficClass, float], weights: Mapping[str, int | float]) -> None:
        """Go on with other reserves and weights; who was given what is not forgotten."""
        self._reserve = reserve
        self.weights = weights

    def shares(self, waiting: Mapping[TrafficClass, int], granted: int) -> list[tuple[TrafficClass, int]]:
        """Divide `granted` parts among classes, most urgent first, none of them more than it has waiting."""
        kept = {}
        left = granted
        # A class is owed its reserve of every part that somebody more urgent may take from it.
        for class_, ready in list(waiting.items())[1:]:
            credit = self._credit[class_] + self._reserve.get(class_, 0.0) * granted
            own = kept[class_] = min(int(credit), ready, left)
            left -= own
            # What it has no use for it does not save up; what did not fit into this grant is owed.
            self._credit[class_] = credit - own if own < ready else 0.0
        for class_ in self._credit.keys() - kept.keys():
            self._credit[class_] = 0.0
        shares = []
        for class_, ready in waiting.items():
            own = kept.get(class_, 0)
            share = own + min(left, ready - own)
            left -= share - own
            if share:
                shares.append((class_, share))
            if share > own:  # beyond its reserve it had it for nothing: no debt, and no claim left either
                self._credit[class_] = 0.0
        return shares

    def next(self, queues: Sequence[Q], most: int) -> tuple[Q, int]:
        """Return which of the queues of one class (those with something ready) is next, and how many parts it may have."""
        class_ = queues[0].class_
        clock = self._clock[class_]
        if len(queues) > 1:
            most = min(most, _RUN)
            chosen = min(queues, key=lambda queue: max(queue.served, clock))
        else:
            chosen = queues[0]
        # Who had nothing waiting meanwhile has saved nothing up.
        chosen.served = self._clock[class_] = max(chosen.served, clock)
        return chosen, most

    def took(self, queue: Waiting, parts: int, tenant: str) -> None:
        """Note what a queue was given."""
        queue.served += parts / self.weights.get(tenant, 1)
