"""Every metric in one table, read from the worker when somebody asks: counting costs the message path nothing.

Names and units by Prometheus' convention; labels are lanes, slots, classes, codes and kinds, never a message or a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from gateway.app import Worker

# name, help (the question it answers), labels
_COUNTERS = {
    "recado_jobs_recipients": ("What came in: recipients by what intake made of them.", ("result",)),
    "recado_messages_settled": (
        "What became of messages: attempts settled by lane, class and outcome.",
        ("lane", "class", "outcome"),
    ),
    "recado_parts_refused": ("What do operators refuse, and why?", ("lane", "code")),
    "recado_receipts": ("Do receipts find their messages?", ("result",)),
    "recado_deliveries_deferred": ("How often was an SMSC asked to keep a deliver_sm because we were full?", ()),
    "recado_peer_nonsense": ("How many PDUs could not be read or belonged to nothing?", ()),
}
_GAUGES = {
    "recado_bind_up": ("Is the bind of a slot up?", ("lane", "slot")),
    "recado_window_in_flight": ("How full is the window of a bind?", ("lane", "slot")),
    "recado_lane_rate": ("Parts a second that this process may write: its slots' share of the contract.", ("lane",)),
    "recado_queue_buffered": ("Fetched and not yet written, by queue.", ("lane", "class", "slot")),
    "recado_queue_unsettled": ("On their way: written or waiting for their events.", ("lane", "class", "slot")),
    "recado_publisher_waiting": ("Settled messages that wait for Kafka.", ()),
    "recado_deliveries_waiting": ("deliver_sm taken and not yet answered.", ()),
    "recado_store_away": ("Is Redis away? Then forwarding stands still.", ()),
    "recado_kafka_away": ("Is Kafka away? Then whatever produces stands still.", ()),
}

Sample = tuple[str, tuple[str, ...], float]


class WorkerCollector(Collector):
    """The metrics of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, (text, labels) in _COUNTERS.items():
            families[name] = CounterMetricFamily(name, text, labels=labels)
        for name, (text, labels) in _GAUGES.items():
            families[name] = GaugeMetricFamily(name, text, labels=labels)
        for name, values, value in self._samples():
            families[name].add_metric(values, value)
        return families.values()

    def _samples(self) -> Iterator[Sample]:
        worker = self._worker
        for result, count in worker.intake.counts.items():
            yield "recado_jobs_recipients", (result,), count
        for (lane, class_, outcome), count in worker.publisher.counts.items():
            yield "recado_messages_settled", (lane, class_, outcome), count
        for result, count in worker.receipts.counts.items():
            yield "recado_receipts", (result,), count
        yield "recado_deliveries_deferred", (), worker.inbox.deferred
        yield "recado_peer_nonsense", (), worker.inbox.nonsense
        yield "recado_publisher_waiting", (), worker.publisher.waiting
        yield "recado_deliveries_waiting", (), worker.inbox.waiting
        yield "recado_store_away", (), worker.patience.away
        yield "recado_kafka_away", (), worker.outbox.away
        for shared in worker.lanes.values():
            yield "recado_lane_rate", (shared.name,), shared.lease.rate
            for code, count in shared.refusals.items():
                yield "recado_parts_refused", (shared.name, code), count
        for (lane_name, index), slot in worker.dispatcher.slots.items():
            yield "recado_bind_up", (lane_name, str(index)), slot.port.bound
            yield "recado_window_in_flight", (lane_name, str(index)), slot.port.in_flight
            for queue in slot.queues:
                labels = (lane_name, queue.class_.value, str(index))
                yield "recado_queue_buffered", labels, len(queue.records) + len(queue.ready)
                yield "recado_queue_unsettled", labels, len(queue.flights)
