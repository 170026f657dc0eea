"""What `recado check` and `recado topics` show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gateway.check import LaneSummary, PortfolioSummary, Summary
from gateway.inventory import Topic

_IN_DOUBT = {
    "resend": "resend: sent again, the person may get it twice",
    "report": "report: published as unknown, not sent again",
}


def summary(found: Summary) -> Iterator[RenderableType]:
    """The meaning of a configuration, table by table; at the end what deserves a look."""
    yield _figures(found.lanes)
    yield ""
    yield _contracts(found.lanes)
    yield ""
    if any(lane.concurrency for lane in found.lanes):
        yield _over_http(found.lanes)
        yield ""
    if any(lane.caps for lane in found.lanes):
        yield _caps(found.lanes)
        yield ""
    if found.portfolios:
        yield _portfolios(found.portfolios)
        yield ""
    routes = _table("", "Route: the first that fits is taken, what none fits is rejected")
    for number, route in enumerate(found.routes, 1):
        routes.add_row(str(number), route)
    yield routes
    if found.hours:
        hours = _table("", "Hours in which people are written to: the first that fits counts, what none fits has all")
        for number, one in enumerate(found.hours, 1):
            hours.add_row(str(number), one)
        yield hours
    yield ""
    policies = _table("Class", "Written and never answered")
    for class_, policy in found.in_doubt.items():
        policies.add_row(class_, _IN_DOUBT[policy])
    yield policies
    yield ""
    needed = _table("Topic", ">Partitions")
    for name, partitions in found.topics.items():
        needed.add_row(name, str(partitions))
    yield needed
    for warning in found.warnings:
        yield ""
        yield Text.assemble(("warning: ", "yellow"), str(warning))


def inventory(topics: Iterable[Topic], created: set[str]) -> RenderableType:
    """What there is of the topics that are needed."""
    table = _table("Topic", ">Partitions", ">There are", "")
    for topic in topics:
        state = Text(topic.fault, "red") if topic.fault else Text("created" if topic.name in created else "", "green")
        table.add_row(topic.name, str(topic.wanted), str(topic.found or "-"), state)
    return table


def _figures(lanes: Iterable[LaneSummary]) -> Table:
    table = _table("Lane", ">Rate/s", ">Rate/h", ">Burst", ">Slots", ">Window", ">Answers within")
    for lane in lanes:
        table.add_row(
            lane.name,
            f"{lane.rate_per_s:,g}",
            f"{lane.rate_per_hour:,}",
            f"{lane.burst:,g}",
            str(lane.slots),
            str(lane.window),
            "paused" if lane.round_trip_ms is None else f"{lane.round_trip_ms:,.0f} ms",
        )
    return table


def _contracts(lanes: Iterable[LaneSummary]) -> Table:
    table = _table("Lane", "Channel", "Provider", "At", "Account", "Sender", "Classes")
    for lane in lanes:
        sender = lane.sender or ("the account" if lane.channel in ("whatsapp", "rcs") else "the job's")
        table.add_row(
            lane.name, lane.channel, lane.provider, lane.address, lane.account, sender, ", ".join(lane.classes)
        )
    return table


def _over_http(lanes: Iterable[LaneSummary]) -> Table:
    table = _table("Lane", ">Requests", "Called back at", "Limits")
    for lane in lanes:
        if lane.concurrency is not None:
            table.add_row(
                lane.name, f"{lane.concurrency} a slot", lane.callback or "never", "\n".join(lane.limits) or "-"
            )
    return table


def _caps(lanes: Iterable[LaneSummary]) -> Table:
    table = _table("Lane", "No more than, beside the rate")
    for lane in lanes:
        if lane.caps:
            table.add_row(lane.name, "\n".join(lane.caps))
    return table


def _portfolios(portfolios: Iterable[PortfolioSummary]) -> Table:
    table = _table("Portfolio", ">People in 24 h", "Of lanes", "Reached at full rate")
    for one in portfolios:
        people = "any number" if one.recipients is None else f"{one.recipients:,}"
        after = "never" if one.reached_after_s is None else f"after {_span(one.reached_after_s)}"
        table.add_row(one.name, people, ", ".join(one.lanes), after)
    return table


def _span(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def _table(*columns: str) -> Table:
    """Columns by their names; a leading `>` aligns to the right, as figures are read."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table
