"""A simulator told what to do from outside, and as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.simulators import Control, ControlClient, ControlError, HttpSimulator, WhatsApp, WhatsAppSimulator
from gateway.simulators.__main__ import main
from gateway.simulators.server import Simulator
from tests.simulators.receiver import receiving
from tests.simulators.test_server import HEADERS, MESSAGE

PATH = "/v23.0/100000000000001/messages"


@contextlib.asynccontextmanager
async def controlled(simulator: Simulator) -> AsyncIterator[tuple[Control, ControlClient]]:
    async with simulator, ControlClient(simulator.port) as client:
        yield Control(simulator), client


async def submit(port: int, body: bytes = MESSAGE) -> tuple[int, dict[str, object]]:
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.post(f"http://127.0.0.1:{port}{PATH}", data=body) as response,
    ):
        return response.status, await response.json()


async def test_the_behaviour_is_changed_field_by_field() -> None:
    """What is not named stays, and the whole is told."""
    simulator = WhatsAppSimulator()
    async with controlled(simulator) as (_, client):
        await client.call("behaviour", changes={"errors": {"131048": 0.5}, "latency_s": 0.5})
        whole = await client.call("behaviour", changes={"latency_s": 0.25})
        behaviour = simulator.whatsapp.script.behaviour
        assert (behaviour.latency_s, behaviour.errors) == (0.25, {"131048": 0.5})
        assert (whole["latency_s"], whole["receipt_ratio"]) == (0.25, 1.0)


@pytest.mark.parametrize(
    ("do", "arguments"),
    [
        ("dance", {}),
        ("stats", {"loud": True}),
        ("behaviour", {"changes": {"latency": 1}}),
        ("behaviour", {"changes": {"receipt_ratio": 2}}),
        ("behaviour", {"end": "twilio"}),
        ("errors", {"script": [{"times": 1}]}),
        ("quality", {"rating": "PURPLE"}),
        ("quality", {"rating": "RED", "number": "1"}),
        ("limit", {"messaging_limit": "TIER_7"}),
        ("limits", {"changes": {"day_s": 0}}),
        ("inbound", {"sender": "1", "recipient": "1"}),
        ("template", {"name": "a", "language": "es", "changes": {"dance": 1}}),
    ],
)
async def test_a_wrong_command_is_refused_and_the_next_is_taken(do: str, arguments: dict[str, object]) -> None:
    """With words, not with a lost connection."""
    async with controlled(WhatsAppSimulator()) as (_, client):
        with pytest.raises(ControlError, match=r"\w"):
            await client.call(do, **arguments)
        assert "whatsapp" in await client.call("stats")


async def test_a_body_that_is_no_json_is_a_mistake() -> None:
    """Of whoever sent it."""
    simulator = WhatsAppSimulator()
    async with controlled(simulator), aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{simulator.port}/control/stats", data=b"[") as response:
            assert (response.status, list(await response.json())) == (400, ["error"])
        async with session.get(f"http://127.0.0.1:{simulator.port}/control/stats") as response:
            assert response.status == 200


async def test_what_arrived_is_told() -> None:
    """As counts, message by message, and by recipient."""
    simulator = WhatsAppSimulator(clock=lambda: 5.0)
    async with controlled(simulator) as (_, client):
        await client.call("errors", script=[{"code": "131056"}])
        await submit(simulator.port)
        await submit(simulator.port)
        stats = (await client.call("stats"))["whatsapp"]
        assert (stats["arrivals"]["accepted"], stats["arrivals"]["refused"]) == (1, {"131056": 1})
        assert (stats["script_unused"], stats["reached"], stats["most_reached"]) == (0, 1, 1)
        assert await client.call("arrivals", start=1) == [[5.0, "100000000000001", "573001234567", "", ""]]
        assert await client.call("recipients") == {"573001234567": 1}
        assert await client.call("distinct", window_s=1) == 1
        await client.call("reset")
        assert (await client.call("stats"))["whatsapp"]["arrivals"]["accepted"] == 0


async def test_news_of_the_account_go_to_the_webhook() -> None:
    """Each by its command; the answer is how many."""
    async with receiving() as receiver:
        whatsapp = WhatsApp(webhook_url=receiver.url, numbers=("1", "2"))
        async with controlled(WhatsAppSimulator(whatsapp)) as (_, client):
            assert await client.call("limit", messaging_limit="TIER_2K") == 3
            assert await client.call("limit", messaging_limit=7) == 3
            assert await client.call("throughput", mps=1000) == 2
            assert await client.call("quality", rating="RED", number="2") == 0
            assert await client.call("template", name="a", language="es", changes={"status": "PAUSED"}) == 1
            assert await client.call("webhooks", field="account_update", value={"event": "ACCOUNT_VIOLATION"}) == 1
            assert await client.call("inbound", sender="573001", text="hola") == 1
            update = {"id": "w", "state": "read", "sender": "1", "recipient": "573001"}
            assert await client.call("status", update=update) == 1
            callbacks = await receiver.wait_for(12)
            fields = {json.loads(callback.body)["entry"][0]["changes"][0]["field"] for callback in callbacks}
            assert fields == {
                "account_update",
                "business_capability_update",
                "message_template_status_update",
                "messages",
                "phone_number_quality_update",
            }
            assert [number.quality_rating for number in whatsapp.numbers.values()] == ["GREEN", "RED"]
            assert whatsapp.limits.messaging_limit == 7


async def test_limits_are_changed_in_silence() -> None:
    """For a test that wants no webhooks."""
    simulator = WhatsAppSimulator()
    async with controlled(simulator) as (_, client):
        limits = await client.call("limits", changes={"throughput_mps": 1, "pair": False})
        assert (limits["throughput_mps"], limits["pair"], limits["day_s"]) == (1, False, 86_400)
        assert [(await submit(simulator.port))[0] for _ in range(2)] == [200, 400]


async def test_one_of_several_far_ends_has_to_be_named() -> None:
    """And what only WhatsApp has, the others have not."""
    async with controlled(HttpSimulator()) as (_, client):
        await client.call("behaviour", end="twilio", changes={"latency_s": 1})
        for do, arguments in (
            ("behaviour", {}),
            ("quality", {"end": "twilio", "rating": "RED"}),
            ("reset", {"end": "x"}),
        ):
            with pytest.raises(ControlError):
                await client.call(do, **arguments)


async def test_connections_are_cut_on_command() -> None:
    """The one of the command itself has its answer first."""
    async with controlled(WhatsAppSimulator()) as (_, client):
        assert await client.call("drop") is None
        assert "whatsapp" in await client.call("stats")


async def test_the_process_says_its_port_and_stops_when_told() -> None:
    """With whatever it was set up to be."""
    setup = json.dumps({"token": "t", "limits": {"messaging_limit": "TIER_250"}, "templates": {"a es": {}}})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.simulators", "whatsapp", "--setup", setup), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = json.loads(await process.stdout.readline())["port"]
    status, _ = await submit(port)
    assert status == 401
    async with ControlClient(port) as client:
        stats = (await client.call("stats"))["whatsapp"]
        assert (stats["limits"]["messaging_limit"], list(stats["templates"])) == (250, ["a es"])
        await client.call("stop")
        assert await process.wait() == 0
        with pytest.raises(ControlError):
            await client.call("stats")


@pytest.mark.parametrize(
    ("kind", "setup"),
    [
        ("whatsapp", "{"),
        ("whatsapp", '{"numbers": []}'),
        ("whatsapp", '{"templates": {"a": {}}}'),
        ("whatsapp", '{"limits": {"messaging_limit": "TIER_7"}}'),
        ("whatsapp", '{"limits": 1}'),
        ("whatsapp", '{"behaviour": {"receipt_ratio": 2}}'),
        ("whatsapp", "/no/such/file"),
        ("http", '{"behaviours": {"nobody": {}}}'),
        ("http", '{"numbers": ["1"]}'),
    ],
)
def test_a_wrong_setup_is_a_mistake_in_the_arguments(kind: str, setup: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and why."""
    assert main([kind, "--setup", setup]) == 2
    assert capsys.readouterr().err.startswith("--setup: ")
