"""Jasmin: jasmind with one SMPP connector and the HTTP API, its two daemons for receipts, RabbitMQ and Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote_plus

import psutil

from benchmarks.peers.child import Child
from benchmarks.peers.mix import Message
from benchmarks.peers.peer import CACHE, PASSWORD, SENDER, SYSTEM_ID, Carrier, Facts, Unavailable
from benchmarks.peers.stores import check_rabbitmq, check_redis, debian_versions, rabbitmq, redis, redis_version
from benchmarks.peers.web import Publisher, Reports
from gateway.embedded import HOST, Probe, Server, free_port

_VENV = CACHE / "jasmin"
_SPEC = CACHE / "jasmin-config" / "amqp0-9-1.xml"
_CFG = Path(__file__).with_name("jasmin.cfg")
_CONNECTIONS = 32
_PATIENCE_S = 30.0
_SUBSCRIBE_S = 2.0
"""From a daemon's connection to RabbitMQ until it has its queue: nothing says so at its log level."""
_JCLI = ("jcliadmin", "jclipwd")
_PING = Probe(b"GET /ping HTTP/1.0\r\n\r\n", b"Jasmin/PONG")
_PORTS = ("smpp_server_port", "smpp_server_pb_port", "client_management_port", "http_port", "router_port", "jcli_port")

# "Installation", "Sending SMS": a connector, a default route, a group and a user; submit_throughput 0 is without a limit ("jCli
# modules", "SMPP Client connector manager").
_SET_UP = f"""\
smppccm -a
cid bench
host {HOST}
port {{smsc_port}}
username {SYSTEM_ID}
password {PASSWORD}
submit_throughput 0
con_fail_delay 1
con_loss_delay 1
loglevel 30
logfile {{directory}}/connector.log
ok
mtrouter -a
type defaultroute
connector smppc(bench)
rate 0.00
ok
group -a
gid bench
ok
user -a
username bench
password bench
gid bench
uid bench
ok
smppccm -1 bench
persist
"""


class Jasmin:
    name = "jasmin"
    facts = Facts(
        kind="gateway",
        durable=True,
        stores="RabbitMQ (messages, not persistent: Jasmin declares its queues so) and Redis (receipts)",
        lacks="templates and bulk jobs (a request a message), a window (one submit_sm unanswered for each connector), "
        "recognising a message published twice, messages that survive the end of RabbitMQ",
    )

    def check(self) -> None:
        if not (_VENV / "bin/jasmind.py").exists() or not _SPEC.exists():
            raise Unavailable("no Jasmin: python -m benchmarks.peers.install jasmin")
        check_rabbitmq()
        check_redis()

    def versions(self) -> dict[str, str]:
        installed = next((_VENV / "lib").glob("python3*/site-packages/jasmin-*.dist-info")).name
        version = installed.removeprefix("jasmin-").removesuffix(".dist-info")
        return {"jasmin": version, **debian_versions("rabbitmq-server", "erlang-base"), "redis": redis_version()}

    @contextlib.asynccontextmanager
    async def running(self, smsc_port: int, messages: Sequence[Message], directory: Path) -> AsyncIterator[Carrier]:
        async with (
            rabbitmq(directory) as broker,
            redis(directory) as store,
            Reports(len(messages)) as reports,
        ):
            daemons = _Daemons(directory, broker, store, len(messages), reports)
            try:
                await daemons.start()
                await daemons.set_up(_SET_UP.format(smsc_port=smsc_port, directory=directory))
                yield daemons
            finally:
                daemons.kill()


class _Daemons:
    def __init__(self, directory: Path, broker: Server, store: Server, messages: int, reports: Reports) -> None:
        self._directory = directory
        self._stores = {"rabbitmq": broker, "redis": store}
        self._ports = {name: free_port() for name in _PORTS}
        (directory / "store").mkdir()
        (directory / "logs").mkdir()
        self._file = directory / "jasmin.cfg"
        self._file.write_text(
            _CFG.read_text().format(
                directory=directory, spec=_SPEC, amqp_port=broker.port, redis_port=store.port, **self._ports
            )
        )
        self._reports = reports
        self._publisher = Publisher(self._ports["http_port"], messages, lambda: reports.count)
        self.doubted = bytearray(messages)
        self._running: list[Server | Child] = []

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
        processes = [*self._running, *self._stores.values()]
        return {process.name: process.pid for process in processes}

    async def publish(self, messages: Sequence[Message], seconds: float) -> None:
        base = f"/send?username=bench&password=bench&from={SENDER}&dlr=yes&dlr-level=2&dlr-method=GET"
        targets = [
            f"{base}&to={message.to}&dlr-url={quote_plus(self._reports.url(number))}&content={quote_plus(message.text)}"
            for number, message in enumerate(messages)
        ]
        await self._publisher.run(targets, _CONNECTIONS, seconds)

    async def crash(self) -> None:
        self.kill()
        await self.start()

    async def start(self) -> None:
        """Options: docs, "jCli", "Profiles and persistence" (-u and -p load what was persisted), and `jasmind.py --help`,
        which recommends daemons of their own for receipts."""
        server = Server(
            "jasmind", self._command("jasmind", "-u", _JCLI[0], "-p", _JCLI[1]), self._ports["http_port"], _PING
        )
        await server.__aenter__()
        self._running.append(server)
        daemons = []
        for name in ("dlrlookupd", "dlrd"):
            daemons.append(
                Child(name, self._command(name, "-i", self._directory.name), self._directory / f"{name}.log")
            )
            self._running.append(daemons[-1])
        amqp_port = self._stores["rabbitmq"].port
        async with asyncio.timeout(_PATIENCE_S):
            while not all(_is_connected(daemon.pid, amqp_port) for daemon in daemons):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.1)
        await asyncio.sleep(_SUBSCRIBE_S)

    def _command(self, name: str, *options: str) -> list[str]:
        environment = [
            f"STORE_PATH={self._directory}/store",
            f"ROOT_PATH={self._directory}",
            f"LOG_PATH={self._directory}/logs",
        ]
        script = _VENV / "bin" / f"{name}.py"
        return ["env", *environment, str(_VENV / "bin/python"), str(script), "-c", str(self._file), *options]

    async def set_up(self, commands: str) -> None:
        """What an operator types at the console (jCli)."""
        reader, writer = await asyncio.open_connection(HOST, self._ports["jcli_port"])
        try:
            async with asyncio.timeout(_PATIENCE_S):
                for line in ("", *_JCLI, *commands.splitlines()):
                    if line:
                        writer.write(f"{line}\r\n".encode())
                    said = b""
                    while not said.rstrip().endswith((b"required.", b"word:", b"jcli :", b">")):
                        said += await reader.read(4096)
        finally:
            writer.close()

    def kill(self) -> None:
        for process in self._running:
            process.kill()
        self._running.clear()
        # A killed daemon leaves its lock, whose place Jasmin does not let one choose.
        for name in ("jasmind", f"dlrlookupd-{self._directory.name}", f"dlrd-{self._directory.name}"):
            Path(f"/tmp/{name}.lock").unlink(missing_ok=True)


def _is_connected(pid: int, port: int) -> bool:
    connections = psutil.Process(pid).net_connections("tcp")
    return any(each.raddr and each.raddr.port == port and each.status == "ESTABLISHED" for each in connections)
