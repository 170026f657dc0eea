"""A port over HTTP whose provider gives credentials for some time."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from gateway.providers import http_grant
from tests.providers.http_stage import (
    Plain,
    Request,
    Server,
    Stage,
    accept,
    granted,
    reply,
    running,
    staged,
)


async def test_a_port_is_down_until_there_is_a_grant() -> None:
    """Then its requests carry it."""
    server = Server()
    server.tokens = [reply(503, b""), granted("t1")]
    async with staged(server, grant=True) as stage:
        assert (stage.port.bound, stage.port.room, stage.port.down_reason) == (False, 0, "grant: none yet")
        await stage.until(lambda: stage.port.bound)
        assert stage.ups == 1
        assert await stage.outcome("a") == {"a": "id-a"}
    assert server.requests[0].headers["authorization"] == "Bearer t1"


async def test_a_grant_that_is_refused_keeps_the_port_down(caplog: pytest.LogCaptureFixture) -> None:
    """A person has to look; nothing is taken, and it is asked for now and then."""
    server = Server()
    server.tokens = [reply(400, b"")]
    async with staged(server, grant=True) as stage:
        await stage.until(lambda: len(server.asked) > 1)
        assert (stage.port.bound, stage.port.down_reason) == (False, "grant: 400")
    assert {record.levelname for record in caplog.records if "no grant" in record.message} == {"ERROR"}


async def test_a_token_that_is_refused_is_renewed_once_for_all() -> None:
    """401 was not accepted: the same messages go again with the new one."""

    async def only_t2(request: Request, writer: asyncio.StreamWriter) -> None:
        step = accept if request.headers["authorization"] == "Bearer t2" else reply(401, b"")
        await step(request, writer)

    server = Server(only_t2)
    server.tokens = [granted("t1"), granted("t2")]
    async with staged(server, grant=True) as stage:
        await stage.until(lambda: stage.port.bound)
        said = await stage.outcome(*"abcd")
    assert said == {text: f"id-{text}" for text in "abcd"}
    assert (len(server.asked), len(server.requests)) == (2, 8)


async def test_a_new_token_that_is_refused_too_stops_the_lane() -> None:
    """Then it is not the token."""
    server = Server(reply(401, b""))
    server.tokens = [granted("t1"), granted("t2")]
    async with staged(server, grant=True) as stage:
        await stage.until(lambda: stage.port.bound)
        assert await stage.outcome("a") == {"a": "stop http:401"}
    assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "said"), [(400, "stop 400"), (503, "throttled put-back")])
async def test_without_a_new_token_a_message_is_not_spent(status: int, said: str) -> None:
    """Credentials that are refused stop the lane; a token server that is away takes the port down until it is back."""
    server = Server(reply(401, b""))
    server.tokens = [granted("t1"), reply(status, b"")]
    async with staged(server, grant=True, reconnect_min_s=60, reconnect_max_s=60) as stage:
        await stage.until(lambda: stage.port.bound)
        assert await stage.outcome("a") == {"a": said}
        assert (stage.port.bound, stage.port.down_reason) == (False, f"grant: {status}")


async def test_a_grant_is_renewed_before_it_ends() -> None:
    """In the background: the port is never down for it, and does not begin slowly again."""
    server = Server()
    server.tokens = [granted("t1", 0.5), granted("t2")]
    async with staged(server, grant=True) as stage:
        await stage.until(lambda: stage.port.bound)
        await stage.until(lambda: stage.shared.grants.token != "t1")
        assert (stage.shared.grants.token, stage.ups) == ("t2", 1)
        assert await stage.outcome("a") == {"a": "id-a"}
    assert server.requests[0].headers["authorization"] == "Bearer t2"


async def test_a_clock_that_is_set_forward_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grant has ended by it; the task that renews it would sleep on for most of an hour."""
    server = Server()
    server.tokens = [granted("t1"), granted("t2")]
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr(http_grant, "time", clock)
    monkeypatch.setattr(http_grant, "_LOOK_S", 0.01)
    async with staged(server, grant=True) as stage:
        await stage.until(lambda: stage.port.bound)
        clock.time = lambda: time.time() + 7200
        assert not stage.port.bound
        await stage.until(lambda: stage.port.bound)
        assert (stage.shared.grants.token, stage.ups) == ("t2", 2)


async def test_a_grant_that_has_ended_when_it_comes_is_not_asked_for_at_once() -> None:
    """A server that gives nothing else is not hammered."""
    server = Server()
    server.tokens = [granted("t1", 0)]
    started = time.monotonic()
    async with staged(server, grant=True, reconnect_min_s=0.1, reconnect_max_s=0.1) as stage:
        await stage.until(lambda: len(server.asked) == 3)
        assert time.monotonic() - started > 0.2 - 0.01


async def test_slots_of_a_lane_share_its_grant() -> None:
    """A provider may take a token for void when it gives another."""
    server = Server()
    server.tokens = [granted("t1")]
    async with staged(server, grant=True) as stage:
        await stage.until(lambda: stage.port.bound)
        other = Stage(Plain(""))
        other.port = type(stage.port)(stage.shared, other.inbox, lambda: None)
        async with running(other):
            assert await other.outcome("b") == {"b": "id-b"}
    assert len(server.asked) == 1
