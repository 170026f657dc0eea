"""What the events say so far, counted for the screen and the report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateway.demo.script import Script
from gateway.model import FINAL, Event, EventStatus


class Tally:
    """Counts each event once, however often it comes. `counts` is by lane and status; lane "" is none."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.planned = Counter(message.lane for message in script.messages.values())
        self.counts: Counter[tuple[str, EventStatus]] = Counter()
        self.reasons: Counter[tuple[str, EventStatus, str]] = Counter()
        """By lane, status and error code."""
        self.attempts: Counter[str] = Counter()
        """Second and later ones that were accepted, by lane."""
        self.parts: Counter[str] = Counter()
        """Accepted, by lane."""
        self.in_flight: Counter[str] = Counter()
        """Messages accepted of which nobody has told the end, by lane."""
        self.ended: Counter[str] = Counter()
        """Messages with a final state, by lane; one that was delivered and then read is one."""
        self.repeated = 0
        """Events that came again."""
        self.jobs = 0
        self._seen: set[str] = set()
        self._open: set[str] = set()
        self._ended: set[str] = set()

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.event_id in self._seen:
                self.repeated += 1
                continue
            self._seen.add(event.event_id)
            if event.status is EventStatus.ACCEPTED:
                self.jobs += 1
                continue
            self.counts[event.lane, event.status] += 1
            if event.error_code:
                self.reasons[event.lane, event.status, event.error_code] += 1
            if event.status is EventStatus.SUBMITTED:
                self.parts[event.lane] += event.parts
                self.attempts[event.lane] += event.attempt > 1
                self.in_flight[event.lane] += 1
                self._open.add(event.message_id)
            elif event.status in FINAL and event.message_id not in self._ended:
                self.ended[event.lane] += 1
                self._ended.add(event.message_id)
                if event.message_id in self._open:
                    self.in_flight[event.lane] -= 1

    def of(self, *statuses: EventStatus, lane: str | None = None) -> int:
        """How many messages are in one of `statuses`, of one lane or of all."""
        return sum(
            count for (name, status), count in self.counts.items() if status in statuses and lane in (None, name)
        )

    @property
    def final(self) -> int:
        """How many messages have a final state."""
        return len(self._ended)

    @property
    def complete(self) -> bool:
        """Whether all that has to come has come; what comes beyond it is for the account to say."""
        script = self.script
        return (
            self.final >= len(script.messages)
            and self.of(EventStatus.DUPLICATE) >= script.copies
            and self.jobs >= script.jobs
        )
