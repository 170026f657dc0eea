"""A simulator told what to do, over its own port: POST /control/<command> with the arguments as JSON, if there are any.

POST /control/behaviour {"changes": {"latency_s": 0.05}}   →   {"result": {…}}, or 400 {"error": "…"}
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any, Self, TypeAlias

import aiohttp
import msgspec

from gateway.errors import GatewayError
from gateway.simulators.end import Answer, End, Post, Update
from gateway.simulators.limits import TIERS
from gateway.simulators.record import max_distinct
from gateway.simulators.script import Scripted
from gateway.simulators.server import Simulator
from gateway.simulators.whatsapp import Quality, WhatsApp

__all__ = ["Control", "ControlClient", "ControlError"]


class _Command(msgspec.Struct, kw_only=True, tag_field="do", tag=str.lower, forbid_unknown_fields=True):
    """`end` names a far end; empty is the only one there is."""

    end: str = ""


class Stats(_Command):
    """Of each far end by name: what arrived, what was reported, and how much of the script is not used yet."""


class Change(_Command, tag="behaviour"):
    """Replace some fields of a behaviour; the answer is the whole of it."""

    changes: dict[str, Any] = {}


class Errors(_Command):
    """Write down answers for messages to come; the answer is how many of them all are not used yet."""

    script: list[Scripted]


class Arrivals(_Command):
    """[time, sender, recipient, reference, code] of each message in order of arrival, `count` of them from number `start`."""

    start: int = 0
    count: int = 10_000


class Recipients(_Command):
    """Accepted messages by recipient, `count` of those with the most."""

    count: int = 100


class Distinct(_Command):
    """The most different recipients of accepted messages in any window of that length."""

    window_s: float = 86_400.0


class Status(_Command):
    """Report on any message, known or not."""

    update: Update


class Inbound(_Command):
    """A message from a person, `sender`; to the number or short code `recipient`. `message` are fields of the vendor's own,
    instead of a text."""

    sender: str
    recipient: str = ""
    text: str = ""
    message: dict[str, Any] = {}


class Reset(_Command):
    """Forget what arrived, and the script; the behaviour stays."""


class Drop(_Command):
    """Cut every connection, this one too once it has its answer."""


class Stop(_Command):
    """End the process."""


class ChangeLimits(_Command, tag="limits"):
    """Replace some of WhatsApp's limits, without a word to the webhook; the answer is all of them."""

    changes: dict[str, Any] = {}


class Limit(_Command):
    """Change the portfolio's messaging limit (a tier or a number, null for none) and send the webhooks of it."""

    messaging_limit: int | str | None


class Throughput(_Command):
    """Change what a WhatsApp number takes in a second (null for anything), or all of them; an upgrade has a webhook."""

    mps: int | None
    number: str = ""


class ChangeQuality(_Command, tag="quality"):
    """Change the rating of a WhatsApp number, or of all; no webhook says it."""

    rating: Quality
    number: str = ""


class ChangeTemplate(_Command, tag="template"):
    """Change or add a template (see `TemplateState`) and send the webhook of a change of its status."""

    name: str
    language: str
    changes: dict[str, Any] = {}
    reason: str = "NONE"


class Webhooks(_Command):
    """Send a WhatsApp webhook of any field, `account_update` for one."""

    field: str
    value: dict[str, Any]


_Request: TypeAlias = (
    Stats
    | Change
    | Errors
    | Arrivals
    | Recipients
    | Distinct
    | Status
    | Inbound
    | Reset
    | Drop
    | Stop
    | ChangeLimits
    | Limit
    | Throughput
    | ChangeQuality
    | ChangeTemplate
    | Webhooks
)


class Control:
    """Serves the commands for one simulator. `stopped` is set by the command `stop`."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.stopped = asyncio.Event()
        simulator.control = self._answer

    def _answer(self, name: str, body: bytes) -> Answer:
        try:
            arguments = msgspec.json.decode(body or b"{}", type=dict[str, Any])
            request = msgspec.convert({**arguments, "do": name}, _Request)
            return Answer(200, msgspec.json.encode({"result": self._do(request)}))
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            return _mistake(str(error))
        except LookupError as error:
            return _mistake(f"no such name or number: {error}")

    def _do(self, request: _Request) -> Any:
        simulator = self.simulator
        match request:
            case Stats():
                return {name: _stats(end, simulator.clock()) for name, end in simulator.ends.items()}
            case Drop():
                asyncio.get_running_loop().call_soon(simulator.drop_connections)
                return None
            case Stop():
                self.stopped.set()
                return None
        end = self._end(request.end)
        match request:
            case Change(changes=changes):
                end.script.behaviour = _replaced(end.script.behaviour, changes)
                return end.script.behaviour
            case Errors(script=script):
                for line in script:
                    end.script.add(line)
                return end.script.unused
            case Arrivals(start=start, count=count):
                found = end.record.arrivals(start, start + count)
                return [(one.at, one.sender, one.recipient, one.reference, one.code) for one in found]
            case Recipients(count=count):
                by_count = sorted(end.record.per_recipient().items(), key=lambda item: -item[1])
                return {str(recipient): messages for recipient, messages in islice(by_count, count)}
            case Distinct(window_s=window_s):
                return max_distinct(end.record.accepted(), window_s)
            case Status(update=update):
                return simulator.send(end, end.reports([update], time.time()))
            case Inbound():
                post = end.inbound(
                    request.sender, request.recipient, request.text, request.message, simulator.clock(), time.time()
                )
                return simulator.send(end, [post])
            case Reset():
                return end.reset()
        if not isinstance(end, WhatsApp):
            raise ValueError("only WhatsApp has that")
        return self._do_whatsapp(end, request)

    def _do_whatsapp(self, end: WhatsApp, request: _Request) -> Any:
        posts: Iterable[Post] = ()
        match request:
            case ChangeLimits(changes=changes):
                end.set_limits(_replaced(end.limits, changes))
                return end.limits
            case Limit(messaging_limit=given):
                posts = end.set_limit(TIERS[given] if isinstance(given, str) else given)
            case Throughput(mps=mps, number=number):
                posts = [post for name in _names(end, number) for post in end.set_throughput(name, mps)]
            case ChangeQuality(rating=rating, number=number):
                for name in _names(end, number):
                    end.set_quality(name, rating)
            case ChangeTemplate():
                posts = end.set_template(request.name, request.language, request.changes, request.reason)
            case Webhooks(field=field, value=value):
                posts = [end.notice(field, value)]
        return self.simulator.send(end, posts)

    def _end(self, name: str) -> End:
        ends = self.simulator.ends
        if name:
            return ends[name]
        if len(ends) > 1:
            raise ValueError(f"end is one of {', '.join(ends)}")
        return next(iter(ends.values()))


def _stats(end: End, now: float) -> dict[str, Any]:
    stats = {
        "arrivals": end.record.counts,
        "callbacks": {**msgspec.structs.asdict(end.callbacks), "pending": end.callbacks.pending},
        "script_unused": end.script.unused,
    }
    if isinstance(end, WhatsApp):
        stats |= {
            "limits": end.limits,
            "reached": end.reached(now),
            "most_reached": end.most_reached,
            "numbers": {name: (number.quality_rating, number.mps) for name, number in end.numbers.items()},
            "templates": {f"{name} {language}": state for (name, language), state in end.templates.items()},
        }
    return stats


def _replaced(value: Any, changes: dict[str, Any]) -> Any:
    return msgspec.convert(msgspec.to_builtins(value) | changes, type(value))


def _names(end: WhatsApp, number: str) -> list[str]:
    return [number] if number else list(end.numbers)


def _mistake(text: str) -> Answer:
    return Answer(400, msgspec.json.encode({"error": text}))


class ControlError(GatewayError):
    """The simulator refused a command, or is gone."""


class ControlClient:
    """Tells a simulator what to do."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._url = f"http://{host}:{port}/control/"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # A connection for each command: one that was kept may have been cut by the last of them.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(self, do: str, **arguments: Any) -> Any:
        """One command with its arguments, as in the module; its result. Raises `ControlError`."""
        assert self._session is not None
        try:
            async with self._session.post(self._url + do, data=msgspec.json.encode(arguments)) as response:
                answer = msgspec.json.decode(await response.read(), type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise ControlError(f"the simulator is gone: {error}") from error
        if "error" in answer:
            raise ControlError(answer["error"])
        return answer["result"]
