"""Which of the topics that a configuration needs are there."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from msgspec import Struct

from gateway import topics
from gateway.config import Config


class Topic(Struct, frozen=True):
    """A topic as the configuration wants it, and as it is."""

    name: str
    wanted: int
    """Partitions."""
    found: int
    """0 when there is no such topic."""
    exact: bool
    """Whether another number of partitions is wrong: a lane has one for each of its binds."""

    @property
    def fault(self) -> str:
        """What is wrong with it and what to do, or nothing."""
        if not self.found:
            return "missing: recado topics --create"
        if self.exact and self.found != self.wanted:
            return f"the lane has {self.wanted} binds: set binds = {self.found}, or drain the topic and make it anew"
        return ""


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
    lanes = f"{config.kafka.prefix}.lane."
    return [Topic(name, wanted, found.get(name, 0), name.startswith(lanes)) for name, wanted in config.topics().items()]
