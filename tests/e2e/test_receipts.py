"""What an operator says of a message later, in all the ways in which operators say it."""

from __future__ import annotations

from itertools import chain
from typing import Any

from redis.asyncio import Redis

from gateway.correlation import Sent, encode_sent, id_key, reference_key
from gateway.model import EventStatus, TrafficClass
from gateway.providers.contract import Status
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people

ANA = "+573001234567"
SHORT_PATIENCE = {"early_limit_s": 2}


# How an operator writes its ids: the lane's `message_id_format`, then the formats of the number in answer and receipt.
ID_FORMATS = {
    "leading-zeros": ("same", "d", "010d"),
    "upper-case": ("same", "08X", "x"),
    "hex-dec": ("resp_hex_dlr_dec", "x", "d"),
    "hex-dec-zeros": ("resp_hex_dlr_dec", "08X", "010d"),
    "dec-hex": ("resp_dec_dlr_hex", "d", "X"),
    "dec-hex-zeros": ("resp_dec_dlr_hex", "d", "010x"),
    "hex-zeros": ("both_hex", "X", "012x"),
}

# How an operator sends its receipts, and what is particular to the lane.
RECEIPTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "elements": ({"receipt_form": "tlvs"}, {}),
    "both-forms": ({"receipt_form": "both"}, {}),
    "data-sm": ({"receipt_via": "data_sm"}, {}),
    "data-elements": ({"receipt_via": "data_sm", "receipt_form": "tlvs"}, {}),
    "receiver": ({}, {"bind": "txrx"}),
    "other-bind": ({"receipt_where": "other"}, {"binds": 2}),
    "early": ({"receipts_early": 1.0}, {}),
    "early-other": ({"receipts_early": 0.5, "receipt_where": "other"}, {"binds": 3}),
    "twice": ({"receipts_duplicated": 1.0}, {}),
    "notified": ({"intermediate": 1.0, "receipt_delay_s": 0.1}, {}),
    "notified-late": ({"intermediate": 1.0, "intermediate_late": 1.0}, {}),
}


async def test_an_id_meets_its_receipt_however_each_is_written(stage: Stages) -> None:
    """Hexadecimal, decimal, upper case, leading zeros: every receipt finds its message, and at once."""
    accounts = {
        name: Account(name, PASSWORD, Behaviour(resp_id=resp, receipt_id=receipt), first_id=0xABC00)
        for name, (_, resp, receipt) in ID_FORMATS.items()
    }
    async with Simulator(accounts.values()) as smsc:
        lanes = {
            name: lane(smsc.port, system_id=name, message_id_format=format_)
            for name, (format_, _, _) in ID_FORMATS.items()
        }
        async with by_tenant(stage, lanes) as site, site.worker() as worker:
            sent = {name: people(name, 50) for name in lanes}
            for name, recipients in sent.items():
                await site.publish(job(name, recipients.values(), tenant=name))
            await site.tally.until_ended(chain(*sent.values()))
            for name, recipients in sent.items():
                assert site.tally.ends(recipients) == {EventStatus.DELIVERED: 50}
                assert site.tally.of(f"{name}:0")[0].provider_message_id == format(0xABC00, ID_FORMATS[name][1])
            assert worker.receipts.counts == {"matched": 50 * len(lanes)}


async def test_a_receipt_is_understood_wherever_and_whenever_it_comes(stage: Stages) -> None:
    """In any form, on any bind, before the answer, twice, among notifications: one `delivered` each, and no orphan."""
    accounts = {
        name: Account(name, PASSWORD, Behaviour(latency_s=0.02, **behaviour))
        for name, (behaviour, _) in RECEIPTS.items()
    }
    async with Simulator(accounts.values()) as smsc:
        lanes = {name: lane(smsc.port, system_id=name, **options) for name, (_, options) in RECEIPTS.items()}
        async with by_tenant(stage, lanes) as site, site.worker():
            sent = {name: people(name, 100) for name in lanes}
            for name, recipients in sent.items():
                await site.publish(job(name, recipients.values(), tenant=name))
            await site.tally.until_ended(chain(*sent.values()))
            await site.until(lambda: all(account.counts.pending == 0 for account in accounts.values()))
            for recipients in sent.values():
                assert site.tally.ends(recipients) == {EventStatus.DELIVERED: 100}
            assert site.tally.counts() == {
                EventStatus.ACCEPTED: len(lanes),
                EventStatus.SUBMITTED: 100 * len(lanes),
                EventStatus.DELIVERED: 100 * len(lanes),
            }
    for account in accounts.values():
        assert (account.counts.settled, account.counts.discarded) == (account.counts.receipts, 0)


def by_tenant(stage: Stages, lanes: dict[str, Any]) -> Stage:
    """A deployment in which each lane carries what the tenant of its name sends."""
    return stage(lanes=lanes, routes=[{"lane": name, "tenant": name} for name in lanes])


async def test_a_receipt_says_how_a_message_ended(stage: Stages) -> None:
    """Each final state has its event, with the operator's code and the name of the state."""
    expected = {
        "DELIVERED": (EventStatus.DELIVERED, "", ""),
        "EXPIRED": (EventStatus.EXPIRED, "receipt:027", "EXPIRED"),
        "UNDELIVERABLE": (EventStatus.FAILED, "receipt:001", "UNDELIVERABLE"),
        "REJECTED": (EventStatus.FAILED, "receipt:069", "REJECTED"),
    }
    accounts = [Account(state, PASSWORD, Behaviour(states={state: 1.0})) for state in expected]
    async with Simulator(accounts) as smsc:
        lanes = {state.lower(): lane(smsc.port, system_id=state) for state in expected}
        async with by_tenant(stage, lanes) as site, site.worker():
            for state in expected:
                await site.publish(job(state, [ANA], tenant=state.lower()))
            await site.tally.until_ended([f"{state}:0" for state in expected])
            for state, what in expected.items():
                event = site.tally.of(f"{state}:0")[-1]
                assert (event.status, event.error_code, event.error_text) == what


async def test_a_message_of_parts_ends_only_with_all_of_them(stage: Stages) -> None:
    """Receipts of two of three parts, one of them twice, say nothing yet; the third decides."""
    expected = {
        "all": (["DELIVERED", "DELIVERED", "DELIVERED"], EventStatus.DELIVERED, 3),
        "failed": (["DELIVERED", "UNDELIVERABLE", "DELIVERED"], EventStatus.FAILED, 2),
        "expired": (["EXPIRED", "DELIVERED", "DELIVERED"], EventStatus.EXPIRED, 2),
    }
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), first_id=1)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port)}) as site,
        site.worker() as worker,
    ):
        ids: dict[str, tuple[str, ...]] = {}
        for name in expected:
            await site.publish(job(name, [ANA], "x" * 400))
            await site.tally.until(lambda name=name: EventStatus.SUBMITTED in site.tally.statuses[f"{name}:0"])
            ids[name] = site.tally.of(f"{name}:0")[0].provider_message_ids
        assert sorted(chain(*ids.values())) == [str(number) for number in range(1, 10)]
        for name, (states, _, _) in expected.items():
            for part in (2, 0, 0):
                smsc.send_receipt("alpha", ids[name][part], ANA[1:], "89000", states[part])
        await site.until(lambda: account.counts.pending == 0)
        assert worker.receipts.counts["matched"] == 2 * len(expected)
        assert all(site.tally.end_of(f"{name}:0") is None for name in expected)
        for name, (states, _, _) in expected.items():
            smsc.send_receipt("alpha", ids[name][1], ANA[1:], "89000", states[1])
        await site.tally.until_ended([f"{name}:0" for name in expected])
        for name, (_, status, parts_done) in expected.items():
            event = site.tally.of(f"{name}:0")[-1]
            assert (event.status, event.parts, event.parts_done) == (status, 3, parts_done)


async def test_a_receipt_for_nothing_we_know_is_published_as_an_orphan(stage: Stages) -> None:
    """Once, after the time in which its message might have shown up, and the operator is rid of it at once."""
    account = Account("alpha", PASSWORD)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, account="contract-7")}, receipts=SHORT_PATIENCE) as site,
        site.worker(),
    ):
        await site.until(lambda: account.counts.binds == 1)
        smsc.send_receipt("alpha", "deadbeef", ANA[1:], "89000", "UNDELIVERABLE")
        await site.until(lambda: account.counts.settled == 1)
        await site.tally.until(lambda: bool(site.tally.events))
        [orphan] = site.tally.events.values()
        assert (orphan.status, orphan.lane, orphan.provider_message_id) == (EventStatus.ORPHAN, "alpha", "deadbeef")
        assert orphan.error_code == "UNDELIVERABLE:001"
        assert ANA[1:] not in repr(orphan)


async def test_an_id_that_the_operator_uses_again_does_not_take_the_wrong_receipt(stage: Stages) -> None:
    """A receipt with a known id for another number is an orphan; one that leaves the country code out is ours."""
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), first_id=1)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port)}, receipts=SHORT_PATIENCE) as site,
        site.worker(),
    ):
        await site.publish(job("j", [ANA]))
        await site.tally.until(lambda: EventStatus.SUBMITTED in site.tally.statuses["j:0"])
        smsc.send_receipt("alpha", "1", "573009999999", "89000")
        await site.tally.until(lambda: site.tally.counts()[EventStatus.ORPHAN] == 1)
        assert site.tally.end_of("j:0") is None
        smsc.send_receipt("alpha", "1", ANA[3:], "89000")
        await site.tally.until_ended(["j:0"])
        assert site.tally.end_of("j:0") is EventStatus.DELIVERED


async def test_an_unanswered_message_is_unknown_until_its_receipt_resolves_it(stage: Stages) -> None:
    """The answer never comes, the receipt does, with an id that nobody has seen: `unknown`, then `delivered`."""
    account = Account("alpha", PASSWORD, Behaviour(unanswered=1.0, receipt_delay_s=0.2))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, response_timeout_s=1)}, receipts=SHORT_PATIENCE) as site,
        site.worker(),
    ):
        sent = people("j", 20)
        await site.publish(job("j", sent.values()), job("long", [ANA], "x" * 200))
        await site.tally.until(lambda: site.tally.counts()[EventStatus.UNKNOWN] == 21)
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DELIVERED] == 21)
        assert site.tally.counts()[EventStatus.ORPHAN] == 0
        assert site.tally.of("long:0")[-1].parts_done == 2
    assert account.counts.duplicates == 0


async def test_a_receipt_that_is_said_twice_resolves_one_message(stage: Stages) -> None:
    """Two to one person are unknown: the operator repeats the receipt of one, at once and later, and the other stays unknown."""
    account = Account("alpha", PASSWORD, Behaviour(unanswered=1.0, receipt_ratio=0))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, response_timeout_s=1)}, receipts=SHORT_PATIENCE) as site,
        site.worker() as worker,
    ):
        await site.publish(job("j", [ANA]), job("k", [ANA]))
        await site.tally.until_ended(["j:0", "k:0"])
        smsc.send_receipt("alpha", "79", ANA[1:], "89000")
        smsc.send_receipt("alpha", "79", ANA[1:], "89000")
        await site.until(lambda: worker.receipts.counts["repeated"] == 1)
        smsc.send_receipt("alpha", "79", ANA[1:], "89000")
        await site.until(lambda: worker.receipts.counts["repeated"] == 2)
        assert worker.receipts.counts["resolved"] == 1
        smsc.send_receipt("alpha", "80", ANA[1:], "89000")
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DELIVERED] == 2)


async def test_only_a_receipt_for_the_same_number_and_account_resolves_what_is_unknown(stage: Stages) -> None:
    """One for another number, and one of another account for the same number, are orphans; the country code may be missing."""
    alpha = Account("alpha", PASSWORD, Behaviour(unanswered=1.0, receipt_ratio=0))
    beta = Account("beta", PASSWORD)
    async with (
        Simulator([alpha, beta]) as smsc,
        stage(
            lanes={
                "alpha": lane(smsc.port, response_timeout_s=1),
                "beta": lane(smsc.port, system_id="beta"),
            },
            routes=[{"lane": "alpha"}],
            receipts=SHORT_PATIENCE,
        ) as site,
        site.worker(),
    ):
        await site.publish(job("j", [ANA]))
        await site.tally.until_ended(["j:0"])
        smsc.send_receipt("alpha", "77", "573009999999", "89000")
        smsc.send_receipt("beta", "78", ANA[1:], "89000")
        await site.tally.until(lambda: site.tally.counts()[EventStatus.ORPHAN] == 2)
        assert site.tally.end_of("j:0") is EventStatus.UNKNOWN
        smsc.send_receipt("alpha", "79", ANA[3:], "89000")
        await site.tally.until(lambda: site.tally.end_of("j:0") is EventStatus.DELIVERED)


async def test_an_answer_after_the_response_timeout_still_tells(stage: Stages) -> None:
    """`unknown` at the timeout, `submitted` with the late answer, and the receipt finds its message by id."""
    account = Account("alpha", PASSWORD, Behaviour(latency_s=1.5))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, response_timeout_s=1)}) as site,
        site.worker() as worker,
    ):
        sent = people("j", 20)
        await site.publish(job("j", sent.values()))
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DELIVERED] == 20)
        assert site.tally.counts() == {
            EventStatus.ACCEPTED: 1,
            EventStatus.UNKNOWN: 20,
            EventStatus.SUBMITTED: 20,
            EventStatus.DELIVERED: 20,
        }
        assert worker.receipts.counts == {"matched": 20}
    assert account.counts.duplicates == 0


async def test_a_callback_that_comes_before_its_row_finds_it_later(stage: Stages) -> None:
    """By its id or by our reference; what nobody knows is an orphan of its channel, but for `submitted`, which is no news."""
    async with (
        stage(lanes={"alpha": lane(1)}, receipts=SHORT_PATIENCE) as site,
        site.worker() as worker,
        Redis.from_url(site.config.store.url.reveal()) as redis,
    ):
        rows = {
            id_key("waba", "wamid.a"): Sent(ANA, "a", "j", "", "acme", TrafficClass.OTP, "wa", 1, id="wamid.a"),
            reference_key("waba", "acme/b/1"): Sent(ANA, "b", "j", "", "acme", TrafficClass.OTP, "wa", 1),
        }
        statuses = [
            Status("wamid.a", EventStatus.DELIVERED),
            Status("wamid.b", EventStatus.SUBMITTED, "acme/b/1"),
            Status("wamid.c", EventStatus.SUBMITTED),
            Status("wamid.d", EventStatus.READ, "theirs"),
        ]
        await worker.receipts.take("wa", "waba", statuses, "whatsapp")
        assert worker.receipts.counts["early"] == 4
        for key, row in rows.items():
            await redis.set(f"{site.config.kafka.prefix}:{key}", encode_sent(row), ex=60)
        await site.tally.until(lambda: site.tally.counts()[EventStatus.ORPHAN] == 1)
        await site.until(lambda: worker.receipts.counts["intermediate"] == 1)
        assert [event.status for event in site.tally.of("a")] == [EventStatus.DELIVERED]
        assert [event.status for event in site.tally.of("b")] == [EventStatus.SUBMITTED]
        assert site.tally.of("b")[0].provider_message_id == "wamid.b"
        [orphan] = [event for event in site.tally.events.values() if event.status is EventStatus.ORPHAN]
        assert (orphan.lane, orphan.channel, orphan.error_code) == ("wa", "whatsapp", "read")


async def test_a_callback_without_our_reference_resolves_what_is_unknown_by_its_number(stage: Stages) -> None:
    """As a receipt does; one that has a reference, and it is not ours, is about something else."""
    account = Account("alpha", PASSWORD, Behaviour(unanswered=1.0, receipt_ratio=0))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, response_timeout_s=1)}, receipts=SHORT_PATIENCE) as site,
        site.worker() as worker,
    ):
        await site.publish(job("j", [ANA]))
        await site.tally.until_ended(["j:0"])
        await worker.receipts.take("alpha", "alpha", [Status("77", EventStatus.DELIVERED, "theirs", ANA)])
        await site.tally.until(lambda: site.tally.counts()[EventStatus.ORPHAN] == 1)
        assert site.tally.end_of("j:0") is EventStatus.UNKNOWN
        await worker.receipts.take("alpha", "alpha", [Status("78", EventStatus.DELIVERED, to=ANA)])
        await site.tally.until(lambda: site.tally.end_of("j:0") is EventStatus.DELIVERED)
        assert site.tally.of("j:0")[-1].provider_message_id == "78"
