"""What publishers write: a record of the jobs topic, as far as the requests that come of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from gateway import content, events, numbers
from gateway.errors import InvalidJob, MissingParameter
from gateway.model import (
    Job,
    Message,
    Recipient,
    deadline_of,
    decode_job,
    decode_message,
    encode_message,
    message_id_of,
)
from gateway.personalise import TooLong
from gateway.providers.contract import Provider, Unsendable
from smpp.segment import TextEncoder, TextTooLong, UnencodableText
from tests.fuzz.wire import vector
from tests.providers import test_generic_vendors, test_rbm, test_twilio, test_whatsapp
from tests.providers.suite import NOW

_MOST = 3
"""Recipients of a job that are looked at."""
_SMS = TextEncoder()
_PROVIDERS: dict[str, tuple[Provider, ...]] = {
    "whatsapp": (test_whatsapp.PROVIDER,),
    "rcs": (test_rbm.LANE,),
    "voice": (test_twilio.VOICE_LANE, test_generic_vendors.VOICE),
    "email": (test_generic_vendors.POSTMARK,),
    "sms": (test_twilio.SMS_LANE, test_generic_vendors.INFOBIP),
}
_AT = datetime.fromtimestamp(NOW, UTC)


def job(data: bytes) -> bool:
    """A record is a job or invalid with a reason; each recipient is a message that a lane can carry, or rejected."""
    try:
        job = decode_job(data)
        renderers = [(step, content.compile(step)) for step in (job, *job.fallback)]
    except InvalidJob as error:
        error.reason.encode()
        return False
    _check_event(*events.of_job(job, "0:0", _AT, 0))
    assert deadline_of(job) >= 0
    for index, recipient in enumerate(job.recipients[:_MOST]):
        if numbers.check(recipient.to) is None:
            assert numbers.country_code(recipient.to)
        numbers.check_address(recipient.to)
        for step, renderer in renderers:
            try:
                rendered = renderer.render(recipient.params)
            except (MissingParameter, TooLong, content.Unrenderable) as error:
                _check_event(*events.of_rejection(job, message_id_of(job, index), _AT, "parameter", str(error)))
                continue
            if step.channel == "sms":
                _check_sms(rendered.text)
            else:
                assert isinstance(json.loads(rendered.content), dict)
            _check_message(_message(job, index, recipient, step.channel, rendered))
    return True


def _message(job: Job, index: int, recipient: Recipient, channel: str, rendered: content.Rendered) -> Message:
    to = recipient.to if numbers.check(recipient.to) is None else "+573001110000"
    if channel == "email":
        to = "ana@example.org"
    return Message(
        message_id_of(job, index),
        to,
        rendered.text,
        job.sender,
        job.job_id,
        job.campaign,
        job.tenant,
        job.class_,
        deadline_of(job),
        "0:0:0",
        NOW,
        content=rendered.content,
        channel=channel,
        operator=recipient.operator,
        purpose=job.purpose,
    )


def _check_sms(text: str) -> None:
    try:
        encoded = _SMS.encode(text, 1)
    except (UnencodableText, TextTooLong):
        return
    assert len(encoded.parts) == _SMS.count(text)


def _check_message(message: Message) -> None:
    assert decode_message(encode_message(message)) == message
    for provider in _PROVIDERS[message.channel]:
        try:
            provider.prepare(message)
        except Unsendable as error:
            error.text.encode()
            continue
        hash(provider.group(message))
        call = provider.call([message], "a-token", NOW)
        assert call.url.startswith("https://")
        call.url.encode("ascii")
        for name, value in call.headers:
            assert not set(name + value) & set("\r\n\0")


def _check_event(key: bytes | None, value: bytes) -> None:
    assert key is not None
    msgspec.json.decode(value)


_RECIPIENT = {
    "to": "+573001234567",
    "message_id": "m-1",
    "params": {"name": "Año", "amount": 10.5, "n": 3, "t": "Título", "id": "7", "url": "https://a.example/x"},
    "email": "ana@example.org",
    "operator": "732101",
}
_CONTENTS = (
    {"text": "Hola {name}, vence {{hoy}}: {amount}"},
    {"text": "x" * 400, "sender": "89000"},
    {"channel": "voice", "text": "Debe {amount}", "language": "es-MX", "voice": "alice"},
    {"channel": "voice", "audio": "https://a.example/{id}.mp3"},
    {"channel": "email", "subject": "Vence {name}", "text": "Hola {name}", "html": "<b>{name}</b>"},
    {"channel": "rcs", "text": "Hola {name}", "suggestions": [{"reply": {"text": "Pagar", "postbackData": "{id}"}}]},
    {
        "channel": "rcs",
        "traffic_type": "TRANSACTION",
        "card": {
            "cardOrientation": "VERTICAL",
            "cardContent": {
                "title": "{t}",
                "media": {"height": "MEDIUM", "contentInfo": {"fileUrl": "https://a.example/x.png"}},
                "suggestions": [{"action": {"text": "Ver", "postbackData": "v", "openUrlAction": {"url": "{url}"}}}],
            },
        },
    },
)


def jobs() -> Iterator[bytes]:
    contents = [*_CONTENTS, *({"channel": "whatsapp"} | each["content"] for each in vector("whatsapp_contents"))]
    for number, each in enumerate(contents):
        body: dict[str, object] = {"job_id": "j-1", "recipients": [_RECIPIENT, {"to": "+525512345678"}], **each}
        if number % 2:
            body |= {"class": "otp", "tenant": "acme", "campaign": "c", "expires_at": "2027-01-15T08:00:00-05:00"}
            body |= {"fallback": [contents[(number + 3) % len(contents)]], "purpose": "first_party_reminder"}
        yield json.dumps(body).encode()
