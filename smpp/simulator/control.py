"""The simulator in another process, told what to do: one JSON object a line each way, over TCP.

{"do": "behaviour", "system_id": "op-a", "changes": {"latency_s": 0.05}}   →   {"result": {…}}  or  {"error": "…"}
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Self, TypeAlias

import msgspec

from smpp.errors import SMPPError
from smpp.segment import Alphabet, LongMode
from smpp.simulator.behaviour import Behaviour
from smpp.simulator.record import max_per_second
from smpp.simulator.server import GARBAGE, Simulator

__all__ = ["Control", "ControlClient", "ControlError"]

_MAX_LINE = 2**30


class _Command(msgspec.Struct, tag_field="do", tag=str.lower, forbid_unknown_fields=True):
    pass


class Stats(_Command):
    """`Counts` of each account by system_id."""


class Change(_Command, tag="behaviour"):
    """Replace some fields of an account's behaviour; the answer is the whole of it."""

    system_id: str
    changes: dict[str, Any] = {}


class Drop(_Command):
    """Cut connections."""

    system_id: str | None = None


class Unbind(_Command):
    system_id: str | None = None


class Garbage(_Command):
    """Send one of `GARBAGE`."""

    kind: str
    system_id: str | None = None


class MO(_Command):
    system_id: str
    source_addr: str
    destination_addr: str
    text: str
    alphabets: tuple[Alphabet, ...] = ("gsm7", "ucs2")
    long: LongMode = "udh8"
    order: tuple[int, ...] = ()


class Receipt(_Command):
    """A receipt for any id, known or not."""

    system_id: str
    message_id: str
    source_addr: str
    destination_addr: str
    state: str = "DELIVERED"


class Listen(_Command):
    """Refuse new connections, or take them again."""

    on: bool


class Arrivals(_Command):
    """[destination_addr, seconds since 1970, command_status] of each submit_sm in order; needs record mode `full`."""

    system_id: str


class Rate(_Command):
    """The most submit_sm in any second, refused ones included; needs record mode `full`."""

    system_id: str


class Stop(_Command):
    """End the process."""


_Request: TypeAlias = Stats | Change | Drop | Unbind | Garbage | MO | Receipt | Listen | Arrivals | Rate | Stop


class Control:
    """Serves the commands for one simulator. `stopped` is set by the command `stop`."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.stopped = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes any that is free. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, ValueError):  # the latter for a line without end
            while line := await reader.readline():
                writer.write(await self._answer(line) + b"\n")
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            return msgspec.json.encode({"result": await self._do(msgspec.json.decode(line, type=_Request))})
        except (msgspec.MsgspecError, ValueError, SMPPError) as error:
            return msgspec.json.encode({"error": str(error)})
        except LookupError as error:
            return msgspec.json.encode({"error": f"no such name or number: {error}"})

    async def _do(self, request: _Request) -> Any:
        simulator = self.simulator
        match request:
            case Stats():
                return {name: account.counts for name, account in simulator.accounts.items()}
            case Change(name, changes):
                account = simulator.accounts[name]
                fields = msgspec.to_builtins(account.behaviour, str_keys=True) | changes
                account.behaviour = msgspec.convert(fields, Behaviour, str_keys=True)
                return account.behaviour
            case Drop(name):
                return simulator.drop_connections(name)
            case Unbind(name):
                return simulator.send_unbind(name)
            case Garbage(kind, name):
                return simulator.send_raw(GARBAGE[kind], name)
            case MO():
                return simulator.send_mo(
                    request.system_id,
                    request.source_addr,
                    request.destination_addr,
                    request.text,
                    alphabets=request.alphabets,
                    long=request.long,
                    order=request.order,
                )
            case Receipt():
                simulator.send_receipt(
                    request.system_id,
                    request.message_id,
                    request.source_addr,
                    request.destination_addr,
                    request.state,
                )
            case Listen(on):
                await (simulator.listen() if on else simulator.refuse())
            case Arrivals(name):
                account = simulator.accounts[name]
                return [
                    (arrival.request.destination_addr, arrival.at + account.epoch, arrival.command_status)
                    for arrival in account.record.arrivals
                ]
            case Rate(name):
                return max_per_second([arrival.at for arrival in simulator.accounts[name].record.arrivals])
            case Stop():
                self.stopped.set()
        return None


class ControlError(SMPPError):
    """The simulator refused a command, or is gone."""


class ControlClient:
    """Tells a simulator what to do. One command at a time: `call` is not for several tasks at once."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._address = (host, port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address, limit=_MAX_LINE)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._writer is not None
        self._writer.close()

    async def call(self, do: str, **arguments: Any) -> Any:
        """One command with its arguments, as in the module; its result. Raises `ControlError`."""
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(msgspec.json.encode({"do": do, **arguments}) + b"\n")
        line = await self._reader.readline()
        if not line:
            raise ControlError("the simulator hung up")
        answer = msgspec.json.decode(line)
        if "error" in answer:
            raise ControlError(answer["error"])
        return answer["result"]
