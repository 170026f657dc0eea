"""From records to the parts that are written, on numbers of WhatsApp: what they must not carry, and what they hold."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.board import Board
from gateway.conditions import Conditions
from gateway.errors import Disposition
from gateway.flight import Flight
from gateway.hours import Calendar, Hours
from gateway.model import Message, TrafficClass
from gateway.number import Number
from gateway.portfolio import Portfolio
from gateway.providers.contract import Failure, Scope
from gateway.providers.whatsapp import template_of
from gateway.quantities import DAY
from gateway.store import Patience, Store
from gateway.whatsapp_lane_config import WhatsAppLane
from gateway.window import Window
from tests.support.dispatching import NOW, Line, ids, message, numbers, put

COLLECTIONS = "third_party_collection"


def templated(message_id: str, **changes: Any) -> Message:
    content = '{"type":"template","template":{"name":"due","language":{"code":"es"}}}'
    return message(message_id, channel="whatsapp", content=content, **changes)


def number_of(one: Line, lane: str) -> Number:
    """Let a lane be that of its number, whose store nobody calls."""
    config = one.lanes[lane].config
    assert isinstance(config, WhatsAppLane)
    store = Patience(Store("redis://localhost/0"))
    board = Board(Conditions(), store, "", lambda: None)
    number = Number(config, board, Portfolio("main", store, "", {}), Window(store, ""), time.monotonic())
    one.lanes[lane].take_number(number)
    return number


def test_what_a_lane_must_not_carry_any_more_goes_on_to_one_that_may() -> None:
    """It was queued before a reload; it does not come back to this lane."""
    one = Line(numbers())
    put(one.queue("b"), templated("m", purpose=COLLECTIONS))
    one.forwarder.refill(one.slots.values(), NOW)
    assert not one.slot("b").queues[0].ready
    one.exchange()
    outcome = one.outcomes["m"]
    assert (outcome.kind, outcome.lane, outcome.error_code) == ("m", "a", "policy")


def test_what_a_lane_has_accepted_in_part_does_not_go_on_to_another() -> None:
    """It would carry the rest alone."""
    one = Line(numbers())
    put(one.queue("b"), templated("m", purpose=COLLECTIONS, attempt=2, accepted_ids=("id-0", "")))
    one.forwarder.refill(one.slots.values(), NOW)
    one.exchange()
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("f", ("id-0", ""))


def test_what_no_lane_may_carry_any_more_has_failed() -> None:
    """With the reason that a new one would be rejected with."""
    one = Line(numbers())
    put(one.queue("b"), templated("m", purpose=COLLECTIONS, tried=("a",)), templated("free"))
    one.forwarder.refill(one.slots.values(), NOW)
    assert ids(one.slot("b").queues[0].ready) == ["free"]
    one.exchange()
    assert (one.outcomes["m"].kind, one.outcomes["m"].error_code) == ("f", "policy")


def test_a_row_lives_as_long_as_whatsapp_keeps_its_message() -> None:
    """A telephone may be off for 30 days."""
    one = Line(numbers())
    number_of(one, "a")
    queue = one.queue("a")
    put(queue, templated("m"))
    one.forwarder.refill(one.slots.values(), NOW)
    (flight,) = queue.flights.values()
    one.settler.give_up(flight, "no-answer", NOW)
    _, _, ttl = one.turn.rows
    assert ttl == 31 * DAY


async def test_what_was_let_go_while_its_number_was_asked_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance came between: its offset may be another owner's by now."""
    one = Line(numbers())
    number = number_of(one, "a")
    queue = one.queue("a")
    put(queue, templated("m"))
    one.forwarder.refill(one.slots.values(), NOW)

    async def place(flights: list[Flight], behind: object) -> list[float]:
        for flight in flights:
            one.settler.let_go(flight, NOW)
        return [60.0] * len(flights)

    monkeypatch.setattr(number, "place", place)
    await one.forwarder.place(one.slots.values(), NOW)
    assert one.turn.settled == []
    assert queue.flights == {}


async def test_nobody_is_waiting_where_all_have_stepped_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The delay ladder has them."""
    one = Line(numbers())
    number = number_of(one, "a")
    queue = one.queue("a")
    put(queue, templated("m"), templated("n"))
    one.forwarder.refill(one.slots.values(), NOW)

    async def place(flights: list[Flight], behind: object) -> list[float]:
        return [60.0] * len(flights)

    monkeypatch.setattr(number, "place", place)
    await one.forwarder.place(one.slots.values(), NOW)
    assert queue.line.oldest() is None


async def test_what_is_refused_on_a_number_is_so_only_if_it_is_no_second_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first copy may have gone while the window was open. It is asked once, and is not written meanwhile."""
    one = Line(numbers())
    number = number_of(one, "a")
    queue = one.queue("a")
    put(queue, templated("m"), templated("n"))
    one.forwarder.refill(one.slots.values(), NOW)
    closed = Failure(Disposition.REJECTED, "131047", scope=Scope.RECIPIENT)

    async def place(flights: list[Flight], behind: object) -> list[Failure | float]:
        return [closed, 0.0]

    monkeypatch.setattr(number, "place", place)
    await one.forwarder.place(one.slots.values(), NOW)
    assert one.turn.claims[::2] == ["banco/m/1"]
    assert one.outcomes == {}
    assert ids(queue.ready) == ["n"]
    one.exchange()
    assert (one.outcomes["m"].kind, one.outcomes["m"].error_code) == ("f", "131047")


async def test_outside_the_hours_nobody_is_given_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It steps aside before it is asked for; whoever has no hours is behind nobody."""
    one = Line(numbers())
    one.lanes["a"].gate.keep_hours(Calendar([Hours(time_zone="UTC", days={"mon": "07:00-08:00"})]))
    queue = one.queue("a")
    put(queue, templated("m"), templated("otp", class_=TrafficClass.OTP))
    one.forwarder.refill(one.slots.values(), NOW)
    asked: list[str] = []

    async def place(flights: list[Flight], behind: object) -> list[float]:
        asked.extend(flight.message.message_id for flight in flights)
        return [0.0] * len(flights)

    monkeypatch.setattr(number_of(one, "a"), "place", place)
    assert await one.forwarder.place(one.slots.values(), NOW)
    assert asked == ["otp"]
    assert one.outcomes["m"].kind == "w"
    assert ids(one.choose()) == ["otp"]


async def test_what_is_held_on_a_number_comes_back_when_it_expires() -> None:
    """And is not held again then: its end is told."""
    one = Line(numbers())
    number = number_of(one, "a")
    wrong = Failure(Disposition.HOLD, "132015", after=3600.0, scope=Scope.TEMPLATE)
    now = time.time()
    number._board.failed(wrong, number.whose, template_of(templated("m")), now)
    queue = one.queue("a")
    put(queue, templated("late", expires_at=now - 1), templated("held", expires_at=now + 7))
    one.forwarder.refill(one.slots.values(), now)
    await one.forwarder.place(one.slots.values(), now)
    assert {each: outcome.due for each, outcome in one.outcomes.items()} == {"held": now + 7}
    one.choose(now + 1)
    assert [flight.message.message_id for flight in one.turn.unwritten] == ["late"]


async def test_what_is_late_on_a_number_is_told_of_at_once_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intake passes on what has expired: a whole job of it may be ahead of one that has not."""
    one = Line(numbers())
    queue = one.queue("a")
    put(queue, *(templated(f"late{n}", expires_at=NOW - 1) for n in range(40)), templated("good"))

    async def place(flights: list[Flight], behind: object) -> list[float]:
        return [0.0] * len(flights)

    monkeypatch.setattr(number_of(one, "a"), "place", place)
    written: list[str] = []
    for _ in range(10):
        one.forwarder.refill(one.slots.values(), NOW)
        await one.forwarder.place(one.slots.values(), NOW)
        written += ids(one.write())
        one.exchange()
    assert written == ["good"]
    assert len(one.outcomes) == 40


async def test_what_waits_for_a_number_that_is_held_takes_another_of_its_route() -> None:
    """It may be held for good. Without another it waits."""
    for lane, kind in (("b", "m"), ("a", "w")):
        one = Line(numbers())
        number = number_of(one, lane)
        number._board.failed(Failure(Disposition.HOLD, "131048", after=3600.0), number.whose, "", time.time())
        tried = () if lane == "b" else ("b",)
        put(one.queue(lane), templated("m", tried=tried))
        now = time.time()
        one.forwarder.refill(one.slots.values(), now)
        await one.forwarder.place(one.slots.values(), now)
        assert one.outcomes["m"].kind == kind
