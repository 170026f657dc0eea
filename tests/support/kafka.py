"""The broker that the tests run on: the embedded one, or Apache Kafka with RECADO_TEST_BROKER=kafka."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.embedded import HOST, KAFKA_PROBE, EmbeddedBroker, Server, free_port

KIND = os.environ.get("RECADO_TEST_BROKER", "embedded")
IDEMPOTENCE = KIND == "kafka"

_REPOSITORY = Path(__file__).parents[2]
_JARS = _REPOSITORY / ".cache" / "kafka"
# The client compiler alone: a broker that lives for minutes never earns back what the optimising one costs.
_JAVA = ["java", "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{_JARS}/*"]
_JAVA += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]

# One node that is broker and controller. What is not here is as Apache ships it, above all the limit of a record (1 MiB).
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{advertised_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={directory}/logs
num.network.threads=2
num.io.threads=2
log.cleaner.enable=false
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""


@asynccontextmanager
async def start_broker(*, port: int | None = None, advertised_port: int | None = None) -> AsyncIterator[str]:
    """Run a broker of the chosen kind, give its bootstrap address, and stop it at the end.

    A broker behind a proxy listens on `port` and tells its clients to connect to `advertised_port`, the proxy's.
    """
    port = port or free_port()
    if KIND == "embedded":
        async with EmbeddedBroker(port=port, advertised_port=advertised_port) as broker:
            yield broker.bootstrap
    elif KIND == "kafka":
        async with _kafka(port, advertised_port or port) as bootstrap:
            yield bootstrap
    else:
        raise ValueError(f"RECADO_TEST_BROKER={KIND} (embedded or kafka)")


@asynccontextmanager
async def _kafka(port: int, advertised_port: int) -> AsyncIterator[str]:
    if not _JARS.is_dir():
        raise FileNotFoundError(f"no jars in {_JARS}: mvn -f .ci/kafka/pom.xml dependency:copy-dependencies")
    with tempfile.TemporaryDirectory(prefix="recado-kafka-") as directory:
        properties = Path(directory) / "server.properties"
        properties.write_text(
            _PROPERTIES.format(
                host=HOST,
                port=port,
                advertised_port=advertised_port,
                controller_port=free_port(),
                directory=directory,
            )
        )
        await asyncio.to_thread(_format, properties)
        async with Server("Apache Kafka", [*_JAVA, "kafka.Kafka", str(properties)], port, KAFKA_PROBE):
            yield f"{HOST}:{advertised_port}"


def _format(properties: Path) -> None:
    command = [*_JAVA, "kafka.tools.StorageTool", "format", "-t", "cmVjYWRvLXRlc3RzLW9ubA", "-c", str(properties)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
