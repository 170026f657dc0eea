"""What people ask of all processes: what it means for a lane, and how it is shared, kept and told again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import pytest

from gateway.admin import Ask, Controls, aside_s, hold_of, limit_of
from gateway.errors import StoreUnavailable
from gateway.lane import Lane
from gateway.store import Patience, Script, Store
from tests.support.dispatching import configured, lease, message

LOSE = Script("return redis.call('DEL', cmsgpack.unpack(ARGV[1])[1])")
ROLL_BACK = Script("""
local a = cmsgpack.unpack(ARGV[1])
redis.call('DEL', a[1])
redis.call('HSET', a[1], 'version', 1, '["lane","brava"]', '[1.0,0.0]')
return 1
""")


# What it means.


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        ({}, inf),
        ({("lane", "andina"): Ask(1.0)}, 0.0),
        ({("lane", "brava"): Ask(1.0)}, inf),
        ({("rate", "andina"): Ask(1.0, 20.0)}, 20.0),
        ({("rate", "andina"): Ask(1.0, 20.0), ("lane", "andina"): Ask(1.0)}, 0.0),
    ],
)
def test_a_lane_may_write_what_people_leave_it(asked: dict[tuple[str, ...], Ask], limit: float) -> None:
    """A pause leaves nothing, whatever the rate was set to; that is back when the pause ends."""
    assert limit_of(asked, "andina") == limit


@pytest.mark.parametrize(
    ("key", "hold"),
    [
        (("campaign", "banco", "nov"), ("campaign", "banco/nov")),
        (("template", "andina", "otp", "es-CO"), ("template", "template:otp/es_CO")),
        (("template", "brava", "otp", "es"), None),
        (("lane", "andina"), None),
        (("rate", "andina"), None),
    ],
)
def test_campaigns_are_held_on_all_lanes_and_templates_on_theirs(
    key: tuple[str, ...], hold: tuple[str, str] | None
) -> None:
    """In the words of the lane's gate."""
    assert hold_of(key, "andina") == hold


@pytest.mark.parametrize(("lasted", "aside"), [(-5, 15), (0, 15), (60, 60), (900, 900), (86_400, 900)])
def test_messages_step_aside_for_as_long_as_the_pause_has_lasted(lasted: float, aside: float) -> None:
    """A short pause is over soon, and a long one does not ask a million messages every few seconds."""
    assert aside_s(Ask(1000.0), 1000.0 + lasted) == aside


def test_a_limit_of_people_holds_like_one_of_the_operator() -> None:
    """Together with the lease; a pause wakes nobody, and its end wakes at once."""
    (contract,) = configured({"andina": {"rate": 1000, "burst": 100}}).lanes.values()
    one = Lane(contract, 0.0)
    lease(one, 0.0)
    one.limit = 100.0
    one.tokens(1.0)
    assert one.tokens(1.0625).available(1.0625) == 6
    one.limit = 0.0
    assert (one.tokens(2.0).available(2.0), one.wait(2.0, 1)) == (0, inf)
    one.limit = inf
    assert one.tokens(3.0).available(3.0) == 100


@pytest.mark.parametrize(
    ("hold", "held"),
    [
        (("campaign", "banco/nov"), True),
        (("campaign", "otro/nov"), False),
        (("campaign", "banco/dic"), False),
        (("template", "template:otp/es"), True),
        (("template", "template:otp/pt"), False),
    ],
)
def test_a_gate_holds_what_is_paused_and_lets_it_go(hold: tuple[str, str], held: bool) -> None:
    """Campaigns of a tenant, templates in a language; nothing else waits."""
    (contract,) = configured({"andina": {}}).lanes.values()
    gate = Lane(contract, 0.0).gate
    content = '{"type":"template","template":{"name":"otp","language":{"code":"es"}}}'
    one = message(campaign="nov", tenant="banco", content=content, channel="whatsapp")
    gate.hold(*hold, 60.0)
    assert bool(gate.wait(one, 1, 10.0)) is held
    gate.release(*hold)
    assert gate.open
    assert gate.wait(one, 1, 10.0) == 0


# How it is shared.


@asynccontextmanager
async def processes(store_url: str, namespace: str, count: int = 2) -> AsyncIterator[list[Controls]]:
    """So many processes with the lanes andina and brava."""
    stores = [Store(store_url) for _ in range(count)]
    lanes = configured({"andina": {"rate": 1000}, "brava": {}}).lanes
    try:
        yield [
            Controls(store, f"{namespace}:", {name: Lane(each, 0.0) for name, each in lanes.items()}, _nothing)
            for store in stores
        ]
    finally:
        for store in stores:
            await store.close()


def _nothing() -> None:
    """Nobody sleeps."""


def limits(controls: Controls) -> dict[str, float]:
    return {name: each.limit for name, each in controls._lanes.items()}


async def look(controls: Controls) -> None:
    """What the loop does once a second."""
    await controls.load(Patience(controls._store))


async def test_what_one_is_asked_all_do_until_it_is_revoked(store_url: str, namespace: str) -> None:
    """The one at once, the others when they look; a process that starts knows it before it sends."""
    async with processes(store_url, namespace, 3) as (one, two, late):
        await one.change(("lane", "andina"), Ask(5.0))
        await two.change(("rate", "brava"), Ask(6.0, 20.0))
        await look(one)
        await look(late)
        for each in (one, two, late):
            assert limits(each) == {"andina": 0.0, "brava": 20.0}
        await late.change(("lane", "andina"), None)
        await look(one)
        assert limits(one) == {"andina": inf, "brava": 20.0}


async def test_who_resumes_a_lane_takes_back_a_rate_of_nothing_too(store_url: str, namespace: str) -> None:
    """It looks like a pause, wherever it was asked for; a rate that leaves something stays."""
    async with processes(store_url, namespace) as (one, two):
        await one.change(("rate", "andina"), Ask(5.0, 0.0))
        await one.change(("rate", "brava"), Ask(5.0, 20.0))
        await two.change(("lane", "andina"), None)
        await two.change(("lane", "brava"), None)
        assert limits(two) == {"andina": inf, "brava": 20.0}


async def test_campaigns_and_templates_are_held_and_let_go(store_url: str, namespace: str) -> None:
    """At the gates of all lanes, and shown in words."""
    async with processes(store_url, namespace) as (one, two):
        await one.change(("campaign", "banco", "nov"), Ask(time.time()))
        await one.change(("template", "andina", "otp", "es"), Ask(time.time()))
        await look(two)
        assert two.held == ("campaign banco/nov", "template andina/otp/es")
        gates = [each.gate for each in two._lanes.values()]
        of_campaign = message(campaign="nov", tenant="banco")
        waits = [gate.wait(of_campaign, 1, time.monotonic()) for gate in gates]
        assert all(10 < wait <= 15 for wait in waits)
        await one.change(("campaign", "banco", "nov"), None)
        await one.change(("template", "andina", "otp", "es"), None)
        await look(two)
        assert all(gate.open for gate in gates)


async def test_a_store_that_lost_its_memory_is_told_again(store_url: str, namespace: str) -> None:
    """By whoever comes first; what was revoked stays revoked."""
    async with processes(store_url, namespace) as (one, two):
        await one.change(("lane", "andina"), Ask(5.0))
        await one.change(("lane", "brava"), Ask(5.0))
        await one.change(("lane", "brava"), None)
        await look(two)
        await one._store.run(LOSE, (f"{namespace}:asked",))
        await look(two)
        async with processes(store_url, namespace, 1) as (late,):
            await look(late)
            assert limits(late) == limits(two) == {"andina": 0.0, "brava": inf}


async def test_a_store_with_an_older_memory_is_told_again(store_url: str, namespace: str) -> None:
    """A snapshot would pause what was resumed since."""
    async with processes(store_url, namespace) as (one, two):
        await one.change(("lane", "brava"), Ask(5.0))
        await one.change(("lane", "brava"), None)
        await one.change(("lane", "andina"), Ask(5.0))
        await look(two)
        await one._store.run(ROLL_BACK, (f"{namespace}:asked",))
        await look(one)
        await look(two)
        assert limits(one) == limits(two) == {"andina": 0.0, "brava": inf}


async def test_without_a_store_nothing_changes_and_whoever_asks_is_told(unused_store: str) -> None:
    """What was asked for holds on."""
    async with processes(unused_store, "x", 1) as (one,):
        one._learn([1, [b'["lane","andina"]', b"[5.0,0.0]", b"version", b"1"]])
        loop = asyncio.create_task(one.run())
        with pytest.raises(StoreUnavailable):
            await one.change(("lane", "andina"), None)
        loop.cancel()
        await asyncio.wait([loop])
        assert limits(one) == {"andina": 0.0, "brava": inf}


@pytest.fixture
def unused_store() -> str:
    """A store that is not there."""
    return "redis://127.0.0.1:1"
