"""Every metric in one table: its name, the question that it answers, and its labels.

Names and units are by Prometheus' convention. Labels are lanes, accounts, slots, classes, outcomes and codes, of which there are
few; never a message, a number, a campaign or a tenant. `python -m gateway.metrics.table` writes docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

Kind = Literal["counter", "gauge", "histogram"]

QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds that one call takes."""
PATIENT = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
"""Seconds that a message may wait: a one-time password is late after five, a campaign takes hours."""
SLOW = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0)
"""Seconds until a handset: as long as operators keep a message."""
COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 20_000.0)


class Metric(Struct, frozen=True):
    """One row of the table; counters are exposed with `_total` behind their names."""

    kind: Kind
    name: str
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram: the upper bounds of its buckets but the last, which is infinite."""

    @property
    def exposed(self) -> str:
        """The name in queries; a histogram has `_bucket`, `_sum` and `_count` behind it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric("counter", name, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric("gauge", name, text, labels)


def _histogram(name: str, bounds: tuple[float, ...], text: str, *labels: str) -> Metric:
    return Metric("histogram", name, text, labels, bounds)


SECTIONS: dict[str, tuple[Metric, ...]] = {
    "Throughput": (
        _counter(
            "recado_intake_recipients", "Recipients of jobs by what intake made of them: accepted, rejected.", "result"
        ),
        _counter(
            "recado_messages_settled",
            "Attempts at messages by what became of them: submitted, failed, expired, rejected, unknown, duplicate, own_copy, "
            "retry, deferred, moved, fallback, dead.",
            *("lane", "class", "outcome"),
        ),
        _counter(
            "recado_attempts_troubled",
            "Attempts that were not simply accepted, by outcome and by the code that decided: what is retried, and why?",
            *("lane", "outcome", "code"),
        ),
        _counter("recado_parts_written", "Parts written to the provider, which is what contracts count.", "lane"),
        _counter("recado_parts_refused", "Parts that the provider refused, by its code.", "lane", "code"),
        _counter(
            "recado_parts_throttled",
            "Those of them that it refused as too many for the lane, whatever the code.",
            "lane",
        ),
        _counter("recado_inbound", "Messages from people: published, repeated, cut.", "result"),
        _counter(
            "recado_dead_letters",
            "Records that could not be read: at intake no JSON (json), no job (schema), nothing that can be said (content); "
            "of a lane (message).",
            "reason",
        ),
    ),
    "Latency": (
        _histogram(
            "recado_intake_seconds", PATIENT, "From a job in its topic until its messages are in those of their lanes."
        ),
        _histogram(
            "recado_queue_wait_seconds",
            PATIENT,
            "From a message in its lane's topic until it is written; of what came together the first counts for all.",
            *("lane", "class"),
        ),
        _histogram(
            "recado_pace_seconds",
            PATIENT,
            "The part of that in which a message was ready and waited for tokens and window.",
            *("lane", "class"),
        ),
        _histogram(
            "recado_provider_round_trip_seconds",
            (*QUICK, 10.0, 30.0, 60.0),
            "From the write to the answer; of the answers of one read the first counts for all.",
            "lane",
        ),
        _histogram("recado_receipt_delay_seconds", SLOW, "From the write of a message to its receipt.", "lane"),
    ),
    "Lanes": (
        _gauge("recado_lane_contract_rate", "Parts per second of the contract, of all processes together.", "lane"),
        _gauge("recado_lane_share_rate", "Parts per second that this process may write: its lease.", "lane"),
        _gauge(
            "recado_lane_effective_rate", "The same after throttling, slow starts, limits by hand and stops.", "lane"
        ),
        _gauge(
            "recado_lane_level",
            "Share of its contract that the lane uses after complaints and slow starts, from 0 to 1.",
            "lane",
        ),
        _gauge("recado_lane_tokens", "Parts that could be written at once.", "lane"),
        _gauge("recado_lane_limit_rate", "Parts per second that somebody has asked for; absent without.", "lane"),
        _gauge("recado_lane_paused", "Is the lane paused, by somebody or by a contract of 0?", "lane"),
        _gauge("recado_lane_stopped", "Was it stopped by an answer that a person has to look at?", "lane"),
        _gauge("recado_lane_down", "Do its messages take the next lane of their route?", "lane"),
        _gauge("recado_holds", "Templates and campaigns that somebody has paused.", "kind"),
    ),
    "Queues": (
        _gauge("recado_queue_backlog", "Messages in the lane's topics that are not finished.", "lane", "class", "slot"),
        _gauge(
            "recado_queue_oldest_seconds",
            "How long the oldest that is not written has waited in the lane's topic; 0 when there is none.",
            *("lane", "class", "slot"),
        ),
        _gauge("recado_queue_buffered", "Fetched and not yet written.", "lane", "class", "slot"),
        _gauge("recado_queue_unsettled", "Written, or waiting for their events.", "lane", "class", "slot"),
        _gauge(
            "recado_queue_fenced",
            "Has another worker taken it, so that this one writes no more?",
            "lane",
            "class",
            "slot",
        ),
        _counter(
            "recado_ledgers_lost",
            "Queues whose ledger was gone from the store; the log says whether a worker still knew what was written.",
            "lane",
        ),
        _gauge("recado_jobs_backlog", "Jobs that are published and not taken in, of this worker's partitions."),
        _gauge(
            "recado_intake_held",
            "1 while no job is taken in until this lane has caught up (`intake.lane_backlog`).",
            "lane",
        ),
    ),
    "Binds": (
        _gauge(
            "recado_bind_up",
            "Are all binds of the slot up? With `txrx` it can send without its receiver.",
            "lane",
            "slot",
        ),
        _gauge(
            "recado_bind_down",
            "1 while one is down, with the reason: connect, tls, dns, credentials, already_bound, lost, unbound, silent …",
            *("lane", "slot", "reason"),
        ),
        _counter(
            "recado_binds", "How often did a slot come up? More than restarts explain is a bind that flaps.", "lane"
        ),
        _gauge("recado_window", "Parts that may be unanswered.", "lane", "slot"),
        _gauge("recado_window_in_flight", "Parts that are unanswered.", "lane", "slot"),
    ),
    "Receipts and webhooks": (
        _counter(
            "recado_receipts",
            "Receipts and statuses by what they were: matched, repeated, overtaken, intermediate, early, resolved, orphan, "
            "unusable.",
            *("account", "result"),
        ),
        _counter("recado_deliveries_deferred", "deliver_sm that the SMSC was asked to keep because we were full."),
        _gauge("recado_deliveries_waiting", "deliver_sm taken and not yet answered."),
        _counter(
            "recado_peer_nonsense",
            "PDUs that could not be read or belonged to nothing, or whose message_id had no end.",
        ),
        _counter(
            "recado_webhooks",
            "Callbacks of providers by what became of them: taken, late, full, unsigned, unreadable, oversized, cut-off, method, "
            "no-such-path.",
            *("lane", "result"),
        ),
        _counter(
            "recado_webhook_contents",
            "What was in them: status, inbound, change, stranger (for a number that no lane has), unknown (not understood).",
            *("lane", "kind"),
        ),
        _gauge("recado_webhook_octets", "Octets of their bodies in memory."),
    ),
    "WhatsApp": (
        _gauge("recado_whatsapp_quality", "1 for the number's rating: GREEN, YELLOW, RED, UNKNOWN.", "lane", "rating"),
        _gauge(
            "recado_whatsapp_number_held",
            "1 while the number cannot send templates, with Meta's word.",
            "lane",
            "reason",
        ),
        _gauge(
            "recado_whatsapp_templates",
            "Templates that cannot be sent, by standing: held, gone.",
            "account",
            "standing",
        ),
        _gauge(
            "recado_whatsapp_limit", "People that a portfolio may reach in 24 hours; absent: any number.", "portfolio"
        ),
        _gauge("recado_whatsapp_recipients_used", "People that count against it now.", "portfolio"),
        _gauge("recado_whatsapp_recipients_left", "People that it may still reach; absent: any number.", "portfolio"),
        _counter("recado_whatsapp_recipients_denied", "Messages that had to wait for a place.", "portfolio"),
        _gauge(
            "recado_whatsapp_recipients_waiting",
            "Messages that are queued and have no place yet; absent: any number.",
            *("portfolio", "class"),
        ),
        _gauge(
            "recado_whatsapp_recipients_short",
            "Those of them that will have none within 24 hours, if the most urgent get theirs first; absent: any number.",
            *("portfolio", "class"),
        ),
    ),
    "Delay ladder": (
        _gauge("recado_delay_held", "Records in memory whose time has not come."),
        _gauge("recado_delay_backlog", "Records on the ladder: retries, schedules, early receipts.", "rung"),
        _counter("recado_delay_records", "Records that left a rung: climbed to the next, or due.", "result"),
    ),
    "Machinery": (
        _histogram("recado_settle_batch_messages", COUNTS, "Settled messages that were published together."),
        _gauge(
            "recado_publisher_waiting",
            "Settled messages that Kafka does not have yet, those on their way to it included.",
        ),
        _histogram(
            "recado_ledger_exchange_seconds", QUICK, "A turn's exchange with the ledger, waits for the store included."
        ),
        _histogram("recado_store_call_seconds", QUICK, "A call of the store that was answered."),
        _counter("recado_store_failures", "Calls of the store that failed."),
        _gauge(
            "recado_store_away",
            "Is the store away, by the connection of forwarding or by that of receipts and look-ups? What needs it stands still.",
        ),
        _histogram(
            "recado_kafka_produce_seconds",
            QUICK,
            "From a batch handed over until Kafka has all of it, repeats included.",
        ),
        _counter("recado_kafka_failures", "Batches that Kafka refused and that were sent again, by error.", "error"),
        _gauge("recado_kafka_away", "Is Kafka away? Then whatever produces stands still."),
        _histogram(
            "recado_event_loop_lag_seconds", QUICK, "How late a timer was: what everything in the process waits."
        ),
        _counter("recado_actions", "Actions at the admin port: done, refused.", "action", "result"),
        _gauge("recado_worker", "1, with the version that runs.", "version"),
    ),
}

METRICS: dict[str, Metric] = {metric.name: metric for section in SECTIONS.values() for metric in section}


def markdown() -> str:
    """Return the table as docs/metrics.md has it."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "Of one worker, at `/metrics` of its admin port; written by `python -m gateway.metrics.table`. Every worker counts"
    yield "what is its own: sum over workers, except `recado_lane_contract_rate`, `_limit_rate`, `_paused`, `_stopped`, `_down`,"
    yield "`recado_holds` and the gauges `recado_whatsapp_*`, of which one's word is enough (take `max`), and"
    yield "`recado_lane_level`, by which each gives way for itself (take `min`). Beside these there are the `process_*` and"
    yield "`python_gc_*` of Prometheus' client."
    for title, metrics in SECTIONS.items():
        yield ""
        yield f"## {title}"
        yield ""
        yield "| Metric | Kind | Labels | |"
        yield "|---|---|---|---|"
        for metric in metrics:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            yield f"| `{metric.exposed}` | {metric.kind} | {labels} | {metric.text} |"


def write(folder: Path) -> None:
    """Write the table into `folder`."""
    (folder / "metrics.md").write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[2] / "docs")
