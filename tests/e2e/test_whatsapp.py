"""WhatsApp from the job to the read receipt: what Meta refuses and holds, what people write, and what that allows."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from gateway.flight import Flight
from gateway.lane import Slot
from gateway.model import EventStatus
from gateway.simulators import Behaviour, TemplateState
from smpp import simulator as smpp
from tests.support.meta import ANY_PAIR, NUMBER, on_whatsapp, received, reminder, words
from tests.support.stage import PASSWORD, Stages, lane, people

SMS = {"channel": "sms", "text": "Hola"}
TEMPLATE = ("payment_due", "es_MX")
OTHER = ("welcome", "es_MX")
OTHER_NUMBER = "100000000000002"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again, or asks again whether it is held, does so after a second."""
    monkeypatch.setattr("gateway.settle.FIRST_S", 0.01)
    monkeypatch.setattr("gateway.number._AGAIN_S", 1.0)


async def test_templates_are_sent_delivered_and_read(stage: Stages) -> None:
    """Each is sent once with what is the person's own, and its events come in their order."""
    behaviour = Behaviour(delivered_s=1.0, read_s=1.0, read_ratio=1.0)
    async with on_whatsapp(stage, behaviour, limit=2000) as meta, meta.site.worker():
        site = meta.site
        sent = people("j", 200)
        await site.publish(reminder("j", sent.values()))
        await site.tally.until(lambda: site.tally.counts()[EventStatus.READ] == 200)
        assert received(meta.record, sent) == dict.fromkeys(sent, 1)
        for message_id in sent:
            told = site.tally.of(message_id)
            assert [event.status for event in told] == [EventStatus.SUBMITTED, EventStatus.DELIVERED, EventStatus.READ]
            assert {(event.channel, event.lane, event.attempt) for event in told} == {("whatsapp", "wa", 1)}
            assert len({event.provider_message_id for event in told}) == 1


# Code and HTTP status of a refusal, then what becomes of a message that has no plan, and of one that goes on as an SMS.
GOES = ("", "whatsapp")
ERRORS: dict[str, tuple[str, int | None, tuple[str, str]]] = {
    "again": ("131000", None, GOES),
    "again-whatever-the-status": ("131016", 403, GOES),
    "unknown-of-a-server": ("199999", 500, GOES),
    "wrong": ("100", None, ("100", "sms")),
    "wrong-parameters": ("132000", 429, ("132000", "sms")),
    "unknown": ("199999", 400, ("199999", "sms")),
    "not-on-whatsapp": ("131026", None, ("131026", "sms")),
    "country": ("130497", 500, ("130497", "sms")),
    "not-now": ("131049", None, ("131049", "sms")),
    "opted-out": ("131050", None, ("131050", "sms")),
    "window-closed": ("131047", None, ("131047", "sms")),
}


async def test_an_error_of_one_message_is_about_it_alone(stage: Stages, soon: None) -> None:
    """It is tried again, fails, or takes the next step of its plan, by the code alone; nobody else notices."""
    smsc = smpp.Account("alpha", PASSWORD)
    plain = dict(zip(ERRORS, people("plain", len(ERRORS)).items(), strict=True))
    planned = dict(zip(ERRORS, people("planned", len(ERRORS), 100).items(), strict=True))
    others = people("others", 100, 1000)
    async with (
        smpp.Simulator([smsc]) as operator,
        on_whatsapp(stage, lane=ANY_PAIR, lanes={"sms": lane(operator.port)}, routes=[{"lane": "sms"}]) as meta,
        meta.site.worker(),
    ):
        site = meta.site
        for name, (code, status, _) in ERRORS.items():
            for _, to in (plain[name], planned[name]):
                meta.refuse(code, to, status=status)
        await site.publish(
            reminder("plain", [to for _, to in plain.values()]),
            reminder("planned", [to for _, to in planned.values()], fallback=[SMS]),
            reminder("others", others.values()),
        )
        every = [message_id for message_id, _ in (*plain.values(), *planned.values())]
        await site.tally.until_ended([*every, *others])
        assert meta.end.script.unused == 0
        for name, (code, _, (failed, channel)) in ERRORS.items():
            for message_id, to, wanted in ((*plain[name], failed), (*planned[name], channel)):
                end = site.tally.of(message_id)[-1]
                if wanted == failed != "":
                    assert (end.status, end.error_code, end.channel) == (EventStatus.FAILED, code, "whatsapp"), name
                    assert meta.to(to) == [code]
                elif wanted == "sms":
                    assert [event.status for event in site.tally.of(message_id)] == [
                        EventStatus.FALLBACK,
                        EventStatus.SUBMITTED,
                        EventStatus.DELIVERED,
                    ], name
                    assert (end.channel, site.tally.of(message_id)[0].error_code) == ("sms", code)
                    assert meta.to(to) == [code]
                else:
                    assert (end.status, end.channel, end.attempt) == (EventStatus.DELIVERED, "whatsapp", 2), name
                    assert meta.to(to) == [code, ""]
        assert site.tally.ends(others) == {EventStatus.DELIVERED: len(others)}
        assert {event.attempt for each in others for event in site.tally.of(each)} == {1}
    assert smsc.counts.accepted == sum(channel == "sms" for _, _, (_, channel) in ERRORS.values())


async def test_a_number_that_is_throttled_pauses_and_loses_nothing(stage: Stages) -> None:
    """130429 while requests are under way: a pause, then slower; what bounced goes again, as the attempt that it was."""
    sent = people("j", 200)
    async with on_whatsapp(stage, Behaviour(latency_s=0.05), lane={"rate": 200}) as meta, meta.site.worker():
        site = meta.site
        await site.publish(reminder("j", sent.values()))
        await site.until(lambda: len(meta.record) > 80)
        meta.refuse("130429", times=5)
        await site.tally.until_ended(sent)
        assert site.tally.ends(sent) == {EventStatus.DELIVERED: 200}
        assert received(meta.record, sent) == dict.fromkeys(sent, 1)
        assert {event.attempt for event in site.tally.events.values() if event.message_id} == {1}
        moments = [one.at for one in meta.record.arrivals()]
        longest, at = max((late - early, late) for early, late in pairwise(moments))
        assert longest > 0.9
        assert sum(at <= moment < at + 1 for moment in moments) < 120


async def test_a_person_that_is_throttled_waits_and_nobody_else(stage: Stages) -> None:
    """131056: the next to that person comes later, the others at once."""
    [(slow, to)] = people("slow", 1).items()
    others = people("others", 200, 100)
    async with on_whatsapp(stage, lane={"pair": {"every_s": 1}}) as meta, meta.site.worker():
        site = meta.site
        meta.refuse("131056", to)
        await site.publish(reminder("slow", [to]), reminder("others", others.values()))
        await site.tally.until_ended(others)
        assert site.tally.end_of(slow) is None
        await site.tally.until_ended([slow])
        assert meta.to(to) == ["131056", ""]
        refused, sent = (one.at for one in meta.record.arrivals() if one.recipient == to[1:])
        assert sent - refused >= 0.95


async def test_a_template_that_meta_pauses_waits_while_others_go(stage: Stages, soon: None) -> None:
    """132015 for one of its messages: the others of it are held, those of another are not; approved again, they go."""
    sent, first, others = people("j", 50), people("first", 1, 100), people("others", 50, 200)
    templates = {TEMPLATE: TemplateState(), OTHER: TemplateState()}
    async with on_whatsapp(stage, templates=templates, lane=ANY_PAIR) as meta, meta.site.worker():
        site = meta.site
        assert meta.end.set_template(*TEMPLATE, {"status": "PAUSED"}, "NONE")  # and nobody is told
        await site.publish(reminder("first", first.values()))
        await site.until(lambda: meta.record.counts.refused == {"132015": 1})
        await site.publish(reminder("j", sent.values()), reminder("others", others.values(), template="welcome"))
        await site.tally.until_ended(others)
        assert not received(meta.record, sent)
        assert meta.record.counts.refused == {"132015": 1}
        meta.tell(*meta.end.set_template(*TEMPLATE, {"status": "APPROVED"}, "NONE"))
        await site.tally.until_ended([*sent, *first])
        assert received(meta.record, sent | first | others) == dict.fromkeys(sent | first | others, 1)


async def test_a_template_of_which_everything_is_wrong_waits(stage: Stages) -> None:
    """132000 for each: not the whole campaign has to fail for somebody to notice."""
    sent = people("j", 400)
    async with on_whatsapp(stage, Behaviour(errors={"132000": 1.0}), lane={"rate": 200}) as meta:
        site = meta.site
        async with site.worker() as worker:
            await site.publish(reminder("j", sent.values()))
            settled = worker.publisher.counts
            await site.until(lambda: settled["wa", "bulk", "failed"] + settled["wa", "bulk", "deferred"] == len(sent))
            assert 50 <= meta.record.counts.refused["132000"] == settled["wa", "bulk", "failed"] < 300
            assert "132000" in {fact.value for _, fact in worker.meta.board.conditions.facts()}


async def test_what_a_callback_says_of_a_template_holds_its_messages(stage: Stages) -> None:
    """132015 as the failure of an accepted message, as the answer would have: those behind it wait, on every worker."""
    first, sent, others = people("first", 1), people("j", 20, 100), people("others", 20, 200)
    templates = {TEMPLATE: TemplateState(held=1.0, held_s=0.05, held_dropped=1.0), OTHER: TemplateState()}
    of_template = "account:waba/template:payment_due/es_MX"
    async with on_whatsapp(stage, templates=templates, lane={"slots": 2}) as meta:
        site = meta.site
        async with site.worker("a") as a, site.worker("b") as b:
            await site.until(lambda: len(a.slots.slots) == len(b.slots.slots) == 1)
            await site.publish(reminder("first", first.values()))
            await site.tally.until_ended(first)
            [failed] = site.tally.of("first:0")[1:]
            assert (failed.status, failed.error_code) == (EventStatus.FAILED, "132015")
            for worker in (a, b):
                await site.until(
                    lambda worker=worker: worker.meta.board.conditions.fact(of_template, "refused") is not None
                )
            await site.publish(reminder("j", sent.values()), reminder("others", others.values(), template="welcome"))
            await site.tally.until_ended(others)
            await site.until(lambda: sum(w.publisher.counts["wa", "bulk", "deferred"] for w in (a, b)) == len(sent))
            assert received(meta.record, sent) == {}


async def test_what_a_paused_template_holds_may_take_the_next_step(stage: Stages) -> None:
    """`templates = "next"`: the one that found out, what follows it, and what has no plan fails."""
    smsc = smpp.Account("alpha", PASSWORD)
    first, sent, plain = people("first", 1), people("j", 20, 100), people("plain", 2, 200)
    templates = {TEMPLATE: TemplateState(status="PAUSED"), OTHER: TemplateState()}
    async with (
        smpp.Simulator([smsc]) as operator,
        on_whatsapp(
            stage,
            templates=templates,
            lane={"templates": "next"},
            lanes={"sms": lane(operator.port)},
            routes=[{"lane": "sms"}],
        ) as meta,
        meta.site.worker(),
    ):
        site = meta.site
        await site.publish(reminder("first", first.values(), fallback=[SMS]))
        await site.tally.until_ended(first)
        await site.publish(reminder("j", sent.values(), fallback=[SMS]), reminder("plain", plain.values()))
        await site.tally.until_ended([*sent, *plain])
        assert site.tally.ends(sent | first) == {EventStatus.DELIVERED: 21}
        assert {site.tally.of(each)[-1].channel for each in sent | first} == {"sms"}
        assert site.tally.ends(plain) == {EventStatus.FAILED: 2}
        assert meta.record.counts.refused == {"132015": 1}


async def test_an_error_that_a_person_has_to_look_at_stops_its_number_alone(stage: Stages) -> None:
    """190: nothing more goes over that number until a reload, over another one it does, and nothing is lost."""
    sent, others = people("j", 100), people("others", 50, 1000)
    async with on_whatsapp(
        stage,
        numbers={"wa": NUMBER, "other": OTHER_NUMBER},
        routes=[{"lane": "other", "channel": "whatsapp", "tenant": "other"}],
    ) as meta:
        site = meta.site
        async with site.worker() as worker:
            meta.refuse("190", times=3)
            await site.publish(reminder("j", sent.values()))
            await site.until(lambda: bool(worker.lanes["wa"].stopped))
            await site.publish(reminder("others", others.values(), tenant="other"))
            await site.tally.until_ended(others)
            stopped = len(meta.record)
            assert site.tally.end_of("j:99") is None
            meta.end.script.clear()
            assert len(meta.record) == stopped
            worker.reload(site.configure())
            await site.tally.until_ended(sent)
            assert received(meta.record, sent | others) == dict.fromkeys(sent | others, 1)


def flights(slot: Slot) -> list[Flight]:
    return [flight for queue in slot.queues for flight in queue.flights.values()]


async def test_a_number_that_is_gone_stops_and_loses_nothing(stage: Stages) -> None:
    """Graph answers as to a message with a wrong parameter; what waits for the number goes when it is back."""
    sent = people("j", 50)
    async with on_whatsapp(stage) as meta, meta.site.worker() as worker:
        site = meta.site
        gone = meta.end.numbers.pop(NUMBER)
        await site.publish(reminder("j", sent.values()))
        slots = worker.dispatcher.slots.values()
        await site.until(lambda: worker.lanes["wa"].stopped == "33")
        # An answer that is settled after the reload would stop it again.
        await site.until(lambda: not any(each.flying for slot in slots for each in flights(slot)))
        meta.end.numbers[NUMBER] = gone
        worker.reload(site.configure())
        await site.tally.until_ended(sent)
        assert received(meta.record, sent) == dict.fromkeys(sent, 1)


async def test_a_message_held_for_an_assessment_is_submitted_and_its_callback_says_how_it_went(stage: Stages) -> None:
    """Pacing: it is not sent again in the meantime; some are released, some are dropped."""
    sent = people("j", 60)
    templates = {TEMPLATE: TemplateState(held=1.0, held_s=0.3, held_dropped=0.5)}
    async with on_whatsapp(stage, templates=templates) as meta, meta.site.worker():
        site = meta.site
        await site.publish(reminder("j", sent.values()))
        await site.tally.until_ended(sent)
        ends = site.tally.ends(sent)
        assert ends[EventStatus.DELIVERED] > 10
        assert ends[EventStatus.FAILED] == 60 - ends[EventStatus.DELIVERED] > 10
        assert {site.tally.of(each)[0].status for each in sent} == {EventStatus.SUBMITTED}
        codes = {event.error_code for event in site.tally.events.values() if event.status is EventStatus.FAILED}
        assert codes == {"132015"}
        assert received(meta.record, sent) == dict.fromkeys(sent, 1)


async def test_a_free_text_goes_only_to_who_has_written(stage: Stages) -> None:
    """The others get the next step of their plan, or fail, and Meta is not asked; a template needs no window."""
    smsc = smpp.Account("alpha", PASSWORD)
    sent, planned, late, templates = people("j", 3), people("planned", 3), people("late", 3), people("t", 3)
    ana, *others = sent.values()
    async with (
        smpp.Simulator([smsc]) as operator,
        on_whatsapp(stage, lane=ANY_PAIR, lanes={"sms": lane(operator.port)}, routes=[{"lane": "sms"}]) as meta,
        meta.site.worker(),
    ):
        site = meta.site
        meta.write(ana)
        await meta.taken()
        await site.publish(
            words("j", sent.values()),
            words("planned", planned.values(), fallback=[SMS]),
            reminder("t", templates.values()),
        )
        await site.tally.until_ended([*sent, *planned, *templates])
        told = {each: site.tally.of(each)[-1] for each in (*sent, *planned, *templates)}
        assert told["j:0"].status is told["planned:0"].status is EventStatus.DELIVERED
        assert told["planned:0"].channel == "whatsapp"
        for index in (1, 2):
            assert (told[f"j:{index}"].status, told[f"j:{index}"].error_code) == (EventStatus.FAILED, "131047")
            assert (told[f"planned:{index}"].status, told[f"planned:{index}"].channel) == (EventStatus.DELIVERED, "sms")
        assert site.tally.ends(templates) == {EventStatus.DELIVERED: 3}
        for to in others:
            meta.write(to)
        await meta.taken()
        await site.publish(words("late", late.values()))
        await site.tally.until_ended(late)
        assert site.tally.ends(late) == {EventStatus.DELIVERED: 3}
        assert not meta.record.counts.refused


# What Meta sends of what a person writes, and what is published of it.
BUTTON = {"type": "button_reply", "button_reply": {"id": "pay", "title": "Pagar"}}
ROW = {"type": "list_reply", "list_reply": {"id": "r1", "title": "Hoy", "description": "Antes de las 18"}}
PHOTO = {"id": "m1", "mime_type": "image/jpeg", "sha256": "x", "caption": "Recibo"}
PLACE = {"latitude": 4.6, "longitude": -74.1, "name": "Casa"}
WRITTEN: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "text": ({"type": "text", "text": {"body": "Hola"}}, "Hola", {}),
    "button": ({"type": "interactive", "interactive": BUTTON}, "Pagar", {"payload": "pay"}),
    "list": ({"type": "interactive", "interactive": ROW}, "Hoy", {"payload": "r1", "description": "Antes de las 18"}),
    "media": ({"type": "image", "image": PHOTO}, "Recibo", {"media": "image", "id": "m1", "mime_type": "image/jpeg"}),
    "location": ({"type": "location", "location": PLACE}, "Casa", {"latitude": 4.6, "longitude": -74.1}),
}


async def test_what_people_write_is_published_in_one_shape(stage: Stages) -> None:
    """Text, button, list, media, location, an opt-out, and an SMS beside them: each once, though Meta says it twice."""
    smsc = smpp.Account("alpha", PASSWORD)
    ana = "573001234567"
    stop = {
        "wa_id": ana,
        "category": "marketing_messages",
        "value": "stop",
        "timestamp": "1750000000",
        "detail": "Stop",
    }
    async with (
        smpp.Simulator([smsc]) as operator,
        on_whatsapp(stage, lanes={"sms": lane(operator.port)}, routes=[{"lane": "sms"}]) as meta,
        meta.site.worker(),
    ):
        await meta.site.until(lambda: smsc.counts.binds == 1)
        for written, _, _ in WRITTEN.values():
            post = meta.end.inbound(ana, "", "", written, meta.simulator.clock(), datetime.now(UTC).timestamp())
            meta.tell(post, post)
        metadata = {"display_phone_number": "10000000001", "phone_number_id": NUMBER}
        value = {"messaging_product": "whatsapp", "metadata": metadata, "user_preferences": [stop]}
        meta.tell(*[meta.end.notice("user_preferences", value)] * 2)
        operator.send_mo("alpha", ana, "89000", "Hola")
        await meta.taken()
        found = {(one.channel, one.kind): one for one in await meta.inbound(len(WRITTEN) + 2)}
        for kind, (_, text, data) in WRITTEN.items():
            one = found["whatsapp", kind]
            assert (one.text, one.from_, one.to, one.lane, one.account) == (
                text,
                f"+{ana}",
                "+10000000001",
                "wa",
                "waba",
            )
            assert data.items() <= one.data.items(), kind
        out = found["whatsapp", "opt_out"]
        assert (out.from_, out.text, out.data["category"]) == (f"+{ana}", "Stop", "marketing_messages")
        assert (found["sms", "text"].text, found["sms", "text"].to) == ("Hola", "89000")
        assert len({one.inbound_id for one in found.values()}) == len(found) == len(WRITTEN) + 2
