"""One node of Apache Kafka, for benchmarks and tests; it can be killed and started again with what it had.

It is made of the jars that CI downloads: `mvn -f .ci/kafka/pom.xml dependency:copy-dependencies`; Java 17 or later.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from gateway.embedded import HOST, KAFKA_PROBE, EmbeddedError, Server, free_port

JARS = Path(__file__).parents[1] / ".cache" / "kafka"
_CLUSTER = "cmVjYWRvLXRlc3RzLW9ubA"  # any 16 octets in base64

# One node that is broker and controller. What is not here is as Apache ships it, above all the limit of a record (1 MiB). A node
# that was killed and comes back has to wait for the end of its own last session, where in a cluster another had taken over.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{more}
advertised.listeners=PLAINTEXT://{host}:{advertised_port}{more}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={directory}/kafka
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


class ApacheKafka(Server):
    """Keeps its data in `directory`, which has to be there; entered again after it has ended, it goes on with them.

    Behind a proxy it listens on `port` and tells its clients to connect to `advertised_port`, the proxy's. `listeners` are
    more of them, such as `SASL_SSL://localhost:9093`; `formatting` are options of `kafka-storage format`. Raises
    `EmbeddedError` without the jars.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        advertised_port: int | None = None,
        heap: str = "1g",
        properties: Mapping[str, object] | None = None,
        listeners: Sequence[str] = (),
        formatting: Sequence[str] = (),
    ) -> None:
        port = port or free_port()
        self.bootstrap = f"{HOST}:{advertised_port or port}"
        # The client compiler alone starts in half the time; what the other gains minutes hardly see.
        java = ["java", "-Xms64m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*"]
        self._java = [*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        self._properties = directory / "server.properties"
        text = _PROPERTIES.format(
            host=HOST,
            port=port,
            advertised_port=advertised_port or port,
            controller_port=free_port(),
            directory=directory,
            more="".join(f",{listener}" for listener in listeners),
        )
        self._properties.write_text(text + "".join(f"{key}={value}\n" for key, value in (properties or {}).items()))
        self._formatting = formatting
        self._formatted = False
        super().__init__("Apache Kafka", [*self._java, "kafka.Kafka", str(self._properties)], port, KAFKA_PROBE)

    async def __aenter__(self) -> Self:
        if not self._formatted:
            if not JARS.is_dir():
                raise EmbeddedError(f"no jars in {JARS}: mvn -f .ci/kafka/pom.xml dependency:copy-dependencies")
            await asyncio.to_thread(self._format)
            self._formatted = True
        return await super().__aenter__()

    def _format(self) -> None:
        command = [*self._java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._properties)]
        done = subprocess.run([*command, *self._formatting], capture_output=True, text=True, check=False)
        if done.returncode:
            raise EmbeddedError(f"Apache Kafka cannot be set up\n{done.stdout}{done.stderr}")
