"""RCS through Google's RCS for Business, RBM (developers.google.com). The only provider that needs the package `cryptography`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Meta, Struct

from gateway.errors import Disposition
from gateway.model import EventStatus, Inbound, Message
from gateway.providers import signatures
from gateway.providers.contract import (
    Accepted,
    Call,
    Failure,
    Grant,
    Hook,
    Reading,
    Reply,
    Result,
    Scope,
    Status,
    Unsendable,
    Unsigned,
)
from gateway.providers.hooks import inbound, parse, plus, unix
from gateway.providers.rbm_directory import RbmDirectory
from gateway.providers.replies import (
    REJECTED,
    REROUTE_PERSON,
    Rules,
    by_status,
    failure,
    read_json,
)
from gateway.providers.requests import check_text, post_form, seconds_left, stable_id
from gateway.quantities import Ttl
from gateway.tables import Contradiction, Secret

# HTTP statuses of answers, and events that are failures. What is not listed goes by what the HTTP status means (by_status).
ERRORS: Rules = {
    "400": REJECTED,  # bad payload, or a feature that the handset lacks
    "404": REROUTE_PERSON,  # not reachable by RCS, or the agent is not launched at that operator
    "TTL_EXPIRATION_REVOKED": REROUTE_PERSON,  # revoked: another channel cannot make it two
    # It may still arrive: another channel could make it two.
    "TTL_EXPIRATION_REVOKE_FAILED": (Disposition.UNKNOWN, Scope.RECIPIENT),
}

_EVENTS: Mapping[str, EventStatus] = {
    "DELIVERED": EventStatus.DELIVERED,
    "READ": EventStatus.READ,
    "TTL_EXPIRATION_REVOKED": EventStatus.EXPIRED,
    "TTL_EXPIRATION_REVOKE_FAILED": EventStatus.SUBMITTED,
}
# What a person has chosen in the conversation itself (reference/rest/v1/UserEvent.EventType).
_CHOICES: Mapping[str, str] = {"UNSUBSCRIBE": "opt_out", "SUBSCRIBE": "opt_in"}
# That somebody is typing is nobody's business here.
_IGNORED = frozenset(("IS_TYPING",))

_MAX_TEXT = 3072
_MAX_OCTETS = 250_000
# Shorter than 10 s, delivery and revocation are often both reported.
_MIN_TTL_S = 10
_MAX_TTL_S = 15 * 86_400

_SCOPE = "https://www.googleapis.com/auth/rcsbusinessmessaging"
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_S = 3600


class RbmSettings(Struct, frozen=True, kw_only=True):
    """One agent. Identity and key are `client_email` and `private_key` of a service account's key file."""

    agent_id: str
    client_email: str
    private_key: Secret
    client_token: Secret = Secret("")
    # Of messages that name none; an agent with several uses must name one.
    traffic_type: Literal["", "AUTHENTICATION", "TRANSACTION", "PROMOTION", "SERVICEREQUEST", "ACKNOWLEDGEMENT"] = ""
    # How often a second it may be asked whom the agent reaches, by all processes together: 600 times a minute. 0: never, and
    # the answer to a message tells. Then for how long an answer is believed.
    look_ups_per_s: Annotated[float, Meta(ge=0, le=1000, description="from 0 to 1000; 0 for none")] = 10
    reachable_s: Ttl = 86_400
    unreachable_s: Ttl = 21_600
    # Of the region whose numbers the lane has: a look-up takes those of one region, at its own address.
    base_url: str = "https://rcsbusinessmessaging.googleapis.com"
    token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address

    def __post_init__(self) -> None:
        _load(self.private_key)


class _Text(Struct):
    text: str = ""


class _Content(Struct, rename="camel"):
    content_message: _Text
    message_traffic_type: str = ""


class _Sent(Struct):
    name: str = ""


class _Problem(Struct):
    message: str = ""


class _Answer(Struct):
    error: _Problem | None = None


class _Token(Struct):
    access_token: str
    expires_in: float


class _Pushed(Struct):
    data: str


class _Callback(Struct, rename="camel"):
    message: _Pushed | None = None
    client_token: str = ""
    secret: str = ""


class _Suggestion(Struct, rename="camel"):
    text: str = ""
    postback_data: str = ""


class _Location(Struct):
    latitude: float = 0.0
    longitude: float = 0.0


class _FilePayload(Struct, rename="camel"):
    mime_type: str = ""
    file_name: str = ""
    file_uri: str = ""


class _File(Struct):
    payload: _FilePayload = msgspec.field(default_factory=_FilePayload)


class _Event(Struct, rename="camel"):
    """An event of a person or of the server, or a message from a person, told apart by what they have."""

    event_type: str = ""
    event_id: str = ""
    message_id: str = ""
    agent_id: str = ""
    sender_phone_number: str = ""
    phone_number: str = ""
    send_time: str = ""
    text: str | None = None
    suggestion_response: _Suggestion | None = None
    location: _Location | None = None
    user_file: _File | None = None


_decode_content = msgspec.json.Decoder(_Content)
_decode_sent = msgspec.json.Decoder(_Sent)
_decode_answer = msgspec.json.Decoder(_Answer)
_decode_token = msgspec.json.Decoder(_Token)
_decode_callback = msgspec.json.Decoder(_Callback)
_decode_event = msgspec.json.Decoder(_Event)
_encode = msgspec.json.Encoder().encode


class Rbm:
    """One lane. The id of a message is ours and "the platform ignores any message sent with an ID that was used" (create)."""

    idempotent = True
    batch = 1

    def __init__(self, settings: RbmSettings) -> None:
        self._settings = settings
        self._key = _load(settings.private_key)
        self._agent = quote(settings.agent_id, safe="")
        self.directory = (
            RbmDirectory(
                settings.base_url,
                settings.agent_id,
                per_s=settings.look_ups_per_s,
                reachable_s=settings.reachable_s,
                unreachable_s=settings.unreachable_s,
            )
            if settings.look_ups_per_s
            else None
        )

    def group(self, message: Message) -> Hashable:
        return None

    def own_id(self, message: Message) -> str:
        return stable_id(message, once=True)

    def prepare(self, message: Message) -> None:
        self._content(message)

    def _content(self, message: Message) -> tuple[_Content, bytes]:
        """Return what a message carries, read and as it goes out."""
        if not message.content:
            check_text(message, _MAX_TEXT)
            plain = _Content(_Text(message.text))
            return plain, _encode({"contentMessage": plain.content_message})
        octets = message.content.encode()
        content = read_json(_decode_content, octets)
        if content is None:
            raise Unsendable("content", "the content has no contentMessage")
        if len(content.content_message.text) > _MAX_TEXT:
            raise Unsendable("too_long", f"the text has more than {_MAX_TEXT} characters")
        if len(octets) > _MAX_OCTETS:
            raise Unsendable("too_long", f"the content has more than {_MAX_OCTETS} octets")
        return content, octets

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        (message,) = messages
        content, octets = self._content(message)
        url = (
            f"{self._settings.base_url}/v1/phones/{quote(message.to, safe='+')}/agentMessages"
            f"?messageId={stable_id(message, once=True)}&agentId={self._agent}"
        )
        headers = (("authorization", f"Bearer {token}"), ("content-type", "application/json"))
        more: dict[str, str] = {}
        left = seconds_left(message, now, _MIN_TTL_S, _MAX_TTL_S)
        if left is not None:
            more["ttl"] = f"{left}s"
        if self._settings.traffic_type and not content.message_traffic_type:
            more["messageTrafficType"] = self._settings.traffic_type
        body = _encode(more)[:-1] + b"," + octets.lstrip()[1:] if more else octets
        return Call("POST", url, headers, body)

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """5xx and 2xx without the message's name are UNKNOWN, like everywhere; the id makes it safe to try again."""
        ours = stable_id(messages[0], once=True)
        if 200 <= reply.status < 300:
            sent = read_json(_decode_sent, reply.body)
            return [Accepted(ours) if sent and sent.name.endswith("/" + ours) else by_status(reply)]
        answer = read_json(_decode_answer, reply.body)
        text = answer.error.message if answer and answer.error else ""
        return [failure(ERRORS, reply, str(reply.status), text)]

    def grant(self, now: float) -> Call | None:
        """Build the request for a token with a signed assertion (RFC 7523), good for an hour."""
        settings = self._settings
        claims = {
            "iss": settings.client_email,
            "scope": _SCOPE,
            "aud": settings.token_url,
            "iat": int(now),
            "exp": int(now) + _ASSERTION_S,
        }
        signed = _base64url(_encode({"alg": "RS256", "typ": "JWT"})) + b"." + _base64url(_encode(claims))
        signature = self._key.sign(signed, PKCS1v15(), hashes.SHA256())
        assertion = (signed + b"." + _base64url(signature)).decode()
        return post_form(settings.token_url, (), (("grant_type", _GRANT_TYPE), ("assertion", assertion)))

    def granted(self, reply: Reply, now: float) -> Grant | Failure:
        """A token that is refused stops the lane: the key, the account or our clock is wrong. Asking again is harmless."""
        given = read_json(_decode_token, reply.body) if reply.status == 200 else None
        if given is not None and given.access_token:
            return Grant(given.access_token, now + given.expires_in)
        refused = by_status(reply)
        if refused.disposition is Disposition.REJECTED:
            return msgspec.structs.replace(refused, disposition=Disposition.STOP)
        if refused.disposition is Disposition.UNKNOWN:
            return msgspec.structs.replace(refused, disposition=Disposition.RETRY)
        return refused

    def verify(self, hook: Hook, now: float) -> None:
        """An event is signed; the handshake shows the client token itself."""
        client_token = self._settings.client_token.reveal()
        try:
            callback = parse(_decode_callback, hook.body)
            data = _data(callback.message) if callback.message else None
        except ValueError as exc:
            raise Unsigned("the body cannot be read") from exc
        if data is None:
            signatures.token(client_token, callback.client_token)
        else:
            signatures.rbm(client_token, data, hook.headers.get("x-goog-signature", ""))

    def receive(self, hook: Hook) -> Reading:
        callback = parse(_decode_callback, hook.body)
        if callback.message is None:
            return Reading(answer=callback.secret.encode())
        event = parse(_decode_event, _data(callback.message))
        reading = Reading()
        if not event.event_type:
            _take_message(reading, event)
        elif choice := _CHOICES.get(event.event_type):
            reading.inbound.append(_from_person(event, event.event_id, kind=choice))
        elif status := _EVENTS.get(event.event_type):
            rule = ERRORS.get(event.event_type)
            why = Failure(rule[0], event.event_type, scope=rule[1]) if rule else None
            number = plus(event.sender_phone_number or event.phone_number)
            reading.statuses.append(Status(event.message_id, status, to=number, at=unix(event.send_time), failure=why))
        elif event.event_type not in _IGNORED:
            reading.unknown.append(f"event:{event.event_type}")
        return reading


def _take_message(reading: Reading, event: _Event) -> None:
    kind, text = "text", event.text or ""
    data: dict[str, str | int | float | bool | None] = {}
    if answer := event.suggestion_response:
        kind, text, data = "button", answer.text, {"payload": answer.postback_data}
    elif place := event.location:
        kind, data = "location", {"latitude": place.latitude, "longitude": place.longitude}
    elif event.user_file:
        file = event.user_file.payload
        kind, data = "media", {"url": file.file_uri, "mime_type": file.mime_type, "filename": file.file_name}
    elif event.text is None:
        reading.unknown.append("message")
        return
    reading.inbound.append(_from_person(event, event.message_id, kind=kind, text=text, data=data))


def _from_person(
    event: _Event,
    inbound_id: str,
    *,
    kind: str,
    text: str = "",
    data: Mapping[str, str | int | float | bool | None] | None = None,
) -> Inbound:
    return inbound(
        inbound_id,
        from_=plus(event.sender_phone_number),
        to=event.agent_id,
        text=text,
        kind=kind,
        channel="rcs",
        at=unix(event.send_time),
        data=data,
    )


def _load(secret: Secret) -> RSAPrivateKey:
    # Copied out of the key file, the line breaks are still those of its JSON.
    pem = secret.reveal().replace("\\n", "\n").encode()
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        remedy = "the private_key of a service account's key file"
        raise Contradiction("private_key", "is not an RSA key in PEM", remedy) from None
    return key


def _data(pushed: _Pushed) -> bytes:
    try:
        return base64.b64decode(pushed.data, validate=True)
    except binascii.Error as exc:
        raise ValueError("the data is not base64") from exc


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
