"""Vendors that are nothing but TOML: two pass the very tests of the providers written by hand, two have no such twin."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qsl, quote

import msgspec
import pytest

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers.contract import Accepted, Failure, Hook, Reply, Scope, Unsendable, Unsigned
from gateway.providers.generic import Generic, load
from gateway.providers.generic_config import Account
from gateway.tables import Secret
from tests.providers import test_infobip, test_vonage
from tests.providers.suite import NOW, Case, a_hook, a_message, a_reply, several, with_header, without

FOLDER = Path(__file__).parents[2] / "deploy" / "providers"


def vendor(name: str, *, sender: str = "", callback: str = "", secrets: dict[str, str], **settings: str) -> Generic:
    account = Account(
        sender=sender,
        callback=callback,
        settings=settings,
        secrets={key: Secret(value) for key, value in secrets.items()},
    )
    return load(FOLDER / f"{name}.toml", account)


INFOBIP = vendor(
    "infobip",
    sender=test_infobip.SETTINGS.sender,
    callback=test_infobip.SETTINGS.callback_url,
    secrets={"api_key": "the-api-key", "callback_password": "the-password"},
    base_url=test_infobip.SETTINGS.base_url,
    callback_user=test_infobip.SETTINGS.callback_user,
)
VONAGE = vendor(
    "vonage",
    sender=test_vonage.SETTINGS.sender,
    callback=test_vonage.SETTINGS.callback_url,
    secrets={"api_secret": "the-api-secret", "signature": "the-signature"},
    api_key=test_vonage.SETTINGS.api_key,
)


class _Twin:
    """Runs the tests of a provider written by hand on the lane that its vendor's file makes."""

    twin: ModuleType
    lane: Generic

    @pytest.fixture(autouse=True)
    def _in_its_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self.twin, "LANE", self.lane)


class TestInfobip(_Twin):
    """All but the tests of a lane without callbacks and of the names under which what is new is counted."""

    twin, lane = test_infobip, INFOBIP
    test_request = staticmethod(test_infobip.test_messages_travel_together_each_with_its_own_id_text_and_time)
    test_size = staticmethod(test_infobip.test_what_has_more_than_four_thousand_octets_is_not_sent)
    test_answer = staticmethod(test_infobip.test_one_answer_has_an_outcome_for_each_message_in_any_order)
    test_status = staticmethod(test_infobip.test_a_status_in_an_answer_says_what_to_do)
    test_duplicate = staticmethod(test_infobip.test_a_duplicate_of_our_own_id_is_the_message_itself)
    test_refused = staticmethod(test_infobip.test_a_refused_request_says_why)
    test_report = staticmethod(test_infobip.test_a_report_becomes_a_status_with_the_network)


class TestVonage(_Twin):
    """All but the test of the names under which what is new is counted."""

    twin, lane = test_vonage, VONAGE
    test_request = staticmethod(test_vonage.test_a_message_becomes_a_form)
    test_reference = staticmethod(test_vonage.test_a_reference_that_is_too_long_for_them_is_left_out)
    test_answer = staticmethod(test_vonage.test_every_part_must_be_accepted)
    test_count = staticmethod(test_vonage.test_an_answer_with_fewer_parts_than_it_counts_is_unknown)
    test_shapes = staticmethod(test_vonage.test_receipts_come_as_query_form_or_json)
    test_receipt = staticmethod(test_vonage.test_a_receipt_becomes_a_status)
    test_inbound = staticmethod(test_vonage.test_a_message_from_a_person_is_read)


def test_what_is_new_is_counted_beside_what_is_known() -> None:
    """An unknown status by its word, an element of another kind as such."""
    person = {"messageId": "m1", "from": "573001110000", "to": "24601", "text": "sí", "smsCount": 2}
    hook = test_infobip.called(
        {"messageId": "a", "status": {"groupId": 3, "name": "DELIVERED_SOMEHOW"}},
        person,
        {"messageId": "b", "status": {"groupId": 77}},
        {"x": 1},
    )
    reading = INFOBIP.receive(hook)
    assert [status.id for status in reading.statuses] == ["a"]
    assert [(one.inbound_id, one.from_, one.text, one.parts) for one in reading.inbound] == [
        ("m1", "+573001110000", "sí", 2)
    ]
    assert reading.unknown == ["status:77", "element"]


# Postmark: an e-mail API, a list in and a list out.

POSTMARK = vendor(
    "postmark",
    sender="Banco <avisos@banco.example>",
    secrets={"token": "the-token", "callback_password": "the-password"},
    callback_user="recado",
)
CONTENT = '{"subject":"Su cuota","text":"Vence hoy","html":"<p>Vence hoy</p>"}'
MAIL = a_message("", to="ana@example.com", content=CONTENT, channel="email")
PLAIN = a_message("", to="luis@example.com", number=1, content='{"subject":"s","text":"t"}', channel="email")


def mail_accepted(messages: Sequence[Message]) -> Reply:
    return a_reply([{"To": m.to, "MessageID": f"id-{m.message_id}", "ErrorCode": 0, "Message": "OK"} for m in messages])


def mail_hook(body: dict[str, object]) -> Hook:
    credentials = base64.b64encode(b"recado:the-password").decode()
    return a_hook(msgspec.json.encode(body), {"authorization": f"Basic {credentials}"})


DELIVERED = mail_hook(
    {
        "RecordType": "Delivery",
        "MessageID": "883953f4",
        "Recipient": "ana@example.com",
        "DeliveredAt": "2027-01-15T03:00:00.2735393-05:00",
        "Metadata": {"reference": "acme/job-1:0/1"},
    }
)


def test_mails_go_as_one_list_each_with_what_it_has() -> None:
    """A part that a message lacks is left out, and so is the stream that the lane does not name."""
    call = POSTMARK.call([MAIL, PLAIN], "", NOW)
    assert (call.method, call.url) == ("POST", "https://api.postmarkapp.com/email/batch")
    assert ("x-postmark-server-token", "the-token") in call.headers
    assert msgspec.json.decode(call.body) == [
        {
            "From": "Banco <avisos@banco.example>",
            "To": "ana@example.com",
            "Subject": "Su cuota",
            "TextBody": "Vence hoy",
            "HtmlBody": "<p>Vence hoy</p>",
            "Metadata": {"reference": "acme/job-1:0/1"},
        },
        {
            "From": "Banco <avisos@banco.example>",
            "To": "luis@example.com",
            "Subject": "s",
            "TextBody": "t",
            "Metadata": {"reference": "acme/job-1:1/1"},
        },
    ]


def test_a_mail_without_a_subject_is_not_sent() -> None:
    """Nor is one whose content is not JSON."""
    for content in ('{"text":"t"}', "", "{"):
        with pytest.raises(Unsendable):
            POSTMARK.prepare(a_message("", to="ana@example.com", content=content))


def test_results_of_mails_stand_in_the_order_of_the_request() -> None:
    """A refusal names nobody."""
    refused = {"ErrorCode": 406, "Message": "inactive"}
    reply = a_reply([refused, {"To": "luis@example.com", "MessageID": "id", "ErrorCode": 0}])
    assert POSTMARK.read([MAIL, PLAIN], reply) == [
        Failure(Disposition.REJECTED, "406", "inactive", scope=Scope.RECIPIENT),
        Accepted("id"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "disposition"),
    [
        (401, 10, Disposition.STOP),
        (422, 300, Disposition.REJECTED),
        (422, 405, Disposition.STOP),
        (422, 429, Disposition.THROTTLED),
        (200, 100, Disposition.RETRY),
        (500, 0, Disposition.UNKNOWN),
    ],
)
def test_a_refused_list_is_one_object(status: int, code: int, disposition: Disposition) -> None:
    """Its code says what to do, else its status."""
    (result,) = POSTMARK.read([MAIL], a_reply({"ErrorCode": code, "Message": "why"}, status))
    assert isinstance(result, Failure)
    assert result.disposition is disposition


@pytest.mark.parametrize(
    ("body", "status", "failure"),
    [
        ({"RecordType": "Open"}, EventStatus.READ, None),
        (
            {"RecordType": "Bounce", "Type": "HardBounce", "Description": "unknown user", "Email": "ana@example.com"},
            EventStatus.FAILED,
            Failure(Disposition.REJECTED, "HardBounce", "unknown user", scope=Scope.RECIPIENT),
        ),
        (
            {"RecordType": "Bounce", "Type": "SoftBounce"},
            EventStatus.FAILED,
            Failure(Disposition.RETRY, "SoftBounce", scope=Scope.RECIPIENT),
        ),
        ({"RecordType": "Bounce", "Type": "Transient"}, EventStatus.SUBMITTED, None),
        ({"RecordType": "Bounce", "Type": "AutoResponder"}, EventStatus.SUBMITTED, None),
        ({"RecordType": "Bounce", "Type": "Unsubscribe"}, EventStatus.SUBMITTED, None),
        ({"RecordType": "Bounce", "Type": "New"}, EventStatus.FAILED, Failure(Disposition.REJECTED, "New")),
    ],
)
def test_what_became_of_a_mail(body: dict[str, object], status: EventStatus, failure: Failure | None) -> None:
    """Bounces are failures of their own kinds, or none: what is only delayed, and what machines and people reply."""
    (read,) = POSTMARK.receive(mail_hook({"MessageID": "883953f4", **body})).statuses
    assert (read.id, read.status, read.failure) == ("883953f4", status, failure)


def test_a_delivery_has_our_reference_and_the_time_of_its_zone() -> None:
    """Seven digits of a second, and an offset."""
    POSTMARK.verify(DELIVERED, NOW)
    (read,) = POSTMARK.receive(DELIVERED).statuses
    assert (read.status, read.reference, read.to) == (EventStatus.DELIVERED, "acme/job-1:0/1", "ana@example.com")
    assert read.at == pytest.approx(NOW + 0.273539, abs=1e-5)


# A voice blaster: a form in, a line of text out, a GET back.

VOICE = vendor(
    "voice-blaster",
    callback="https://hooks.example/voice",
    secrets={"user": "the-user", "password": "the-password", "callback": "the-word"},
    url="https://blaster.example/v1",
    campaign="cobranza",
)
PLAYED = a_message("", content='{"audio":"https://cdn.example/a.mp3?x=1&y=2"}', channel="voice")
CALLED = a_hook(
    query={"ref": "acme/job-1:0/1", "call": "77", "result": "answered", "ended": "15/01/2027 03:00:00"},
    url="https://hooks.example/voice/the-word?ref=acme%2Fjob-1%3A0%2F1&call=77",
    method="GET",
)


def test_a_call_is_a_form_whose_callback_carries_our_reference() -> None:
    """Country and national number apart; what the message lacks is left out."""
    spoken = a_message(
        "", content='{"say":"Su pago vence hoy","language":"es-CO","voice":"Mía"}', expires_at=NOW + 3600
    )
    call = VOICE.call([spoken], "", NOW)
    assert call.url == "https://blaster.example/v1/calls"
    assert dict(call.headers)["authorization"] == "Basic " + base64.b64encode(b"the-user:the-password").decode()
    reference = quote("acme/job-1:0/1", safe="")
    assert dict(parse_qsl(call.body.decode())) == {
        "campaign": "cobranza",
        "country": "57",
        "phone": "3001110000",
        "say": "Su pago vence hoy",
        "language": "es-CO",
        "voice": "Mía",
        "callback": f"https://hooks.example/voice/the-word?ref={reference}",
        "until": "2027-01-15T09:00:00Z",
    }


def test_a_call_plays_a_recording_instead() -> None:
    """As its content has it; one with neither is not made."""
    call = VOICE.call([PLAYED], "", NOW)
    form = dict(parse_qsl(call.body.decode()))
    assert form["audio"] == "https://cdn.example/a.mp3?x=1&y=2"
    assert not form.keys() & {"say", "language", "voice", "until"}
    with pytest.raises(Unsendable, match=r"no content\.audio and no content\.say"):
        VOICE.prepare(a_message("a text of an SMS", content="{}"))


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b"OK|77", 200, Accepted("77")),
        (
            b"ERR|BUSY|retry in 30 s\r\n",
            200,
            Failure(Disposition.THROTTLED, "BUSY", "retry in 30 s", after=30.0),
        ),
        (b"ERR|CREDIT", 200, Failure(Disposition.STOP, "CREDIT")),
        (b"ERR|NUMBER|bad", 200, Failure(Disposition.REJECTED, "NUMBER", "bad", scope=Scope.RECIPIENT)),
        (b"ERR|NEW|?", 200, Failure(Disposition.REJECTED, "NEW", "?")),
        (b"OK|", 200, Failure(Disposition.UNKNOWN, "http:200")),
        (b"<html>", 200, Failure(Disposition.UNKNOWN, "http:200")),
        (b"<html>", 502, Failure(Disposition.UNKNOWN, "http:502")),
    ],
)
def test_an_answer_of_one_line_is_read_by_its_groups(body: bytes, status: int, expected: object) -> None:
    """And what is not such a line says nothing."""
    assert VOICE.read([PLAYED], a_reply(body, status)) == [expected]


@pytest.mark.parametrize(
    ("word", "status", "disposition"),
    [
        ("ringing", EventStatus.SUBMITTED, None),
        ("answered", EventStatus.DELIVERED, None),
        ("machine", EventStatus.DELIVERED, None),
        ("busy", EventStatus.FAILED, Disposition.RETRY),
        ("no-answer", EventStatus.FAILED, Disposition.RETRY),
        ("failed", EventStatus.FAILED, Disposition.REJECTED),
    ],
)
def test_what_became_of_a_call(word: str, status: EventStatus, disposition: Disposition | None) -> None:
    """By its word, in the zone of the blaster, with our reference from the address that was called."""
    hook = msgspec.structs.replace(CALLED, query={**CALLED.query, "result": word})
    VOICE.verify(hook, NOW)
    reading = VOICE.receive(hook)
    (read,) = reading.statuses
    assert (read.id, read.reference, read.status, read.at) == ("77", "acme/job-1:0/1", status, NOW)
    assert (read.failure.disposition if read.failure else None) is disposition
    assert reading.answer == b"OK"


def test_the_word_in_the_path_proves_the_blaster() -> None:
    """Another, or none, does not."""
    for url in ("https://hooks.example/voice/other?ref=x", "https://hooks.example/voice", "https://hooks.example/"):
        with pytest.raises(Unsigned):
            VOICE.verify(msgspec.structs.replace(CALLED, url=url), NOW)


def _named(case: Case, lane: Generic) -> Case:
    return msgspec.structs.replace(case, name=f"{case.name} in TOML", provider=lane)


CASES = [
    _named(test_infobip.CASE, INFOBIP),
    _named(test_vonage.CASE, VONAGE),
    Case(
        name="postmark in TOML",
        provider=POSTMARK,
        message=MAIL,
        accepted=mail_accepted,
        secrets=("the-token", "the-password"),
        hook=DELIVERED,
        forged={
            "unsigned": without(DELIVERED, "authorization"),
            "wrong signature": with_header(DELIVERED, "authorization", "Basic eDp4"),
        },
    ),
    Case(
        name="voice blaster in TOML",
        provider=VOICE,
        message=PLAYED,
        accepted=lambda messages: a_reply(b"OK|77"),
        secrets=("the-user", "the-password", "the-word"),
        hook=CALLED,
        forged={
            "unsigned": msgspec.structs.replace(CALLED, url="https://hooks.example/voice/"),
            "wrong signature": msgspec.structs.replace(CALLED, url="https://hooks.example/voice/the-wor"),
        },
    ),
]
"""For the contract suite."""


def test_mails_to_several_are_told_apart_by_their_place() -> None:
    """As many results as messages, or nothing is certain."""
    messages = several(CASES[2], 3)
    assert POSTMARK.read(messages, mail_accepted(messages)) == [Accepted(f"id-{m.message_id}") for m in messages]
    short = POSTMARK.read(messages, mail_accepted(messages[:2]))
    assert [r.disposition for r in short if isinstance(r, Failure)] == [Disposition.UNKNOWN] * 3
