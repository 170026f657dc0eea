"""One bind of an SMPP account, kept up: connect, bind, tick, reconnect, unbind.

`Link` is the thin shell round a `Session`: it owns the socket, the clock and the reconnect loop, and hands what happened to a
`Handler` once per read, as a list. Between `bound` and `down` the handler may `submit`; nothing is queued here.

A failure has a class, because each asks for another patience (operators lock accounts that knock too often):
wrong credentials and a bad certificate wait the longest, an account "already bound" waits for its old session to be dropped,
everything else backs off exponentially with full jitter. A bind that answered nothing of what was written last has not
been a good one, however long it was up: the wait goes on growing, and the next session begins on probation.
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
from typing import Any, Protocol, cast

import msgspec

from smpp.constants import CommandStatus, status_name
from smpp.events import Closed, Event
from smpp.pdu import Bind, BindReceiver, BindResp, BindTransceiver, BindTransmitter, DataSM, DeliverSM
from smpp.session import Role, Session, State

__all__ = ["BindConfig", "BindKind", "Failure", "FailureKind", "Handler", "Link", "reconnect_delay"]

log = logging.getLogger("smpp.link")

_TICK = 0.5
"""Longest time between two looks at the session's deadlines, in seconds."""
_LINGER = 0.5
"""How long a connection that is over may take to get rid of its last bytes, in seconds."""


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


_BIND_FAILURES: dict[int, FailureKind] = {
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
    """Who lives on a link. All are called from the event loop and must not block or raise.

    For every connection that binds: `link_bound`, any number of `link_events`, the last of which ends in `Closed`, and
    `link_down` unless it was `Link.close` that ended it. An attempt that does not bind is a `link_down` alone.
    """

    def link_bound(self, link: Link) -> None: ...

    def link_down(self, link: Link, failure: Failure, retry_in: float) -> None: ...

    def link_events(self, link: Link, events: list[Event]) -> None:
        """What one read or one tick brought, `Closed` with its unanswered contexts included."""


class _Connection(asyncio.Protocol):
    """One socket and its session. Never used twice, so that nothing of an old connection reaches a new one.

    `take` is given what one read or one tick brought; `Closed` is the last event it is ever given.
    """

    def __init__(self, session: Session, take: Callable[[list[Event]], None]) -> None:
        self.session = session
        self._take = take
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()
        """Set while there is no socket."""
        self.lost.set()

    def flush(self) -> None:
        """Write what the session has to say, in one piece."""
        data = self.session.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def abort(self, reason: str) -> None:
        """Drop the socket at once; what was unanswered is handed over first."""
        if self.session.state is not State.CLOSED:
            self._hand_over([self.session.close(reason)])
        if self._transport is not None:
            self._transport.abort()

    async def gone(self) -> None:
        """Return when an aborted socket is no more.

        It is not waited for longer than `_LINGER`: of a connection that came about in the moment in which its
        `create_connection` was cancelled uvloop closes the socket and tells nobody.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self.lost.wait()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.lost.clear()
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arm()

    def data_received(self, data: bytes) -> None:
        events = self.session.receive(data, asyncio.get_running_loop().time())
        self.flush()
        self._hand_over(events)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._hand_over(self.session.receive_eof())
        if self._timer is not None:
            self._timer.cancel()
        self.lost.set()

    def pause_writing(self) -> None:
        """The peer does not read: what it sends asks for answers, so stop taking it until the buffer is down again."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # Private.

    def _hand_over(self, events: list[Event]) -> None:
        if not events:
            return
        if isinstance(events[-1], Closed) and self._transport is not None:
            self._transport.close()
            self._call_in(_LINGER, self._transport.abort)
        self._take(events)

    def _tick(self) -> None:
        events = self.session.tick(asyncio.get_running_loop().time())
        self.flush()
        self._arm()
        self._hand_over(events)

    def _arm(self) -> None:
        """Look at the session's deadlines when the next is due; a request submitted since may be due earlier."""
        now = asyncio.get_running_loop().time()
        deadline = self.session.next_deadline
        self._call_in(_TICK if deadline is None else min(_TICK, deadline - now), self._tick)

    def _call_in(self, delay: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, callback)


class Link:
    """See the module. `start` once, `close` once; in between it reconnects by itself for ever."""

    def __init__(self, config: BindConfig, handler: Handler, roll: Callable[[], float] = random.random) -> None:
        self.config = config
        self.generation = 0
        """Counts connections: whatever belongs to an older one is stale."""
        self._handler = handler
        self._roll = roll
        self._connection = self._new_connection(probation=False)
        self._answer: asyncio.Future[BindResp | Closed] | None = None  # to our bind; None once bound
        self._closed: Closed | None = None
        self._heard = asyncio.Event()  # something came in
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._missed = 0  # attempts that did not bind

    def __repr__(self) -> str:
        return f"<Link {self.config!r} {self._connection.session.state.value}>"

    @property
    def bound(self) -> bool:
        return self._connection.session.state in (State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX)

    @property
    def room(self) -> int:
        """Requests that may be submitted now; 0 while not bound, and once `close` has been called."""
        return 0 if self._stopping.is_set() else self._connection.session.room

    @property
    def in_flight(self) -> int:
        return self._connection.session.in_flight

    def start(self, after: float = 0.0) -> None:
        """Begin to connect, `after` seconds from now: somebody else may have to unbind first."""
        self._task = asyncio.create_task(self._run(after), name=f"link {self.config.system_id}")

    def abort(self, reason: str) -> None:
        """Drop the connection as it is; what it has not answered comes as `Closed`, and the link connects again."""
        self._connection.abort(reason)

    def set_window(self, window: int) -> None:
        """Change how many requests may be unanswered, for this connection and the next ones; a smaller one drains by itself."""
        self.config = msgspec.structs.replace(self.config, window=window)
        self._connection.session.window = window

    def submit(self, requests: Iterable[tuple[bytes, Any]]) -> None:
        """Write submit_sm bodies, one write for all. Raises `LocalProtocolError` beyond `room`."""
        self._connection.session.submit(requests, asyncio.get_running_loop().time())
        self._connection.flush()

    def answer(self, deliveries: Iterable[DeliverSM | DataSM], command_status: int = 0) -> None:
        """Answer deliveries of *this* connection. The caller checks `generation`: an answer cannot outlive its session."""
        self._connection.session.answer_deliveries(deliveries, command_status)
        self._connection.flush()

    async def drained(self, timeout: float) -> None:
        """Wait until nothing is in flight, at most `timeout` seconds. Cancelling it is safe."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.in_flight:
                    self._heard.clear()
                    await self._heard.wait()

    async def close(self) -> None:
        """Drain, unbind, disconnect, each with its deadline. What stayed unanswered has come as `Closed` when this returns.

        Cancelling it leaves the socket to the operating system.
        """
        self._stopping.set()
        await self.drained(self.config.drain)
        if self.bound:
            self._connection.session.unbind(asyncio.get_running_loop().time())
            self._connection.flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.enquire_timeout):
                    await self._connection.lost.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._connection.abort("closed by us")
        await self._connection.gone()

    # The reconnect loop.

    async def _run(self, after: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after):
                await self._stopping.wait()
        attempt = 0
        config = self.config
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            failure = await self._connect()
            if failure is None:
                log.info("bind up system_id=%s host=%s port=%d", config.system_id, config.host, config.port)
                bound_at = loop.time()
                await self._connection.lost.wait()
                if loop.time() - bound_at > config.reconnect_max and not self._connection.session.probation:
                    attempt = 0
                assert self._closed is not None
                failure = Failure(FailureKind.UNBOUND if self._closed.clean else FailureKind.LOST, self._closed.reason)
            if self._stopping.is_set():
                return
            delay = reconnect_delay(failure.kind, attempt, config.reconnect_min, config.reconnect_max, self._roll())
            attempt += 1
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
        """One attempt; None when bound. The socket of an attempt that failed is gone when this returns."""
        loop = asyncio.get_running_loop()
        config = self.config
        connection = self._connection = self._new_connection(self._connection.session.probation)
        self.generation += 1
        self._answer = loop.create_future()
        failure: Failure | None
        try:
            async with asyncio.timeout(config.connect_timeout):
                await self._open(connection)
        except ssl.SSLError as error:
            failure = Failure(FailureKind.TLS, str(error))
        except TimeoutError:
            failure = Failure(FailureKind.CONNECT, f"no connection within {config.connect_timeout} s")
        except (OSError, UnicodeError) as error:  # the latter for a name that cannot even be looked up
            failure = Failure(FailureKind.CONNECT, str(error))
        else:
            failure = await self._bind(self._answer)
        if failure is not None:
            self._missed += 1
            connection.abort(failure.detail)
            await connection.gone()
        return failure

    async def _open(self, connection: _Connection) -> None:
        """Connect to the first address of the host that takes it; raises what the last of them said.

        One that drops what we send takes all the time that there is: so each attempt that fails lets another one go first.
        """
        loop = asyncio.get_running_loop()
        config = self.config
        found = await loop.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        first = self._missed % len(addresses)
        name = config.host if config.ssl else None
        refusal: OSError | None = None
        for address in addresses[first:] + addresses[:first]:
            try:
                await loop.create_connection(
                    lambda: connection, address, config.port, ssl=config.ssl, server_hostname=name
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                refusal = error
            else:
                return
        assert refusal is not None
        raise refusal

    async def _bind(self, answer: asyncio.Future[BindResp | Closed]) -> Failure | None:
        config = self.config
        session = self._connection.session
        if session.state is State.OPEN:  # else it was closed while it connected, and `answer` says why
            session.bind(
                _REQUESTS[config.kind](
                    system_id=config.system_id,
                    password=config.password,
                    system_type=config.system_type,
                    address_range=config.address_range,
                ),
                asyncio.get_running_loop().time(),
            )
            self._connection.flush()
        try:
            async with asyncio.timeout(config.bind_timeout):
                outcome = await answer
        except TimeoutError:
            return Failure(FailureKind.BIND_TIMEOUT, f"bind not answered within {config.bind_timeout} s")
        if isinstance(outcome, Closed):
            return Failure(FailureKind.REJECTED, outcome.reason)
        if outcome.command_status:
            kind = _BIND_FAILURES.get(outcome.command_status, FailureKind.REJECTED)
            return Failure(kind, status_name(outcome.command_status))
        return None

    def _new_connection(self, probation: bool) -> _Connection:
        config = self.config
        session = Session(
            Role.ESME,
            window=config.window,
            response_timeout=config.response_timeout,
            enquire_link=config.enquire_link,
            enquire_timeout=config.enquire_timeout,
            drain=config.drain,
            probation=probation,
        )
        return _Connection(session, self._take)

    # Called by the connection.

    def _take(self, events: list[Event]) -> None:
        if self._answer is not None:
            events = self._bind_outcome(self._answer, events)
        if not events:
            return
        if isinstance(events[-1], Closed):
            self._closed = events[-1]
        self._handler.link_events(self, events)
        self._heard.set()

    def _bind_outcome(self, answer: asyncio.Future[BindResp | Closed], events: list[Event]) -> list[Event]:
        """Look for the answer to our bind. What came after a good one is the handler's, anything else nobody's."""
        for position, event in enumerate(events):
            if isinstance(event, BindResp | Closed) and not answer.done():
                answer.set_result(event)
                if isinstance(event, BindResp) and event.command_status == 0:
                    self._answer = None
                    self._handler.link_bound(self)
                    return events[position + 1 :]
        return []
