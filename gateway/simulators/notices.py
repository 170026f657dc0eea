"""What WhatsApp tells its webhook: statuses, messages from people, and news of the account (META/webhooks/reference)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.simulators import signing
from gateway.simulators.end import JSON, Post, Update
from gateway.simulators.graph import error_of

__all__ = ["Change", "inbound_value", "post", "statuses", "wa_id"]

_HREF = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"
_PRICING = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}

Change = tuple[str, Mapping[str, Any]]
"""A field and its value."""


class _Status(msgspec.Struct, omit_defaults=True, gc=False):
    id: str
    status: str
    timestamp: str
    recipient_id: str
    biz_opaque_callback_data: str = ""
    pricing: dict[str, Any] | None = None
    errors: list[dict[str, Any]] | None = None


def wa_id(digits: str) -> str:
    """WhatsApp's own name of a number: those of Mexico keep the 1 behind the country code that dialling has lost."""
    return f"521{digits[2:]}" if len(digits) == 12 and digits.startswith("52") else digits


def statuses(numbers: Mapping[str, str], updates: Iterable[Update], at: float) -> list[Change]:
    """One change for each number, with all that there is to say of its messages; `numbers` are ids to displayed numbers."""
    timestamp = str(int(at))
    by_number: dict[str, list[_Status]] = {}
    for update in updates:
        status = _Status(update.id, update.state, timestamp, update.recipient, update.reference)
        if update.state == "failed":
            status.errors = [_error(update.code)]
        elif update.state != "read":
            status.pricing = _PRICING
        by_number.setdefault(update.sender, []).append(status)
    return [
        ("messages", _value(number, numbers.get(number, number), "statuses", found))
        for number, found in by_number.items()
    ]


def inbound_value(
    number: str, displayed: str, sender: str, text: str, message: Mapping[str, Any], message_id: str, at: float
) -> Mapping[str, Any]:
    """The value of a message from a person: text, unless `message` says another type with what belongs to it."""
    content = dict(message) if "type" in message else {"type": "text", "text": {"body": text}, **message}
    whole = {"from": wa_id(sender), "id": message_id, "timestamp": str(int(at)), **content}
    contacts = [{"profile": {"name": "Ana"}, "wa_id": wa_id(sender)}]
    return {**_value(number, displayed, "messages", [whole]), "contacts": contacts}


def post(url: str, secret: str, waba_id: str, changes: Sequence[Change], size: int = 1) -> Post:
    """Changes as one signed request, an entry for each."""
    entry = [{"id": waba_id, "changes": [{"field": field, "value": value}]} for field, value in changes]
    body = msgspec.json.encode({"object": "whatsapp_business_account", "entry": entry})
    return Post(url, body, {"Content-Type": JSON, "X-Hub-Signature-256": signing.hub(secret, body)}, size)


def _value(number: str, displayed: str, name: str, members: Sequence[Any]) -> Mapping[str, Any]:
    metadata = {"display_phone_number": displayed, "phone_number_id": number}
    return {"messaging_product": "whatsapp", "metadata": metadata, name: members}


def _error(code: str) -> dict[str, Any]:
    title = error_of(code).title
    return {
        "code": int(code) if code.isdigit() else code,
        "title": title,
        "message": title,
        "error_data": {"details": title},
        "href": _HREF,
    }
