"""How a worker and its lanes are at this moment, as values: what `/lanes`, `/metrics` and `recado top` show. Pure reading.

Counts are since the process began; whoever wants a rate looks twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gateway.app import Worker
    from gateway.flight import Queue
    from gateway.lane import Lane, Slot
    from gateway.metrics.machinery import Backlog


class SlotStatus(Struct, frozen=True, kw_only=True):
    """A bind, or a share of the requests to a provider over HTTP."""

    slot: int
    up: bool
    reason: str
    """Why it is not, empty while it is."""
    window: int
    in_flight: int


class QueueStatus(Struct, frozen=True, kw_only=True):
    """What waits for one slot in one class, its fair queues taken together."""

    slot: int
    class_: str
    backlog: int
    """In Kafka and not finished."""
    oldest_s: float
    """How long the first that is not written has waited, of what came back since its first write; 0 when there is none."""
    buffered: int
    """Fetched and not written."""
    unsettled: int
    fenced: bool


class LaneStatus(Struct, frozen=True, kw_only=True):
    """One lane, as far as this worker has a part in it; rates are in parts per second."""

    lane: str
    provider: str
    channel: str
    account: str
    contract_rate: float
    """0 is a pause."""
    share_rate: float
    effective_rate: float
    level: float
    """Share of the contract that it uses after complaints and slow starts."""
    tokens: int
    limit_rate: float | None
    """What somebody has asked for; 0 is a pause."""
    stopped: str
    """The code for which it was stopped, empty while it was not."""
    down: bool
    written: int
    outcomes: Mapping[str, int]
    refused: Mapping[str, int]
    slots: tuple[SlotStatus, ...]
    queues: tuple[QueueStatus, ...]
    quality: str = ""
    """Of a number of WhatsApp: GREEN, YELLOW, RED or UNKNOWN."""

    @property
    def paused(self) -> bool:
        return 0 in (self.contract_rate, self.limit_rate)


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """All that one process has."""

    version: str
    deployment: str
    """Prefix of the topics and consumer group: what all processes have in common that share their lanes."""
    problems: tuple[str, ...]
    """Why it cannot carry messages now."""
    jobs_backlog: int
    held: tuple[str, ...]
    """Campaigns and templates that somebody has paused: `campaign banco/nov`, `template meta/otp/es`."""
    lanes: tuple[LaneStatus, ...]


def read(worker: Worker, backlog: Backlog, now: float, monotonic: float) -> WorkerStatus:
    """Look at a worker; `now` is Unix time."""
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (name, _, outcome), count in worker.publisher.counts.items():
        outcomes[name][outcome] += count
    return WorkerStatus(
        version=version("recado"),
        deployment=worker.config.kafka.deployment,
        problems=tuple(worker.problems()),
        jobs_backlog=backlog.unread(worker.config.kafka.jobs_topic) + worker.intake.in_hand,
        held=worker.controls.held,
        lanes=tuple(
            _lane(worker, lane, backlog, outcomes[lane.name], now, monotonic) for lane in worker.lanes.values()
        ),
    )


def _lane(
    worker: Worker,
    lane: Lane,
    backlog: Backlog,
    outcomes: Mapping[str, int],
    now: float,
    monotonic: float,
) -> LaneStatus:
    slots = [slot for (name, _), slot in worker.dispatcher.slots.items() if name == lane.name]
    contract = lane.config.rate
    adapted = lane.adaptive.rate(monotonic)
    rate = 0.0 if lane.stopped else min(adapted, lane.limit)
    if lane.number is not None:
        rate = min(rate, lane.number.rate())
    return LaneStatus(
        lane=lane.name,
        provider=lane.config.provider,
        channel=lane.config.channel,
        account=lane.account,
        contract_rate=contract,
        share_rate=lane.lease.rate,
        effective_rate=lane.lease.rate * min(1.0, rate / contract) if contract else 0.0,
        level=adapted / contract if contract else 1.0,
        tokens=lane.tokens(monotonic).available(monotonic),
        limit_rate=lane.limit if lane.limit < contract else None,
        stopped=lane.stopped,
        down=lane.name in worker.failover.down,
        written=lane.meter.written,
        outcomes=dict(outcomes),
        refused=dict(lane.refusals),
        slots=tuple(_slot(slot) for slot in slots),
        queues=tuple(status for slot in slots for status in _queues(slot, backlog, now)),
        quality=lane.number.quality if lane.number else "",
    )


def _slot(slot: Slot) -> SlotStatus:
    port = slot.port
    reason = port.down_reason or ("" if port.bound else "unknown")
    return SlotStatus(
        slot=slot.index,
        up=not reason,
        reason=reason,
        window=slot.lane.config.window,
        in_flight=port.in_flight,
    )


def _queues(slot: Slot, backlog: Backlog, now: float) -> list[QueueStatus]:
    of_class: defaultdict[str, list[Queue]] = defaultdict(list)
    for queue in slot.queues:
        of_class[queue.class_.value].append(queue)
    return [
        QueueStatus(
            slot=slot.index,
            class_=class_,
            backlog=sum(backlog.waiting(queue) for queue in queues),
            oldest_s=max(_oldest(queue, now) for queue in queues),
            buffered=sum(len(queue.records) + len(queue.ready) for queue in queues),
            unsettled=sum(len(queue.flights) for queue in queues),
            fenced=any(queue.fenced for queue in queues),
        )
        for class_, queues in of_class.items()
    ]


def _oldest(queue: Queue, now: float) -> float:
    since = queue.line.oldest()
    if since is None and queue.records:
        since = queue.records[0].timestamp / 1000
    if queue.ready and (written_at := queue.ready[0].flight.written_at):
        # It bounced, and has left the line of those that were never written: at least it has waited since then.
        since = written_at if since is None else min(since, written_at)
    return 0.0 if since is None else max(0.0, now - since)
