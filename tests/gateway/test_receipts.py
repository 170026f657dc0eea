"""What callbacks say of messages: found, published once, and only forward. SMSCs and the delay ladder are in tests/e2e."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.correlation import REMEMBER_S, doubt_key, encode_sent, follows, id_key, reference_key, sent, tellable
from gateway.early import Early, encode_early, usable
from gateway.embedded import HOST
from gateway.errors import Disposition
from gateway.model import Event, EventStatus, Message, Step, TrafficClass, decode_message
from gateway.providers.contract import Failure, Status
from smpp.receipt import canonical_resp
from tests.gateway.callback_stage import ANA, Callbacks, callbacks
from tests.support.dispatching import message
from tests.support.proxy import Proxy
from tests.support.stage import Stage, Stages, lane

SUBMITTED, DELIVERED, READ = EventStatus.SUBMITTED, EventStatus.DELIVERED, EventStatus.READ
FAILED, EXPIRED, UNKNOWN = EventStatus.FAILED, EventStatus.EXPIRED, EventStatus.UNKNOWN

REF = "acme/m-a/1"

# What callbacks say of a message that was submitted, in this order; what of it is published; and what the rest counts as.
HISTORIES: dict[str, tuple[list[EventStatus], list[EventStatus], dict[str, int]]] = {
    "in-order": ([SUBMITTED, DELIVERED, READ], [DELIVERED, READ], {"intermediate": 1}),
    "skipped": ([SUBMITTED, READ], [READ], {"intermediate": 1}),
    "reversed": ([READ, DELIVERED, SUBMITTED], [READ], {"overtaken": 1, "intermediate": 1}),
    "twice": ([DELIVERED, DELIVERED, READ, READ], [DELIVERED, READ], {"repeated": 2}),
    "delivered-again-after-read": ([DELIVERED, READ, DELIVERED], [DELIVERED, READ], {"overtaken": 1}),
    "failed": ([SUBMITTED, FAILED, FAILED], [FAILED], {"intermediate": 1, "repeated": 1}),
    "failed-after-delivered": ([DELIVERED, FAILED, READ], [DELIVERED, READ], {"overtaken": 1}),
    "delivered-after-failed": ([FAILED, DELIVERED, READ], [FAILED], {"overtaken": 2}),
    "expired": ([EXPIRED, EXPIRED, DELIVERED], [EXPIRED], {"repeated": 1, "overtaken": 1}),
}


def site_of(stage: Stages) -> Stage:
    """A deployment; its lane is no part of these tests."""
    return stage(lanes={"alpha": lane(1)})


def said(id_: str, status: EventStatus, **more: str) -> Status:
    failure = Failure(Disposition.REJECTED, "131026", "not on WhatsApp") if status in (FAILED, EXPIRED) else None
    return Status(id_, status, more.get("reference", ""), more.get("to", ANA), failure=failure)


async def take(process: Callbacks, *statuses: Status) -> None:
    await process.receipts.take("wa", "waba", statuses, "whatsapp")


async def events_of(site: Stage, count: int) -> list[Event]:
    """The events so far, when there are as many."""
    await site.tally.until(lambda: len(site.tally.events) >= count)
    return list(site.tally.events.values())


@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "one-by-one"])
async def test_a_message_only_goes_forward(stage: Stages, together: bool) -> None:
    """Each status once, whatever was said again, late, or not at all; in one callback or in many, as in `HISTORIES`."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent(*HISTORIES)
        statuses = [[said(name, each) for each in history] for name, (history, _, _) in HISTORIES.items()]
        if together:
            await take(process, *itertools.chain(*statuses))
        else:
            for each in itertools.chain(*statuses):
                await take(process, each)
        published = sum(len(expected) for _, expected, _ in HISTORIES.values())
        await events_of(site, published)
        for name, (_, expected, _) in HISTORIES.items():
            assert [event.status for event in site.tally.of(f"m-{name}")] == expected, name
        assert not site.tally.repeated
        counts = {"matched": published}
        for _, _, others in HISTORIES.values():
            for what, count in others.items():
                counts[what] = counts.get(what, 0) + count
        assert process.receipts.counts == counts


@given(st.lists(st.sampled_from([SUBMITTED, DELIVERED, READ, FAILED, EXPIRED])), st.sampled_from([UNKNOWN, SUBMITTED]))
def test_no_history_goes_back(history: list[EventStatus], before: EventStatus) -> None:
    """Whatever is said in whatever order: statuses rise, none twice, and nothing follows an end."""
    rank = {UNKNOWN: 0, SUBMITTED: 1, DELIVERED: 2, READ: 3, FAILED: 3, EXPIRED: 3}
    told = [before]
    for status in history:
        if follows(told[-1], status):
            told.append(status)
    ranks = [rank[status] for status in told]
    assert ranks == sorted(set(ranks))
    if DELIVERED in told:
        assert told[-1] in (DELIVERED, READ)
    assert rank[told[-1]] >= max([rank[before], *(2 for status in history if rank[status] > 1)])


async def test_an_event_says_whose_message_and_why(stage: Stages) -> None:
    """Channel, lane and the provider's id; of a failure its code and its words, cut to what fits."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a", "b")
        failure = Failure(Disposition.REJECTED, "131026" * 50, "x" * 5_000_000)
        await take(process, said("a", DELIVERED), Status("b", FAILED, failure=failure))
        delivered, failed = await events_of(site, 2)
    assert (delivered.channel, delivered.lane, delivered.provider_message_id) == ("whatsapp", "wa", "a")
    assert (delivered.message_id, delivered.tenant, delivered.attempt) == ("m-a", "acme", 1)
    assert (delivered.error_code, delivered.error_text) == ("", "")
    assert failed.error_code.startswith("131026")
    assert (len(failed.error_code), len(failed.error_text)) == (64, 500)


async def test_what_was_told_is_known_for_a_week_by_every_process(stage: Stages) -> None:
    """An end is kept as a mark, `delivered` in front of its row for the `read` that may follow; both for 7 days from then."""
    async with site_of(stage) as site, callbacks(site) as process, callbacks(site) as other:
        await process.sent("a", "b")
        for id_ in "ab":
            await process.redis.expire(process.prefix + id_key("waba", id_), 5)
        await take(process, said("a", READ), said("b", DELIVERED))
        await site.until(lambda: process.store.calls == 2)
        end, seconds = await process.told(id_key("waba", "a"))
        assert (end, seconds) == ("read", REMEMBER_S)
        row, seconds = await process.told(id_key("waba", "b"))
        assert row.startswith('delivered["')
        assert seconds == REMEMBER_S
        await take(other, said("a", READ), said("b", DELIVERED), said("b", READ))
        assert other.receipts.counts == {"repeated": 2, "matched": 1}
        await take(process, said("b", READ))
        assert process.receipts.counts["repeated"] == 1


async def test_a_row_that_lives_longer_is_not_shortened(stage: Stages) -> None:
    """WhatsApp keeps a message for a month, and `read` may come after it."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a")
        await process.redis.expire(process.prefix + id_key("waba", "a"), 30 * 86_400)
        await take(process, said("a", DELIVERED))
        await site.until(lambda: process.store.calls == 2)
        _, seconds = await process.told(id_key("waba", "a"))
        assert seconds > 29 * 86_400
        await take(process, said("a", READ))
        await site.until(lambda: process.store.calls == 4)
        assert await process.told(id_key("waba", "a")) == ("read", REMEMBER_S)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([SUBMITTED, DELIVERED, READ], [SUBMITTED, DELIVERED, READ]),
        ([DELIVERED, SUBMITTED, READ], [DELIVERED, READ]),
        ([FAILED, SUBMITTED], [FAILED]),
        ([SUBMITTED, SUBMITTED, FAILED], [SUBMITTED, FAILED]),
    ],
)
async def test_a_status_with_our_reference_resolves_what_is_in_doubt(
    stage: Stages, history: list[EventStatus], expected: list[EventStatus]
) -> None:
    """The provider's id is news to us: even `submitted` is, and the events carry it. Without an id the reference does."""
    async with site_of(stage) as site, callbacks(site) as process:
        reference = "acme/m-a/1"
        await process.doubted(reference, "a")
        await process.doubted("acme/m-b/1", "b")
        for status in history:
            await take(process, said("wamid.a", status, reference=reference))
            await take(process, said("", status, reference="acme/m-b/1"))
        await events_of(site, 2 * len(expected))
        assert [event.status for event in site.tally.of("m-a")] == expected
        assert [event.status for event in site.tally.of("m-b")] == expected
        assert {event.provider_message_id for event in site.tally.of("m-a")} == {"wamid.a"}
        assert not site.tally.repeated


async def test_an_id_goes_before_a_reference(stage: Stages) -> None:
    """Both rows are there when a message in doubt was sent again: what is said under one is known under the other."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a")
        await process.doubted("acme/m-a/1", "a")
        await take(process, said("a", DELIVERED, reference="acme/m-a/1"))
        await take(process, said("", DELIVERED, reference="acme/m-a/1"), said("a", DELIVERED))
        assert process.receipts.counts == {"matched": 1, "repeated": 2}


@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "one-by-one"])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("a", ""), ("", REF)),
        (("", REF), ("a", "")),
        (("a", REF), ("b", REF)),
        (("b", REF), ("a", REF)),
        (("b", REF), ("a", "")),
    ],
    ids=["id-reference", "reference-id", "first-part-second", "second-part-first", "second-part-id"],
)
async def test_a_message_with_two_rows_goes_forward_once(
    stage: Stages, first: tuple[str, str], then: tuple[str, str], together: bool
) -> None:
    """Whichever of its names a callback says: what was told under one is known under the other, also of a second part."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a")
        await process.redis.copy(process.prefix + id_key("waba", "a"), process.prefix + reference_key("waba", REF))
        history = [said(first[0], DELIVERED, reference=first[1]), said(then[0], FAILED, reference=then[1])]
        for statuses in [history] if together else [[each] for each in history]:
            await take(process, *statuses)
        await take(process, said(then[0], READ, reference=then[1]), said(first[0], READ, reference=first[1]))
        await events_of(site, 2)
        assert [event.status for event in site.tally.of("m-a")] == [DELIVERED, READ]
        assert {event.provider_message_id for event in site.tally.of("m-a")} == {"a"}
        assert process.receipts.counts == {"matched": 2, "overtaken": 1, "repeated": 1}


class Steps:
    """What finds the next step of a plan: over WhatsApp, in a topic of the site's."""

    def __init__(self, site: Stage) -> None:
        self.topic = site.config.kafka.lane_topic("alpha", TrafficClass.BULK, 0)

    def next_step(self, message: Message) -> tuple[int, str] | None:
        return (0, "wa") if message.plan else None

    def address(self, lane: str, message: Message) -> tuple[str, int]:
        return self.topic, 0


@asynccontextmanager
async def planned(site: Stage) -> AsyncIterator[tuple[Callbacks, Steps]]:
    """Callbacks whose failures go on with a plan."""
    steps = Steps(site)
    async with callbacks(site) as process:
        process.receipts._failover = steps  # type: ignore[assignment]
        yield process, steps


async def accepted(process: Callbacks, id_: str, what: Message, parts: int = 1, number: int = 0) -> None:
    """Remember a part as the dispatcher does."""
    await process.redis.set(process.prefix + id_key("waba", id_), encode_sent(sent(what, "wa", parts, number, id_)))


PLAN = (Step("whatsapp", "", "", '{"type":"text"}'),)


@pytest.mark.parametrize("last", [0, 1], ids=["part-of-the-first", "part-of-the-second"])
async def test_a_fallback_goes_on_from_the_last_attempt_of_all_parts(stage: Stages, last: int) -> None:
    """Whichever part's receipt comes last: an attempt that was made has its claim, and the step would be taken for a copy."""
    async with site_of(stage) as site, planned(site) as (process, steps):
        for number in (0, 1):
            await accepted(process, f"p{number}", message(plan=PLAN, attempt=number + 1), 2, number)
        for number in (1 - last, last):
            await take(process, said(f"p{number}", FAILED))
        (record,) = await site.read(steps.topic, 1)
        goes_on = decode_message(record.value)
        assert (goes_on.attempt, goes_on.first_attempt, goes_on.channel) == (3, 3, "whatsapp")
        (event,) = await events_of(site, 1)
        assert (event.status, event.attempt) == (EventStatus.FALLBACK, 2)


async def test_the_state_of_a_part_is_known_as_long_as_the_rows_of_the_others(stage: Stages) -> None:
    """Of one something is said at once, and of the other only after days that it has expired."""
    async with site_of(stage) as site, planned(site) as (process, _):
        for number in (0, 1):
            await accepted(process, f"p{number}", message(plan=PLAN), 2, number)
            await process.redis.expire(process.prefix + id_key("waba", f"p{number}"), (20 - number) * 86_400)
        lives = []
        for number in (0, 1):
            await take(process, said(f"p{number}", FAILED))
            lives.append(await process.redis.ttl(f"{process.prefix}a:banco/m/1"))
        assert min(lives) > 19 * 86_400


@pytest.mark.parametrize("last", [0, 1], ids=["part-of-the-first", "part-of-the-second"])
async def test_no_fallback_after_an_attempt_in_doubt(stage: Stages, last: int) -> None:
    """It may have reached the person, although no receipt says so: of a message of one part and of several."""
    async with site_of(stage) as site, planned(site) as (process, steps):
        await accepted(process, "one", message("one", plan=PLAN, attempt=2, doubtful=True))
        for number in (0, 1):
            what = message("two", plan=PLAN, attempt=number + 1, doubtful=bool(number))
            await accepted(process, f"p{number}", what, 2, number)
        await take(process, said("one", FAILED), said(f"p{1 - last}", FAILED), said(f"p{last}", FAILED))
        assert {event.status for event in await events_of(site, 2)} == {FAILED}
        await accepted(process, "sure", message("sure", plan=PLAN))
        await take(process, said("sure", FAILED))
        (record,) = await site.read(steps.topic, 1)
        assert decode_message(record.value).message_id == "sure"


@pytest.mark.parametrize(
    ("to", "reported", "reference", "ours"),
    [
        (ANA, ANA, "", True),
        ("+525512345678", "+5215512345678", "", True),
        ("+5531987654321", "553187654321", "", True),
        (ANA, "CO.98237498", "", True),
        (ANA, "", "", True),
        (ANA, "+573009999999", "", False),
        (ANA, "+573009999999", "acme/m-a/1", True),
    ],
)
async def test_an_id_that_was_another_s_is_told_by_its_number(
    stage: Stages, to: str, reported: str, reference: str, ours: bool
) -> None:
    """It may be written in the provider's way. One that is plainly another's waits for its message, but for our reference."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a", to=to)
        await take(process, said("a", DELIVERED, to=reported, reference=reference))
        assert process.receipts.counts == ({"matched": 1} if ours else {"matched": 0, "early": 1})


async def test_what_is_not_known_waits_on_the_ladder(stage: Stages) -> None:
    """The callback is answered all the same: Kafka has it."""
    async with site_of(stage) as site, callbacks(site) as process:
        await take(process, said("a", DELIVERED), said("b", SUBMITTED))
        records = await site.read(site.config.kafka.delay_topic(1), 2)
    assert process.receipts.counts["early"] == 2
    assert [record.key for record in records] == [doubt_key("waba", ANA).encode()] * 2


@pytest.mark.parametrize(
    ("status", "good"),
    [
        (Status("a", DELIVERED), True),
        (Status("", DELIVERED, "acme/m/1"), True),
        (Status("", DELIVERED), False),
        (Status("a" * 10_000, DELIVERED), False),
        (Status("a", DELIVERED, "r" * 10_000), False),
        (Status("a", EventStatus.REJECTED), False),
    ],
)
def test_what_says_nothing_of_any_message_is_left_out(status: Status, good: bool) -> None:
    """Before it can become a key of the store."""
    assert usable(status) == good


async def test_what_is_left_out_is_counted(stage: Stages) -> None:
    """And costs the others nothing."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a")
        await take(process, Status("", DELIVERED), said("a", DELIVERED))
        await take(process, Status("", DELIVERED))
        assert process.receipts.counts == {"unusable": 2, "matched": 1}


async def test_the_network_of_a_number_is_learned(stage: Stages) -> None:
    """From what is certainly ours, and once: the number as we write it."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a")
        statuses = [Status("a", DELIVERED, network="732101")] * 2 + [Status("b", DELIVERED, network="732103")]
        await take(process, *statuses)
        assert process.learned == [(ANA, "732101")]


async def test_callbacks_share_a_call_of_the_store(stage: Stages) -> None:
    """Fifty at once, of fifty messages: two batches, since the first does not wait, and one call that remembers them."""
    async with site_of(stage) as site, callbacks(site) as process:
        ids = [str(number) for number in range(50)]
        await process.sent(*ids)
        await asyncio.gather(*(take(process, said(id_, DELIVERED)) for id_ in ids))
        await events_of(site, 50)
        await asyncio.sleep(0)
        assert process.store.calls <= 3


async def test_more_than_may_wait_is_full_and_who_leaves_makes_room(stage: Stages, store_url: str) -> None:
    """While the store does not answer; what has not begun is gone with its caller, and what has is finished."""
    async with (
        Proxy(HOST, urlsplit(store_url).port or 0) as proxy,
        site_of(stage) as site,
        callbacks(site, store_url=f"redis://{HOST}:{proxy.port}/0", capacity=10) as process,
    ):
        await process.sent("a", "b")
        proxy.freeze()
        first = asyncio.create_task(take(process, said("a", DELIVERED)))
        await site.until(lambda: process.store.calls == 1)
        others = [asyncio.create_task(take(process, *[said("b", DELIVERED)] * 9)) for _ in range(3)]
        await asyncio.sleep(0)
        assert process.receipts.full
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        assert not process.receipts.full
        proxy.thaw()
        await first
        await take(process, said("b", DELIVERED))
        assert [event.status for event in await events_of(site, 2)] == [DELIVERED] * 2
        assert process.receipts.counts == {"matched": 2}


# What an SMSC says of what it has never answered.


async def in_doubt(process: Callbacks, id_: str, to: str = ANA) -> None:
    """Remember a message that was written and never answered, as the dispatcher does."""
    row = encode_sent(sent(message(id_, to=to), "alpha"))
    await process.redis.hset(process.prefix + doubt_key("acc", to), f"{1.0:017.6f}/banco/{id_}/1/0", row)


async def read_receipts(process: Callbacks, *receipts: tuple[str, str]) -> None:
    """Take receipts that have waited in vain for their messages: id and number of each."""
    waited = [Early("alpha", "acc", to, id_, f"d:acc:{id_}", DELIVERED, "", "", 2.0) for id_, to in receipts]
    await process.receipts.again([encode_early(each) for each in waited])


@pytest.mark.parametrize(
    ("reported", "resolved"),
    [
        ("573001234567", True),
        ("3001234567", True),
        ("573101234567", False),
        ("3101234567", False),
        ("234567", False),
        ("", False),
    ],
)
async def test_a_receipt_of_a_message_in_doubt_may_leave_the_country_code_out(
    stage: Stages, reported: str, resolved: bool
) -> None:
    """As much as it says of the number has to be right: it has no id that we know."""
    async with site_of(stage) as site, callbacks(site) as process:
        await in_doubt(process, "a")
        await read_receipts(process, ("x", reported))
        assert process.receipts.counts["resolved" if resolved else "orphan"] == 1


async def test_numbers_that_end_alike_have_doubts_of_their_own(stage: Stages) -> None:
    """Though the store keeps them in one place, and whichever is the older."""
    async with site_of(stage) as site, callbacks(site) as process:
        for id_, to in {"a": "+573001234567", "b": "+573101234567", "c": "+573201234567"}.items():
            await in_doubt(process, id_, to)
        await read_receipts(process, ("x", "3201234567"), ("y", "3101234567"))
        await events_of(site, 2)
        assert not site.tally.of("a")
        assert [site.tally.of(id_)[0].provider_message_id for id_ in "cb"] == ["x", "y"]


async def test_receipts_of_one_number_wait_behind_each_other(stage: Stages) -> None:
    """Of two workers each would tell of the same part in doubt, and nobody of the other."""
    async with site_of(stage) as site, callbacks(site) as process:
        now = time.time()
        waiting = [
            Early("alpha", "acc", ANA[1:], id_, f"d:acc:{id_}", EventStatus.DELIVERED, "", "", now) for id_ in "vwxyz"
        ]
        await process.receipts.again([encode_early(each) for each in waiting])
        records = await site.read(site.config.kafka.delay_topic(1), len(waiting))
        assert len({record.key for record in records}) == 1


async def test_many_receipts_of_one_number_read_its_doubts_once(stage: Stages) -> None:
    """Those of a handset for load tests: read for each receipt they would be millions, and more than a call has time for."""
    async with site_of(stage) as site, callbacks(site) as process:
        key = process.prefix + doubt_key("acc", ANA)
        rows: Any = {
            f"{1.0:017.6f}/banco/{n}/1/0": encode_sent(sent(message(str(n), to=ANA), "alpha")) for n in range(1500)
        }
        await process.redis.hset(key, mapping=rows)
        async with asyncio.timeout(2):
            await read_receipts(process, *((f"id-{n}", ANA[1:]) for n in range(1500)))
        assert process.receipts.counts["resolved"] == 1500
        await site.until(lambda: process.store.calls == 3)
        assert not await process.redis.exists(key)


async def test_of_too_many_doubts_of_one_number_some_are_read(stage: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt tells of one of them all the same."""
    monkeypatch.setattr("gateway.receipts._DOUBTS", 200)
    async with site_of(stage) as site, callbacks(site) as process:
        rows: Any = {
            f"{1.0:017.6f}/banco/{n}/1/0": encode_sent(sent(message(str(n), to=ANA), "alpha")) for n in range(2000)
        }
        await process.redis.hset(process.prefix + doubt_key("acc", ANA), mapping=rows)
        ((_, flat),) = (await process.receipts._doubts([doubt_key("acc", ANA)])).items()
        assert 200 <= len(flat) < 400
        await read_receipts(process, ("x", ANA[1:]))
        assert process.receipts.counts["resolved"] == 1


@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "one-by-one"])
async def test_receipts_without_an_id_tell_each_of_a_message(stage: Stages, together: bool) -> None:
    """Some SMSCs send no more than a state: one such receipt is no repetition of another."""
    numbers = {"a": ANA, "b": "+573017654321", "c": "+573021112222"}
    async with site_of(stage) as site, callbacks(site) as process:
        for id_, to in numbers.items():
            await in_doubt(process, id_, to)
        receipts = [("", to[1:]) for to in numbers.values()]
        for batch in [receipts] if together else [[each] for each in receipts]:
            await read_receipts(process, *batch)
        await events_of(site, 3)
        assert process.receipts.counts["resolved"] == 3
        assert {site.tally.of(id_)[0].status for id_ in numbers} == {DELIVERED}


IDS: Sequence[str] = ("wamid.HBgNFQIAERgSAbCdEf==", "00C0FFEE", "SM0123456789abcdef", "0", "4ad2-00ff")


@pytest.mark.parametrize("id_", IDS)
def test_a_callback_looks_where_the_answer_was_noted(id_: str) -> None:
    """The dispatcher writes its rows as for an SMSC whose ids are `same`."""
    assert id_key("waba", id_) == f"d:waba:{canonical_resp(id_, 'same')}"
    assert not tellable("accepted")
