"""Twilio: SMS and voice."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qs, parse_qsl, urlencode

import msgspec
import pytest

from gateway.errors import Disposition
from gateway.model import EventStatus
from gateway.providers.contract import Accepted, Failure, Hook, Scope, Unsendable, Unsigned
from gateway.providers.twilio import ERRORS, Twilio, TwilioSettings
from gateway.tables import Secret
from tests.providers.suite import NOW, Case, a_hook, a_message, a_reply, with_body, with_header, without

TOKEN = "the-auth-token"
SETTINGS = TwilioSettings(
    account_sid="AC01", auth_token=Secret(TOKEN), sender="+12025550100", callback_url="https://hooks.example/sms"
)
VOICE_SETTINGS = msgspec.structs.replace(SETTINGS, product="voice")
SMS_LANE, VOICE_LANE = Twilio(SETTINGS), Twilio(VOICE_SETTINGS)
SIGNATURE = "x-twilio-signature"


def signed(fields: dict[str, str], ref: str = "acme/job-1:0/1", fragment: str = "") -> Hook:
    url = "https://hooks.example/sms?" + urlencode({"ref": ref})
    text = url + fragment + "".join(name + fields[name] for name in sorted(fields))
    mac = hmac.new(TOKEN.encode(), text.encode(), hashlib.sha1).digest()
    headers = {SIGNATURE: base64.b64encode(mac).decode()}
    return a_hook(urlencode(fields).encode(), headers, {"ref": ref}, url)


DELIVERED = signed({"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+573001110000", "ErrorCode": ""})
ANSWERED = signed({"CallSid": "CA1", "CallStatus": "completed", "To": "+573001110000"})


def _case(name: str, lane: Twilio, sid: str, hook: Hook) -> Case:
    return Case(
        name=name,
        provider=lane,
        message=a_message(),
        accepted=lambda messages: a_reply({"sid": sid, "status": "queued", "error_code": None}, 201),
        secrets=(TOKEN, base64.b64encode(f"AC01:{TOKEN}".encode()).decode()),
        hook=hook,
        forged={
            "unsigned": without(hook, SIGNATURE),
            "wrong signature": with_header(hook, SIGNATURE, base64.b64encode(bytes(20)).decode()),
            "another body": with_body(hook, hook.body + b"x"),
            "another reference": msgspec.structs.replace(hook, url=hook.url + "2"),
        },
    )


SMS = _case("twilio sms", SMS_LANE, "SM1", DELIVERED)
VOICE = _case("twilio voice", VOICE_LANE, "CA1", ANSWERED)

REF = "https://hooks.example/sms?ref=acme%2Fjob-1%3A0%2F1#rc=5&rp=all"
AUDIO = "https://cdn.example/a.mp3?x=1&y=2"


@pytest.mark.parametrize(
    ("settings", "message", "path", "fields"),
    [
        (
            SETTINGS,
            a_message("Año & más = 50%"),
            "Messages",
            {"To": "+573001110000", "From": "+12025550100", "Body": "Año & más = 50%", "StatusCallback": REF},
        ),
        (
            SETTINGS,
            a_message("x", expires_at=NOW + 90.9, sender="24601"),
            "Messages",
            {"To": "+573001110000", "From": "24601", "Body": "x", "ValidityPeriod": "90", "StatusCallback": REF},
        ),
        (
            msgspec.structs.replace(SETTINGS, sender="MG01", callback_url=""),
            a_message("x", expires_at=NOW + 86_400),
            "Messages",
            {"To": "+573001110000", "MessagingServiceSid": "MG01", "Body": "x", "ValidityPeriod": "36000"},
        ),
        (
            msgspec.structs.replace(SETTINGS, callback_url="https://hooks.example/?lane=1"),
            a_message("x"),
            "Messages",
            {
                "To": "+573001110000",
                "From": "+12025550100",
                "Body": "x",
                "StatusCallback": "https://hooks.example/?lane=1&ref=acme%2Fjob-1%3A0%2F1#rc=5&rp=all",
            },
        ),
        (
            msgspec.structs.replace(SETTINGS, callback_url="https://hooks.example/#rc=2"),
            a_message("x"),
            "Messages",
            {
                "To": "+573001110000",
                "From": "+12025550100",
                "Body": "x",
                "StatusCallback": "https://hooks.example/?ref=acme%2Fjob-1%3A0%2F1#rc=2",
            },
        ),
        (
            VOICE_SETTINGS,
            a_message('Debe <100> & "más"\x07', expires_at=NOW + 60),
            "Calls",
            {
                "To": "+573001110000",
                "From": "+12025550100",
                "Twiml": '<Response><Say language="es-MX">Debe &lt;100&gt; &amp; "más"</Say></Response>',
                "StatusCallback": REF,
            },
        ),
        (
            msgspec.structs.replace(VOICE_SETTINGS, voice='Polly."Mía"', language="es-US", callback_url=""),
            a_message("Hola"),
            "Calls",
            {
                "To": "+573001110000",
                "From": "+12025550100",
                "Twiml": '<Response><Say voice=\'Polly."Mía"\' language="es-US">Hola</Say></Response>',
            },
        ),
        (
            msgspec.structs.replace(VOICE_SETTINGS, voice="man", callback_url=""),
            a_message("", content='{"say":"Olá","language":"pt-BR","voice":"alice"}'),
            "Calls",
            {
                "To": "+573001110000",
                "From": "+12025550100",
                "Twiml": '<Response><Say voice="alice" language="pt-BR">Olá</Say></Response>',
            },
        ),
        (
            msgspec.structs.replace(VOICE_SETTINGS, callback_url=""),
            a_message("", content=f'{{"audio":"{AUDIO}"}}'),
            "Calls",
            {
                "To": "+573001110000",
                "From": "+12025550100",
                "Twiml": "<Response><Play>https://cdn.example/a.mp3?x=1&amp;y=2</Play></Response>",
            },
        ),
    ],
    ids=[
        "text",
        "expires",
        "service, late",
        "query in callback",
        "overrides in callback",
        "spoken",
        "voice and language",
        "named",
        "played",
    ],
)
def test_a_message_becomes_a_form(settings: TwilioSettings, message: object, path: str, fields: dict[str, str]) -> None:
    """With Basic authentication, and our reference in the URL that Twilio calls back."""
    call = Twilio(settings).call([message], "", NOW)  # type: ignore[list-item]
    assert call.url == f"https://api.twilio.com/2010-04-01/Accounts/AC01/{path}.json"
    assert dict(call.headers) == {
        "authorization": "Basic " + base64.b64encode(f"AC01:{TOKEN}".encode()).decode(),
        "content-type": "application/x-www-form-urlencoded",
    }
    assert dict(parse_qsl(call.body.decode())) == fields


@pytest.mark.parametrize(
    ("lane", "text", "fits"),
    [
        (SMS_LANE, "x" * 1600, True),
        (SMS_LANE, "x" * 1601, False),
        (SMS_LANE, "😀" * 800, True),
        (SMS_LANE, "😀" * 801, False),
        (VOICE_LANE, "x" * 3951, True),
        (VOICE_LANE, "x" * 3952, False),
        (VOICE_LANE, "<" * 1500, False),
    ],
)
def test_what_is_too_long_is_not_sent(lane: Twilio, text: str, fits: bool) -> None:
    """1,600 characters as Twilio counts, and 4,000 of a call's document after escaping."""
    if fits:
        lane.prepare(a_message(text))
        return
    with pytest.raises(Unsendable, match="more than"):
        lane.prepare(a_message(text))
    with pytest.raises(Unsendable):
        lane.call([a_message(text)], "", NOW)


@pytest.mark.parametrize(
    ("status", "code", "disposition", "scope"),
    [
        (400, 21610, Disposition.REJECTED, Scope.RECIPIENT),
        (400, 21614, Disposition.REJECTED, Scope.RECIPIENT),
        (400, 21611, Disposition.THROTTLED, Scope.LANE),
        (429, 20429, Disposition.THROTTLED, Scope.LANE),
        (400, 21606, Disposition.REROUTE, Scope.LANE),
        (401, 20003, Disposition.STOP, Scope.LANE),
        (400, 10001, Disposition.STOP, Scope.LANE),
        (400, 99999, Disposition.REJECTED, Scope.LANE),
        (503, 99999, Disposition.UNKNOWN, Scope.LANE),
    ],
)
def test_a_code_decides_and_where_it_is_not_listed_the_status(
    status: int, code: int, disposition: Disposition, scope: Scope
) -> None:
    """The text of the error is kept for the event."""
    reply = a_reply({"code": code, "message": "why", "status": status}, status)
    assert SMS_LANE.read([a_message()], reply) == [Failure(disposition, str(code), "why", None, scope)]


def test_an_unavailable_server_that_names_a_time_did_not_take_the_message() -> None:
    """503 with Retry-After is tried again then; without, nobody knows."""
    assert SMS_LANE.read([a_message()], a_reply(b"", 503, retry_after="9")) == [
        Failure(Disposition.RETRY, "http:503", after=9.0)
    ]


def test_an_answer_names_the_message() -> None:
    """Their id is what receipts carry, and they arrive at the same lane."""
    reply = a_reply({"sid": "SM9", "status": "accepted", "num_segments": "0", "error_code": None}, 201)
    assert SMS_LANE.read([a_message()], reply) == [Accepted("SM9")]


def test_an_id_in_an_error_is_no_acceptance() -> None:
    """Only a success takes the message."""
    (result,) = SMS_LANE.read([a_message()], a_reply({"sid": "SM9"}, 500))
    assert result == Failure(Disposition.UNKNOWN, "http:500")


@pytest.mark.parametrize(
    ("fields", "status", "code", "disposition"),
    [
        ({"MessageSid": "S", "MessageStatus": "queued"}, EventStatus.SUBMITTED, None, None),
        ({"MessageSid": "S", "MessageStatus": "sent"}, EventStatus.SUBMITTED, None, None),
        ({"MessageSid": "S", "MessageStatus": "delivered"}, EventStatus.DELIVERED, None, None),
        ({"MessageSid": "S", "MessageStatus": "read", "Body": "ours"}, EventStatus.READ, None, None),
        (
            {"MessageSid": "S", "MessageStatus": "undelivered", "ErrorCode": "30003"},
            EventStatus.FAILED,
            "30003",
            Disposition.REROUTE,
        ),
        (
            {"MessageSid": "S", "MessageStatus": "failed", "ErrorCode": "30007"},
            EventStatus.FAILED,
            "30007",
            Disposition.REJECTED,
        ),
        ({"MessageSid": "S", "MessageStatus": "canceled"}, EventStatus.FAILED, "canceled", Disposition.REJECTED),
        ({"CallSid": "S", "CallStatus": "ringing"}, EventStatus.SUBMITTED, None, None),
        ({"CallSid": "S", "CallStatus": "completed"}, EventStatus.DELIVERED, None, None),
        ({"CallSid": "S", "CallStatus": "busy"}, EventStatus.FAILED, "busy", Disposition.RETRY),
        ({"CallSid": "S", "CallStatus": "no-answer"}, EventStatus.FAILED, "no-answer", Disposition.REROUTE),
        ({"CallSid": "S", "CallStatus": "failed"}, EventStatus.FAILED, "failed", Disposition.REJECTED),
    ],
)
def test_a_callback_becomes_a_status_with_our_reference(
    fields: dict[str, str], status: EventStatus, code: str | None, disposition: Disposition | None
) -> None:
    """Of a message or of a call."""
    reading = SMS_LANE.receive(signed({**fields, "To": "+573001110000"}))
    (read,) = reading.statuses
    assert (read.id, read.status, read.reference, read.to) == ("S", status, "acme/job-1:0/1", "+573001110000")
    assert (read.failure.code if read.failure else None) == code
    assert (read.failure.disposition if read.failure else None) == disposition


@pytest.mark.parametrize(
    ("extra", "kind", "data"),
    [
        ({}, "text", {}),
        ({"OptOutType": "STOP"}, "opt_out", {}),
        ({"OptOutType": "START"}, "opt_in", {}),
        ({"OptOutType": "HELP"}, "text", {}),
        (
            {"MediaUrl0": "https://m/0", "MediaContentType0": "image/jpeg", "MediaUrl1": "https://m/1"},
            "media",
            {"url": "https://m/0", "mime_type": "image/jpeg", "url_1": "https://m/1"},
        ),
    ],
    ids=["text", "stop", "start", "help", "media"],
)
def test_a_message_from_a_person_is_read(extra: dict[str, str], kind: str, data: dict[str, str]) -> None:
    """And answered with a document that says nothing: a text would be sent back to the person."""
    fields = {
        "MessageSid": "SM2",
        "SmsStatus": "received",
        "From": "+573001110000",
        "To": "24601",
        "Body": "sí, mañana",
    }
    reading = SMS_LANE.receive(signed({**fields, "NumSegments": "2", **extra}))
    (inbound,) = reading.inbound
    assert (inbound.inbound_id, inbound.from_, inbound.to) == ("SM2", "+573001110000", "24601")
    assert (inbound.text, inbound.kind, inbound.parts, inbound.data) == ("sí, mañana", kind, 2, data)
    assert not reading.statuses
    assert (reading.answer, reading.content_type) == (
        b'<?xml version="1.0" encoding="UTF-8"?><Response/>',
        "text/xml",
    )


def test_a_new_status_is_counted_and_not_an_error() -> None:
    """Twilio may add one any day."""
    reading = SMS_LANE.receive(signed({"MessageSid": "S", "MessageStatus": "partially_delivered"}))
    assert (reading.statuses, reading.unknown) == ([], ["status:partially_delivered"])
    with pytest.raises(ValueError, match="neither"):
        SMS_LANE.receive(signed({"AccountSid": "AC01"}))


@pytest.mark.parametrize("lane", [SMS_LANE, VOICE_LANE])
def test_how_twilio_is_to_repeat_may_be_part_of_what_it_signs(lane: Twilio) -> None:
    """It is behind the URL that was asked for, and not in the one that is called; another one proves nothing."""
    fields = {"MessageSid": "SM1", "MessageStatus": "sent"}
    lane.verify(signed(fields, fragment="#rc=5&rp=all"), NOW)
    with pytest.raises(Unsigned):
        lane.verify(signed(fields, fragment="#rc=4&rp=all"), NOW)


def test_every_listed_code_says_what_to_do() -> None:
    """No code is UNKNOWN: what has a code was looked at."""
    assert all(rule[0] is not Disposition.UNKNOWN for rule in ERRORS.values())
    assert parse_qs(SMS_LANE.call([a_message()], "", NOW).body.decode()).keys() == {
        "To",
        "From",
        "Body",
        "StatusCallback",
    }
