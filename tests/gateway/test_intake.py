"""From jobs to messages on lane topics: where each goes, what is refused, and what waits for its time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, MessageSizeTooLargeError, RequestTimedOutError
from aiokafka.structs import ConsumerRecord

from gateway.brake import Brake
from gateway.config import Config
from gateway.delay import Ladder
from gateway.failover import Failover
from gateway.intake import Intake, _Said
from gateway.lane import Lane
from gateway.model import Dead, Event, EventStatus, Message, decode_event, decode_job, decode_message
from gateway.operators import Operators
from gateway.outbox import Outbox, partition_of
from gateway.routing import Router
from gateway.store import Patience, Store
from tests.support.dispatching import COORDINATOR, FETCHER, Broker, configured, numbers, record

JOBS = TopicPartition("recado.jobs", 0)
TO = "+573001234567"


class Consumer:
    """What a consumer of aiokafka's is to intake: brings these records once, and notes what is committed.

    `refusals` are raised by the next commits.
    """

    def __init__(self) -> None:
        self._fetcher = FETCHER
        self._coordinator = COORDINATOR
        self.records: list[ConsumerRecord] = []
        self.committed: dict[TopicPartition, int] = {}
        self.assigned = {JOBS}
        self.committing = asyncio.Event()
        self.refusals: list[KafkaError] = []

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        await asyncio.sleep(0)
        records, self.records = self.records, []
        return {JOBS: records} if records else {}

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        self.committing.set()
        if self.refusals:
            raise self.refusals.pop()
        self.committed.update(positions)

    def assignment(self) -> set[TopicPartition]:
        return self.assigned


class Desk:
    """An intake over a broker that keeps what it is sent."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.consumer = Consumer()
        self.broker = Broker()
        self.failover = Failover(config.kafka, config.lanes, Router(config.routes, config.lanes, config.operators))
        self.intake = Intake(
            consumer=self.consumer,
            outbox=Outbox(self.broker),
            kafka=config.kafka,
            ladder=Ladder({1: ("delay.1", 1), 60: ("delay.60", 1)}),
            failover=self.failover,
            operators=Operators(Patience(Store("redis://127.0.0.1:1")), "", lambda: False),
            lanes={name: Lane(lane, 0.0) for name, lane in config.lanes.items()},
            brake=Brake(config.intake.lane_backlog),
        )

    async def take(self, *values: bytes) -> None:
        """Take these records, and stop as a worker does: with everything committed."""
        self.consumer.records = [record(JOBS.topic, 7 + n, value) for n, value in enumerate(values)]
        self.intake.stop()
        await self.intake.run()

    def events(self, status: EventStatus) -> list[Event]:
        events = [decode_event(value) for _, value in self.broker.records["recado.events", 0]]
        return [event for event in events if event.status is status]

    def messages(self) -> dict[tuple[str, int], list[Message]]:
        """What waits for lanes, by topic and partition."""
        return {
            where: [decode_message(value) for _, value in records]
            for where, records in self.broker.records.items()
            if records and where[0].startswith("recado.lane.")
        }

    def lanes(self) -> dict[str, str]:
        """The lane of each message, by the message's id."""
        return {
            each.message_id: topic.split(".")[2] for (topic, _), several in self.messages().items() for each in several
        }


def job(*to: str, **changes: Any) -> bytes:
    recipients = [{"to": each} for each in to or (TO,)]
    return json.dumps({"job_id": "j", "text": "Hola", "recipients": recipients} | changes).encode()


async def taken(config: Config, *values: bytes, down: str = "") -> Desk:
    desk = Desk(config)
    desk.failover.down = frozenset(down.split())
    await desk.take(*values)
    return desk


ALONE = configured({"andina": {}})
RANKED = configured({"andina": {}, "brava": {}, "caribe": {}}, [{"lanes": ["andina", "brava"]}])


@pytest.mark.parametrize("down", ["", "a"])
async def test_what_a_lane_must_not_carry_goes_over_the_next_that_may(down: str) -> None:
    """Though its rank is lower; and waits there, if it is down."""
    collection = job(channel="whatsapp", purpose="third_party_collection", text="", template="due", language="es")
    desk = await taken(numbers(), collection, down=down)
    assert desk.lanes() == {"j:0": "a"}


async def test_a_recipient_becomes_a_message_on_its_lane() -> None:
    """With all that the job says of it, and where it came from."""
    more = {
        "tenant": "banco",
        "campaign": "c",
        "sender": "89000",
        "class": "otp",
        "expires_at": "2100-01-01T00:00:00Z",
        "text": "Hola {a}",
        "recipients": [{"to": TO, "message_id": "mine", "params": {"a": "Ana"}, "operator": "732-101"}],
    }
    desk = await taken(ALONE, job(**more))
    (one,) = desk.messages()["recado.lane.andina.otp", 0]
    assert (one.message_id, one.to, one.text, one.sender, one.job_id) == ("mine", TO, "Hola Ana", "89000", "j")
    assert (one.tenant, one.campaign, one.class_, one.operator) == ("banco", "c", "otp", "732101")
    assert (one.source, one.attempt, one.tried, one.expires_at) == ("0:7:0:0", 1, (), 4102444800.0)
    (accepted,) = desk.events(EventStatus.ACCEPTED)
    assert (accepted.recipients, accepted.rejected) == (1, 0)
    assert desk.consumer.committed == {JOBS: 8}


def test_recipients_of_mail_have_no_step_over_numbers() -> None:
    """They are addresses: an SMS to one would go to nobody, or to somebody."""
    steps = [{"channel": "sms", "text": "Hola"}, {"channel": "email", "subject": "Su cuota", "text": "Hola"}]
    value = job("ana@example.com", channel="email", subject="Su cuota", fallback=steps)
    mail = decode_job(value)
    mail.recipients[0].email = "ana@example.org"
    assert [step.channel for step in _Said(mail).plan(mail.recipients[0])] == ["email"]


def test_a_step_over_mail_of_a_job_of_mail_goes_to_the_same_address() -> None:
    """Nobody says it twice; an `email` beside it is another one."""
    steps = [{"channel": "email", "subject": "Su cuota", "text": "Hola"}]
    mail = decode_job(job("ana@example.com", channel="email", subject="Su cuota", fallback=steps))
    assert [step.to for step in _Said(mail).plan(mail.recipients[0])] == ["ana@example.com"]
    mail.recipients[0].email = "ana@example.org"
    assert [step.to for step in _Said(mail).plan(mail.recipients[0])] == ["ana@example.org"]
    over = decode_job(job(fallback=steps))
    assert _Said(over).plan(over.recipients[0]) == ()


def test_a_step_behind_one_over_mail_goes_to_the_number_again() -> None:
    """What follows takes the address of what failed."""
    steps = [{"channel": "email", "subject": "Su cuota", "text": "Hola"}, {"channel": "sms", "text": "Hola"}]
    over = decode_job(job(fallback=steps))
    over.recipients[0].email = "ana@example.org"
    assert [step.to for step in _Said(over).plan(over.recipients[0])] == ["ana@example.org", TO]


async def test_a_text_that_comes_out_empty_is_refused() -> None:
    """It would be an SMS without a word, and paid for."""
    desk = await taken(ALONE, job(text="{a}", recipients=[{"to": TO, "params": {"a": ""}}]))
    (rejected,) = desk.events(EventStatus.REJECTED)
    assert rejected.error_code == "empty"
    assert desk.messages() == {}


# Lanes.


@pytest.mark.parametrize(
    ("down", "lane"), [("", "andina"), ("andina", "brava"), ("brava", "andina"), ("andina brava", "andina")]
)
async def test_a_lane_that_is_down_is_passed_over(down: str, lane: str) -> None:
    """With all of them down a message waits best where it would otherwise go."""
    desk = await taken(RANKED, job(), down=down)
    assert desk.lanes() == {"j:0": lane}


async def test_a_lane_alone_is_waited_for_while_it_is_down() -> None:
    """There is nowhere else, and nothing is refused for it."""
    desk = await taken(ALONE, job(), down="andina")
    assert desk.lanes() == {"j:0": "andina"}


async def test_recipients_of_one_job_go_by_their_own_routes() -> None:
    """By number and operator."""
    routes = [{"lane": "brava", "prefix": "+52"}, {"lane": "caribe", "operator": "claro"}]
    config = configured({"andina": {}, "brava": {}, "caribe": {}}, routes, operators={"claro": ["732101"]})
    recipients = [
        {"to": TO},
        {"to": "+525512345678"},
        {"to": TO, "operator": "claro"},
        {"to": TO, "operator": "732101"},
    ]
    desk = await taken(config, job(recipients=recipients))
    assert desk.lanes() == {"j:0": "andina", "j:1": "brava", "j:2": "caribe", "j:3": "caribe"}


async def test_a_person_keeps_to_one_partition() -> None:
    """That of the number, whatever else is in the job."""
    people = [f"+57300{n:07d}" for n in range(50)]
    desk = await taken(configured({"andina": {"binds": 4}}), job(*people))
    for (_, partition), several in desk.messages().items():
        assert {partition_of(each.to.encode(), 4) for each in several} == {partition}
    assert len(desk.messages()) == 4


async def test_a_tenant_waits_in_its_queue() -> None:
    """In a topic of its own beside others'."""
    config = configured({"andina": {"fair_queues": 8}})
    desk = await taken(config, job(tenant="banco"), job(tenant="señal".replace("ñ", "n")))
    assert len(desk.messages()) == 2
    assert ("recado.lane.andina.bulk-1", 0) in desk.messages()


# Refused.


@pytest.mark.parametrize(
    ("config", "changes", "code"),
    [
        (ALONE, {"recipients": [{"to": "12"}]}, "number"),
        (configured({"andina": {"classes": ["otp"]}}), {}, "route"),
        (ALONE, {"text": "Hola {a}"}, "parameter"),
        (ALONE, {"text": "a" * 1000}, "parts"),
        (configured({"andina": {"alphabets": ["gsm7"]}}), {"text": "日本"}, "text"),
        (ALONE, {"text": "{a}" * 13_000, "recipients": [{"to": TO, "params": {"a": "x" * 100}}]}, "text"),
    ],
)
async def test_a_recipient_that_cannot_be_is_rejected_with_its_reason(
    config: Config, changes: dict[str, Any], code: str
) -> None:
    """An event for it, and the job is counted with it."""
    desk = await taken(config, job(**changes))
    (rejected,) = desk.events(EventStatus.REJECTED)
    assert (rejected.message_id, rejected.error_code) == ("j:0", code)
    (accepted,) = desk.events(EventStatus.ACCEPTED)
    assert (accepted.recipients, accepted.rejected) == (1, 1)
    assert desk.messages() == {}
    assert desk.intake.counts == {"rejected": 1, "messages": 0}


@pytest.mark.parametrize(("parts", "lanes"), [(2, {"j:0": "andina"}), (1, {})])
async def test_a_text_is_too_long_only_if_it_is_so_for_all_of_its_lanes(parts: int, lanes: dict[str, str]) -> None:
    """Which of them is down now says nothing of an earlier copy: that may have gone, and only the claim of this one knows."""
    config = configured({"andina": {"max_parts": parts}, "brava": {"max_parts": 1}}, [{"lanes": ["andina", "brava"]}])
    desk = await taken(config, job(text="a" * 300), down="andina")
    assert desk.lanes() == lanes
    assert [event.error_code for event in desk.events(EventStatus.REJECTED)] == ([] if lanes else ["parts"])


GSM = {"alphabets": ["gsm7"]}
SHORT = {"max_parts": 1}


@pytest.mark.parametrize(
    ("andina", "brava", "lane", "code"),
    [
        (GSM, {}, "brava", ""),
        ({}, GSM, "andina", ""),
        (GSM, GSM, "", "text"),
        (GSM, SHORT, "", "text"),
        (SHORT, GSM, "", "parts"),
    ],
)
async def test_a_text_that_a_lane_has_no_alphabet_for_goes_over_the_next_that_has(
    andina: dict[str, Any], brava: dict[str, Any], lane: str, code: str
) -> None:
    """As one that takes too many parts does."""
    config = configured({"andina": andina, "brava": brava}, [{"lanes": ["andina", "brava"]}])
    desk = await taken(config, job(text="😀" * 40))
    assert desk.lanes() == ({"j:0": lane} if lane else {})
    assert [event.error_code for event in desk.events(EventStatus.REJECTED)] == ([code] if code else [])


async def test_one_bad_recipient_does_not_stop_the_others() -> None:
    """Nor change their ids."""
    desk = await taken(ALONE, job(TO, "12", "+573001234568"))
    assert desk.lanes() == {"j:0": "andina", "j:2": "andina"}


async def test_a_message_that_no_broker_takes_is_rejected_alone() -> None:
    """Its record is measured with all that its plan says; else nothing behind it would ever be read."""
    recipients = [{"to": TO, "params": {"a": "x" * count}} for count in (4000, 1)]
    desk = await taken(ALONE, job(recipients=recipients, fallback=[{"text": "{a}" * 300}]))
    (rejected,) = desk.events(EventStatus.REJECTED)
    assert (rejected.message_id, rejected.error_code) == ("j:0", "text")
    assert desk.lanes() == {"j:1": "andina"}


async def test_recipients_that_are_rejected_hold_up_nobody_else() -> None:
    """The rest of the loop has its turn after every 500, though nothing is made that could be waited for."""
    desk = Desk(ALONE)
    task = asyncio.create_task(desk.take(job(*["12"] * 1500)))
    seen = set()
    while not task.done():
        seen.add(len(desk.broker.records["recado.events", 0]))
        await asyncio.sleep(0)
    assert seen >= {0, 500, 1000}


@pytest.mark.parametrize("changes", [{}, {"not_before": "2100-01-01T00:00:00Z"}])
async def test_what_is_too_late_goes_to_its_lane_all_the_same(changes: dict[str, str]) -> None:
    """At once: only its claim knows whether an earlier copy was in time, and has been delivered."""
    desk = await taken(ALONE, job(expires_at="2001-01-01T00:00:00Z", **changes))
    assert desk.lanes() == {"j:0": "andina"}
    (accepted,) = desk.events(EventStatus.ACCEPTED)
    assert (accepted.recipients, accepted.rejected) == (1, 0)


async def test_what_is_too_late_and_has_no_lane_is_rejected_as_too_late() -> None:
    """As if it had one."""
    desk = await taken(configured({"andina": {"classes": ["otp"]}}), job(expires_at="2001-01-01T00:00:00Z"))
    (rejected,) = desk.events(EventStatus.REJECTED)
    assert (rejected.message_id, rejected.error_code) == ("j:0", "expired")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"{", "json"),
        (b"\xff", "json"),
        (job(job_id=""), "schema"),
        (job(text=""), "content"),
        (job(template="t"), "content"),
        (job(text="{"), "content"),
    ],
)
async def test_what_is_no_job_is_dead_and_the_next_goes_on(value: bytes, kind: str) -> None:
    """By the schema, or because its fields make no sense together; with its octets and its place."""
    desk = await taken(ALONE, value, job(job_id="good"))
    ((_, dead),) = desk.broker.records["recado.dead", 0]
    letter = msgspec.json.decode(dead, type=Dead)
    assert (letter.topic, letter.offset, letter.value) == ("recado.jobs", 7, value)
    assert desk.intake.dead == {kind: 1}
    assert desk.lanes() == {"good:0": "andina"}
    assert desk.consumer.committed == {JOBS: 9}


# Later.


async def test_what_is_for_later_waits_on_the_ladder() -> None:
    """For the topic of its lane, until its time."""
    desk = await taken(ALONE, job(not_before="2100-01-01T00:00:00Z", tenant="banco"))
    ((due, target, one),) = desk.broker.waiting("delay.60")
    assert (due, target, one.message_id) == (4102444800.0, "recado.lane.andina.bulk", "j:0")
    assert desk.messages() == {}
    (accepted,) = desk.events(EventStatus.ACCEPTED)
    assert (accepted.recipients, accepted.rejected) == (1, 0)


async def test_a_time_that_has_passed_is_now() -> None:
    """It goes at once."""
    desk = await taken(ALONE, job(not_before="2001-01-01T00:00:00Z"))
    assert desk.lanes() == {"j:0": "andina"}


# Plans.


async def test_a_fallback_is_filled_for_each_recipient() -> None:
    """And travels with the message."""
    fallback = [{"channel": "voice", "text": "Buenas {a}"}, {"text": "Adiós {a}", "sender": "1"}]
    recipients = [{"to": TO, "params": {"a": "Ana"}}]
    desk = await taken(ALONE, job(recipients=recipients, text="Hola {a}", fallback=fallback))
    ((one,),) = desk.messages().values()
    voice, sms = one.plan
    assert voice.channel == "voice"
    assert "Buenas Ana" in voice.content
    assert (sms.channel, sms.sender, sms.text) == ("sms", "1", "Adiós Ana")


# Crashes.


async def test_nothing_is_committed_before_kafka_has_what_came_of_it() -> None:
    """Messages and events; a crash in between repeats the job."""
    desk = Desk(ALONE)
    desk.broker.hold = asyncio.Event()
    task = asyncio.create_task(desk.take(job()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert desk.consumer.committed == {}
    desk.broker.hold.set()
    await task
    assert desk.consumer.committed == {JOBS: 8}


@asynccontextmanager
async def uncommitted(error: KafkaError) -> AsyncIterator[Desk]:
    """A desk that has taken a job and could not commit it; it stops in the end."""
    desk = Desk(ALONE)
    desk.consumer.records = [record(JOBS.topic, 7, job())]
    desk.consumer.refusals = [error]
    running = asyncio.create_task(desk.intake.run())
    await desk.consumer.committing.wait()
    yield desk
    desk.intake.stop()
    await running


async def test_a_commit_that_failed_is_repeated() -> None:
    """Without another job of that partition; and what Kafka has is not made again."""
    async with uncommitted(RequestTimedOutError()) as desk:
        pass
    assert desk.consumer.committed == {JOBS: 8}
    assert desk.intake.counts["messages"] == 1


async def test_who_stops_and_cannot_commit_takes_no_more() -> None:
    """The next owner would make all of it again."""
    async with uncommitted(RequestTimedOutError()) as desk:
        desk.intake.stop()
        desk.consumer.records = [record(JOBS.topic, 8, job())]
    assert (desk.consumer.committed, desk.intake.counts["messages"]) == ({JOBS: 8}, 1)


async def test_what_is_somebody_elses_by_now_is_not_committed() -> None:
    """It reads the job again, and commits that."""
    async with uncommitted(IllegalStateError()) as desk:
        desk.consumer.assigned = set()
    assert desk.consumer.committed == {}


async def test_a_job_that_is_read_again_gives_the_same_messages() -> None:
    """Ids, sources and order, so that the claims know the copies."""
    value = job(*[f"+57300{n:07d}" for n in range(1200)])
    first, second = await taken(ALONE, value), await taken(ALONE, value)

    def all_of(desk: Desk) -> list[tuple[str, str]]:
        ((_, several),) = desk.messages().items()
        return [(each.message_id, each.source) for each in several]

    assert all_of(first) == all_of(second)
    assert [each for each, _ in all_of(first)] == [f"j:{n}" for n in range(1200)]


async def test_the_next_jobs_are_read_while_the_last_are_on_their_way() -> None:
    """No further ahead than that: what was made of them waits until Kafka has what was made before."""
    desk = Desk(ALONE)
    running = asyncio.create_task(desk.intake.run())

    async def offer(number: int) -> int:
        """How many messages have been made when this job was offered."""
        desk.consumer.records = [record(JOBS.topic, number, job())]
        for _ in range(50):
            await asyncio.sleep(0)
        return desk.intake.counts["messages"]

    assert await offer(0) == 1  # and committed: the next commit is a second away
    desk.broker.hold = asyncio.Event()
    assert [await offer(number) for number in (1, 2, 3)] == [2, 3, 3]
    assert desk.consumer.committed == {JOBS: 1}
    desk.broker.hold.set()
    desk.intake.stop()
    await running
    ((_, several),) = desk.messages().items()
    assert [each.source for each in several] == [f"0:{number}:0:0" for number in range(3)]
    assert desk.consumer.committed == {JOBS: 3}


async def test_what_kafka_will_never_take_ends_intake_with_nothing_committed() -> None:
    """Going on would make everything of the job again, each time that it is read, and say nothing."""
    desk = Desk(ALONE)
    desk.broker.refusal = MessageSizeTooLargeError()
    desk.consumer.records = [record(JOBS.topic, 7, job())]
    with pytest.raises(RuntimeError, match="cannot be published"):
        await desk.intake.run()
    assert desk.intake.counts["messages"] == 1
    assert desk.consumer.committed == {}
