"""Clients of Kafka, made from the configuration; and the topics themselves."""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

import gateway.aiokafka_committed
import gateway.aiokafka_on_uvloop
import gateway.aiokafka_sequence  # noqa: F401 - all for every client that is made here
from gateway.config import Config, Kafka

_BATCH_OCTETS = 900_000
"""Below the million that a broker takes by default (`message.max.bytes`)."""
_JOB_OCTETS = 8_388_608
"""Of one record of the jobs topic: 10,000 recipients with their parameters are more than a broker's default million."""
_KEPT_MS = 30 * 86_400_000
"""Of jobs, and of messages that wait for a lane or a time: longer than anybody's patience with an operator that is away."""
_TOPIC_EXISTS = 36
LANES, DELAY = "lanes", "delay"
"""The stages that read the topics of lanes, and the rungs of the delay ladder."""


def connection(kafka: Kafka) -> dict[str, Any]:
    """What every client needs to reach the brokers."""
    options: dict[str, Any] = {"bootstrap_servers": list(kafka.servers), "client_id": "recado"}
    security = ("SASL_SSL" if kafka.tls else "SASL_PLAINTEXT") if kafka.sasl_mechanism else "SSL" if kafka.tls else ""
    if security:
        options["security_protocol"] = security
    if kafka.tls:
        options["ssl_context"] = ssl.create_default_context(cafile=str(kafka.ca_file) if kafka.ca_file else None)
    if kafka.sasl_mechanism:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.reveal(),
        }
    return options


def producer(kafka: Kafka) -> AIOKafkaProducer:
    """acks=all: what is acknowledged is on every in-sync replica."""
    return AIOKafkaProducer(
        **connection(kafka),
        acks="all",
        enable_idempotence=kafka.idempotence,
        max_batch_size=_BATCH_OCTETS,
        request_timeout_ms=20_000,
        linger_ms=0,
    )


def consumer(kafka: Kafka, stage: str, assignor: Any = RoundRobinPartitionAssignor) -> AIOKafkaConsumer:
    """A member of the group `<group>.<stage>` that commits only what it is told to."""
    return AIOKafkaConsumer(
        **connection(kafka),
        group_id=f"{kafka.group}.{stage}",
        group_instance_id=f"{kafka.instance}.{stage}" if kafka.instance else None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(assignor,),
        session_timeout_ms=int(kafka.session_timeout_s * 1000),
        heartbeat_interval_ms=int(kafka.session_timeout_s * 1000 / 5),
        rebalance_timeout_ms=60_000,
        max_poll_interval_ms=2**31 - 1,  # with every queue full nothing is polled, and that is as it should be
        fetch_max_wait_ms=kafka.fetch_wait_ms,
        max_partition_fetch_bytes=1_048_576,
        fetch_max_bytes=2_097_152,
        metadata_max_age_ms=60_000,
    )


async def create(config: Config) -> dict[str, str]:
    """Create the topics that are missing; answers what happened to each: `created`, `exists`, or the broker's error."""
    admin = AIOKafkaAdminClient(**connection(config.kafka))
    await admin.start()
    try:
        response = await admin.create_topics(
            [
                NewTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=config.kafka.replication,
                    topic_configs=_settings(config.kafka, name),
                )
                for name, partitions in config.topics().items()
            ]
        )
    finally:
        await admin.close()
    outcome = {}
    for name, code, *rest in response.topic_errors:
        outcome[name] = (
            "created" if code == 0 else "exists" if code == _TOPIC_EXISTS else f"error {code} {rest[0] if rest else ''}"
        )
    return outcome


def _settings(kafka: Kafka, name: str) -> dict[str, str]:
    """What a topic has beside the broker's defaults: what waits must not be deleted before anybody has read it."""
    if name == kafka.jobs_topic:
        return {"max.message.bytes": str(_JOB_OCTETS), "retention.ms": str(_KEPT_MS)}
    if name.startswith((f"{kafka.prefix}.lane.", f"{kafka.prefix}.delay.")):
        return {"retention.ms": str(_KEPT_MS)}
    return {}
