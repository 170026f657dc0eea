"""What expires while its lane sends nothing: told in its time, whatever it waits for. See also test_forward.py."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from smpp.constants import CommandStatus
from tests.support.dispatching import (
    NOW,
    Line,
    begin,
    configured,
    ids,
    long_text,
    message,
    messages,
    port_of,
    put,
    record,
)

RTHROTTLED, RINVDSTADR = int(CommandStatus.ESME_RTHROTTLED), int(CommandStatus.ESME_RINVDSTADR)


def alone(**andina: Any) -> Line:
    return Line(configured({"andina": andina}))


def down(one: Line) -> None:
    """Neither room nor another lane."""
    port_of(one.slot("andina")).bound = False
    one.failover.down = {"andina"}


def paused(one: Line) -> None:
    one.lanes["andina"].limit = 0.0


def turns(one: Line, until: float) -> list[tuple[float, str]]:
    """What expires and when, in turns that come as they are asked for; nobody is a second copy."""
    now = NOW
    found = []
    while now <= until:
        _, wait = one.forwarder.choose(one.slots.values(), now)
        found += [(now - NOW, flight.message.message_id) for flight in one.turn.unwritten]
        one.turn.unwritten.clear()
        one.forwarder.refill(one.slots.values(), now)
        if wait >= 60:  # nobody wakes the dispatcher
            break
        now += wait
    return found


@pytest.mark.parametrize("blocked", [down, paused])
def test_what_expires_on_a_lane_that_sends_nothing_is_told_then(blocked: Any) -> None:
    """Not when the lane goes on; in its place among those that have time, and within some seconds."""
    one = alone(window=3)
    put(
        one.queue("andina"),
        message("late", expires_at=NOW + 60),
        message("free"),
        message("later", expires_at=NOW + 90),
    )
    blocked(one)
    ((first, late), (second, later)) = turns(one, NOW + 100)
    assert (late, later) == ("late", "later")
    assert 60 <= first <= 62
    assert 90 <= second <= 92
    assert ids(one.slot("andina").queues[0].ready) == ["free"]
    assert one.turn.claims[::2] == ["banco/late/1", "banco/later/1"]


@pytest.mark.parametrize("blocked", [down, paused])
def test_a_backlog_that_expires_on_a_lane_that_sends_nothing_is_told_window_by_window(blocked: Any) -> None:
    """What takes the place of the first is as late as they are."""
    one = alone(window=10)
    put(one.queue("andina"), *messages(35, expires_at=NOW + 60))
    blocked(one)
    assert [each for _, each in turns(one, NOW + 70)] == [f"m{n}" for n in range(35)]


def test_a_message_of_many_parts_expires_once() -> None:
    """None of its parts is left."""
    one = alone()
    queue = one.queue("andina")
    put(queue, message(text=long_text(3), expires_at=NOW + 10))
    paused(one)
    assert [each for _, each in turns(one, NOW + 20)] == ["m"]
    assert not queue.ready


def test_what_is_under_way_does_not_expire_before_its_answers() -> None:
    """They may complete it; if not, what was accepted is told with its end."""
    one = alone(window=1)
    queue = one.queue("andina")
    put(queue, message("flying", text=long_text(2), expires_at=NOW + 10))
    parts = one.write()
    turns(one, NOW + 20)
    assert one.outcomes == {}
    one.answer(parts)
    paused(one)
    turns(one, NOW + 30)
    assert not queue.ready
    assert (one.outcomes["flying"].kind, one.outcomes["flying"].ids) == ("x", ("id-flying-0", ""))


def test_what_bounced_expires_on_a_lane_that_sends_nothing() -> None:
    """However long it was under way; without a claim, which it has made."""
    one = alone()
    put(one.queue("andina"), message(expires_at=NOW + 10))
    parts = one.write()
    paused(one)
    turns(one, NOW + 15)
    one.turn.claims.clear()
    assert one.outcomes == {}
    one.answer(parts, RTHROTTLED, NOW + 16)
    turns(one, NOW + 20)
    assert (one.outcomes["m"].kind, one.turn.claims) == ("x", [])


def test_what_was_refused_in_part_has_failed_and_does_not_expire() -> None:
    """Its other part bounced, and is not waited for: the lane may not go on for long."""
    for order in (1, -1):
        one = alone()
        put(one.queue("andina"), message(text=long_text(2), expires_at=NOW + 10))
        for part, command_status in [*zip(one.write(), (RINVDSTADR, RTHROTTLED), strict=True)][::order]:
            one.answer([part], command_status)
        assert (one.outcomes["m"].kind, one.outcomes["m"].error_code) == ("f", "ESME_RINVDSTADR")
        paused(one)
        turns(one, NOW + 20)
        assert len(one.turn.settled) == 1


def test_a_record_that_cannot_be_read_has_no_end() -> None:
    """It is settled and waits to be published, and those beside it expire."""
    one = alone()
    queue = one.queue("andina")
    begin(queue, [record(queue.tp.topic, 0, b"{")])
    put(queue, message("a", expires_at=NOW + 5), message("b", expires_at=NOW + 8))
    paused(one)
    assert [each for _, each in turns(one, NOW + 10)] == ["a", "b"]


def test_nobody_looks_when_nothing_has_an_end() -> None:
    """What expired, or was written, is forgotten, and then the dispatcher sleeps."""
    one = alone(window=1)
    queue = one.queue("andina")
    put(queue, message("late", expires_at=NOW + 5), message("free"))
    paused(one)
    turns(one, NOW + 10)
    (expired,) = [flight for flight in queue.flights.values() if flight.message.message_id == "late"]
    del queue.flights[expired.offset]
    turns(one, NOW + 20)
    assert one.forwarder.choose(one.slots.values(), NOW + 30)[1] == inf
