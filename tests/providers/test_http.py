"""A port over HTTP against a server that behaves, and against servers that do not."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from gateway.http_lane_config import HttpSettings
from gateway.providers.contract import Call, Provider, Unsendable
from gateway.tables import Contradiction
from tests.providers.http_stage import (
    SECRET,
    Plain,
    Request,
    Server,
    Stage,
    Step,
    accept,
    disconnect,
    drip,
    granted,
    hang,
    reply,
    reply_in_pieces,
    reset_midway,
    running,
    staged,
)


async def test_an_accepted_message_has_the_providers_id() -> None:
    """What was submitted comes back beside its context."""
    async with staged(Server()) as stage:
        assert await stage.outcome("a") == {"a": "id-a"}
        assert (stage.port.in_flight, stage.port.room, stage.port.bound) == (0, 4, True)


async def test_an_id_is_no_longer_than_a_callback_may_say_it() -> None:
    """It becomes a key of the store, and a part of events that Kafka has to take."""
    async with staged(Server(reply(200, msgspec.json.encode(["x" * 100_000])))) as stage:
        assert await stage.outcome("a") == {"a": "x" * 512}


async def test_what_ends_together_comes_in_one_list() -> None:
    """The messages of one request are one batch of answers for the settler."""
    async with staged(Server(), batch=3) as stage:
        stage.inbox.wake.clear()
        stage.submit("a", "b", "c")
        await stage.inbox.wake.wait()
        assert [[answer.context for answer in batch] for batch in stage.inbox.answers] == [["a", "b", "c"]]


async def test_a_request_carries_what_is_waiting_up_to_the_batch() -> None:
    """Seven messages, three to a request: nothing waits for company, nobody gets more than it takes."""
    server = Server()
    async with staged(server, batch=3) as stage:
        said = await stage.outcome(*"abcdefg")
    assert said == {text: f"id-{text}" for text in "abcdefg"}
    assert sorted(len(request.texts) for request in server.requests) == [1, 3, 3]


async def test_only_messages_of_one_group_share_a_request() -> None:
    """What the provider says must agree does."""
    server = Server()
    async with staged(server, batch=4) as stage:
        said = await stage.outcome("x:a", "y:b", "x:c", "y:d", "x:e")
    assert said == {text: f"id-{text}" for text in ("x:a", "y:b", "x:c", "y:d", "x:e")}
    assert sorted(request.texts for request in server.requests) == [["x:a", "x:c", "x:e"], ["y:b", "y:d"]]


async def test_each_message_of_a_request_has_its_own_outcome() -> None:
    """Accepted, refused and unclear, side by side."""
    server = Server(reply(200, b'["id-a","!rejected","!unknown","!throttled"]'))
    async with staged(server, batch=4) as stage:
        said = await stage.outcome(*"abcd")
    assert said == {"a": "id-a", "b": "rejected bad", "c": "?", "d": "throttled bad"}


@pytest.mark.parametrize("batch", [1, 3])
async def test_what_cannot_be_sent_is_refused_and_the_others_go(batch: int) -> None:
    """A message without a text fails alone, in the provider's words, and is part of no request."""
    server = Server()
    async with staged(server, batch=batch) as stage:
        assert await stage.outcome("a", "", "c") == {"a": "id-a", "": "rejected text", "c": "id-c"}
    assert sorted(text for request in server.requests for text in request.texts) == ["a", "c"]


async def test_connections_are_kept() -> None:
    """As many as there are requests at a time, however many requests there are."""
    server = Server()
    async with staged(server, concurrency=2) as stage:
        for _ in range(10):
            await stage.outcome("a", "b")
    assert (len(server.requests), server.connections) == (20, 2)


async def test_no_more_requests_at_a_time_than_workers() -> None:
    """The window bounds what is taken; what it has taken is in flight until it is answered."""
    server = Server(hang)
    async with staged(server, concurrency=2) as stage:
        stage.submit("a", "b")
        assert (stage.port.room, stage.port.in_flight) == (0, 2)
        await stage.until(lambda: len(server.requests) == 2)


async def test_a_wider_window_is_used_at_once() -> None:
    """`set_window` makes workers for it; a narrower one lets the surplus drain."""
    server = Server(hang)
    async with staged(server, concurrency=1) as stage:
        stage.port.set_window(3)
        stage.submit("a", "b", "c")
        await stage.until(lambda: len(server.requests) == 3)
        stage.port.set_window(1)
        assert stage.port.room == 0


# After the request was written.


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "step",
    [
        hang,
        disconnect,
        reset_midway,
        drip,
        reply(200, b"it worked!"),
        reply(200, b'["id-a"]'.ljust(2049)),
        reply_in_pieces(b'["id-a"]', b" " * 2041),
        reply(200, b'["one","too many"]'),
        lambda request, writer: _write(writer, b"SSH-2.0-OpenSSH_9.6\r\n"),
    ],
    ids=["silence", "disconnect", "reset", "slow-loris", "garbage", "long", "long pieces", "mismatch", "not HTTP"],
)
async def test_without_an_answer_nobody_knows(step: Step, method: str) -> None:
    """UNKNOWN, once: the request may have been read, so it is not made again, whatever its method."""
    server = Server(accept, step)
    async with staged(server, method=method, max_response=2048, timeout_s=0.3, connect_timeout_s=0.2) as stage:
        await stage.outcome("first")  # so that the second goes over a connection that was kept
        assert await stage.outcome("second") == {"second": "?"}
        assert stage.port.bound
    assert (len(server.requests), server.connections) == (2, 1)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)


async def test_an_answer_may_be_as_long_as_its_bound() -> None:
    """The bound itself still fits, in however many pieces it comes."""
    async with staged(Server(reply_in_pieces(b'["id-a', b'"]'.ljust(2042))), max_response=2048) as stage:
        assert await stage.outcome("a") == {"a": "id-a"}


async def test_the_connection_of_a_broken_answer_is_not_used_again() -> None:
    """What is left of an answer must not be taken for the next one."""
    server = Server(drip, accept)
    async with staged(server, timeout_s=0.2, connect_timeout_s=0.1) as stage:
        await stage.outcome("a")
        assert await stage.outcome("b") == {"b": "id-b"}
    assert server.connections == 2


async def test_a_connection_closed_while_idle_costs_nothing() -> None:
    """It is noticed before it is used."""

    async def accept_and_close(request: Request, writer: asyncio.StreamWriter) -> None:
        await accept(request, writer)
        writer.close()

    server = Server(accept_and_close)
    async with staged(server) as stage:
        await stage.outcome("a")
        await asyncio.sleep(0.02)
        assert await stage.outcome("b") == {"b": "id-b"}
    assert server.connections == 2


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (reply(200, b"<html>It works!</html>"), "retry http:200"),
        (reply(502, b"<html>Bad Gateway</html>"), "retry http:502"),
        (reply(200, b'["!unknown"]'), "retry bad"),
        (reply(200, b'["one","too many"]'), "retry no-answer"),
        (disconnect, "retry no-answer"),
    ],
    ids=["garbage", "proxy", "unknown", "mismatch", "no answer"],
)
async def test_an_answer_that_says_nothing_is_asked_for_again_later(step: Step, said: str) -> None:
    """Not at once: what cannot reach the person twice goes to the ladder, whatever its class says of doubt."""
    server = Server(step)
    async with staged(server, idempotent=True, batch=2) as stage:
        assert await stage.outcome("a") == {"a": said}
        assert (stage.inbox.unanswered, stage.port.in_flight) == ([], 0)
    assert len(server.requests) == 1


async def test_closing_leaves_nothing_in_doubt_that_may_be_asked_again() -> None:
    """It is in the inbox when `close` returns, with what was answered in its last moment."""
    server = Server(accept, hang)
    async with staged(server, idempotent=True, reconnect_min_s=60, reconnect_max_s=60) as stage:
        stage.submit("a", "b")
        await stage.until(lambda: len(server.requests) == 2)
    stage.collect()
    assert {*await stage.results(2)} == {"a", "b"}
    assert stage.inbox.answers == stage.inbox.unanswered == []


async def test_nothing_is_lost_and_nothing_is_sent_twice() -> None:
    """Whatever a server does in between: every message comes out once, and goes in once."""
    server = Server(
        *[accept, disconnect, reply(200, b"?"), reset_midway, reply(429, b""), accept, reply(500, b"")] * 20
    )
    texts = [str(number) for number in range(200)]
    async with staged(server, batch=3, concurrency=3) as stage:
        left = list(texts)
        out = 0
        while left:
            now, left = left[: stage.port.room], left[stage.port.room :]
            stage.submit(*now)
            out += len(await stage.results(len(now)))
        assert (out, stage.port.in_flight) == (200, 0)
    assert sorted(text for request in server.requests for text in request.texts) == sorted(texts)


async def test_redirects_are_answers() -> None:
    """A message is never taken to where a provider did not say at the start."""
    server = Server(reply(307, b"", "Location: /elsewhere"))
    async with staged(server) as stage:
        assert await stage.outcome("a") == {"a": "stop http:307"}
    assert len(server.requests) == 1


class Broken(Plain):
    """Has a bug in one of its methods, whose words quote the message."""

    def __init__(self, base: str, where: str, batch: int) -> None:
        super().__init__(base, batch=batch)

        def bug(*_: object) -> None:
            raise KeyError("+573001110000")

        setattr(self, where, bug)


@pytest.mark.parametrize(
    ("where", "batch", "said"),
    [
        ("call", 1, "rejected internal"),
        ("call", 3, "rejected internal"),
        ("group", 3, "rejected internal"),
        ("read", 1, "?"),
        ("read", 3, "?"),
    ],
)
async def test_a_bug_of_a_provider_leaves_no_message_hanging(
    where: str, batch: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the request its messages fail, after it they are in doubt; others go on, and the log does not quote it."""
    server = Server()
    await server.open()
    provider = Broken(f"http://127.0.0.1:{server.port}", where, batch)
    async with running(Stage(provider, concurrency=1, reconnect_min_s=60, reconnect_max_s=60)) as stage:
        assert await stage.outcome("a") == {"a": said}
        assert await stage.outcome("b") == {"b": said}
        assert stage.port.bound
    await server.close()
    assert "error=KeyError" in caplog.text
    assert "300111" not in caplog.text


async def test_a_bug_in_looking_at_messages_leaves_none_hanging() -> None:
    """What cannot be sent is looked for with `prepare`: then that decides, whatever it raises."""

    class Worse(Broken):
        def call(self, messages: object, token: str, now: float) -> Call:
            raise Unsendable("text", "there is no text")

    async with running(Stage(Worse("http://127.0.0.1", "prepare", 3), concurrency=1)) as stage:
        assert await stage.outcome("a", "b") == {"a": "rejected internal", "b": "rejected internal"}


# Closing.


async def test_closing_waits_for_answers() -> None:
    """What is written is answered, what is not goes back, and nothing more is taken."""
    gate = asyncio.Event()

    async def later(request: Request, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await accept(request, writer)

    server = Server(later)
    async with staged(server, concurrency=1, batch=2, drain_s=5) as stage:
        stage.submit("a")
        await stage.until(lambda: server.requests)
        stage.submit("b")
        closing = asyncio.create_task(stage.port.close())
        await stage.until(lambda: not stage.port.bound)
        assert (stage.port.room, stage.port.down_reason) == (0, "closed")
        gate.set()
        await closing
        stage.port = Stage(Plain("http://127.0.0.1")).port  # the first is closed already
        stage.port.start()
        assert await stage.results(2) == {"a": "id-a", "b": "throttled put-back"}


async def test_what_is_not_answered_when_the_drain_ends_is_unknown() -> None:
    """It is in the inbox when `close` returns, and so is what was answered last."""
    server = Server(accept, hang)
    async with staged(server) as stage:
        stage.submit("a", "b")
        await stage.until(lambda: len(server.requests) == 2)
    assert sorted((await stage.results(2)).values()) in (["?", "id-a"], ["?", "id-b"])
    assert stage.port.in_flight == 0


async def test_slots_of_a_lane_share_its_connections() -> None:
    """The last one closes them; until then the other goes on."""
    server = Server()
    async with staged(server) as stage:
        await stage.outcome("a")
        other = Stage(Plain(""))
        other.port = type(stage.port)(stage.shared, other.inbox, lambda: None)
        async with running(other):
            assert await other.outcome("b") == {"b": "id-b"}
        assert await stage.outcome("c") == {"c": "id-c"}
    assert server.connections == 1


# What is written down.


@pytest.mark.parametrize("step", [accept, disconnect, drip, reply(400, b"no"), reply(401, b"")])
async def test_no_log_names_a_person_a_text_or_a_secret(step: Step, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at DEBUG, where every request has a line, and not when it fails."""
    caplog.set_level(logging.DEBUG)
    server = Server(step)
    server.tokens = [granted("t0ken-of-the-lane")]
    async with staged(server, grant=True, timeout_s=0.2, connect_timeout_s=0.1) as stage:
        await stage.until(lambda: stage.port.bound)
        await stage.outcome("Suerte")
    async with running(Stage(Plain("https://127.0.0.1:1"), allow_private=False)) as stage:
        await stage.outcome("Suerte")
    lines = [record.getMessage() for record in caplog.records if record.name == "gateway.http"]
    assert any("method=POST host=127.0.0.1 path=/v1/phones/*/messages status=" in line for line in lines)
    for hidden in ("300111", "Suerte", SECRET, "t0ken"):
        assert hidden not in caplog.text


async def test_the_line_of_a_request_says_how_it_went(caplog: pytest.LogCaptureFixture) -> None:
    """One line each: status or what broke it off, milliseconds and bytes."""
    caplog.set_level(logging.DEBUG, "gateway.http")
    async with staged(Server(accept, hang), timeout_s=0.2, connect_timeout_s=0.1) as stage:
        await stage.outcome("a")
        await stage.outcome("b")
    said = [record.getMessage().partition("status=")[2].split() for record in caplog.records]
    assert [(line[0], line[2]) for line in said] == [("200", "bytes=8"), ("timeout", "bytes=0")]


def test_a_request_has_time_after_it_has_connected() -> None:
    """Else a deadline would not tell whether it was written."""
    with pytest.raises(Contradiction, match="not below timeout_s"):
        HttpSettings(connect_timeout_s=5, timeout_s=5)


def test_the_stages_provider_is_one() -> None:
    """What the port is tested with has the shape of what it is used with."""
    provider: Provider = Plain("https://provider.example")
    assert provider.batch == 1
