"""Callbacks of a generic provider: what proves that they are its own, and what they say."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from gateway.content.model import Channel
from gateway.errors import Disposition
from gateway.model import EventStatus
from gateway.providers import signatures
from gateway.providers.contract import Failure, Hook, Reading, Status, Unsigned
from gateway.providers.generic_config import Callback, InboundShape, Moment, StatusShape
from gateway.providers.generic_reply import Rules, compile_conditions, text_in
from gateway.providers.generic_request import Compiler
from gateway.providers.hooks import fields_of, form_of, inbound, parse, plus
from gateway.providers.paths import Document, Malformed

_json = msgspec.json.Decoder()

_YEAR_5138 = 1e11  # milliseconds taken for seconds, and noise

_SAID = {
    EventStatus.SUBMITTED,
    EventStatus.DELIVERED,
    EventStatus.READ,
    EventStatus.FAILED,
    EventStatus.EXPIRED,
}
"""What a callback can say of a message (`contract.Status`)."""

_NEEDS = {
    "basic": ("username", "password"),
    "header": ("secret", "name"),
    "query": ("secret", "name"),
    "networks": (),
}
"""What each kind of proof needs; the others a secret alone."""


class Proofs:
    """Checks that a callback is the provider's."""

    def __init__(self, compiler: Compiler, callback: Callback, where: str) -> None:
        proof = callback.proof
        self._proof = proof
        for name in _NEEDS.get(proof.kind, ("secret",)):
            if not getattr(proof, name):
                compiler.reader.add(f"{where}.proof.{name}", "is missing", f"{proof.kind} needs it")
        self._secret = compiler.constant(proof.secret, f"{where}.proof.secret")
        self._username = compiler.constant(proof.username, f"{where}.proof.username")
        self._password = compiler.constant(proof.password, f"{where}.proof.password")
        self._name = proof.name.lower() if proof.kind == "header" else proof.name
        self._address_header = callback.address_header.lower()
        self._networks = [
            network
            for index, text in enumerate(callback.networks)
            if (network := compiler.attempt(f"{where}.networks[{index}]", partial(_network, text), None))
        ]
        if callback.networks and not self._address_header:
            compiler.reader.add(f"{where}.address_header", "is missing", "networks needs it, such as x-real-ip")
        if proof.kind == "networks" and not callback.networks:
            compiler.reader.add(f"{where}.networks", "is missing", 'such as ["192.0.2.0/24"]')

    def check(self, hook: Hook, now: float) -> None:
        """Raise `Unsigned` for a callback that does not prove itself."""
        if self._networks:
            self._check_address(hook)
        headers, secret, window = hook.headers, self._secret, self._proof.window_s
        match self._proof.kind:
            case "hub":
                signatures.hub_sha256(secret, hook.body, headers.get("x-hub-signature-256", ""))
            case "twilio":
                signatures.twilio(secret, hook.url, form_of(hook), headers.get("x-twilio-signature", ""))
            case "rbm":
                signatures.rbm(secret, _data(hook.body), headers.get("x-goog-signature", ""))
            case "sinch":
                name = "x-sinch-webhook-signature"
                nonce, timestamp = headers.get(f"{name}-nonce", ""), headers.get(f"{name}-timestamp", "")
                signatures.sinch(secret, hook.body, nonce, timestamp, headers.get(name, ""), now, window)
            case "params":
                signatures.vonage_params(secret, _fields(hook), now, window, self._proof.method)
            case "jwt":
                token = headers.get("authorization", "").removeprefix("Bearer ")
                signatures.jwt_hs256(secret, token, hook.body, now)
            case "basic":
                signatures.basic(self._username, self._password, headers.get("authorization", ""))
            case "header":
                signatures.token(secret, headers.get(self._name, ""))
            case "query":
                signatures.token(secret, hook.query.get(self._name, ""))
            case "path":
                signatures.token(secret, _last_segment(hook.url))

    def _check_address(self, hook: Hook) -> None:
        # The last address is the one that our own proxy saw; those before it are whatever the caller wrote.
        text = hook.headers.get(self._address_header, "").rpartition(",")[2].strip()
        try:
            address = ipaddress.ip_address(text)
        except ValueError as exc:
            raise Unsigned("the address of the caller is not known") from exc
        if not any(address in network for network in self._networks):
            raise Unsigned("the caller is in none of the provider's networks")


def _last_segment(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:  # a Host header can hold anything
        return ""


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as exc:
        raise Malformed(f"is no network: {exc}", "192.0.2.0/24, 2001:db8::/32 or one address") from exc


def _fields(hook: Hook) -> Mapping[str, str]:
    try:
        return fields_of(hook)
    except ValueError:
        return {}


class _Wrapped(msgspec.Struct):
    data: str


class _Push(msgspec.Struct):
    message: _Wrapped


_push = msgspec.json.Decoder(_Push)


def _data(body: bytes) -> bytes:
    """Return the octets in `message.data` of a Pub/Sub push, empty for anything else."""
    try:
        return base64.b64decode(parse(_push, body).message.data, validate=True)
    except ValueError:
        return b""


class Callbacks:
    """Reads the callbacks of one lane."""

    def __init__(self, compiler: Compiler, callback: Callback, where: str, channel: Channel) -> None:
        self._proofs = Proofs(compiler, callback, where)
        self._format = callback.format
        self._list = compiler.place(callback.list, f"{where}.list")
        self._statuses = Statuses(compiler, callback.status, f"{where}.status") if callback.status else None
        self._inbounds = Inbounds(compiler, callback.inbound, f"{where}.inbound", channel) if callback.inbound else None
        self._answer, self._content_type = callback.answer.encode(), callback.content_type
        if not callback.status and not callback.inbound:
            compiler.reader.add(where, "reads nothing", f"add [{where}.status], [{where}.inbound], or both")

    def verify(self, hook: Hook, now: float) -> None:
        """Raise `Unsigned` for a callback that does not prove itself."""
        self._proofs.check(hook, now)

    def receive(self, hook: Hook) -> Reading:
        """Read what a callback says; raises `ValueError` for one that is nothing of this provider's."""
        reading = Reading(answer=self._answer, content_type=self._content_type)
        body = self._body_of(hook)
        document = Document(body, body, hook.headers, hook.query)
        elements = self._list.find(document) if self._list else body
        if isinstance(elements, Mapping):
            elements = [elements]
        if not isinstance(elements, list):
            raise ValueError("there is nothing where its elements should be")
        for element in elements:
            here = document.at(element)
            if self._statuses and self._statuses.fits(here):
                self._statuses.read(here, reading)
            elif self._inbounds and self._inbounds.fits(here):
                self._inbounds.read(here, reading)
            else:
                reading.unknown.append("element")
        return reading

    def _body_of(self, hook: Hook) -> Any:
        if self._format == "fields":
            return fields_of(hook)
        return parse(_json, _data(hook.body) if self._format == "pubsub" else hook.body)


class Statuses:
    """Reads what became of a message."""

    def __init__(self, compiler: Compiler, shape: StatusShape, where: str) -> None:
        self._when = compile_conditions(compiler, shape.when, f"{where}.when")
        places = (shape.status,) if isinstance(shape.status, str) else shape.status
        self._places = [compiler.place(place, f"{where}.status") for place in places]
        self._words = shape.statuses
        self._id = compiler.place(shape.id, f"{where}.id")
        self._reference = compiler.place(shape.reference, f"{where}.reference")
        self._to = compiler.place(shape.to, f"{where}.to")
        self._at = clock(compiler, shape.at, f"{where}.at")
        self._code, self._prefix = compiler.place(shape.code, f"{where}.code"), shape.code_prefix
        self._text = compiler.place(shape.text, f"{where}.text")
        self._network = compiler.place(shape.network, f"{where}.network")
        self._rules = Rules(compiler, shape.rules, f"{where}.rules")
        self._otherwise = shape.otherwise
        add = compiler.reader.add
        for word, status in shape.statuses.items():
            if status not in _SAID:
                add(f"{where}.statuses.{word}", f"cannot be {status}", f"one of: {', '.join(sorted(_SAID))}")
        for index, rule in enumerate(shape.rules):
            if rule.then == "accepted":
                add(f"{where}.rules[{index}].then", "cannot be accepted", "a callback tells what became of a message")
        if not shape.id and not shape.reference:
            add(f"{where}.id", "is missing", "a path to the provider's id, or reference to ours")

    def fits(self, element: Document) -> bool:
        """Say whether an element is about what became of a message."""
        return any(text_in(place, element) for place in self._places) and all(test(element) for test in self._when)

    def read(self, element: Document, reading: Reading) -> None:
        """Add what an element says."""
        words = [word for place in self._places if (word := text_in(place, element))]
        status = next((self._words[word] for word in words if word in self._words), None)
        if status is None:
            reading.unknown.append(f"status:{words[0]}")
            return
        reading.statuses.append(
            Status(
                text_in(self._id, element),
                status,
                text_in(self._reference, element),
                plus(text_in(self._to, element)),
                self._at(element),
                self._why(element) if status in (EventStatus.FAILED, EventStatus.EXPIRED) else None,
                text_in(self._network, element),
            )
        )

    def _why(self, element: Document) -> Failure:
        code, text = self._prefix + text_in(self._code, element), text_in(self._text, element)
        judged = self._rules.judge(element, code, text)
        return judged if isinstance(judged, Failure) else Failure(Disposition(self._otherwise), code, text)


class Inbounds:
    """Reads what a person wrote."""

    def __init__(self, compiler: Compiler, shape: InboundShape, where: str, channel: Channel) -> None:
        self._channel = channel
        self._when = compile_conditions(compiler, shape.when, f"{where}.when")
        self._id = compiler.place(shape.id, f"{where}.id")
        self._from = compiler.place(shape.from_, f"{where}.from")
        self._to = compiler.place(shape.to, f"{where}.to")
        self._text = compiler.place(shape.text, f"{where}.text")
        self._binary = compiler.place(shape.binary, f"{where}.binary")
        self._at = clock(compiler, shape.at, f"{where}.at")
        self._parts = compiler.place(shape.parts, f"{where}.parts")
        self._reference = compiler.place(shape.reference, f"{where}.reference")
        self._data = [(name, compiler.place(path, f"{where}.data.{name}")) for name, path in shape.data.items()]

    def fits(self, element: Document) -> bool:
        """Say whether an element is a message from a person."""
        return text_in(self._from, element) != "" and all(test(element) for test in self._when)

    def read(self, element: Document, reading: Reading) -> None:
        """Add what an element says."""
        parts = text_in(self._parts, element)
        reading.inbound.append(
            inbound(
                text_in(self._id, element),
                from_=plus(text_in(self._from, element)),
                to=plus(text_in(self._to, element)),
                kind="binary" if text_in(self._binary, element) else "text",
                text=text_in(self._text, element),
                channel=self._channel,
                at=self._at(element),
                parts=int(parts) if parts.isdecimal() else 1,
                reference=text_in(self._reference, element),
                data={name: text for name, path in self._data if (text := text_in(path, element))},
            )
        )


def clock(compiler: Compiler, moment: Moment | None, where: str) -> Callable[[Document], float]:
    """Compile how a time is read, to Unix seconds; 0 for one that is missing or of another form."""
    if moment is None:
        return lambda document: 0.0
    path = compiler.place(moment.path, f"{where}.path")
    zone = compiler.attempt(f"{where}.zone", lambda: _zone(moment.zone), None)
    stand_in: Callable[[str], float] = _nothing
    read = compiler.attempt(f"{where}.format", lambda: _reader_of(moment.format, zone), stand_in)

    def at(document: Document) -> float:
        try:
            found = read(text_in(path, document))
        except (ValueError, OverflowError):
            return 0.0
        return found if 0 < found < _YEAR_5138 else 0.0

    return at


def _nothing(_text: str) -> float:
    return 0.0


def _reader_of(format_: str, zone: tzinfo | None) -> Callable[[str], float]:
    if format_ in ("unix", "unix_ms"):
        unit = 1.0 if format_ == "unix" else 1000.0
        return lambda text: float(text) / unit
    if format_ == "iso":
        return lambda text: _unix(datetime.fromisoformat(text), zone)
    try:
        datetime.strptime("", format_)
    except ValueError as exc:
        if "directive" in str(exc) or "%" not in format_:
            remedy = "iso, unix, unix_ms, or a format such as %Y-%m-%d %H:%M:%S"
            raise Malformed("is not a format of a time", remedy) from exc
    return lambda text: _unix(datetime.strptime(text, format_), zone)


def _unix(moment: datetime, zone: tzinfo | None) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def _zone(name: str) -> tzinfo:
    try:
        # The one zone that needs no database on the machine.
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise Malformed("is no time zone", "UTC, or a name such as America/Bogota") from exc
