"""The simulated SMSC on loopback: what an ESME meets, seen by our link and by a client that is nothing but octets."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from smpp.constants import CommandId, CommandStatus
from smpp.events import Closed, Event, Expired, LateResponse, Response
from smpp.link import BindConfig, BindKind, Failure, FailureKind, Link
from smpp.pdu import HEADER, BindReceiver, BindTransceiver, BindTransmitter, DataSM, DeliverSM, SubmitSM
from smpp.receipt import parse
from smpp.simulator import GARBAGE, Account, Behaviour, Simulator

C = CommandId
S = CommandStatus
CERTIFICATE = Path(__file__).parents[1] / "vectors" / "localhost.pem"
PATIENCE_S = 10.0


class Esme:
    """The owner of a link: keeps what happened, and answers deliveries with `status`, or not at all when it is None."""

    def __init__(self) -> None:
        self.status: int | None = 0
        self.bound = 0
        self.failures: list[FailureKind] = []
        self.responses: list[Response] = []
        self.others: list[Event] = []
        self.deliveries: list[DeliverSM | DataSM] = []
        self._changed = asyncio.Event()

    def link_bound(self, link: Link) -> None:
        self.bound += 1
        self._changed.set()

    def link_down(self, link: Link, failure: Failure, retry_in: float) -> None:
        self.failures.append(failure.kind)
        self._changed.set()

    def link_events(self, link: Link, events: list[Event]) -> None:
        deliveries = [event for event in events if isinstance(event, DeliverSM | DataSM)]
        if deliveries and self.status is not None:
            link.answer(deliveries, self.status)
        self.deliveries += deliveries
        for event in events:
            if isinstance(event, Response):
                self.responses.append(event)
            elif not isinstance(event, DeliverSM | DataSM):
                self.others.append(event)
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await self._changed.wait()
                self._changed.clear()

    async def is_bound(self, times: int = 1) -> None:
        await self.until(lambda: self.bound >= times)

    def ids(self) -> list[str]:
        """The message ids of the receipts."""
        receipts = [parse(d.esm_class, d.short_message, d.tlvs) for d in self.deliveries]
        return [receipt.message_id for receipt in receipts if receipt is not None]


@contextlib.asynccontextmanager
async def linked(simulator: Simulator, **options: Any) -> AsyncIterator[tuple[Link, Esme]]:
    """A link to the simulator, quick to come back and quick to leave."""
    defaults: dict[str, Any] = {
        "system_id": "a",
        "password": "secret",
        "window": 100,
        "drain": 0.05,
        "enquire_timeout": 0.2,
        "reconnect_min": 0.01,
        "reconnect_max": 0.02,
    }
    esme = Esme()
    link = Link(BindConfig(host="127.0.0.1", port=simulator.port, **defaults | options), esme)
    link.start()
    try:
        yield link, esme
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def simulated(behaviour: Behaviour | None = None, **options: Any) -> AsyncIterator[tuple[Simulator, Account]]:
    account = Account("a", "secret", behaviour, record="full")
    async with Simulator([account, Account("b", "secret")], **options) as simulator:
        yield simulator, account


def bodies(count: int, first: int = 0) -> list[tuple[bytes, Any]]:
    return [
        (
            SubmitSM(
                source_addr="89000",
                destination_addr=f"57300{number:07d}",
                registered_delivery=1,
                short_message=b"hola",
            ).encode_body(),
            number,
        )
        for number in range(first, first + count)
    ]


class Raw:
    """An ESME that writes what it is told and reads PDU by PDU."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def submit(self, count: int) -> None:
        pdus = [
            HEADER.pack(16 + len(body), C.SUBMIT_SM, 0, 100 + n) + body for n, (body, _) in enumerate(bodies(count))
        ]
        self.writer.write(b"".join(pdus))

    def answer(self, command_id: int, sequence_number: int, status: int = 0) -> None:
        self.writer.write(HEADER.pack(17, command_id | 0x80000000, status, sequence_number) + b"\0")

    async def read(self) -> tuple[int, int, int]:
        """command_id, command_status, sequence_number."""
        async with asyncio.timeout(PATIENCE_S):
            length, *header = HEADER.unpack(await self.reader.readexactly(16))
            await self.reader.readexactly(length - 16)
        return header[0], header[1], header[2]

    async def commands(self, count: int) -> list[int]:
        return [(await self.read())[0] for _ in range(count)]

    async def eof(self) -> list[int]:
        """The commands that come until the SMSC hangs up."""
        commands = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                commands.append((await self.read())[0])
        return commands


@contextlib.asynccontextmanager
async def raw(simulator: Simulator, bind: type = BindTransceiver) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    esme = Raw(reader, writer)
    try:
        writer.write(bind(system_id="a", password="secret").encode(1))
        assert (await esme.read())[1] == 0
        yield esme
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


# The ordinary way.


async def test_messages_are_answered_and_receipted() -> None:
    """Every message has one answer with its id and one receipt of that id."""
    async with simulated() as (simulator, account), linked(simulator) as (link, esme):
        await esme.is_bound()
        for first in range(0, 500, 100):
            link.submit(bodies(100, first))
            await esme.until(lambda sent=first + 100: len(esme.responses) == sent)  # type: ignore[misc]
        await esme.until(lambda: len(esme.deliveries) == 500)
        assert [response.context for response in esme.responses] == list(range(500))
        assert sorted(esme.ids()) == sorted(response.message_id for response in esme.responses)
        assert len(account.record.texts()) == 500
    counts = account.counts
    assert (counts.accepted, counts.messages, counts.duplicates) == (500, 500, 0)
    assert (counts.receipts, counts.settled, counts.pending) == (500, 500, 0)
    assert (counts.binds, counts.max_binds) == (0, 1)


async def test_accounts_share_a_port_and_nothing_else() -> None:
    """Ids of two accounts are equal, their messages and receipts apart."""
    async with (
        simulated() as (simulator, account),
        linked(simulator) as (link_a, esme_a),
        linked(simulator, system_id="b") as (link_b, esme_b),
    ):
        for link, esme in ((link_a, esme_a), (link_b, esme_b)):
            await esme.is_bound()
            link.submit(bodies(2))
            await esme.until(lambda esme=esme: len(esme.deliveries) == 2)  # type: ignore[misc]
        assert esme_a.ids() == esme_b.ids() == ["1", "2"]
        assert account.counts.messages == simulator.accounts["b"].counts.messages == 2


async def test_transmitter_and_receiver_are_one_account() -> None:
    """Receipts of what the transmitter sent wait for the receiver, even if they were to go to the same bind."""
    async with (
        simulated(Behaviour(receipt_where="same")) as (simulator, account),
        linked(simulator, kind=BindKind.TRANSMITTER) as (link, esme),
    ):
        await esme.is_bound()
        link.submit(bodies(3))
        await esme.until(lambda: len(esme.responses) == 3)
        assert account.counts.pending == 3
        async with linked(simulator, kind=BindKind.RECEIVER) as (_, receiver):
            await receiver.until(lambda: len(receiver.deliveries) == 3)
            assert esme.deliveries == []


async def test_tls() -> None:
    """With a context, the port speaks TLS."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(CERTIFICATE)
    client_side = ssl.create_default_context(cafile=str(CERTIFICATE))
    client_side.check_hostname = False
    async with simulated(ssl=server_side) as (simulator, _), linked(simulator, ssl=client_side) as (link, esme):
        await esme.is_bound()
        link.submit(bodies(1))
        await esme.until(lambda: len(esme.deliveries) == 1)


async def test_mo_parts_arrive_in_the_order_asked_for() -> None:
    """On a bind that receives, which transmitters do not."""
    async with (
        simulated() as (simulator, account),
        linked(simulator, kind=BindKind.TRANSMITTER) as (_, transmitter),
        linked(simulator, kind=BindKind.RECEIVER) as (_, receiver),
    ):
        await transmitter.is_bound()
        await receiver.is_bound()
        assert simulator.send_mo("a", "573001234567", "89000", "Quiero pagar mi factura. " * 16, order=[2, 3, 1]) == 3
        await receiver.until(lambda: len(receiver.deliveries) == 3)
        assert [delivery.short_message[5] for delivery in receiver.deliveries] == [2, 3, 1]
        assert transmitter.deliveries == []
        await receiver.until(lambda: account.counts.mo == 3)


async def test_a_receipt_of_nobody_s_message_is_sent() -> None:
    """To be published as an orphan."""
    async with simulated() as (simulator, _), linked(simulator) as (_, esme):
        await esme.is_bound()
        simulator.send_receipt("a", "deadbeef", "573001234567", "89000")
        await esme.until(lambda: esme.ids() == ["deadbeef"])


# Binds that fail.


@pytest.mark.parametrize(
    ("options", "behaviour", "expected"),
    [
        ({"password": "wrong"}, {}, FailureKind.CREDENTIALS),
        ({"system_id": "nobody"}, {}, FailureKind.CREDENTIALS),
        ({}, {"bind_status": S.ESME_RSYSERR}, FailureKind.REJECTED),
        ({}, {"max_binds": 0}, FailureKind.ALREADY_BOUND),
        ({"bind_timeout": 0.05}, {"bind_answered": False}, FailureKind.BIND_TIMEOUT),
    ],
)
async def test_binds_that_fail(options: dict[str, Any], behaviour: dict[str, Any], expected: FailureKind) -> None:
    """Each in its way, until the behaviour is another."""
    async with simulated(Behaviour(**behaviour)) as (simulator, account), linked(simulator, **options) as (_, esme):
        await esme.until(lambda: len(esme.failures) >= 2)
        assert set(esme.failures) == {expected}
        assert account.counts.binds == 0
        if behaviour:
            account.behaviour = Behaviour()
            await esme.is_bound()


async def test_refuses_connections_and_takes_them_again() -> None:
    """On the same port, which nobody else can have meanwhile; what is connected stays."""
    async with simulated() as (simulator, _), linked(simulator) as (link, esme):
        await esme.is_bound()
        await simulator.refuse()
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind((simulator.host, simulator.port))
        async with linked(simulator) as (_, late):
            await late.until(lambda: FailureKind.CONNECT in late.failures)
            link.submit(bodies(1))
            await esme.until(lambda: len(esme.responses) == 1)
            await simulator.listen()
            await late.is_bound()


async def test_goes_on_where_it_stopped() -> None:
    """The accounts remember what the ESME has not answered; the port is the same."""
    async with simulated() as (simulator, _), linked(simulator) as (link, esme):
        await esme.is_bound()
        esme.status = None
        link.submit(bodies(2))
        await esme.until(lambda: len(esme.deliveries) == 2)
        await simulator.stop()
        await esme.until(lambda: FailureKind.CONNECT in esme.failures)
        await simulator.start()
        await esme.until(lambda: sorted(esme.ids()) == ["1", "1", "2", "2"])


# Answers that do not come as they should.


async def test_receipts_never_overtake_their_answers_unless_asked_to() -> None:
    """On one bind the answer is first, also when it is slow; with `receipts_early` it is last."""
    async with simulated() as (simulator, account), raw(simulator) as esme:
        for behaviour in (Behaviour(), Behaviour(latency_s=0.02), Behaviour(latency_s=0.01, latency_jitter_s=0.01)):
            account.behaviour = behaviour
            esme.submit(20)
            seen: set[int] = set()
            for _ in range(40):
                command_id, _, sequence_number = await esme.read()
                if command_id == C.DELIVER_SM:
                    assert len(seen) > 0
                    esme.answer(command_id, sequence_number)
                else:
                    seen.add(sequence_number)
            assert len(seen) == 20
        account.behaviour = Behaviour(receipts_early=1.0)
        esme.submit(3)
        assert await esme.commands(6) == [C.DELIVER_SM] * 3 + [C.SUBMIT_SM_RESP] * 3


async def test_one_read_costs_one_write_in_order() -> None:
    """All answers, then all receipts."""
    async with simulated() as (simulator, _), raw(simulator) as esme:
        esme.submit(10)
        assert await esme.commands(20) == [C.SUBMIT_SM_RESP] * 10 + [C.DELIVER_SM] * 10


async def test_answers_under_way_come_before_the_answer_to_unbind() -> None:
    """However slow the SMSC is: nothing that was accepted stays without its answer."""
    async with simulated(Behaviour(latency_s=60.0, receipt_ratio=0.0)) as (simulator, _), raw(simulator) as esme:
        esme.submit(5)
        esme.writer.write(HEADER.pack(16, C.UNBIND, 0, 9))
        assert await esme.eof() == [C.SUBMIT_SM_RESP] * 5 + [C.UNBIND_RESP]


async def test_answers_after_the_response_timeout() -> None:
    """The ESME gives up, and hears it later."""
    async with (
        simulated(Behaviour(latency_s=0.7)) as (simulator, _),
        linked(simulator, response_timeout=0.01) as (link, esme),
    ):
        await esme.is_bound()
        link.submit(bodies(1))
        await esme.until(lambda: len(esme.others) == 2)
        assert [type(event) for event in esme.others] == [Expired, LateResponse]


async def test_messages_without_an_answer_have_a_receipt() -> None:
    """In doubt for the ESME, delivered in truth."""
    async with (
        simulated(Behaviour(unanswered=1.0)) as (simulator, account),
        linked(simulator, response_timeout=0.01) as (link, esme),
    ):
        await esme.is_bound()
        link.submit(bodies(1))
        await esme.until(lambda: len(esme.others) == 1 and len(esme.deliveries) == 1)
        assert isinstance(esme.others[0], Expired)
        assert esme.responses == []
        assert account.counts.messages == 1


async def test_statuses_reach_the_esme() -> None:
    """Errors by destination."""
    behaviour = Behaviour(rejected={"573000000001": S.ESME_RINVDSTADR})
    async with simulated(behaviour) as (simulator, _), linked(simulator) as (link, esme):
        await esme.is_bound()
        link.submit(bodies(3))
        await esme.until(lambda: len(esme.responses) == 3)
        assert [response.command_status for response in esme.responses] == [0, S.ESME_RINVDSTADR, 0]


# Deliveries.


async def test_receipts_on_the_other_bind() -> None:
    """The bind that submitted gets none."""
    async with (
        simulated(Behaviour(receipt_where="other")) as (simulator, _),
        linked(simulator) as (link, first),
        linked(simulator) as (_, second),
    ):
        await first.is_bound()
        await second.is_bound()
        link.submit(bodies(10))
        await second.until(lambda: len(second.deliveries) == 10)
        assert first.deliveries == []


async def test_receipts_on_any_bind_take_turns() -> None:
    """Neither is left out."""
    async with (
        simulated() as (simulator, _),
        linked(simulator) as (link, first),
        linked(simulator) as (_, second),
    ):
        await first.is_bound()
        await second.is_bound()
        for number in range(4):
            link.submit(bodies(1, number))
            await first.until(lambda sent=number + 1: len(first.responses) == sent)  # type: ignore[misc]
        await first.until(lambda: len(first.deliveries) == 2)
        await second.until(lambda: len(second.deliveries) == 2)


@pytest.mark.parametrize("via", ["deliver_sm", "data_sm"])
async def test_a_refused_delivery_comes_again_until_it_is_taken(via: Any) -> None:
    """ESME_RX_T_APPN loses nothing."""
    behaviour = Behaviour(redelivery_s=0.01, receipt_via=via)
    async with simulated(behaviour) as (simulator, account), linked(simulator) as (link, esme):
        await esme.is_bound()
        esme.status = S.ESME_RX_T_APPN
        link.submit(bodies(1))
        await esme.until(lambda: len(esme.deliveries) == 3)
        esme.status = 0
        await esme.until(lambda: len(esme.deliveries) >= 4)
        assert set(esme.ids()) == {"1"}
        simulator.send_unbind()
        await esme.is_bound(2)
        assert account.counts.pending == 0
        assert account.counts.redelivered == len(esme.deliveries) - 1


async def test_a_delivery_not_answered_in_time_comes_again() -> None:
    """The bind lives, and yet nothing is lost."""
    async with simulated(deliver_timeout=0.05) as (simulator, _), linked(simulator) as (link, esme):
        await esme.is_bound()
        esme.status = None
        link.submit(bodies(1))
        await esme.until(lambda: len(esme.deliveries) == 2)


async def test_what_a_lost_connection_did_not_answer_comes_on_the_next() -> None:
    """All of it, and what it had answered does not."""
    async with simulated() as (simulator, account), linked(simulator) as (link, esme):
        await esme.is_bound()
        link.submit(bodies(5))
        await esme.until(lambda: len(esme.deliveries) == 5)
        esme.status = None
        link.submit(bodies(5))
        await esme.until(lambda: len(esme.deliveries) == 10)
        esme.status = 0
        assert simulator.drop_connections("a") == 1
        await esme.until(lambda: len(esme.deliveries) == 15)
        assert sorted(esme.ids()[5:10]) == sorted(esme.ids()[10:]) == ["10", "6", "7", "8", "9"]
        simulator.send_unbind("a")
        await esme.is_bound(3)
        assert account.counts.settled == 10


async def test_no_more_deliveries_than_the_window_are_unanswered() -> None:
    """Each answer makes room for one."""
    async with simulated(deliver_window=3) as (simulator, _), raw(simulator, BindReceiver) as esme:
        for _ in range(10):
            simulator.send_mo("a", "573001234567", "89000", "hola")
        numbers = [(await esme.read())[2] for _ in range(3)]
        esme.writer.write(HEADER.pack(16, C.ENQUIRE_LINK, 0, 5))
        assert await esme.commands(1) == [C.ENQUIRE_LINK_RESP]
        esme.answer(C.DELIVER_SM, numbers[0])
        esme.writer.write(HEADER.pack(16, C.ENQUIRE_LINK, 0, 6))
        assert sorted(await esme.commands(2)) == [C.DELIVER_SM, C.ENQUIRE_LINK_RESP]


async def test_an_esme_that_reads_slowly_gets_everything_in_the_end() -> None:
    """Nothing is lost where the socket was full."""
    count = 30_000
    async with simulated(deliver_window=count + 2) as (simulator, account), raw(simulator) as esme:
        for _ in range(count):
            account.send_mo("573001234567", "89000", "x" * 150)
        simulator.send_mo("a", "573001234567", "89000", "last")
        esme.submit(1)
        commands = await esme.commands(count + 3)
        assert commands.count(C.DELIVER_SM) == count + 2
        assert commands.count(C.SUBMIT_SM_RESP) == 1


# Accidents.


async def test_a_blackhole_takes_everything_and_says_nothing() -> None:
    """Then the link gives up; what was accepted has its receipts when the light is on again."""
    async with (
        simulated() as (simulator, account),
        linked(simulator, enquire_link=0.05, enquire_timeout=0.05, bind_timeout=0.05) as (link, esme),
    ):
        await esme.is_bound()
        account.behaviour = Behaviour(blackhole=True)
        link.submit(bodies(4))
        await esme.until(lambda: esme.failures[:2] == [FailureKind.LOST, FailureKind.BIND_TIMEOUT])
        assert isinstance(esme.others[0], Closed)
        assert esme.others[0].unanswered == [0, 1, 2, 3]
        assert (esme.responses, esme.deliveries, account.counts.messages) == ([], [], 4)
        account.behaviour = Behaviour()
        await esme.is_bound(2)
        await esme.until(lambda: sorted(esme.ids()) == ["1", "2", "3", "4"])


async def test_cuts_a_connection_in_mid_window() -> None:
    """Some answered, some accepted without an answer, the rest never accepted."""
    behaviour = Behaviour(disconnect_after=10, disconnect_unanswered=4, receipt_ratio=0.0)
    async with simulated(behaviour) as (simulator, account), linked(simulator) as (link, esme):
        await esme.is_bound()
        link.submit(bodies(30))
        await esme.is_bound(2)
        assert [response.context for response in esme.responses] == list(range(6))
        assert isinstance(esme.others[0], Closed)
        assert esme.others[0].unanswered == list(range(6, 30))
        assert account.counts.accepted == 10


async def test_an_smsc_that_unbinds_is_bound_to_again() -> None:
    """Those of one account, or all."""
    async with (
        simulated() as (simulator, _),
        linked(simulator) as (_, esme),
        linked(simulator, system_id="b") as (_, other),
    ):
        await esme.is_bound()
        await other.is_bound()
        assert simulator.send_unbind("a") == 1
        await esme.is_bound(2)
        assert esme.failures == [FailureKind.UNBOUND]
        assert other.failures == []
        assert simulator.send_unbind() == 2
        await other.is_bound(2)


@pytest.mark.parametrize("kind", sorted(GARBAGE))
async def test_garbage_does_not_end_the_work_of_a_link(kind: str) -> None:
    """It stays or comes back, and messages go through."""
    async with simulated() as (simulator, _), linked(simulator) as (link, esme):
        await esme.is_bound()
        assert simulator.send_raw(GARBAGE[kind], "a") == 1
        if kind == "truncated":
            simulator.drop_connections()
        simulator.send_mo("a", "573001234567", "89000", "hola")
        await esme.until(lambda: any(delivery.short_message == b"hola" for delivery in esme.deliveries))
        await esme.is_bound(esme.bound + (not link.bound))
        link.submit(bodies(1))
        await esme.until(lambda: len(esme.responses) == 1)


@pytest.mark.parametrize("seed", range(10))
async def test_garbage_of_an_esme_hurts_no_other(seed: int) -> None:
    """Octets of any kind end in answers or in the end of that connection."""
    rng = random.Random(seed)
    async with simulated() as (simulator, account), linked(simulator) as (link, esme):
        await esme.is_bound()
        async with raw(simulator) as wild:
            for _ in range(20):
                command_id = rng.choice([*C, rng.getrandbits(32)])
                body = rng.randbytes(rng.randrange(60))
                wild.writer.write(HEADER.pack(16 + len(body), command_id, rng.choice([0, 8]), rng.randrange(9)) + body)
            wild.writer.write(struct.pack(">I", 7) + rng.randbytes(100))
            await wild.eof()
        link.submit(bodies(1))
        await esme.until(lambda: len(esme.responses) == 1)
        assert account.counts.binds == 1


async def test_a_request_that_no_bind_takes_is_refused() -> None:
    """submit_sm by a receiver, data_sm, a second bind."""
    async with simulated() as (simulator, account):
        async with raw(simulator, BindReceiver) as esme:
            esme.submit(1)
            assert await esme.read() == (C.SUBMIT_SM_RESP, S.ESME_RINVBNDSTS, 100)
        async with raw(simulator, BindTransmitter) as esme:
            esme.writer.write(DataSM(source_addr="1", destination_addr="2").encode(5))
            assert await esme.read() == (C.DATA_SM_RESP, S.ESME_RINVCMDID, 5)
            esme.writer.write(BindTransmitter(system_id="a", password="secret").encode(6))
            command_id, status, _ = await esme.read()
            assert (command_id, status) == (C.BIND_TRANSMITTER_RESP, S.ESME_RALYBND)
        assert account.counts.accepted == 0
        assert account.counts.total_binds == 2


async def test_an_unknown_account_is_the_caller_s_mistake() -> None:
    """Not a silent nothing."""
    async with simulated() as (simulator, _):
        with pytest.raises(KeyError):
            simulator.drop_connections("c")
