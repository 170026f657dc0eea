"""How long the first that is not written has waited, and which lanes are paused."""

from __future__ import annotations

import time
from math import inf
from typing import Any

import pytest

from gateway import status
from gateway.metrics.machinery import Backlog
from smpp.constants import CommandStatus
from tests.support import dispatching
from tests.support.dispatching import NOW, Line, configured, message, messages, put, works

RTHROTTLED = int(CommandStatus.ESME_RTHROTTLED)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Its records have been there for three seconds."""
    plain = dispatching.record

    def record(*args: Any) -> Any:
        found = plain(*args)
        found.timestamp = int((NOW - 3) * 1000)
        return found

    monkeypatch.setattr(dispatching, "record", record)
    return Line(configured({"andina": {"window": 2, "rate": 2}}))


def oldest(line: Line, after: float) -> float:
    (queue,) = line.slot("andina").queues
    return status._oldest(queue, NOW + after)


def test_what_waits_to_be_written_has_waited_since_its_record(line: Line) -> None:
    """Admitted or not; what is written does not wait any more."""
    put(line.queue("andina"), *messages(3))
    assert oldest(line, 1) == 4
    line.forwarder.refill(line.slots.values(), NOW)
    assert oldest(line, 1) == 4
    while line.write() or line.slot("andina").queues[0].ready:
        dispatching.port_of(line.slot("andina")).in_flight = 0
    assert oldest(line, 1) == 0


def test_what_an_operator_throttles_for_ever_gets_older(line: Line) -> None:
    """Though it has been written, and nothing else waits."""
    put(line.queue("andina"), message())
    line.answer(line.write(), RTHROTTLED, NOW + 0.1)
    assert oldest(line, 600) == 600


def test_what_bounced_is_older_than_what_comes_after_it(line: Line) -> None:
    """It is not hidden by the others."""
    queue = line.queue("andina")
    put(queue, message("first"))
    parts = line.write(NOW - 100)
    put(queue, message("second"))
    line.answer(parts, RTHROTTLED, NOW)
    line.forwarder.refill(line.slots.values(), NOW)
    assert [part.flight.message.message_id for part in queue.ready] == ["first", "second"]
    assert oldest(line, 0) == 100


@pytest.mark.parametrize(
    ("rate", "limit", "paused"), [(0, inf, True), (50, 0.0, True), (50, inf, False), (50, 10.0, False)]
)
async def test_a_lane_is_paused_by_people_or_by_its_contract(rate: float, limit: float, paused: bool) -> None:
    """A rate of 0 in the configuration is a pause as well; it is not the operator who has slowed it down."""
    async with works(configured({"andina": {"rate": rate}})) as it:
        it.worker.lanes["andina"].limit = limit
        (lane,) = status.read(it.worker, Backlog(), NOW, time.monotonic()).lanes
        assert (lane.paused, lane.level) == (paused, 1.0)
