"""What callbacks say of accounts, templates and numbers reaches what it is about, in all processes; the rest of Meta is e2e."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.app import Worker
from gateway.config import Config, loads
from gateway.correlation import Sent
from gateway.model import TrafficClass
from gateway.providers.contract import Change
from gateway.providers.whatsapp import failure_of

TEMPLATE = "template:payment_due/es_MX"
PAUSED = Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE")


def config_of(store_url: str, namespace: str, lanes: dict[str, tuple[str, str, str]]) -> Config:
    """Lanes of WhatsApp: by name their account with us, their WABA, and their portfolio."""
    text = f"""
        [kafka]
        bootstrap = "localhost:9092"
        prefix = "{namespace}"
        [store]
        url = "{store_url}"
        [[routes]]
        lane = "{next(iter(lanes))}"
        channel = "whatsapp"
    """
    for number, (name, (account, waba_id, portfolio)) in enumerate(lanes.items()):
        text += f"""
            [portfolios.{portfolio}-{name}]
            [lanes.{name}]
            provider = "whatsapp"
            account = "{account}"
            portfolio = "{portfolio}-{name}"
            [lanes.{name}.whatsapp]
            phone_number_id = "10{number}"
            waba_id = "{waba_id}"
            token_env = "SECRET"
            app_secret_env = "SECRET"
            verify_token_env = "SECRET"
        """
    return loads(text, {"SECRET": "secret"})


@asynccontextmanager
async def workers(config: Config, count: int = 1) -> AsyncIterator[list[Worker]]:
    """Workers that carry nothing, over one store."""
    made = [Worker(config) for _ in range(count)]
    try:
        yield made
    finally:
        for worker in made:
            await worker.stop()


ALPHA = {"alpha": ("app", "", "p")}
TWO = {
    "alpha": ("app", "1", "p"),
    "beta": ("app", "2", "p"),
    "gamma": ("app", "2", "p"),
    "other": ("elsewhere", "", "p"),
}


def held(worker: Worker, now: float) -> set[str]:
    """Lanes on which the template cannot be sent."""
    conditions = worker.meta.board.conditions
    return {
        name
        for name, lane in worker.lanes.items()
        if lane.number and conditions.template_state(lane.number.whose.account, TEMPLATE, now).standing != "ok"
    }


def limits(worker: Worker) -> dict[str, int | None]:
    return {name: lane.number.recipients for name, lane in worker.lanes.items() if lane.number}


@pytest.mark.parametrize(
    ("lanes", "account", "reached"),
    [
        (TWO, "1", {"alpha"}),
        (TWO, "2", {"beta", "gamma"}),
        (TWO, "3", set()),
        ({**TWO, "delta": ("app", "", "p")}, "1", {"alpha"}),
        ({**TWO, "delta": ("app", "", "p")}, "3", {"delta"}),
        (ALPHA, "3", {"alpha"}),
        (ALPHA, "", {"alpha"}),
        (TWO, "", {"alpha", "beta", "gamma"}),
    ],
)
async def test_a_change_is_for_the_lanes_of_its_business_account(
    store_url: str, namespace: str, lanes: dict[str, tuple[str, str, str]], account: str, reached: set[str]
) -> None:
    """Of one app, whichever lane's address it has; templates and limits of another account are not theirs."""
    async with workers(config_of(store_url, namespace, lanes)) as (worker,):
        changes = [PAUSED, Change("portfolio", "limit", "TIER_2K")]
        changes = [Change(each.subject, each.what, each.value, each.detail, account) for each in changes]
        await worker.meta.changed("alpha", changes)
        assert held(worker, time.time()) == reached
        assert {name for name, limit in limits(worker).items() if limit == 2000} == reached


def sent(lane: str = "alpha", template: str = TEMPLATE, at: float = 0.0) -> Sent:
    return Sent(
        "+57300", "m", "j", "", "", TrafficClass.BULK, lane, 1, channel="whatsapp", at=int(at), template=template
    )


async def test_a_template_that_a_callback_says_is_paused_waits_everywhere(store_url: str, namespace: str) -> None:
    """As if it had been the answer; from when the message was written, however often it is said."""
    now = time.time()
    async with workers(config_of(store_url, namespace, TWO), 2) as (one, other):
        await one.meta.refused([(sent("beta", at=now), "132015")] * 3)
        await other.meta.refused([(sent("beta", at=now), "132015")])
        await other.meta.load()
        assert held(one, now + 3 * 3600 - 5) == held(other, now + 3 * 3600 - 5) == {"beta", "gamma"}
        assert held(one, now + 3 * 3600 + 5) == held(other, now + 3 * 3600 + 5) == set()


async def test_a_template_that_was_approved_since_is_not_held(store_url: str, namespace: str) -> None:
    """What failed had been written before."""
    now = time.time()
    async with workers(config_of(store_url, namespace, ALPHA)) as (worker,):
        await worker.meta.changed("alpha", [Change(TEMPLATE, "status", "APPROVED")])
        await worker.meta.refused([(sent(at=now - 60), "132015")])
        assert held(worker, now) == set()


async def test_a_number_that_a_callback_says_is_restricted_waits_everywhere(store_url: str, namespace: str) -> None:
    """131048, the spam limit: for an hour, and no other number."""
    now = time.time()
    async with workers(config_of(store_url, namespace, TWO), 2) as (one, other):
        await one.meta.refused([(sent("beta", at=now), "131048")])
        await other.meta.load()
        for worker in (one, other):
            numbers = {name: lane.number for name, lane in worker.lanes.items() if lane.number}
            states = {name: worker.meta.board.conditions.number_state(n.whose, now) for name, n in numbers.items()}
            assert {name for name, state in states.items() if state.standing == "held"} == {"beta"}
            assert not worker.lanes["beta"].stopped


async def test_a_callback_stops_a_number_everywhere_until_somebody_reloads(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """131042, the bill is not paid; also for who starts later, and what is told late of a message from before is no news."""
    caplog.set_level(logging.INFO, "gateway.conditions")
    now = time.time()
    config = config_of(store_url, namespace, TWO)

    def stopped(worker: Worker) -> dict[str, str]:
        return {name: lane.stopped for name, lane in worker.lanes.items() if lane.stopped}

    async with workers(config, 3) as (one, other, late):
        await one.meta.refused([(sent("beta", at=now - 5), "131042")] * 2)
        await other.meta.load()
        assert stopped(one) == stopped(other) == {"beta": "131042"}
        other.reload(config)
        await other.meta.refused([(sent("beta", at=now - 4), "131042")])
        assert stopped(other) == {}
        await late.meta.load()
        assert stopped(late) == {}
        await late.meta.refused([(sent("beta", at=time.time() + 1), "131042")])
        await other.meta.load()
        assert stopped(late) == stopped(other) == {"beta": "131042"}
    assert caplog.text.count("condition subject=number:101 stopped=''") == 1


async def test_one_reload_lets_all_stopped_numbers_go_on(store_url: str, namespace: str) -> None:
    """What is told of the first does not stop the second again."""
    config = config_of(store_url, namespace, TWO)
    async with workers(config) as (worker,):
        at = time.time() - 5
        await worker.meta.refused([(sent("alpha", at=at), "131042"), (sent("beta", at=at), "131031")])
        assert {lane.name: lane.stopped for lane in worker.lanes.values() if lane.stopped} == {
            "alpha": "131042",
            "beta": "131031",
        }
        worker.reload(config)
        assert not any(lane.stopped for lane in worker.lanes.values())
        await worker.meta.load()
        assert not any(lane.stopped for lane in worker.lanes.values())


@pytest.mark.parametrize(
    ("code", "everywhere"), [(131042, True), (131031, True), (133010, True), (190, False), (0, False), (131005, False)]
)
async def test_an_answer_stops_a_number_everywhere_unless_it_is_for_the_token(
    store_url: str, namespace: str, code: int, everywhere: bool
) -> None:
    """As a callback does, and after a restart. A token is a process's own, and a restart is what brings another."""
    failure = failure_of(code)
    assert failure is not None
    async with workers(config_of(store_url, namespace, TWO), 2) as (one, other):
        one.lanes["beta"].stop(failure)
        assert one.lanes["beta"].stopped == str(code)
        await one.meta.board.safe()
        await other.meta.load()
        stopped = {name: lane.stopped for name, lane in other.lanes.items() if lane.stopped}
        assert stopped == ({"beta": str(code)} if everywhere else {})


@pytest.mark.parametrize("code", ["131026", "131049", "100", "131056", "", "x", "-1", "9" * 40, "²"])
async def test_what_is_about_one_message_holds_nothing_up(store_url: str, namespace: str, code: str) -> None:
    """A person, a rate, or a code that nobody knows."""
    now = time.time()
    async with workers(config_of(store_url, namespace, ALPHA)) as (worker,):
        await worker.meta.refused([(sent(at=now), code), (sent("gone", at=now), "132015")])
        assert held(worker, now) == set()
        assert list(worker.meta.board.conditions.facts()) == []
