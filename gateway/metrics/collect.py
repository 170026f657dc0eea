"""The table's metrics, read from a worker when somebody asks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from gateway import status
from gateway.errors import DeadKind
from gateway.metrics.count import Histogram
from gateway.metrics.machinery import Backlog, LoopLag
from gateway.metrics.table import METRICS, Metric
from gateway.metrics.whatsapp import Sample
from gateway.metrics.whatsapp import samples as of_whatsapp

if TYPE_CHECKING:
    from gateway.app import Worker

_REASON = 32
"""Characters; the kinds of reasons that we make are shorter."""


class WorkerCollector(Collector):
    """The metrics of one worker."""

    def __init__(self, worker: Worker, backlog: Backlog, lag: LoopLag) -> None:
        self._worker = worker
        self._backlog = backlog
        self._lag = lag

    def collect(self) -> Iterable[Family]:
        now = time.time()
        worker = self._worker
        read = status.read(worker, self._backlog, now, time.monotonic())
        simple = {name: _simple(metric) for name, metric in METRICS.items() if metric.kind != "histogram"}
        numbers = [(name, lane.number) for name, lane in worker.lanes.items() if lane.number is not None]
        meta = of_whatsapp(worker.meta.board.conditions, numbers, now)
        for name, labels, value in (*_of_status(read), *self._of_stages(), *self._of_webhooks(), *meta):
            simple[name].add_metric(labels, value)
        histograms = {
            name: HistogramMetricFamily(name, metric.text, labels=metric.labels)
            for name, metric in METRICS.items()
            if metric.kind == "histogram"
        }
        for name, labels, histogram in self._histograms():
            histograms[name].add_metric(labels, _cumulated(histogram), histogram.total)
        return [*simple.values(), *histograms.values()]

    def _of_stages(self) -> Iterator[Sample]:
        worker = self._worker
        intake, publisher, delay = worker.intake.counts, worker.publisher, worker.delay
        yield "recado_intake_recipients", ("accepted",), intake["messages"]
        yield "recado_intake_recipients", ("rejected",), intake["rejected"]
        if held_by := worker.intake.held_by:
            yield "recado_intake_held", (held_by,), 1
        for kind in get_args(DeadKind):
            yield "recado_dead_letters", (kind,), worker.intake.dead[kind]
        dead = sum(count for (_, _, outcome), count in publisher.counts.items() if outcome == "dead")
        yield "recado_dead_letters", ("message",), dead
        for (lane, class_, outcome), count in {**self._from_zero(), **publisher.counts}.items():
            yield "recado_messages_settled", (lane, class_, outcome), count
        for (lane, outcome), codes in publisher.troubles.items():
            for code, count in codes.items():
                yield "recado_attempts_troubled", (lane, outcome, code), count
        for result, count in worker.inbound.counts.items():
            yield "recado_inbound", (result,), count
        for (account, result), count in worker.receipts.of_account.items():
            yield "recado_receipts", (account, result), count
        yield "recado_deliveries_deferred", (), worker.inbox.deferred
        yield "recado_deliveries_waiting", (), worker.inbox.waiting
        yield "recado_peer_nonsense", (), worker.inbox.nonsense
        yield "recado_delay_held", (), delay.held
        for result in ("climbed", "due"):
            yield "recado_delay_records", (result,), delay.counts[result]
        for rung in worker.config.delay.rungs_s:
            unread = self._backlog.unread(worker.config.kafka.delay_topic(rung))
            yield "recado_delay_backlog", (str(rung),), unread
        yield "recado_publisher_waiting", (), publisher.waiting
        yield "recado_store_failures", (), worker.store.calls.failures
        yield "recado_store_away", (), worker.store_away
        for error, count in worker.outbox.failures.items():
            yield "recado_kafka_failures", (error,), count
        yield "recado_kafka_away", (), bool(worker.outbox.away)
        for (action, result), count in worker.controls.counts.items():
            yield "recado_actions", (action, result), count
        for name, shared in worker.lanes.items():
            yield "recado_parts_throttled", (name,), shared.meter.throttled
            yield "recado_binds", (name,), shared.meter.binds
            yield "recado_ledgers_lost", (name,), shared.meter.ledgers_lost

    def _from_zero(self) -> dict[tuple[str, str, str], int]:
        """Outcomes that alerts watch, before there is one: what a counter begins with is no increase to Prometheus."""
        return {
            (lane.name, class_.value, outcome): 0
            for lane in self._worker.lanes.values()
            for class_ in lane.meter.waited
            for outcome in ("submitted", "failed", "unknown", "retry")
        }

    def _of_webhooks(self) -> Iterator[Sample]:
        webhooks = self._worker.webhooks
        for (lane, result), count in webhooks.counts.items():
            yield "recado_webhooks", (lane, result), count
        for (lane, kind), count in webhooks.contents.items():
            yield "recado_webhook_contents", (lane, kind), count
        unknown: Counter[str] = Counter()
        for (lane, _), count in webhooks.unknown.items():
            unknown[lane] += count
        for lane, count in unknown.items():
            yield "recado_webhook_contents", (lane, "unknown"), count
        yield "recado_webhook_octets", (), webhooks.octets

    def _histograms(self) -> Iterator[tuple[str, tuple[str, ...], Histogram]]:
        worker = self._worker
        yield "recado_intake_seconds", (), worker.intake.seconds
        yield "recado_settle_batch_messages", (), worker.publisher.batches
        yield "recado_ledger_exchange_seconds", (), worker.ledger.seconds
        yield "recado_store_call_seconds", (), worker.store.calls.seconds
        yield "recado_kafka_produce_seconds", (), worker.outbox.seconds
        yield "recado_event_loop_lag_seconds", (), self._lag.seconds
        for name, delays in worker.receipts.delays.items():
            yield "recado_receipt_delay_seconds", (name,), delays
        for lane in worker.lanes.values():
            meter = lane.meter
            yield "recado_provider_round_trip_seconds", (lane.name,), meter.round_trip
            for class_ in meter.waited:
                yield "recado_queue_wait_seconds", (lane.name, class_.value), meter.waited[class_]
                yield "recado_pace_seconds", (lane.name, class_.value), meter.paced[class_]


def _of_status(read: status.WorkerStatus) -> Iterator[Sample]:
    yield "recado_worker", (read.version,), 1
    yield "recado_jobs_backlog", (), read.jobs_backlog
    for kind in ("campaign", "template"):
        yield "recado_holds", (kind,), sum(held.startswith(kind) for held in read.held)
    for lane in read.lanes:
        name = (lane.lane,)
        yield "recado_lane_contract_rate", name, lane.contract_rate
        yield "recado_lane_share_rate", name, lane.share_rate
        yield "recado_lane_effective_rate", name, lane.effective_rate
        yield "recado_lane_level", name, lane.level
        yield "recado_lane_tokens", name, lane.tokens
        if lane.limit_rate is not None:
            yield "recado_lane_limit_rate", name, lane.limit_rate
        yield "recado_lane_paused", name, lane.paused
        yield "recado_lane_stopped", name, bool(lane.stopped)
        yield "recado_lane_down", name, lane.down
        yield "recado_parts_written", name, lane.written
        for code, count in lane.refused.items():
            yield "recado_parts_refused", (*name, code), count
        for slot in lane.slots:
            labels = (lane.lane, str(slot.slot))
            yield "recado_bind_up", labels, slot.up
            if not slot.up:
                yield "recado_bind_down", (*labels, _word(slot.reason)), 1
            yield "recado_window", labels, slot.window
            yield "recado_window_in_flight", labels, slot.in_flight
        for queue in lane.queues:
            of_queue = (lane.lane, queue.class_, str(queue.slot))
            yield "recado_queue_backlog", of_queue, queue.backlog
            yield "recado_queue_oldest_seconds", of_queue, queue.oldest_s
            yield "recado_queue_buffered", of_queue, queue.buffered
            yield "recado_queue_unsettled", of_queue, queue.unsettled
            yield "recado_queue_fenced", of_queue, queue.fenced


def _simple(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return family(metric.name, metric.text, labels=metric.labels)


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the buckets as the exposition has them: each with those below it."""
    found = 0
    buckets = []
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.buckets, strict=True):
        found += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(found)))
    return buckets


def _word(reason: str) -> str:
    """Return the kind of a reason: what comes before the colon has few values, the rest is a peer's."""
    return reason.partition(":")[0].strip().replace(" ", "_")[:_REASON]
