"""What the dashboards show. `python deploy/grafana/dashboards.py` writes them into the folder of that name beside this file.

They are generated so that all panels are alike and a question is a line. Units: s, bytes, percentunit, cps (a second), short.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from board import Board, Query

OF_LANE = 'lane=~"$lane"'
LANES = {"lane": "label_values(recado_lane_contract_rate, lane)"}


def _legend(labels: Iterable[str]) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def rate(metric: str, *by: str, of: str = "") -> Query:
    """Return how many a second, by these labels."""
    return Query(f"sum by ({', '.join(by)}) (rate({metric}{{{of}}}[$__rate_interval]))", _legend(by))


def top(query: Query) -> Query:
    """Return only the greatest: codes are many."""
    return Query(f"topk(15, {query.expr})", query.legend)


def quantiles(metric: str, *by: str, of: str = "") -> tuple[Query, Query]:
    """Return what half of them and what 99 of 100 take at most."""
    buckets = f"sum by ({', '.join((*by, 'le'))}) (rate({metric}_bucket{{{of}}}[$__rate_interval]))"
    half, most = (f"histogram_quantile({part}, {buckets})" for part in (0.5, 0.99))
    return Query(half, f"{_legend(by)} half within"), Query(most, f"{_legend(by)} 99 % within")


def fleet() -> Board:
    board = Board("recado-fleet", "Recado · Fleet")
    board.row("Now")
    board.stat("Workers", 'sum(up{job="recado"})')
    board.stat("Missing", 'count(up{job="recado"}) - sum(up{job="recado"})')
    board.stat("Parts written", "sum(lane:recado_parts_written:rate1m)", "cps")
    board.stat("Messages waiting", "sum(lane_class:recado_queue_backlog:sum)")
    board.stat("Jobs not taken in", "recado_jobs_backlog:sum")
    board.stat("Lanes down", "sum(max by (lane) (recado_lane_down))", text="Stopped ones too.")
    board.table(
        "Alerts",
        Query('ALERTS{alertstate="firing"}'),
        text="What each means and what to do is in docs/operations.md under its name.",
    )
    board.row("Lanes")
    board.table(
        "Lanes",
        # Columns are joined by all labels, and a recorded series has its name as one of them.
        Query("max by (lane) (lane:recado_lane_contract_rate:max)", "contract"),
        Query("sum by (lane) (lane:recado_lane_effective_rate:sum)", "effective"),
        Query("sum by (lane) (lane:recado_parts_written:rate1m)", "written"),
        Query("sum by (lane) (lane_class:recado_queue_backlog:sum)", "waiting"),
        Query("sum by (lane) (lane:recado_bind_up:sum)", "binds up"),
        Query("sum by (lane) (lane:recado_bind_up:count)", "binds"),
        Query("max by (lane) (recado_lane_paused)", "paused"),
        text="Rates are parts per second.",
    )
    board.graph("Parts written", "cps", Query("lane:recado_parts_written:rate1m", "{{lane}}"))
    board.graph(
        "Share of the contract used",
        "percentunit",
        Query("lane:recado_parts_written:rate1m / (lane:recado_lane_contract_rate:max > 0)", "{{lane}}"),
        text="A lane with a backlog that stays far below 1 is held by its window, its operator, or a person.",
    )
    board.graph("Binds up", "percentunit", Query("lane:recado_bind_up:sum / lane:recado_bind_up:count", "{{lane}}"))
    board.row("Messages")
    board.graph("Recipients taken in", "cps", rate("recado_intake_recipients_total", "result"))
    board.graph("What became of them", "cps", rate("recado_messages_settled_total", "outcome"))
    board.graph("Settled", "cps", rate("recado_messages_settled_total", "class"))
    board.graph("Waiting", "short", Query("sum by (class) (lane_class:recado_queue_backlog:sum)", "{{class}}"))
    board.graph(
        "Oldest that waits", "s", Query("max by (class) (lane_class:recado_queue_oldest_seconds:max)", "{{class}}")
    )
    board.graph("Receipts", "cps", rate("recado_receipts_total", "result"))
    board.row("Workers")
    board.graph(
        "CPU",
        "percentunit",
        rate("process_cpu_seconds_total", "instance", of='job="recado"'),
        text="A worker uses one core at most; beyond 0.7 start another.",
    )
    board.graph("Memory", "bytes", Query('process_resident_memory_bytes{job="recado"}', "{{instance}}"))
    board.graph("Event loop late, 99 %", "s", Query("instance:recado_event_loop_lag_seconds:p99_5m", "{{instance}}"))
    return board


def lane() -> Board:
    board = Board("recado-lane", "Recado · Lane", variables=LANES)
    board.row("State")
    board.stat("Contract", f"sum(max by (lane) (recado_lane_contract_rate{{{OF_LANE}}}))", "cps")
    board.stat("Effective", f"sum(recado_lane_effective_rate{{{OF_LANE}}})", "cps")
    board.stat("Level", f"min(recado_lane_level{{{OF_LANE}}})", "percentunit", text="Below 1 after complaints.")
    board.stat("Paused", f"sum(max by (lane) (recado_lane_paused{{{OF_LANE}}}))")
    board.stat("Stopped by an answer", f"sum(max by (lane) (recado_lane_stopped{{{OF_LANE}}}))")
    board.stat("Down", f"sum(max by (lane) (recado_lane_down{{{OF_LANE}}}))")
    board.row("Pace")
    board.graph(
        "Parts per second",
        "cps",
        Query(f"lane:recado_parts_written:rate1m{{{OF_LANE}}}", "{{lane}} written"),
        Query(f"max by (lane) (recado_lane_contract_rate{{{OF_LANE}}})", "{{lane}} contract"),
        Query(f"sum by (lane) (recado_lane_share_rate{{{OF_LANE}}})", "{{lane}} shares"),
        Query(f"sum by (lane) (recado_lane_effective_rate{{{OF_LANE}}})", "{{lane}} allowed now"),
        Query(f"max by (lane) (recado_lane_limit_rate{{{OF_LANE}}})", "{{lane}} by hand"),
        text="Below what is allowed now although messages wait: the window is too small for the round trip.",
        width=16,
    )
    board.graph("Tokens", "short", Query(f"sum by (lane) (recado_lane_tokens{{{OF_LANE}}})", "{{lane}}"))
    in_flight, window = (
        f"sum by (lane) ({metric}{{{OF_LANE}}})" for metric in ("recado_window_in_flight", "recado_window")
    )
    board.graph(
        "Window in use",
        "percentunit",
        Query(f"{in_flight} / {window}", "{{lane}}"),
        text="At 1 all the time, the rate is window / round trip: a larger window is more rate.",
    )
    board.graph("Round trip", "s", *quantiles("recado_provider_round_trip_seconds", "lane", of=OF_LANE))
    board.graph(
        "Round trip, 99 % in 5 minutes",
        "s",
        Query(f"lane:recado_provider_round_trip_seconds:p99_5m{{{OF_LANE}}}", "{{lane}}"),
    )
    board.row("Queues")
    board.graph("Waiting", "short", Query(f"lane_class:recado_queue_backlog:sum{{{OF_LANE}}}", "{{lane}} {{class}}"))
    board.graph("Oldest", "s", Query(f"lane_class:recado_queue_oldest_seconds:max{{{OF_LANE}}}", "{{lane}} {{class}}"))
    board.graph(
        "In memory",
        "short",
        Query(f"sum by (lane) (recado_queue_buffered{{{OF_LANE}}})", "{{lane}} fetched"),
        Query(f"sum by (lane) (recado_queue_unsettled{{{OF_LANE}}})", "{{lane}} written"),
    )
    board.graph("Wait in the lane's topic", "s", *quantiles("recado_queue_wait_seconds", "class", of=OF_LANE))
    board.graph(
        "Of that, for tokens and window",
        "s",
        *quantiles("recado_pace_seconds", "class", of=OF_LANE),
        text="Nearly all of the wait: the contract is what holds it.",
    )
    board.graph(
        "Wait, 99 % in 5 minutes",
        "s",
        Query(f"lane_class:recado_queue_wait_seconds:p99_5m{{{OF_LANE}}}", "{{lane}} {{class}}"),
    )
    board.row("Answers")
    board.graph("Outcomes", "cps", rate("recado_messages_settled_total", "outcome", of=OF_LANE))
    board.graph("Parts refused", "cps", rate("recado_parts_refused_total", "lane", "code", of=OF_LANE))
    board.graph(
        "Which code decided, and what",
        "cps",
        top(rate("recado_attempts_troubled_total", "outcome", "code", of=OF_LANE)),
        text="retry is tried again here, moved goes to the next lane, failed is final.",
    )
    board.graph("Throttled", "percentunit", Query(f"lane:recado_parts_throttled:ratio5m{{{OF_LANE}}}", "{{lane}}"))
    board.graph(
        "Refused for good", "percentunit", Query(f"lane:recado_messages_failed:ratio15m{{{OF_LANE}}}", "{{lane}}")
    )
    board.graph(
        "Never answered", "percentunit", Query(f"lane:recado_messages_unknown:ratio15m{{{OF_LANE}}}", "{{lane}}")
    )
    board.row("Binds")
    board.graph("Up", "short", Query(f"max by (lane, slot) (recado_bind_up{{{OF_LANE}}})", "{{lane}} {{slot}}"))
    board.graph(
        "Why not",
        "short",
        Query(f"max by (lane, slot, reason) (recado_bind_down{{{OF_LANE}}})", "{{lane}} {{slot}} {{reason}}"),
    )
    board.graph(
        "Came up in 15 minutes",
        "short",
        Query(f"sum by (lane) (increase(recado_binds_total{{{OF_LANE}}}[15m]))", "{{lane}}"),
    )
    board.row("Receipts")
    board.graph("Delay", "s", *quantiles("recado_receipt_delay_seconds", "lane", of=OF_LANE))
    board.graph(
        "Half within, in 30 minutes", "s", Query(f"lane:recado_receipt_delay_seconds:p50_30m{{{OF_LANE}}}", "{{lane}}")
    )
    board.graph("By account", "cps", rate("recado_receipts_total", "account", "result"))
    return board


def whatsapp() -> Board:
    of_numbers = "and on (lane) recado_whatsapp_quality"
    board = Board("recado-whatsapp", "Recado · WhatsApp")
    board.row("What Meta says")
    board.graph("Quality", "short", Query("max by (lane, rating) (recado_whatsapp_quality)", "{{lane}} {{rating}}"))
    board.graph(
        "Numbers held", "short", Query("max by (lane, reason) (recado_whatsapp_number_held)", "{{lane}} {{reason}}")
    )
    board.graph(
        "Templates that cannot be sent",
        "short",
        Query("max by (account, standing) (recado_whatsapp_templates)", "{{account}} {{standing}}"),
    )
    board.row("People in 24 hours")
    board.graph(
        "Reached and allowed",
        "short",
        Query("max by (portfolio) (recado_whatsapp_recipients_used)", "{{portfolio}} reached"),
        Query("max by (portfolio) (recado_whatsapp_limit)", "{{portfolio}} allowed"),
        Query("max by (portfolio) (recado_whatsapp_recipients_left)", "{{portfolio}} left"),
        width=16,
    )
    board.graph("Had to wait for a place", "cps", rate("recado_whatsapp_recipients_denied_total", "portfolio"))
    of_class = "{{portfolio}} {{class}}"
    board.graph(
        "Queued without a place",
        "short",
        Query("max by (portfolio, class) (recado_whatsapp_recipients_waiting)", of_class),
        width=12,
    )
    board.graph(
        "Will not fit today",
        "short",
        Query("max by (portfolio, class) (recado_whatsapp_recipients_short)", of_class),
        width=12,
        text="What has no place in the limit within 24 hours, if the most urgent get theirs first.",
    )
    board.row("Lanes")
    board.graph("Written", "cps", Query(f"lane:recado_parts_written:rate1m {of_numbers}", "{{lane}}"))
    troubled = rate("recado_attempts_troubled_total", "lane", "outcome", "code")
    board.graph("Refused or put off", "cps", Query(f"{troubled.expr} {of_numbers}", troubled.legend))
    board.graph("Waiting", "short", Query(f"lane_class:recado_queue_backlog:sum {of_numbers}", "{{lane}} {{class}}"))
    board.row("Callbacks")
    board.graph("Callbacks", "cps", rate("recado_webhooks_total", "lane", "result"))
    board.graph("What was in them", "cps", rate("recado_webhook_contents_total", "lane", "kind"))
    board.graph("Bodies in memory", "bytes", Query("sum by (instance) (recado_webhook_octets)", "{{instance}}"))
    return board


def campaign() -> Board:
    bulk = f'class="bulk",{OF_LANE}'
    waiting = f"sum by (lane) (lane_class:recado_queue_backlog:sum{{{bulk}}})"
    done = f'sum by (lane) (rate(recado_messages_settled_total{{outcome!~"retry|deferred",{bulk}}}[10m]))'
    everybody = "Of all lanes and classes."
    board = Board("recado-campaign", "Recado · Campaign", variables=LANES)
    board.row("In the time shown")
    board.stat("Accepted", 'sum(increase(recado_intake_recipients_total{result="accepted"}[$__range]))', text=everybody)
    board.stat("Rejected", 'sum(increase(recado_intake_recipients_total{result="rejected"}[$__range]))', text=everybody)
    board.stat("Submitted", f'sum(increase(recado_messages_settled_total{{outcome="submitted",{bulk}}}[$__range]))')
    board.stat(
        "Receipts of all classes",
        f"sum(increase(recado_receipt_delay_seconds_count{{{OF_LANE}}}[$__range]))",
        text="Each part of a message has its own, and some providers tell of each step: they may be more than the messages.",
    )
    board.stat("Waiting", f"sum({waiting})")
    board.stat(
        "Done in",
        f"max(({waiting} > 0) / ({done} or 0 * {waiting})) or vector(0)",
        "s",
        text="What waits for the slowest lane, at what it got done in the last ten minutes; ∞: it stands still.",
    )
    board.row("Progress")
    board.graph("Accepted and rejected", "cps", rate("recado_intake_recipients_total", "result"))
    board.graph("Waiting", "short", Query(waiting, "{{lane}}"))
    board.graph("Oldest", "s", Query(f"lane_class:recado_queue_oldest_seconds:max{{{bulk}}}", "{{lane}}"))
    board.graph("Settled", "cps", rate("recado_messages_settled_total", "lane", of=bulk))
    board.graph("What became of them", "cps", rate("recado_messages_settled_total", "outcome", of=bulk))
    board.graph("Why not at once", "cps", top(rate("recado_attempts_troubled_total", "code", of=OF_LANE)))
    board.row("How long it takes")
    board.graph("From the job until its messages wait", "s", *quantiles("recado_intake_seconds"))
    board.graph("From there until written", "s", *quantiles("recado_queue_wait_seconds", "lane", of=bulk))
    board.graph("From there until the receipt", "s", *quantiles("recado_receipt_delay_seconds", "lane", of=OF_LANE))
    board.row("What holds it up")
    board.graph("Paused templates and campaigns", "short", Query("max by (kind) (recado_holds)", "{{kind}}"))
    board.graph("On the delay ladder", "short", Query("sum by (rung) (recado_delay_backlog)", "{{rung}} s"))
    board.graph("Replies", "cps", rate("recado_inbound_total", "result"))
    return board


def reliability() -> Board:
    batch = "recado_settle_batch_messages"
    board = Board("recado-reliability", "Recado · Reliability")
    board.row("Kafka and the store")
    board.graph(
        "Away",
        "short",
        Query("max(recado_kafka_away)", "Kafka"),
        Query("max(recado_store_away)", "store"),
        text="1: whatever needs it stands still.",
    )
    board.graph(
        "Exchange with the ledger", "s", *quantiles("recado_ledger_exchange_seconds"), text="Every write waits for one."
    )
    board.graph("Calls of the store", "s", *quantiles("recado_store_call_seconds"))
    board.graph("Calls of the store that failed", "cps", rate("recado_store_failures_total", "instance"))
    board.graph("Until Kafka has a batch", "s", *quantiles("recado_kafka_produce_seconds"))
    board.graph("Batches that Kafka refused", "cps", rate("recado_kafka_failures_total", "error"))
    board.row("Doubts")
    board.graph(
        "Written and never answered", "cps", rate("recado_messages_settled_total", "lane", of='outcome="unknown"')
    )
    board.graph(
        "Receipts that match nothing", "percentunit", Query("account:recado_receipts_orphan:ratio30m", "{{account}}")
    )
    board.graph(
        "Receipts before their answer, and doubts resolved",
        "cps",
        rate("recado_receipts_total", "account", "result", of='result=~"early|resolved"'),
    )
    board.graph(
        "Dead letters in an hour",
        "short",
        Query("sum by (reason) (increase(recado_dead_letters_total[1h]))", "{{reason}}"),
    )
    board.graph("PDUs that could not be read", "cps", rate("recado_peer_nonsense_total", "instance"))
    board.graph(
        "Queues that another has",
        "short",
        Query("sum by (instance, lane) (recado_queue_fenced)", "{{instance}} {{lane}}"),
    )
    board.graph(
        "Queues whose ledger was lost, in an hour",
        "short",
        Query("sum by (lane) (increase(recado_ledgers_lost_total[1h]))", "{{lane}}"),
        text="More than 0: the store forgot what was written. The runbook of RecadoLedgerLost says what to do first.",
    )
    board.row("Bounds")
    board.graph(
        "Settled, waiting for Kafka", "short", Query("sum by (instance) (recado_publisher_waiting)", "{{instance}}")
    )
    total, count = (f"sum by (instance) (rate({batch}_{part}[$__rate_interval]))" for part in ("sum", "count"))
    board.graph(
        "Settled together",
        "short",
        Query(f"{total} / {count}", "{{instance}}"),
        text="A worker near its limit settles more at a time, which is cheaper.",
    )
    board.graph(
        "Deliveries not answered", "short", Query("sum by (instance) (recado_deliveries_waiting)", "{{instance}}")
    )
    board.graph("Deliveries put off", "cps", rate("recado_deliveries_deferred_total", "instance"))
    board.graph("Delay ladder, in memory", "short", Query("sum by (instance) (recado_delay_held)", "{{instance}}"))
    board.graph("Delay ladder, left a rung", "cps", rate("recado_delay_records_total", "result"))
    board.graph("Jobs not taken in", "short", Query("sum by (instance) (recado_jobs_backlog)", "{{instance}}"))
    board.row("Processes")
    board.graph("Event loop late", "s", *quantiles("recado_event_loop_lag_seconds", "instance"))
    board.graph("Running for", "s", Query('time() - process_start_time_seconds{job="recado"}', "{{instance}}"))
    board.graph("Open files", "short", Query('process_open_fds{job="recado"}', "{{instance}}"))
    board.graph("Versions", "short", Query("count by (version) (recado_worker)", "{{version}}"))
    board.graph(
        "Actions by people in an hour",
        "short",
        Query("sum by (action, result) (increase(recado_actions_total[1h]))", "{{action}} {{result}}"),
    )
    return board


def write(folder: Path) -> None:
    """Write every dashboard into `folder`."""
    for board in (fleet(), lane(), whatsapp(), campaign(), reliability()):
        name = board.uid.removeprefix("recado-")
        (folder / f"{name}.json").write_text(f"{board.render()}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
