"""Owning slots: what an assignment, a revoke, a fetch and a commit make of binds, queues and the ledger."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata
from redis.asyncio import Redis

from gateway.errors import ConfigError, Disposition, GatewayError
from gateway.flight import Queue
from gateway.ledger import Entry, Outcome
from gateway.model import encode_message
from gateway.pairs import Pairs
from gateway.providers.contract import Failure
from gateway.slots import Slots
from ratelimit.lease import Lease
from tests.support.dispatching import (
    FETCHER,
    Port,
    Table,
    Works,
    configured,
    flight_of,
    ids,
    message,
    messages,
    put,
    record,
    works,
)

ANDINA: Mapping[str, Table] = {"andina": {"binds": 2, "drain_s": 0.2}}


class Group:
    """What a consumer of aiokafka's, and its coordinator, is to the slots: offsets, positions and records of the group."""

    def __init__(self) -> None:
        self._fetcher = FETCHER
        self._coordinator = self
        self._heartbeat_task: asyncio.Future[None] | None = None
        self.ailment: Exception | None = None
        self.over = False
        """Whether the group is about to make another assignment."""
        self.beating: list[bool] = []
        """Whether the group knew of the member, as often as it was asked for offsets."""
        self.offsets: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.records: dict[TopicPartition, list[ConsumerRecord]] = {}
        self.failure: Exception | None = None
        self.asked: list[set[TopicPartition]] = []
        self.ends: dict[TopicPartition, int] = {}
        self.before_answer = lambda: None
        self.answers = asyncio.Event()
        """Cleared while a poll waits for records."""
        self.answers.set()

    def check_errors(self) -> None:
        if self.ailment is not None:
            raise self.ailment

    @property
    def _rejoin_needed_fut(self) -> SimpleNamespace:
        return SimpleNamespace(done=lambda: self.over)

    def _start_heartbeat_task(self) -> None:
        self._heartbeat_task = asyncio.get_running_loop().create_future()

    async def fetch_committed_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        self.beating.append(self._heartbeat_task is not None)
        return {tp: OffsetAndMetadata(self.offsets[tp], "") for tp in tps if tp in self.offsets}

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        if self.failure is not None:
            raise self.failure
        self.offsets.update(positions)

    def highwater(self, tp: TopicPartition) -> int | None:
        return self.ends.get(tp)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        self.positions.update(dict.fromkeys(partitions, 0))

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        self.asked.append(set(partitions))
        await asyncio.sleep(0)
        await self.answers.wait()
        self.before_answer()
        found = {tp: records for tp in partitions if (records := self.records.pop(tp, []))}
        self.positions.update({tp: records[-1].offset + 1 for tp, records in found.items()})
        return found


class Deaf(Port):
    """A bind to an operator that never answers an unbind."""

    def __init__(self) -> None:
        super().__init__(10)
        self.aborted = asyncio.Event()

    def abort(self) -> None:
        self.aborted.set()

    async def close(self) -> None:
        await self.aborted.wait()


class Owner:
    """A worker as a member of the group."""

    def __init__(self, works: Works) -> None:
        self.works = works
        self.group = Group()
        self.slots: Slots = works.worker.slots
        self.slots._consumer = self.group
        self.prefix = works.worker.config.kafka.prefix

    def tp(self, lane: str = "andina", class_: str = "bulk", index: int = 0) -> TopicPartition:
        return TopicPartition(f"{self.prefix}.lane.{lane}.{class_}", index)

    def all_of(self, lane: str, *indexes: int) -> set[TopicPartition]:
        return {self.tp(lane, class_, index) for class_ in ("otp", "transactional", "bulk") for index in indexes}

    async def assign(self, *partitions: TopicPartition) -> None:
        """As a rebalance does it: revoke everything, then assign."""
        await self.slots.on_partitions_revoked(set(self.slots._queues))
        await self.slots.on_partitions_assigned(set(partitions))

    def queue(self, tp: TopicPartition) -> Queue:
        return self.slots._queues[tp]

    @asynccontextmanager
    async def fetching(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.slots.fetch())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, condition: object) -> None:
        async with asyncio.timeout(5):
            while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.001)


@asynccontextmanager
async def owner(
    store_url: str, namespace: str, lanes: Mapping[str, Table] = ANDINA, *, leased: bool = True, **limits: int
) -> AsyncIterator[Owner]:
    """A worker whose binds never come up."""
    config = configured(lanes, (), store_url, kafka={"prefix": namespace}, limits=limits)
    async with works(config, leased=leased) as site:
        one = Owner(site)
        try:
            yield one
        finally:
            await one.slots.close()


# Assignments.


async def test_a_slot_is_owned_with_all_its_queues(store_url: str, namespace: str) -> None:
    """One bind for the classes of a partition's number."""
    async with owner(store_url, namespace) as it:
        await it.assign(*it.all_of("andina", 1))
        ((key, slot),) = it.slots.slots.items()
        assert key == ("andina", 1)
        assert [queue.class_ for queue in slot.queues] == ["otp", "transactional", "bulk"]
        assert all(queue.owned and queue.entry.epoch > 0 for queue in slot.queues)


async def test_a_queue_is_read_from_where_the_group_is(store_url: str, namespace: str) -> None:
    """Or from its beginning, if the group has never committed."""
    async with owner(store_url, namespace) as it:
        it.group.offsets = {it.tp(): 42}
        await it.assign(it.tp(), it.tp(index=1))
        assert it.group.positions == {it.tp(): 42, it.tp(index=1): 0}
        assert it.queue(it.tp()).progress.position == 42
        queue = it.queue(it.tp())
        assert queue.limit == 42 + queue.slot.lane.span


async def test_a_slot_that_stays_keeps_its_bind(store_url: str, namespace: str) -> None:
    """Across a rebalance, with an epoch more; one that leaves is closed; one that comes is new."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp(index=0))
        stays = it.slots.slots["andina", 0]
        epoch = it.queue(it.tp()).entry.epoch
        await it.assign(it.tp(index=0), it.tp(index=1))
        comes = it.slots.slots["andina", 1]
        assert it.slots.slots["andina", 0] is stays
        assert it.queue(it.tp()).entry.epoch > epoch
        await it.assign(it.tp(index=1))
        assert it.slots.slots == {("andina", 1): comes}
        assert stays.queues == []


async def test_a_bind_that_cannot_be_taken_leave_of_is_dropped(store_url: str, namespace: str) -> None:
    """Whoever has its slot next binds soon, and the account has so many binds and no more."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp(index=0))
        slot = it.slots.slots["andina", 0]
        await slot.port.close()
        slot.port = port = Deaf()
        await it.assign(it.tp(index=1))
        await it.until(port.aborted.is_set)


async def test_caps_follow_the_slots_that_are_owned(store_url: str, namespace: str) -> None:
    """With one of two slots half of a cap is this process's."""
    lanes = {"andina": {"binds": 2, "drain_s": 0.2, "caps": {"tenant": 100}}}
    async with owner(store_url, namespace, lanes) as it:
        gate = it.works.worker.lanes["andina"].gate
        await it.assign(it.tp())
        assert gate.wait(message(tenant="a"), 1, 0.0) == pytest.approx(1 / 50)
        await it.assign(it.tp(), it.tp(index=1))
        assert gate.wait(message(tenant="b"), 1, 0.0) == pytest.approx(1 / 100)
        await it.assign()
        assert gate.wait(message(tenant="c"), 1, 0.0) == 60


async def test_who_has_no_slot_of_a_lane_wants_nothing_of_its_rate(store_url: str, namespace: str) -> None:
    """Whatever was wanted when the last one left."""
    async with owner(store_url, namespace, leased=False) as it:
        await it.assign(it.tp())
        lease = it.works.worker.lanes["andina"].lease
        lease.want(8)
        await it.assign()
        assert lease._wanted == 0


async def test_slots_that_come_may_have_used_up_what_people_had_and_a_reload_has_not(
    store_url: str, namespace: str
) -> None:
    """After a rebalance a person gets one part until more has accrued; a change of weights takes nothing from anybody."""
    async with owner(store_url, namespace) as it:
        pairs = Pairs(3600.0, 10, -1e6)
        it.works.worker.lanes["andina"].gate.pairs = pairs
        it.slots.reconfigure()
        assert [pairs.wait("+573001234567", 1, time.monotonic()) > 0 for _ in range(3)] == [False, False, False]
        await it.assign(it.tp())
        assert [pairs.wait("+573001234568", 1, time.monotonic()) > 0 for _ in range(3)] == [False, True, True]


def opens_at_once(lease: Lease) -> bool:
    """Whether a lease says of a store that it has not seen before that nobody else can be using it."""
    beat = lease.request(0.0)[2]
    lease.answered([beat, "new", 0, 0, []], 0.0)
    return bool(lease.request(0.1)[4])


async def test_only_a_lane_that_nobody_ever_used_may_be_used_at_once(store_url: str, namespace: str) -> None:
    """Of any other somebody may still hold a share; and a lane without a slot here asks for none."""
    lanes = {name: {"drain_s": 0.2} for name in ("andina", "brava", "caribe", "delta")}
    async with owner(store_url, namespace, lanes, leased=False) as it:
        it.group.offsets = {it.tp("brava"): 1}
        await it.works.worker.ledger.acquire(f"{it.tp('caribe').topic}:0", 0)
        await it.assign(it.tp("andina"), it.tp("brava"), it.tp("caribe"))
        found = {name: opens_at_once(lease) for name, lease in it.slots.leases.items()}
        assert found == {"andina": True, "brava": False, "caribe": False}


async def test_an_assignment_that_fails_ends_the_worker(store_url: str, namespace: str) -> None:
    """The group would log it and go on, with queues that nobody forwards."""
    async with owner(store_url, namespace) as it:

        async def fails(tps: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
            raise KafkaConnectionError("away")

        it.group.fetch_committed_offsets = fails  # type: ignore[method-assign]
        await it.assign(it.tp())
        with pytest.raises(KafkaConnectionError):
            await it.slots.fetch()


async def test_many_queues_are_taken_without_being_taken_for_dead(store_url: str, namespace: str) -> None:
    """The group is asked once for where they are, and knows of its member before their ledgers are read, one by one."""
    async with owner(store_url, namespace, leased=False) as it:
        it.group.offsets = dict.fromkeys(it.all_of("andina", 0, 1), 7)
        await it.assign(*it.all_of("andina", 0, 1))
        assert it.group.beating == [True]
        assert {queue.committed for queue in it.slots._queues.values()} == {7}


async def test_an_assignment_that_is_over_takes_nothing_more(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the rest by then would be fenced, by one who knows an older offset."""
    async with owner(store_url, namespace) as it:
        acquire = it.works.dispatcher.acquire

        async def meanwhile(*arguments: object) -> object:
            it.group.over = True
            return await acquire(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(it.works.dispatcher, "acquire", meanwhile)
        await it.assign(it.tp(), it.tp(index=1))
        assert it.slots.slots.keys() == {("andina", 0)}
        assert not it.slots._ready.is_set()
        monkeypatch.undo()
        it.group.over = False
        await it.assign(it.tp(), it.tp(index=1))
        assert it.slots.slots.keys() == {("andina", 0), ("andina", 1)}
        assert it.slots._ready.is_set()


async def test_a_stop_does_not_wait_for_an_assignment(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be waiting for a store that is away; what it has not bound is not bound any more, nor by a later one."""
    async with owner(store_url, namespace) as it:
        acquire = it.works.dispatcher.acquire
        asked = asyncio.Event()

        async def second_waits(queue: Queue, committed: int, lost: int) -> object:
            if queue.tp.partition:
                asked.set()
                await asyncio.Event().wait()
            return await acquire(queue, committed, lost)

        monkeypatch.setattr(it.works.dispatcher, "acquire", second_waits)
        assigning = asyncio.create_task(it.assign(it.tp(), it.tp(index=1)))
        await asked.wait()
        assert it.slots.slots.keys() == {("andina", 0)}
        async with asyncio.timeout(5):
            await it.slots.close()
            await assigning
        await it.assign(it.tp())
        assert it.slots.slots == {}


async def test_what_ails_the_group_is_heard_while_nothing_is_fetched(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between revoke and assign aiokafka tries no more until somebody has heard; and without heartbeats there is no member."""
    monkeypatch.setattr("gateway.slots._COMMIT_S", 0.01)
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        await it.slots.on_partitions_revoked({it.tp()})
        it.group.ailment = GroupAuthorizationFailedError("recado.lanes")
        committing = asyncio.create_task(it.slots.commit())
        await it.until(lambda: caplog.text.count("group: [Error 30]") > 1)
        assert it.group._heartbeat_task is not None
        it.group._heartbeat_task.set_exception(it.group.ailment)
        with pytest.raises(GatewayError, match="stopped sending heartbeats"):
            await committing


# What the ledger knows.


async def written_by_another(it: Owner, intent: int, outcomes: Mapping[int, Outcome]) -> None:
    """Another worker has owned andina's bulk queue, and crashed."""
    name = f"{it.tp().topic}:0"
    ledger = it.works.worker.ledger
    entry = Entry(name, (await ledger.acquire(name, 0)).epoch)
    entry.intent = intent
    for offset, outcome in outcomes.items():
        entry.settle(offset, outcome)
    await ledger.exchange([entry], [], [], [], [])


async def test_a_queue_comes_with_what_its_ledger_knows(store_url: str, namespace: str) -> None:
    """What may have been written, and what became of it."""
    async with owner(store_url, namespace) as it:
        await written_by_another(it, 3, {1: Outcome("s", 1.0, ("id",))})
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        assert (queue.recover_before, queue.entry.intent, queue.unsure) == (3, 3, False)
        assert queue.recovered == {1: Outcome("s", 1.0, ("id",))}


async def test_after_a_crash_each_record_is_what_the_ledger_says(store_url: str, namespace: str) -> None:
    """Published again, put aside again, moved again, reported, or written: all from one assignment on."""
    lanes = {**ANDINA, "brava": {"drain_s": 0.2}}
    async with owner(store_url, namespace, lanes) as it:
        await written_by_another(
            it,
            5,
            {
                0: Outcome("s", 1.0, ("id-0",)),
                1: Outcome("w", 1.0, due=4e9, attempt=1),
                2: Outcome("m", 1.0, error_code="ESME_RINVDSTADR", lane="brava", attempt=2),
                3: Outcome("o", 1.0),
            },
        )
        await it.assign(it.tp())
        site = it.works
        slot = it.slots.slots["andina", 0]
        await slot.port.close()
        slot.port = Port(10)  # type: ignore[assignment]
        tp = it.tp()
        it.group.records[tp] = [record(tp.topic, n, encode_message(each)) for n, each in enumerate(messages(6))]
        queue = it.queue(tp)
        async with it.fetching():
            await it.until(lambda: len(queue.records) == 6)
        await site.turns()
        assert ids(site.written("andina")) == ["m3", "m5"]
        await site.publish()
        events = [value for _, value in site.broker.records[f"{namespace}.events", 0]]
        assert [b"submitted" in value or b"unknown" in value for value in events] == [True, True]
        assert site.broker.messages(f"{namespace}.lane.brava.bulk")[0].message_id == "m2"
        assert [one.message_id for _, _, one in site.broker.waiting(f"{namespace}.delay.14400")] == ["m1"]
        assert queue.progress.position == 3
        queue.flights.clear()  # nobody will answer them


async def test_a_ledger_that_is_lost_is_loudly_doubted(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The group has committed, so somebody has written: of what is in the topic, as much as may have been is in doubt."""
    async with owner(store_url, namespace) as it:
        it.group.offsets, it.group.ends = {it.tp(): 100}, {it.tp(): 1_000_000}
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        async with it.fetching():
            await it.until(lambda: queue.slot.lane.meter.ledgers_lost == 1)
        assert (queue.unsure, queue.recover_before) == (True, 100 + queue.slot.lane.span)
        assert [each.levelno for each in caplog.records if each.levelno > logging.ERROR] == [logging.CRITICAL]


async def test_what_came_after_the_ledger_was_lost_is_not_in_doubt(store_url: str, namespace: str) -> None:
    """Nobody can have written what was not in the topic when its queue came to us; the next owner knows that too."""
    async with owner(store_url, namespace) as it:
        it.group.offsets = {it.tp(): 100}
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        async with it.fetching():
            it.group.ends = {it.tp(): 99}  # of a leader that does not know its end yet
            await asyncio.sleep(0.02)
            assert queue.recover_before == 100 + queue.slot.lane.span
            it.group.ends = {it.tp(): 103}
            await it.until(lambda: queue.recover_before == 103)
        await it.works.turns()
        it.group.ends = {it.tp(): 150}
        await it.assign(it.tp())
        assert (queue.unsure, queue.recover_before) == (False, 103)


async def test_a_ledger_that_is_lost_stays_so_until_it_was_told(store_url: str, namespace: str) -> None:
    """A second owner comes before the first has said anything: it finds the queue known, and nothing known of it."""
    async with owner(store_url, namespace) as it:
        await it.works.worker.ledger.acquire(f"{it.tp().topic}:0", 100, 140)
        it.group.offsets, it.group.ends = {it.tp(): 100}, {it.tp(): 120}
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        assert (queue.unsure, queue.recover_before) == (True, 140)
        async with it.fetching():
            await it.until(lambda: queue.recover_before == 120)


async def test_a_topic_that_was_made_anew_has_nothing_to_do_with_its_ledger(store_url: str, namespace: str) -> None:
    """What became of the offsets of the old one would be told of messages that nobody has sent."""
    async with owner(store_url, namespace) as it:
        tp = it.tp()
        await written_by_another(it, 5, {1: Outcome("s", 1.0, ("id",))})
        it.group.ends = {tp: 3}
        await it.assign(tp)
        queue = it.queue(tp)
        async with it.fetching():
            await it.until(lambda: queue.recover_before == 0)
        assert queue.recovered == {}
        await it.works.turns()
        found = await it.works.worker.ledger.acquire(queue.name, 0)
        assert (found.intent, found.outcomes) == (0, {})


async def test_a_rebalance_while_an_older_ledger_is_forgotten_begins_afresh(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fetched before it is dropped, whether or not the queues come back."""
    async with owner(store_url, namespace) as it:
        tp, other = it.tp(), it.tp(index=1)
        await written_by_another(it, 5, {})
        it.group.offsets = {other: 100}
        it.group.ends = {tp: 3, other: 100}
        await it.assign(tp, other)
        trim = it.works.worker.ledger.trim
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def slow(passed: list[tuple[str, int, int]]) -> None:
            if passed:
                asked.set()
                await go_on.wait()
            await trim(passed)

        monkeypatch.setattr(it.works.worker.ledger, "trim", slow)
        it.group.records[tp] = [record(tp.topic, n, encode_message(one)) for n, one in enumerate(messages(3))]
        async with it.fetching() as fetching:
            await asked.wait()
            await it.assign(tp)
            go_on.set()
            queue = it.queue(tp)
            await it.until(lambda: queue.recover_before == 0)
            assert not fetching.done()
            assert (len(queue.records), queue.fenced) == (0, False)
            assert "shorter" not in caplog.text


async def test_a_topic_that_is_shorter_than_what_was_read_stands_still(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It was made anew, or lost its end: whether what it gives was sent before, nobody here can know. The others go on."""
    async with owner(store_url, namespace) as it:
        tp, other = it.tp(), it.tp(index=1)
        it.group.offsets = {tp: 5}
        await it.assign(tp, other)
        it.group.records = {
            each: [record(each.topic, n, encode_message(one)) for n, one in enumerate(messages(3))]
            for each in (tp, other)
        }
        async with it.fetching():
            await it.until(lambda: len(it.queue(other).records) == 3 and it.queue(tp).fenced)
            asked = len(it.group.asked)
            await it.until(lambda: len(it.group.asked) > asked)
        assert (len(it.queue(tp).records), it.group.asked[-1]) == (0, {other})
        assert "shorter than what was read" in caplog.text


async def test_a_ledger_that_is_lost_meanwhile_is_loudly_told_again(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is in doubt, but ids that were used before are forgotten."""
    async with works(configured({"andina": {}}, (), store_url, kafka={"prefix": namespace})) as site:
        queue = await site.queue("andina")
        async with Redis.from_url(store_url) as redis:
            assert await redis.delete(f"{namespace}:q:{queue.name}") == 1
        put(queue, message("m"))
        await site.turns()
        assert ids(site.written("andina")) == ["m"]
        assert (queue.unsure, queue.slot.lane.meter.ledgers_lost) == (False, 1)
        assert [each.levelno for each in caplog.records if each.levelno > logging.ERROR] == [logging.CRITICAL]
        queue.flights.clear()  # nobody will answer it


async def test_queues_at_rest_are_told_again_too(store_url: str, namespace: str) -> None:
    """Else their next owner would take what waits in them for what may have been written."""
    async with works(configured({"andina": {}, "brava": {}}, (), store_url, kafka={"prefix": namespace})) as site:
        queue, resting = await site.queue("andina"), await site.queue("brava")
        async with Redis.from_url(store_url) as redis:
            await redis.delete(f"{namespace}:q:{queue.name}", f"{namespace}:q:{resting.name}")
            put(queue, message("m"))
            await site.turns()
            assert await redis.exists(f"{namespace}:q:{resting.name}")
        queue.flights.clear()  # nobody will answer it


# Fetching.


async def test_records_come_to_their_queues(store_url: str, namespace: str) -> None:
    """Their offsets are begun, and whoever forwards wakes."""
    async with owner(store_url, namespace) as it:
        tp = it.tp()
        await it.assign(tp)
        it.works.inbox.wake.clear()
        it.group.records[tp] = [record(tp.topic, 0, b"{}"), record(tp.topic, 5, b"{}")]
        queue = it.queue(tp)
        async with it.fetching():
            await it.until(lambda: len(queue.records) == 2)
        assert queue.progress.pending == 2
        assert it.works.inbox.wake.is_set()


async def test_a_queue_that_is_full_is_not_asked_for(store_url: str, namespace: str) -> None:
    """The others are."""
    async with owner(store_url, namespace, buffered_messages=10, batch_messages=5) as it:
        full, free = it.tp(), it.tp(index=1)
        await it.assign(full, free)
        it.queue(full).records.extend([record(full.topic, n, b"{}") for n in range(5)])
        async with it.fetching():
            await it.until(lambda: it.group.asked)
        assert it.group.asked[0] == {free}


async def test_many_queues_hold_no_more_than_the_buffer(store_url: str, namespace: str) -> None:
    """However many there are: once it is full, a queue gets as much as it needs to go on."""
    async with owner(store_url, namespace, buffered_messages=1500, batch_messages=1000) as it:
        full, begun, free = it.tp(), it.tp(index=1), it.tp(class_="otp")
        await it.assign(full, begun, free)
        for tp, count in ((full, 900), (begun, 600)):
            it.queue(tp).records.extend([record(tp.topic, n, b"{}") for n in range(count)])
        async with it.fetching():
            await it.until(lambda: it.group.asked)
        assert it.group.asked[0] == {free}


async def test_what_was_fetched_across_a_rebalance_is_dropped(store_url: str, namespace: str) -> None:
    """It comes again, from the committed offset; taken twice it would be written twice."""
    async with owner(store_url, namespace) as it:
        tp = it.tp()
        await it.assign(tp)
        it.group.records[tp] = [record(tp.topic, 0, b"{}")]
        it.group.before_answer = it.slots._ready.clear
        async with it.fetching():
            await it.until(lambda: it.group.asked)
            await asyncio.sleep(0)
        assert len(it.queue(tp).records) == 0
        assert it.queue(tp).progress.pending == 0


async def test_a_poll_that_outlasts_a_rebalance_takes_nothing_away(store_url: str, namespace: str) -> None:
    """What it brings is dropped, so the position goes back after it: records would wait for the next rebalance."""
    async with owner(store_url, namespace) as it:
        tp = it.tp()
        it.group.offsets[tp] = 5
        await it.assign(tp)
        it.group.answers.clear()
        async with it.fetching():
            await it.until(lambda: it.group.asked)
            assigning = asyncio.create_task(it.assign(tp))
            await asyncio.wait([assigning], timeout=0.2)  # all of it but for what has to wait for the poll
            it.group.records[tp] = [record(tp.topic, 5, b"{}")]
            it.group.answers.set()
            await assigning
            await it.until(lambda: len(it.group.asked) > 1)
        assert it.group.positions[tp] == 5
        assert it.queue(tp).progress.pending == 0


# Revoking.


async def test_a_revoke_lets_go_of_what_was_not_written(store_url: str, namespace: str) -> None:
    """The next owner reads it again; nothing of it is told to the ledger."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        queue.records.extend([record(it.tp().topic, 0, b"{}")])
        await it.slots.on_partitions_revoked({it.tp()})
        assert not queue.owned
        assert not queue.records
        assert queue.quiet


async def test_a_revoke_commits_what_is_done(store_url: str, namespace: str) -> None:
    """So that nothing that was published is read again."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        queue.progress.begin([0, 1, 2])
        queue.progress.done_many([0, 1])
        await it.slots.on_partitions_revoked({it.tp()})
        assert it.group.offsets == {it.tp(): 2}


async def test_a_revoke_waits_for_what_is_under_way_and_not_for_ever(store_url: str, namespace: str) -> None:
    """`drain_s`; then it is the ledger's to tell."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        flight = flight_of(queue, message())
        flight.flying = flight.left = 1
        revoking = asyncio.create_task(it.slots.on_partitions_revoked({it.tp()}))
        await asyncio.sleep(0.02)
        assert not revoking.done()
        await revoking
        assert it.group.offsets == {}
        assert queue.flights.pop(0) is flight


async def test_what_is_still_under_way_when_the_queue_comes_back_is_known(store_url: str, namespace: str) -> None:
    """Its record comes again while its answer is on its way: it is not written twice."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        flight = flight_of(queue, message())
        flight.flying = flight.left = 1
        await it.assign(it.tp())
        assert it.queue(it.tp()) is queue
        assert queue.flights.pop(0).stray


# Committing.


async def test_a_commit_gives_room_for_more(store_url: str, namespace: str) -> None:
    """The span begins at the committed offset, and whoever forwards wakes."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        queue.progress.begin([0, 1])
        queue.progress.done_many([0])
        it.works.inbox.wake.clear()
        await it.slots._commit()
        assert (queue.committed, queue.limit) == (1, 1 + queue.slot.lane.span)
        assert it.works.inbox.wake.is_set()


async def test_a_commit_that_fails_is_made_again(store_url: str, namespace: str) -> None:
    """Nothing counts as committed that the group does not know."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        queue.progress.begin([0])
        queue.progress.done_many([0])
        it.group.failure = KafkaConnectionError("away")
        await it.slots._commit()
        assert (queue.committed, it.group.offsets) == (0, {})
        it.group.failure = None
        await it.slots._commit()
        assert (queue.committed, it.group.offsets) == (1, {it.tp(): 1})


async def test_a_fenced_queue_is_not_committed(store_url: str, namespace: str) -> None:
    """Its other owner does that."""
    async with owner(store_url, namespace) as it:
        await it.assign(it.tp())
        queue = it.queue(it.tp())
        queue.progress.begin([0])
        queue.progress.done_many([0])
        queue.fenced = True
        await it.slots._commit()
        assert it.group.offsets == {}


# Reload.

# Reload.


async def test_a_reload_reaches_binds_and_caps_without_dropping_one(store_url: str, namespace: str) -> None:
    """Windows, weights, rates, caps, routes and what is in doubt: all of it, and the slots are the same."""
    async with owner(store_url, namespace) as it:
        worker = it.works.worker
        await it.assign(it.tp())
        slot = it.slots.slots["andina", 0]
        port = slot.port
        lanes = {
            "andina": {"binds": 2, "drain_s": 0.2, "rate": 7, "window": 33, "weights": {"a": 5}, "caps": {"tenant": 2}}
        }
        config = configured(
            lanes,
            [{"lane": "andina", "prefix": "+57"}],
            store_url,
            kafka={"prefix": namespace},
            classes={"bulk": {"in_doubt": "resend"}},
        )
        changed = worker.reload(config)
        assert {change.path for change in changed} >= {"lanes.andina.rate", "lanes.andina.window"}
        assert it.slots.slots == {("andina", 0): slot}
        assert slot.port is port
        assert slot.turns.weights == {"a": 5}
        assert port._sender.config.window == 33
        assert slot.lane.gate.wait(message(), 1, 0.0) == pytest.approx(1.0), "half of two a second"
        assert slot.lane.lease._contract_rate == 7 << 20
        assert worker.failover.router.routes == config.routes
        assert worker.dispatcher._settler.classes.bulk.in_doubt == "resend"


async def test_a_reload_that_needs_a_restart_changes_nothing(store_url: str, namespace: str) -> None:
    """Half of a file is a configuration that nobody wrote."""
    async with owner(store_url, namespace) as it:
        worker = it.works.worker
        await it.assign(it.tp())
        before = worker.config
        lanes = {"andina": {"binds": 3, "rate": 7}}
        with pytest.raises(ConfigError) as caught:
            worker.reload(configured(lanes, (), store_url, kafka={"prefix": namespace}))
        assert "lanes.andina.binds" in {problem.path for problem in caught.value.problems}
        assert worker.config is before
        assert worker.lanes["andina"].config.rate == 100_000


async def test_a_reload_lets_a_stopped_lane_go_on(store_url: str, namespace: str) -> None:
    """Its messages are not moved away any more, though somebody who has looked need not have changed anything."""
    async with owner(store_url, namespace) as it:
        worker = it.works.worker
        worker.lanes["andina"].stop(Failure(Disposition.STOP, "ESME_RINVPASWD"))
        worker._health.stop("andina", 0.0)
        assert worker._health.down(0.0) == {"andina"}
        worker.reload(worker.config)
        assert worker._health.down(0.0) == set()
        assert not worker.lanes["andina"].stopped
