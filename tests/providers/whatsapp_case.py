"""WhatsApp in the contract suite; what it has beyond the contract is tested in `test_whatsapp.py`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from gateway.model import Message
from gateway.providers.contract import Hook, Reply
from gateway.providers.whatsapp import WhatsApp, WhatsAppSettings
from gateway.tables import Secret
from tests.providers.suite import Case, a_hook, a_message, a_reply, with_body, with_header, without

LANE = WhatsApp(
    WhatsAppSettings(
        phone_number_id="1065",
        token=Secret("t0ken"),
        app_secret=Secret("s3cret"),
        verify_token=Secret("v3rify"),
    )
)
MESSAGE = a_message(
    "", content='{"type":"template","template":{"name":"due","language":{"code":"es_MX"}}}', channel="whatsapp"
)
SIGNATURE = "x-hub-signature-256"


def accepted(messages: Sequence[Message]) -> Reply:
    return a_reply({"messages": [{"id": f"wamid.{message.message_id}"} for message in messages]})


def signed(value: dict[str, object], secret: bytes = b"s3cret") -> Hook:
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", **value}}
    body = msgspec.json.encode({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]})
    return a_hook(body, {SIGNATURE: "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()})


DELIVERED = {"id": "wamid.1", "status": "delivered", "timestamp": "1800000000", "recipient_id": "573001110000"}
HOOK = signed({"statuses": [DELIVERED]})

CASE = Case(
    name="whatsapp",
    provider=LANE,
    message=MESSAGE,
    accepted=accepted,
    secrets=("t0ken", "s3cret", "v3rify"),
    hook=HOOK,
    forged={
        "unsigned": without(HOOK, SIGNATURE),
        "wrong signature": with_header(HOOK, SIGNATURE, "sha256=" + "0" * 64),
        "another body": with_body(HOOK, HOOK.body + b" "),
        "another secret": signed({"statuses": [DELIVERED]}, b"another"),
        "handshake with another token": a_hook(
            query={"hub.mode": "subscribe", "hub.verify_token": "another", "hub.challenge": "1"}, method="GET"
        ),
    },
)
