"""How long the first that is not written has waited."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import status
from smpp.constants import CommandStatus
from tests.support import dispatching
from tests.support.dispatching import NOW, Line, configured, message, messages, put

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
