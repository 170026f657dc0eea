"""The simulated SMSC: several accounts behind one port, and the accidents that a test or a user can call for."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from smpp.constants import CommandId
from smpp.pdu import HEADER
from smpp.segment import Alphabet, LongMode
from smpp.session import Role, Session
from smpp.simulator.account import Account
from smpp.simulator.connection import Connection, Pump

__all__ = ["GARBAGE", "Simulator"]

_TICK = 0.1


def _deliver_sm(body: bytes, length: int | None = None) -> bytes:
    return HEADER.pack(16 + len(body) if length is None else length, CommandId.DELIVER_SM, 0, 0x7FFFFFF0) + body


GARBAGE: Mapping[str, bytes] = MappingProxyType(
    {
        "truncated": _deliver_sm(b"\x00\x01\x01", length=200),
        "oversize": _deliver_sm(b"", length=0x7FFFFFFF),
        "undersize": _deliver_sm(b"", length=4),
        "random": random.Random(1).randbytes(512),
        "unknown_command": HEADER.pack(20, 0x0000ABCD, 0, 0x7FFFFFF0) + b"abcd",
        "unsolicited_response": HEADER.pack(21, CommandId.SUBMIT_SM_RESP, 0, 0x7FFFFFF0) + b"1234\0",
        "broken_body": _deliver_sm(b"\x00\x01\x01no end of the address"),
        "broken_length": _deliver_sm(b"\x00\x01\x015\x00\x01\x018\x00" + bytes(9) + b"\xffshort"),
        "broken_tlv": _deliver_sm(b"\x00\x01\x015\x00\x01\x018\x00" + bytes(10) + b"\x04\x24\xff"),
    }
)
"""Octets for `Simulator.send_raw`: what SMSCs and the boxes before them have been seen to send."""


class Simulator:
    """An SMSC that listens on `host` and `port` (0: any that is free, see `port`) while it is started.

    At most `deliver_window` deliveries of a bind are unanswered; one not answered within `deliver_timeout` seconds is sent
    again. To be used from one event loop; every method but `start`, `stop`, `listen` and `refuse` returns at once.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl: ssl.SSLContext | None = None,
        deliver_window: int = 1000,
        deliver_timeout: float = 10.0,
        enquire_link: float = 30.0,
    ) -> None:
        self.accounts = {account.system_id: account for account in accounts}
        self.host = host
        self.port = port
        self._ssl = ssl
        self._deliver_window = deliver_window
        self._deliver_timeout = deliver_timeout
        self._enquire_link = enquire_link
        self._pumps: dict[str, Pump] = {}
        self._connections: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None  # keeps the port from being given to others while nobody listens
        self._ticker: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return (
            f"<Simulator {self.host}:{self.port} {len(self._connections)} connections {list(self.accounts.values())}>"
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        for account in self.accounts.values():
            account.epoch = time.time() - loop.time()
            self._pumps[account.system_id] = Pump(account, loop)
        await self.listen()
        self._tick()

    async def stop(self) -> None:
        """Cut every connection and stop listening. The accounts keep their memory, so `start` goes on where this ended."""
        await self.refuse()
        self._give_up_port()
        connections = tuple(self._connections)
        self.drop_connections()
        if self._ticker is not None:
            self._ticker.cancel()
        for connection in connections:
            await connection.lost.wait()
        for pump in self._pumps.values():
            pump.stop()

    async def listen(self) -> None:
        """Take connections again, on the same port."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._give_up_port()
            self._server = await loop.create_server(self._connection, self.host, self.port, ssl=self._ssl, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections (ECONNREFUSED); those there are stay, and so does the port ours."""
        if self._server is not None:
            listening = self._server.sockets[0]
            family, address = listening.family, listening.getsockname()
            self._server.close()
            self._server = None
            # The socket is closed in the loop's next turn.
            await asyncio.sleep(0)
            self._reserved = socket.socket(family, socket.SOCK_STREAM)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.bind(address)

    # Accidents, and what an operator sends on its own. Without a system_id they happen to every connection, bound or not;
    # KeyError for one that is no account's.

    def drop_connections(self, system_id: str | None = None) -> int:
        """Cut connections without an unbind; returns how many."""
        connections = self._of(system_id)
        for connection in connections:
            connection.drop()
        return len(connections)

    def send_unbind(self, system_id: str | None = None) -> int:
        """Ask ESMEs to leave, and send them nothing more; returns how many."""
        connections = self._of(system_id)
        for connection in connections:
            connection.unbind()
        return len(connections)

    def send_raw(self, data: bytes, system_id: str | None = None) -> int:
        """Write octets as they are, see `GARBAGE`; returns to how many connections."""
        connections = self._of(system_id)
        for connection in connections:
            connection.write(data)
        return len(connections)

    def send_mo(
        self,
        system_id: str,
        source_addr: str,
        destination_addr: str,
        text: str,
        *,
        alphabets: Sequence[Alphabet] = ("gsm7", "ucs2"),
        long: LongMode = "udh8",
        order: Sequence[int] = (),
    ) -> int:
        """Send an MO on any bind of the account, when there is one; see `Account.send_mo`."""
        pump = self._pumps[system_id]
        parts = pump.account.send_mo(source_addr, destination_addr, text, alphabets=alphabets, long=long, order=order)
        pump.push(asyncio.get_running_loop().time())
        return parts

    def send_receipt(
        self, system_id: str, message_id: str, source_addr: str, destination_addr: str, state: str = "DELIVERED"
    ) -> None:
        """Send a receipt for any message_id on any bind of the account; see `Account.send_receipt`."""
        pump = self._pumps[system_id]
        now = asyncio.get_running_loop().time()
        pump.account.send_receipt(message_id, source_addr, destination_addr, state, now)
        pump.push(now)

    # Private.

    def _give_up_port(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _connection(self) -> Connection:
        session = Session(
            Role.SMSC,
            window=self._deliver_window,
            response_timeout=self._deliver_timeout,
            enquire_link=self._enquire_link,
        )
        return Connection(next(self._numbers), session, self._pumps, self._connections, asyncio.get_running_loop())

    def _of(self, system_id: str | None) -> list[Connection]:
        if system_id is None:
            return list(self._connections)
        account = self.accounts[system_id]
        return [connection for connection in self._connections if connection.account is account]

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.tick(now)
        self._ticker = loop.call_at(now + _TICK, self._tick)
