"""Twilio: SMS (Messages API) and voice calls that speak a text or play a recording (Calls API), as twilio.com/docs has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape, quoteattr

import msgspec
from msgspec import Meta, Struct

from gateway.model import EventStatus, Inbound, Message
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
    Unsendable,
    reference_of,
)
from gateway.providers.hooks import form_of, inbound, plus
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
    failure,
    read_json,
)
from gateway.providers.requests import Keyed, basic, check_text, post_form, seconds_left
from gateway.tables import Secret

# Codes of the error dictionary, in answers and in callbacks alike. Twilio adds codes without notice: what is not listed
# goes by the HTTP status, and in a callback is REJECTED.
ERRORS: Rules = {
    "10001": STOP,  # account not active
    "20003": STOP,  # wrong credentials
    "20429": THROTTLED,  # not processed, safe to try again
    "21211": REFUSED_PERSON,  # not a number
    "21212": REROUTE,  # this sender cannot be used
    "21408": REROUTE,  # the region is not enabled for the account
    "21606": REROUTE,  # this sender cannot reach this destination
    "21608": REFUSED_PERSON,  # trial account, number not verified
    "21610": REFUSED_PERSON,  # opted out
    "21611": THROTTLED,  # more than ten hours are queued for this sender
    "21612": REROUTE,  # no route from this sender to this number
    "21614": REFUSED_PERSON,  # not a mobile number
    "21617": REJECTED,  # too long
    "21658": REJECTED,  # too long
    "30001": THROTTLED,  # queue overflow
    "30002": STOP,  # account suspended
    "30003": REROUTE_PERSON,  # handset unreachable
    "30004": REFUSED_PERSON,  # blocked
    "30005": REROUTE_PERSON,  # handset unknown
    "30006": REROUTE_PERSON,  # landline, or carrier unreachable
    "30007": REJECTED,  # filtered for its content
    "30610": RETRY,  # quiet hours
    "63018": THROTTLED,  # rate of the channel
    # Of calls: who is on the phone may be called later, who does not answer may read.
    "busy": RETRY_PERSON,
    "no-answer": REROUTE_PERSON,
}
UNLISTED: Rule = REJECTED

_MESSAGE_STATUSES: Mapping[str, EventStatus] = {
    "accepted": EventStatus.SUBMITTED,
    "scheduled": EventStatus.SUBMITTED,
    "queued": EventStatus.SUBMITTED,
    "sending": EventStatus.SUBMITTED,
    "sent": EventStatus.SUBMITTED,
    "delivered": EventStatus.DELIVERED,
    "read": EventStatus.READ,
    "undelivered": EventStatus.FAILED,
    "failed": EventStatus.FAILED,
    "canceled": EventStatus.FAILED,
}
_CALL_STATUSES: Mapping[str, EventStatus] = {
    "initiated": EventStatus.SUBMITTED,
    "queued": EventStatus.SUBMITTED,
    "ringing": EventStatus.SUBMITTED,
    "in-progress": EventStatus.SUBMITTED,
    "completed": EventStatus.DELIVERED,
    "busy": EventStatus.FAILED,
    "no-answer": EventStatus.FAILED,
    "failed": EventStatus.FAILED,
    "canceled": EventStatus.FAILED,
}

# What Twilio's own opt-out made of a message from a person.
_KEYWORDS: Mapping[str, str] = {"STOP": "opt_out", "START": "opt_in"}

_MAX_BODY = 1600
_MAX_TWIML = 4000
_MAX_VALIDITY_S = 36_000
# Of itself Twilio repeats a callback only where it could not connect ("Connection overrides"); five is the most, within 15 s.
_OVERRIDES = "rc=5&rp=all"

# An SMS that is answered with text sends that text back to the person; an empty response says nothing.
_NO_ANSWER = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


class TwilioSettings(Struct, frozen=True, kw_only=True):
    """One account with one sender.

    A voice call speaks in `language` with `voice` (names of Twilio's `<Say>`) where the message names no other, or plays the
    recording that its content names.
    """

    account_sid: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]+\Z", description="AC and 32 hexadecimal digits")]
    auth_token: Secret
    product: Literal["sms", "voice"] = "sms"
    # A number with its plus sign, a short code, a name, or for SMS a messaging service (MG…).
    sender: str = ""
    callback_url: str = ""
    language: str = "es-MX"
    voice: str = ""
    base_url: str = "https://api.twilio.com"


class _Answer(Struct):
    sid: str = ""
    code: int | None = None
    message: str = ""


class _Spoken(Struct):
    audio: str = ""
    say: str = ""
    language: str = ""
    voice: str = ""


# XML 1.0 §2.2: what may not stand in a document, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_decode_answer = msgspec.json.Decoder(_Answer)
_decode_spoken = msgspec.json.Decoder(_Spoken)


class Twilio(Keyed):
    """One lane. Twilio has no idempotency key and echoes nothing: our reference travels in the callback's URL."""

    idempotent = False
    batch = 1

    def __init__(self, settings: TwilioSettings) -> None:
        self._settings = settings
        self._voice = settings.product == "voice"
        resource = "Calls" if self._voice else "Messages"
        self._url = f"{settings.base_url}/2010-04-01/Accounts/{settings.account_sid}/{resource}.json"
        self._headers = basic(settings.account_sid, settings.auth_token.reveal())
        url, _, overrides = settings.callback_url.partition("#")
        self._callback = url and url + ("&" if "?" in url else "?")
        self._overrides = f"#{overrides or _OVERRIDES}"

    def prepare(self, message: Message) -> None:
        if self._voice:
            self._twiml(message)
        else:
            check_text(message, _MAX_BODY)

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        (message,) = messages
        sender = message.sender or self._settings.sender
        fields = [("To", message.to)]
        fields.append(("MessagingServiceSid" if sender.startswith("MG") else "From", sender))
        if self._voice:
            fields.append(("Twiml", self._twiml(message)))
        else:
            check_text(message, _MAX_BODY)
            fields.append(("Body", message.text))
            left = seconds_left(message, now, 1, _MAX_VALIDITY_S)
            if left is not None:
                fields.append(("ValidityPeriod", str(left)))
        if self._callback:
            reference = urlencode((("ref", reference_of(message)),), quote_via=quote)
            fields.append(("StatusCallback", self._callback + reference + self._overrides))
        return post_form(self._url, self._headers, fields)

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """5xx is UNKNOWN although Twilio advises to try again: there is no key that would make that safe."""
        answer = read_json(_decode_answer, reply.body) or _Answer()
        if 200 <= reply.status < 300 and answer.sid:
            return [Accepted(answer.sid)]
        if answer.code is None or reply.status < 300:
            return [by_status(reply)]
        return [failure(ERRORS, reply, str(answer.code), answer.message)]

    def verify(self, hook: Hook, now: float) -> None:
        header = hook.headers.get("x-twilio-signature", "")
        signatures.twilio(self._settings.auth_token.reveal(), hook.url, form_of(hook), header, self._overrides)

    def receive(self, hook: Hook) -> Reading:
        fields = dict(form_of(hook))
        reading = Reading(answer=_NO_ANSWER, content_type="text/xml")
        called = fields.get("CallSid", "")
        sid = called or fields.get("MessageSid") or fields.get("SmsSid")
        if not sid:
            raise ValueError("neither a message nor a call")
        if "Body" in fields and "MessageStatus" not in fields:
            reading.inbound.append(_inbound(sid, fields))
            return reading
        word = fields.get("CallStatus" if called else "MessageStatus", "")
        status = (_CALL_STATUSES if called else _MESSAGE_STATUSES).get(word)
        if status is None:
            reading.unknown.append(f"status:{word}")
            return reading
        # RawDlrDoneDate names no time zone, so that a status has no time of its own.
        why = _why(word, fields) if status is EventStatus.FAILED else None
        reading.statuses.append(Status(sid, status, hook.query.get("ref", ""), plus(fields.get("To", "")), failure=why))
        return reading

    def _twiml(self, message: Message) -> str:
        content = read_json(_decode_spoken, message.content.encode()) or _Spoken()
        if content.audio:
            verb = f"<Play>{_xml(content.audio)}</Play>"
        elif text := content.say or message.text:
            voice = content.voice or self._settings.voice
            who = f" voice={quoteattr(voice)}" if voice else ""
            language = quoteattr(content.language or self._settings.language)
            verb = f"<Say{who} language={language}>{_xml(text)}</Say>"
        else:
            raise Unsendable("text", "there is nothing to say and nothing to play")
        document = f"<Response>{verb}</Response>"
        if len(document) > _MAX_TWIML:
            raise Unsendable("too_long", f"the call's document has more than {_MAX_TWIML} characters")
        return document


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("", text))


def _why(word: str, fields: Mapping[str, str]) -> Failure:
    code = fields.get("ErrorCode", "") or word
    rule = ERRORS.get(code, UNLISTED)
    return Failure(rule[0], code, fields.get("ErrorMessage", ""), scope=rule[1])


def _inbound(sid: str, fields: Mapping[str, str]) -> Inbound:
    kind = _KEYWORDS.get(fields.get("OptOutType", ""), "text")
    data: dict[str, str] = {}
    if url := fields.get("MediaUrl0"):
        kind, data = "media", {"url": url, "mime_type": fields.get("MediaContentType0", "")}
        more = ((name, fields[name]) for name in sorted(fields) if name.startswith("MediaUrl") and name != "MediaUrl0")
        data |= {f"url_{name.removeprefix('MediaUrl')}": value for name, value in more}
    parts = fields.get("NumSegments", "")
    return inbound(
        sid,
        from_=fields.get("From", ""),
        to=fields.get("To", ""),
        kind=kind,
        text=fields["Body"],
        parts=int(parts) if parts.isascii() and parts.isdecimal() and len(parts) < 4 else 1,
        data=data,
    )
