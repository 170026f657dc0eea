"""Lanes and slots as they live: what all slots of a lane share, and the bind with the queues of one slot."""

from __future__ import annotations

import logging
import time
from math import inf

from gateway.carrier import AnyLane, carrier_of
from gateway.fair import Turns
from gateway.flight import Flight, Queue
from gateway.gate import Gate
from gateway.http_lane_config import HttpLane
from gateway.inbox import Answer, Inbox
from gateway.ledger import BLOCK
from gateway.metrics.count import Tally
from gateway.metrics.meters import LaneMeter
from gateway.model import TrafficClass
from gateway.number import Number
from gateway.providers.contract import Failure, storable
from gateway.whatsapp_lane_config import WhatsAppLane
from ratelimit import SLICE_S, Adaptive, Bucket, Chain, Lease, TokenBucket

log = logging.getLogger("gateway.lane")

_LEAST_SPAN, _MOST_SPAN = 4 * BLOCK, 32 * BLOCK
"""Of offsets, see `Lane.span`."""
_HOLD_S = 600.0
"""Of a sender that is refused, where nobody says for how long."""


class Lane:
    """One contract, in this process: its share of the rate, how it gives way to its operator, and its encoder."""

    def __init__(self, lane: AnyLane, now: float) -> None:
        """`now`, here and below, is monotonic seconds."""
        self.config = lane
        self.name = lane.name
        self.account = lane.account
        self.carrier = carrier_of(lane)
        self.lease = Lease(lane.name, *_limit(lane))
        """This process's share of the contract: all processes together keep it."""
        self.adaptive = Adaptive(lane.rate, now, **_manner(lane))
        self._brake = TokenBucket(0, 1, now)
        self._braked: Bucket = Chain([self.lease, self._brake])
        self.gate = Gate(lane.caps, lane.max_parts, lane.sender)
        self.number: Number | None = None
        """Of a lane of WhatsApp."""
        self.stopped = ""
        """Why nothing is sent until somebody has looked; empty while it is."""
        self.limit = inf
        """Parts per second that people have asked for, of all processes together; 0 is a pause."""
        self.refusals = Tally()
        """Refused parts by code."""
        self.round_trip_s = 0.0
        """How long an answer takes, of late."""
        self.meter = LaneMeter(lane.classes)
        self._set_ahead()

    def reconfigure(self, lane: AnyLane, now: float) -> None:
        """Go on with what may change while it runs: rate and burst, how it gives way, caps, weights, errors."""
        self.config = lane
        self.lease.set_limit(*_limit(lane), now)
        self.adaptive.set_contract(lane.rate, now)
        self.adaptive.configure(now, **_manner(lane))
        self.carrier.reconfigure(lane)
        self.stopped = ""
        self._set_ahead()

    def take_number(self, number: Number) -> None:
        """Be the lane of a number of WhatsApp."""
        self.number = number
        self.gate.pairs = number.pairs
        self.gate.open = self.gate.open and number.pairs is None

    def share(self, slots: int, now: float) -> None:
        """Note how many of the lane's slots this process owns: caps are divided by them."""
        self.gate.configure(self.config.caps, slots / self.config.slots, now)

    def taken_over(self, now: float) -> None:
        """Note that slots came from elsewhere: how often each person was written to there is not known."""
        if self.gate.pairs is not None:
            self.gate.pairs.taken_over(now)

    def tokens(self, now: float) -> Bucket:
        """Return what grants parts now: the lease, and where the operator or people have asked for less, a brake on it."""
        contract = self.config.rate
        rate = 0.0 if self.stopped else min(self.adaptive.rate(now), self.limit)
        if self.number is not None:
            rate = min(rate, self.number.rate())
        if rate >= contract:
            return self.lease
        part = rate / contract
        self._brake.set_rate(self.lease.rate * part, now, max(1, int(self.lease.burst * part)))
        return self._braked

    def wait(self, now: float, parts: int) -> float:
        """Return the seconds after which to ask again for so many tokens; infinite only while the lane is paused or stopped."""
        if self.stopped or not self.config.rate or not self.limit:
            return inf
        tokens = self.tokens(now)
        # What is spoken for will be taken this turn: beyond a whole burst of it a wait would be none, and the next turn empty.
        beyond = max(0, parts - tokens.burst) / (self.lease.rate or 1.0)
        # Whoever gives way, or has no share yet, has no rate at the moment, and nobody says when there is one again.
        return min(SLICE_S, tokens.wait(now, parts) + beyond)

    def failure(self, answer: Answer, now: float) -> Failure:
        """Return what an answer that is no acceptance asks for, and count it."""
        failure = storable(self.carrier.failure(answer, now))
        self.refusals.add(failure.code)
        return failure

    def answered(self, answers: int, latency_s: float, now: float) -> None:
        """Note a batch of answers, and how long the first of them took."""
        self.carrier.answered(answers, now)
        self.meter.round_trip.observe(latency_s, answers)
        self.round_trip_s += (latency_s - self.round_trip_s) / 4
        if self.config.adaptive.latency:
            self.adaptive.answered(answers, latency_s, now)

    def hold(self, flight: Flight, failure: Failure, now: float) -> Failure:
        """Let what a message has been held for wait: its template or number, where Meta says so, else its sender.

        Returns what that asks for of the message itself.
        """
        if self.number is not None:
            return self.number.held(flight.message, failure, flight.written_at)
        self.gate.hold("sender", flight.message.sender, now + (failure.after or _HOLD_S))
        return failure

    def throttled(self, failure: Failure, written: float, now: float) -> None:
        """Give way: however many of a window bounce, that counts once."""
        self.meter.throttled += 1
        self.adaptive.throttled(written, now, failure.after)

    def stop(self, failure: Failure) -> None:
        """Send nothing until somebody has looked: a reload lets it go on.

        So does a restart, unless it is the number that Meta has stopped: see `Number.stopped`.
        """
        if not self.stopped:
            self.stopped = failure.code
            log.critical("lane stopped, a person has to look lane=%s code=%s", self.name, failure.code)
            if self.number is not None:
                self.number.stopped(failure, time.time())

    def reconnected(self, now: float) -> None:
        """A bind is up again: begin slowly, if the lane says so."""
        self.meter.binds += 1
        self.adaptive.restarted(now)

    def _set_ahead(self) -> None:
        # A second's worth at most: what is encoded has its validity_period in it.
        self.ahead = max(1, min(self.config.window, int(self.config.rate)))
        """Parts of a queue that are kept ready, beyond those that are written."""
        self.span = int(min(_MOST_SPAN, max(_LEAST_SPAN, 2 * self.config.rate * _patience_s(self.config))))
        """Offsets of one queue that may be admitted beyond the committed one. Should the ledger ever be lost, no more than
        these can have been written; and a message that is never answered holds up no other while it is waited for, unless
        the others are more than `_MOST_SPAN`: of one bind at 10,000 a second after 26 s. More in doubt would be worse."""


class Slot:
    """One of the parallel shares of a lane: a bind, and the queues of the lane's classes, most urgent first."""

    def __init__(self, lane: Lane, index: int, inbox: Inbox) -> None:
        self.lane = lane
        self.index = index
        self.port = lane.carrier.port(inbox, lambda: lane.reconnected(time.monotonic()))
        # What carriers and their providers share is of the lane's beginning: the window may have changed since.
        self.port.set_window(lane.config.window)
        self.turns = Turns(lane.config.reserve, lane.config.weights)
        self.queues: list[Queue] = []
        self.served = 0
        """In which turn of the dispatcher it was last given tokens."""

    def __repr__(self) -> str:
        return f"<Slot {self.lane.name}/{self.index} bound={self.port.bound} {self.queues!r}>"

    def reconfigure(self) -> None:
        """Go on with the lane's window, reserves and weights as they are now."""
        config = self.lane.config
        self.port.set_window(config.window)
        self.turns.configure(config.reserve, config.weights)

    def queue(self, queue: Queue) -> None:
        """Add one more queue of a class."""
        order = list(TrafficClass)
        self.queues.append(queue)
        self.queues.sort(key=lambda one: (order.index(one.class_), one.name))


def _patience_s(lane: AnyLane) -> float:
    """How long an answer may take."""
    if not isinstance(lane, HttpLane):
        return lane.response_timeout_s
    patience_s: float = lane.settings.accept_timeout_s if lane.provider == "smtp" else lane.http.timeout_s
    return patience_s


def _limit(lane: AnyLane) -> tuple[float, int]:
    """Rate and burst of the lease. Meta counts every second: what bunches up is taken off the rate of a number."""
    if isinstance(lane, WhatsAppLane):
        # What comes in a turn of a busy worker must fit into it: of 60 ms. A share of less than a token is none, and one of one
        # token loses what comes while it is spoken for.
        burst = max(1, int(lane.rate * 0.06), min(2 * lane.slots, int(lane.rate * 0.08)))
        # One at a time and up to one a second is never two in a second: from such a rate nothing need be taken off.
        return max(min(1.0, lane.rate), lane.rate - burst), burst
    return lane.rate, int(lane.burst)


def _manner(lane: AnyLane) -> dict[str, float]:
    """How it gives way, in the words of `Adaptive`."""
    how = lane.adaptive
    return {
        "cut": how.cut,
        "recover_s": how.recover_s,
        "floor": how.floor,
        "hold_s": lane.throttle_pause_s,
        "ramp_s": lane.quiet_s,
    }
