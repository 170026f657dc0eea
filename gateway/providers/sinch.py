"""Sinch: SMS REST API (XMS), one batch with one recipient per message (developers.sinch.com, SMS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
from msgspec import Struct

from gateway.model import EventStatus, Message
from gateway.providers import signatures
from gateway.providers.contract import Accepted, Call, Failure, Hook, Reading, Reply, Result, Status, reference_of
from gateway.providers.hooks import inbound, parse, plus, unix
from gateway.providers.replies import (
    REFUSED_PERSON,
    REJECTED,
    REROUTE,
    REROUTE_PERSON,
    STOP,
    Rule,
    Rules,
    failure,
    read_json,
)
from gateway.providers.requests import Keyed, check_text, post_json, seconds_left
from gateway.tables import Secret

# Codes of answers ("Common SMS HTTP statuses and codes"); a code that is not listed goes by the HTTP status. Then the
# statuses of receipts that are failures: their numeric codes are SMPP's and the operators' own.
ERRORS: Rules = {
    "syntax_invalid_json": REJECTED,
    "syntax_invalid_parameter_format": REJECTED,
    "syntax_constraint_violation": REJECTED,
    "blocked_account": STOP,
    "unauthorized": STOP,
    "missing_callback_url": STOP,
    "illegal_number_type": REFUSED_PERSON,
    "aborted": REROUTE,  # before it reached the SMSC
    "cancelled": REJECTED,  # by the account's owner
    "deleted": REFUSED_PERSON,  # by the SMSC: invalid number, or opted out
    "rejected": REROUTE_PERSON,  # by the SMSC
    "failed": REROUTE_PERSON,
    "expired": REROUTE_PERSON,
}
UNLISTED: Rule = REJECTED

_STATUSES: Mapping[str, EventStatus] = {
    "queued": EventStatus.SUBMITTED,
    "dispatched": EventStatus.SUBMITTED,
    "unknown": EventStatus.SUBMITTED,
    "delivered": EventStatus.DELIVERED,
    "expired": EventStatus.EXPIRED,
    "aborted": EventStatus.FAILED,
    "cancelled": EventStatus.FAILED,
    "rejected": EventStatus.FAILED,
    "deleted": EventStatus.FAILED,
    "failed": EventStatus.FAILED,
}

# `expire_at` may be at most three days ahead.
_MAX_VALIDITY_S = 3 * 86_400


class SinchSettings(Struct, frozen=True, kw_only=True):
    """One service plan; its callbacks must be signed (HMAC, set for the plan since 2025)."""

    service_plan_id: str
    api_token: Secret
    callback_secret: Secret = Secret("")
    # Callbacks come again for 22 h 45 min after the first, and what came before is known by its id for longer.
    replay_window_s: float = 90_000
    sender: str = ""
    callback_url: str = ""
    base_url: str = "https://us.sms.api.sinch.com"


class _Answer(Struct):
    id: str = ""
    code: str | int = ""
    text: str = ""


class _Callback(Struct):
    type: str
    batch_id: str = ""
    recipient: str = ""
    status: str = ""
    code: int | None = None
    at: str = ""
    operator: str | None = None
    client_reference: str | None = None
    # Of a message from a person:
    id: str = ""
    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    body: str = ""
    received_at: str = ""


_decode_answer = msgspec.json.Decoder(_Answer)
_decode_callback = msgspec.json.Decoder(_Callback)


class Sinch(Keyed):
    """One lane. A batch sends one text to many; texts here are personal, so that a batch has one recipient."""

    idempotent = False
    batch = 1

    def __init__(self, settings: SinchSettings) -> None:
        self._settings = settings
        self._url = f"{settings.base_url}/xms/v1/{quote(settings.service_plan_id, safe='')}/batches"
        self._headers = (("authorization", "Bearer " + settings.api_token.reveal()),)

    def prepare(self, message: Message) -> None:
        check_text(message)

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        (message,) = messages
        self.prepare(message)
        body: dict[str, object] = {
            "from": (message.sender or self._settings.sender).removeprefix("+"),
            "to": [message.to],
            "body": message.text,
            "client_reference": reference_of(message),
        }
        if self._settings.callback_url:
            body["delivery_report"] = "per_recipient_final"
            body["callback_url"] = self._settings.callback_url
        left = seconds_left(message, now, 1, _MAX_VALIDITY_S)
        if left is not None:
            body["expire_at"] = datetime.fromtimestamp(int(now) + left, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return post_json(self._url, self._headers, body)

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """5xx is UNKNOWN: a batch has no key by which a second request would be known for the same."""
        answer = read_json(_decode_answer, reply.body) or _Answer()
        if 200 <= reply.status < 300 and answer.id:
            return [Accepted(answer.id)]
        return [failure(ERRORS, reply, str(answer.code), answer.text)]

    def verify(self, hook: Hook, now: float) -> None:
        header = hook.headers.get
        signatures.sinch(
            self._settings.callback_secret.reveal(),
            hook.body,
            header("x-sinch-webhook-signature-nonce", ""),
            header("x-sinch-webhook-signature-timestamp", ""),
            header("x-sinch-webhook-signature", ""),
            now,
            self._settings.replay_window_s,
        )

    def receive(self, hook: Hook) -> Reading:
        callback = parse(_decode_callback, hook.body)
        reading = Reading()
        if callback.type == "recipient_delivery_report_sms":
            _report(reading, callback)
        elif callback.type == "mo_text":
            reading.inbound.append(
                inbound(
                    callback.id,
                    from_=plus(callback.from_),
                    to=plus(callback.to),
                    text=callback.body,
                    at=unix(callback.received_at),
                    reference=callback.client_reference or "",
                )
            )
        else:
            reading.unknown.append(f"type:{callback.type}")
        return reading


def _report(reading: Reading, callback: _Callback) -> None:
    word = callback.status.lower()
    status = _STATUSES.get(word)
    if status is None:
        reading.unknown.append(f"status:{callback.status}")
        return
    why = None
    if status in (EventStatus.FAILED, EventStatus.EXPIRED):
        rule = ERRORS.get(word, UNLISTED)
        why = Failure(rule[0], word if callback.code is None else f"{word}:{callback.code}", scope=rule[1])
    reading.statuses.append(
        Status(
            callback.batch_id,
            status,
            callback.client_reference or "",
            plus(callback.recipient),
            unix(callback.at),
            why,
            callback.operator or "",
        )
    )
