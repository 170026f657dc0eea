"""Where providers over HTTP call us: a callback is answered when what it says is in Kafka, or not with 200.

Whatever goes wrong, the provider is told to come again, and what it says twice is known: so nothing has to be done by halves.
For how long it comes again is the provider's: Meta does for days, Twilio for 15 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.http import HttpProcessingError
from msgspec import Struct

from gateway import config
from gateway.content.model import Channel
from gateway.errors import GatewayError, StoreUnavailable
from gateway.events import utc
from gateway.inbound import WRITTEN_AT, Inbound
from gateway.model import Inbound as InboundRecord
from gateway.providers.contract import Change, Hook, Provider, Reading, Unsigned
from gateway.receipts import Receipts
from gateway.window import Window

log = logging.getLogger("gateway.webhooks")

_METHODS = frozenset(("GET", "POST"))
_BODIES = 16
"""Bodies of the largest size that may be in memory at once."""
_REQUESTS = 1000
"""At once, whatever their size."""
_AGAIN_S = "5"
"""When a provider that was turned away is asked to come again; most have a ladder of their own."""
_LINGER_S = 2.0
"""For the rest of a body that nobody wants, so that its sender reads our answer."""
_NAMES = 100
"""Different names of what was not understood that are counted, for each lane; then all others together."""
_MOST_NAME = 64
_STAYS_SHUT = frozenset(("system", "reaction", "opt_out", "opt_in"))
"""Kinds that are not known to open a service window, though a person is behind them."""

OnChanges = Callable[[str, Sequence[Change]], Awaitable[None]]
"""Is given the lane at whose address the changes came; when it returns they are safe."""


class Served(Struct, frozen=True):
    """A lane that hears from its provider.

    `number` is what people write to, where the provider tells several apart: a phone_number_id of WhatsApp. Lanes of one account
    share what their provider says at the address of any of them: Meta calls one for all numbers of an app.
    """

    lane: str
    account: str
    channel: Channel
    provider: Provider
    number: str = ""


class _Refused(GatewayError):
    """A callback that is not taken, and what it is answered."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Webhooks:
    """`start`, then `stop`. `deadline_s` is how long a provider waits at most, its body included; Twilio gives up after 15 s.

    `shared` lets several processes listen at one port.
    """

    def __init__(
        self,
        settings: config.Webhooks,
        served: Iterable[Served],
        *,
        receipts: Receipts,
        inbound: Inbound,
        window: Window,
        on_changes: OnChanges,
        deadline_s: float = 8.0,
        shared: bool = True,
    ) -> None:
        self._settings = settings
        self._receipts = receipts
        self._inbound = inbound
        self._window = window
        self._on_changes = on_changes
        self._deadline_s = deadline_s
        self._shared = shared
        lanes = list(served)
        self._at = {settings.path(each.lane): each for each in lanes}
        self._below = {path: each for path, each in self._at.items() if getattr(each.provider, "secret_path", False)}
        self._of_number = {(each.account, each.number): each for each in lanes if each.number}
        self._octets = 0
        self._requests = 0
        self._server: web.Server | None = None
        self._listening: asyncio.Server | None = None
        self.port = 0
        """At which it listens: for a configured 0, any that was free."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Requests by lane and what became of them; the lane is empty for those that are for none."""
        self.contents: Counter[tuple[str, str]] = Counter()
        """By lane: status, inbound, change, and `stranger` for what was written to a number that no lane has."""
        self.unknown: Counter[tuple[str, str]] = Counter()
        """What was not understood, by lane and name."""

    @property
    def octets(self) -> int:
        """Of bodies that are in memory or on their way into it."""
        return self._octets

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        log.addFilter(_our_own)
        # Nothing is unpacked: what is signed is what came.
        self._server = web.Server(
            self._serve, access_log=None, logger=log, auto_decompress=False, lingering_time=_LINGER_S
        )
        self._listening = await asyncio.get_running_loop().create_server(
            self._server, self._settings.host, self._settings.port, backlog=1024, reuse_port=self._shared
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Let nobody in, finish what is there within the deadline, and hang up."""
        if self._listening is not None:
            self._listening.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(self._deadline_s)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        served = self._at.get(path) or self._below.get(path.rpartition("/")[0])
        lane = served.lane if served else ""
        self._requests += 1
        try:
            async with asyncio.timeout(self._deadline_s):
                response = await self._take(served, request, query)
        except _Refused as refusal:
            self.counts[lane, refusal.why] += 1
            headers = {"Retry-After": _AGAIN_S} if refusal.status == 503 else None
            return web.Response(status=refusal.status, headers=headers)
        except (TimeoutError, StoreUnavailable):
            self.counts[lane, "late"] += 1
            return web.Response(status=503, headers={"Retry-After": _AGAIN_S})
        finally:
            self._requests -= 1
        self.counts[lane, "taken"] += 1
        return response

    async def _take(self, served: Served | None, request: web.BaseRequest, query: str) -> web.Response:
        if served is None:
            raise _Refused(404, "no-such-path")
        if request.method not in _METHODS:
            raise _Refused(405, "method")
        self._look_for_room()
        with self._room(request) as most:
            body = await _read(request, most)
            self._look_for_room()  # what others have brought since weighs many times its octets
            headers = {name.lower(): value for name, value in request.headers.items()}
            parameters = dict(parse_qsl(query, keep_blank_values=True))
            hook = Hook(request.method, self._settings.public_url + request.raw_path, parameters, headers, body)
            reading = _understood(served.provider, hook)
            self._note(served.lane, reading)
            await self._publish(served, reading)
        return web.Response(body=reading.answer, headers={"Content-Type": reading.content_type})

    def _look_for_room(self) -> None:
        if self._receipts.full or self._inbound.full or self._requests > _REQUESTS:
            raise _Refused(503, "full")

    @contextlib.contextmanager
    def _room(self, request: web.BaseRequest) -> Iterator[int]:
        """Set octets aside for a body, and say how many it may have."""
        most = self._settings.max_body
        size = most if request.content_length is None else request.content_length
        if size > most:
            raise _Refused(413, "oversized")
        if self._octets + size > _BODIES * most:
            raise _Refused(503, "full")
        self._octets += size
        try:
            yield size
        finally:
            self._octets -= size

    async def _publish(self, served: Served, reading: Reading) -> None:
        now = time.time()
        inbound, wrote = self._addressed(served, reading.inbound, now)
        # Before anybody can read what the person wrote, the answer to it may be free text.
        for number, people in wrote.items():
            await self._window.opened(number, people)
        if reading.statuses:
            await self._receipts.take(served.lane, served.account, reading.statuses, served.channel)
        if inbound:
            await self._inbound.take_ready(inbound)
        if reading.changes:
            await self._on_changes(served.lane, reading.changes)

    def _addressed(
        self, served: Served, messages: list[InboundRecord], now: float
    ) -> tuple[list[InboundRecord], dict[str, list[tuple[str, float]]]]:
        """Fill in what a provider cannot know of what people wrote; and by number of ours, whose windows are open."""
        ours = []
        wrote: dict[str, list[tuple[str, float]]] = {}
        for message in messages:
            number = message.account
            lane = self._of_number.get((served.account, number)) if number else served
            if lane is None:
                self.contents[served.lane, "stranger"] += 1
                continue
            written_at = message.time.timestamp()
            if written_at > 0:  # else the provider does not say
                message.data[WRITTEN_AT] = message.time.isoformat()
            if number and message.kind not in _STAYS_SHUT:
                wrote.setdefault(number, []).append((message.from_, min(written_at or now, now)))
            message.lane, message.account, message.channel = lane.lane, lane.account, lane.channel
            message.time = utc(now)
            ours.append(message)
        return ours, wrote

    def _note(self, lane: str, reading: Reading) -> None:
        for what, found in (("status", reading.statuses), ("inbound", reading.inbound), ("change", reading.changes)):
            if found:
                self.contents[lane, what] += len(found)
        for name in reading.unknown:
            key = lane, name[:_MOST_NAME]
            if key not in self.unknown and sum(of == lane for of, _ in self.unknown) >= _NAMES:
                key = lane, "other"
            self.unknown[key] += 1


async def _read(request: web.BaseRequest, most: int) -> bytes:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    chunks = []
    try:
        async for chunk in request.content.iter_any():
            chunks.append(chunk)
            most -= len(chunk)
            if most < 0:
                raise _Refused(413, "oversized")
    except (ConnectionError, web.RequestPayloadError) as exc:
        raise _Refused(400, "cut-off") from exc
    return b"".join(chunks)


def _our_own(record: logging.LogRecord) -> bool:
    """Whether it is worth a line: what cannot be read as HTTP is answered 400, and anybody can send it all day."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _understood(provider: Provider, hook: Hook) -> Reading:
    try:
        provider.verify(hook, time.time())
    except Unsigned as exc:
        raise _Refused(403, "unsigned") from exc
    try:
        return provider.receive(hook)
    except ValueError as exc:
        raise _Refused(400, "unreadable") from exc
