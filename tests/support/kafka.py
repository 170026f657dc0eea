"""The broker that the tests run on: the embedded one, or Apache Kafka with RECADO_TEST_BROKER=kafka."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.apache import ApacheKafka
from gateway.embedded import EmbeddedBroker, free_port

KIND = os.environ.get("RECADO_TEST_BROKER", "embedded")
IDEMPOTENCE = KIND == "kafka"

# Several run side by side, and tests want to see soon that a member is gone.
_SMALL = {
    "num.network.threads": 2,
    "num.io.threads": 2,
    "log.cleaner.enable": "false",
    "group.min.session.timeout.ms": 1000,
    # A test sets the clock of a process a day ahead; by default nothing is taken that is from more than an hour ahead.
    "log.message.timestamp.after.max.ms": 2**63 - 1,
}


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
        with tempfile.TemporaryDirectory(prefix="recado-kafka-") as directory:
            kafka = ApacheKafka(
                Path(directory), port=port, advertised_port=advertised_port, heap="512m", properties=_SMALL
            )
            async with kafka:
                yield kafka.bootstrap
    else:
        raise ValueError(f"RECADO_TEST_BROKER={KIND} (embedded or kafka)")
