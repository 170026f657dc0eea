"""Counting by the batch, the table and its document, and what a scrape of a worker shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import Worker
from gateway.conditions import Fact
from gateway.config import Config, loads
from gateway.flight import Flight
from gateway.ledger import Outcome
from gateway.metrics import table
from gateway.metrics.collect import WorkerCollector
from gateway.metrics.count import MOST_CODES, OTHER, Histogram, Line, Tally
from gateway.metrics.machinery import Backlog, LoopLag
from gateway.metrics.meters import histogram
from smpp.constants import CommandStatus
from tests.support import dispatching
from tests.support.dispatching import NOW, configured, lease, message, messages, put, queue_of, slot_of

BOUNDS = (1.0, 5.0, 10.0)


# Counting.


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 50))))
def test_a_histogram_has_every_observation_in_the_bucket_of_its_bound(observed: list[tuple[float, int]]) -> None:
    """A bound belongs to its bucket, as Prometheus' `le` says."""
    counted = Histogram(BOUNDS)
    for value, times in observed:
        counted.observe(value, times)
    for n, bound in enumerate((*BOUNDS, float("inf"))):
        assert sum(counted.buckets[: n + 1]) == sum(times for value, times in observed if value <= bound)
    assert counted.total == pytest.approx(sum(value * times for value, times in observed))


def test_a_tally_tells_only_so_many_codes_apart() -> None:
    """A provider that writes an id into its code makes neither series nor memory without end."""
    tally = Tally()
    for n in range(MOST_CODES + 7):
        tally.add(f"code-{n}")
    tally.add("code-0", 3)
    assert (len(tally), tally["code-0"], tally[OTHER], tally["never"]) == (MOST_CODES + 1, 4, 7, 0)


def test_a_line_counts_batches_first_in_first_out() -> None:
    """Since they came into being, and since they joined; a batch may leave in pieces."""
    waited, paced = Histogram(BOUNDS), Histogram(BOUNDS)
    line = Line(waited, paced)
    line.joined(3, since=100.0, now=104.0)
    line.joined(5, since=102.0, now=104.5)
    assert line.oldest() == 100.0
    line.left(1, now=105.0)
    assert (waited.buckets, paced.buckets) == ([0, 4, 0, 0], [4, 0, 0, 0])
    assert (waited.total, line.oldest()) == (3 * 5.0 + 3.0, 102.0)
    line.left(0, now=110.0)
    assert (waited.total, sum(waited.buckets), line.oldest()) == (18.0 + 8.0, 5, None)


@given(st.lists(st.integers(0, 30), max_size=40))
def test_a_line_never_counts_more_than_joined(lengths: list[int]) -> None:
    """Whatever its length does in between, and it knows nobody once it is empty."""
    waited = Histogram(BOUNDS)
    line = Line(waited, Histogram(BOUNDS))
    joined, before = 0, 0
    for n, length in enumerate([*lengths, 0]):
        joined += max(0, length - before)
        (line.joined(length, n, n) if length > before else line.left(length, n))
        before = length
    assert sum(waited.buckets) == joined
    assert line.oldest() is None


def test_who_takes_a_queue_over_starts_its_line_anew() -> None:
    """What the last owner had ready is not this one's to count."""
    line = Line(Histogram(BOUNDS), Histogram(BOUNDS))
    line.joined(3, 1.0, 2.0)
    line.clear()
    assert line.oldest() is None
    line.joined(1, 5.0, 6.0)
    assert line.oldest() == 5.0


# The table.


def test_the_document_is_that_of_the_table() -> None:
    """After a change of the table, run `python -m gateway.metrics.table`."""
    document = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert document.read_text(encoding="utf-8") == table.markdown()


@pytest.mark.parametrize("metric", table.METRICS.values(), ids=lambda metric: metric.name)
def test_names_are_by_convention_and_labels_are_few(metric: table.Metric) -> None:
    """`recado_` in front, `_total` left to the exposition, a unit behind what is measured; buckets ascend."""
    assert metric.name.startswith("recado_")
    assert not metric.name.endswith("_total")
    assert list(metric.bounds) == sorted(set(metric.bounds))
    assert bool(metric.bounds) == (metric.kind == "histogram")
    if metric.kind == "histogram":
        assert metric.name.endswith(("_seconds", "_messages"))
    assert set(metric.labels) <= {
        *("lane", "class", "outcome", "code", "result", "reason", "slot", "account", "portfolio", "rating", "standing"),
        *("kind", "rung", "error", "action", "version"),
    }


# Stages.

LANES = configured({"andina": {"rate": 1000, "window": 5}})


def test_what_is_written_has_waited_since_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """By class; the first record of a batch stands for all of it."""
    monkeypatch.setattr(dispatching, "record", _record_of(NOW - 3))
    line = dispatching.Line(LANES)
    queue = line.queue("andina")
    put(queue, *messages(8))
    line.write(NOW)
    (bulk,) = [counted for class_, counted in line.lanes["andina"].meter.waited.items() if class_ == "bulk"]
    assert (sum(bulk.buckets), bulk.total) == (5, 15.0)
    line.forwarder.refill(line.slots.values(), NOW)
    assert queue.line.oldest() == NOW - 3
    (otp,) = [counted for class_, counted in line.lanes["andina"].meter.waited.items() if class_ == "otp"]
    assert sum(otp.buckets) == 0


def test_answers_are_timed_by_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the last write to the answer, whatever the clock on the wall does and however often it was written before."""
    line = dispatching.Line(LANES)
    put(line.queue("andina"), *messages(4))
    parts = line.write(NOW)
    line.answer(parts, CommandStatus.ESME_RTHROTTLED, now=NOW + 60)
    now = time.monotonic() + 100
    monkeypatch.setattr(time, "monotonic", lambda: now)
    line.lanes["andina"].meter.round_trip = histogram("recado_provider_round_trip_seconds")
    parts = line.write(NOW + 70)
    now += 0.2
    line.answer(parts, now=NOW - 3600)
    round_trip = line.lanes["andina"].meter.round_trip
    assert sum(round_trip.buckets) == 4
    assert round_trip.total == pytest.approx(0.8)


def _record_of(timestamp: float) -> Any:
    plain = dispatching.record

    def record(*arguments: Any) -> Any:
        made = plain(*arguments)
        made.timestamp = int(timestamp * 1000)
        return made

    return record


# A scrape.


@asynccontextmanager
async def scraped(config: Config | None = None) -> AsyncIterator[tuple[Worker, Any]]:
    """A worker that carries nothing, and what a scrape of it shows: by name and labels."""
    worker = Worker(config or configured({"andina": {"rate": 50, "fair_queues": 3}}))
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker, Backlog(*worker.consumers), LoopLag()))

    def samples() -> dict[tuple[str, ...], float]:
        found = {}
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                order = [label for label in (*table.METRICS[family.name].labels, "le") if label in sample.labels]
                key = (sample.name, *(sample.labels[label] for label in order))
                assert key not in found, f"twice: {key}"
                found[key] = sample.value
        return found

    try:
        yield worker, samples
    finally:
        await worker.stop()


async def test_a_scrape_shows_what_stages_have_counted() -> None:
    """Counters, gauges and histograms, with their labels."""
    async with scraped() as (worker, samples):
        lane = worker.lanes["andina"]
        worker.intake.counts["messages"] = 3
        worker.publisher.counts["andina", "bulk", "submitted"] = 2
        worker.publisher.troubles["andina", "retry"].add("ESME_RSYSERR", 4)
        worker.receipts.of_account["andina", "early"] = 5
        lane.refusals.add("ESME_RTHROTTLED")
        lane.meter.written = 9
        lane.meter.throttled = 7
        lane.meter.ledgers_lost = 8
        lane.meter.round_trip.observe(0.03, 6)
        worker.store.calls.failures = 1
        found = samples()
    assert found["recado_intake_recipients_total", "accepted"] == 3
    assert found["recado_messages_settled_total", "andina", "bulk", "submitted"] == 2
    assert found["recado_attempts_troubled_total", "andina", "retry", "ESME_RSYSERR"] == 4
    assert found["recado_receipts_total", "andina", "early"] == 5
    assert found["recado_parts_refused_total", "andina", "ESME_RTHROTTLED"] == 1
    assert found["recado_parts_written_total", "andina"] == 9
    assert found["recado_parts_throttled_total", "andina"] == 7
    assert found["recado_ledgers_lost_total", "andina"] == 8
    assert found["recado_provider_round_trip_seconds_bucket", "andina", "0.025"] == 0
    assert found["recado_provider_round_trip_seconds_bucket", "andina", "0.05"] == 6
    assert found["recado_provider_round_trip_seconds_bucket", "andina", "+Inf"] == 6
    assert found["recado_provider_round_trip_seconds_sum", "andina"] == pytest.approx(0.18)
    assert found["recado_store_failures_total",] == 1
    assert found["recado_lane_contract_rate", "andina"] == 50


async def test_what_alerts_watch_is_there_before_it_is_counted() -> None:
    """What a counter begins with is no increase: the first thing that a new worker tells may be thousands of `unknown`."""
    async with scraped() as (worker, samples):
        worker.publisher.counts["andina", "otp", "unknown"] = 7
        found = samples()
    outcomes = {
        outcome: found["recado_messages_settled_total", "andina", "bulk", outcome] for outcome in ("failed", "retry")
    }
    assert outcomes == {"failed": 0, "retry": 0}
    assert found["recado_messages_settled_total", "andina", "bulk", "unknown"] == 0
    assert found["recado_messages_settled_total", "andina", "otp", "unknown"] == 7


async def test_the_lane_that_intake_waits_for_is_shown() -> None:
    """And nothing while it takes jobs."""
    async with scraped() as (worker, samples):
        free = samples()
        worker.intake._brake.lane = "andina"
        held = samples()
    assert held["recado_intake_held", "andina"] == 1
    assert not [key for key in free if key[0] == "recado_intake_held"]


async def test_a_worker_that_stops_is_not_ready() -> None:
    """Whoever asked for it: it has let go of its slots, and takes no jobs."""
    async with scraped() as (worker, _):
        assert worker.problems() == ["starting"]
    assert worker.problems() == ["draining"]


async def test_a_lane_shows_what_it_may_write_and_why_not_more() -> None:
    """Its share, what throttling leaves of it, what people asked for; a pause is nothing."""
    async with scraped() as (worker, samples):
        lane = worker.lanes["andina"]
        lease(lane)
        lane.limit = 10.0
        limited = samples()
        lane.limit = 0.0
        paused = samples()
        lane.limit = float("inf")
        lane.adaptive.throttled(0.0, time.monotonic(), 60.0)
        throttled = samples()
    assert limited["recado_lane_effective_rate", "andina"] == pytest.approx(10)
    assert (limited["recado_lane_limit_rate", "andina"], limited["recado_lane_paused", "andina"]) == (10, 0)
    assert (paused["recado_lane_effective_rate", "andina"], paused["recado_lane_paused", "andina"]) == (0, 1)
    assert (throttled["recado_lane_effective_rate", "andina"], throttled["recado_lane_level", "andina"]) == (0, 0)
    assert ("recado_lane_limit_rate", "andina") not in throttled


async def test_a_slot_shows_its_bind_and_the_queues_of_a_class_together() -> None:
    """A reason is its kind, not a peer's words, be it of a receiver alone; fair queues make no series of their own."""
    async with scraped() as (worker, samples):
        slot = slot_of(worker.lanes["andina"], 1, worker.inbox)
        worker.dispatcher.slots["andina", 1] = slot
        for number in range(3):
            put(queue_of(slot, "bulk", number), message(f"m{number}"), message(f"n{number}"))
        up = samples()
        slot.port.bound = False  # type: ignore[misc]
        slot.port.down_reason = "credentials: ESME_RINVPASWD for +573001234567"  # type: ignore[misc]
        down = samples()
        slot.port.bound = True  # type: ignore[misc]
        slot.port.down_reason = "already_bound: ESME_RALYBND"  # type: ignore[misc]
        half = samples()
    assert (half["recado_bind_up", "andina", "1"], half["recado_bind_down", "andina", "1", "already_bound"]) == (0, 1)
    assert (up["recado_bind_up", "andina", "1"], up["recado_window", "andina", "1"]) == (1, 10)
    assert up["recado_queue_buffered", "andina", "bulk", "1"] == 6
    assert not [key for key in up if key[0] == "recado_bind_down"]
    assert down["recado_bind_down", "andina", "1", "credentials"] == 1
    assert "573001234567" not in str(down)


async def test_every_row_of_the_table_is_exposed() -> None:
    """What has nothing to show yet shows at least its help."""
    async with scraped() as (worker, _):
        collector = WorkerCollector(worker, Backlog(), LoopLag())
        assert [family.name for family in collector.collect()] != []
        assert {family.name for family in collector.collect()} == set(table.METRICS)


WHATSAPP = """
[kafka]
bootstrap = "localhost:9092"
[store]
url = "redis://localhost"
[portfolios.andina]
limit = 2000
[lanes.wa]
provider = "whatsapp"
account = "222"
portfolio = "andina"
[lanes.wa.whatsapp]
phone_number_id = "111"
token_env = "SECRET"
app_secret_env = "SECRET"
verify_token_env = "SECRET"
[[routes]]
lane = "wa"
channel = "whatsapp"
"""


async def test_numbers_and_portfolios_of_whatsapp_are_shown() -> None:
    """Rating, restrictions, templates by standing, and how many people may still be reached."""
    async with scraped(loads(WHATSAPP, {"SECRET": "secret"})) as (worker, samples):
        conditions, now = worker.meta.board.conditions, time.time()
        conditions.learn("number:111", "quality", Fact(now, "RED"))
        conditions.learn("account:222/template:otp/es", "status", Fact(now, "PAUSED", now + 60))
        conditions.learn("account:222/template:old/es", "status", Fact(now, "DISABLED", 1e15))
        conditions.learn("account:222/template:good/es", "status", Fact(now, "APPROVED"))
        portfolio = worker.meta.portfolios["andina"]
        portfolio.used, portfolio.denied = 1500, 7
        found = samples()
        conditions.learn("account:222", "event", Fact(now, "ACCOUNT_DELETED", 1e15))
        gone = samples()
    assert found["recado_whatsapp_quality", "wa", "RED"] == 1
    assert found["recado_whatsapp_templates", "222", "held"] == 1
    assert found["recado_whatsapp_templates", "222", "gone"] == 1
    assert found["recado_whatsapp_limit", "andina"] == 2000
    assert found["recado_whatsapp_recipients_used", "andina"] == 1500
    assert found["recado_whatsapp_recipients_left", "andina"] == 500
    assert found["recado_whatsapp_recipients_denied_total", "andina"] == 7
    assert gone["recado_whatsapp_number_held", "wa", "ACCOUNT_DELETED"] == 1


async def test_callbacks_are_shown_by_what_became_of_them() -> None:
    """What was not understood is one figure a lane: its names are a provider's."""
    async with scraped() as (worker, samples):
        worker.webhooks.counts["wa", "unsigned"] = 2
        worker.webhooks.contents["wa", "status"] = 3
        worker.webhooks.unknown["wa", "x"] = 1
        worker.webhooks.unknown["wa", "y"] = 4
        found = samples()
    assert found["recado_webhooks_total", "wa", "unsigned"] == 2
    assert found["recado_webhook_contents_total", "wa", "status"] == 3
    assert found["recado_webhook_contents_total", "wa", "unknown"] == 5


async def test_jobs_in_hand_wait_too() -> None:
    """Two hundred of them may be two million recipients."""
    async with scraped() as (worker, samples):
        worker.intake.in_hand = 200
        assert samples()["recado_jobs_backlog",] == 200


# What waits in Kafka.


class Consumer:
    """What is asked of aiokafka's."""

    def __init__(self, ends: dict[TopicPartition, int], positions: dict[TopicPartition, int]) -> None:
        self.ends = ends
        self.positions = positions
        self.asked = 0
        self.silent = False

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked += 1
        if self.silent:
            raise TimeoutError
        return {tp: self.ends[tp] for tp in tps}

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]


def tps() -> Iterator[TopicPartition]:
    yield from (TopicPartition("jobs", n) for n in range(2))


async def test_a_backlog_is_what_lies_between_here_and_the_end() -> None:
    """Asked for at most once in a while, and kept while the brokers say nothing."""
    first, second = tps()
    consumer = Consumer({first: 10, second: 7}, {first: 4, second: 7})
    backlog = Backlog(consumer)
    assert (backlog.unread("jobs"), backlog.behind(first, 3)) == (0, 0)
    await asyncio.gather(backlog.look(), backlog.look())
    assert consumer.asked == 1
    assert (backlog.unread("jobs"), backlog.behind(first, 3), backlog.behind(first, 11)) == (6, 7, 0)
    consumer.silent = True
    backlog._looked_at = 0.0
    await backlog.look()
    assert (consumer.asked, backlog.unread("jobs")) == (2, 6)


async def test_a_partition_that_went_elsewhere_is_counted_there() -> None:
    """Two workers would tell of the same jobs."""
    first, second = tps()
    consumer = Consumer({first: 10, second: 7}, {first: 4, second: 0})
    backlog = Backlog(consumer)
    await backlog.look()
    del consumer.positions[second]
    backlog._looked_at = 0.0
    await backlog.look()
    assert backlog.unread("jobs") == 6


async def test_who_has_lost_everything_tells_of_nothing() -> None:
    """All partitions of a topic, or of all topics, may go at once: their new owner tells of them."""
    first, second = tps()
    rung = TopicPartition("delay.1", 0)
    jobs, delay = Consumer({first: 10, second: 7}, {first: 4, second: 0}), Consumer({rung: 9}, {rung: 0})
    backlog = Backlog(jobs, delay)
    await backlog.look()
    assert (backlog.unread("jobs"), backlog.unread("delay.1")) == (13, 9)
    jobs.positions.clear()
    backlog._looked_at = 0.0
    await backlog.look()
    assert (backlog.unread("jobs"), backlog.unread("delay.1")) == (0, 9)


async def test_a_topic_that_went_elsewhere_is_counted_there() -> None:
    """Its consumer has others left: one rung of the ladder of several."""
    short, long = TopicPartition("delay.1", 0), TopicPartition("delay.60", 0)
    delay = Consumer({short: 9, long: 5}, {short: 0, long: 0})
    backlog = Backlog(delay)
    await backlog.look()
    del delay.positions[short]
    backlog._looked_at = 0.0
    await backlog.look()
    assert (backlog.unread("delay.1"), backlog.unread("delay.60")) == (0, 5)


async def test_the_loop_lag_is_how_late_a_timer_was() -> None:
    """Whatever holds the loop up is in it."""
    lag = LoopLag()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.2)
    time.sleep(0.2)  # noqa: ASYNC251 - what holds up a loop
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert lag.seconds.total >= 0.1


async def test_settled_batches_and_their_troubles_are_counted() -> None:
    """The size of a batch, and codes by lane and outcome."""
    async with scraped() as (worker, _):
        queue = queue_of(slot_of(worker.lanes["andina"], 0, worker.inbox))
        settled = [
            (Flight(queue, n, message(f"m{n}"), []), Outcome(kind, NOW, error_code=code))
            for n, (kind, code) in enumerate(
                [("s", ""), ("r", "ESME_RSYSERR"), ("r", "ESME_RSYSERR"), ("x", "expired")]
            )
        ]
        worker.publisher._count(settled)
        assert worker.publisher.troubles == {
            ("andina", "retry"): {"ESME_RSYSERR": 2},
            ("andina", "expired"): {"expired": 1},
        }
        assert worker.publisher.batches.total == 4


def test_a_histogram_has_the_bounds_of_its_row() -> None:
    """So that the document is right about them."""
    assert histogram("recado_pace_seconds").bounds == table.PATIENT
