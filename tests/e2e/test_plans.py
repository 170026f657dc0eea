"""Plans of several channels: what follows when one has failed, and for whom a step is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.model import EventStatus
from gateway.simulators import Behaviour
from smpp import simulator as smpp
from tests.support.mail import MailServer, mail_lane, mail_server
from tests.support.meta import Meta, on_whatsapp, received, reminder
from tests.support.stage import PASSWORD, Stages, lane, people

SMS = {"channel": "sms", "text": "Hola"}
MAIL = {"channel": "email", "subject": "Su cuota", "text": "Vence mañana"}
COUNT = 20


class Site:
    """A number of WhatsApp, an operator of SMS and a server of mail."""

    def __init__(self, meta: Meta, smsc: smpp.Account, mail: MailServer) -> None:
        self.stage = meta.site
        self.tally = meta.site.tally
        self.meta = meta
        self.smsc = smsc
        self.mail = mail

    def channels(self, *sent: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
        """What was told of each message: the status, and of which channel."""
        return {each: [(e.status.value, e.channel) for e in self.tally.of(each)] for one in sent for each in one}


@asynccontextmanager
async def three_channels(stage: Stages, behaviour: Behaviour | None = None, **number: Any) -> AsyncIterator[Site]:
    smsc = smpp.Account("alpha", PASSWORD)
    async with (
        smpp.Simulator([smsc]) as operator,
        mail_server("nobody@example.com") as mail,
        on_whatsapp(
            stage,
            behaviour,
            lane=number,
            lanes={"sms": lane(operator.port), "mail": mail_lane(mail)},
            routes=[{"lane": "sms"}, {"lane": "mail", "channel": "email"}],
        ) as meta,
        meta.site.worker(),
    ):
        yield Site(meta, smsc, mail)


WENT = [("submitted", "sms"), ("delivered", "sms")]


async def test_the_next_step_follows_a_refusal_and_a_callback_that_says_failed(stage: Stages) -> None:
    """Refused at once: fallback, and the SMS; accepted and failed later: the same; what is delivered has no SMS."""
    async with three_channels(stage) as site:
        refused, failed, fine = people("refused", COUNT), people("failed", COUNT, 100), people("fine", COUNT, 200)
        script = site.meta.end.script
        script.behaviour = Behaviour(sent_s=0.5, rejected={to[1:]: "131026" for to in refused.values()})
        await site.stage.publish(reminder("refused", refused.values(), fallback=[SMS]))
        await site.stage.publish(reminder("fine", fine.values(), fallback=[SMS]))
        await site.tally.until_ended([*refused, *fine])
        script.behaviour = Behaviour(sent_s=0.05, failures={"131026": 1.0}, receipts_duplicated=1.0)
        await site.stage.publish(reminder("failed", failed.values(), fallback=[SMS]))
        await site.tally.until_ended(failed)
        await site.meta.taken()
        told = site.channels(refused, failed, fine)
        assert {tuple(told[each]) for each in refused} == {(("fallback", "whatsapp"), *WENT)}
        assert {tuple(told[each]) for each in failed} == {(("submitted", "whatsapp"), ("fallback", "whatsapp"), *WENT)}
        assert {tuple(told[each]) for each in fine} == {(("submitted", "whatsapp"), ("delivered", "whatsapp"))}
        codes = {e.error_code for e in site.tally.events.values() if e.status is EventStatus.FALLBACK}
        assert codes == {"131026"}
        assert site.smsc.counts.accepted == 2 * COUNT
        assert site.smsc.counts.duplicates == 0


async def test_a_step_over_mail_is_left_out_for_who_has_no_address(stage: Stages) -> None:
    """WhatsApp, then mail, then SMS: who has an address gets the mail, whose address is wrong and who has none the SMS."""
    async with three_channels(stage, Behaviour(errors={"131026": 1.0})) as site:
        to = list(people("j", 3).values())
        addresses = ["ana@example.com", "nobody@example.com", ""]
        recipients = [{"to": number, "email": address} for number, address in zip(to, addresses, strict=True)]
        await site.stage.publish(reminder("j", recipients, fallback=[MAIL, SMS]))
        await site.tally.until(lambda: len(site.mail.mails) == 1)
        await site.tally.until_ended(["j:1", "j:2"])
        await site.tally.until(lambda: EventStatus.SUBMITTED in site.tally.statuses["j:0"])
        told = site.channels(people("j", 3))
        assert told["j:0"] == [("fallback", "whatsapp"), ("submitted", "email")]
        assert told["j:1"] == [("fallback", "whatsapp"), ("fallback", "email"), *WENT]
        assert told["j:2"] == [("fallback", "whatsapp"), *WENT]
        assert str(site.mail.mails[0]["To"]) == "ana@example.com"
        assert site.tally.of("j:1")[1].error_code == "smtp:550:5.1.1"


async def test_a_collection_for_a_third_party_never_goes_over_whatsapp_unless_it_is_allowed(stage: Stages) -> None:
    """Without a plan it is refused with the reason; with one the next step has it; a reminder of one's own goes."""
    collection = {"purpose": "third_party_collection"}
    plain, planned, own = people("plain", 3), people("planned", 3, 100), people("own", 3, 200)
    async with three_channels(stage) as site:
        await site.stage.publish(
            reminder("plain", plain.values(), **collection),
            reminder("planned", planned.values(), fallback=[SMS], **collection),
            reminder("own", own.values(), purpose="first_party_reminder"),
        )
        await site.tally.until_ended([*plain, *planned, *own])
        for message_id in plain:
            [event] = site.tally.of(message_id)
            assert (event.status, event.error_code) == (EventStatus.REJECTED, "policy")
            assert "third_party_collection" in event.error_text
        assert {tuple(told) for told in site.channels(planned).values()} == {tuple(WENT)}
        assert received(site.meta.record, {**plain, **planned, **own}) == dict.fromkeys(own, 1)


async def test_whoever_may_collect_over_whatsapp_does(stage: Stages) -> None:
    """`allow_collections` on the lane."""
    sent = people("j", 3)
    async with three_channels(stage, allow_collections=True) as site:
        await site.stage.publish(reminder("j", sent.values(), purpose="third_party_collection"))
        await site.tally.until_ended(sent)
        assert received(site.meta.record, sent) == dict.fromkeys(sent, 1)
