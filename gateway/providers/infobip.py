"""Infobip: SMS API v3, many messages in a request and an outcome for each inside one 200 (infobip.com/docs, SMS)."""

from __future__ import annotations

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
    Scope,
    Status,
    Unsendable,
    reference_of,
)
from gateway.providers.hooks import inbound, parse, plus, unix
from gateway.providers.replies import (
    REFUSED_PERSON,
    REJECTED,
    REROUTE,
    REROUTE_PERSON,
    RETRY,
    STOP,
    Rule,
    Rules,
    by_status,
    failure,
    read_json,
    whole_batch,
)
from gateway.providers.requests import Keyed, check_text, post_json, seconds_left, stable_id
from gateway.tables import Secret

# Status names of group 5 in answers and reports (Infobip, "Response status and error codes"). What is not listed goes by its
# group, and the answer to a request that was refused as a whole by its HTTP status.
ERRORS: Rules = {
    "REJECTED_NETWORK": REROUTE,
    "REJECTED_PREFIX_MISSING": REROUTE_PERSON,
    "REJECTED_DND": REFUSED_PERSON,
    "REJECTED_SOURCE": REROUTE,
    "REJECTED_NOT_ENOUGH_CREDITS": STOP,
    "REJECTED_SENDER": REROUTE,
    "REJECTED_DESTINATION": REFUSED_PERSON,
    "REJECTED_PREPAID_PACKAGE_EXPIRED": STOP,
    "REJECTED_DESTINATION_NOT_REGISTERED": REFUSED_PERSON,
    "REJECTED_ROUTE_NOT_AVAILABLE": REROUTE,
    # 20 different or 6 equal messages an hour to one number.
    "REJECTED_FLOODING_FILTER": (Disposition.THROTTLED, Scope.RECIPIENT),
    "REJECTED_SYSTEM_ERROR": RETRY,
    "REJECTED_MESSAGE_TOO_LONG": REJECTED,
}
_GROUPS: Mapping[int, Rule] = {2: REROUTE_PERSON, 4: REJECTED, 5: REJECTED}
_ACCEPTED = frozenset((1, 3))
# The id is ours and of one attempt: a duplicate is that attempt, which they have.
_DUPLICATE = "REJECTED_DUPLICATE_MESSAGE_ID"

# Of the group of what is delivered, and not final: "a further DLR may follow" (Infobip, "Message status codes").
_AT_THE_OPERATOR = "DELIVERED_TO_OPERATOR"
_STATUSES: Mapping[int, EventStatus] = {
    1: EventStatus.SUBMITTED,
    2: EventStatus.FAILED,
    3: EventStatus.DELIVERED,
    4: EventStatus.EXPIRED,
    5: EventStatus.FAILED,
}

# REJECTED_MESSAGE_TOO_LONG: more than 25 parts or 4,000 octets.
_MAX_OCTETS = 4000
_MAX_VALIDITY_S = 48 * 3600


class InfobipSettings(Struct, frozen=True, kw_only=True):
    """One account with one sender. The portal must be set to call back with Basic authentication."""

    # https://<yours>.api.infobip.com
    base_url: str
    api_key: Secret
    sender: str = ""
    # A time-out leaves this many messages in doubt at once.
    batch: Annotated[int, Meta(ge=1, le=1000, description="messages in one request, from 1 to 1000")] = 100
    callback_url: str = ""
    callback_user: str = ""
    callback_password: Secret = Secret("")


class _State(Struct, rename="camel"):
    group_id: int = 0
    name: str = ""
    description: str = ""


class _Sent(Struct, rename="camel"):
    message_id: str = ""
    status: _State = field(default_factory=_State)


class _Problem(Struct, rename="camel"):
    message_id: str = ""
    text: str = ""


class _RequestError(Struct, rename="camel"):
    service_exception: _Problem = field(default_factory=_Problem)


class _Answer(Struct, rename="camel"):
    messages: list[_Sent] = []
    request_error: _RequestError = field(default_factory=_RequestError)


class _Error(Struct, rename="camel"):
    group_id: int = 0
    name: str = ""
    description: str = ""
    permanent: bool = False


class _Result(Struct, rename="camel"):
    message_id: str = ""
    to: str = ""
    done_at: str = ""
    mcc_mnc: str | None = None
    callback_data: str | None = None
    status: _State | None = None
    error: _Error | None = None
    # Of a message from a person:
    from_: str = field(default="", name="from")
    text: str | None = None
    received_at: str = ""
    sms_count: int = 1


class _Callback(Struct):
    results: list[_Result]


_decode_answer = msgspec.json.Decoder(_Answer)
_decode_callback = msgspec.json.Decoder(_Callback)


class Infobip(Keyed):
    """One lane. Message ids are ours, and theirs must be unique; for how long they remember is not documented."""

    idempotent = False

    def __init__(self, settings: InfobipSettings) -> None:
        self.batch = settings.batch
        self._settings = settings
        self._url = settings.base_url + "/sms/3/messages"
        self._headers = (("authorization", "App " + settings.api_key.reveal()), ("accept", "application/json"))

    def prepare(self, message: Message) -> None:
        check_text(message)
        if len(message.text) * 4 > _MAX_OCTETS and len(message.text.encode()) > _MAX_OCTETS:
            raise Unsendable("too_long", f"the text has more than {_MAX_OCTETS} octets")

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        return post_json(self._url, self._headers, {"messages": [self._message(message, now) for message in messages]})

    def _message(self, message: Message, now: float) -> dict[str, object]:
        webhooks: dict[str, object] = {"callbackData": reference_of(message)}
        if url := self._settings.callback_url:
            webhooks["contentType"] = "application/json"
            webhooks["delivery"] = {"url": url, "intermediateReport": False}
        body: dict[str, object] = {
            "sender": message.sender or self._settings.sender,
            "destinations": [{"to": message.to[1:], "messageId": stable_id(message)}],
            "content": {"text": message.text},
            "webhooks": webhooks,
        }
        left = seconds_left(message, now, 60, _MAX_VALIDITY_S)
        if left is not None:
            body["options"] = {"validityPeriod": {"amount": left // 60, "timeUnit": "MINUTES"}}
        return body

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """5xx is UNKNOWN: that a second request would be refused as a duplicate is not promised for any time."""
        answer = read_json(_decode_answer, reply.body) or _Answer()
        if not 200 <= reply.status < 300:
            problem = answer.request_error.service_exception
            return whole_batch(messages, failure(ERRORS, reply, problem.message_id, problem.text))
        sent = {each.message_id: each.status for each in answer.messages}
        return [_result(stable_id(message), sent, reply) for message in messages]

    def verify(self, hook: Hook, now: float) -> None:
        settings = self._settings
        signatures.basic(
            settings.callback_user, settings.callback_password.reveal(), hook.headers.get("authorization", "")
        )

    def receive(self, hook: Hook) -> Reading:
        reading = Reading()
        for result in parse(_decode_callback, hook.body).results:
            if result.status is not None:
                _report(reading, result, result.status)
            elif result.text is not None:
                reading.inbound.append(
                    inbound(
                        result.message_id,
                        from_=plus(result.from_),
                        to=plus(result.to),
                        text=result.text,
                        at=unix(result.received_at),
                        parts=result.sms_count,
                    )
                )
            else:
                reading.unknown.append("result")
        return reading


def _result(ours: str, sent: Mapping[str, _State], reply: Reply) -> Result:
    state = sent.get(ours)
    if state is None:
        return by_status(reply)
    if state.group_id in _ACCEPTED or state.name == _DUPLICATE:
        return Accepted(ours)
    rule = ERRORS.get(state.name) or _GROUPS.get(state.group_id)
    if rule is None:
        return by_status(reply, state.name, state.description)
    return Failure(rule[0], state.name, state.description, scope=rule[1])


def _report(reading: Reading, result: _Result, state: _State) -> None:
    status = _STATUSES.get(state.group_id)
    if status is None:
        reading.unknown.append(f"group:{state.group_id}")
        return
    if state.name == _AT_THE_OPERATOR:
        status = EventStatus.SUBMITTED
    why = _why(state, result.error) if status in (EventStatus.FAILED, EventStatus.EXPIRED) else None
    reading.statuses.append(
        Status(
            result.message_id,
            status,
            result.callback_data or "",
            plus(result.to),
            unix(result.done_at),
            why,
            result.mcc_mnc or "",
        )
    )


def _why(state: _State, error: _Error | None) -> Failure:
    """The operator's error, where there is one, decides whether the same message may arrive at another time."""
    if error and error.group_id:
        rule = REFUSED_PERSON if error.permanent else REROUTE_PERSON
        return Failure(rule[0], error.name, error.description, scope=rule[1])
    rule = ERRORS.get(state.name) or _GROUPS[state.group_id]
    return Failure(rule[0], state.name, state.description, scope=rule[1])
