"""A job's way through the whole gateway: what reaches the operator and what the publisher is told."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.model import Dead, EventStatus
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from smpp.simulator.record import max_per_second
from tests.support.stage import PASSWORD, Stages, job, lane, people

ANA = "+573001234567"
LUIS = "+573017654321"


def an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()


async def test_every_message_is_submitted_and_delivered_once(stage: Stages) -> None:
    """A campaign of 1,000: each message reaches the operator once, and is submitted and then delivered."""
    account = Account("alpha", PASSWORD)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        sent = {}
        for number in range(4):
            recipients = people(f"j{number}", 250, start=250 * number)
            sent |= recipients
            await site.publish(job(f"j{number}", recipients.values(), campaign="c1", tenant="banco"))
        await site.tally.until_ended(sent)
        assert site.tally.ends(sent) == {EventStatus.DELIVERED: 1000}
        assert site.tally.counts() == {
            EventStatus.ACCEPTED: 4,
            EventStatus.SUBMITTED: 1000,
            EventStatus.DELIVERED: 1000,
        }
    assert (account.counts.messages, account.counts.accepted) == (1000, 1000)


async def test_events_say_what_the_publisher_needs_to_know(stage: Stages) -> None:
    """Submitted and delivered name job, campaign, tenant, class, lane, attempt, parts and the operator's id."""
    account = Account("alpha", PASSWORD, first_id=4711)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        recipient = {"to": ANA, "message_id": "m1"}
        await site.publish(job("j", [recipient], campaign="c1", tenant="banco", **{"class": "otp"}))
        await site.tally.until_ended(["m1"])
        submitted, delivered = site.tally.of("m1")
        for event in (submitted, delivered):
            assert (event.job_id, event.campaign, event.tenant, event.class_) == ("j", "c1", "banco", "otp")
            assert (event.lane, event.channel, event.attempt, event.parts, event.parts_done) == (
                "alpha",
                "sms",
                1,
                1,
                1,
            )
            assert event.provider_message_id == "4711"
        assert (submitted.status, delivered.status) == (EventStatus.SUBMITTED, EventStatus.DELIVERED)
        accepted = next(event for event in site.tally.events.values() if event.status == EventStatus.ACCEPTED)
        assert (accepted.job_id, accepted.campaign, accepted.tenant) == ("j", "c1", "banco")
        assert (accepted.recipients, accepted.rejected) == (1, 0)


async def test_recipients_that_cannot_be_served_are_rejected_with_a_reason(stage: Stages) -> None:
    """Each bad recipient gets its own reason, and the good one of the same job goes."""
    account = Account("alpha", PASSWORD)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, max_parts=2)}, routes=[{"lane": "alpha", "tenant": "banco"}]) as site,
        site.worker(),
    ):
        await site.publish(
            job(
                "j",
                [
                    {"to": ANA, "message_id": "good", "params": {"name": "Ana", "more": ""}},
                    {"to": "+57300123", "message_id": "number", "params": {"name": "Eva", "more": ""}},
                    {"to": "3001234567", "message_id": "not E.164", "params": {"name": "Eva", "more": ""}},
                    {"to": LUIS, "message_id": "parameter", "params": {"name": "Luis"}},
                    {"to": LUIS, "message_id": "parts", "params": {"name": "Luis", "more": "x" * 300}},
                ],
                "Hola {name}{more}",
                tenant="banco",
            ),
            job("late", [{"to": LUIS, "message_id": "expired"}], expires_at=an_hour_ago()),
        )
        await site.tally.until_ended(["good", "number", "not E.164", "parameter", "parts", "expired"])
        rejected = {
            event.message_id: event.error_code
            for event in site.tally.events.values()
            if event.status is EventStatus.REJECTED and event.error_text
        }
        assert rejected == {
            "number": "number",
            "not E.164": "number",
            "parameter": "parameter",
            "parts": "parts",
            "expired": "expired",
        }
        assert site.tally.end_of("good") is EventStatus.DELIVERED
        jobs = {event.job_id: event for event in site.tally.events.values() if event.status is EventStatus.ACCEPTED}
        assert (jobs["j"].recipients, jobs["j"].rejected) == (5, 4)
    assert account.counts.accepted == 1


async def test_a_record_that_is_no_job_goes_to_dead_and_stops_nothing(stage: Stages) -> None:
    """Its original octets and coordinates are kept, whatever its size, and the jobs around it are carried."""
    account = Account("alpha", PASSWORD)
    rubbish = [b"", b"\xff\xfe", b'{"job_id": "j"}', b"[1]", b'{"job_id":"j","text":"{","recipients":[{"to":"x"}]}']
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        await site.publish(job("first", [ANA]))
        await site.publish_raw(*rubbish)
        await site.publish(job("last", [LUIS]))
        await site.tally.until_ended(["first:0", "last:0"])
        records = await site.read(site.config.kafka.dead_topic, len(rubbish))
    dead = [msgspec.json.decode(record.value, type=Dead) for record in records]
    assert [letter.value for letter in dead] == rubbish
    assert [(letter.topic, letter.partition, letter.offset) for letter in dead] == [
        (site.config.kafka.jobs_topic, 0, offset) for offset in range(1, 1 + len(rubbish))
    ]
    assert all(letter.reason for letter in dead)


async def test_the_largest_record_that_is_no_job_stops_nothing(stage: Stages) -> None:
    """What is nearly as large as a broker takes has a dead letter too, and the jobs of the same poll are carried."""
    account = Account("alpha", PASSWORD)
    rubbish = b"x" * 890_000
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site:
        await site.publish(job("first", [ANA]))
        await site.publish_raw(rubbish)
        await site.publish(job("last", [LUIS]))
        async with site.worker():
            await site.tally.until_ended(["first:0", "last:0"])
            [record] = await site.read(site.config.kafka.dead_topic, 1)
    dead = msgspec.json.decode(record.value)
    assert (dead["topic"], dead["partition"], dead["offset"]) == (site.config.kafka.jobs_topic, 0, 1)
    assert rubbish.startswith(b64decode(dead["value"]))


async def test_a_message_id_is_sent_once(stage: Stages) -> None:
    """Used again in another job, in the same job, or by the same job published again: said, and not sent."""
    account = Account("alpha", PASSWORD)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        twice = job("twice", [ANA, LUIS])
        await site.publish(
            job("one", [{"to": ANA, "message_id": "m1"}]),
            job("two", [{"to": LUIS, "message_id": "m1"}]),
            job("same", [{"to": ANA, "message_id": "m2"}, {"to": ANA, "message_id": "m2"}]),
            twice,
            twice,
        )
        messages = ["m1", "m2", "twice:0", "twice:1"]
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DUPLICATE] == 4)
        await site.tally.until_ended(messages)
        for message_id in messages:
            assert [event.status for event in site.tally.of(message_id)].count(EventStatus.DUPLICATE) == 1
        assert site.tally.ends(messages) == {EventStatus.DELIVERED: 4}
    assert account.counts.accepted == 4


async def test_a_job_that_is_published_again_too_late_is_a_second_copy(stage: Stages) -> None:
    """Who was delivered to in time is neither rejected nor expired by it."""
    account = Account("alpha", PASSWORD)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        soon = datetime.now(UTC) + timedelta(seconds=2)
        once = job("j", [ANA], expires_at=soon.isoformat())
        await site.publish(once)
        await site.tally.until_ended(["j:0"])
        await site.until(lambda: datetime.now(UTC) > soon)
        await site.publish(once)
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DUPLICATE] == 1)
        ends = {EventStatus.REJECTED, EventStatus.EXPIRED, EventStatus.DELIVERED}
        assert [event.status for event in site.tally.of("j:0") if event.status in ends] == [EventStatus.DELIVERED]
    assert account.counts.accepted == 1


async def test_message_ids_belong_to_a_tenant(stage: Stages) -> None:
    """The same id of two tenants is two messages."""
    account = Account("alpha", PASSWORD)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        recipient = {"to": ANA, "message_id": "m1"}
        await site.publish(job("j", [recipient], tenant="banco"), job("j", [recipient], tenant="luz"))
        await site.tally.until(lambda: site.tally.counts()[EventStatus.DELIVERED] == 2)
        assert site.tally.counts()[EventStatus.DUPLICATE] == 0
        assert {event.tenant for event in site.tally.of("m1")} == {"banco", "luz"}
    assert account.counts.accepted == 2


async def test_texts_arrive_as_they_were_written(stage: Stages) -> None:
    """Spanish, Portuguese, euro, emoji, UCS-2, three parts, braces: the operator's reader sees each text whole."""
    texts = [
        "Señor Núñez: ¿pagó los 20€?",
        "Ação: não há saldo, à disposição",
        "Pague ya 🙂👍🏽",
        "{Código} [1]|^~\\",
        "ñ" * 400,
        "漢" * 150,
        "x" * 159 + "€",
    ]
    account = Account("alpha", PASSWORD, record="full")
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        recipients = people("j", len(texts))
        listed = [{"to": to, "params": {"t": text}} for to, text in zip(recipients.values(), texts, strict=True)]
        await site.publish(job("j", listed, "{t}"))
        await site.tally.until_ended(recipients)
        assert site.tally.ends(recipients) == {EventStatus.DELIVERED: len(texts)}
        parts = [site.tally.of(message_id)[0].parts for message_id in recipients]
    assert parts == [1, 1, 1, 1, 3, 3, 2]
    assert account.record.texts() == {to[1:]: [text] for to, text in zip(recipients.values(), texts, strict=True)}


async def test_a_message_that_expires_while_it_waits_is_not_sent(stage: Stages) -> None:
    """The operator is away until after `expires_at`: expired, and never seen by the operator."""
    account = Account("alpha", PASSWORD)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site:
        await smsc.refuse()
        async with site.worker():
            soon = datetime.now(UTC) + timedelta(seconds=1)
            await site.publish(job("late", [ANA], expires_at=soon.isoformat()), job("timeless", [LUIS]))
            await site.until(lambda: datetime.now(UTC) > soon)
            await smsc.listen()
            await site.tally.until_ended(["late:0", "timeless:0"])
        assert site.tally.end_of("late:0") is EventStatus.EXPIRED
        assert site.tally.end_of("timeless:0") is EventStatus.DELIVERED
    assert account.counts.accepted == 1


async def test_the_wire_carries_validity_priority_and_what_the_lane_says(stage: Stages) -> None:
    """validity_period from `expires_at`, priority_flag from the class, sender, numbering and registered_delivery."""
    account = Account("alpha", PASSWORD, record="full")
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        tomorrow = (datetime.now(UTC) + timedelta(hours=25, minutes=1)).isoformat()
        await site.publish(
            job("bulk", [ANA], expires_at=tomorrow),
            job("otp", [LUIS], sender="Banco", **{"class": "otp"}),
        )
        await site.tally.until_ended(["bulk:0", "otp:0"])
    requests = {arrival.request.destination_addr: arrival.request for arrival in account.record.arrivals}
    bulk, otp = requests[ANA[1:]], requests[LUIS[1:]]
    assert bulk.validity_period.startswith("000001010")  # one day and one hour from now, less what the test took
    assert bulk.validity_period.endswith("000R")
    assert otp.validity_period == ""
    assert (bulk.priority_flag, otp.priority_flag) == (0, 2)
    assert (bulk.source_addr, bulk.source_addr_ton, bulk.source_addr_npi) == ("89000", 3, 0)
    assert (otp.source_addr, otp.source_addr_ton) == ("Banco", 5)
    assert (bulk.dest_addr_ton, bulk.dest_addr_npi, bulk.registered_delivery) == (1, 1, 1)


async def test_urgent_messages_overtake_bulk(stage: Stages) -> None:
    """A password published behind 2,000 reminders that wait for their tokens goes before nearly all of them."""
    account = Account("alpha", PASSWORD, record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=500)}) as site,
        site.worker(),
    ):
        bulk = people("bulk", 2000)
        await site.publish(job("bulk", bulk.values()))
        await site.until(lambda: account.counts.accepted > 50)
        await site.publish(job("otp", [ANA], **{"class": "otp"}))
        await site.tally.until_ended(["otp:0"])
        order = [arrival.request.destination_addr for arrival in account.record.arrivals]
        assert order.index(ANA[1:]) < 1000


async def test_a_refusal_ends_a_message_and_says_why(stage: Stages) -> None:
    """A destination that the operator refuses has failed with the name of the status; the others are delivered."""
    refuses = Behaviour(rejected={ANA[1:]: CommandStatus.ESME_RINVDSTADR})
    account = Account("alpha", PASSWORD, refuses)
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port)}) as site, site.worker():
        await site.publish(job("j", [ANA, LUIS]))
        await site.tally.until_ended(["j:0", "j:1"])
        [failed] = site.tally.of("j:0")
        assert (failed.status, failed.error_code) == (EventStatus.FAILED, "ESME_RINVDSTADR")
        assert site.tally.end_of("j:1") is EventStatus.DELIVERED


async def test_a_throttled_message_is_tried_again_and_a_busy_one_later(stage: Stages) -> None:
    """ESME_RTHROTTLED costs no attempt, ESME_RSYSERR one; each message is accepted once in the end."""
    errors = {int(CommandStatus.ESME_RTHROTTLED): 0.3, int(CommandStatus.ESME_RSYSERR): 0.1}
    account = Account("alpha", PASSWORD, Behaviour(errors=errors), seed=3)
    soon = {"errors": {"ESME_RSYSERR": {"disposition": "retry", "after_s": 0.2}}}
    async with Simulator([account]) as smsc, stage(lanes={"alpha": lane(smsc.port, **soon)}) as site, site.worker():
        sent = people("j", 30)
        await site.publish(job("j", sent.values()))
        await site.until(lambda: account.counts.refused.get("ESME_RSYSERR", 0) > 0)
        account.behaviour = Behaviour()
        await site.tally.until_ended(sent)
        assert site.tally.ends(sent) == {EventStatus.DELIVERED: 30}
        attempts = Counter(
            event.attempt for event in site.tally.events.values() if event.status is EventStatus.SUBMITTED
        )
        assert attempts == {1: 30 - account.counts.refused["ESME_RSYSERR"], 2: account.counts.refused["ESME_RSYSERR"]}
    assert account.counts.refused["ESME_RTHROTTLED"] > 0
    assert account.counts.duplicates == 0


async def test_the_contracted_rate_is_kept_in_parts(stage: Stages) -> None:
    """In no second does the operator see more parts than rate and burst allow, long messages included.

    The lane asks for half of the burst that the contract allows: what is squeezed together on its way counts too.
    """
    account = Account("alpha", PASSWORD, record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=200, burst=5, binds=2)}) as site,
        site.worker(),
    ):
        short, long = people("short", 250), people("long", 100, 500)
        await site.publish(job("short", short.values()), job("long", long.values(), "x" * 200))
        await site.tally.until_ended([*short, *long])
    times = [arrival.at for arrival in account.record.arrivals]
    assert len(times) == 250 + 2 * 100
    assert max_per_second(times) <= 200 + 10
