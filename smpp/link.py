"""One bind of an SMPP account, kept up: connect, bind, tick, reconnect, unbind.

`Link` is the thin shell round a `Session`: it owns the socket, the clock and the reconnect loop, and hands what happened to a
`Handler` once per read, as a list. Between `bound` and `down` the handler may `submit`; nothing is queued here.

A failure has a class, because each asks for another patience (operators lock accounts that knock too often):
wrong credentials and a bad certificate wait the longest, an account "already bound" waits for its old session to be dropped,
everything else backs off exponentially with full jitter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Protocol

import msgspec

from smpp.constants import CommandStatus, status_name
from smpp.pdu import Bind, BindReceiver, BindResp, BindTransceiver, BindTransmitter, DataSM, DeliverSM
from smpp.session import Closed, Event, Role, Session, State

__all__ = ["BindConfig", "BindKind", "Failure", "FailureKind", "Handler", "Link", "reconnect_delay"]

log = logging.getLogger("smpp.link")

_TICK = 0.5
"""Longest time between two looks at the session's deadlines, in seconds."""


class BindKind(Enum):
    """§2.2.1: what a bind carries."""

    TRANSMITTER = "tx"
    RECEIVER = "rx"
    TRANSCEIVER = "trx"


_REQUESTS: dict[BindKind, type[Bind]] = {
    BindKind.TRANSMITTER: BindTransmitter,
    BindKind.RECEIVER: BindReceiver,
    BindKind.TRANSCEIVER: BindTransceiver,
}


class BindConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One bind. Times in seconds; `ssl` None means plain TCP."""

    host: str
    port: int
    system_id: str
    password: str = ""
    system_type: str = ""
    address_range: str = ""
    kind: BindKind = BindKind.TRANSCEIVER
    window: int = 10
    connect_timeout: float = 10.0
    bind_timeout: float = 10.0
    response_timeout: float = 60.0
    enquire_link: float = 30.0
    enquire_timeout: float = 10.0
    drain: float = 10.0
    reconnect_min: float = 1.0
    reconnect_max: float = 60.0
    ssl: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<BindConfig {self.kind.value} {self.system_id}@{self.host}:{self.port}>"


class FailureKind(Enum):
    """Why a bind is not up."""

    CONNECT = "connect"
    TLS = "tls"
    BIND_TIMEOUT = "bind_timeout"
    CREDENTIALS = "credentials"
    ALREADY_BOUND = "already_bound"
    REJECTED = "rejected"
    LOST = "lost"
    UNBOUND = "unbound"


class Failure(msgspec.Struct, frozen=True):
    kind: FailureKind
    detail: str


_BIND_FAILURES = {
    CommandStatus.ESME_RINVPASWD: FailureKind.CREDENTIALS,
    CommandStatus.ESME_RINVSYSID: FailureKind.CREDENTIALS,
    CommandStatus.ESME_RBINDFAIL: FailureKind.CREDENTIALS,
    CommandStatus.ESME_RALYBND: FailureKind.ALREADY_BOUND,
}
_PATIENT = (FailureKind.CREDENTIALS, FailureKind.TLS, FailureKind.ALREADY_BOUND)


def reconnect_delay(kind: FailureKind, attempt: int, minimum: float, maximum: float, roll: float) -> float:
    """Seconds before the next attempt; `roll` is uniform in [0, 1), `attempt` counts failures since the last good bind.

    Full jitter over an exponential ceiling, so that a thousand gateways do not come back in step. What will not mend itself
    in a second (wrong password, certificate, old session still there) waits between half of `maximum` and `maximum`.
    """
    if kind in _PATIENT:
        return maximum * (0.5 + roll / 2)
    return roll * float(min(maximum, minimum * 2 ** min(attempt, 16)))


class Handler(Protocol):
    """Who lives on a link. All are called from the event loop and must not block or raise."""

    def link_bound(self, link: Link) -> None: ...

    def link_down(self, link: Link, failure: Failure, retry_in: float) -> None: ...

    def link_events(self, link: Link, events: list[Event]) -> None:
        """What one read or one tick brought, `Closed` with its unanswered contexts included."""


class Link(asyncio.Protocol):
    """See the module. `start` once, `close` once; in between it reconnects by itself for ever."""

    def __init__(self, config: BindConfig, handler: Handler, roll: Callable[[], float] = random.random) -> None:
        self.config = config
        self.generation = 0
        """Counts connections: whatever belongs to an older one is stale."""
        self._handler = handler
        self._roll = roll
        self._session = self._new_session()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._bind_answer: asyncio.Future[BindResp | Closed] | None = None
        self._down = asyncio.Event()
        self._stopping = asyncio.Event()
        self._closed: Closed | None = None

    def __repr__(self) -> str:
        return f"<Link {self.config!r} {self._session.state.value}>"

    @property
    def bound(self) -> bool:
        return self._session.state in (State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX)

    @property
    def room(self) -> int:
        """Requests that `submit` takes now; 0 while not bound."""
        return self._session.room

    @property
    def in_flight(self) -> int:
        return self._session.in_flight

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"link {self.config.system_id}")

    def submit(self, requests: Iterable[tuple[bytes, Any]]) -> None:
        """Write submit_sm bodies, one write for all. Raises `LocalProtocolError` beyond `room`."""
        self._session.submit(requests, asyncio.get_running_loop().time())
        self._flush()

    def answer(self, deliveries: Iterable[DeliverSM | DataSM], command_status: int = 0) -> None:
        """Answer deliveries of *this* connection. The caller checks `generation`: an answer cannot outlive its session."""
        self._session.answer_deliveries(deliveries, command_status)
        self._flush()

    async def drained(self, timeout: float) -> None:
        """Wait until nothing is in flight, at most `timeout` seconds. Cancelling it is safe."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._session.in_flight and self.bound:
                    await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Drain, unbind, disconnect, each with its deadline. What stayed unanswered has come as `Closed` when this returns.

        Cancelling it leaves the socket to the operating system.
        """
        self._stopping.set()
        if self.bound:
            await self.drained(self.config.drain)
            self._session.unbind(asyncio.get_running_loop().time())
            self._flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.enquire_timeout):
                    await self._down.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._disconnect("closed by us")

    # The reconnect loop.

    async def _run(self) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            failure = await self._connect()
            if failure is None:
                bound_at = loop.time()
                self._handler.link_bound(self)
                await self._down.wait()
                if loop.time() - bound_at > self.config.reconnect_max:
                    attempt = 0
                closed = self._closed
                kind = FailureKind.UNBOUND if closed is not None and closed.clean else FailureKind.LOST
                failure = Failure(kind, closed.reason if closed is not None else "connection lost")
            config = self.config
            delay = reconnect_delay(failure.kind, attempt, config.reconnect_min, config.reconnect_max, self._roll())
            attempt += 1
            if self._stopping.is_set():
                return
            log.log(
                logging.ERROR if failure.kind in _PATIENT else logging.WARNING,
                "bind down system_id=%s host=%s port=%d kind=%s detail=%r retry_in_s=%.2f",
                *(config.system_id, config.host, config.port, failure.kind.value, failure.detail, delay),
            )
            self._handler.link_down(self, failure, delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()

    async def _connect(self) -> Failure | None:
        """One attempt; None when bound. The connection of an attempt that failed is gone when this returns."""
        loop = asyncio.get_running_loop()
        config = self.config
        self._session = self._new_session()
        self._down.clear()
        self._closed = None
        self.generation += 1
        try:
            async with asyncio.timeout(config.connect_timeout):
                await loop.create_connection(
                    lambda: self,
                    config.host,
                    config.port,
                    ssl=config.ssl,
                    ssl_handshake_timeout=config.connect_timeout if config.ssl else None,
                )
        except ssl.SSLError as error:
            return Failure(FailureKind.TLS, str(error))
        except TimeoutError:
            return Failure(FailureKind.CONNECT, f"no connection within {config.connect_timeout} s")
        except OSError as error:
            return Failure(FailureKind.CONNECT, str(error))
        failure = await self._bind(loop)
        if failure is not None:
            self._disconnect(failure.detail)
        return failure

    async def _bind(self, loop: asyncio.AbstractEventLoop) -> Failure | None:
        config = self.config
        self._bind_answer = loop.create_future()
        self._session.bind(
            _REQUESTS[config.kind](
                system_id=config.system_id,
                password=config.password,
                system_type=config.system_type,
                address_range=config.address_range,
            ),
            loop.time(),
        )
        self._flush()
        try:
            async with asyncio.timeout(config.bind_timeout):
                answer = await self._bind_answer
        except TimeoutError:
            return Failure(FailureKind.BIND_TIMEOUT, f"bind not answered within {config.bind_timeout} s")
        finally:
            self._bind_answer = None
        if isinstance(answer, Closed):
            return Failure(FailureKind.REJECTED, answer.reason)
        if answer.command_status:
            kind = _BIND_FAILURES.get(answer.command_status, FailureKind.REJECTED)  # type: ignore[call-overload]
            return Failure(kind, status_name(answer.command_status))
        self._arm()
        return None

    def _new_session(self) -> Session:
        config = self.config
        return Session(
            Role.ESME,
            window=config.window,
            response_timeout=config.response_timeout,
            enquire_link=config.enquire_link,
            enquire_timeout=config.enquire_timeout,
            drain=config.drain,
        )

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        events = self._session.receive(data, asyncio.get_running_loop().time())
        self._flush()
        self._hand_over(events)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._hand_over(self._session.receive_eof())
        if self._timer is not None:
            self._timer.cancel()
        self._down.set()

    def pause_writing(self) -> None:
        """The SMSC does not read: what it sends asks for answers, so stop taking it until the buffer is down again."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # Private.

    def _tick(self) -> None:
        events = self._session.tick(asyncio.get_running_loop().time())
        self._flush()
        self._hand_over(events)
        self._arm()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._session.state is State.CLOSED:
            return
        at = loop.time() + _TICK
        deadline = self._session.next_deadline
        self._timer = loop.call_at(at if deadline is None else min(at, deadline), self._tick)

    def _flush(self) -> None:
        data = self._session.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _hand_over(self, events: list[Event]) -> None:
        if not events:
            return
        last = events[-1]
        if isinstance(last, Closed):
            self._closed = last
            if self._transport is not None:
                self._transport.close()
        if self._bind_answer is not None and not self._bind_answer.done():
            for event in events:
                if isinstance(event, BindResp | Closed):
                    self._bind_answer.set_result(event)
                    break
        self._handler.link_events(self, events)

    def _disconnect(self, reason: str) -> None:
        if self._session.state is not State.CLOSED:
            self._hand_over([self._session.close(reason)])
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
