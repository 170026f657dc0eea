"""What requests to providers have in common: forms, JSON, credentials, and the bounds of a message."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Hashable, Sequence
from urllib.parse import urlencode

import msgspec

from gateway.errors import Disposition
from gateway.model import Message
from gateway.providers.contract import Call, Failure, Grant, Reply, Unsendable, reference_of

Headers = tuple[tuple[str, str], ...]

_FORM = ("content-type", "application/x-www-form-urlencoded")
_JSON = ("content-type", "application/json")

_encode = msgspec.json.Encoder().encode


_NAMESPACE = hashlib.sha1(uuid.NAMESPACE_URL.bytes + b"recado:", usedforsecurity=False)


class Keyed:
    """A provider whose requests carry all they need: there is no credential to fetch, and any messages go together."""

    def group(self, message: Message) -> Hashable:
        return None

    def own_id(self, message: Message) -> str:
        return ""

    def grant(self, now: float) -> Call | None:
        return None

    def granted(self, reply: Reply, now: float) -> Grant | Failure:
        return Failure(Disposition.STOP, "grant", "this provider gives no credentials")


def basic(user: str, password: str) -> Headers:
    """Return the header of Basic authentication (RFC 7617)."""
    return (("authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()),)


def post_form(url: str, headers: Headers, fields: Sequence[tuple[str, str]]) -> Call:
    return Call("POST", url, (*headers, _FORM), urlencode(fields).encode())


def post_json(url: str, headers: Headers, value: object) -> Call:
    return Call("POST", url, (*headers, _JSON), _encode(value))


def stable_id(message: Message, *, once: bool = False) -> str:
    """Return a UUID for one attempt at a message, the same in every process, for providers that take ours.

    With `once` it is the same for every attempt at one step of the message's plan: for providers that ignore what they have
    had under the same id.

    RFC 9562 §5.5, over `reference_of`: 36 characters whatever the publisher's ids look like.
    """
    # What uuid.uuid5 does, at a quarter of its cost.
    digest = _NAMESPACE.copy()
    digest.update((_step_of(message) if once else reference_of(message)).encode())
    d = digest.hexdigest()
    return f"{d[:8]}-{d[8:12]}-5{d[13:16]}-{'89ab'[int(d[16], 16) & 3]}{d[17:20]}-{d[20:32]}"


def _step_of(message: Message) -> str:
    name = f"{message.tenant}/{message.message_id}"
    # No tenant has a colon.
    return f"{message.first_attempt}:{name}" if message.first_attempt > 1 else name


def seconds_left(message: Message, now: float, least: int, most: int) -> int | None:
    """Return for how many seconds a provider should try, within what it takes; None for a message that never expires."""
    if not message.expires_at:
        return None
    return int(min(max(message.expires_at - now, least), most))


def check_text(message: Message, most: int | None = None) -> None:
    """Raise `Unsendable` for a text that is empty or has more than `most` UTF-16 code units, as providers count."""
    text = message.text
    if not text:
        raise Unsendable("text", "there is no text")
    # A character beyond U+FFFF counts twice; a text of half the bound cannot exceed it.
    if most is not None and len(text) * 2 > most and len(text.encode("utf-16-le", "surrogatepass")) > 2 * most:
        raise Unsendable("too_long", f"the text has more than {most} characters")
