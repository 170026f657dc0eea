"""From records to the parts that are written: what is admitted, chosen, sent aside, moved away, and recovered."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config import Config
from gateway.hours import Calendar, Hours
from gateway.ledger import Outcome
from gateway.model import EventStatus, Message, Step, TrafficClass, decode_event, encode_message
from gateway.settle import LANE_DOWN
from ratelimit import Adaptive
from smpp.constants import CommandStatus
from tests.support.dispatching import (
    NOW,
    Line,
    Works,
    begin,
    configured,
    ids,
    long_text,
    message,
    messages,
    port_of,
    put,
    queue_of,
    record,
    works,
)

OTP, TRANSACTIONAL = TrafficClass.OTP, TrafficClass.TRANSACTIONAL
RTHROTTLED, RINVDSTADR = int(CommandStatus.ESME_RTHROTTLED), int(CommandStatus.ESME_RINVDSTADR)
PAUSED = {"tenant": {"capped": 0}}
"""A cap that lets nothing of one tenant through."""


def alone(**andina: Any) -> Config:
    return configured({"andina": andina})


def two_lanes(**andina: Any) -> Config:
    return configured({"andina": andina, "brava": {}}, [{"lanes": ["andina", "brava"]}])


def mixed(**andina: Any) -> Config:
    """Messages to Mexico have no other lane, all others have."""
    return configured(
        {"andina": andina, "brava": {}}, [{"lane": "andina", "prefix": "+52"}, {"lanes": ["andina", "brava"]}]
    )


def mexican(message_id: str, **changes: Any) -> Any:
    return message(message_id, to="+525512345678", **changes)


# Admitting.


@pytest.mark.parametrize("value", [b"{", b"", b"null", None])
def test_a_record_that_cannot_be_read_is_dead_and_the_next_goes_on(value: bytes | None) -> None:
    """It is settled with what is wrong with it."""
    one = Line(alone())
    queue = one.queue("andina")
    begin(queue, [record(queue.tp.topic, 0, value), record(queue.tp.topic, 1, encode_message(message()))])
    assert ids(one.write()) == ["m"]
    ((flight, outcome),) = one.turn.settled
    assert (flight.offset, outcome.kind) == (0, "p")
    assert outcome.error_text


def test_a_text_that_the_lane_cannot_carry_has_failed() -> None:
    """Another lane's message, or another configuration's."""
    one = Line(alone(alphabets=["gsm7"]))
    put(one.queue("andina"), message("a", text="日本"), message("b"))
    assert ids(one.write()) == ["b"]
    one.exchange()
    assert (one.outcomes["a"].kind, one.outcomes["a"].error_code) == ("f", "text")


def test_what_no_encoder_foresaw_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception would end this worker, and the next owner after it."""
    one = Line(alone())
    encode = one.lanes["andina"].carrier.encode

    def foresees_little(each: Message, now: float) -> list[Any]:
        if each.message_id == "a":
            raise ValueError("what is this?")
        return encode(each, now)

    monkeypatch.setattr(one.lanes["andina"].carrier, "encode", foresees_little)
    put(one.queue("andina"), message("a"), message("b"))
    assert ids(one.write()) == ["b"]
    one.exchange()
    assert (one.outcomes["a"].kind, one.outcomes["a"].error_text) == ("f", "what is this?")


def test_a_text_that_the_lane_cannot_carry_goes_on_with_the_plan() -> None:
    """As a refusal of the provider would."""
    one = Line(alone(alphabets=["gsm7"]))
    put(one.queue("andina"), message("a", text="日本", plan=(Step("sms", "", "Nihon", ""),)))
    assert one.write() == []
    one.exchange()
    assert (one.outcomes["a"].kind, one.outcomes["a"].attempt) == ("n", 2)


@pytest.mark.parametrize("step", [False, True])
def test_a_text_of_more_parts_than_its_lane_allows_is_not_written(*, step: bool) -> None:
    """Whatever brought it here past intake, which has seen the first text on the first lane: a step, a move, a reload."""
    one = Line(alone(max_parts=2))
    plan = (Step("sms", "", "Hola", ""),) if step else ()
    put(one.queue("andina"), message("a", text=long_text(3), plan=plan), message("b", text=long_text(2)))
    assert ids(one.write()) == ["b", "b"]
    one.exchange()
    assert (one.outcomes["a"].kind, one.outcomes["a"].error_code) == ("n" if step else "f", "parts")


def test_a_text_of_too_many_parts_goes_over_a_lane_that_allows_them() -> None:
    """It does not come back to this one."""
    one = Line(two_lanes(max_parts=2))
    put(one.queue("andina"), message(text=long_text(3)))
    one.choose()
    one.exchange()
    assert (one.outcomes["m"].kind, one.outcomes["m"].lane, one.outcomes["m"].attempt) == ("m", "brava", 2)


def test_a_text_that_the_lane_has_no_alphabet_for_goes_over_one_that_has() -> None:
    """Where no lane has, it ends as one that cannot be sent."""
    one = Line(two_lanes(alphabets=["gsm7"]))
    put(one.queue("andina"), message("a", text="日本"))
    one.choose()
    one.exchange()
    assert (one.outcomes["a"].kind, one.outcomes["a"].lane, one.outcomes["a"].attempt) == ("m", "brava", 2)
    other = Line(alone(alphabets=["gsm7"]))
    put(other.queue("andina"), message("b", text="日本"))
    other.choose()
    other.exchange()
    assert (other.outcomes["b"].kind, other.outcomes["b"].error_code) == ("f", "text")


@pytest.mark.parametrize("changes", [{"accepted_ids": ("id-0", "", "")}, {"doubtful": True}])
def test_a_text_that_was_begun_is_completed_where_its_lane_allows_fewer_parts_now(changes: dict[str, Any]) -> None:
    """A reload does not leave half a message."""
    one = Line(alone(max_parts=2))
    put(one.queue("andina"), message(attempt=2, text=long_text(3), **changes))
    assert len(one.write()) == 3 - len([each for each in changes.get("accepted_ids", ()) if each])


def test_a_text_that_the_lane_cannot_carry_any_more_goes_nowhere_else_if_it_was_begun() -> None:
    """The person would have its first parts twice."""
    one = Line(alone(alphabets=["gsm7"]))
    plan = (Step("sms", "", "Nihon", ""),)
    put(one.queue("andina"), message(attempt=2, text="日本", accepted_ids=("id-0", ""), plan=plan))
    one.choose()
    one.exchange()
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("f", ("id-0", ""))


def test_no_more_is_admitted_than_a_lost_ledger_could_account_for() -> None:
    """Beyond the committed offset, until more is committed."""
    one = Line(alone(window=100))
    queue = one.queue("andina")
    span = queue.slot.lane.span
    begin(queue, [record(queue.tp.topic, span + n, encode_message(message(f"m{n}"))) for n in (-1, 0)])
    assert ids(one.write()) == ["m-1"]
    queue.advance(1)
    assert ids(one.write()) == ["m0"]


def test_only_the_parts_that_were_not_accepted_are_written() -> None:
    """Of a message that comes again."""
    one = Line(alone())
    put(one.queue("andina"), message(text=long_text(3), accepted_ids=("id-0", "", "id-2")))
    assert [part.number for part in one.write()] == [1]


def test_what_was_accepted_whole_is_submitted() -> None:
    """Nothing of it is left to write, and no answer would ever end it."""
    one = Line(alone())
    put(one.queue("andina"), message(text=long_text(2), accepted_ids=("id-0", "id-1")))
    assert one.write() == []
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("s", ("id-0", "id-1"))


def test_accepted_ids_of_another_text_say_nothing() -> None:
    """Their number is not that of its parts."""
    one = Line(alone())
    put(one.queue("andina"), message(text=long_text(3), accepted_ids=("id-0", "")))
    assert [part.number for part in one.write()] == [0, 1, 2]


def test_what_will_be_written_next_is_encoded_ahead() -> None:
    """A window's worth, so that the room that an answer makes is used at once."""
    one = Line(alone(window=10))
    queue = one.queue("andina")
    put(queue, *messages(30))
    one.write()
    one.forwarder.refill(one.slots.values(), NOW)
    assert (len(queue.ready), len(queue.records)) == (10, 10)


# Choosing.


def test_a_window_is_filled_and_not_more() -> None:
    """What is answered makes room."""
    one = Line(alone(window=10))
    put(one.queue("andina"), *messages(30))
    parts = one.write()
    assert ids(parts) == [f"m{n}" for n in range(10)]
    assert one.write() == []
    one.answer(parts[:3])
    assert ids(one.write()) == ["m10", "m11", "m12"]


def test_a_window_is_written_in_pieces_where_the_round_trip_is_long() -> None:
    """Four pieces at most, fewer the more slots take their turns meanwhile; the next is chosen without being asked for."""
    one = Line(alone(window=10))
    put(one.queue("andina"), *messages(30))
    lane = one.queue("andina").slot.lane
    lane.round_trip_s = 0.05
    chosen, again = one.forwarder.choose(one.slots.values(), NOW)
    assert (ids(chosen[0][1]), again) == (["m0", "m1"], 0)
    port_of(one.slot("andina")).submit([(part.body, part) for part in chosen[0][1]])
    parts = [*chosen[0][1], *(part for _ in range(5) for part in one.write())]
    assert ids(parts) == [f"m{n}" for n in range(10)]
    assert one.forwarder.choose(one.slots.values(), NOW)[1] > 0
    one.answer(parts)
    lane.round_trip_s = 0.012
    assert len(one.write()) == 5


def test_an_operator_is_not_far_because_turns_are_long() -> None:
    """Answers wait for their turn; pieces would be as many turns as long."""
    one = Line(alone(window=10))
    put(one.queue("andina"), *messages(30))
    one.queue("andina").slot.lane.round_trip_s = 0.05
    one.forwarder.turn_s = 0.03
    assert len(one.write()) == 10


def test_intents_and_claims_are_noted_before_the_write() -> None:
    """The intent is behind the last offset; a claim carries where the record came from and where it is."""
    one = Line(alone())
    queue = one.queue("andina")
    put(queue, message("a", attempt=2), message("b", text=long_text(2), source="0:7:1"))
    one.choose()
    assert queue.entry.intent == 2
    topic = queue.name
    assert one.turn.claims == ["banco/a/2", f"0:7:0|{topic}:0", "banco/b/1", f"0:7:1|{topic}:1"]
    assert list(one.turn.touched) == [topic]


def test_what_bounced_is_in_doubt_again_when_it_is_written_again() -> None:
    """The ledger forgets that it was open; no second claim."""
    one = Line(alone(errors={"ESME_RTHROTTLED": {"disposition": "throttled", "after_s": 0}}))
    queue = one.queue("andina")
    put(queue, message())
    one.answer(one.write(), RTHROTTLED)
    one.turn.touched.clear()
    while not one.write():
        pass
    assert queue.entry.rewritten == [0, 0]
    assert list(one.turn.touched) == [queue.name]
    assert len(one.turn.claims) == 2


def test_urgent_classes_are_written_first_and_others_have_their_reserve() -> None:
    """Of a window of a hundred five are for bulk."""
    one = Line(alone(window=100))
    put(one.queue("andina", "bulk"), *messages(200))
    put(one.queue("andina", "otp"), *[message(f"otp{n}", class_=OTP) for n in range(200)])
    parts = one.write()
    assert [part.flight.message.class_ for part in parts] == ["otp"] * 95 + ["bulk"] * 5


def test_fair_queues_share_what_their_class_is_given() -> None:
    """Whoever has a few is not behind whoever has many."""
    one = Line(alone(window=40, fair_queues=2))
    put(one.queue("andina", "bulk", 0), *messages(500, tenant="many"))
    put(one.queue("andina", "bulk", 1), *[message(f"few{n}", tenant="few") for n in range(20)])
    written = ids(one.write())
    assert sum(each.startswith("few") for each in written) == 20


def test_slots_of_a_lane_share_its_tokens() -> None:
    """Together they choose no more than there are, and take turns at being first."""
    one = Line(alone(binds=2, rate=100, burst=5, window=10))
    first, second = one.queue("andina"), one.slot("andina", 1)
    put(first, *messages(50))
    put(queue_of(second), *messages(50))
    chosen, _ = one.forwarder.choose(one.slots.values(), NOW)
    assert sum(len(parts) for _, parts in chosen) == 5
    firsts = {one.forwarder.choose(one.slots.values(), NOW)[0][0][0].index for _ in range(4)}
    assert firsts == {0, 1}


def test_slots_of_every_lane_take_turns_at_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lanes a worker has, no slot of one is behind its neighbours: each has a quarter of the tokens."""
    one = Line(configured({name: {"binds": 4, "rate": 100, "burst": 5} for name in ("andina", "brava", "clara")}))
    clock = time.monotonic()
    monkeypatch.setattr("gateway.forward.time", SimpleNamespace(monotonic=lambda: clock))
    for name in one.lanes:
        for index in range(4):
            put(queue_of(one.slot(name, index)), *messages(100))
    written: Counter[tuple[str, int]] = Counter()
    for _ in range(100):
        clock += 0.01  # a token for each lane
        parts = one.choose()
        for part in parts:
            slot = part.flight.queue.slot
            assert slot.lane.tokens(clock).take(1, clock) == 1
            written[slot.lane.name, slot.index] += 1
    assert len(written) == 12
    assert max(written.values()) - min(written.values()) <= 5  # what was saved up went to the first


def test_a_bind_that_is_down_is_given_nothing() -> None:
    """Its messages wait unread."""
    one = Line(alone())
    queue = one.queue("andina")
    put(queue, *messages(5))
    port_of(one.slot("andina")).bound = False
    assert one.choose() == []
    assert len(queue.records) == 5


def test_queues_that_are_not_ours_or_fenced_are_left_alone() -> None:
    """Between a revoke and an assignment, and when another worker has them."""
    for attribute, value in (("owned", False), ("fenced", True)):
        one = Line(alone())
        queue = one.queue("andina")
        put(queue, message())
        setattr(queue, attribute, value)
        assert one.choose() == []


def test_the_lease_is_told_what_else_could_be_written() -> None:
    """So that this process gets more of the contract, if it is to be had."""
    one = Line(alone(rate=100, burst=5, window=50))
    put(one.queue("andina"), *messages(30))
    one.choose()
    assert one.lanes["andina"].lease._wanted == 25


def test_the_lease_is_told_when_passwords_wait() -> None:
    """Where processes take turns for its tokens, this one comes first; not for what is less urgent, nor for what it can write."""
    one = Line(alone(rate=100, burst=5, window=50))
    lease = one.lanes["andina"].lease
    put(one.queue("andina", "bulk"), *messages(30))
    put(one.queue("andina", "otp"), *messages(5))
    one.choose()
    assert not lease._urgent
    put(one.queue("andina", "otp"), *messages(11)[5:])
    one.choose()
    assert lease._urgent


def test_whoever_lacks_tokens_is_told_when_there_are_more() -> None:
    """Soon; and nobody is woken for what needs no tokens."""
    one = Line(alone(rate=100, burst=5, window=50))
    put(one.queue("andina"), *messages(30))
    one.lanes["andina"].lease.take(len(one.choose()), time.monotonic())
    _, wait = one.forwarder.choose(one.slots.values(), NOW)
    assert 0 < wait <= 1
    idle = Line(alone())
    put(idle.queue("andina"), *messages(3))
    assert idle.forwarder.choose(idle.slots.values(), NOW)[1] == float("inf")


def test_after_a_throttle_somebody_wakes_when_the_pause_is_over() -> None:
    """All of the window bounced, and nothing else happens: the lane must not stand still."""
    one = Line(alone())
    put(one.queue("andina"), *messages(3))
    one.answer(one.write(), RTHROTTLED)
    _, wait = one.forwarder.choose(one.slots.values(), NOW)
    assert wait <= 60


# Too late.


def test_what_expired_is_not_written() -> None:
    """It makes its claim, since it may be a second copy, which has its end already."""
    one = Line(alone())
    put(one.queue("andina"), message("a", expires_at=NOW - 1), message("b", expires_at=NOW + 60))
    assert ids(one.write()) == ["b"]
    assert [flight.message.message_id for flight in one.turn.unwritten] == ["a"]
    assert one.turn.claims[0] == "banco/a/1"


@pytest.mark.parametrize(("published", "kind"), [(NOW - 60, "j"), (NOW - 60.001, "x")])
def test_what_was_too_late_when_it_was_published_is_rejected(published: float, kind: str) -> None:
    """It never had a time in which to be sent; what did, has expired."""
    one = Line(alone())
    put(one.queue("andina"), message(expires_at=NOW - 60, source=f"0:7:{round(published * 1000)}:0"))
    assert one.write() == []
    one.exchange()
    assert (one.outcomes["m"].kind, one.outcomes["m"].error_code) == (kind, "expired")


def test_what_was_accepted_in_part_is_not_completed_after_its_time() -> None:
    """Its other parts would come in the small hours, hours behind the first. What was accepted is told."""
    one = Line(alone(window=1))
    put(one.queue("andina"), message(text=long_text(2), expires_at=NOW + 10))
    one.answer(one.write())
    assert one.write(NOW + 11) == []
    outcome = one.outcomes["m"]
    assert (outcome.kind, outcome.ids, outcome.parts) == ("x", ("id-m-0", ""), 2)


def test_what_an_earlier_attempt_got_accepted_in_part_is_not_completed_after_its_time() -> None:
    """Nor is it claimed for each of its parts."""
    one = Line(alone())
    begun = message(text=long_text(3), accepted_ids=("id-0", "", ""), attempt=2, expires_at=NOW - 7)
    put(one.queue("andina"), begun)
    assert one.write() == []
    assert one.turn.claims[::2] == ["banco/m/2"]
    one.exchange()
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("x", ("id-0", "", ""))


def test_what_waited_is_encoded_again_with_the_time_that_is_left() -> None:
    """A relative validity_period counts from the write: the lane may have been paused for hours."""
    one = Line(alone())
    put(one.queue("andina"), message("a", expires_at=NOW + 7200))
    one.forwarder.refill(one.slots.values(), NOW)
    (part,) = one.write(NOW + 7000)
    assert b"000000000320000R" in part.body


# Caps and holds.


def test_a_capped_message_comes_back_when_it_expires() -> None:
    """Its end is told in its time, not when the cap would have let it through."""
    one = Line(alone(caps=PAUSED))
    put(one.queue("andina"), message(tenant="capped", expires_at=NOW + 7))
    one.choose()
    assert one.outcomes["m"].due == NOW + 7


def test_a_capped_message_steps_aside_before_anything_is_intended() -> None:
    """No intent, no claim, no token: it is as if it had not come yet."""
    one = Line(alone(caps=PAUSED))
    queue = one.queue("andina")
    put(queue, message(tenant="capped", attempt=3))
    assert one.choose() == []
    assert one.outcomes == {"m": Outcome("w", NOW, due=NOW + 60, attempt=3)}
    assert queue.entry.intent == -1
    assert one.turn.claims == []


def test_those_behind_a_capped_message_go_on() -> None:
    """In the same turn."""
    one = Line(alone(caps=PAUSED))
    put(one.queue("andina"), message("a", tenant="capped"), message("b"), message("c", tenant="capped"), message("d"))
    assert ids(one.choose()) == ["b", "d"]


def test_all_parts_of_a_capped_message_step_aside_with_it() -> None:
    """As one."""
    one = Line(alone(caps=PAUSED))
    put(one.queue("andina"), message("a", tenant="capped", text=long_text(3)), message("b"))
    assert ids([*one.write(), *one.write()]) == ["b"]
    assert len(one.turn.settled) == 1


def test_a_capped_message_keeps_what_an_earlier_attempt_got_accepted() -> None:
    """The person would get those parts twice."""
    one = Line(alone(caps=PAUSED))
    put(one.queue("andina"), message(tenant="capped", text=long_text(2), accepted_ids=("id-0", "")))
    one.choose()
    assert one.outcomes["m"].ids == ("id-0", "")


def test_what_bounced_does_not_ask_its_caps_again() -> None:
    """It has their tokens, and a claim."""
    one = Line(alone(caps={"tenant": {"banco": 1000}}))
    queue = one.queue("andina")
    put(queue, message())
    while not (parts := one.write()):
        if not queue.ready:
            one.turn.settled.clear()
            put(queue, message())
    one.answer(parts, RTHROTTLED)
    one.lanes["andina"].gate.hold("sender", "89000", float("inf"))
    one.choose()
    assert one.outcomes == {}


async def test_a_backlog_of_capped_messages_steps_aside_without_waiting(store_url: str, namespace: str) -> None:
    """A window at a time, but turn after turn: whoever stands behind a thousand of them is written at once."""
    config = configured({"andina": {"caps": PAUSED}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        queue = await site.queue("andina")
        put(queue, *messages(1000, tenant="capped"), message("free"))
        await site.turns(most=500)
        assert ids(site.written("andina")) == ["free"]


# Another owner.


async def test_what_a_fenced_owner_settled_is_left_to_the_next(store_url: str, namespace: str) -> None:
    """Nothing is told of it, expired or failed, and nothing of it stays: should the queue come back, its records are new."""
    config = configured({"andina": {"alphabets": ["gsm7"]}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        queue = await site.queue("andina")
        put(queue, message("late", expires_at=1.0), message("wrong", text="日本"))
        await site.worker.ledger.acquire(queue.name, 0)
        await site.turns()
        assert queue.fenced
        assert site.publisher.waiting == 0
        assert {flight.message.message_id for flight in queue.flights.values()} == {"late", "wrong"}


@pytest.mark.parametrize("revoked", ["meanwhile", "afterwards"])
async def test_what_was_not_written_because_its_queue_had_another_owner_is_let_go(
    store_url: str, namespace: str, revoked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order its revoke comes: the drain does not wait for it, and should the queue come back, it is written."""
    config = configured({"andina": {}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        queue = await site.queue("andina")
        put(queue, message(text=long_text(2)))
        exchange = site.worker.ledger.exchange

        async def away(*asked: Any) -> Any:
            monkeypatch.setattr(site.worker.ledger, "exchange", exchange)
            await site.worker.ledger.acquire(queue.name, 0)
            if revoked == "meanwhile":
                site.dispatcher.release(queue)
            return await exchange(*asked)

        monkeypatch.setattr(site.worker.ledger, "exchange", away)
        await site.turns()
        assert queue.fenced
        if revoked == "afterwards":
            site.dispatcher.release(queue)
        assert queue.quiet
        assert not queue.ready
        found = await site.dispatcher.acquire(queue, 0)
        assert found.outcomes == {}
        queue.recover_before = queue.entry.intent = found.intent
        queue.owned = True
        put(queue, message(text=long_text(2)))
        await site.turns()
        assert len(site.written("andina")) == 2


async def test_what_was_not_written_of_a_message_under_way_is_written_when_its_queue_comes_back(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other part was written before, and is answered after that."""
    config = configured({"andina": {"window": 1}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        queue = await site.queue("andina")
        put(queue, message("m", text=long_text(2)), message("n"))
        await site.turns()
        (first,) = site.written("andina")
        port_of(queue.slot).set_window(3)
        await site.worker.ledger.acquire(queue.name, 0)
        await site.turns()
        assert queue.fenced
        site.dispatcher.release(queue)
        await site.dispatcher.acquire(queue, 0)
        queue.owned = True
        port_of(queue.slot).answer(site.inbox, (first, 0, "id-0"))
        await site.turns()
        assert [part.number for part in site.written("andina")] == [0, 1]


# Second copies.


async def settled(site: Works) -> list[str]:
    """How what has been put ends, in its order."""
    await site.turns()
    kinds = [outcome.kind for _, outcome in site.publisher._settled]
    await site.publish()
    return kinds


@pytest.mark.parametrize(("source", "kind"), [("0:8:0:0", "d"), ("0:7:0", "q")])
async def test_a_second_copy_that_is_refused_is_a_duplicate(
    store_url: str, namespace: str, source: str, kind: str
) -> None:
    """The first may have been delivered: nothing has failed, and nothing goes on, though the lane does not take this one."""
    config = configured({"andina": {"alphabets": ["gsm7"]}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        queue = await site.queue("andina")
        put(queue, message())
        await site.turns()
        (part,) = site.written("andina")
        port_of(queue.slot).answer(site.inbox, (part, 0, "id-1"))
        assert await settled(site) == ["s"]
        put(queue, message(text="日本", source=source, plan=(Step("sms", "", "Nihon", ""),)))
        assert await settled(site) == [kind]


async def test_what_was_refused_once_is_refused_to_its_copies(store_url: str, namespace: str) -> None:
    """It has gone on as the next attempt: a copy that the lane would take, or refuse as well, is one too many."""
    config = configured({"andina": {"alphabets": ["gsm7"]}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        queue = await site.queue("andina")
        put(queue, message(text="日本", plan=(Step("sms", "", "Nihon", ""),)))
        assert await settled(site) == ["n"]
        put(queue, message(source="0:8:0:0"), message(text="日本", source="0:9:0:0"))
        assert await settled(site) == ["d", "d"]
        assert site.written("andina") == []


async def test_a_second_copy_that_comes_too_late_is_a_duplicate(store_url: str, namespace: str) -> None:
    """Its first was in time and was delivered: it is neither rejected nor expired."""
    config = configured({"andina": {}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        queue = await site.queue("andina")
        now = time.time()
        put(queue, message(expires_at=now + 60, source=f"0:7:{now * 1000:.0f}:0"))
        await site.turns()
        (part,) = site.written("andina")
        port_of(queue.slot).answer(site.inbox, (part, 0, "id-1"))
        assert await settled(site) == ["s"]
        late = message("late", expires_at=now - 60, source=f"0:8:{now * 1000:.0f}:1")
        put(queue, message(expires_at=now - 60, source=f"0:8:{now * 1000:.0f}:0"), late)
        assert await settled(site) == ["d", "j"]
        *_, last = [decode_event(value) for _, value in site.broker.records[f"{namespace}.events", 0]]
        assert (last.message_id, last.status, last.error_code) == ("late", EventStatus.REJECTED, "expired")
        assert last.error_text == "expires_at has passed"


# A lane that is down.


def test_what_waits_for_a_lane_that_is_down_moves_to_the_next() -> None:
    """In its order, as the same attempt: nothing was written."""
    one = Line(two_lanes())
    put(one.queue("andina"), *messages(5))
    port_of(one.slot("andina")).bound = False
    one.failover.down = {"andina"}
    assert one.choose() == []
    assert list(one.outcomes) == [f"m{n}" for n in range(5)]
    assert set(map(repr, one.outcomes.values())) == {
        repr(Outcome("m", NOW, error_code=LANE_DOWN, lane="brava", attempt=1))
    }


def test_nobody_is_waiting_where_all_have_moved() -> None:
    """Else the age of the oldest would rise for as long as the lane is down, and somebody be woken for it."""
    one = Line(two_lanes())
    queue = one.queue("andina")
    put(queue, *messages(5))
    one.forwarder.refill(one.slots.values(), NOW)
    assert queue.line.oldest() is not None
    one.failover.down = {"andina"}
    one.choose()
    assert queue.line.oldest() is None


def test_a_long_queue_moves_turn_by_turn() -> None:
    """A batch at a time, and there is reason for the next turn as long as there is more."""
    one = Line(two_lanes(), batch=10)
    put(one.queue("andina"), *messages(25))
    one.failover.down = {"andina"}
    port_of(one.slot("andina")).bound = False
    waits = [one.forwarder.choose(one.slots.values(), NOW)[1] for _ in range(4)]
    assert waits[:2] == [0, 0]
    assert waits[3] == float("inf")
    assert list(one.outcomes) == [f"m{n}" for n in range(25)]


def test_what_is_under_way_on_a_lane_that_is_down_stays() -> None:
    """Written parts may be accepted; so does what is in doubt, and what was accepted in part."""
    one = Line(two_lanes(window=3))
    queue = one.queue("andina", "otp")
    put(queue, message("flying", text=long_text(4), class_=OTP), message("free", class_=OTP))
    one.write()
    one.forwarder.refill(one.slots.values(), NOW)
    one.failover.down = {"andina"}
    one.choose()
    assert list(one.outcomes) == ["free"]
    assert ids(queue.ready) == ["flying"]

    doubtful = Line(two_lanes())
    queue = doubtful.queue("andina", "otp")
    put(queue, message("silent", class_=OTP), message("half", text=long_text(2), class_=OTP))
    silent, accepted, silent_too = doubtful.write()
    doubtful.settler.unanswered([silent, silent_too], NOW)
    doubtful.answer([accepted])
    doubtful.failover.down = {"andina"}
    port_of(doubtful.slot("andina")).bound = False
    doubtful.choose()
    assert doubtful.outcomes == {}
    assert ids(queue.ready) == ["silent", "half"]


def test_without_another_lane_all_stay() -> None:
    """In their order, and nobody turns in circles."""
    one = Line(alone())
    queue = one.queue("andina")
    put(queue, *messages(30))
    one.failover.down = {"andina"}
    port_of(one.slot("andina")).bound = False
    chosen, wait = one.forwarder.choose(one.slots.values(), NOW)
    assert (chosen, wait, one.outcomes) == ([], 1, {})
    assert [record.offset for record in queue.records] == list(range(30))


def test_those_without_another_lane_make_way_for_those_with_one() -> None:
    """Where both wait in one queue: they step aside, the others move, and none is lost."""
    one = Line(mixed(window=10), batch=20)
    put(one.queue("andina"), *[mexican(f"mx{n}") for n in range(50)], *[message(f"co{n}") for n in range(50)])
    one.failover.down = {"andina"}
    port_of(one.slot("andina")).bound = False
    for _ in range(30):
        one.choose()
    moved = [each for each, outcome in one.outcomes.items() if outcome.kind == "m"]
    aside = {each: outcome for each, outcome in one.outcomes.items() if outcome.kind == "w"}
    staying = ids(one.slot("andina").queues[0].ready)
    assert moved == [f"co{n}" for n in range(50)]
    assert sorted([*aside, *staying]) == sorted(f"mx{n}" for n in range(50))
    assert {(outcome.due, outcome.attempt) for outcome in aside.values()} == {(NOW + 300, 1)}


def test_those_that_were_tried_elsewhere_make_way_for_those_that_were_not() -> None:
    """Whatever the routes say of both: what decides is that they cannot move."""
    one = Line(two_lanes(), batch=10)
    stuck = [message(f"stuck{n}", tried=("andina",)) for n in range(20)]
    stuck += [message(f"doubtful{n}", doubtful=True) for n in range(20)]
    put(one.queue("brava"), *stuck, *messages(50))
    one.failover.down = {"brava"}
    port_of(one.slot("brava")).bound = False
    for _ in range(30):
        one.choose()
    assert [each for each, outcome in one.outcomes.items() if outcome.kind == "m"] == [f"m{n}" for n in range(50)]


def test_a_window_in_doubt_does_not_hold_up_those_that_may_move() -> None:
    """It can neither move nor step aside."""
    one = Line(two_lanes(window=10), batch=10)
    put(one.queue("andina", "otp"), *messages(40, class_=OTP))
    one.settler.unanswered(one.write(), NOW)
    one.failover.down = {"andina"}
    port_of(one.slot("andina")).bound = False
    for _ in range(10):
        one.choose()
    assert list(one.outcomes) == [f"m{n}" for n in range(10, 40)]


def test_what_steps_aside_for_others_comes_back_when_it_expires() -> None:
    """As from a cap."""
    one = Line(mixed(window=10), batch=20)
    put(one.queue("andina"), *[mexican(f"mx{n}", expires_at=NOW + 7) for n in range(30)])
    one.failover.down = {"andina"}
    port_of(one.slot("andina")).bound = False
    one.choose()
    assert {outcome.due for outcome in one.outcomes.values()} == {NOW + 7}


def test_nobody_steps_aside_while_nobody_waits_behind() -> None:
    """A few that have no other lane wait for theirs to come back, rather than for the ladder."""
    one = Line(mixed())
    put(one.queue("andina"), *[mexican(f"mx{n}") for n in range(50)])
    one.failover.down = {"andina"}
    port_of(one.slot("andina")).bound = False
    one.choose()
    assert one.outcomes == {}


def test_a_class_of_which_none_has_another_lane_does_not_step_aside() -> None:
    """It would wait minutes in the ladder for nobody's sake, and be late when the lane comes back."""
    config = configured(
        {"andina": {"window": 10}, "brava": {}},
        [{"lane": "andina", "class": "otp"}, {"lanes": ["andina", "brava"], "class": "bulk"}],
    )
    one = Line(config, batch=20)
    put(one.queue("andina", "otp"), *[message(f"otp{n}", class_=OTP) for n in range(50)])
    one.failover.down = {"andina"}
    port_of(one.slot("andina")).bound = False
    for _ in range(5):
        one.choose()
    assert one.outcomes == {}


def test_what_moves_is_not_also_written() -> None:
    """A bind may come up in the very turn in which its lane still counts as down."""
    one = Line(two_lanes())
    put(one.queue("andina"), *messages(5))
    one.failover.down = {"andina"}
    assert one.choose() == []
    assert len(one.outcomes) == 5


# After a crash.


def recovered(outcomes: dict[int, Outcome], *several: Any, class_: str = "bulk", intent: int = 10) -> Line:
    """A line of which an earlier owner has intended to write everything below `intent`."""
    one = Line(alone())
    queue = one.queue("andina", class_)
    queue.recovered = outcomes
    queue.recover_before = intent
    put(queue, *several)
    return one


def test_what_has_an_outcome_is_published_again_and_not_written() -> None:
    """Of every kind."""
    outcomes = {
        n: Outcome(kind, 1.0, due=2.0, lane="andina", attempt=1) for n, kind in enumerate(("s", "f", "r", "w", "m"))
    }
    one = recovered(outcomes, *messages(5))
    assert one.choose() == []
    assert [outcome for _, outcome in one.turn.settled] == list(outcomes.values())
    assert one.turn.touched == {}


def test_what_is_open_is_written() -> None:
    """Only the parts that were not accepted; no claim, the earlier owner's holds."""
    one = recovered({0: Outcome("o", 1.0, ("id-0", ""), parts=2)}, message(text=long_text(2)))
    (part,) = one.choose()
    assert part.number == 1
    assert one.turn.claims == []
    assert one.slot("andina").queues[0].entry.rewritten == [0, 0]


@pytest.mark.parametrize(("class_", "written", "kind"), [("otp", ["m"], None), ("bulk", [], "u")])
def test_what_is_in_doubt_is_as_its_class_wants(class_: str, written: list[str], kind: str | None) -> None:
    """Sent again, or reported."""
    one = recovered({}, message(class_=TrafficClass(class_)), class_=class_)
    assert ids(one.choose()) == written
    outcome = one.outcomes.get("m")
    assert (outcome and outcome.kind) == kind
    if outcome:
        assert outcome.error_code == "crash"


def test_what_is_refused_after_a_crash_may_have_been_accepted_before_it() -> None:
    """The earlier owner may have written it: a receipt may tell, and nobody else carries it."""
    one = recovered({}, message(class_=TrafficClass.OTP), class_="otp")
    one.answer(one.write(), int(CommandStatus.ESME_RINVDSTADR))
    assert one.outcomes["m"].kind == "u"
    assert len(one.turn.doubts) == 4


def test_what_is_beyond_the_intent_is_written_with_its_claim() -> None:
    """It was certainly never written."""
    one = recovered({}, *messages(3), intent=2)
    assert ids(one.choose()) == ["m2"]
    assert one.turn.claims[0] == "banco/m2/1"


def test_what_moved_to_a_lane_that_there_is_no_more_is_written_here() -> None:
    """It crashed before it moved, and the file has changed: this lane has not accepted it, so it is as good as open."""
    one = recovered({0: Outcome("m", 1.0, error_code="ESME_RINVDSTADR", lane="gone", attempt=2)}, message())
    assert ids(one.choose()) == ["m"]
    assert one.outcomes == {}


# Hours.


MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
"""Nobody is written to before seven in the morning, or from seven in the evening."""


def daily(**andina: Any) -> Line:
    one = Line(alone(**andina))
    one.lanes["andina"].gate.keep_hours(Calendar([Hours(time_zone="UTC", days={"mon-sun": "07:00-19:00"})]))
    return one


def test_outside_the_hours_nothing_is_written_and_all_of_it_comes_back_when_they_begin() -> None:
    """Whatever stands behind it, such as a class without hours, goes at once."""
    one = daily()
    put(one.queue("andina"), *messages(30), message("late", expires_at=MONDAY + 3600))
    put(one.queue("andina", "otp"), message("otp", class_=OTP))
    assert ids(one.write(MONDAY)) == ["otp"]
    for _ in range(10):
        one.choose(MONDAY)
    assert {(each.kind, each.due) for id_, each in one.outcomes.items() if id_ != "late"} == {("w", MONDAY + 7 * 3600)}
    assert len(one.outcomes) == 31
    assert one.outcomes["late"].due == MONDAY + 3600
    assert not one.turn.claims[2:]


def test_within_the_hours_an_operator_is_told_when_they_end() -> None:
    """Half an hour before that; and five minutes, when the same message is written at last."""
    one = daily()
    put(one.queue("andina"), message())
    one.forwarder.refill(one.slots.values(), MONDAY + 18.5 * 3600)
    (part,) = one.slots["andina", 0].queues[0].ready
    assert b"000000003000000R" in part.body
    (written,) = one.write(MONDAY + 18 * 3600 + 55 * 60)
    assert written is part
    assert b"000000000500000R" in part.body


def test_what_bounced_at_the_end_of_the_hours_goes_on_as_its_next_attempt() -> None:
    """It has made its claim. A message of which parts were accepted is written to its end."""
    one = daily()
    put(one.queue("andina"), message("short"), message("long", text=long_text(2)))
    short, first, second = one.write(MONDAY + 19 * 3600 - 1)
    one.answer([first], now=MONDAY + 19 * 3600)
    one.answer([short, second], RTHROTTLED, MONDAY + 19 * 3600)
    one.lanes["andina"].adaptive = Adaptive(100_000, 0.0)  # the lane's pause is over
    assert [part.number for part in one.write(MONDAY + 19 * 3600)] == [1]
    outcome = one.outcomes["short"]
    assert (outcome.kind, outcome.due) == ("r", MONDAY + 31 * 3600)


def test_a_later_attempt_of_a_long_message_waits_for_the_hours_too() -> None:
    """Nothing of this attempt is under way, though a part was accepted in the one before."""
    one = daily()
    put(one.queue("andina"), message("long", text=long_text(2), attempt=2, accepted_ids=("id-0", "")))
    assert one.write(MONDAY) == []
    outcome = one.outcomes["long"]
    assert (outcome.kind, outcome.ids, outcome.due) == ("w", ("id-0", ""), MONDAY + 7 * 3600)


@pytest.mark.parametrize(("class_", "kind"), [(TrafficClass.BULK, "u"), (OTP, "r")])
def test_what_is_in_doubt_at_the_end_of_the_hours_is_told_of_as_its_class_says(class_: TrafficClass, kind: str) -> None:
    """One part was not answered and the other bounced: reported, or sent again as another attempt; a receipt may tell in both."""
    one = Line(alone())
    hours = Hours(time_zone="UTC", days={"mon-sun": "07:00-19:00"}, classes=(TrafficClass.BULK, OTP))
    one.lanes["andina"].gate.keep_hours(Calendar([hours]))
    evening = MONDAY + 19 * 3600
    put(one.queue("andina", class_), message("long", text=long_text(2), class_=class_))
    first, second = one.write(evening - 1)
    one.settler.unanswered([first], evening)
    one.answer([second], RTHROTTLED, evening)
    one.lanes["andina"].adaptive = Adaptive(100_000, 0.0)
    assert one.write(evening) == []
    assert one.outcomes["long"].kind == kind
    assert one.turn.doubts


# A store that is away.


def stands_still(site: Works, seconds: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Have the next exchange take so long; returns the time before it."""
    before = clock = time.time()
    monkeypatch.setattr("gateway.dispatch.time", SimpleNamespace(time=lambda: clock, monotonic=time.monotonic))
    exchange = site.worker.ledger.exchange

    async def away(*asked: Any) -> Any:
        nonlocal clock
        clock += seconds
        monkeypatch.setattr(site.worker.ledger, "exchange", exchange)
        return await exchange(*asked)

    monkeypatch.setattr(site.worker.ledger, "exchange", away)
    return before


async def test_what_has_become_too_late_while_the_store_was_away_is_not_written(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been chosen in time, and the exchange took an hour. What may still go goes at once."""
    config = configured({"andina": {}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        now = stands_still(site, 3600, monkeypatch)
        queue = await site.queue("andina")
        put(queue, message("late", expires_at=now + 60), message("good"))
        assert await settled(site) == ["x"]
        assert ids(site.written("andina")) == ["good"]
        assert port_of(queue.slot).in_flight == 1
        assert {each.message.message_id: each.flying for each in queue.flights.values()}["good"] == 1


async def test_what_waited_for_the_store_is_written_with_the_time_that_is_left(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator would deliver it after its end."""
    config = configured({"andina": {}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        now = stands_still(site, 7000, monkeypatch)
        put(await site.queue("andina"), message(expires_at=now + 7200))
        await site.turn()
        (part,) = site.written("andina")
        assert b"000000000320000R" in part.body


async def test_a_message_whose_record_no_intake_has_made_has_an_end_too(store_url: str, namespace: str) -> None:
    """It has no time of a job's record, and has expired all the same."""
    config = configured({"andina": {}}, store_url=store_url, kafka={"prefix": namespace})
    async with works(config) as site:
        put(await site.queue("andina"), message(source="by hand", expires_at=1.0))
        assert await settled(site) == ["x"]
