"""A gateway within a process: compose the parts, start them in order, stop them in reverse."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping
from functools import partial
from typing import Any

from gateway import inventory, ports, topics
from gateway.admin import Controls
from gateway.assignor import SlotAssignor
from gateway.brake import Brake
from gateway.carrier import HttpCarrier
from gateway.config import Config, HttpLane
from gateway.delay import JOIN, RECEIPT, DelayLoop, Ladder
from gateway.dispatch import Dispatcher
from gateway.errors import ConfigError, StoreUnavailable
from gateway.failover import Failover
from gateway.health import Health
from gateway.hours import Calendar
from gateway.inbound import Inbound
from gateway.inbox import Inbox
from gateway.intake import Intake
from gateway.lane import Lane
from gateway.ledger import Ledger
from gateway.meta import Meta
from gateway.metrics.machinery import Backlog
from gateway.operators import Operators
from gateway.outbox import Outbox
from gateway.publisher import Publisher
from gateway.receipts import Reached, Receipts, Refused
from gateway.reload import Change, changes
from gateway.routing import Router
from gateway.slots import Slots
from gateway.store import Patience, Script, Store
from gateway.watch import Watch
from gateway.web import AdminServer
from gateway.webhooks import Served, Webhooks
from ratelimit.lease import Keeper
from ratelimit.lease_script import LEASE_SCRIPT

log = logging.getLogger("gateway.app")

_LEASES = Script(LEASE_SCRIPT)

_LEDGER_TTL_S = 90 * 86_400
"""Longer than any queue rests: a queue whose ledger has expired would count as lost."""
_PUBLISH_CAPACITY = 20
"""Batches of settled messages that may wait for Kafka before the dispatcher holds still."""
_INTAKE_STOP_S = 3.0
"""For the jobs in hand; what is cut short comes again."""
_LEASES_CALL_S = 1.0
"""For one call about the shares of the rates; they lapse after two."""
_LEASES_STOP_S = 1.0
"""For giving the shares of the rates back; those of a process that did not are free when they have lapsed."""
_CLIENTS_STOP_S = 3.0
"""For leaving the groups and closing the connections."""


class Worker:
    """One process's share of all lanes. `start`, then `wait`, then `stop`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        kafka = config.kafka
        prefix = f"{kafka.prefix}:"
        self.store = Store(config.store.url.reveal(), config.store.timeout_s)
        self.patience = patience = Patience(self.store, "receipts and look-ups")
        # On one connection a window would wait for what receipts ask of the store.
        self._ledger_store = Store(config.store.url.reveal(), config.store.timeout_s, self.store.calls)
        self._ledger_patience = Patience(self._ledger_store, "messages")
        self._producer = topics.producer(kafka)
        self._jobs = topics.consumer(kafka, "intake")
        self._lane_consumer = topics.consumer(kafka, topics.LANES, SlotAssignor(kafka.prefix))
        self._delay_consumer = topics.consumer(kafka, topics.DELAY)
        self.outbox = Outbox(self._producer)
        now = time.monotonic()
        self.lanes = {name: Lane(lane, now) for name, lane in config.lanes.items()}
        self._keep_hours()
        self.consumers = (self._jobs, self._lane_consumer, self._delay_consumer)
        """For what waits in Kafka."""
        router = Router(config.routes, config.lanes, config.operators)
        self.failover = Failover(kafka, config.lanes, router)
        self.inbox = Inbox(config.limits.buffered_deliveries)
        rungs = config.delay.rungs_s
        ladder = Ladder({rung: (kafka.delay_topic(rung), kafka.delay_partitions) for rung in rungs})
        self.ledger = Ledger(self._ledger_patience, prefix, _LEDGER_TTL_S, config.claims.ttl_s)
        self._operators = Operators(patience, prefix, lambda: self.failover.router.by_operator)
        self.inbound = Inbound(
            store=patience,
            prefix=prefix,
            outbox=self.outbox,
            ladder=ladder,
            topic=kafka.inbound_topic,
            parts_wait_s=config.limits.inbound_parts_s,
        )
        self.receipts = Receipts(
            inbox=self.inbox,
            store=patience,
            prefix=prefix,
            outbox=self.outbox,
            ladder=ladder,
            inbound=self.inbound,
            events_topic=kafka.events_topic,
            formats={lane.account: lane.message_id_format for lane in config.lanes.values()},
            ttl_s=config.receipts.ttl_s,
            early_limit_s=config.receipts.early_limit_s,
            learn=self._operators.teach,
            network_tlvs={
                name: lane.network_tlv
                for name, lane in config.lanes.items()
                if not isinstance(lane, HttpLane) and lane.network_tlv
            },
            failover=self.failover,
            settled=self._settled,
            refused=self._refused,
        )
        self.publisher = Publisher(
            outbox=self.outbox,
            ladder=ladder,
            events_topic=kafka.events_topic,
            dead_topic=kafka.dead_topic,
            capacity=_PUBLISH_CAPACITY * config.limits.batch_messages,
            address=self.failover.address,
            wake_dispatcher=self.inbox.wake.set,
            on_deliveries=self.receipts.add,
        )
        self.dispatcher = Dispatcher(
            inbox=self.inbox,
            ledger=self.ledger,
            classes=config.classes,
            failover=self.failover,
            receipts_ttl_s=config.receipts.ttl_s,
            batch=config.limits.batch_messages,
            publisher=self.publisher,
        )
        self._lane_topics = {
            kafka.lane_topic(name, class_, queue): (name, class_)
            for name, lane in config.lanes.items()
            for class_ in lane.classes
            for queue in range(lane.fair_queues)
        }
        self.slots = Slots(
            consumer=self._lane_consumer,
            lanes=self.lanes,
            topics=self._lane_topics,
            inbox=self.inbox,
            ledger=self.ledger,
            dispatcher=self.dispatcher,
            publisher=self.publisher,
            drain_s=max(lane.drain_s for lane in config.lanes.values()),
            buffered=config.limits.buffered_messages,
            batch=config.limits.batch_messages,
        )
        brake = Brake(config.intake.lane_backlog)
        self.intake = Intake(
            consumer=self._jobs,
            outbox=self.outbox,
            kafka=kafka,
            ladder=ladder,
            failover=self.failover,
            operators=self._operators,
            lanes=self.lanes,
            brake=brake,
        )
        backlog = Backlog(self._lane_consumer)
        self.meta = Meta(
            config,
            self.lanes,
            self.dispatcher.slots,
            patience,
            prefix,
            self.inbox,
            backlog=backlog,
            publish=partial(self.outbox.send_keyed, kafka.events_topic),
        )
        self.dispatcher.numbers = bool(self.meta)
        self.webhooks = Webhooks(
            config.webhooks,
            _served(self.lanes),
            receipts=self.receipts,
            inbound=self.inbound,
            window=self.meta.window,
            on_changes=self.meta.changed,
        )
        self.controls = Controls(self.store, prefix, self.lanes, self.inbox.wake.set)
        self._health = Health(config.lanes)
        self._watch = Watch(
            store=self.store,
            prefix=prefix,
            slots=self.dispatcher.slots,
            lanes=self.lanes,
            health=self._health,
            failover=self.failover,
            brake=brake,
            backlog=backlog,
            inbox=self.inbox,
        )
        self._keeper = Keeper(
            self.slots.leases.values(),
            self._call_leases,
            prefix=prefix,
            clock=time.monotonic,
            failures=(StoreUnavailable, TimeoutError),
        )
        self.delay = DelayLoop(
            consumer=self._delay_consumer,
            outbox=self.outbox,
            ladder=ladder,
            rung_of={kafka.delay_topic(rung): rung for rung in rungs},
            handlers={RECEIPT: self.receipts.again, JOIN: self.inbound.overdue},
        )
        self._admin = AdminServer(config.admin, self) if config.admin.port else None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.started = False
        self._stopping = False

    async def start(self) -> None:
        """Connect and begin. What has been started is stopped again if a later step fails.

        Raises `ConfigError` for a port that cannot be had, before anybody else learns of this process.
        """
        admin, webhooks = self.config.admin, self.config.webhooks
        try:
            if self._admin is not None:
                with ports.explained("admin", admin.host, admin.port):
                    await self._admin.start()
            await ports.probe("webhooks", webhooks.host, webhooks.port)
            await self._begin()
            if webhooks.port:
                with ports.explained("webhooks", webhooks.host, webhooks.port):
                    await self.webhooks.start()
        except BaseException:
            await self.stop()
            raise
        self.started = True
        log.info("running lanes=%d", len(self.lanes))

    async def _begin(self) -> None:
        kafka = self.config.kafka
        await self._producer.start()
        await inventory.check(self.config)
        await self.meta.load()
        # Subscribed before `start`: later, the first assignment would wait for a refresh of the metadata.
        self._jobs.subscribe([kafka.jobs_topic])
        self._lane_consumer.subscribe(list(self._lane_topics), listener=self.slots)
        self._delay_consumer.subscribe(
            [kafka.delay_topic(rung) for rung in self.config.delay.rungs_s], listener=self.delay
        )
        await self.controls.load(self.patience)
        for name, loop in (
            ("dispatch", self.dispatcher.run()),
            ("publish", self.publisher.run()),
            ("receipts", self.receipts.run()),
        ):
            self._spawn(name, loop)
        await asyncio.gather(self._lane_consumer.start(), self._delay_consumer.start(), self._jobs.start())
        for name, loop in (
            ("fetch", self.slots.fetch()),
            ("commit", self.slots.commit()),
            ("delay", self.delay.run()),
            ("leases", self._keeper.keep()),
            ("lanes", self._watch.run()),
            ("operators", self._operators.run()),
            ("controls", self.controls.run()),
            *self.meta.loops(),
            ("intake", self.intake.run()),
        ):
            self._spawn(name, loop)

    async def wait(self, stopping: asyncio.Event) -> None:
        """Return when `stopping` is set; raise what ended a loop, since none of them ends by itself."""
        stop = asyncio.create_task(stopping.wait(), name="stopping")
        try:
            done, _ = await asyncio.wait([stop, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                task.result()
                raise RuntimeError(f"loop {task.get_name()} ended")
        finally:
            stop.cancel()

    def reload(self, config: Config) -> tuple[Change, ...]:
        """Go on with a changed configuration, all of it or nothing; answers what changed.

        Raises `ConfigError` with every change that needs a restart. No bind is dropped.
        """
        found = changes(self.config, config)
        if found.refused:
            raise ConfigError(found.refused)
        now = time.monotonic()
        self.config = config
        for name, lane in self.lanes.items():
            if lane.stopped:
                self._health.resume(name)
            lane.reconfigure(config.lanes[name], now)
        self._keep_hours()
        self.slots.reconfigure()
        self.meta.reconfigure(config)
        self._health.configure(config.lanes)
        self.failover.configure(config.lanes, Router(config.routes, config.lanes, config.operators))
        self.dispatcher.configure(config.classes)
        self.inbox.wake.set()
        return found.live

    async def stop(self) -> None:
        """Intake first, then drain the windows, settle, commit, unbind, leave the groups; every step has its deadline."""
        self._stopping = True
        self.intake.stop()
        if self.config.webhooks.port:
            await self.webhooks.stop()
        if "intake" in self._tasks:
            await asyncio.wait([self._tasks["intake"]], timeout=_INTAKE_STOP_S)
        await self._cancel("intake", "fetch", "delay")
        await self.slots.close()
        self._keeper.close()
        if "leases" in self._tasks:
            await asyncio.wait([self._tasks["leases"]], timeout=_LEASES_STOP_S)
        await self._cancel(*self._tasks)
        clients = (self._jobs, self._delay_consumer, self._lane_consumer, self._producer)
        try:
            async with asyncio.timeout(_CLIENTS_STOP_S):
                await asyncio.gather(*(client.stop() for client in clients))
        except TimeoutError:
            log.warning("kafka is away: left without taking leave")
        await self.store.close()
        await self._ledger_store.close()
        if self._admin is not None:
            await self._admin.stop()
        log.info("stopped")

    @property
    def store_away(self) -> bool:
        return self.patience.away or self._ledger_patience.away

    def problems(self) -> list[str]:
        """Why this worker cannot carry messages now; empty when it can."""
        if self._stopping:
            return ["draining"]
        found = [] if self.started else ["starting"]
        if self.store_away:
            found.append("the store is away")
        if self.outbox.away:
            found.append(f"kafka is away: {', '.join(sorted(self.outbox.away)[:3])}")
        if self.slots.taking_over:
            found.append("slots are being taken over")
        found += [
            f"lane {lane} slot {index}: {slot.port.down_reason}"
            for (lane, index), slot in self.dispatcher.slots.items()
            if slot.port.down_reason or not slot.port.bound
        ]
        return found

    async def _settled(self, reached: Reached) -> None:
        await self.meta.settled(reached)

    async def _refused(self, refused: Refused) -> None:
        await self.meta.refused(refused)

    async def _call_leases(self, argument: bytes) -> Any:
        async with asyncio.timeout(_LEASES_CALL_S):
            return await self.store.run_packed(_LEASES, argument)

    def _keep_hours(self) -> None:
        calendar = Calendar(self.config.hours)
        for lane in self.lanes.values():
            lane.gate.keep_hours(calendar)

    def _spawn(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        self._tasks[name] = asyncio.create_task(loop, name=name)

    async def _cancel(self, *names: str) -> None:
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        for task, result in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(result, Exception):
                log.error("loop %s had failed: %r", task.get_name(), result)


def _served(lanes: Mapping[str, Lane]) -> Iterator[Served]:
    """The lanes that hear from their providers."""
    for name, lane in lanes.items():
        if isinstance(lane.config, HttpLane) and isinstance(lane.carrier, HttpCarrier) and lane.config.has_callbacks:
            number = lane.number.whose.number if lane.number is not None else ""
            yield Served(name, lane.account, lane.config.channel, lane.carrier.provider, number)
