"""One node of Apache Kafka that can be killed and started again with what it had: what the embedded broker cannot.

It is made of the jars that CI downloads: `mvn -f .ci/kafka/pom.xml dependency:copy-dependencies`; Java 17 or later.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Self

from benchmarks.support import BenchmarkError
from gateway.embedded import HOST, KAFKA_PROBE, Server, free_port

_JARS = Path(__file__).parents[1] / ".cache" / "kafka"
# The client compiler alone starts in half the time; what the other gains a benchmark of minutes hardly sees.
_JAVA = ["java", "-Xms64m", "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{_JARS}/*"]
_CLUSTER = "cmVjYWRvLWJlbmNobWFyaw"  # any 16 octets in base64
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
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
"""


class ApacheKafka(Server):
    """Keeps its data in `directory`, which has to be there; entered again after it has ended, it goes on with them."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.bootstrap = f"{HOST}:{port}"
        self._properties = directory / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(host=HOST, port=port, controller_port=free_port(), directory=directory)
        )
        self._formatted = False
        super().__init__("Apache Kafka", [*_JAVA, "kafka.Kafka", str(self._properties)], port, KAFKA_PROBE)

    async def __aenter__(self) -> Self:
        if not self._formatted:
            if not _JARS.is_dir():
                raise BenchmarkError(f"no jars in {_JARS}: mvn -f .ci/kafka/pom.xml dependency:copy-dependencies")
            await asyncio.to_thread(self._format)
            self._formatted = True
        return await super().__aenter__()

    def _format(self) -> None:
        command = [*_JAVA, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"Apache Kafka cannot be set up\n{done.stdout}{done.stderr}")
