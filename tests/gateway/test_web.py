"""The admin port: what it shows to everybody, and what it does for whoever has the token."""

from __future__ import annotations

import asyncio
import json
import logging
from math import inf
from urllib.parse import quote

import msgspec
import pytest

from gateway import web
from gateway.admin import Ask
from gateway.log import Sampling
from gateway.status import WorkerStatus
from tests.support.admin import TOKEN, served
from tests.support.dispatching import slot_of

# Looking.


async def test_looking_needs_no_token() -> None:
    """Nothing there tells of people."""
    async with served(token="") as site:
        assert await site.get("/healthz") == (200, "ok\n")
        status, text = await site.get("/metrics")
        assert (status, 'recado_lane_contract_rate{lane="andina"} 50.0' in text) == (200, True)
        assert "process_cpu_seconds_total" in text


async def test_a_worker_that_cannot_carry_messages_is_not_ready_and_says_why() -> None:
    """A load balancer reads the status, a person the reasons."""
    async with served() as site:
        assert await site.get("/readyz") == (200, "ready\n")
        slot = slot_of(site.worker.lanes["andina"], 1, site.worker.inbox)
        slot.port.bound, slot.port.down_reason = False, "connect: refused"  # type: ignore[misc]
        site.worker.dispatcher.slots["andina", 1] = slot
        site.worker.outbox.away = {"recado.events", "recado.lane.andina.bulk"}
        assert await site.get("/readyz") == (
            503,
            "kafka is away: recado.events, recado.lane.andina.bulk\nlane andina slot 1: connect: refused\n",
        )


async def test_a_worker_that_can_send_and_does_not_hear_is_not_ready() -> None:
    """A receiver that is down is a bind that is missing."""
    async with served() as site:
        slot = slot_of(site.worker.lanes["andina"], 1, site.worker.inbox)
        slot.port.down_reason = "already_bound: ESME_RALYBND"  # type: ignore[misc]
        site.worker.dispatcher.slots["andina", 1] = slot
        assert await site.get("/readyz") == (503, "lane andina slot 1: already_bound: ESME_RALYBND\n")


async def test_a_worker_that_has_not_started_says_so() -> None:
    """It can be looked at all the same: a store that is away at the start is seen."""
    async with served(started=False) as site:
        site.worker.patience.away = True
        assert await site.get("/healthz") == (503, "starting\n")
        assert await site.get("/readyz") == (503, "starting\nthe store is away\n")
        assert "recado_store_away 1.0" in (await site.get("/metrics"))[1]
        assert json.loads((await site.get("/lanes"))[1])["problems"] == ["starting", "the store is away"]


async def test_lanes_are_shown_as_values() -> None:
    """As `recado lanes` reads them."""
    async with served() as site:
        site.worker.dispatcher.slots["andina", 0] = slot_of(site.worker.lanes["andina"], 0, site.worker.inbox)
        site.worker.lanes["brava"].limit = 0.0
        status, text = await site.get("/lanes")
    found = msgspec.json.decode(text, type=WorkerStatus)
    andina, brava = found.lanes
    assert (status, andina.lane, andina.contract_rate, andina.limit_rate) == (200, "andina", 50, None)
    assert [(slot.slot, slot.up, slot.window) for slot in andina.slots] == [(0, True, 10)]
    assert (brava.limit_rate, brava.paused) == (0, True)


@pytest.mark.parametrize("path", ["/lanes/andina/pause", "/drain", "/nothing"])
async def test_a_look_does_nothing(path: str) -> None:
    """A crawler that follows links stops no lane."""
    async with served() as site:
        assert (await site.get(path))[0] in (404, 405)
        assert not site.drained.is_set()


# Doing.


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN}]
)
@pytest.mark.parametrize("path", ["/lanes/andina/pause", "/lanes/andina/rate", "/drain"])
async def test_without_the_token_nothing_is_done(path: str, headers: dict[str, str]) -> None:
    """And whoever asks is told no more than that."""
    async with served() as site:
        assert await site.post(path, headers=headers) == (401, "the token is missing or wrong")
        assert (site.worker.controls.asked, site.drained.is_set()) == ({}, False)


async def test_where_no_token_is_configured_there_are_no_actions() -> None:
    """An empty one does not open them."""
    async with served(token="") as site:
        for headers in ({}, {"Authorization": "Bearer "}):
            status, said = await site.post("/lanes/andina/pause", headers=headers)
            assert (status, "admin.token_env" in said) == (403, True)


async def test_a_lane_is_paused_and_resumed(store_url: str, namespace: str) -> None:
    """Asking twice for a pause is as good as once, and it counts from the first time."""
    async with served(store_url, namespace) as site:
        lane = site.worker.lanes["andina"]
        assert await site.post("/lanes/andina/pause") == (200, "done")
        first = site.worker.controls.asked["lane", "andina"]
        assert await site.post("/lanes/andina/pause") == (200, "done")
        assert (lane.limit, site.worker.controls.asked["lane", "andina"]) == (0.0, first)
        assert await site.post("/lanes/andina/resume") == (200, "done")
        assert lane.limit == inf
        assert site.worker.controls.counts == {("pause", "done"): 2, ("resume", "done"): 1}


async def test_what_is_not_paused_is_not_resumed(store_url: str, namespace: str) -> None:
    """Who forgets the tenant would believe that the campaign goes on; what is paused is named."""
    async with served(store_url, namespace) as site:
        assert await site.post("/campaigns//nov/resume") == (404, "nobody has paused it; paused: nothing")
        await site.post("/campaigns/banco/nov/pause")
        await site.post("/templates/andina/otp/es_CO/pause")
        await site.post("/lanes/brava/rate", '{"rate": 0}')
        await site.post("/lanes/andina/rate", '{"rate": 20}')
        paused = "campaign banco/nov, lane brava, template andina/otp/es_CO"
        for path in ("/campaigns//nov", "/templates/andina/otp/es", "/lanes/andina"):
            assert await site.post(f"{path}/resume") == (404, f"nobody has paused it; paused: {paused}")
        assert len(site.worker.controls.asked) == 4
        assert await site.post("/lanes/brava/resume") == (200, "done")
        assert await site.post("/campaigns/banco/nov/resume") == (200, "done")


async def test_what_was_paused_elsewhere_a_moment_ago_is_resumed(store_url: str, namespace: str) -> None:
    """Though this worker has not heard of it yet."""
    async with served(store_url, namespace) as here, served(store_url, namespace) as there:
        assert await here.post("/campaigns/banco/nov/pause") == (200, "done")
        assert await there.post("/campaigns/banco/nov/resume") == (200, "done")
        assert await here.post("/campaigns/banco/nov/resume") == (404, "nobody has paused it; paused: nothing")


@pytest.mark.parametrize(
    ("body", "status", "limit"),
    [
        ('{"rate": 20}', 200, 20.0),
        ('{"rate": 0}', 200, 0.0),
        ('{"rate": 50}', 200, 50.0),
        ('{"rate": null}', 200, inf),
        ('{"rate": 51}', 400, inf),
        ('{"rate": -1}', 400, inf),
        ('{"rate": "20"}', 400, inf),
        ('{"rate": NaN}', 400, inf),
        ('{"rate": 20, "burst": 5}', 400, inf),
        ("{}", 400, inf),
        ("\xff", 400, inf),
        (" " * 5000, 413, inf),
    ],
)
async def test_a_rate_is_lowered_within_the_contract(
    store_url: str, namespace: str, body: str, status: int, limit: float
) -> None:
    """More than that is for the configuration; what cannot be read changes nothing."""
    async with served(store_url, namespace) as site:
        assert (await site.post("/lanes/andina/rate", body))[0] == status
        assert site.worker.lanes["andina"].limit == limit


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the token and dies meanwhile leaves nothing behind."""
    monkeypatch.setattr(web, "_BODY_S", 0.01)
    async with served() as site:
        host, _, port = site.base.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /lanes/andina/rate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n"
        )
        writer.write(head.encode())
        assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()
        await writer.wait_closed()


async def test_templates_and_campaigns_are_paused_by_their_names(store_url: str, namespace: str) -> None:
    """Which are quoted in the path; who has no tenant leaves it empty."""
    async with served(store_url, namespace) as site:
        assert await site.post("/templates/andina/otp/es_CO/pause") == (200, "done")
        assert await site.post("/campaigns/banco/black%20friday%2F25/pause") == (200, "done")
        assert await site.post("/campaigns//nov/pause") == (200, "done")
        assert set(site.worker.controls.asked) == {
            ("template", "andina", "otp", "es_CO"),
            ("campaign", "banco", "black friday/25"),
            ("campaign", "", "nov"),
        }
        assert await site.post("/campaigns//nov/resume") == (200, "done")
        assert len(site.worker.controls.asked) == 2


@pytest.mark.parametrize("campaign", ["{x}", "a}/{b", "..", "50%", "a?b#c", "a;b", "ñ 1"])
async def test_a_campaign_may_have_any_name(store_url: str, namespace: str, campaign: str) -> None:
    """Publishers make them from templates of their own."""
    async with served(store_url, namespace) as site:
        assert await site.post(f"/campaigns/{quote(campaign, safe='')}/{quote(campaign, safe='')}/pause") == (
            200,
            "done",
        )
        assert set(site.worker.controls.asked) == {("campaign", campaign, campaign)}


async def test_a_pause_holds_that_was_taken_back_elsewhere_a_moment_ago(store_url: str, namespace: str) -> None:
    """Of which this worker has not heard yet: what is asked for last holds."""
    async with served(store_url, namespace) as here, served(store_url, namespace) as there:
        assert await here.post("/lanes/andina/pause") == (200, "done")
        await there.worker.controls.load(there.worker.patience)
        assert await there.post("/lanes/andina/resume") == (200, "done")
        assert await here.post("/lanes/andina/pause") == (200, "done")
        await there.worker.controls.load(there.worker.patience)
        assert there.worker.lanes["andina"].limit == 0.0


@pytest.mark.parametrize(
    ("key", "path"),
    [(("template", "gone", "otp", "es"), "/templates/gone/otp/es"), (("lane", "gone"), "/lanes/gone")],
)
async def test_what_was_paused_of_a_lane_that_is_gone_is_resumed(
    store_url: str, namespace: str, key: tuple[str, ...], path: str
) -> None:
    """Or it would be paused for ever, and an alert say so; a name that nobody has paused is a mistake all the same."""
    async with served(store_url, namespace) as site:
        await site.worker.controls.change(key, Ask(1.0))
        assert await site.post(f"{path}/pause") == (404, "there is no lane gone")
        assert await site.post(f"{path}/resume") == (200, "done")
        assert site.worker.controls.asked == {}
        assert await site.post(f"{path}/resume") == (404, "there is no lane gone")


@pytest.mark.parametrize("path", ["/lanes/nowhere/pause", "/lanes/nowhere/rate", "/templates/nowhere/otp/es/pause"])
async def test_a_lane_that_is_not_there_is_told(path: str) -> None:
    """A mistyped name must not look like a pause."""
    async with served() as site:
        assert await site.post(path, '{"rate": 1}') == (404, "there is no lane nowhere")


async def test_without_a_store_nothing_is_promised() -> None:
    """Other processes would not do it."""
    async with served() as site:
        for what in ("pause", "resume"):
            assert await site.post(f"/lanes/andina/{what}") == (503, "the store is away, ask again")
        assert site.worker.lanes["andina"].limit == inf


async def test_draining_stops_the_process_once() -> None:
    """After the answer; from then on it is not ready."""
    async with served() as site:
        assert await site.post("/drain") == (200, "done")
        assert await site.get("/readyz") == (503, "draining\n")
        await asyncio.wait_for(site.drained.wait(), 5)
        site.drained.clear()
        assert await site.post("/drain") == (200, "done")
        await asyncio.sleep(0.2)
        assert not site.drained.is_set()


async def test_every_action_leaves_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Who asked for what, and what came of it; never the token."""
    with caplog.at_level(logging.WARNING, "gateway.admin"):
        async with served() as site:
            await site.post("/drain")
            await site.post("/campaigns/a/%0Ainjected=1/resume")
            await site.post("/campaigns/a/%0Ainjected=1/pause", headers={"Authorization": "Bearer nearly"})
    lines = [each.getMessage() for each in caplog.records if each.name == "gateway.admin"]
    assert lines == [
        "action path=/drain remote=127.0.0.1 status=200 result='done'",
        "action path=/campaigns/a/%0Ainjected=1/resume remote=127.0.0.1 status=503 result='the store is away, ask again'",
        "action path=*/pause remote=127.0.0.1 status=401 result='the token is missing or wrong'",
    ]


async def test_every_action_leaves_its_line_however_often(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A third pause within a minute is no repetition of the second. Who has no token could fill a disk."""
    async with served(store_url, namespace) as site:
        for _ in range(5):
            await site.post("/lanes/andina/pause")
            await site.post("/lanes/andina/resume")
            await site.post("/lanes/nowhere/pause")
        for number in range(5):
            await site.post(f"/lanes/{number}/pause", headers={})
    sampling = Sampling()
    written = [each.getMessage() for each in caplog.records if sampling.filter(each)]
    assert sum("status=200" in line for line in written) == 10
    assert sum("status=404" in line for line in written) == 5
    assert sum("status=401" in line for line in written) == 3
    assert sum("asked for lane=andina" in line for line in written) == 10


async def test_problems_are_json_for_programs() -> None:
    """What is read by others stays as it is: names of fields are a contract."""
    async with served() as site:
        _, text = await site.get("/lanes")
    assert set(json.loads(text)) == {"version", "deployment", "problems", "jobs_backlog", "held", "lanes"}
    assert {"lane", "contract_rate", "effective_rate", "written", "slots", "queues"} <= set(
        json.loads(text)["lanes"][0]
    )
