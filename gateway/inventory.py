"""Which of the topics that a configuration needs are there."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from msgspec import Struct

from gateway import topics
from gateway.config import Config, Kafka
from gateway.consumers import committed
from gateway.errors import GatewayError
from gateway.http_lane_config import HttpLane
from gateway.ledger import forget
from gateway.store import Store

log = logging.getLogger("gateway.inventory")

_MOST_SLOTS = 64
"""Of a lane, and so partitions of its topics."""


class Topic(Struct, frozen=True):
    """A topic as the configuration wants it, and as it is."""

    name: str
    wanted: int
    """Partitions."""
    found: int
    """0 when there is no such topic."""
    fault: str
    """What is wrong with it and what to do, or nothing."""


async def existing(config: Config) -> dict[str, int]:
    """Return the partitions of every topic of the cluster. Asking for one by its name could create it."""
    admin = AIOKafkaAdminClient(**topics.connection(config.kafka))
    try:
        await admin.start()
        described = await admin.describe_topics()
    finally:
        await admin.close()
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


def compare(config: Config, found: Mapping[str, int]) -> list[Topic]:
    """Say of each topic that `config` needs whether it is there and fits."""
    over_http = tuple(
        f"{config.kafka.prefix}.lane.{name}." for name, lane in config.lanes.items() if isinstance(lane, HttpLane)
    )
    return [
        _compared(config.kafka, name, wanted, found.get(name, 0), "slots" if name.startswith(over_http) else "binds")
        for name, wanted in config.topics().items()
    ]


async def forget_lanes(config: Config, names: Iterable[str]) -> None:
    """Have the ledger forget topics that are about to be made: what it says of their offsets is about older ones.

    Raises `StoreUnavailable`.
    """
    lanes = [name for name in names if name.startswith(f"{config.kafka.prefix}.lane.")]
    store = Store(config.store.url.reveal(), config.store.timeout_s)
    try:
        await forget(store, f"{config.kafka.prefix}:", [f"{name}:{n}" for name in lanes for n in range(_MOST_SLOTS)])
    finally:
        await store.close()


async def require(config: Config, *names: str) -> dict[str, int]:
    """Return what is `existing`. Raises `GatewayError` if one of these is not: whoever asked Kafka for it could make it."""
    found = await existing(config)
    missing = [name for name in names if name not in found]
    if missing:
        raise GatewayError(f"there is no topic {', '.join(missing)}: recado topics --create --config FILE")
    return found


async def stranded(config: Config, found: Mapping[str, int]) -> dict[str, int]:
    """Return how many messages wait in topics of lanes, classes, fair queues or rungs that the configuration has no more."""
    wanted = config.topics()
    unread = {name: partitions for name, partitions in found.items() if name not in wanted}
    waiting: dict[str, int] = {}
    for stage, kind in ((topics.LANES, "lane"), (topics.DELAY, "delay")):
        ours = f"{config.kafka.prefix}.{kind}."
        tps = [TopicPartition(name, n) for name in unread if name.startswith(ours) for n in range(unread[name])]
        if tps:
            waiting |= await _waiting(config.kafka, stage, tps)
    return waiting


async def _waiting(kafka: Kafka, stage: str, tps: list[TopicPartition]) -> dict[str, int]:
    """Return how many records a stage has not read, of the topics of which there are any."""
    consumer = topics.consumer(kafka, stage)
    await consumer.start()
    try:
        consumer.assign(tps)  # nothing of it is read, and the group does not notice
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        offsets = await committed(consumer, tps)
        waiting: Counter[str] = Counter()
        for tp in tps:
            waiting[tp.topic] += ends[tp] - (offsets.get(tp) or begins[tp])
    finally:
        await consumer.stop()
    return dict(+waiting)


async def check(config: Config) -> None:
    """Refuse to run on topics that are missing or do not fit: a slot without its partition would starve unseen."""
    found = await require(config, *config.topics())
    try:
        waiting = await stranded(config, found)
    except KafkaError as error:  # of what nobody reads, which must not keep anybody from reading the rest
        log.warning("what waits in topics without a lane is not known: %s", error or type(error).__name__)
        waiting = {}
    for name, count in waiting.items():
        log.warning(
            "messages wait that nobody reads, since the configuration has no such queue topic=%s count=%d", name, count
        )
    wrong = [
        f"{topic.name} has {topic.found} partitions, {topic.fault}" for topic in compare(config, found) if topic.fault
    ]
    if wrong:
        raise GatewayError("topics do not fit the configuration: " + "; ".join(wrong))


def _compared(kafka: Kafka, name: str, wanted: int, found: int, key: str) -> Topic:
    """`key` is what says how many partitions the topics of a lane of its kind have."""
    fault = ""
    more = f"kafka-topics --alter --topic {name} --partitions {wanted}"
    if not found:
        fault = "missing: recado topics --create"
    elif name.startswith(f"{kafka.prefix}.lane.") and found != wanted:  # slot i is partition i
        other = more if found < wanted else "drain the topic and make it anew"
        fault = f"the lane has {wanted} {key}: set {key} = {found}, or {other}"
    elif name.startswith(f"{kafka.prefix}.delay.") and found < wanted:  # a ladder puts something into each
        fault = f"kafka.delay_partitions says {wanted}: set it to {found}, or {more}"
    return Topic(name, wanted, found, fault)
