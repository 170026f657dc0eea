"""The simulator as another process: told what to do, and asked what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator

import pytest

from smpp.constants import CommandId, CommandStatus
from smpp.pdu import HEADER, BindTransceiver, SubmitSM
from smpp.simulator import Account, ControlClient, ControlError, Simulator
from smpp.simulator.__main__ import main
from smpp.simulator.control import Control

SUBMIT = SubmitSM(source_addr="89000", destination_addr="573001234567", registered_delivery=1, short_message=b"hola")


@contextlib.asynccontextmanager
async def controlled(record: str = "full") -> AsyncIterator[tuple[Simulator, Control, ControlClient]]:
    async with Simulator([Account("a", "secret", record=record)]) as simulator:  # type: ignore[arg-type]
        control = Control(simulator)
        await control.start()
        try:
            async with ControlClient(control.port) as client:
                yield simulator, control, client
        finally:
            await control.close()


@contextlib.asynccontextmanager
async def bound(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(BindTransceiver(system_id="a", password="secret").encode(1))
        assert (await read(reader))[:2] == (CommandId.BIND_TRANSCEIVER_RESP, 0)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """command_id, command_status and body of the next PDU."""
    async with asyncio.timeout(10):
        length, command_id, status, _ = HEADER.unpack(await reader.readexactly(16))
        return command_id, status, await reader.readexactly(length - 16)


async def test_the_behaviour_is_changed_field_by_field() -> None:
    """What is not named stays, and the whole is told."""
    async with controlled() as (simulator, _, client):
        await client.call("behaviour", system_id="a", changes={"errors": {"8": 0.5}, "latency_s": 0.5})
        whole = await client.call("behaviour", system_id="a", changes={"latency_s": 0.25})
        behaviour = simulator.accounts["a"].behaviour
        assert (behaviour.latency_s, behaviour.errors) == (0.25, {CommandStatus.ESME_RSYSERR: 0.5})
        assert (whole["latency_s"], whole["receipt_ratio"]) == (0.25, 1.0)


@pytest.mark.parametrize(
    ("do", "arguments"),
    [
        ("dance", {}),
        ("drop", {"system": "a"}),
        ("drop", {"system_id": "b"}),
        ("behaviour", {"system_id": "a", "changes": {"latency": 1}}),
        ("behaviour", {"system_id": "a", "changes": {"unanswered": 2}}),
        ("garbage", {"kind": "sweet"}),
        ("mo", {"system_id": "a", "source_addr": "1", "destination_addr": "2", "text": "x", "order": [2]}),
        ("mo", {"system_id": "a", "source_addr": "1", "destination_addr": "2", "text": "ñandú", "alphabets": ["gsm7"]}),
        ("receipt", {"system_id": "a", "message_id": "1", "source_addr": "1", "destination_addr": "2", "state": "X"}),
    ],
)
async def test_a_wrong_command_is_refused_and_the_next_is_taken(do: str, arguments: dict[str, object]) -> None:
    """With words, not with a lost connection."""
    async with controlled() as (_, _, client):
        with pytest.raises(ControlError, match=r".+"):
            await client.call(do, **arguments)
        assert (await client.call("stats"))["a"]["accepted"] == 0


async def test_what_arrived_is_told() -> None:
    """Counts, times by the wall clock, and the fullest second."""
    async with controlled() as (simulator, _, client), bound(simulator.port) as (reader, writer):
        before = time.time()
        writer.write(SUBMIT.encode(2) + SUBMIT.encode(3))
        for _ in range(2):
            await read(reader)
        stats = (await client.call("stats"))["a"]
        assert (stats["accepted"], stats["messages"], stats["duplicates"], stats["binds"]) == (2, 1, 1, 1)
        arrivals = await client.call("arrivals", system_id="a")
        assert [(destination, status) for destination, _, status in arrivals] == [("573001234567", 0)] * 2
        assert all(before - 0.1 <= at <= time.time() + 0.1 for _, at, _ in arrivals)
        assert await client.call("rate", system_id="a") == 2


async def test_everything_an_operator_can_do() -> None:
    """MO, receipts, garbage, unbind, cut, refuse: each reaches the ESME."""
    async with controlled() as (simulator, _, client):
        async with bound(simulator.port) as (reader, _):
            to = {"system_id": "a", "source_addr": "573001234567", "destination_addr": "89000"}
            assert await client.call("mo", **to, text="x" * 200, long="udh16", order=[2]) == 2
            assert (await read(reader))[0] == CommandId.DELIVER_SM
            await client.call("receipt", **to, message_id="77", state="EXPIRED")
            assert b"id:77 " in (await read(reader))[2]
            assert await client.call("garbage", kind="unknown_command", system_id="a") == 1
            assert (await read(reader))[0] == 0xABCD
            assert await client.call("unbind", system_id="a") == 1
            assert (await read(reader))[0] == CommandId.UNBIND
        async with bound(simulator.port) as (reader, _):
            assert await client.call("drop") >= 1
            await reader.read()  # what nobody answered on the first bind, then the end
            assert reader.at_eof()
        await client.call("listen", on=False)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", simulator.port)
        await client.call("listen", on=True)
        async with bound(simulator.port):
            pass


async def test_as_a_process() -> None:
    """It says its ports, serves its accounts, and stops when told."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "smpp.simulator", "--account", "a:secret", "--account", "b"),
        *("--behaviour", '{"resp_id": "x"}', "--record", "full"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            ports = json.loads(await process.stdout.readline())
        async with bound(ports["port"]) as (reader, writer), ControlClient(ports["control_port"]) as client:
            writer.write(SUBMIT.encode(2))
            _, _, body = await read(reader)
            assert int(body[:-1], 16) > time.time()  # ids go on after a restart, they do not begin again
            assert (await client.call("stats")).keys() == {"a", "b"}
            await client.call("stop")
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_a_wrong_behaviour_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what is wrong."""
    assert main(["--behaviour", '{"latency": 1}']) == 2
    assert "latency" in capsys.readouterr().err
