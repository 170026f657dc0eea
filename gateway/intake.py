"""Jobs to messages: validate, personalise, route, and hand over to the lane topics.

Nothing is decided here that a crash could not decide again: the same record gives the same messages with the same ids, and the
claim at dispatch knows a second copy. So the order is produce, publish, commit, and a crash in between repeats.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from gateway import content, dead, events, numbers
from gateway.brake import Brake
from gateway.config import Kafka
from gateway.consumers import commit, fetch
from gateway.delay import Ladder
from gateway.errors import DeadKind, InvalidJob, MissingParameter
from gateway.failover import Failover, admits, topic_of, with_step
from gateway.lane import Lane
from gateway.metrics.meters import histogram
from gateway.model import Job, Message, Recipient, Step, deadline_of, decode_job, encode_message, message_id_of
from gateway.operators import Operators
from gateway.outbox import Batches, Outbox, Record, partition_of
from gateway.personalise import TooLong
from gateway.route_config import network
from gateway.routing import pick
from gateway.settle import TOO_LATE
from smpp.errors import SMPPError

log = logging.getLogger("gateway.intake")

_CHUNK = 500
"""Recipients between two looks at the rest of the loop: a job of 10,000 must not hold up a one-time password."""

_COMMIT_S = 1.0
"""Between two commits. What is read again after a crash is produced again, and its copies meet their claims."""

_MOST_OCTETS = 800_000
"""Of a message's record. A batch of ours holds 900,000 (`topics`), and lanes and ids that the message gathers need room."""


class Rejected(Exception):
    """One recipient that never becomes a message; the others go."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class _Said:
    """What a job says: compiled once, filled for each recipient. Raises `InvalidJob` for what cannot be said so."""

    __slots__ = ("main", "steps")

    def __init__(self, job: Job) -> None:
        self.main = content.compile(job)
        steps = [(step, content.compile(step)) for step in job.fallback]
        # Recipients of mail are addresses: nothing but mail reaches them.
        self.steps = [each for each in steps if job.channel != "email" or each[0].channel == "email"]

    def plan(self, recipient: Recipient) -> tuple[Step, ...]:
        """Return what follows if the first channel fails; raises as `Renderer.render` does.

        A step over mail is left out for whoever has no address.
        """
        steps: list[Step] = []
        for step, renderer in self.steps:
            # Behind a step over mail the number has to be said again.
            number = recipient.to if any(each.to for each in steps) else ""
            to = (recipient.email or recipient.to) if step.channel == "email" else number
            if step.channel == "email" and numbers.check_address(to):
                continue
            rendered = renderer.render(recipient.params)
            steps.append(Step(step.channel, step.sender, rendered.text, rendered.content, to))
        return tuple(steps)


class Intake:
    """One loop per worker over its partitions of the jobs topic."""

    def __init__(
        self,
        *,
        consumer: AIOKafkaConsumer,
        outbox: Outbox,
        kafka: Kafka,
        ladder: Ladder,
        failover: Failover,
        operators: Operators,
        lanes: Mapping[str, Lane],
        brake: Brake,
    ) -> None:
        self._consumer = consumer
        self._outbox = outbox
        self._kafka = kafka
        self._ladder = ladder
        self._failover = failover
        self._operators = operators
        self._lanes = lanes
        self._brake = brake
        self.counts: Counter[str] = Counter()
        """messages, rejected."""
        self.dead: Counter[DeadKind] = Counter()
        """Records that are no jobs."""
        self.in_hand = 0
        """Jobs that were fetched and are not yet expanded."""
        self.seconds = histogram("recado_intake_seconds")
        self._positions: dict[TopicPartition, int] = {}
        self._commit_at = 0.0
        self._producing: list[asyncio.Task[None]] = []
        """What was made of jobs, on its way to Kafka; there before the commit."""
        self._last: asyncio.Task[None] | None = None
        """Of that the messages that were made last: the next ones wait for them, and so keep their order."""
        self._stopping = False

    @property
    def held_by(self) -> str:
        """The lane that is so far behind that no job is taken; empty while jobs are."""
        return self._brake.lane

    def stop(self) -> None:
        """Take no more jobs; the loop ends after the ones in hand."""
        self._stopping = True

    async def run(self) -> None:
        """Go on until `stop`; cancelling leaves jobs uncommitted, and they come again."""
        try:
            while not await self._turn():
                pass
        finally:
            for task in self._producing:
                task.cancel()

    async def _turn(self) -> bool:
        """One poll, and once a second a commit; True when that was the last, with everything committed."""
        try:
            fetched = {}
            if not (self._stopping and self._positions):  # else it takes no more, and is only to commit what it took
                if self._brake.most:
                    self._hold()
                fetched = await fetch(self._consumer, timeout_ms=200, max_records=200)
            if fetched:
                self.in_hand = sum(map(len, fetched.values()))
                await self._take([record for records in fetched.values() for record in records])
                self.in_hand = 0
                self._time([(records[0].timestamp / 1000, len(records)) for records in fetched.values()])
                self._positions |= {tp: records[-1].offset + 1 for tp, records in fetched.items()}
            if self._positions and (self._stopping or time.monotonic() >= self._commit_at):
                await self._commit()
        except (KafkaError, IllegalStateError) as error:
            # A broker that is away, or a commit across a rebalance. What was made of jobs is in Kafka: it is not made again,
            # and what is still ours is committed the next time.
            log.warning("intake: %s", error or type(error).__name__)
            await asyncio.sleep(0.2)
        return self._stopping and not self._positions

    def _hold(self) -> None:
        """Fetch nothing while a lane is too far behind; the group is polled all the same, or it would wait for us."""
        paused = self._consumer.paused()
        if self._brake.lane:
            self._consumer.pause(*(self._consumer.assignment() - paused))
        elif paused:
            self._consumer.resume(*paused)

    async def _commit(self) -> None:
        self._commit_at = time.monotonic() + _COMMIT_S
        await self._there(*self._producing)
        self._producing.clear()
        owned = self._consumer.assignment()
        self._positions = {tp: offset for tp, offset in self._positions.items() if tp in owned}
        if self._positions:
            await commit(self._consumer, self._positions)
            self._positions = {}

    async def _take(self, records: list[ConsumerRecord]) -> None:
        batches: Batches = {}
        published: list[Record] = []
        size = 0
        for record in records:
            try:
                job = decode_job(record.value)
                said = _Said(job)
            except InvalidJob as error:
                self.dead[error.kind] += 1
                log.warning(
                    "not a job topic=%s partition=%d offset=%d reason=%.500r",
                    *(record.topic, record.partition, record.offset, error.reason),
                )
                batches.setdefault((self._kafka.dead_topic, 0), []).append(
                    dead.letter(record, error.reason, datetime.now(UTC))
                )
                continue
            now = time.time()
            at = datetime.fromtimestamp(now, UTC)
            rejected = 0
            for start in range(0, len(job.recipients), _CHUNK):
                rejected += await self._expand(job, said, record, start, at, batches, published)
                size += min(_CHUNK, len(job.recipients) - start)
                if size >= _CHUNK:
                    await self._send(batches, published)
                    batches, published, size = {}, [], 0
            self.counts["messages"] += len(job.recipients) - rejected
            self.counts["rejected"] += rejected
            published.append(events.of_job(job, f"{record.partition}:{record.offset}", at, rejected))
        await self._send(batches, published)

    async def _send(self, batches: Batches, published: list[Record]) -> None:
        """Have all of it on its way; the next jobs are read meanwhile, but no further ahead than by what this waits for."""
        await asyncio.sleep(0)  # where nothing is left to wait for, the rest of the loop has its turn all the same
        if published:
            self._produce(self._outbox.send_keyed(self._kafka.events_topic, published))
        if batches:
            if self._last is not None:
                await self._there(self._last)
            self._last = self._produce(self._outbox.send(batches))

    def _produce(self, sending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(sending, name="intake produces")
        self._producing.append(task)
        return task

    async def _there(self, *producing: asyncio.Task[None]) -> None:
        """Wait until Kafka has it. What it will never take ends the worker, and nothing from there on is committed."""
        try:
            await asyncio.gather(*producing)
        except KafkaError as error:
            raise RuntimeError(f"what was made of jobs cannot be published: {error}") from error

    def _time(self, began: list[tuple[float, int]]) -> None:
        """Note how long jobs took until their messages were in Kafka: when the first of some were appended, and how many."""

        def note(_: object) -> None:
            now = time.time()
            for at, jobs in began:
                self.seconds.observe(max(0.0, now - at), jobs)

        if self._last is None or self._last.done():
            note(None)
        else:
            self._last.add_done_callback(note)

    async def _expand(
        self,
        job: Job,
        said: _Said,
        record: ConsumerRecord,
        start: int,
        at: datetime,
        batches: Batches,
        published: list[Record],
    ) -> int:
        """Add the messages of one chunk of a job to `batches`; returns how many recipients were rejected."""
        choice_of = self._failover.router.choices(job.channel, job.class_, job.tenant, job.sender)
        down = self._failover.down
        expires_at = deadline_of(job)
        accepted_at = at.timestamp()
        # Goes its way all the same: only its claim knows whether it is a second copy, of one that was in time.
        late = 0 < expires_at <= accepted_at
        due = job.not_before.timestamp() if job.not_before and not late else 0.0
        # With its time: in a topic made anew the same coordinates are another record's.
        source = f"{record.partition}:{record.offset}:{record.timestamp}:"
        class_ = job.class_
        topics: dict[str, tuple[str, Lane]] = {}
        check = numbers.check_address if job.channel == "email" else numbers.check
        rejected = 0
        learned: dict[str, str] = {}
        if self._failover.router.by_operator:
            learned = await self._operators.of([one.to for one in job.recipients[start : start + _CHUNK]])
        for index in range(start, min(start + _CHUNK, len(job.recipients))):
            recipient = job.recipients[index]
            to = recipient.to
            try:
                if (reason := check(to)) is not None:
                    raise Rejected("number", reason)
                operator = recipient.operator
                if operator:
                    operator = network(operator) or operator
                elif learned:
                    operator = learned.get(to, "")
                choice = choice_of(to, operator)
                if choice is None:
                    raise Rejected("expired", TOO_LATE) if late else Rejected("route", "no route fits")
                forbidden = self._failover.forbidden(choice, job.purpose) if job.purpose else ()
                name = (
                    choice.only
                    or pick(choice, to, down, forbidden)
                    or pick(choice, to, (), forbidden)
                    or pick(choice, to)
                    or ""
                )
                rendered = said.main.render(recipient.params)
                text = rendered.text
                plan = said.plan(recipient) if said.steps else ()
                if name not in topics:
                    carrier = self._lanes[name]
                    topics[name] = topic_of(self._kafka, carrier.config, class_, job.tenant), carrier
                topic, lane = topics[name]
                if len(text) > lane.carrier.sure_to_fit and not _fits(text, lane):
                    unfit = {*forbidden, *(other for other in choice.lanes if not _fits(text, self._lanes[other]))}
                    name = pick(choice, to, down, unfit) or pick(choice, to, (), unfit) or ""
                    if not name:
                        lane.carrier.count(text)  # raises where no alphabet of the lane carries it
                        raise Rejected("parts", f"more than the {lane.config.max_parts} parts that the lane allows")
                    lane = self._lanes[name]
                    topic = topic_of(self._kafka, lane.config, class_, job.tenant)
                message = Message(
                    message_id_of(job, index),
                    to,
                    text,
                    job.sender,
                    job.job_id,
                    job.campaign,
                    job.tenant,
                    class_,
                    expires_at,
                    f"{source}{index}",
                    accepted_at,
                    1,
                    (),
                    rendered.content,
                    job.channel,
                    operator,
                    (),
                    plan,
                    job.purpose,
                )
                if job.purpose and not admits(lane.config, job.purpose):
                    found = self._failover.next_step(message)
                    if found is None:
                        raise Rejected("policy", f"{job.purpose} is not sent over {job.channel}")
                    step, name = found
                    message = with_step(message, step, 1)
                    lane = self._lanes[name]
                    topic = topic_of(self._kafka, lane.config, class_, job.tenant)
                value = encode_message(message)
                if len(value) > _MOST_OCTETS:
                    raise Rejected(
                        "text", f"text and fallback take {len(value)} octets together, {_MOST_OCTETS} are allowed"
                    )
            except (Rejected, MissingParameter, TooLong, content.Unrenderable, SMPPError) as error:
                rejected += 1
                published.append(_rejection(job, message_id_of(job, index), at, error))
                continue
            key = to.encode()
            if due > accepted_at:
                self._ladder.put(batches, due, topic, key, value, accepted_at)
                continue
            partitions = lane.config.slots
            where = (topic, partition_of(key, partitions) if partitions > 1 else 0)
            batch = batches.get(where)
            if batch is None:
                batch = batches[where] = []
            batch.append((key, value))
        return rejected


def _fits(text: str, lane: Lane) -> bool:
    try:
        return lane.carrier.count(text) <= lane.config.max_parts
    except SMPPError:
        return False


def _rejection(job: Job, message_id: str, at: datetime, error: Exception) -> Record:
    match error:
        case Rejected() | content.Unrenderable():
            code = error.code
        case MissingParameter():
            code = "parameter"
        case _:
            code = "text"
    return events.of_rejection(job, message_id, at, code, str(error))
