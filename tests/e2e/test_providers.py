"""Vendors over HTTP and mail: a campaign over each, sent exactly once and told to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.embedded import free_port
from gateway.model import EventStatus
from gateway.simulators import Account, Behaviour, HttpSimulator, Scripted
from gateway.simulators.end import End
from smpp import simulator as smpp
from tests.support.mail import mail_lane, mail_server
from tests.support.meta import received
from tests.support.stage import PASSWORD, Stages, Table, job, lane, people

DEPLOYED = Path(__file__).parents[2] / "deploy" / "providers"
USER = "acme"
WORDS = {"text": "Su cuota vence mañana"}
COUNT = 60

# By lane: the simulated vendor, the provider's table, what a job says. Secrets are all the same.
VENDORS: dict[str, tuple[str, dict[str, Any], Table]] = {
    "twilio": (
        "twilio",
        {"account_sid": USER, "auth_token_file": "password", "sender": "+15550001111"},
        WORDS,
    ),
    "twilio-voice": (
        "twilio",
        {"account_sid": USER, "auth_token_file": "password", "sender": "+15550001111", "product": "voice"},
        {**WORDS, "channel": "voice", "language": "es-MX"},
    ),
    "infobip": (
        "infobip",
        {"api_key_file": "password", "sender": "Acme", "callback_user": USER, "callback_password_file": "password"},
        WORDS,
    ),
    "vonage": (
        "vonage",
        {"api_key": USER, "api_secret_file": "password", "signature_secret_file": "password", "sender": "Acme"},
        WORDS,
    ),
    "sinch": (
        "sinch",
        {"service_plan_id": "plan", "api_token_file": "password", "callback_secret_file": "password", "sender": "Acme"},
        WORDS,
    ),
    "generic": (
        "infobip",
        {
            "file": str(DEPLOYED / "infobip.toml"),
            "sender": "Acme",
            "settings": {"callback_user": USER},
            "secrets": {"api_key_file": "password", "callback_password_file": "password"},
        },
        WORDS,
    ),
    "rcs": (
        "rbm",
        {
            "agent_id": "banco@rbm",
            "client_email": "a@b.example",
            "private_key_file": "key",
            "client_token_file": "password",
        },
        {**WORDS, "channel": "rcs", "traffic_type": "TRANSACTION"},
    ),
}


@pytest.fixture(scope="session")
def key() -> str:
    """A service account's."""
    made = rsa.generate_private_key(65_537, 2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def vendor_lane(name: str, port: int) -> Table:
    """The lane of a vendor to the simulator on `port`."""
    vendor, settings, _ = VENDORS[name]
    base = f"http://127.0.0.1:{port}/{vendor}"
    if name == "generic":
        settings = {**settings, "settings": {**settings["settings"], "base_url": base}}
    else:
        settings = {**settings, "base_url": base}
    if name == "rcs":
        settings["token_url"] = f"{base}/token"
    provider = name.partition("-")[0]
    return {"provider": provider, "rate": 1000, "allow_private": True, provider: settings}


def simulated(**behaviours: Behaviour) -> HttpSimulator:
    """All vendors, who know us and sign as they do."""
    how = dict.fromkeys(("twilio", "infobip", "vonage", "sinch", "rbm"), Behaviour(sent_s=0.05)) | behaviours
    known = dict.fromkeys(how, Account(USER, PASSWORD, PASSWORD))
    return HttpSimulator(how, known)


async def test_a_campaign_over_each_vendor_is_sent_once_and_delivered(stage: Stages, tmp_path: Path, key: str) -> None:
    """Requests, answers and signed callbacks of each; one vendor by the vendor's own file alone; mail without callbacks."""
    (tmp_path / "key").write_text(key)
    hooks = free_port()
    sent = {name: people(name, COUNT, 1000 * n) for n, name in enumerate(VENDORS)}
    async with simulated() as simulator, mail_server() as mail:
        ends: dict[str, End] = simulator.ends
        ends["rbm"].webhook_url = f"http://127.0.0.1:{hooks}/hooks/rcs"
        lanes = {name: vendor_lane(name, simulator.port) for name in VENDORS} | {"mail": mail_lane(mail)}
        channels = {name: said.get("channel", "sms") for name, (_, _, said) in VENDORS.items()} | {"mail": "email"}
        async with (
            stage(
                lanes=lanes,
                routes=[{"lane": name, "tenant": name, "channel": channel} for name, channel in channels.items()],
                webhooks={"port": hooks, "public_url": f"http://127.0.0.1:{hooks}"},
            ) as site,
            site.worker(),
        ):
            for name, (_, _, said) in VENDORS.items():
                await site.publish(job(name, sent[name].values(), tenant=name, **said))
            letters = [f"persona{n}@example.com" for n in range(COUNT)]
            said = {"channel": "email", "subject": "Su cuota", "text": "Vence mañana", "html": "<p>Vence mañana</p>"}
            await site.publish(job("mail", letters, tenant="mail", **said))
            for name, numbers in sent.items():
                await site.tally.until_ended(numbers)
                assert site.tally.ends(numbers) == {EventStatus.DELIVERED: COUNT}, name
                for message_id in numbers:
                    told = site.tally.of(message_id)
                    assert [event.status for event in told] == [EventStatus.SUBMITTED, EventStatus.DELIVERED], name
                    assert {(event.channel, event.lane) for event in told} == {(channels[name], name)}
                    assert len({event.provider_message_id for event in told}) == 1, name
                assert received(ends[VENDORS[name][0]].record, numbers) == dict.fromkeys(numbers, 1), name
            await site.tally.until(lambda: len({e.message_id for e in site.tally.events.values()} & MAILS) == COUNT)
            assert {event.status for each in MAILS for event in site.tally.of(each)} == {EventStatus.SUBMITTED}
            assert sorted(str(each["To"]) for each in mail.mails) == sorted(letters)
            assert not any(end.callbacks.retried or end.callbacks.lost for end in ends.values())
    assert all(end.record.counts.malformed == 0 for end in ends.values())


MAILS = {f"mail:{n}" for n in range(COUNT)}


async def test_who_is_not_reached_by_rcs_gets_an_sms(stage: Stages, tmp_path: Path, key: str) -> None:
    """The next step of the plan, over SMPP, without a request. Whose answer gets lost is asked for again under the same id."""
    (tmp_path / "key").write_text(key)
    hooks = free_port()
    smsc = smpp.Account("alpha", PASSWORD)
    sent = people("j", COUNT)
    away = dict(list(sent.items())[::3])
    lost = dict(list(sent.items())[1::6])
    unread = dict(list(sent.items())[2::6])
    rbm = Behaviour(sent_s=0.05, delivered_s=0.3, rejected={to[1:]: "404" for to in away.values()})
    async with smpp.Simulator([smsc]) as operator, simulated(rbm=rbm) as simulator:
        end = simulator.ends["rbm"]
        end.webhook_url = f"http://127.0.0.1:{hooks}/hooks/rcs"
        for to in lost.values():
            end.script.add(Scripted(fault="reset", recipient=to[1:]))
        for to in unread.values():
            end.script.add(Scripted(fault="garbage", recipient=to[1:]))
        async with (
            stage(
                lanes={"sms": lane(operator.port), "rcs": vendor_lane("rcs", simulator.port)},
                routes=[{"lane": "rcs", "channel": "rcs"}],
                webhooks={"port": hooks},
            ) as site,
            site.worker(),
        ):
            plan = [{"channel": "sms", "text": "Hola"}]
            await site.publish(job("j", sent.values(), channel="rcs", fallback=plan))
            await site.tally.until(lambda: all(EventStatus.DELIVERED in site.tally.statuses[each] for each in sent))
            channels = {each: site.tally.of(each)[-1].channel for each in sent}
            assert channels == {each: "sms" if each in away else "rcs" for each in sent}
            assert {site.tally.of(each)[0].error_code for each in away} == {"unreachable"}
            assert site.tally.counts()[EventStatus.UNKNOWN] == 0
            assert site.tally.counts()[EventStatus.ORPHAN] == 0
    counts = end.record.counts
    assert (counts.distinct, counts.refused) == (len(sent) - len(away), {})
    # The same id: nobody gets it twice, whether the next attempt at what was lost or could not be read was due by now or not.
    assert counts.duplicates <= len(lost) + len(unread)
    assert smsc.counts.accepted == len(away)
