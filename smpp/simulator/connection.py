"""The sockets of the simulator: one connection of an ESME, and the pump that spreads an account's deliveries over them.

A read costs one write: answers, and the deliveries that go with them, leave together. There is no task per message.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

from smpp.constants import CommandId, CommandStatus
from smpp.events import Closed, Event, Expired, Malformed, Response, Unexpected
from smpp.pdu import Bind, BindTransmitter, DataSM, SubmitSM
from smpp.session import Session
from smpp.simulator.account import Account
from smpp.simulator.agenda import Agenda

__all__ = ["Connection", "Pump"]

_DATA_SM = int(CommandId.DATA_SM)

_UNREAD = 64 * 2**20
"""Octets that an ESME may leave unread before its connection is cut."""


class Alarm:
    """Calls back at the earliest of the times that it was set to, then is unset."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.Handle | None = None
        self._at = 0.0

    def set(self, at: float) -> None:
        if self._handle is None or at < self._at:
            self.cancel()
            self._at = at
            self._handle = self._loop.call_at(at, self._ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        self._callback()


class Pump:
    """Moves the deliveries of one account to its binds, as they fall due and as windows open."""

    def __init__(self, account: Account, loop: asyncio.AbstractEventLoop) -> None:
        self.account = account
        self.connections: deque[Connection] = deque()
        self._loop = loop
        self._alarm = Alarm(loop, self._wake)

    def push(self, now: float) -> None:
        """Send what is ready to binds with room, another one first each time."""
        if self.account.ready:
            self.connections.rotate(-1)
            for connection in tuple(self.connections):
                connection.deliver(now)

    def run(self, now: float) -> None:
        """Make ready what is due, and send it. To be called after the answers of this moment."""
        self.account.advance(now)
        self.push(now)
        due = self.account.next_due
        if due is not None:
            self._alarm.set(due)

    def stop(self) -> None:
        self._alarm.cancel()

    def _wake(self) -> None:
        now = self._loop.time()
        # Alarms of the same millisecond ring in any order: what is due here may be the receipt of an answer due there.
        for connection in self.connections:
            connection.release(now)
        self.run(now)


class Connection(asyncio.Protocol):
    """One connection, bound to an account or not yet. It is in `open_connections` while it has a socket, then `lost` is set;
    `pumps` are those of the accounts, by system_id."""

    def __init__(
        self,
        number: int,
        session: Session,
        pumps: Mapping[str, Pump],
        open_connections: set[Connection],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.number = number
        self.lost = asyncio.Event()
        self._session = session
        self._pumps = pumps
        self._open = open_connections
        self._loop = loop
        self._pump: Pump | None = None
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._corked = False
        self._paused = False
        self._ending = False
        self._submits = 0
        self._answers: Agenda[bytes] = Agenda()
        self._alarm = Alarm(loop, self._wake)

    def __repr__(self) -> str:
        return f"<Connection {self.number} {self._session!r}>"

    @property
    def account(self) -> Account | None:
        return self._pump.account if self._pump is not None else None

    # What the simulator does with it.

    def deliver(self, now: float) -> None:
        """Take what is ready for this bind, as much as its window and its socket hold."""
        if self._pump is None or self._paused or self._ending:
            return
        session = self._session
        batch = self._pump.account.take(self.number, session.room)
        if batch:
            session.deliver([(delivery.body, delivery) for delivery in batch if delivery.command_id != _DATA_SM], now)
            session.submit(
                [(delivery.body, delivery) for delivery in batch if delivery.command_id == _DATA_SM], now, _DATA_SM
            )
            self._flush()

    def release(self, now: float) -> None:
        """Write the answers that are due."""
        self._out += self._answers.take(now)
        self._flush()
        self._arm()

    def write(self, data: bytes) -> None:
        """Send octets as they are, SMPP or not."""
        self._out.append(data)
        self._flush()

    def unbind(self) -> None:
        self._session.unbind(self._loop.time())
        self._flush()

    def drop(self) -> None:
        """Cut the connection: what was not written is lost, answers under way too."""
        if self._transport is not None:
            self._transport.abort()

    def tick(self, now: float) -> None:
        """Let the session see the time. In a blackhole nobody would hear its enquire_link."""
        if not self._silent:
            self._take_in(self._session.tick(now), now)

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._transport.set_write_buffer_limits(high=2**20)
        self._open.add(self)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        self._take_in(self._session.receive(data, now), now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ending = True
        self._take_in(self._session.receive_eof(), self._loop.time())
        self._alarm.cancel()
        self._open.discard(self)
        self.lost.set()

    def pause_writing(self) -> None:
        """The ESME reads slowly: nothing new for it. Its requests are still read, for two ends that both wait wait for ever."""
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._pump is not None:
            self._pump.push(self._loop.time())

    # Private.

    @property
    def _silent(self) -> bool:
        return self._pump is not None and self._pump.account.behaviour.blackhole

    def _take_in(self, events: list[Event], now: float) -> None:
        """Everything that one read or tick brings about, in one write: early receipts, answers, receipts."""
        self._corked = True
        answers: list[bytes] = []
        for event in events:
            if type(event) is SubmitSM:
                self._submit(event, now, answers)
            else:
                self._note(event, now)
        closed = events[-1] if events and isinstance(events[-1], Closed) else None
        if closed is not None:
            answers += self._answers.take(float("inf"))
            self._out += answers
            self._ending = True
        elif self._pump is not None:
            self._pump.push(now)
            self._stage()
            self._out += answers
            if len(self._pump.connections) > 1:
                self._uncork()  # a receipt on another bind is not to overtake its answer
            self._pump.run(now)
        self._uncork()
        self._arm()
        if closed is not None:
            self._leave(closed, now)
        if self._ending and self._transport is not None:
            self._transport.close()

    def _submit(self, request: SubmitSM, now: float, answers: list[bytes]) -> None:
        if self._pump is None or self._ending:
            return
        account = self._pump.account
        answer = account.submit(request, self.number, now)
        self._submits += 1
        last = account.behaviour.disconnect_after
        if last is not None:
            self._ending = self._submits >= last
            if self._submits > last - account.behaviour.disconnect_unanswered:
                return
        if answer is None:
            return
        due, pdu = answer
        if due <= now:
            answers.append(pdu)
        else:
            self._answers.add(due, pdu)

    def _note(self, event: Event, now: float) -> None:
        if isinstance(event, Bind):
            self._bind(event)
        elif isinstance(event, DataSM):
            self._session.answer_deliveries([event], CommandStatus.ESME_RINVCMDID)
        elif self._pump is not None:
            account = self._pump.account
            if isinstance(event, Response):
                account.answered(event.context, event.command_status, now)
            elif isinstance(event, Expired):
                account.expired(event.context)
            elif isinstance(event, Malformed):
                account.counts.malformed += 1
            elif isinstance(event, Unexpected):
                account.counts.unexpected += 1

    def _bind(self, request: Bind) -> None:
        pump = self._pumps.get(request.system_id)
        if pump is None:
            self._session.answer_bind(request, CommandStatus.ESME_RINVSYSID)
        elif pump.account.behaviour.bind_answered:
            status = pump.account.judge_bind(request)
            self._session.answer_bind(request, status, "simulator")
            if status == 0:
                self._pump = pump
                pump.connections.append(self)
                pump.account.opened(self.number, receives=not isinstance(request, BindTransmitter))

    def _leave(self, closed: Closed, now: float) -> None:
        if self._pump is not None:
            pump, self._pump = self._pump, None
            pump.connections.remove(self)
            pump.account.counts.unbinds += closed.clean
            pump.account.closed(self.number, closed.unanswered)
            pump.push(now)

    def _stage(self) -> None:
        data = self._session.data_to_send()
        if data:
            self._out.append(data)

    def _uncork(self) -> None:
        self._corked = False
        self._flush()

    def _flush(self) -> None:
        if self._corked:
            return
        self._stage()
        if not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        transport = self._transport
        if transport is None or transport.is_closing() or self._silent:
            return
        transport.write(data)
        if self._paused and transport.get_write_buffer_size() > _UNREAD:
            transport.abort()

    def _arm(self) -> None:
        due = self._answers.next_due
        if due is not None and not self._ending:
            self._alarm.set(due)

    def _wake(self) -> None:
        # Half of the shortest time that the loop can wait: no turn of its own for what is that near.
        self.release(self._loop.time() + 0.0005)
