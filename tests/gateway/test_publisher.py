"""What is settled becomes events, retries, moves and dead letters; then, and only then, its offset is done."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.delay import Ladder
from gateway.flight import Flight, Queue
from gateway.ledger import Outcome
from gateway.model import Dead, EventStatus, Message, Step, TrafficClass, decode_event
from gateway.outbox import Outbox
from gateway.publisher import Publisher
from gateway.settle import LANE_DOWN
from tests.support.dispatching import NOW, Broker, Line, configured, flight_of, message, put, record, works

LANES = configured({"andina": {}, "brava": {"binds": 4, "fair_queues": 8}}, [{"lanes": ["andina", "brava"]}])
TOPIC = "recado.lane.andina.bulk"


class Office:
    """A publisher over a broker that keeps what it is sent, and a queue of which things are settled."""

    def __init__(self, capacity: int = 100) -> None:
        self.broker = Broker()
        self.line = Line(LANES)
        self.queue = self.line.queue("andina")
        self.woken = 0
        self.delivered: list[Any] = []
        self.publisher = Publisher(
            outbox=Outbox(self.broker),
            ladder=Ladder({1: ("delay.1", 1), 60: ("delay.60", 1)}),
            events_topic="events",
            dead_topic="dead",
            capacity=capacity,
            address=self.line.failover.address,
            wake_dispatcher=self._wake,
            on_deliveries=self.delivered.extend,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def publish(self, *settled: tuple[Flight, Outcome], deliveries: tuple[Any, ...] = ()) -> None:
        """Let the loop publish this."""
        task = asyncio.create_task(self.publisher.run())
        self.publisher.add(list(settled), list(deliveries))
        await self.publisher.turned.wait()
        task.cancel()
        await asyncio.wait([task])

    async def became(self, outcome: Outcome, **changes: Any) -> Flight:
        """Publish what became of one message."""
        flight = flight_of(self.queue, message(**changes))
        await self.publish((flight, outcome))
        return flight

    def events(self) -> list[Any]:
        return [decode_event(value) for _, value in self.broker.records["events", 0]]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome("s", NOW, ("id-1",)), EventStatus.SUBMITTED),
        (Outcome("f", NOW, ("",), "ESME_RINVDSTADR", "refused by the operator"), EventStatus.FAILED),
        (Outcome("x", NOW, error_code="expired"), EventStatus.EXPIRED),
        (Outcome("u", NOW, ("",), "no-answer", "written, not answered"), EventStatus.UNKNOWN),
        (Outcome("d", NOW, error_code="duplicate"), EventStatus.DUPLICATE),
    ],
)
async def test_an_end_is_an_event(outcome: Outcome, status: EventStatus) -> None:
    """With the code and the lane, and nothing else is produced."""
    office = Office()
    await office.became(outcome, attempt=3)
    (event,) = office.events()
    assert (event.status, event.message_id, event.lane, event.attempt) == (status, "m", "andina", 3)
    assert event.error_code == outcome.error_code
    assert office.broker.topics() == {"events"}
    assert office.queue.progress.pending == 0


async def test_our_own_second_copy_is_no_news() -> None:
    """Its offset is done and nobody is told."""
    office = Office()
    await office.became(Outcome("q", NOW))
    assert office.broker.topics() == set()
    assert office.queue.progress.pending == 0


async def test_a_retry_waits_on_the_ladder_as_the_next_attempt() -> None:
    """For its own topic, with the parts that were accepted."""
    office = Office()
    await office.became(Outcome("r", NOW, ("id-0", ""), "ESME_RSYSERR", parts=2, due=NOW + 30), attempt=2)
    ((due, target, again),) = office.broker.waiting("delay.1")
    assert (due, target) == (NOW + 30, TOPIC)
    assert again == message(attempt=3, accepted_ids=("id-0", ""))
    assert office.events() == []


async def test_what_steps_aside_waits_as_the_same_attempt() -> None:
    """It has not been tried."""
    office = Office()
    await office.became(Outcome("w", NOW, due=NOW + 30, attempt=2), attempt=2)
    assert office.broker.waiting("delay.1") == [(NOW + 30, TOPIC, message(attempt=2))]
    assert office.events() == []


async def test_what_waits_long_is_put_on_a_longer_rung() -> None:
    """By how long it still is when it is published."""
    office = Office()
    far = 4e9
    await office.became(Outcome("w", NOW, due=far, attempt=1))
    assert office.broker.topics() == {"delay.60"}


@pytest.mark.parametrize(
    ("outcome", "attempt", "tried"),
    [
        (Outcome("m", NOW, error_code="ESME_RINVDSTADR", lane="brava", attempt=3), 3, ("caribe", "andina")),
        (Outcome("m", NOW, error_code=LANE_DOWN, lane="brava", attempt=2), 2, ("caribe",)),
    ],
)
async def test_what_moves_is_put_where_it_waits_for_its_new_lane(
    outcome: Outcome, attempt: int, tried: tuple[str, ...]
) -> None:
    """In the topic of its tenant and the partition of its person; a lane that was only down may have it later."""
    office = Office()
    await office.became(outcome, attempt=2, tried=("caribe",))
    moved = message(attempt=attempt, tried=tried)
    topic, partition = office.line.failover.address("brava", moved)
    assert topic == "recado.lane.brava.bulk-1"
    assert office.broker.messages(topic, partition) == [moved]
    assert office.broker.records[topic, partition][0][0] == moved.to.encode()
    assert office.broker.topics() == {topic}


async def test_a_fallback_goes_on_with_its_step_and_is_told() -> None:
    """As another message of the same id: nothing accepted, nothing tried."""
    office = Office()
    plan = (Step("voice", "", "Hola?", ""), Step("sms", "1", "Otra vez", ""), Step("sms", "2", "Adiós", ""))
    outcome = Outcome("n", NOW, (), "ESME_RINVEXPIRY", "", 1, 0.0, "brava", 3, 1)
    await office.became(outcome, attempt=2, plan=plan, tried=("caribe",))
    (event,) = office.events()
    assert (event.status, event.attempt, event.error_code) == (EventStatus.FALLBACK, 2, "ESME_RINVEXPIRY")
    expected = message(attempt=3, first_attempt=3, sender="1", text="Otra vez", plan=plan[2:])
    assert office.broker.messages(*office.line.failover.address("brava", expected)) == [expected]


async def test_a_record_that_could_not_be_read_is_kept_as_it_was() -> None:
    """In the topic of the dead, with its coordinates."""
    office = Office()
    flight = flight_of(office.queue, record(TOPIC, 17, b"\xff{"), ())  # type: ignore[arg-type]
    await office.publish((flight, Outcome("p", NOW, error_text="why")))
    ((_, value),) = office.broker.records["dead", 0]
    dead = msgspec.json.decode(value, type=Dead)
    assert (dead.topic, dead.offset, dead.reason, dead.value) == (TOPIC, 17, "why", b"\xff{")
    assert office.queue.progress.pending == 0


async def test_the_order_of_what_goes_to_one_place_is_kept() -> None:
    """One person's messages move in the order in which they were."""
    office = Office()
    outcome = Outcome("m", NOW, error_code=LANE_DOWN, lane="brava", attempt=1)
    await office.publish(*[(flight_of(office.queue, message(f"m{n}")), outcome) for n in range(20)])
    topic, partition = office.line.failover.address("brava", message())
    assert [each.message_id for each in office.broker.messages(topic, partition)] == [f"m{n}" for n in range(20)]


async def test_an_offset_is_done_only_when_kafka_has_what_became_of_it() -> None:
    """Be it an event or a message that goes on."""
    for outcome in (
        Outcome("s", NOW, ("id",)),
        Outcome("r", NOW, ("",), due=NOW),
        Outcome("m", NOW, lane="brava", attempt=2),
    ):
        office = Office()
        office.broker.hold = asyncio.Event()
        flight = flight_of(office.queue, message())
        task = asyncio.create_task(office.publish((flight, outcome)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (office.queue.progress.pending, list(office.queue.flights)) == (1, [0])
        office.broker.hold.set()
        await task
        assert (office.queue.progress.pending, list(office.queue.flights)) == (0, [])


async def test_what_is_settled_twice_is_done_once() -> None:
    """A late answer gives a second event, under an id of its own."""
    office = Office()
    flight = await office.became(Outcome("u", NOW, ("",), "no-answer"))
    await office.publish((flight, Outcome("s", NOW, ("id",))))
    assert [event.status for event in office.events()] == [EventStatus.UNKNOWN, EventStatus.SUBMITTED]


async def test_what_was_in_flight_across_a_rebalance_waits_for_its_record() -> None:
    """Its offset is not begun yet in the new life of the queue: when the record comes, it is known."""
    office = Office()
    flight = flight_of(office.queue, message())
    office.queue.take(2, 0)
    await office.publish((flight, Outcome("s", NOW, ("id",))))
    assert [event.status for event in office.events()] == [EventStatus.SUBMITTED]
    assert office.queue.recovered[0].kind == "q"


async def test_deliveries_go_on_with_what_was_settled_before_them() -> None:
    """Behind it: nobody is told `delivered` before `submitted`."""
    office = Office()
    flight = flight_of(office.queue, message())
    await office.publish((flight, Outcome("s", NOW, ("id",))), deliveries=("receipt",))
    assert office.delivered == ["receipt"]
    assert len(office.events()) == 1


async def test_what_is_on_its_way_to_kafka_waits_too() -> None:
    """While Kafka is away it is all that there is; room there is for as many more."""
    office = Office(capacity=2)
    first, second = ((flight_of(office.queue, message(f"m{n}")), Outcome("s", NOW, ("id",))) for n in range(2))
    office.broker.hold = asyncio.Event()
    task = asyncio.create_task(office.publisher.run())
    office.publisher.add([first], [])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (office.publisher.waiting, office.publisher.full) == (1, False)
    office.publisher.add([second], [])
    assert (office.publisher.waiting, office.publisher.full) == (2, False)
    office.broker.hold.set()
    async with asyncio.timeout(5):
        while office.publisher.waiting:  # noqa: ASYNC110 - both batches may have gone at once
            await asyncio.sleep(0)
    assert len(office.events()) == 2
    task.cancel()
    await asyncio.wait([task])


async def test_a_publisher_that_was_full_wakes_the_dispatcher() -> None:
    """Which held still meanwhile."""
    office = Office(capacity=3)
    several = [(flight_of(office.queue, message(f"m{n}")), Outcome("s", NOW, ("id",))) for n in range(3)]
    office.publisher.add(several[:2], [])
    assert not office.publisher.full
    office.publisher.add(several[2:], [])
    assert office.publisher.full
    await office.publish()
    assert (office.publisher.full, office.woken) == (False, 1)
    await office.became(Outcome("s", NOW, ("id",)))
    assert office.woken == 1


async def test_outcomes_are_counted_by_lane_and_class() -> None:
    """By the words of the metrics."""
    office = Office()
    otp: Queue = office.line.queue("andina", "otp")
    kinds = "sfxujdqrwm"
    await office.publish(
        *[(flight_of(office.queue, message(f"m{n}")), Outcome(kind, NOW, ("",), lane="brava", attempt=1))
          for n, kind in enumerate(kinds)],
        (flight_of(otp, message(class_=TrafficClass.OTP)), Outcome("s", NOW, ("id",))),
    )  # fmt: skip
    words = ["submitted", "failed", "expired", "unknown", "rejected", "duplicate"]
    words += ["own_copy", "retry", "deferred", "moved"]
    assert office.publisher.counts == {("andina", "bulk", word): 1 for word in words} | {
        ("andina", "otp", "submitted"): 1
    }


# After a crash between the ledger and Kafka.


@pytest.mark.parametrize("kind", ["w", "m", "r", "s"])
async def test_what_the_ledger_has_is_published_again_as_it_was(kind: str, store_url: str, namespace: str) -> None:
    """The next owner's records are those of the one that crashed, to the octet."""
    lanes = {"andina": {}, "brava": {}}
    config = configured(lanes, [{"lanes": ["andina", "brava"]}], store_url, kafka={"prefix": namespace})
    outcome = {
        "w": Outcome("w", NOW, due=NOW + 600, attempt=2),
        "m": Outcome("m", NOW, error_code="ESME_RINVDSTADR", lane="brava", attempt=3),
        "r": Outcome("r", NOW, ("id-0", ""), "ESME_RSYSERR", parts=2, due=NOW + 60),
        "s": Outcome("s", NOW, ("id-0", "id-1"), parts=2),
    }[kind]
    what: Message = message(attempt=2, text="a" * 300)
    found = []
    for crashed in (True, False):
        async with works(config) as site:
            queue = await site.queue("andina")
            if crashed:
                flight = flight_of(queue, what)
                queue.entry.intent = 1
                site.dispatcher._turn.settle(flight, outcome)
                await site.turn()
            else:
                put(queue, what)
                await site.turns()
                assert site.written("andina") == []
            await site.publish()
            found.append({where: records for where, records in site.broker.records.items() if records})
    assert found[0] == found[1]
    assert len(found[0]) == 1
