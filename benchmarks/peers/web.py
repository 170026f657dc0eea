"""The publisher's side of a gateway with an HTTP interface: requests over connections that stay open, and reports that come back.

As lean as Python allows, for it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from gateway.embedded import HOST

_RETRY_S = 0.2
_AHEAD = 5000
"""Messages accepted and not yet reported: more than keeps any gateway busy, and not an hour's work for a slow one."""
_ANSWER_BODY = b"ACK/Jasmin"
"""Jasmin sends a report again unless it is answered so (HTTP API, "Receiving DLR"); Kannel takes any body."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_ANSWER_BODY),
    _ANSWER_BODY,
)


class Publisher:
    """Sends a GET for each message, again until it is answered with 2xx: `accepted[number]` becomes 1.

    `reported` says how many messages have come back: those do not count any more as accepted and waiting.
    """

    def __init__(self, port: int, messages: int, reported: Callable[[], int]) -> None:
        self._port = port
        self._reported = reported
        self.accepted = bytearray(messages)
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._total = self._taken = 0
        self._done = asyncio.Event()

    async def run(self, targets: Sequence[str], connections: int, seconds: float) -> None:
        """`targets[number]` is a request target. Returns when all are accepted, or after `seconds`."""
        self._total = len(targets)
        self._waiting.extend(
            (number, f"GET {target} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\n\r\n".encode())
            for number, target in enumerate(targets)
        )
        tasks = [asyncio.create_task(self._connection()) for _ in range(connections)]
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), seconds)
            # What is under way is answered before the connection goes: else nobody would know whether it was accepted.
            self._waiting.clear()
            await asyncio.wait(tasks, timeout=10)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self) -> None:
        while self._waiting:
            try:
                reader, writer = await asyncio.open_connection(HOST, self._port)
            except OSError:
                await asyncio.sleep(_RETRY_S)
                continue
            try:
                await self._converse(reader, writer)
            finally:
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._waiting:
            number, request = self._waiting.popleft()
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await _skip_body(head, reader)
            except (OSError, asyncio.IncompleteReadError):
                self._waiting.append((number, request))
                return
            if head[9:10] == b"2":
                self.accepted[number] = 1
                self._taken += 1
                if self._taken == self._total:
                    self._done.set()
                while self._waiting and self._taken - self._reported() >= _AHEAD:  # noqa: ASYNC110 - for many at once
                    await asyncio.sleep(_RETRY_S)
            else:
                self._waiting.append((number, request))
                await asyncio.sleep(_RETRY_S)
            if b"onnection: close" in head:
                return


class Reports:
    """Serves the URL that reports are sent to, `url(number)`; `reported[number]` becomes 1."""

    def __init__(self, messages: int) -> None:
        self.reported = bytearray(messages)
        self.count = 0
        """Of the messages reported."""
        self.last_at = 0.0
        self._server: asyncio.Server | None = None
        self._port = 0

    async def __aenter__(self) -> Reports:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Report(self), HOST, 0, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def url(self, number: int) -> str:
        return f"http://{HOST}:{self._port}/{number}"

    def take(self, number: int) -> None:
        self.count += not self.reported[number]
        self.reported[number] = 1
        self.last_at = time.time()


class _Report(asyncio.Protocol):
    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no `asyncio.Transport` by inheritance.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            # GET /123 HTTP/1.1, or GET /123?id=… HTTP/1.1
            target = request[5 : request.index(b" ", 5)]
            self._reports.take(int(target.partition(b"?")[0]))
        self._transport.write(_ANSWER * len(requests))


async def _skip_body(head: bytes, reader: asyncio.StreamReader) -> None:
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    else:
        start = lowered.index(b"content-length:") + 15
        await reader.readexactly(int(lowered[start : lowered.index(b"\r\n", start)]))
