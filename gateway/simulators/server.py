"""The simulated far ends behind one port: aiohttp reads requests, answers are written as octets, so that they can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Self, TypeAlias

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway.simulators.courier import Courier
from gateway.simulators.end import JSON, Answer, End, Post, Request

__all__ = ["Controller", "Simulator"]

Controller: TypeAlias = Callable[[str, bytes], Answer]
"""Answers /control/<name> with a body."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_GARBAGE = b"<html><body>It works!</body></html>\x00\xff{"
_NO_SUCH_END = Answer(404, b'{"error":"no such path"}')
_LINGER_NOT = struct.pack("ii", 1, 0)
_STOP_S = 1.0


class _Written(web.StreamResponse):
    """A response whose octets are on their way already. It holds nothing, so that there are two for all requests."""

    def __init__(self, *, keep_alive: bool) -> None:
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


_KEEP = _Written(keep_alive=True)
_CLOSE = _Written(keep_alive=False)


class Simulator:
    """Far ends by name: a request to /<name>/… is for one of them, any other for `default`, or answered 404.

    It listens on `host` and `port` (0: any that is free, see `port`) while it is started. `clock` tells limits and arrivals
    the time, in seconds that never go back; delays are real ones. To be used from one event loop.
    """

    def __init__(
        self,
        ends: Mapping[str, End],
        *,
        default: End | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ends = dict(ends)
        self.host = host
        self.port = port
        self.clock = clock
        self.control: Controller | None = None
        """Answers what is for /control/…; put here by `control.Control`."""
        self._default = default
        self._courier = Courier()
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port} {list(self.ends.values())}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        # With cancellation, an answer that never comes costs nothing once its client is gone.
        self._web = web.Server(self._serve, access_log=None, handler_cancellation=True)
        await self.listen()
        await self._courier.start()

    async def stop(self) -> None:
        """Cut every connection, stop listening, and forget the callbacks not yet sent. The far ends keep their memory."""
        await self.refuse()
        self.drop_connections()
        if self._web is not None:
            await self._web.shutdown(_STOP_S)
            self._web = None
        await self._courier.stop()
        self._courier = Courier()

    async def listen(self) -> None:
        """Take connections again, on the same port."""
        if self._server is None:
            assert self._web is not None
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._web, self.host, self.port, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections (ECONNREFUSED); those there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
            # The socket is closed in the loop's next turn.
            await asyncio.sleep(0)

    def drop_connections(self) -> int:
        """Cut connections; returns how many."""
        transports = [handler.transport for handler in self._web.connections] if self._web else []
        for transport in transports:
            if transport is not None:
                transport.abort()
        return len(transports)

    def send(self, end: End, posts: Iterable[Post]) -> int:
        """Send callbacks at once; returns how many there are."""
        return self._courier.send(end, posts)

    # Private.

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        name, _, rest = request.raw_path[1:].partition("/")
        end = self.ends.get(name)
        if end is None:
            if name == "control" and self.control is not None:
                return _write(request, self.control(rest.partition("?")[0], body))
            if self._default is None:
                return _write(request, _NO_SUCH_END)
            end, rest = self._default, request.raw_path[1:]
        answer = end.receive(Request(request.method, rest, request.headers, body), self.clock())
        latency = end.script.latency()
        if answer.updates:
            self._courier.plan(end, answer.updates, latency)
        if latency:
            await asyncio.sleep(latency)
        if answer.fault is None:
            return _write(request, answer)
        return await self._spoil(request, answer, end.script.behaviour.slow_octet_s)

    async def _spoil(self, request: web.BaseRequest, answer: Answer, slow_octet_s: float) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return _CLOSE
        match answer.fault:
            case "unanswered":
                await asyncio.Event().wait()
            case "reset":
                octets = _encode(answer)
                transport.write(octets[: len(octets) - len(answer.body) // 2 - 1])
                await asyncio.sleep(0)  # what was written leaves before the connection is cut
                _reset(transport)
            case "slow":
                octets = _encode(answer)
                head = len(octets) - len(answer.body)
                transport.write(octets[:head])
                for index in range(head, len(octets)):
                    await asyncio.sleep(slow_octet_s)
                    transport.write(octets[index : index + 1])
                return _KEEP
            case "garbage":
                return _write(request, Answer(200, _GARBAGE, content_type="text/html"))
            case "close":
                answer.headers = {**answer.headers, "Connection": "close"}
                _write(request, answer)
            case str(bare):
                return _write(request, Answer(int(bare.removeprefix("bare_")), content_type=""))
        return _CLOSE


def _write(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    transport = request.transport
    if transport is None or transport.is_closing():
        return _CLOSE
    transport.write(_encode(answer))
    return _KEEP if request.keep_alive else _CLOSE


def _encode(answer: Answer) -> bytes:
    if answer.status == 200 and answer.content_type == JSON and not answer.headers:
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(answer.body),
            answer.body,
        )
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}"]
    if answer.content_type:
        lines.append(f"Content-Type: {answer.content_type}")
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines.append(f"Content-Length: {len(answer.body)}\r\n\r\n")
    return "\r\n".join(lines).encode() + answer.body


def _reset(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the client was faster
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
