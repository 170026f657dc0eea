"""A TCP proxy that a test can cut, freeze and slow down, between a real client and a real server."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Self

from gateway.embedded import HOST

_CHUNK = 65536
_HELD_CHUNKS = 256  # per direction; a slow connection is not a place where megabytes hide
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Proxy:
    """Forwards bytes between the clients of its own port and a target, until a test says otherwise.

    The port belongs to the proxy for as long as the context is open, also while it is cut.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._listener = _bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._listening = False
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay_s = 0.0

    async def __aenter__(self) -> Self:
        self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()
        if self._connections:
            await asyncio.wait(self._connections)

    @property
    def connections(self) -> int:
        """How many connections are open through the proxy."""
        return len(self._connections)

    def cut(self) -> None:
        """Reset all connections and refuse new ones. Bytes on the way are lost."""
        if self._listening:
            self._listening = False
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = _bound(self.port)  # not listening: connections are refused, and the port stays ours
        for connection in self._connections:
            connection.cancel()

    def restore(self) -> None:
        """Accept connections again after `cut`."""
        if not self._listening:
            self._listening = True
            self._listener.listen(128)
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def freeze(self) -> None:
        """Forward nothing in either direction and keep accepting: a peer that has stopped answering."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Forward again, beginning with what was held back."""
        self._flowing.set()

    def delay(self, seconds: float) -> None:
        """Hold what arrives from now on for so long, in each direction: half of the round trip that it adds."""
        self._delay_s = seconds

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # the client has gone again
        connection = asyncio.create_task(self._connect(client))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, client: socket.socket) -> None:
        writers = []
        try:
            reader, writer = await asyncio.open_connection(sock=client)
            writers.append(writer)
            await self._flowing.wait()
            target_reader, target_writer = await asyncio.open_connection(*self._target)
            writers.append(target_writer)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._forward(reader, target_writer))
                directions.create_task(self._forward(target_reader, writer))
        except* (OSError, asyncio.CancelledError):
            for writer in writers:  # an end has gone, or the test cut the connection: no end may take it for a close
                _reset(writer)
        for writer in writers:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD_CHUNKS)
        now = asyncio.get_running_loop().time

        async def receive() -> None:
            data = b"any"
            while data:
                data = await reader.read(_CHUNK)
                await held.put((now() + self._delay_s, data))

        async def send() -> None:
            while True:
                due, data = await held.get()
                await asyncio.sleep(due - now())
                await self._flowing.wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as pump:
            pump.create_task(receive())
            pump.create_task(send())


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind((HOST, port))
    return sock


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
