"""What can go wrong between a provider over HTTP and us: lost answers, a provider that is away, a flood of callbacks."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter

import aiohttp
import psutil
from redis.asyncio import Redis

from gateway.correlation import Sent, encode_sent, id_key
from gateway.model import EventStatus, TrafficClass
from gateway.simulators import Behaviour, Scripted, notices
from gateway.simulators.behaviour import Fault
from gateway.simulators.end import Post, Update
from tests.support.meta import NUMBER, on_whatsapp, received, reminder
from tests.support.stage import PASSWORD, Stage, Stages, people

IMPATIENT = {"timeout_s": 2, "connect_timeout_s": 1.5}

LOST: tuple[Fault, ...] = ("unanswered", "reset", "garbage", "slow", "bare_500", "bare_502", "bare_504")
"""What becomes of an answer; Meta has accepted its message every time."""


async def test_what_was_accepted_without_an_answer_is_unknown_until_its_callback(stage: Stages) -> None:
    """However the answer was lost: not sent again, and told by the reference that the callback carries."""
    sent = {fault: people(fault, 6, 100 * n) for n, fault in enumerate(LOST)}
    others = people("others", 100, 10_000)
    everybody = {each: to for one in (*sent.values(), others) for each, to in one.items()}
    async with on_whatsapp(stage, Behaviour(sent_s=2.5), lane=IMPATIENT) as meta, meta.site.worker() as worker:
        site = meta.site
        for fault, recipients in sent.items():
            for to in recipients.values():
                meta.end.script.add(Scripted(fault=fault, recipient=to[1:]))
        for fault, recipients in sent.items():
            await site.publish(reminder(fault, recipients.values()))
        await site.publish(reminder("others", others.values()))
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DELIVERED] == len(everybody))
        for fault in LOST:
            for message_id in sent[fault]:
                told = site.tally.of(message_id)
                assert [event.status for event in told] == [
                    EventStatus.UNKNOWN,
                    EventStatus.SUBMITTED,
                    EventStatus.DELIVERED,
                ], fault
                assert told[1].provider_message_id == told[2].provider_message_id != ""
        assert received(meta.record, everybody) == dict.fromkeys(everybody, 1)
        assert meta.record.counts.duplicates == 0
        assert worker.receipts.counts["orphan"] == 0
        assert meta.end.script.unused == 0


async def test_what_was_turned_away_is_sent_again_or_stays_unknown(stage: Stages) -> None:
    """429 says that it was not accepted; of a bare 503, and of a password without an answer, the class decides."""
    slow, away, otp = people("slow", 5), people("away", 5, 100), people("otp", 5, 200)
    async with on_whatsapp(stage) as meta, meta.site.worker():
        site = meta.site
        for to in slow.values():
            meta.end.script.add(Scripted(fault="bare_429", recipient=to[1:]))
        for to in (*away.values(), *otp.values()):
            meta.end.script.add(Scripted(fault="bare_503", recipient=to[1:]))
        await site.publish(
            reminder("away", away.values()),
            reminder("slow", slow.values()),
            reminder("otp", otp.values(), **{"class": "otp"}),
        )
        await site.tally.until_ended([*slow, *away, *otp])
        assert site.tally.ends(slow | otp) == {EventStatus.DELIVERED: 10}
        assert site.tally.ends(away) == {EventStatus.UNKNOWN: 5}
        assert received(meta.record, slow | otp | away) == dict.fromkeys(slow | otp, 1)
        assert {site.tally.of(each)[0].attempt for each in slow} == {1}


async def test_a_provider_that_goes_away_and_comes_back_has_everything_once(stage: Stages) -> None:
    """Its connections are cut under load and it refuses new ones: what was under way is told by callbacks, the rest waits."""
    sent = people("j", 1000)
    behaviour = Behaviour(latency_s=0.02, sent_s=0.3)
    async with on_whatsapp(stage, behaviour, lane={**IMPATIENT, "slots": 2}) as meta, meta.site.worker() as worker:
        site = meta.site
        await site.publish(reminder("j", sent.values()))
        for threshold in (200, 600):
            await site.until(lambda threshold=threshold: len(meta.record) > threshold)
            await meta.simulator.refuse()
            meta.simulator.drop_connections()
            await site.until(lambda: len(worker.problems()) == 2)
            before = len(meta.record)
            await asyncio.sleep(0.3)
            assert len(meta.record) == before
            await meta.simulator.listen()
        await site.tally.until_ended(sent)
        accepted = received(meta.record, sent)
        await site.tally.until(lambda: all(EventStatus.DELIVERED in site.tally.statuses[each] for each in accepted))
        # A request that broke off before it was read: nobody can know, and it is not sent again.
        unknown = sent.keys() - accepted.keys()
        assert site.tally.ends(sent) == Counter(
            {EventStatus.DELIVERED: len(accepted)} | ({EventStatus.UNKNOWN: len(unknown)} if unknown else {})
        )
        assert len(unknown) <= 2 * 2 * 16  # a window of each slot, twice
        assert set(accepted.values()) == {1}
        assert worker.receipts.counts["orphan"] == 0


async def test_a_worker_is_killed_and_what_was_under_way_is_told_by_callbacks(stage: Stages) -> None:
    """kill -9 under load: nothing goes twice, and whatever Meta has accepted is delivered in the end."""
    sent = people("j", 800)
    behaviour = Behaviour(latency_s=0.05, sent_s=0.2, callback_retry_s=0.1)
    async with on_whatsapp(stage, behaviour, limit=2000) as meta, meta.site.process() as gateway:
        site = meta.site
        await site.publish(reminder("j", sent.values()))
        await site.until(lambda: len(meta.record) > 300)
        gateway.kill()
        gateway.start()
        await site.tally.until_ended(sent)
        accepted = received(meta.record, sent)
        await site.tally.until(lambda: all(EventStatus.DELIVERED in site.tally.statuses[each] for each in accepted))
        assert set(accepted.values()) == {1}
        assert len(sent) - len(accepted) <= 16
        assert site.tally.counts()[EventStatus.ORPHAN] == 0
        gateway.assert_clean_log()


# A flood of callbacks.

SECONDS = 10 if os.environ.get("RECADO_TEST_LONG") else 3
A_SECOND = 10_000
BATCH = 500


def told(first: int) -> Post:
    """A signed callback with a batch of statuses, as Meta joins them."""
    updates = [Update(f"wamid.{n}", "delivered", NUMBER, f"57300{n:07d}") for n in range(first, first + BATCH)]
    return notices.post("", PASSWORD, "waba", notices.statuses({NUMBER: "10000000001"}, updates, time.time()), BATCH)


async def remember(site: Stage, count: int) -> None:
    """Have so many messages in the store, as those that were sent are."""
    rows = {}
    for n in range(count):
        id_ = f"wamid.{n}"
        row = Sent(f"+57300{n:07d}", f"j:{n}", "j", "", "", TrafficClass.BULK, "wa", 1, id=id_, channel="whatsapp")
        rows[f"{site.config.kafka.prefix}:{id_key('waba', id_)}"] = encode_sent(row)
    async with Redis.from_url(site.config.store.url.reveal()) as redis:
        await redis.mset(rows)


async def test_ten_thousand_statuses_a_second_are_all_told_in_bounded_memory(stage: Stages) -> None:
    """What is turned away comes again, as Meta's do; each is published once, and the process does not grow with them."""
    count = SECONDS * A_SECOND
    async with on_whatsapp(stage) as meta, meta.site.process() as gateway, aiohttp.ClientSession() as session:
        site = meta.site
        await remember(site, count)
        url = f"{meta.end.webhook_url}"
        answers: Counter[int] = Counter()
        process = psutil.Process(gateway.pid)

        async def call(post: Post) -> None:
            while True:
                try:
                    async with session.post(url, data=post.body, headers=post.headers) as response:
                        answers[response.status] += 1
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    answers[0] += 1
                await asyncio.sleep(0.2)

        await call(told(0))  # by now it runs
        before = process.memory_info().rss
        most = before
        posts = [told(first) for first in range(BATCH, count, BATCH)]
        async with asyncio.TaskGroup() as calls:
            begin = time.monotonic()
            for n, post in enumerate(posts):
                calls.create_task(call(post))
                if n % 5 == 0:  # Meta repeats what it is not sure of
                    calls.create_task(call(post))
                await asyncio.sleep(begin + n * BATCH / A_SECOND - time.monotonic())
                most = max(most, process.memory_info().rss)
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DELIVERED] == count, 60)
        assert site.tally.counts() == {EventStatus.DELIVERED: count}
        assert max(most, process.memory_info().rss) - before < 64 * 2**20
        assert answers.keys() <= {200, 503, 0}
        gateway.assert_clean_log()
