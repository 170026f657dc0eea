"""A provider, a server that does as it is told, and a port between them: what the tests of `http.py` stand on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from gateway.errors import Disposition
from gateway.http_lane_config import HttpSettings
from gateway.inbox import Inbox
from gateway.model import Message
from gateway.providers.contract import Accepted, Call, Failure, Grant, Hook, Reading, Reply, Result, Unsendable
from gateway.providers.http import HttpLane, HttpPort
from gateway.providers.http_answer import HttpAnswer
from gateway.providers.replies import by_status
from tests.providers.suite import a_message

SECRET = "s3cret-of-the-lane"
PATIENCE_S = 5.0


class Request(Struct):
    """One request as the server saw it."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def texts(self) -> list[str]:
        texts: list[str] = msgspec.json.decode(self.body)
        return texts


Step = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def reply(status: int, body: bytes, *headers: str) -> Step:
    """Answer with this."""

    async def step(_: Request, writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join((f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}", *headers))
        writer.write(head.encode() + b"\r\n\r\n" + body)

    return step


def reply_in_pieces(*pieces: bytes) -> Step:
    """Answer with this, so slowly that it is read piece by piece."""

    async def step(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % sum(map(len, pieces)))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    return step


def granted(token: str, seconds: float = 3600) -> Step:
    """Give a token."""
    return reply(200, f'["{token}",{seconds}]'.encode())


async def accept(request: Request, writer: asyncio.StreamWriter) -> None:
    """Take every message: its id is `id-` and its text."""
    await reply(200, msgspec.json.encode([f"id-{text}" for text in request.texts]))(request, writer)


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client has gone."""
    await writer.wait_closed()


async def disconnect(_: Request, writer: asyncio.StreamWriter) -> None:
    """Close the connection instead of an answer."""
    writer.close()


async def reset_midway(_: Request, writer: asyncio.StreamWriter) -> None:
    """Begin an answer, and reset the connection."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
    await writer.drain()
    await asyncio.sleep(0.01)
    writer.transport.abort()


async def drip(_: Request, writer: asyncio.StreamWriter) -> None:
    """Send a body that never ends, slower than anybody would wait for."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b" ")
        await asyncio.sleep(0.02)


class Server:
    """Answers requests of messages with one step after the other, the last one again and again; `/token` has its own."""

    def __init__(self, *steps: Step) -> None:
        self.requests: list[Request] = []
        self.asked: list[Request] = []
        """For a token."""
        self.connections = 0
        self.probes = 0
        self.port = 0
        self.tokens: list[Step] = []
        self._steps = list(steps) or [accept]
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {line.split(": ")[0].lower(): line.split(": ")[1] for line in lines if line}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await self._next(Request(head, headers, body), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _next(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("HEAD"):
            self.probes += 1
            await reply(404, b"")(request, writer)
        elif " /token " in request.line:
            self.asked.append(request)
            await self.tokens[min(len(self.asked), len(self.tokens)) - 1](request, writer)
        else:
            self.requests.append(request)
            await self._steps[min(len(self.requests), len(self._steps)) - 1](request, writer)


class Plain:
    """A provider: a JSON list of texts out, a JSON list of ids or errors (`"!" + disposition`) back."""

    def __init__(
        self, base: str, *, batch: int = 1, idempotent: bool = False, method: str = "POST", grant: bool = False
    ):
        self.batch = batch
        self.idempotent = idempotent
        self._base = base
        self._method = method
        self._grant = grant

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        for message in messages:
            self.prepare(message)
        url = f"{self._base}/v1/phones/{messages[0].to}/messages?text={messages[0].text}"
        headers = (("authorization", f"Bearer {token or SECRET}"), ("content-type", "application/json"))
        return Call(self._method, url, headers, msgspec.json.encode([message.text for message in messages]))

    def group(self, message: Message) -> str:
        return message.sender

    def own_id(self, message: Message) -> str:
        return ""

    def prepare(self, message: Message) -> None:
        if not message.text:
            raise Unsendable("text", "there is no text")

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        try:
            said = msgspec.json.decode(reply.body, type=list[str])
        except msgspec.DecodeError:
            return [by_status(reply)] * len(messages)
        return [Failure(Disposition(one[1:]), "bad") if one.startswith("!") else Accepted(one) for one in said]

    def grant(self, now: float) -> Call | None:
        return Call("POST", f"{self._base}/token", (), SECRET.encode()) if self._grant else None

    def granted(self, reply: Reply, now: float) -> Grant | Failure:
        if reply.status != 200:
            return Failure(Disposition.STOP if reply.status == 400 else Disposition.RETRY, str(reply.status))
        token, seconds = msgspec.json.decode(reply.body, type=tuple[str, float])
        return Grant(token, now + seconds)

    def verify(self, hook: Hook, now: float) -> None: ...

    def receive(self, hook: Hook) -> Reading:
        return Reading()


class Stage:
    """A port and what comes out of it."""

    def __init__(self, provider: Plain, *, slots: int = 1, **settings: object) -> None:
        quick: dict[str, object] = {  # to give up, not to answer: the machine may be busy
            "concurrency": 4,
            "connect_timeout_s": 2,
            "timeout_s": 5,
            "drain_s": 0.05,
            "reconnect_min_s": 0.01,
            "reconnect_max_s": 0.02,
            "allow_private": True,
        }
        how = HttpSettings(**(quick | settings))  # type: ignore[arg-type]
        self.shared = HttpLane("lane", "account", provider, how, slots)
        self.inbox = Inbox(100)
        self.ups = 0
        self.messages: dict[str, Message] = {}
        """What was submitted, by its text."""
        self.port = HttpPort(self.shared, self.inbox, self._up)
        self._answers: list[HttpAnswer] = []
        self._unanswered: list[object] = []

    def submit(self, *texts: str) -> None:
        """Hand over a message for each text, with the text as its context; its sender is what is in front of a colon."""
        messages = [a_message(text, number=n, sender=text.rpartition(":")[0]) for n, text in enumerate(texts)]
        self.messages |= dict(zip(texts, messages, strict=True))
        self.port.submit(list(zip(messages, texts, strict=True)))

    async def results(self, count: int) -> dict[object, str]:
        """Wait until so many messages have come out; say of each its id, the disposition and code of its failure, or `?`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.collect()
                if len(self._answers) + len(self._unanswered) >= count:
                    break
                await self.inbox.wake.wait()
                self.inbox.wake.clear()
        said = {one.context: _in_words(one) for one in self._answers} | dict.fromkeys(self._unanswered, "?")
        assert len(said) == len(self._answers) + len(self._unanswered) == count
        self._answers, self._unanswered = [], []
        return said

    async def outcome(self, *texts: str) -> dict[object, str]:
        """Submit and wait for what becomes of all."""
        self.submit(*texts)
        return await self.results(len(texts))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that the port does by itself."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - some of it is in no event
                await asyncio.sleep(0.005)

    def collect(self) -> None:
        """Take what is in the inbox, as a turn of the dispatcher does."""
        for batch in self.inbox.answers:
            self._answers += batch
        self._unanswered += self.inbox.unanswered
        self.inbox.answers, self.inbox.unanswered = [], []

    def _up(self) -> None:
        self.ups += 1


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Stage]:
    stage.port.start()
    try:
        yield stage
    finally:
        await stage.port.close()


@asynccontextmanager
async def staged(
    server: Server,
    *,
    batch: int = 1,
    idempotent: bool = False,
    method: str = "POST",
    grant: bool = False,
    **settings: object,
) -> AsyncIterator[Stage]:
    """A port that has been started, against a server that listens; both are gone afterwards."""
    await server.open()
    try:
        base = f"http://127.0.0.1:{server.port}"
        provider = Plain(base, batch=batch, idempotent=idempotent, method=method, grant=grant)
        async with running(Stage(provider, **settings)) as stage:
            yield stage
    finally:
        await server.close()


def _in_words(answer: HttpAnswer) -> str:
    if answer.failure is None:
        assert answer.command_status == 0
        return answer.message_id
    assert (answer.command_status, answer.message_id) == (1, "")
    return f"{answer.failure.disposition} {answer.failure.code}"
