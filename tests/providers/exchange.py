"""Exchanges with a provider, written down: messages in, requests out, scripted answers in, outcomes out.

The port between is the real one; only its connections are scripted. What was scripted and not used fails the test, and so does
a request that nobody has an answer for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from yarl import URL

from gateway.errors import Disposition
from gateway.http_lane_config import HttpSettings
from gateway.inbox import Inbox
from gateway.model import Message
from gateway.providers.contract import PUT_BACK, Accepted, Call, Failure, Provider, Reply, Result
from gateway.providers.http import HttpLane, HttpPort
from gateway.providers.http_answer import HttpAnswer
from gateway.providers.http_client import NoAnswer, NotSent
from gateway.providers.http_grant import Grants
from gateway.providers.http_reach import Reach

PATIENCE_S = 5.0

LOST = NoAnswer("timeout")
"""Instead of an answer: the request was written."""
REFUSED = NotSent("connect: refused", URL("https://provider.example/"))
"""Instead of an answer: there is no connection."""

DOUBT = Failure(Disposition.UNKNOWN, "?")
"""An outcome: nobody says what became of the message, and its class decides."""
NOT_CONNECTED = Failure(Disposition.RETRY, "connect", after=1.0)
NOT_ANSWERED = Failure(Disposition.RETRY, "no-answer", doubtful=True)
"""Of a provider that may be asked again."""


class Ask(Struct, frozen=True, kw_only=True):
    """What a request has to be; `headers` are those that matter, and without a `body` any will do."""

    url: str
    method: str = "POST"
    headers: Mapping[str, str] = {}
    body: Any = None
    """Of JSON its value, of a form its fields."""


class Exchange(Struct, frozen=True, kw_only=True):
    """One row of a provider's table. `asks` are in the order of the requests, `outcomes` in that of the messages."""

    label: str
    messages: tuple[Message, ...]
    answers: tuple[Reply | NoAnswer | NotSent, ...]
    asks: tuple[Ask, ...]
    outcomes: tuple[Result, ...]


class Scripted:
    """In the place of a lane's `HttpClient`: its answers are the script's, one after the other."""

    def __init__(self, answers: Sequence[Reply | NoAnswer | NotSent]) -> None:
        self.left = list(answers)
        self.calls: list[Call] = []

    def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        if not self.left:
            raise NoAnswer("the script is at its end")
        answer = self.left.pop(0)
        if isinstance(answer, Reply):
            return answer
        raise answer

    async def probe(self, origin: URL) -> str:
        return ""


async def play(provider: Provider, exchange: Exchange) -> None:
    """Carry the messages over a port of this provider, and compare all that happens with the row."""
    client = Scripted(exchange.answers)
    outcomes = await _carry(provider, client, exchange.messages)
    assert client.left == [], "answers that nobody asked for"
    assert [_as_asked(call, ask) for call, ask in zip(client.calls, exchange.asks, strict=False)] == list(exchange.asks)
    assert len(client.calls) == len(exchange.asks)
    assert outcomes == list(exchange.outcomes)


async def _carry(provider: Provider, client: Scripted, messages: Sequence[Message]) -> list[Result]:
    settings = HttpSettings(drain_s=0.001)
    lane = HttpLane("lane", "account", provider, settings)
    lane.client = client  # type: ignore[assignment]
    lane.grants = Grants("lane", provider, lane.client, settings)
    directory = getattr(provider, "directory", None)
    lane.reach = Reach("lane", directory, lane.client, lane.grants, settings, 1) if directory else None
    inbox = Inbox(100)
    port = HttpPort(lane, inbox, lambda: None)
    port.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not port.bound:
                await inbox.wake.wait()
                inbox.wake.clear()
            port.submit([(message, place) for place, message in enumerate(messages)])
            outcomes = await _outcomes(inbox, len(messages))
            # As the dispatcher does with what was handed back: about whom it goes to was asked meanwhile.
            if lane.reach is not None and PUT_BACK in outcomes and port.bound:
                inbox.answers = []
                port.submit([(message, place) for place, message in enumerate(messages)])
                outcomes = await _outcomes(inbox, len(messages))
            return outcomes
    finally:
        await port.close()


async def _outcomes(inbox: Inbox, count: int) -> list[Result]:
    while sum(map(len, inbox.answers)) + len(inbox.unanswered) < count:
        await inbox.wake.wait()
        inbox.wake.clear()
    found: dict[int, Result] = dict.fromkeys(inbox.unanswered, DOUBT)
    for answer in (answer for answers in inbox.answers for answer in answers):
        assert isinstance(answer, HttpAnswer)
        found[answer.context] = answer.failure or Accepted(answer.message_id)
    return [found[place] for place in range(count)]


def _as_asked(call: Call, ask: Ask) -> Ask:
    """A request in the words of the row that it is compared with."""
    headers = dict(call.headers)
    body = None
    if ask.body is not None and "json" in headers["content-type"]:
        body = msgspec.json.decode(call.body)
    elif ask.body is not None:
        body = dict(parse_qsl(call.body.decode(), keep_blank_values=True, strict_parsing=True))
    return Ask(
        url=call.url, method=call.method, headers={name: headers.get(name, "") for name in ask.headers}, body=body
    )
