"""Lanes and slots as they live: what all slots of a lane share, and the bind with the queues of one slot."""

from __future__ import annotations

import logging
import time
from collections import Counter

from gateway import config
from gateway.fair import Turns
from gateway.flight import Queue
from gateway.gate import Gate
from gateway.inbox import Inbox
from gateway.model import TrafficClass
from gateway.providers.contract import Failure
from gateway.providers.smpp import SmppEncoder, SmppPort
from gateway.providers.smpp_errors import Crowding, ErrorTable
from ratelimit import Bucket, Chain, TokenBucket
from ratelimit.adaptive import Adaptive
from ratelimit.lease import Lease
from smpp.constants import CommandStatus

log = logging.getLogger("gateway.lane")


class Lane:
    """One contract, in this process: its share of the rate, how it gives way to its operator, and its encoder."""

    def __init__(self, lane: config.Lane, now: float) -> None:
        """`now`, here and below, is monotonic seconds."""
        self.config = lane
        self.name = lane.name
        self.account = lane.account
        self.id_format = lane.message_id_format
        self.encoder = SmppEncoder(lane)
        # In UCS-2, where nothing else holds it, a part carries 67 code units, of which a character takes two at most.
        self.sure_to_fit = 33 * lane.max_parts if "ucs2" in lane.alphabets else 0
        """Length up to which a text needs no counting: it cannot take more parts than the lane allows."""
        self.lease = Lease(lane.name, lane.rate, int(lane.burst))
        """This process's share of the contract: all processes together keep it."""
        self.adaptive = _adaptive(lane, now)
        self._brake = TokenBucket(0, 1, now)
        self._braked: Bucket = Chain([self.lease, self._brake])
        self.gate = Gate(lane.caps)
        self.errors = ErrorTable(lane)
        self._crowding = Crowding()
        self.stopped = ""
        """Why nothing is sent until somebody has looked; empty while it is."""
        self.refusals: Counter[str] = Counter()
        """Refused parts by code."""
        self._set_ahead()

    def reconfigure(self, lane: config.Lane, now: float) -> None:
        """Go on with what may change while it runs: rate and burst, how it gives way, caps, weights, errors."""
        if (lane.adaptive, lane.quiet_s) != (self.config.adaptive, self.config.quiet_s):
            self.adaptive = _adaptive(lane, now)
        self.config = lane
        self.lease.set_limit(lane.rate, int(lane.burst), now)
        self.adaptive.set_contract(lane.rate, now)
        self.errors = ErrorTable(lane)
        self.stopped = ""
        self._set_ahead()

    def admits(self, purpose: str) -> bool:
        """Whether messages for such a purpose may go over this lane."""
        return True

    def share(self, slots: int, now: float) -> None:
        """Note how many of the lane's slots this process owns: caps are divided by them."""
        self.gate.configure(self.config.caps, slots / self.config.slots, now)

    def tokens(self, now: float) -> Bucket:
        """Return what grants parts now: the lease, and where the operator has asked for less, a brake on it."""
        contract = self.config.rate
        rate = 0.0 if self.stopped else self.adaptive.rate(now)
        if rate >= contract:
            return self.lease
        part = rate / contract
        self._brake.set_rate(self.lease.rate * part, now, max(1, int(self.lease.burst * part)))
        return self._braked

    def failure(self, command_status: int, now: float) -> Failure:
        """Return what a status asks for, and count it."""
        crowded = command_status == CommandStatus.ESME_RMSGQFUL and self._crowding.crowded(now)
        failure = self.errors.failure(command_status, crowded)
        self.refusals[failure.code] += 1
        return failure

    def answered(self, answers: int, queue_full: int, latency_s: float, now: float) -> None:
        """Note a batch of answers: how many said that a queue is full, and how long the first took."""
        self._crowding.note(answers, queue_full, now)
        if self.config.adaptive.latency:
            self.adaptive.answered(answers, latency_s, now)

    def throttled(self, failure: Failure, now: float) -> None:
        """Give way: however many of a window bounce, that counts once."""
        self.adaptive.throttled(now, failure.after)

    def stop(self, failure: Failure) -> None:
        """Send nothing until somebody has looked: a reload, or a restart, lets it go on."""
        if not self.stopped:
            self.stopped = failure.code
            log.critical("lane stopped, a person has to look lane=%s code=%s", self.name, failure.code)

    def reconnected(self, now: float) -> None:
        """A bind is up again: begin slowly, if the lane says so."""
        self.adaptive.restarted(now)

    def _set_ahead(self) -> None:
        # A second's worth at most: what is encoded has its validity_period in it.
        self.ahead = max(1, min(self.config.window, int(self.config.rate)))
        """Parts of a queue that are kept ready, beyond those that are written."""


class Slot:
    """One of the parallel shares of a lane: a bind, and the queues of the lane's classes, most urgent first."""

    def __init__(self, lane: Lane, index: int, inbox: Inbox) -> None:
        self.lane = lane
        self.index = index
        self.port = SmppPort(lane.config, inbox, lambda: lane.reconnected(time.monotonic()))
        self.turns = _turns(lane.config)
        self.queues: list[Queue] = []

    def __repr__(self) -> str:
        return f"<Slot {self.lane.name}/{self.index} bound={self.port.bound} {self.queues!r}>"

    def reconfigure(self) -> None:
        """Go on with the lane's window, reserves and weights as they are now."""
        self.port.set_window(self.lane.config.window)
        self.turns = _turns(self.lane.config)

    def queue(self, queue: Queue) -> None:
        """Add one more queue of a class."""
        order = list(TrafficClass)
        self.queues.append(queue)
        self.queues.sort(key=lambda one: (order.index(one.class_), one.name))


def _turns(lane: config.Lane) -> Turns:
    return Turns(lane.reserve, lane.weights)


def _adaptive(lane: config.Lane, now: float) -> Adaptive:
    how = lane.adaptive
    return Adaptive(
        lane.rate,
        now,
        cut=how.cut,
        recover_s=how.recover_s,
        floor=how.floor,
        hold_s=lane.throttle_pause_s,
        ramp_s=lane.quiet_s,
    )
