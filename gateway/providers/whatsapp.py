"""WhatsApp over Meta's Cloud API: messages out, answers and health back; callbacks are in `whatsapp_hooks.py`.

`META` is https://developers.facebook.com/documentation/business-messaging/whatsapp. The API has no idempotency key: what was
written without an answer is UNKNOWN, and only the reference in a later status resolves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from gateway.errors import Disposition
from gateway.model import Message
from gateway.providers import replies, signatures, whatsapp_hooks
from gateway.providers import whatsapp_wire as wire
from gateway.providers.contract import (
    Accepted,
    Call,
    Change,
    Failure,
    Hook,
    Reading,
    Reply,
    Result,
    Scope,
    Unsendable,
    Unsigned,
    reference_of,
)
from gateway.providers.requests import Keyed
from gateway.quantities import DAY
from gateway.tables import Secret


class Rule(Struct, frozen=True):
    """What a code asks for: see `Failure`."""

    disposition: Disposition
    scope: Scope
    after: float | None = None
    attempts: int = 0


_RETRY = Rule(Disposition.RETRY, Scope.LANE)
_SLOW = Rule(Disposition.THROTTLED, Scope.LANE)
_PAUSE_TEMPLATE = Rule(Disposition.HOLD, Scope.TEMPLATE)
_STOP = Rule(Disposition.STOP, Scope.LANE)
_REJECTED = Rule(Disposition.REJECTED, Scope.RECIPIENT)
_REJECTED_BY_TEMPLATE = Rule(Disposition.REJECTED, Scope.TEMPLATE)

# META/support/error-codes: "build your error handling around code values". The HTTP status of a code has varied between
# versions and is not looked at. Seconds are how long to wait, or to pause, when Meta does not say.
RULES: Mapping[int, Rule] = {
    # Temporary, and certainly not accepted: Meta's own answer says that it failed.
    1: _RETRY,
    2: _RETRY,
    131000: _RETRY,
    131016: _RETRY,
    131053: Rule(Disposition.RETRY, Scope.LANE, attempts=3),  # could not take the media: its fault, or the file's
    131057: Rule(Disposition.RETRY, Scope.LANE, 60.0),  # upgrade of the throughput, up to a minute
    133004: _RETRY,
    134101: Rule(Disposition.RETRY, Scope.TEMPLATE, 600.0),  # a new template is synchronised for up to 10 minutes
    # Slower: the number, the account, this person. The steps of 4^X seconds for a pair are the gateway's.
    130429: _SLOW,
    4: Rule(Disposition.THROTTLED, Scope.LANE, 60.0),  # x-business-use-case-usage says when it does
    80007: Rule(Disposition.THROTTLED, Scope.LANE, 60.0),
    131056: Rule(Disposition.THROTTLED, Scope.RECIPIENT),
    # The number pauses; nobody publishes for how long.
    131048: Rule(Disposition.HOLD, Scope.LANE),
    # The template pauses. 131064 is about all utility templates of the account: each pauses as it meets it.
    131063: _PAUSE_TEMPLATE,
    131064: _PAUSE_TEMPLATE,
    132001: _PAUSE_TEMPLATE,
    132007: _PAUSE_TEMPLATE,
    132015: Rule(Disposition.HOLD, Scope.TEMPLATE, 3 * 3600.0),  # the first pause (META/templates/template-pausing)
    132016: _PAUSE_TEMPLATE,
    132068: _PAUSE_TEMPLATE,
    132069: Rule(Disposition.HOLD, Scope.TEMPLATE, 3600.0),  # a flow with 10 messages in the last hour
    # A person has to look: credentials, permissions, policy, payment, registration.
    0: _STOP,
    3: _STOP,
    10: _STOP,
    33: _STOP,
    190: _STOP,
    **dict.fromkeys(range(200, 300), _STOP),
    368: _STOP,
    131005: _STOP,
    131031: _STOP,
    131037: _STOP,
    131042: _STOP,
    131045: _STOP,
    133006: _STOP,
    133010: _STOP,
    133016: _STOP,
    134011: _STOP,
    # This message is wrong; many in a row for one template are the template's fault.
    131021: _REJECTED,
    131030: _REJECTED,  # a test number, and the recipient is not on its list
    131051: _REJECTED,
    131052: _REJECTED,  # about media that a person sent: not a failure to send
    100: _REJECTED_BY_TEMPLATE,
    131008: _REJECTED_BY_TEMPLATE,
    131009: _REJECTED_BY_TEMPLATE,
    135000: _REJECTED_BY_TEMPLATE,
    132000: _REJECTED_BY_TEMPLATE,
    132005: _REJECTED_BY_TEMPLATE,
    132012: _REJECTED_BY_TEMPLATE,
    132018: _REJECTED_BY_TEMPLATE,
    # Not on WhatsApp, perhaps on another channel: another number of ours would be told the same, or should not even ask.
    130403: _REJECTED,
    130472: _REJECTED,
    130497: _REJECTED,
    131026: _REJECTED,
    131047: _REJECTED,  # the service window is closed: only a template goes
    131062: _REJECTED,
    137000: _REJECTED,
    131049: Rule(Disposition.REJECTED, Scope.MARKETING, 24 * 3600.0),
    131050: Rule(Disposition.REJECTED, Scope.MARKETING),  # the person stopped marketing
}

_METERED = frozenset({4, 80007})
_HEALTH = "display_phone_number,quality_rating,throughput,whatsapp_business_manager_messaging_limit"


class WhatsAppSettings(Struct, frozen=True, kw_only=True):
    """One number of one account."""

    phone_number_id: Annotated[str, Meta(pattern=r"^[0-9]+\Z", description="digits: the number's id, not the number")]
    token: Secret
    # What Meta signs its callbacks with.
    app_secret: Secret
    # What Meta shows when it tries our address the first time.
    verify_token: Secret
    base_url: str = "https://graph.facebook.com"
    version: Annotated[str, Meta(pattern=r"^v[0-9]+\.[0-9]+\Z", description='such as "v23.0"')] = "v23.0"
    # Its WhatsApp business account, where an app has several: one address hears of them all, and templates are an account's.
    waba_id: Annotated[
        str, Meta(pattern=r"^[0-9]*\Z", description="digits: the account's id; empty while there is one")
    ] = ""


class _Sent(Struct):
    id: str
    message_status: str = ""


class _Answer(Struct):
    messages: list[_Sent] = []
    error: wire.Error | None = None


class _Usage(Struct):
    estimated_time_to_regain_access: float = 0.0


class _Throughput(Struct):
    level: str = ""


class _Health(Struct):
    display_phone_number: str = ""
    quality_rating: str = ""
    throughput: _Throughput = field(default_factory=_Throughput)
    whatsapp_business_manager_messaging_limit: str | int = ""


class _Language(Struct):
    code: str


class _Template(Struct):
    name: str
    language: _Language


class _Content(Struct):
    type: str
    template: _Template | None = None


_answer = msgspec.json.Decoder(_Answer)
_usage = msgspec.json.Decoder(dict[str, list[_Usage]])
_health = msgspec.json.Decoder(_Health)
_content = msgspec.json.Decoder(_Content)


def failure_of(code: int, text: str = "") -> Failure | None:
    """Say what one of Meta's codes asks for, or None for a code that the table does not have."""
    rule = RULES.get(code)
    if rule is None:
        return None
    return Failure(rule.disposition, str(code), text, rule.after, rule.scope, rule.attempts)


def template_of(message: Message) -> str:
    """Return the subject of changes and pauses that a message falls under, `template:<name>/<language>`; empty without one."""
    content = replies.read_json(_content, message.content.encode())
    if content is None or content.template is None:
        return ""
    return whatsapp_hooks.template_subject(content.template.name, content.template.language.code)


class WhatsApp(Keyed):
    """One WhatsApp number as a provider."""

    idempotent = False
    batch = 1
    told_for_s = 31 * DAY  # Meta keeps a message for 30 days until its recipient can be reached

    def __init__(self, settings: WhatsAppSettings) -> None:
        self._settings = settings
        self._node = f"{settings.base_url.rstrip('/')}/{settings.version}/{settings.phone_number_id}"
        self._authorization = ("authorization", f"Bearer {settings.token.reveal()}")
        self._url = f"{self._node}/messages"
        self._headers = (self._authorization, ("content-type", "application/json"))

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        message = messages[0]
        self.prepare(message)
        # The plus stays: without it Meta may put the country of the business in front (META/messages/send-messages).
        body = (
            '{"messaging_product":"whatsapp","recipient_type":"individual","to":"'
            f'{message.to}","biz_opaque_callback_data":{encode_basestring(reference_of(message))},{message.content[1:]}'
        )
        return Call("POST", self._url, self._headers, body.encode())

    def prepare(self, message: Message) -> None:
        if not message.content.startswith('{"type":"'):
            raise Unsendable("content", "there is nothing in it for WhatsApp")

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        answer = replies.read_json(_answer, reply.body)
        if answer is not None and answer.error is not None:
            return [_refusal(answer.error, reply)]
        if answer is not None and 200 <= reply.status < 300 and answer.messages and answer.messages[0].id:
            sent = answer.messages[0]
            # Held and paused ones have an id too, and a status says whether they went (META/templates/template-pacing).
            return [Accepted(sent.id, held=sent.message_status in {"held_for_quality_assessment", "paused"})]
        # Not Meta's answer. Even a 503 can come from a proxy that lost the connection after it had passed the message on.
        return [replies.by_status(reply)]

    def verify(self, hook: Hook, now: float) -> None:
        if hook.method == "POST":
            signature = hook.headers.get("x-hub-signature-256", "")
            signatures.hub_sha256(self._settings.app_secret.reveal(), hook.body, signature)
        elif hook.method == "GET" and hook.query.get("hub.mode") == "subscribe":
            signatures.token(self._settings.verify_token.reveal(), hook.query.get("hub.verify_token", ""))
        else:
            raise Unsigned("neither a callback nor a handshake")

    def receive(self, hook: Hook) -> Reading:
        if hook.method == "GET":
            return Reading(answer=hook.query.get("hub.challenge", "").encode("utf-8", "replace"))
        return whatsapp_hooks.read(hook.body, failure_of)

    def health_call(self) -> Call:
        """Build the request for what no callback tells: the number's quality, throughput, and the portfolio's limit."""
        return Call("GET", f"{self._node}?fields={_HEALTH}", (self._authorization,))

    def read_health(self, reply: Reply) -> list[Change]:
        """Read the answer of `health_call`; an answer that cannot be read says nothing.

        `display_phone_number` ties the number's id to the name under which callbacks know it.
        """
        health = replies.read_json(_health, reply.body)
        if health is None or reply.status != 200:
            return []
        number = f"number:{self._settings.phone_number_id}"
        display = whatsapp_hooks.display_number(health.display_phone_number)
        changes = [
            Change(number, "display_phone_number", display),
            Change(number, "quality", health.quality_rating),
            Change(number, "throughput", health.throughput.level),
            Change("portfolio", "limit", str(health.whatsapp_business_manager_messaging_limit)),
        ]
        return [change for change in changes if change.value]


def _refusal(error: wire.Error, reply: Reply) -> Failure:
    text = error.text
    failure = failure_of(error.meaning, text)
    if failure is None:
        # Meta says that it failed, in words that are new to us: a server's fault may pass, and only a 401 is certain to be
        # about more than the message.
        if reply.status >= 500:
            return Failure(Disposition.RETRY, str(error.code), text)
        failure = replies.by_status(reply, str(error.code), text)
        if failure.disposition in {Disposition.REJECTED, Disposition.STOP} and reply.status != 401:
            return Failure(Disposition.REJECTED, str(error.code), text, scope=Scope.TEMPLATE)
        return failure
    if error.code in _METERED and (after := _regained_after(reply)):
        return msgspec.structs.replace(failure, after=after)
    return failure


def _regained_after(reply: Reply) -> float:
    """Seconds until calls are let through again; the header counts in minutes and has an entry per use."""
    uses = replies.read_json(_usage, reply.headers.get("x-business-use-case-usage", "").encode()) or {}
    return 60.0 * max((use.estimated_time_to_regain_access for of_one in uses.values() for use in of_one), default=0.0)
