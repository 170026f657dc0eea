"""The sockets of the simulators: answers, and everything that can become of one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.simulators import Behaviour, HttpSimulator, Limits, Scripted, WhatsApp, WhatsAppSimulator
from gateway.simulators.behaviour import Fault
from tests.simulators.receiver import receiving, until

MESSAGE = json.dumps(
    {
        "messaging_product": "whatsapp",
        "to": "+573001234567",
        "type": "template",
        "template": {"name": "payment_due", "language": {"code": "es_MX"}},
    }
).encode()
HEADERS = {"Authorization": "Bearer recado", "Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def simulated(whatsapp: WhatsApp | None = None) -> AsyncIterator[tuple[WhatsAppSimulator, aiohttp.ClientSession]]:
    async with (
        WhatsAppSimulator(whatsapp) as simulator,
        aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}", headers=HEADERS) as session,
    ):
        yield simulator, session


def submit(session: aiohttp.ClientSession) -> aiohttp.client._RequestContextManager:
    return session.post("/v23.0/100000000000001/messages", data=MESSAGE)


async def test_one_connection_carries_one_request_after_another() -> None:
    """Answers are HTTP that a client understands."""
    async with simulated() as (simulator, session):
        for _ in range(3):
            async with submit(session) as response:
                assert (response.status, response.content_type) == (200, "application/json")
                assert (await response.json())["messages"]
        assert simulator.whatsapp.record.counts.accepted == 3
        assert len(simulator._web.connections) == 1


async def test_an_error_is_an_answer_like_any_other() -> None:
    """With its status, its headers and its body, on a connection that stays."""
    async with simulated() as (simulator, session):
        simulator.whatsapp.script.add(Scripted(code="130429", status=429, retry_after="3"))
        async with submit(session) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "3")
            assert (await response.json())["error"]["code"] == 130429
        async with submit(session) as response:
            assert response.status == 200


async def test_answers_take_the_latency() -> None:
    """No less than that."""
    async with simulated(WhatsApp(Behaviour(latency_s=0.05))) as (_, session):
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with submit(session) as response:
            assert response.status == 200
        assert loop.time() - start >= 0.045


async def test_the_clock_may_be_anybodys() -> None:
    """A day of the messaging limit takes no day."""
    now = 0.0
    whatsapp = WhatsApp(limits=Limits(messaging_limit=1))
    async with WhatsAppSimulator(whatsapp, clock=lambda: now) as simulator:
        url = f"http://127.0.0.1:{simulator.port}/v23.0/100000000000001/messages"
        statuses = []
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            for now, last in ((0.0, b"7"), (86_399.0, b"8"), (86_400.0, b"8")):  # noqa: B007 - read by the clock
                async with session.post(url, data=MESSAGE.replace(b"4567", b"456" + last)) as response:
                    statuses.append(response.status)
    assert statuses == [200, 400, 200]


@pytest.mark.parametrize("fault", ["bare_429", "bare_500", "bare_502", "bare_503", "bare_504"])
async def test_a_bare_status_has_no_body(fault: Fault) -> None:
    """Nor a type of one."""
    async with simulated() as (simulator, session):
        simulator.whatsapp.script.add(Scripted(fault=fault))
        async with submit(session) as response:
            assert response.status == int(fault[-3:])
            assert await response.read() == b""
            assert "Content-Type" not in response.headers


async def test_garbage_is_200_and_no_json() -> None:
    """Of a message that was accepted."""
    async with simulated() as (simulator, session):
        simulator.whatsapp.script.add(Scripted(fault="garbage"))
        async with submit(session) as response:
            assert response.status == 200
            with pytest.raises(ValueError, match=r"decode|Expecting"):
                json.loads(await response.read())
        assert simulator.whatsapp.record.counts.accepted == 1


async def test_a_connection_that_closes_behind_the_answer_says_so() -> None:
    """And the next request needs another."""
    async with simulated() as (simulator, session):
        simulator.whatsapp.script.add(Scripted(fault="close"))
        for closes in (True, False):
            async with submit(session) as response:
                assert response.status == 200
                assert (response.headers.get("Connection") == "close") is closes
                await response.read()


async def test_a_reset_comes_in_the_middle_of_the_answer() -> None:
    """The client has the head, and never the whole body."""
    async with simulated() as (simulator, _):
        simulator.whatsapp.script.add(Scripted(fault="reset"))
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        writer.write(
            f"POST /v23.0/100000000000001/messages HTTP/1.1\r\nHost: a\r\n{head}"
            f"Content-Length: {len(MESSAGE)}\r\n\r\n".encode()
            + MESSAGE
        )
        received = bytearray()
        with pytest.raises(ConnectionResetError):
            await _read_into(received, reader)
        writer.close()
        announced, _, body = bytes(received).partition(b"\r\n\r\n")
        length = int(announced.rpartition(b"Content-Length: ")[2])
        assert announced.startswith(b"HTTP/1.1 200")
        assert 0 < len(body) < length


async def _read_into(received: bytearray, reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(10):
        while octets := await reader.read(4096):
            received += octets


async def test_an_answer_that_never_comes_is_over_with_its_client() -> None:
    """The message was accepted, and nothing is left of the request."""
    async with simulated() as (simulator, session):
        simulator.whatsapp.script.add(Scripted(fault="unanswered"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await submit(session)
        assert simulator.whatsapp.record.counts.accepted == 1
        async with submit(session) as response:
            assert response.status == 200


async def test_a_slow_answer_comes_an_octet_at_a_time_and_whole() -> None:
    """For a client that has the patience."""
    async with simulated(WhatsApp(Behaviour(slow_octet_s=0.0001))) as (simulator, session):
        simulator.whatsapp.script.add(Scripted(fault="slow"))
        async with submit(session) as response:
            chunks = [chunk async for chunk, _ in response.content.iter_chunks()]
        assert json.loads(b"".join(chunks))["messages"]
        assert len(chunks) > 10


async def test_stopping_does_not_wait_for_a_slow_answer() -> None:
    """Nor for one that never comes."""
    async with simulated(WhatsApp(Behaviour(slow_octet_s=60))) as (simulator, session):
        simulator.whatsapp.script.add(Scripted(fault="slow"))
        simulator.whatsapp.script.add(Scripted(fault="unanswered"))
        requests = [asyncio.create_task(_lost(session)) for _ in range(2)]
        await until(lambda: simulator.whatsapp.record.counts.accepted == 2)
        await simulator.stop()
        assert await asyncio.gather(*requests) == [True, True]


async def _lost(session: aiohttp.ClientSession) -> bool:
    try:
        async with submit(session) as response:
            await response.read()
    except aiohttp.ClientError:
        return True
    return False


async def test_connections_are_refused_and_taken_again_on_the_same_port() -> None:
    """Those that were there can be cut as well."""
    async with simulated() as (simulator, session):
        async with submit(session) as response:
            assert response.status == 200
        await simulator.refuse()
        assert simulator.drop_connections() == 1
        with pytest.raises(aiohttp.ClientError):
            await submit(session)
        await simulator.listen()
        async with submit(session) as response:
            assert response.status == 200


async def test_a_path_of_nobody_is_404() -> None:
    """Where there is no default."""
    async with HttpSimulator() as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{simulator.port}/nobody/1") as response:
            assert response.status == 404
        async with session.get(f"http://127.0.0.1:{simulator.port}/control/stats") as response:
            assert response.status == 404


async def test_reports_reach_the_webhook() -> None:
    """Sent, delivered and read, of the message that was answered."""
    async with receiving() as receiver:
        whatsapp = WhatsApp(Behaviour(read_ratio=1, delivered_s=0.03, read_s=0.03), webhook_url=f"{receiver.url}/wa")
        async with simulated(whatsapp) as (_, session):
            async with submit(session) as response:
                message_id = (await response.json())["messages"][0]["id"]
            callbacks = await receiver.wait_for(3)
            found = [
                (status["id"], status["status"])
                for callback in callbacks
                for status in json.loads(callback.body)["entry"][0]["changes"][0]["value"]["statuses"]
            ]
            assert [callback.path for callback in callbacks] == ["/wa"] * 3
            assert sorted(found) == sorted((message_id, state) for state in ("sent", "delivered", "read"))


async def test_what_is_due_together_goes_together() -> None:
    """A thousand reports are few requests."""
    async with receiving() as receiver:
        limits = Limits(throughput_mps=None, pair=False)
        async with simulated(WhatsApp(webhook_url=receiver.url, limits=limits)) as (simulator, session):
            for _ in range(100):
                async with submit(session) as response:
                    assert response.status == 200
            callbacks = simulator.whatsapp.callbacks
            await until(lambda: not callbacks.pending)
            assert (callbacks.planned, callbacks.sent, callbacks.lost) == (200, 200, 0)
            assert callbacks.posts < 100


async def test_a_callback_that_is_not_answered_200_comes_again() -> None:
    """The same octets, until it is."""
    async with receiving() as receiver:
        receiver.statuses = [500, 204]
        whatsapp = WhatsApp(Behaviour(callback_retry_s=0.001), webhook_url=receiver.url)
        async with simulated(whatsapp) as (simulator, _):
            simulator.send(whatsapp, [whatsapp.notice("account_update", {"event": "ACCOUNT_VIOLATION"})])
            first, second, third = await receiver.wait_for(3)
            assert first.body == second.body == third.body
            await until(lambda: not whatsapp.callbacks.pending)
            assert (whatsapp.callbacks.sent, whatsapp.callbacks.retried, whatsapp.callbacks.posts) == (1, 2, 3)


async def test_a_callback_is_given_up_after_so_many_attempts() -> None:
    """To a port where nobody listens as well."""
    async with receiving() as receiver:
        url = receiver.url
    whatsapp = WhatsApp(Behaviour(callback_retry_s=0.001, callback_attempts=3), webhook_url=url)
    async with simulated(whatsapp) as (simulator, _):
        simulator.send(whatsapp, [whatsapp.notice("account_update", {})])
        await until(lambda: not whatsapp.callbacks.pending)
        assert (whatsapp.callbacks.lost, whatsapp.callbacks.posts) == (1, 3)
