"""WhatsApp's four limits: how people rate a number, whom a portfolio reaches in a day, how fast a number is, its templates."""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from gateway.model import EventStatus, TrafficClass
from gateway.number import Number
from gateway.shortage import is_news
from gateway.simulators import Behaviour, Limits, TemplateState
from gateway.simulators.record import max_distinct
from tests.support.arrivals import looking_closely
from tests.support.meta import NUMBER, on_whatsapp, received, reminder, words
from tests.support.stage import Stages, people

DAY_S = 86_400
LONG = bool(os.environ.get("RECADO_TEST_LONG"))
PEOPLE = 250
"""What a portfolio reaches in a day, in these tests."""
SMALL = Limits(throughput_mps=1000, messaging_limit=PEOPLE)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held, or has no place, asks again after a second."""
    monkeypatch.setattr("gateway.number._AGAIN_S", 1.0)
    monkeypatch.setattr("gateway.portfolio._LONGEST_S", 1.0)


def number_of(worker: object) -> Number:
    number = worker.lanes["wa"].number  # type: ignore[attr-defined]
    assert isinstance(number, Number)
    return number


@pytest.mark.alone
async def test_red_pauses_bulk_and_slows_passwords_until_it_is_green_again(stage: Stages) -> None:
    """No callback says the rating: it is asked for."""
    bulk, otp = people("bulk", 400), people("otp", 20, 1000)
    async with on_whatsapp(stage, lane={"rate": 200, "poll_s": 1}) as meta, meta.site.worker() as worker:
        site, number = meta.site, number_of(worker)
        await site.publish(reminder("bulk", bulk.values()))
        await site.until(lambda: len(meta.record) > 20)
        meta.end.set_quality(NUMBER, "RED")
        await site.until(lambda: number.quality == "RED")
        await site.until(lambda: not any(slot.port.in_flight for slot in worker.dispatcher.slots.values()))
        before = received(meta.record, bulk)
        busy = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - busy < 0.2  # it waits, and does not ask all the time
        await site.publish(reminder("otp", otp.values(), **{"class": "otp"}))
        await site.tally.until_ended(otp)
        assert received(meta.record, bulk) == before
        assert len(before) < len(bulk)
        moments = [one.at for one in meta.record.arrivals() if f"+{one.recipient}" in otp.values()]
        assert moments[-1] - moments[0] > 0.5  # a tenth of the rate: 20 a second
        meta.end.set_quality(NUMBER, "GREEN")
        await site.tally.until_ended(bulk)
        assert received(meta.record, bulk | otp) == dict.fromkeys(bulk | otp, 1)


async def test_what_meta_says_is_known_to_all_processes_and_after_a_restart(stage: Stages, soon: None) -> None:
    """A limit, a template's pause and a rating: within a second, and to one that starts while Meta is away."""
    sent, others = people("j", 20), people("others", 5, 1000)
    paused = "account:waba/template:payment_due/es_MX"
    templates = {("payment_due", "es_MX"): TemplateState(), ("welcome", "es_MX"): TemplateState()}

    def knows(worker: object) -> bool:
        number = number_of(worker)
        state = worker.meta.board.conditions.fact(paused, "status")  # type: ignore[attr-defined]
        return (number.recipients, number.quality) == (3, "YELLOW") and state is not None and "PAUSED" in state.value

    async with on_whatsapp(stage, templates=templates, lane={"slots": 2, "poll_s": 1}) as meta:
        site = meta.site
        async with site.worker("a") as a:
            async with site.worker("b") as b:
                assert not knows(a)
                meta.end.set_quality(NUMBER, "YELLOW")
                meta.tell(*meta.end.set_limit(3))
                meta.tell(*meta.end.set_template("payment_due", "es_MX", {"status": "PAUSED"}, "NONE"))
                await meta.taken()
                await site.until(lambda: knows(a) and knows(b), 3)
            await site.until(lambda: len(a.slots.slots) == 2)
        await meta.simulator.refuse()
        async with site.worker("c") as c:
            assert knows(c)
            await site.publish(reminder("j", sent.values()), reminder("others", others.values(), template="welcome"))
            await meta.simulator.listen()
            await site.until(lambda: len(meta.record) == 3)
            assert len(received(meta.record, others)) == 3
            meta.tell(*meta.end.set_limit(10_000))
            await site.tally.until_ended(others)
            assert not received(meta.record, sent)
            meta.tell(*meta.end.set_template("payment_due", "es_MX", {"status": "APPROVED"}, "NONE"))
            await site.tally.until_ended(sent)
        assert received(meta.record, sent | others) == dict.fromkeys(sent | others, 1)
        assert not meta.record.counts.refused


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("limit", "count"),
    [
        (PEOPLE, 600),
        pytest.param(2000, 10_000, marks=pytest.mark.skipif(not LONG, reason="two minutes: RECADO_TEST_LONG=1")),
    ],
)
async def test_three_processes_reach_as_many_people_in_a_day_as_the_portfolio_may(
    stage: Stages, limit: int, count: int
) -> None:
    """Exactly so many, through kill -9 of one of them; a day later as many again, and in no 24 hours more."""
    shift = 0.0
    sent = people("j", count)
    async with (
        on_whatsapp(
            stage,
            Behaviour(latency_s=0.02, sent_s=0.02),
            limits=Limits(throughput_mps=1000, messaging_limit=limit),
            limit=limit,
            lane={"slots": 6, "rate": 400},
            clock=lambda: time.monotonic() + shift,
        ) as meta,
        AsyncExitStack() as running,
    ):
        site = meta.site
        gateways = [
            await running.enter_async_context(site.process(name, module="tests.support.stepping")) for name in "abc"
        ]
        await site.until(lambda: all("slots owned=2" in gateway.log_text() for gateway in gateways))
        await site.publish(reminder("j", sent.values()))
        await site.until(lambda: len(meta.record) > 50)
        gateways[2].kill()

        def reserved() -> int:
            """How many have a place: who was reached, and of whom nobody knows."""
            unknown = {each for each in sent if EventStatus.UNKNOWN in site.tally.statuses[each]}
            return len(received(meta.record, sent).keys() | unknown)

        await site.until(lambda: reserved() == limit, patience_s=100)
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DELIVERED] == meta.record.counts.recipients)
        await asyncio.sleep(0.5)
        first = reserved()
        shift += DAY_S + 3600
        for gateway in gateways[:2]:
            gateway.skip_day()
        await site.until(lambda: reserved() == 2 * limit, patience_s=100)
        await asyncio.sleep(0.5)
        assert (first, reserved()) == (limit, 2 * limit)
        assert max_distinct(meta.record.accepted(), DAY_S) == meta.end.most_reached <= limit
        assert set(received(meta.record, sent).values()) == {1}
        assert not meta.record.counts.refused
        for gateway in gateways:
            gateway.assert_clean_log()


async def test_urgent_classes_have_the_places_that_are_kept_for_them(stage: Stages) -> None:
    """Bulk that came first leaves two fifths of the day to passwords, which get all of them."""
    bulk, otp = people("bulk", 300), people("otp", 120, 1000)
    kept = {"limit": PEOPLE, "reserve": {"otp": 0.4}}
    async with on_whatsapp(stage, limits=SMALL, limit=kept) as meta, meta.site.worker() as worker:
        site, portfolio = meta.site, worker.meta.portfolios["andina"]
        await site.publish(reminder("bulk", bulk.values()))
        # The last of those that have a place may be on their way yet.
        await site.until(lambda: portfolio.denied == 150 == len(received(meta.record, bulk)))
        await site.publish(reminder("otp", otp.values(), **{"class": "otp"}))
        await site.until(lambda: portfolio.denied == 170)
        await site.until(lambda: len(received(meta.record, otp)) == 100)
        assert len(received(meta.record, bulk)) == 150
        assert not meta.record.counts.refused


async def test_a_place_is_given_back_by_a_failure_and_kept_by_a_delivery(stage: Stages, soon: None) -> None:
    """Refused at once, or failed as a callback says: others have it. Who has written needs none."""
    refused, failed, sent, late = (people(name, n, start) for name, n, start in KINDS)
    behaviour = Behaviour(sent_s=0.05, rejected={to[1:]: "131026" for to in refused.values()})
    async with (
        on_whatsapp(stage, behaviour, limits=SMALL, limit=PEOPLE) as meta,
        meta.site.worker() as worker,
        Redis.from_url(meta.site.config.store.url.reveal()) as redis,
    ):
        site, portfolio = meta.site, worker.meta.portfolios["andina"]
        meta.end.script.behaviour = Behaviour(sent_s=0.05, failures={"131026": 1.0})
        await site.publish(reminder("failed", failed.values()))
        await site.tally.until_ended(failed)
        meta.end.script.behaviour = behaviour
        await site.publish(reminder("refused", refused.values()))
        await site.tally.until_ended(refused)
        await site.publish(reminder("sent", sent.values()))
        await site.tally.until_ended(sent)
        assert site.tally.ends(refused | failed) == {EventStatus.FAILED: len(refused) + len(failed)}
        assert site.tally.ends(sent) == {EventStatus.DELIVERED: PEOPLE}
        places = f"{site.config.kafka.prefix}:places:andina"
        assert await redis.zcard(places) == PEOPLE
        assert await redis.hkeys(f"{places}:pending") == [b"now"]  # each counts from its delivery
        denied = portfolio.denied
        await site.publish(words("late", late.values()), reminder("t", late.values()))
        await site.until(lambda: portfolio.denied > denied)
        assert not received(meta.record, late)
        for to in late.values():
            meta.write(to)
        await site.tally.until_ended([f"t:{n}" for n in range(len(late))])
        assert {*received(meta.record, late).values()} == {1}
        assert await redis.zcard(places) == PEOPLE
        assert not meta.record.counts.refused.keys() - {"131026"}


async def test_passwords_have_the_last_places_and_who_has_none_is_said(
    stage: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are queued, and more than fit: all passwords go, the rest of the places is bulk's, and an event says what is left."""
    monkeypatch.setattr("gateway.portfolio._SOON_S", 1.0)
    otp, bulk = people("otp", PEOPLE - 50), people("bulk", 200, 1000)
    async with on_whatsapp(stage, limits=SMALL, limit=PEOPLE, lane={"rate": 100}) as meta, meta.site.worker() as worker:
        site = meta.site
        portfolio = worker.meta.portfolios["andina"]
        await site.publish(reminder("otp", otp.values(), **{"class": "otp"}))
        await site.until(lambda: len(meta.record) > 0)
        await site.publish(reminder("bulk", bulk.values()))

        def said() -> list[tuple[str | None, int]]:
            events = site.tally.events.values()
            return [(event.class_, event.recipients) for event in events if event.status is EventStatus.SHORT]

        await site.tally.until_ended(otp)
        await site.until(lambda: len(received(meta.record, bulk)) == 50)
        await site.until(lambda: portfolio.short[TrafficClass.BULK] == 150)
        await site.tally.until(lambda: [count for _, count in said() if not is_news(count, 150)] != [])
        assert site.tally.ends(otp) == {EventStatus.DELIVERED: len(otp)}
        assert {class_ for class_, _ in said()} == {"bulk"}
        assert portfolio.used == PEOPLE
        assert not meta.record.counts.refused


KINDS = (("refused", 50, 1000), ("failed", 50, 2000), ("sent", PEOPLE, 0), ("late", 5, 3000))


@pytest.mark.parametrize(("every_s", "outcome"), [(0, "duplicate"), (6, "deferred")])
async def test_a_second_copy_gives_no_place_back(stage: Stages, every_s: int, outcome: str) -> None:
    """Published again before it was delivered, refused or put off: the place is the first one's, and nobody else gets it."""
    sent, late = people("j", PEOPLE), people("late", 5, 1000)
    lane = {"pair": {"every_s": every_s}}
    async with (
        on_whatsapp(stage, Behaviour(receipt_ratio=0), limits=SMALL, limit=PEOPLE, lane=lane) as meta,
        meta.site.worker() as worker,
    ):
        site = meta.site
        for expected in ("submitted", outcome):
            await site.publish(reminder("j", sent.values()))
            await site.until(lambda expected=expected: worker.publisher.counts["wa", "bulk", expected] == PEOPLE)
        await site.publish(reminder("late", late.values()))
        await site.until(lambda: worker.meta.portfolios["andina"].denied == len(late))
        assert received(meta.record, sent | late) == dict.fromkeys(sent, 1)
        assert not meta.record.counts.refused


@pytest.mark.alone
async def test_three_processes_keep_the_rate_of_one_number_and_use_it(stage: Stages) -> None:
    """80 messages a second: no second has more at Meta's end, which would refuse them; two seconds on end have 90 %."""
    rate = 80
    sent = people("j", 4 * rate)
    async with (
        on_whatsapp(stage, Behaviour(receipt_ratio=0), limits=Limits(), lane={"slots": 3, "rate": rate}) as meta,
        AsyncExitStack() as running,
        looking_closely() as stalls,
    ):
        site = meta.site
        gateways = [await running.enter_async_context(site.process(name)) for name in "abc"]
        await site.until(lambda: all("slots owned=1" in gateway.log_text() for gateway in gateways))
        await site.publish(reminder("j", sent.values()))
        await site.until(lambda: len(meta.record) >= len(sent))
        moments = [one.at for one in meta.record.arrivals()]
        assert meta.record.counts.max_per_second[NUMBER] <= rate * (1 + stalls.longest_s)
        seen_s = 2 - stalls.longest_s
        assert max(bisect_left(moments, moment + 2) - n for n, moment in enumerate(moments)) >= 0.9 * rate * seen_s
        assert received(meta.record, sent) == dict.fromkeys(sent, 1)
        for gateway in gateways:
            gateway.assert_clean_log()


async def test_what_waited_for_long_asks_again_before_it_is_written(
    stage: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red keeps what has its place in memory; by the time it is green the places have lapsed, and there are fewer."""
    monkeypatch.setattr("gateway.forward._STALE_S", 0.5)
    sent = people("j", 15)
    async with (
        on_whatsapp(stage, limits=SMALL, limit=PEOPLE, lane={"poll_s": 1}) as meta,
        meta.site.worker() as worker,
        Redis.from_url(meta.site.config.store.url.reveal()) as redis,
    ):
        site, number, portfolio = meta.site, number_of(worker), worker.meta.portfolios["andina"]
        meta.end.set_quality(NUMBER, "RED")
        await site.until(lambda: number.quality == "RED")
        await site.publish(reminder("j", sent.values()))
        await site.until(lambda: portfolio.used == len(sent))
        await asyncio.sleep(0.6)
        places = f"{site.config.kafka.prefix}:places:andina"
        await redis.delete(places, f"{places}:pending")
        meta.tell(*meta.end.set_limit(5))
        await site.until(lambda: number.recipients == 5)
        meta.end.set_quality(NUMBER, "GREEN")
        await site.until(lambda: portfolio.denied == 10)
        await site.until(lambda: len(received(meta.record, sent)) == 5)
        assert await redis.zcard(places) == 5
        assert not meta.record.counts.refused
