"""Lanes and slots as they live: what all slots of a lane share, and the bind with the queues of one slot."""

from __future__ import annotations

import time
from collections import Counter

from gateway import config
from gateway.flight import Queue
from gateway.inbox import Inbox
from gateway.model import TrafficClass
from gateway.providers.smpp import SmppEncoder, SmppPort
from ratelimit import TokenBucket


class Lane:
    """One contract, in this process: its tokens, its encoder, its pause after a throttle."""

    def __init__(self, lane: config.Lane) -> None:
        self.config = lane
        self.name = lane.name
        self.account = lane.account
        self.id_format = lane.message_id_format
        self.encoder = SmppEncoder(lane)
        # In UCS-2, where nothing else holds it, a part carries 67 code units, of which a character takes two at most.
        self.sure_to_fit = 33 * lane.max_parts if "ucs2" in lane.alphabets else 0
        """Length up to which a text needs no counting: it cannot take more parts than the lane allows."""
        # A second's worth at most: what is encoded has its validity_period in it.
        self.ahead = max(1, min(lane.window, int(lane.rate)))
        """Parts of a queue that are kept ready, beyond those that are written."""
        self.bucket = TokenBucket(lane.rate, int(lane.burst), time.monotonic())
        self.hold_until = 0.0
        """Monotonic time before which nothing is written: the operator asked for less."""
        self.refusals: Counter[str] = Counter()
        """Refused parts by code."""

    def share(self, slots: int, now: float) -> None:
        """Take the rate of as many slots as this process owns: each slot has one owner, so all together keep the contract."""
        lane = self.config
        part = slots / lane.slots
        self.bucket.set_rate(lane.rate * part, now, max(1, int(lane.burst * part)))

    def refused(self, code: str) -> None:
        self.refusals[code] += 1


class Slot:
    """One of the parallel shares of a lane: a bind, and the queues of the lane's classes, most urgent first."""

    def __init__(self, lane: Lane, index: int, inbox: Inbox) -> None:
        self.lane = lane
        self.index = index
        self.port = SmppPort(lane.config, inbox, lane.account)
        self.queues: list[Queue] = []

    def __repr__(self) -> str:
        return f"<Slot {self.lane.name}/{self.index} bound={self.port.bound} {self.queues!r}>"

    def queue(self, queue: Queue) -> None:
        """Add the queue of one more class."""
        order = list(TrafficClass)
        self.queues.append(queue)
        self.queues.sort(key=lambda one: order.index(one.class_))
