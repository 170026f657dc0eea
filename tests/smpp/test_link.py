"""The link against SMSCs that do as their scripts say, on loopback: it comes up, stays up, comes back and leaves in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp.constants import RESPONSE, CommandId, CommandStatus
from smpp.errors import LocalProtocolError
from smpp.events import Closed, Event, Expired, LateResponse, Malformed, Response, Unexpected
from smpp.link import BindConfig, BindKind, Failure, FailureKind, Link, reconnect_delay
from smpp.pdu import HEADER, BindTransceiver, DeliverSM, SubmitSM, decode, encode_response

C = CommandId
S = CommandStatus
CERTIFICATE = Path(__file__).parents[1] / "vectors" / "localhost.pem"
BODY = SubmitSM(destination_addr="573001234567", short_message=b"hola").encode_body()
PATIENCE_S = 10.0


class Peer:
    """The SMSC's end of one connection, for its script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> tuple[int, int, bytes]:
        """The next PDU: command_id, sequence_number, body."""
        length, command_id, _, sequence_number = HEADER.unpack(await self.reader.readexactly(16))
        return command_id, sequence_number, await self.reader.readexactly(length - 16)

    async def expect(self, command_id: int) -> int:
        """The sequence_number of the next PDU, which is this command."""
        found, sequence_number, _ = await self.read()
        assert found == command_id, f"{found:#x} came, not {command_id:#x}"
        return sequence_number

    async def eof(self) -> None:
        """Wait for the ESME to go, whatever it still says."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read()

    def send(self, *pdus: bytes) -> None:
        self.writer.write(b"".join(pdus))

    async def take_bind(self, *more: bytes) -> None:
        """Answer a bind_transceiver; `more` comes in the same segment."""
        sequence_number = await self.expect(C.BIND_TRANSCEIVER)
        self.send(encode_response(C.BIND_TRANSCEIVER_RESP, 0, sequence_number, b"SMSC\0"), *more)

    async def take_unbind(self) -> None:
        """Show life, answer nothing but the unbind."""
        while (pdu := await self.read())[0] != C.UNBIND:
            if pdu[0] == C.ENQUIRE_LINK:
                self.send(HEADER.pack(16, C.ENQUIRE_LINK_RESP, 0, pdu[1]))
        self.send(HEADER.pack(16, C.UNBIND_RESP, 0, pdu[1]))


Script = Callable[[Peer], Awaitable[None]]


class Smsc:
    """A server whose connections follow their scripts, the last one again and again; a script that fails fails the test."""

    def __init__(self, scripts: Iterator[Script]) -> None:
        self._scripts = scripts
        self._failures: list[BaseException] = []
        self._running: set[asyncio.Task[Any]] = set()
        self.port = 0
        self.connections = 0
        self.open = 0
        self.most_open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await next(self._scripts)(Peer(reader, writer))
        except (Exception, asyncio.CancelledError) as error:
            self._failures.append(error)
        finally:
            self.open -= 1
            writer.transport.abort() if self._failures else writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self._running.discard(task)

    async def finished(self) -> None:
        """Wait for every script to end, and raise what went wrong in one."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=PATIENCE_S)
            assert not late, "a script still waits for something"
        if self._failures:
            raise self._failures[0]


@contextlib.asynccontextmanager
async def smsc(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Smsc]:
    server = Smsc(chain(scripts, repeat(scripts[-1])))
    listener = socket.create_server(("127.0.0.1", 0))
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # small, so that a script can fill them
        listener.setsockopt(socket.SOL_SOCKET, buffer, 4096)
    async with await asyncio.start_server(server, sock=listener, ssl=tls):
        server.port = listener.getsockname()[1]
        yield server
        await server.finished()


class Owner:
    """The handler of a link: everything that it hears, in order."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[Any] = asyncio.Queue()

    def link_bound(self, link: Link) -> None:
        self._heard.put_nowait("bound")

    def link_down(self, link: Link, failure: Failure, retry_in: float) -> None:
        self._heard.put_nowait((failure, retry_in))

    def link_events(self, link: Link, events: list[Event]) -> None:
        assert events
        for event in events:
            self._heard.put_nowait(event)

    async def next(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await self._heard.get()

    async def bound(self) -> None:
        assert await self.next() == "bound"

    async def down(self) -> tuple[FailureKind, str]:
        failure, _ = await self.next()
        return failure.kind, failure.detail

    def rest(self) -> list[Any]:
        """What has not been asked for."""
        return [self._heard.get_nowait() for _ in range(self._heard.qsize())]


@contextlib.asynccontextmanager
async def linked(port: int, roll: float = 0.0, **options: Any) -> AsyncIterator[tuple[Link, Owner]]:
    """A link that is started and closed; impatient, so that the tests are quick."""
    impatient: dict[str, Any] = {
        "connect_timeout": 2.0,
        "bind_timeout": 2.0,
        "enquire_timeout": 2.0,
        "drain": 2.0,
        "reconnect_min": 0.01,
        "reconnect_max": 0.05,
    }
    given = {"host": "127.0.0.1", **impatient, **options}
    config = BindConfig(port=port, system_id="recado", password="secret", **given)
    owner = Owner()
    link = Link(config, owner, lambda: roll)
    link.start()
    try:
        yield link, owner
    finally:
        await link.close()


async def stay(peer: Peer) -> None:
    """Bind, stay silent until the ESME unbinds."""
    await peer.take_bind()
    await peer.take_unbind()


async def refuse(peer: Peer) -> None:
    peer.send(HEADER.pack(16, C.BIND_TRANSCEIVER_RESP, S.ESME_RSYSERR, await peer.expect(C.BIND_TRANSCEIVER)))
    await peer.eof()


def submit_resp(sequence_number: int, message_id: str) -> bytes:
    return encode_response(C.SUBMIT_SM_RESP, 0, sequence_number, message_id.encode() + b"\0")


# Coming up.


@pytest.mark.parametrize(
    ("kind", "command_id"),
    [
        (BindKind.TRANSMITTER, C.BIND_TRANSMITTER),
        (BindKind.RECEIVER, C.BIND_RECEIVER),
        (BindKind.TRANSCEIVER, C.BIND_TRANSCEIVER),
    ],
)
async def test_binds(kind: BindKind, command_id: int) -> None:
    """A link binds as its configuration says; only what can send has room."""
    asked = []

    async def script(peer: Peer) -> None:
        found, sequence_number, body = await peer.read()
        asked.append((found, decode(found, body, 0)))
        peer.send(encode_response(found | 0x80000000, 0, sequence_number, b"SMSC\0"))
        await peer.take_unbind()

    async with smsc(script) as server, linked(server.port, kind=kind, system_type="VMA") as (link, owner):
        await owner.bound()
        assert link.bound
        assert link.room == (0 if kind is BindKind.RECEIVER else 10)
    ((found, bind),) = asked
    assert found == command_id
    assert (bind.system_id, bind.password, bind.system_type, bind.interface_version) == (
        "recado",
        "secret",
        "VMA",
        0x34,
    )


async def test_first_delivery_comes_after_the_bind() -> None:
    """A delivery in the same segment as the bind_resp is heard of after the bind, and can be answered."""

    async def script(peer: Peer) -> None:
        await peer.take_bind(DeliverSM(short_message=b"hola").encode(9))
        assert await peer.expect(C.DELIVER_SM_RESP) == 9
        await peer.take_unbind()

    async with smsc(script) as server, linked(server.port) as (link, owner):
        await owner.bound()
        delivery = await owner.next()
        assert delivery.short_message == b"hola"
        link.answer([delivery])


async def test_nobody_listens() -> None:
    """A refused connection is tried again until somebody listens."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    async with linked(listener.getsockname()[1]) as (link, owner):
        for _ in range(2):
            kind, _ = await owner.down()
            assert kind is FailureKind.CONNECT
        assert (link.bound, link.room) == (False, 0)
        listener.listen()
        server = Smsc(repeat(stay))
        async with await asyncio.start_server(server, sock=listener):
            while (heard := await owner.next()) != "bound":
                assert heard[0].kind is FailureKind.CONNECT
            await link.close()
            await server.finished()


@pytest.mark.parametrize("host", ["smsc..example", "a" * 64 + ".example"])
async def test_host_that_is_no_name(host: str) -> None:
    """What cannot even be looked up is said, and tried again, like one that nobody knows."""
    async with linked(1, host=host) as (_, owner):
        for _ in range(2):
            kind, detail = await owner.down()
            assert kind is FailureKind.CONNECT
            assert "label" in detail


async def test_connection_that_does_not_come() -> None:
    """A connection that is neither taken nor refused is given up."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as full:
        address = listener.getsockname()
        for _ in range(2):  # more than the queue of the listener holds
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        async with linked(address[1], connect_timeout=0.05) as (_, owner):
            assert await owner.down() == (FailureKind.CONNECT, "no connection within 0.05 s")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses, in this order."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_an_address_that_takes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to connect may all go to it: the next attempt begins with another address of the name."""
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with smsc(stay) as server:
        with (
            socket.create_server(("127.0.0.2", server.port), backlog=0),
            contextlib.ExitStack() as full,
        ):
            for _ in range(2):
                waiting = full.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.2", server.port))
            async with linked(server.port, host="smsc.example", connect_timeout=0.2) as (_, owner):
                assert await owner.down() == (FailureKind.CONNECT, "no connection within 0.2 s")
                await owner.bound()


async def test_an_address_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is asked at once."""
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with smsc(stay) as server, linked(server.port, host="smsc.example") as (_, owner):
        await owner.bound()


async def test_bind_is_not_answered() -> None:
    """A bind without an answer is given up with its connection, and tried again."""

    async def silent(peer: Peer) -> None:
        await peer.expect(C.BIND_TRANSCEIVER)
        await peer.eof()

    async with smsc(silent, stay) as server, linked(server.port, bind_timeout=0.05) as (link, owner):
        assert await owner.down() == (FailureKind.BIND_TIMEOUT, "bind not answered within 0.05 s")
        assert not link.bound
        await owner.bound()
    assert server.most_open == 1


@pytest.mark.parametrize(
    ("command_id", "status", "failure"),
    [
        (C.BIND_TRANSCEIVER_RESP, S.ESME_RINVPASWD, (FailureKind.CREDENTIALS, "ESME_RINVPASWD")),
        (C.BIND_TRANSCEIVER_RESP, S.ESME_RINVSYSID, (FailureKind.CREDENTIALS, "ESME_RINVSYSID")),
        (C.BIND_TRANSCEIVER_RESP, S.ESME_RBINDFAIL, (FailureKind.CREDENTIALS, "ESME_RBINDFAIL")),
        (C.BIND_TRANSCEIVER_RESP, S.ESME_RALYBND, (FailureKind.ALREADY_BOUND, "ESME_RALYBND")),
        (C.BIND_TRANSCEIVER_RESP, S.ESME_RSYSERR, (FailureKind.REJECTED, "ESME_RSYSERR")),
        (C.BIND_TRANSCEIVER_RESP, 0x40B, (FailureKind.REJECTED, "0x0000040B")),
        (C.GENERIC_NACK, S.ESME_RINVCMDID, (FailureKind.REJECTED, "ESME_RINVCMDID")),
    ],
)
async def test_bind_is_rejected(command_id: int, status: int, failure: tuple[FailureKind, str]) -> None:
    """Each refusal of a bind has its class; the handler hears of nothing but the failure, and the next attempt binds."""

    async def reject(peer: Peer) -> None:
        peer.send(HEADER.pack(16, command_id, status, await peer.expect(C.BIND_TRANSCEIVER)))
        await peer.eof()

    async with smsc(reject, stay) as server, linked(server.port) as (_, owner):
        assert await owner.down() == failure
        await owner.bound()


async def test_hung_up_on_bind() -> None:
    """An SMSC that closes the connection instead of answering the bind has rejected it."""

    async def hang_up(peer: Peer) -> None:
        await peer.expect(C.BIND_TRANSCEIVER)

    async with smsc(hang_up, stay) as server, linked(server.port) as (_, owner):
        assert await owner.down() == (FailureKind.REJECTED, "connection closed by the peer")
        await owner.bound()


async def test_aborted_while_it_connects() -> None:
    """A link that is aborted before it has a connection has failed to bind, and tries again."""
    async with smsc(Peer.eof, stay) as server, linked(server.port) as (link, owner):
        while not link.generation:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)
        link.abort("given up")
        assert await owner.down() == (FailureKind.REJECTED, "given up")
        await owner.bound()
    assert (server.connections, server.most_open) == (2, 1)


async def test_one_connection_at_a_time() -> None:
    """However fast attempts follow each other, one connection is gone before the next is made, and none is forgotten."""
    async with smsc(*[refuse] * 30, stay) as server, linked(server.port, reconnect_min=0.0) as (link, owner):
        for _ in range(30):
            assert await owner.down() == (FailureKind.REJECTED, "ESME_RSYSERR")
        await owner.bound()
        assert (link.generation, server.connections) == (31, 31)
    assert (server.connections, server.most_open) == (31, 1)


# TLS.


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_tls() -> None:
    """A link with a context that trusts the certificate talks through TLS."""
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with smsc(stay, tls=server_tls()) as server, linked(server.port, ssl=trusting) as (link, owner):
        await owner.bound()
        assert link.bound


async def test_certificate_that_nobody_signed() -> None:
    """A certificate that the context does not trust is a failure of its own class, and no password is sent."""
    seen = []

    async def listen(peer: Peer) -> None:
        seen.append(await peer.read())

    untrusting = ssl.create_default_context()
    async with smsc(listen, tls=server_tls()) as server, linked(server.port, ssl=untrusting) as (_, owner):
        kind, detail = await owner.down()
        assert kind is FailureKind.TLS
        assert "CERTIFICATE_VERIFY_FAILED" in detail
    assert seen == []


async def test_a_certificate_is_of_the_name_and_not_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can answer for the name could have a certificate for his own address."""
    resolve_to(monkeypatch, "127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with (
        smsc(stay, tls=server_tls()) as server,
        linked(server.port, host="smsc.example", ssl=trusting) as (_, owner),
    ):
        kind, detail = await owner.down()
        assert kind is FailureKind.TLS
        assert "smsc.example" in detail


async def test_tls_with_a_plain_peer() -> None:
    """A peer that does not speak TLS is a TLS failure too: no amount of retrying mends it."""

    async def plain(peer: Peer) -> None:
        peer.send(HEADER.pack(16, C.ENQUIRE_LINK, 0, 1))
        await peer.eof()

    async with smsc(plain) as server, linked(server.port, ssl=ssl.create_default_context()) as (_, owner):
        kind, _ = await owner.down()
        assert kind is FailureKind.TLS


# Traffic.


async def test_submits_in_one_write() -> None:
    """A batch leaves in one piece, and its answers come back with their contexts."""
    pieces = []

    async def script(peer: Peer) -> None:
        await peer.take_bind()
        pieces.append(await peer.reader.read(65536))
        peer.send(submit_resp(3, "b"), submit_resp(2, "a"))
        await peer.take_unbind()

    async with smsc(script) as server, linked(server.port) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first"), (BODY, "second")])
        assert (link.in_flight, link.room) == (2, 8)
        assert [await owner.next(), await owner.next()] == [Response("second", 0, "b"), Response("first", 0, "a")]
        assert link.in_flight == 0
    assert pieces == [b"".join(HEADER.pack(16 + len(BODY), C.SUBMIT_SM, 0, n) + BODY for n in (2, 3))]


async def test_submit_without_room() -> None:
    """A link that is not bound, or full, takes nothing."""
    async with smsc(stay) as server, linked(server.port, window=1, drain=0.05) as (link, owner):
        with pytest.raises(LocalProtocolError):
            link.submit([(BODY, "too early")])
        await owner.bound()
        link.submit([(BODY, "a")])
        with pytest.raises(LocalProtocolError):
            link.submit([(BODY, "b")])


async def test_late_answer() -> None:
    """A request without an answer in time expires, and the answer that comes late still says what it was for."""
    expired = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.take_bind()
        sequence_number = await peer.expect(C.SUBMIT_SM)
        await expired.wait()
        peer.send(submit_resp(sequence_number, "a"))
        await peer.take_unbind()

    async with smsc(script) as server, linked(server.port, response_timeout=0.05) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first")])
        assert await owner.next() == Expired("first")
        assert link.in_flight == 0
        expired.set()
        assert await owner.next() == LateResponse("first", 0, "a")


async def test_drained() -> None:
    """Draining ends with the last answer, or at its limit; several may wait, and giving up waiting hurts nothing."""
    answer = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.take_bind()
        first, second = await peer.expect(C.SUBMIT_SM), await peer.expect(C.SUBMIT_SM)
        await answer.wait()
        peer.send(submit_resp(first, "a"))
        await asyncio.sleep(0.02)
        peer.send(submit_resp(second, "b"))
        await peer.take_unbind()

    async with smsc(script) as server, linked(server.port) as (link, owner):
        await owner.bound()
        await link.drained(PATIENCE_S)
        link.submit([(BODY, "first"), (BODY, "second")])
        await link.drained(0.01)
        assert link.in_flight == 2
        impatient = asyncio.create_task(link.drained(PATIENCE_S))
        patient = asyncio.create_task(link.drained(PATIENCE_S))
        await asyncio.sleep(0)
        impatient.cancel()
        answer.set()
        await patient
        assert link.in_flight == 0
        assert impatient.cancelled()


# Going down and coming back.


async def test_closed_in_the_window() -> None:
    """When the SMSC hangs up, what it had not answered is handed back once, and the link comes back with an empty window."""

    async def hang_up(peer: Peer) -> None:
        await peer.take_bind()
        first = await peer.expect(C.SUBMIT_SM)
        for _ in range(2):
            await peer.expect(C.SUBMIT_SM)
        peer.send(submit_resp(first, "a"))

    async with smsc(hang_up, stay) as server, linked(server.port, window=3) as (link, owner):
        await owner.bound()
        link.submit([(BODY, n) for n in range(3)])
        assert await owner.next() == Response(0, 0, "a")
        assert await owner.next() == Closed("connection closed by the peer", [1, 2])
        assert link.room == 0
        assert await owner.down() == (FailureKind.LOST, "connection closed by the peer")
        await owner.bound()
        assert (link.room, link.generation) == (3, 2)
    assert owner.rest() == [Closed("unbound", [], clean=True)]


async def test_answer_after_the_end() -> None:
    """An answer to a delivery whose connection is gone disappears: the SMSC will deliver it again."""

    async def hang_up(peer: Peer) -> None:
        await peer.take_bind(DeliverSM().encode(9))

    async with smsc(hang_up, refuse) as server, linked(server.port, reconnect_min=5.0, roll=0.9) as (link, owner):
        await owner.bound()
        delivery = await owner.next()
        assert isinstance(await owner.next(), Closed)
        await owner.down()
        link.answer([delivery])
    assert server.connections == 1


async def test_smsc_unbinds() -> None:
    """The SMSC's unbind is answered once the window is empty, and the link binds again."""

    async def unbind(peer: Peer) -> None:
        await peer.take_bind()
        first, second = await peer.expect(C.SUBMIT_SM), await peer.expect(C.SUBMIT_SM)
        peer.send(HEADER.pack(16, C.UNBIND, 0, 77), submit_resp(first, "a"))
        await asyncio.sleep(0.02)
        peer.send(submit_resp(second, "b"))
        assert await peer.expect(C.UNBIND_RESP) == 77
        await peer.eof()

    async with smsc(unbind, stay) as server, linked(server.port) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first"), (BODY, "second")])
        assert await owner.next() == Response("first", 0, "a")
        assert (link.bound, link.room) == (False, 0)
        assert await owner.next() == Response("second", 0, "b")
        assert await owner.next() == Closed("unbound by the peer", [], clean=True)
        assert await owner.down() == (FailureKind.UNBOUND, "unbound by the peer")
        await owner.bound()


async def test_blackhole() -> None:
    """An SMSC that is silent is asked whether it lives, left when it does not say so, and bound to again."""

    async def swallow(peer: Peer) -> None:
        await peer.take_bind()
        await peer.expect(C.SUBMIT_SM)
        await peer.expect(C.ENQUIRE_LINK)
        await peer.eof()

    async with (
        smsc(swallow, stay) as server,
        linked(server.port, enquire_link=0.05, enquire_timeout=0.05) as (link, owner),
    ):
        await owner.bound()
        link.submit([(BODY, "first")])
        assert await owner.next() == Closed("enquire_link not answered", ["first"])
        assert await owner.down() == (FailureKind.LOST, "enquire_link not answered")
        await owner.bound()
        assert link.room == 1


async def deaf(peer: Peer) -> None:
    """Bind, answer what asks nothing, and nothing else."""
    await peer.take_bind()
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while pdu := await peer.read():
            if pdu[0] in (C.ENQUIRE_LINK, C.UNBIND):
                peer.send(HEADER.pack(16, pdu[0] | RESPONSE, 0, pdu[1]))


async def test_an_smsc_that_answers_no_submit_sm() -> None:
    """It is left in order for a new bind, which begins with one request, and has the whole window once that is answered."""

    async def listen(peer: Peer) -> None:
        await peer.take_bind()
        peer.send(submit_resp(await peer.expect(C.SUBMIT_SM), "a"))
        await peer.take_unbind()

    async with (
        smsc(deaf, refuse, listen) as server,
        linked(server.port, window=2, response_timeout=0.05, enquire_link=0.02) as (link, owner),
    ):
        await owner.bound()
        link.submit([(BODY, "first"), (BODY, "second")])
        assert [await owner.next(), await owner.next()] == [Expired("first"), Expired("second")]
        assert (link.bound, link.room) == (True, 1)
        link.submit([(BODY, "third")])
        assert await owner.next() == Expired("third")
        assert await owner.next() == Closed("submit_sm not answered", [], clean=True)
        assert await owner.down() == (FailureKind.UNBOUND, "submit_sm not answered")
        assert (await owner.down())[0] is FailureKind.REJECTED
        await owner.bound()
        assert link.room == 1
        link.submit([(BODY, "fourth")])
        assert await owner.next() == Response("fourth", 0, "a")
        assert link.room == 2


async def test_a_bind_that_the_smsc_has_lost() -> None:
    """It is left in order, what is under way is answered first, and a new one has the whole window."""

    async def forget(peer: Peer) -> None:
        await peer.take_bind()
        numbers = [await peer.expect(C.SUBMIT_SM) for _ in range(2)]
        peer.send(encode_response(C.SUBMIT_SM_RESP, S.ESME_RINVBNDSTS, numbers[0]))
        unbind = await peer.expect(C.UNBIND)
        peer.send(encode_response(C.SUBMIT_SM_RESP, S.ESME_RINVBNDSTS, numbers[1]))
        peer.send(encode_response(C.UNBIND_RESP, S.ESME_RINVBNDSTS, unbind))
        await peer.eof()

    async with smsc(forget, stay) as server, linked(server.port) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first"), (BODY, "second")])
        assert await owner.next() == Response("first", S.ESME_RINVBNDSTS, "")
        assert (link.bound, link.room) == (False, 0)
        assert await owner.next() == Response("second", S.ESME_RINVBNDSTS, "")
        assert await owner.next() == Closed("ESME_RINVBNDSTS", [], clean=True)
        assert await owner.down() == (FailureKind.UNBOUND, "ESME_RINVBNDSTS")
        await owner.bound()
        assert link.room == 10


async def test_peer_that_does_not_read() -> None:
    """A connection whose bytes nobody takes is dropped, although they can never be sent."""
    over = asyncio.Event()

    async def stuff(peer: Peer) -> None:
        await peer.take_bind()
        peer.writer.transport.pause_reading()
        await over.wait()
        peer.writer.transport.abort()

    timing = {"enquire_link": 0.05, "enquire_timeout": 0.05, "reconnect_min": 5.0, "roll": 0.9}
    async with smsc(stuff) as server, linked(server.port, window=40_000, **timing) as (link, owner):
        await owner.bound()
        link.submit([(BODY + bytes(1000), n) for n in range(10_000)])
        closed = await owner.next()
        assert (closed.reason, len(closed.unanswered)) == ("enquire_link not answered", 10_000)
        assert await owner.down() == (FailureKind.LOST, "enquire_link not answered")
        over.set()


async def test_flood_without_reading() -> None:
    """A peer that asks and asks and reads no answer is read no further until it does, so that answers do not pile up."""
    asked = 0
    over = asyncio.Event()

    async def flood(peer: Peer) -> None:
        nonlocal asked
        await peer.take_bind()
        with contextlib.suppress(TimeoutError):
            while asked < 1_000_000:
                peer.send(HEADER.pack(16, C.ENQUIRE_LINK, 0, 1) * 1000)
                asked += 1000
                async with asyncio.timeout(0.3):
                    await peer.writer.drain()
        assert await peer.reader.readexactly(16 * asked) == HEADER.pack(16, C.ENQUIRE_LINK_RESP, 0, 1) * asked
        over.set()
        await peer.take_unbind()

    async with smsc(flood) as server, linked(server.port) as (_, owner):
        await owner.bound()
        async with asyncio.timeout(PATIENCE_S):
            await over.wait()
    assert asked < 1_000_000


@pytest.mark.parametrize(
    ("garbage", "event"),
    [
        (HEADER.pack(20, 0x0000ABCD, 0, 10) + b"abcd", Unexpected(0xABCD)),
        (
            HEADER.pack(20, C.DELIVER_SM, 0, 10) + b"abcd",
            Malformed(C.DELIVER_SM, "body ends before its mandatory parameters"),
        ),
        (submit_resp(0x7FFFFFF0, "1234"), Unexpected(C.SUBMIT_SM_RESP)),
        (BindTransceiver().encode(3), Unexpected(C.BIND_TRANSCEIVER)),
    ],
)
async def test_nonsense_in_a_frame(garbage: bytes, event: Event) -> None:
    """A PDU that makes no sense is reported, and the bind survives it."""

    async def script(peer: Peer) -> None:
        await peer.take_bind(garbage)
        while (await peer.read())[0] != C.SUBMIT_SM:
            pass
        peer.send(submit_resp(2, "a"))
        await peer.take_unbind()

    async with smsc(script) as server, linked(server.port) as (link, owner):
        await owner.bound()
        assert await owner.next() == event
        link.submit([(BODY, "first")])
        assert await owner.next() == Response("first", 0, "a")


@pytest.mark.parametrize(
    "garbage",
    [
        HEADER.pack(0x7FFFFFFF, C.DELIVER_SM, 0, 8),
        HEADER.pack(4, C.DELIVER_SM, 0, 9),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        HEADER.pack(200, C.DELIVER_SM, 0, 7) + b"cut short",
    ],
)
async def test_nonsense_out_of_frame(garbage: bytes) -> None:
    """Bytes that cannot be cut into PDUs, or end in the middle of one, end the connection, and the link comes back."""

    async def script(peer: Peer) -> None:
        await peer.take_bind(garbage)
        await asyncio.sleep(0.01)

    async with smsc(script, stay) as server, linked(server.port) as (_, owner):
        await owner.bound()
        assert isinstance(await owner.next(), Closed)
        assert (await owner.down())[0] is FailureKind.LOST
        await owner.bound()


# Leaving.


async def test_close_drains_and_unbinds() -> None:
    """Closing waits for the answers under way, then unbinds; the handler hears the answers and a clean end."""

    async def script(peer: Peer) -> None:
        await peer.take_bind()
        sequence_number = await peer.expect(C.SUBMIT_SM)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await peer.read()
        peer.send(submit_resp(sequence_number, "a"))
        await peer.take_unbind()

    async with smsc(script) as server, linked(server.port) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first")])
        closing = asyncio.create_task(link.close())
        await asyncio.sleep(0)
        assert (link.bound, link.room) == (True, 0)
        await closing
        assert owner.rest() == [Response("first", 0, "a"), Closed("unbound", [], clean=True)]
        assert (link.bound, link.room) == (False, 0)


async def test_close_while_the_smsc_unbinds() -> None:
    """Closing a link that the SMSC is unbinding waits for the answers that are still to come."""

    async def unbind(peer: Peer) -> None:
        await peer.take_bind()
        first, second = await peer.expect(C.SUBMIT_SM), await peer.expect(C.SUBMIT_SM)
        peer.send(submit_resp(first, "a"), HEADER.pack(16, C.UNBIND, 0, 77))
        await asyncio.sleep(0.02)
        peer.send(submit_resp(second, "b"))
        await peer.expect(C.UNBIND_RESP)

    async with smsc(unbind) as server, linked(server.port) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first"), (BODY, "second")])
        assert await owner.next() == Response("first", 0, "a")
        assert not link.bound
        await link.close()
        assert owner.rest() == [Response("second", 0, "b"), Closed("unbound by the peer", [], clean=True)]


async def test_close_with_a_silent_peer() -> None:
    """Closing ends although nothing is answered, and hands back what is unknown."""

    async def silent(peer: Peer) -> None:
        await peer.take_bind()
        await peer.eof()

    async with smsc(silent) as server, linked(server.port, drain=0.05, enquire_timeout=0.05) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first")])
        await link.close()
        (closed,) = owner.rest()
        assert (closed.unanswered, closed.clean) == (["first"], False)


async def test_close_while_binding() -> None:
    """Closing during a bind drops the connection."""
    asked = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.expect(C.BIND_TRANSCEIVER)
        asked.set()
        await peer.eof()

    async with smsc(silent) as server, linked(server.port, bind_timeout=60.0) as (link, owner):
        await asked.wait()
        async with asyncio.timeout(PATIENCE_S):
            await link.close()
        assert owner.rest() == []


async def test_close_between_attempts() -> None:
    """Closing does not wait for the next attempt."""
    async with (
        smsc(refuse) as server,
        linked(server.port, reconnect_min=600.0, reconnect_max=600.0, roll=0.9) as (link, owner),
    ):
        await owner.down()
        await link.close()
    assert server.connections == 1


async def test_close_unstarted() -> None:
    """A link that was never started can be closed."""
    await Link(BindConfig(host="127.0.0.1", port=1, system_id="recado"), Owner()).close()


async def test_close_cancelled() -> None:
    """Cancelling a close cancels it, and it can be called again."""
    async with smsc(stay) as server, linked(server.port, drain=0.05) as (link, owner):
        await owner.bound()
        link.submit([(BODY, "first")])
        closing = asyncio.create_task(link.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


# Patience.


async def test_backoff_grows() -> None:
    """Every bind that does not last makes the next attempt wait longer, up to the maximum."""

    async def hang_up(peer: Peer) -> None:
        await peer.take_bind()

    waits = []
    async with (
        smsc(hang_up) as server,
        linked(server.port, reconnect_min=0.02, reconnect_max=0.1, roll=1.0) as (_, owner),
    ):
        while len(waits) < 5:
            heard = await owner.next()
            if isinstance(heard, tuple):
                waits.append(heard[1])
    assert waits == [0.02, 0.04, 0.08, 0.1, 0.1]


async def test_backoff_starts_again() -> None:
    """A bind that lasted longer than the longest wait has made good what failed before."""

    async def last(peer: Peer) -> None:
        await peer.take_bind()
        await asyncio.sleep(0.2)

    async with (
        smsc(refuse, refuse, last) as server,
        linked(server.port, reconnect_min=0.01, reconnect_max=0.04, roll=1.0) as (_, owner),
    ):
        heard = [await owner.next() for _ in range(5)]
    assert [heard[0][1], heard[1][1], heard[2], heard[4][1]] == [0.01, 0.02, "bound", 0.01]


async def test_backoff_goes_on_where_nothing_is_answered() -> None:
    """However long a bind was up that answered nothing of what was written."""
    waits: list[float] = []
    timing = {"response_timeout": 0.05, "enquire_link": 0.02, "reconnect_min": 0.01, "reconnect_max": 0.04}
    async with smsc(deaf) as server, linked(server.port, window=1, roll=1.0, **timing) as (link, owner):
        while len(waits) < 3:
            heard = await owner.next()
            if heard == "bound" or isinstance(heard, Expired):
                link.submit([(BODY, "hola")] * link.room)
            elif isinstance(heard, tuple):
                waits.append(heard[1])
    assert waits == [0.01, 0.02, 0.04]


@given(
    kind=st.sampled_from(FailureKind),
    attempt=st.integers(0, 10_000),
    minimum=st.floats(0.001, 10),
    maximum=st.floats(10, 600),
    roll=st.floats(0, 1, exclude_max=True),
)
def test_reconnect_delay(kind: FailureKind, attempt: int, minimum: float, maximum: float, roll: float) -> None:
    """Delays lie between nothing and the ceiling, and what needs a person waits at least half the maximum."""
    delay = reconnect_delay(kind, attempt, minimum, maximum, roll)
    if kind in (FailureKind.CREDENTIALS, FailureKind.TLS, FailureKind.ALREADY_BOUND):
        assert maximum / 2 <= delay <= maximum
    else:
        assert 0 <= delay <= min(maximum, minimum * 2.0 ** min(attempt, 1000))
    assert delay <= reconnect_delay(kind, attempt + 1, minimum, maximum, roll)


async def test_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password is an error in the log, which names the account and keeps the password to itself."""

    async def reject(peer: Peer) -> None:
        peer.send(HEADER.pack(16, C.BIND_TRANSCEIVER_RESP, S.ESME_RINVPASWD, await peer.expect(C.BIND_TRANSCEIVER)))
        await peer.eof()

    caplog.set_level(logging.INFO)
    async with smsc(reject, stay) as server, linked(server.port) as (link, owner):
        await owner.down()
        await owner.bound()
        assert repr(link) == f"<Link <BindConfig trx recado@127.0.0.1:{server.port}> bound_trx>"
    down, up = (record for record in caplog.records if record.name == "smpp.link")
    assert (down.levelno, up.levelno) == (logging.ERROR, logging.INFO)
    assert "system_id=recado" in down.getMessage()
    assert "kind=credentials detail='ESME_RINVPASWD'" in down.getMessage()
    assert "secret" not in caplog.text


async def test_closed_at_any_moment_of_connecting() -> None:
    """A connection that comes about in that moment is closed by the loop, which tells its protocol nothing."""
    listener = socket.create_server(("127.0.0.1", 0))  # connections come about, and nobody answers
    port = listener.getsockname()[1]
    config = BindConfig(host="127.0.0.1", port=port, system_id="recado", drain=0.0, enquire_timeout=0.01)
    for steps in range(30):
        link = Link(config, Owner())
        link.start()
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await link.close()
    listener.close()
