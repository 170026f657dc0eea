"""Kannel: bearerbox with one SMPP connection, smsbox with the sendsms interface, reports to a URL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote_plus

from benchmarks.peers.mix import Message
from benchmarks.peers.peer import PASSWORD, SENDER, SYSTEM_ID, WINDOW, Carrier, Facts, Unavailable
from benchmarks.peers.stores import DEBIAN, debian_libraries, debian_versions
from benchmarks.peers.web import Publisher, Reports
from gateway.embedded import Probe, Server, free_port

_CONF = Path(__file__).with_name("kannel.conf")
_CONNECTIONS = 32
_DELIVERED_OR_NOT = 1 | 2 | 16  # chapter 10, "SMS Delivery Reports": dlr-mask

# Table 3-1, store-type: with a store "no SMS messages are lost in Kannel even by crash", one file for each message.
# dlr-storage: `spool` "guarantees persistency", also with one file each.
_SPOOL = """\
store-type = spool
store-location = "{directory}/store"
dlr-storage = spool
dlr-spool = "{directory}/dlr"
"""
_MEMORY = "dlr-storage = internal\n"

_ANY_ANSWER = Probe(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.1")


class Kannel:
    """`durable` with its stores on disk, as its guide has it for installations that lose nothing; without, in memory."""

    def __init__(self, *, durable: bool) -> None:
        self.name = "kannel" if durable else "kannel-memory"
        self._storage = _SPOOL if durable else _MEMORY
        stores = (
            "spool directories for messages and for receipts" if durable else "none: messages and receipts in memory"
        )
        self.facts = Facts(
            kind="gateway",
            durable=durable,
            stores=stores,
            lacks="templates and bulk jobs (a request a message), recognising a message published twice, "
            "a report for each part of a long message",
        )

    def check(self) -> None:
        if not (DEBIAN / "usr/sbin/bearerbox").exists():
            raise Unavailable("no bearerbox: python -m benchmarks.peers.install debian")

    def versions(self) -> dict[str, str]:
        return debian_versions("kannel")

    @contextlib.asynccontextmanager
    async def running(self, smsc_port: int, messages: Sequence[Message], directory: Path) -> AsyncIterator[Carrier]:
        async with Reports(len(messages)) as reports:
            boxes = _Boxes(smsc_port, len(messages), directory, self._storage, reports)
            try:
                await boxes.start()
                yield boxes
            finally:
                boxes.kill()


class _Boxes:
    """One configuration, and the two processes that run on it."""

    def __init__(self, smsc_port: int, messages: int, directory: Path, storage: str, reports: Reports) -> None:
        self._admin_port, sendsms_port = free_port(), free_port()
        self._sendsms_port = sendsms_port
        self._file = directory / "kannel.conf"
        for name in ("store", "dlr"):
            (directory / name).mkdir()
        self._file.write_text(
            _CONF.read_text().format(
                admin_port=self._admin_port,
                smsbox_port=free_port(),
                sendsms_port=sendsms_port,
                smsc_port=smsc_port,
                directory=directory,
                storage=storage.format(directory=directory),
                system_id=SYSTEM_ID,
                password=PASSWORD,
                window=WINDOW,
            )
        )
        self._reports = reports
        self._publisher = Publisher(sendsms_port, messages, lambda: reports.count)
        self.doubted = bytearray(messages)
        self._servers: list[Server] = []

    @property
    def accepted(self) -> bytearray:
        return self._publisher.accepted

    @property
    def reported(self) -> bytearray:
        return self._reports.reported

    @property
    def last_report_at(self) -> float:
        return self._reports.last_at

    def processes(self) -> Mapping[str, int]:
        return {server.name: server.pid for server in self._servers}

    async def publish(self, messages: Sequence[Message], seconds: float) -> None:
        base = f"/cgi-bin/sendsms?username=bench&password=bench&from={SENDER}&dlr-mask={_DELIVERED_OR_NOT}"
        targets = [
            f"{base}&to={message.to}&dlr-url={quote_plus(self._reports.url(number))}&text={quote_plus(message.text)}"
            for number, message in enumerate(messages)
        ]
        await self._publisher.run(targets, _CONNECTIONS, seconds)

    async def crash(self) -> None:
        self.kill()
        await self.start()

    async def start(self) -> None:
        for name, port in (("bearerbox", self._admin_port), ("smsbox", self._sendsms_port)):
            server = Server(name, _command(name, self._file), port, _ANY_ANSWER)
            await server.__aenter__()
            self._servers.append(server)

    def kill(self) -> None:
        for server in self._servers:
            server.kill()
        self._servers.clear()


def _command(box: str, file: Path) -> list[str]:
    return ["env", f"LD_LIBRARY_PATH={debian_libraries()}", str(DEBIAN / "usr/sbin" / box), "-v", "2", str(file)]
