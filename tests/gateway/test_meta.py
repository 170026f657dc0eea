"""What callbacks say of accounts, templates and numbers reaches what it is about, in all processes; the rest of Meta is e2e."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from gateway import board
from gateway.app import Worker
from gateway.board import Polled
from gateway.carrier import HttpCarrier
from gateway.config import Config, loads
from gateway.correlation import Sent
from gateway.flight import Queue
from gateway.lane import Slot
from gateway.meta import Meta
from gateway.model import Message, TrafficClass
from gateway.portfolio import Wish
from gateway.providers.contract import Call, Change, Reply
from gateway.providers.whatsapp import WhatsApp, failure_of

TEMPLATE = "template:payment_due/es_MX"
PAUSED = Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE")


def config_of(
    store_url: str, namespace: str, lanes: dict[str, tuple[str, str, str]], of_lane: str = "", reserve: str = ""
) -> Config:
    """Lanes of WhatsApp: by name their account with us, their WABA, and their portfolio; what each says besides, and keeps."""
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
            {reserve}
            [lanes.{name}]
            provider = "whatsapp"
            account = "{account}"
            portfolio = "{portfolio}-{name}"
            {of_lane}
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


async def test_a_callback_that_comes_again_to_another_process_undoes_nothing(store_url: str, namespace: str) -> None:
    """That has not even read what was said since: what Meta said last counts in both, and for who starts later."""
    now = time.time()
    async with workers(config_of(store_url, namespace, ALPHA), 3) as (one, other, late):
        await one.meta.changed("alpha", [Change(TEMPLATE, "status", "APPROVED", "UNPAUSE", at=int(now - 60))])
        await other.meta.changed("alpha", [Change(TEMPLATE, "status", "PAUSED", "FIRST_PAUSE", at=int(now - 3600))])
        for worker in (one, other, late):
            await worker.meta.load()
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


async def test_a_reload_changes_what_a_person_may_get(store_url: str, namespace: str) -> None:
    """Of the lane's own gate too; and with no limit before, who was here may have written, as at a start."""

    def went(worker: Worker, person: str) -> int:
        gate = worker.lanes["alpha"].gate
        message = Message("m", person, "", "", "j", "", "", TrafficClass.BULK, 0.0, "0:0:0", 0.0)
        now = time.monotonic()
        return sum(not gate.wait(message, 1, now) for _ in range(100))

    def config(pair: str) -> Config:
        return config_of(store_url, namespace, ALPHA, of_lane=f"pair = {pair}")

    async with workers(config("{ every_s = 1000, burst = 45 }")) as (worker,):
        assert went(worker, "+57300") == 1
        worker.reload(config("{ every_s = 1000, burst = 50 }"))
        assert went(worker, "+57300") == 5
        assert went(worker, "+57301") == 6
        worker.reload(config("{ every_s = 0 }"))
        assert went(worker, "+57300") == 100
        worker.reload(config("{ every_s = 1000, burst = 45 }"))
        assert went(worker, "+57300") == 1


async def test_a_reload_changes_what_is_kept_of_a_portfolio(store_url: str, namespace: str) -> None:
    """What others have reserved stays: of 250 places bulk had 150, and gets 50 more."""
    wishes = [Wish(f"+{n}", f"t/{n}/1", TrafficClass.BULK) for n in range(250)]
    config = config_of(store_url, namespace, ALPHA, reserve="reserve = { otp = 0.4 }")
    async with workers(config) as (worker,):
        portfolio = worker.meta.portfolios["p-alpha"]
        now = int(time.time() * 1000)
        assert sum(answer.placed for answer in await portfolio.reserve(250, wishes, now)) == 150
        worker.reload(config_of(store_url, namespace, ALPHA, reserve="reserve = { otp = 0.2 }"))
        assert sum(answer.placed for answer in await portfolio.reserve(250, wishes, now)) == 200


async def test_a_reload_changes_how_often_health_is_asked_for(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the loop that runs, by the shortest time of all lanes."""
    asked = 0

    async def answer(_: Call) -> Reply:
        nonlocal asked
        asked += 1
        return Reply(200, {}, b"{}")

    def polled(meta: Meta) -> list[Polled]:
        (number,) = (lane.number for lane in worker.lanes.values() if lane.number)
        carrier = worker.lanes["alpha"].carrier
        assert isinstance(carrier, HttpCarrier)
        assert isinstance(carrier.provider, WhatsApp)
        return [Polled("alpha", carrier.provider, answer, number.whose)]

    monkeypatch.setattr(board, "_LOOK_S", 0.01)
    monkeypatch.setattr(Meta, "_polled", polled)
    async with workers(config_of(store_url, namespace, ALPHA, of_lane="poll_s = 3600")) as (worker,):
        loops = dict(worker.meta.loops())
        health = asyncio.create_task(loops.pop("health"))
        for other in loops.values():
            other.close()
        await asyncio.sleep(0.1)
        assert asked == 1
        worker.reload(config_of(store_url, namespace, ALPHA, of_lane="poll_s = 0.05"))
        await asyncio.sleep(0.3)
        health.cancel()
        assert asked > 2


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


@pytest.mark.parametrize("idle", ["stopped", "paused", "red"])
async def test_what_cannot_be_sent_keeps_no_place_from_others(store_url: str, namespace: str, idle: str) -> None:
    """Passwords wait on a number that is not to send; advertising over another one of its portfolio has all places."""
    config = config_of(store_url, namespace, TWO)
    async with workers(config) as (worker,):
        lane = worker.lanes["alpha"]
        assert lane.number is not None
        slot = Slot(lane, 0, worker.inbox)
        for class_ in (TrafficClass.TRANSACTIONAL, TrafficClass.BULK):
            queue = Queue(TopicPartition(f"{namespace}.{class_}", 0), slot, class_)
            queue.owned = True
            queue.records.extend([cast("ConsumerRecord", None)] * 3)
            slot.queue(queue)
        worker.dispatcher.slots["alpha", 0] = slot
        assert [one.count for one in await worker.meta._waiting()] == [3, 3]
        if idle == "stopped":
            lane.stopped = "131042"
        elif idle == "paused":
            lane.limit = 0.0
        else:
            worker.meta.board.changed([Change("number:100", "quality", "RED")], lane.number.whose, time.time())
        left = [one.class_ for one in await worker.meta._waiting()]
        worker.dispatcher.slots.clear()  # what was made up is not to be drained
        assert left == ([TrafficClass.TRANSACTIONAL] if idle == "red" else [])


async def test_what_nothing_follows_from_is_in_the_log(
    store_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however many lanes hear of it; what people want, and what an error quotes, is not."""
    says = [
        Change("account:2", "event", "ACCOUNT_VIOLATION", account="2"),
        Change("account:2", "violation", "SCAM", account="2"),
        Change("number:101", "alert", "INCREASED_CAPABILITIES_ELIGIBILITY_FAILED", "CRITICAL", account="2"),
        Change(TEMPLATE, "next_category", "MARKETING", "1746082800", account="2"),
        Change("number:101", "error", "131052", "could not load +573001234567", account="2"),
        Change("recipient:+573001234567", "marketing_messages", "stop", account="2"),
    ]
    async with workers(config_of(store_url, namespace, TWO)) as (worker,):
        await worker.meta.changed("beta", says)
    lines = [record.getMessage() for record in caplog.records if record.name == "gateway.meta"]
    assert lines == [
        f"Meta says subject={subject} {what}='{value}'"
        for subject, what, value in [
            ("account:2", "event", "ACCOUNT_VIOLATION"),
            ("account:2", "violation", "SCAM"),
            ("number:101", "alert", "INCREASED_CAPABILITIES_ELIGIBILITY_FAILED"),
            (TEMPLATE, "next_category", "MARKETING"),
            ("number:101", "error", "131052"),
        ]
    ]


@pytest.mark.parametrize("code", ["131026", "131049", "100", "131056", "", "x", "-1", "9" * 40, "²"])
async def test_what_is_about_one_message_holds_nothing_up(store_url: str, namespace: str, code: str) -> None:
    """A person, a rate, or a code that nobody knows."""
    now = time.time()
    async with workers(config_of(store_url, namespace, ALPHA)) as (worker,):
        await worker.meta.refused([(sent(at=now), code), (sent("gone", at=now), "132015")])
        assert held(worker, now) == set()
        assert list(worker.meta.board.conditions.facts()) == []
