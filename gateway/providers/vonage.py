"""Vonage: SMS API, always 200 with a status for each part of a text (developer.vonage.com, SMS)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers import signatures
from gateway.providers.contract import (
    Accepted,
    Call,
    Failure,
    Hook,
    Reading,
    Reply,
    Result,
    Status,
    reference_of,
)
from gateway.providers.hooks import fields_of, inbound, plus, unix
from gateway.providers.replies import (
    REFUSED_PERSON,
    REJECTED,
    REROUTE,
    REROUTE_PERSON,
    RETRY,
    RETRY_PERSON,
    STOP,
    THROTTLED,
    Rule,
    Rules,
    by_status,
    read_json,
)
from gateway.providers.requests import Keyed, check_text, post_form, seconds_left
from gateway.tables import Secret
from smpp import gsm7

# Statuses of answers ("API errors, SMS API"), and `dlr:` the err-codes of receipts ("Delivery receipts").
ERRORS: Rules = {
    "1": THROTTLED,
    "2": REJECTED,  # missing parameter
    "3": REJECTED,  # invalid parameter
    "4": STOP,  # wrong credentials
    "5": RETRY,  # internal error
    "6": REFUSED_PERSON,  # cannot be processed, such as a prefix that they do not know
    "7": REFUSED_PERSON,  # number barred
    "8": STOP,  # account barred
    "9": STOP,  # no credit
    "10": THROTTLED,  # too many connections
    "11": STOP,  # account not enabled for HTTP
    "14": STOP,  # wrong signature
    "15": REROUTE,  # this sender cannot be used
    "22": REROUTE_PERSON,  # wrong network code
    "29": REFUSED_PERSON,  # trial account, number not listed
    "33": REFUSED_PERSON,  # number deactivated
    "dlr:2": RETRY_PERSON,  # absent, temporary
    "dlr:3": REROUTE_PERSON,  # absent, permanent
    "dlr:4": REFUSED_PERSON,  # barred by the person
    "dlr:5": REROUTE_PERSON,  # portability
    "dlr:6": REJECTED,  # taken for spam
    "dlr:7": RETRY_PERSON,  # busy
    "dlr:8": RETRY_PERSON,  # network
    "dlr:9": REFUSED_PERSON,  # illegal number
}
UNLISTED: Rule = REJECTED

_STATUSES: Mapping[str, EventStatus] = {
    "accepted": EventStatus.SUBMITTED,
    "buffered": EventStatus.SUBMITTED,
    "unknown": EventStatus.SUBMITTED,
    "delivered": EventStatus.DELIVERED,
    "expired": EventStatus.EXPIRED,
    "failed": EventStatus.FAILED,
    "rejected": EventStatus.FAILED,
}

# "Throughput Rate Exceeded - please wait [ 250 ] and retry": the unit is not documented and read as milliseconds.
_WAIT = re.compile(r"wait \[ ?([0-9]{1,6}) ?\]")

_MAX_REFERENCE = 100
_MIN_TTL_S = 20
_MAX_TTL_S = 7 * 86_400


class VonageSettings(Struct, frozen=True, kw_only=True):
    """One account with one sender; callbacks must be signed, by the method chosen in the dashboard."""

    api_key: str
    api_secret: Secret
    signature_secret: Secret = Secret("")
    signature_method: signatures.ParamsMethod = "md5hash"
    # Callbacks come again for 24 hours after their timestamp, and what came before is known by its id for longer.
    replay_window_s: float = 90_000
    sender: str = ""
    callback_url: Annotated[str, Meta(max_length=100, description="at most 100 characters")] = ""
    base_url: str = "https://rest.nexmo.com"


class _Part(Struct, rename="kebab"):
    status: str = ""
    message_id: str = ""
    error_text: str = ""


class _Answer(Struct, rename="kebab"):
    message_count: str | int = 0
    messages: list[_Part] = field(default_factory=list)


_decode_answer = msgspec.json.Decoder(_Answer)


class Vonage(Keyed):
    """One lane. An answer has an id for each part of a text; a receipt comes for each, all with our reference."""

    idempotent = False
    batch = 1
    by_reference = True  # the receipts of all parts but the first have ids that we do not keep

    def __init__(self, settings: VonageSettings) -> None:
        self._settings = settings
        self._url = settings.base_url + "/sms/json"
        self._fixed = [("api_key", settings.api_key), ("api_secret", settings.api_secret.reveal())]
        if settings.callback_url:
            self._fixed += [("callback", settings.callback_url), ("status-report-req", "1")]

    def prepare(self, message: Message) -> None:
        check_text(message)

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        (message,) = messages
        self.prepare(message)
        fields = [
            *self._fixed,
            ("from", (message.sender or self._settings.sender).removeprefix("+")),
            ("to", message.to[1:]),
            ("text", message.text),
        ]
        # Without it the receipt of the first part still finds the message by its id; those of the others find nothing.
        if len(reference := reference_of(message)) <= _MAX_REFERENCE:
            fields.append(("client-ref", reference))
        # As `text`, what the default alphabet lacks would arrive as question marks.
        if gsm7.DEFAULT.encode(message.text) is None:
            fields.append(("type", "unicode"))
        left = seconds_left(message, now, _MIN_TTL_S, _MAX_TTL_S)
        if left is not None:
            fields.append(("ttl", str(left * 1000)))
        return post_form(self._url, (), fields)

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """5xx is UNKNOWN: their own failures come as status 5 inside a 200, so that one is a proxy's and says nothing."""
        answer = read_json(_decode_answer, reply.body)
        if not 200 <= reply.status < 300 or answer is None or not answer.messages:
            return [by_status(reply)]
        return [_result(answer, reply)]

    def verify(self, hook: Hook, now: float) -> None:
        settings = self._settings
        try:
            params = fields_of(hook)
        except ValueError:
            params = {}
        signatures.vonage_params(
            settings.signature_secret.reveal(), params, now, settings.replay_window_s, settings.signature_method
        )

    def receive(self, hook: Hook) -> Reading:
        fields = fields_of(hook)
        reading = Reading()
        if "text" in fields or "data" in fields:
            reading.inbound.append(
                inbound(
                    fields.get("messageId", ""),
                    from_=plus(fields.get("msisdn", "")),
                    to=plus(fields.get("to", "")),
                    kind="binary" if "data" in fields else "text",
                    text=fields.get("text", ""),
                    at=unix(fields.get("message-timestamp", "")),
                    data={name: fields[name] for name in _KEPT if name in fields},
                )
            )
            return reading
        if "status" not in fields:
            raise ValueError("neither a receipt nor a message")
        status = _STATUSES.get(fields["status"])
        if status is None:
            reading.unknown.append(f"status:{fields['status']}")
            return reading
        failed = status in (EventStatus.FAILED, EventStatus.EXPIRED)
        reading.statuses.append(
            Status(
                # The SMS API writes both, the one in answers and the other in receipts.
                fields.get("messageId") or fields.get("message-id", ""),
                status,
                fields.get("client-ref", ""),
                plus(fields.get("msisdn", "")),
                unix(fields.get("message-timestamp", "")),
                _why(fields.get("err-code", "")) if failed else None,
                fields.get("network-code", ""),
            )
        )
        return reading


# Of long and binary messages from people, which come in parts.
_KEPT = ("concat-ref", "concat-total", "concat-part", "data", "udh", "keyword")


def _result(answer: _Answer, reply: Reply) -> Result:
    parts = answer.messages
    refused = [part for part in parts if part.status != "0"]
    if not refused:
        # Fewer parts than they count were cut off: nothing says what became of the others.
        whole = str(answer.message_count) == str(len(parts)) and parts[0].message_id
        return Accepted(parts[0].message_id) if whole else by_status(reply)
    why = refused[0]
    if len(refused) < len(parts):
        # A part of the text is on its way: the whole cannot be sent again without that part arriving twice.
        return Failure(Disposition.UNKNOWN, why.status, why.error_text)
    rule = ERRORS.get(why.status, UNLISTED)
    wait = _WAIT.search(why.error_text)
    return Failure(rule[0], why.status, why.error_text, int(wait[1]) / 1000 if wait else None, rule[1])


def _why(code: str) -> Failure:
    rule = ERRORS.get(f"dlr:{code}", UNLISTED)
    return Failure(rule[0], f"dlr:{code}", scope=rule[1])
