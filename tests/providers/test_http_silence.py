"""A port over HTTP whose provider answers, and says nothing: it must not be sent a campaign of which nobody knows the end."""

from __future__ import annotations

import asyncio

import pytest

from tests.providers.http_stage import Request, Server, Step, accept, disconnect, reply, staged

SILENT = reply(502, b"<html>Bad Gateway</html>")


@pytest.mark.parametrize(
    ("step", "idempotent", "said", "reason"),
    [
        (SILENT, False, "?", "silent: http:502"),
        (SILENT, True, "retry http:502", "silent: http:502"),
        (disconnect, False, "?", "silent: no-answer"),
    ],
    ids=["a proxy", "may be asked again", "no answer"],
)
async def test_who_says_nothing_is_asked_less_and_less(step: Step, idempotent: bool, said: str, reason: str) -> None:
    """After five in a row the port rests, then tries with one message, and again; a good answer opens it wholly."""
    server = Server(*[step] * 7, accept)
    async with staged(server, idempotent=idempotent, reconnect_min_s=0.05, reconnect_max_s=0.05) as stage:
        for _ in range(5):
            assert stage.port.room == 4
            assert await stage.outcome("a") == {"a": said}
        for _ in range(2):
            assert (stage.port.bound, stage.port.room, stage.port.down_reason) == (False, 0, reason)
            stage.inbox.wake.clear()
            await stage.until(lambda: stage.port.bound)
            assert stage.inbox.wake.is_set()
            assert stage.port.room == 1
            assert await stage.outcome("a") == {"a": said}
        await stage.until(lambda: stage.port.bound)
        assert await stage.outcome("a") == {"a": "id-a"}
        assert (stage.port.bound, stage.port.room, stage.ups) == (True, 4, 1)
    assert len(server.requests) == 8


@pytest.mark.parametrize(
    "between", [accept, reply(429, b""), reply(400, b"")], ids=["accepted", "throttled", "refused"]
)
async def test_an_answer_in_between_is_one(between: Step) -> None:
    """Whatever it says: the provider is there."""
    async with staged(Server(*[SILENT] * 4, between, *[SILENT] * 4, accept)) as stage:
        for _ in range(9):
            await stage.outcome("a")
        assert (stage.port.bound, stage.port.room) == (True, 4)


@pytest.mark.parametrize("at_last", [accept, disconnect], ids=["answers", "says nothing"])
async def test_a_port_is_down_while_it_tries_whether_somebody_answers(at_last: Step) -> None:
    """What waits behind the one message must not wait for its answer where the route has another lane."""
    gate = asyncio.Event()

    async def slowly(request: Request, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await at_last(request, writer)

    server = Server(*[SILENT] * 5, slowly)
    async with staged(server, reconnect_min_s=0.05, reconnect_max_s=0.05) as stage:
        for _ in range(5):
            await stage.outcome("a")
        await stage.until(lambda: stage.port.bound)
        assert stage.port.down_reason == ""
        stage.submit("a")
        assert (stage.port.bound, stage.port.room, stage.port.down_reason) == (False, 0, "silent: http:502")
        await stage.until(lambda: len(server.requests) == 6)
        gate.set()
        await stage.results(1)
        await stage.until(lambda: stage.port.bound)
        assert stage.port.room == (4 if at_last is accept else 1)


async def test_what_waits_is_handed_back_when_the_provider_falls_silent() -> None:
    """It was not written, and is in doubt of nothing."""
    server = Server(*[SILENT] * 6)
    async with staged(server, batch=4, concurrency=1, reconnect_min_s=60, reconnect_max_s=60) as stage:
        for _ in range(4):
            await stage.outcome("a")
        said = await stage.outcome("x:a", "y:b", "y:c", "z:d")
    assert said == {"x:a": "?", "y:b": "throttled put-back", "y:c": "throttled put-back", "z:d": "throttled put-back"}
    assert list(said) == ["z:d", "y:c", "y:b", "x:a"]
    assert len(server.requests) == 5


async def test_a_good_answer_to_what_was_under_way_ends_the_rest() -> None:
    """It was the one that failed, not the provider."""
    gate = asyncio.Event()

    async def later(request: Request, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await accept(request, writer)

    async with staged(Server(later, *[SILENT] * 5), reconnect_min_s=60, reconnect_max_s=60) as stage:
        stage.submit("slow")
        for _ in range(5):
            await stage.outcome("a")
        assert not stage.port.bound
        gate.set()
        assert await stage.results(1) == {"slow": "id-slow"}
        assert (stage.port.bound, stage.port.room) == (True, 4)


async def test_a_request_with_one_outcome_is_no_silence() -> None:
    """Of several messages the one that is told of counts."""
    async with staged(Server(reply(200, b'["id-a","!unknown"]')), batch=2) as stage:
        for _ in range(6):
            await stage.outcome("a", "b")
        assert stage.port.bound
