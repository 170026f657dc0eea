"""What a vendor's file says: the shape of its requests, its answers and its callbacks.

`deploy/providers/*.toml` show it at work. Texts that are templates take placeholders (`placeholders.py`); paths look into
a body (`paths.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from gateway.errors import Disposition
from gateway.model import EventStatus
from gateway.providers.contract import Scope
from gateway.providers.paths import Condition
from gateway.providers.signatures import ParamsMethod
from gateway.tables import Secret

Name = Annotated[str, Meta(min_length=1, description="a text in quotation marks, not empty")]
Then = Literal["accepted", "retry", "throttled", "reroute", "rejected", "hold", "stop", "unknown"]
Conditions = Annotated[tuple[Condition, ...], Meta(description='a list of { http = "…", path = "…", is = … }')]
Place = str | tuple[str, ...]
"""A path, or several of which the first that has something counts."""
Algorithm = Literal["md5", "sha1", "sha256", "sha512"]


class Wait(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an answer says how long to wait, besides Retry-After, which is always looked for."""

    path: Place
    matches: str = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)"
    """A regular expression that is searched for; its one group is the number."""
    unit_s: Annotated[float, Meta(gt=0, description="seconds in one of its units; 0.001 for milliseconds")] = 1.0


class Rule(Condition, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a failure asks for when the condition holds; the first rule that holds decides."""

    then: Then
    """A disposition, or `accepted`: a refusal that says that they have the message already."""
    scope: Scope = Scope.LANE
    wait: Wait | None = None
    attempts: Annotated[int, Meta(ge=0, description="of a message in all, or 0")] = 0
    code: Place = ""
    """Where its code stands, if not where that of other failures does; `text` likewise."""
    text: Place = ""


Rules = Annotated[tuple[Rule, ...], Meta(description='a list of { path = "…", is = …, then = "<disposition>" }')]


class Basic(Struct, frozen=True, kw_only=True):
    """Basic authentication of our requests; both are templates of settings and secrets."""

    username: Name
    password: Name


class Signature(Struct, frozen=True, kw_only=True):
    """A signature of each request: an HMAC over a template, or with `key` empty a plain digest."""

    over: Name
    """Template; also `{body}`, the body as it goes out."""
    key: str = ""
    algorithm: Algorithm = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    place: Literal["header", "query"] = "header"
    name: Name
    value: Name = "{signature}"


class OAuth2(Struct, frozen=True, kw_only=True):
    """A credential for client id and secret (RFC 6749 §4.4); requests carry it where they say `{token}`.

    With `send = "assertion"` the secret is the RSA key of a service account, in PEM, and the id its name (RFC 7523).
    """

    url: Name
    client_id: Name
    client_secret: Name
    scope: str = ""
    send: Literal["basic", "body", "assertion"] = "basic"
    # RFC 6749 §5.1 only recommends expires_in; an hour is what most servers give.
    lifetime_s: Annotated[float, Meta(gt=0, description="seconds, where the server does not say")] = 3600


class Request(Struct, frozen=True, kw_only=True):
    """One request. All texts in it are templates; at most one of `json` and `form` is its body."""

    url: Name
    method: Literal["GET", "POST", "PUT"] = "POST"
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    each: Annotated[str, Meta(description="keys with dots, such as messages; $ for a body that is itself the list")] = (
        ""
    )
    """The list in `json` that has one element for each message; it is written with that one element."""
    batch: Annotated[int, Meta(ge=1, le=10_000, description="messages in one request, from 1 to 10000")] = 1
    max_text: Annotated[int, Meta(ge=0, description="UTF-16 code units, or 0 for any number")] = 0
    max_octets: Annotated[int, Meta(ge=0, description="octets of the text in UTF-8, or 0 for any number")] = 0
    max_reference: Annotated[int, Meta(ge=0, description="characters, or 0 for any number")] = 0
    """Of a longer one there is none: `{reference?}` is left out."""
    needs: tuple[Name, ...] = ()
    """Placeholders of which a message must have at least one, where each of them may be left out."""
    ttl_s: Annotated[tuple[int, int], Meta(description="the least and the most seconds that the provider takes")] = (
        1,
        30 * 86_400,
    )
    alphabet: Mapping[Literal["gsm7", "unicode"], str] = {}
    """The provider's words for the two: what `{alphabet}` is for a text."""
    basic: Basic | None = None
    sign: Signature | None = None


class Match(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one finds the message that a result is about: what is at the path equals the filled template."""

    path: Name
    is_: Name = field(name="is")


class FailedList(Struct, frozen=True, kw_only=True):
    """A second list, of failures alone."""

    list: Name
    match: Match | None = None
    code: Place = ""
    text: Place = ""


class ReplyShape(Struct, frozen=True, kw_only=True):
    """How an answer is read. Paths look into a result: an element of `list`, or without one the body."""

    success: Annotated[Conditions, Meta(min_length=1)]
    """All must hold."""
    otherwise: Disposition
    """For a result that the provider itself says it refuses and that no rule names. Else the HTTP status decides."""
    format: Literal["json", "form", "text"] = "json"
    pattern: str = ""
    """For text: a regular expression whose named groups are the fields of the body."""
    list: str = ""
    count: Place = ""
    """How many results there are; fewer say nothing certain."""
    match: Match | None = None
    """Without: results stand in the order of the messages."""
    id: Place = ""
    own_id: str = ""
    """Template: the id where the provider takes ours and does not repeat it."""
    code: Place = ""
    text: Place = ""
    held: Conditions = ()
    failed: FailedList | None = None
    rules: Rules = ()


class Moment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time in a callback."""

    path: Place
    format: Name = "iso"
    """`iso`, `unix`, `unix_ms`, or a format of strptime."""
    zone: Name = "UTC"
    """Of times without an offset: a name such as America/Bogota."""


class StatusShape(Struct, frozen=True, kw_only=True):
    """How a status of a message is read out of one element of a callback."""

    status: Place
    """Of several places the first counts whose word stands in `statuses`."""
    statuses: Annotated[Mapping[str, EventStatus], Meta(min_length=1, description='the provider\'s word = "<status>"')]
    otherwise: Disposition
    """For a failure that no rule names."""
    when: Conditions = ()
    id: Place = ""
    reference: Place = ""
    to: Place = ""
    at: Moment | None = None
    code: Place = ""
    code_prefix: str = ""
    """Where codes of callbacks mean something else than those of answers."""
    text: Place = ""
    network: Place = ""
    rules: Rules = ()


class InboundShape(Struct, frozen=True, kw_only=True):
    """How what a person wrote is read out of one element of a callback."""

    id: Place
    from_: Place = field(name="from")
    to: Place
    text: Place
    when: Conditions = ()
    binary: Place = ""
    """What only a binary message has: its octets in hexadecimal."""
    at: Moment | None = None
    parts: Place = ""
    reference: Place = ""
    """What it answers to."""
    data: Mapping[str, str] = {}
    """What else is kept: a name of ours = a path."""


class Proof(Struct, frozen=True, kw_only=True):
    """How a callback proves where it comes from; `secret`, `username` and `password` are templates."""

    kind: Literal["hub", "twilio", "rbm", "sinch", "params", "jwt", "basic", "header", "query", "path", "networks"]
    secret: str = ""
    username: str = ""
    password: str = ""
    name: str = ""
    """The header or the parameter, for the kinds of that name."""
    method: ParamsMethod = "md5hash"
    """Of `params`."""
    window_s: Annotated[float, Meta(gt=0, description="seconds")] = 300
    """How far a timestamp may be from now, for kinds that have one."""


class Callback(Struct, frozen=True, kw_only=True):
    """How a request of the provider to us is checked, read and answered."""

    proof: Proof
    networks: Annotated[tuple[str, ...], Meta(description='such as ["192.0.2.0/24"]')] = ()
    """Where callbacks may come from, besides what proves them; empty: anywhere."""
    address_header: str = ""
    """Where our own proxy writes who called; `networks` needs it."""
    format: Literal["json", "fields", "pubsub"] = "json"
    """`fields`: a query, a form or a flat JSON object, whichever comes; `pubsub`: JSON in Base64 in `message.data`."""
    list: str = ""
    """Path to the elements; empty: the body is the list, or the one element."""
    status: StatusShape | None = None
    inbound: InboundShape | None = None
    answer: str = ""
    content_type: Name = "text/plain"


class Vendor(Struct, frozen=True, kw_only=True):
    """One vendor's file."""

    request: Request
    reply: ReplyShape
    oauth2: OAuth2 | None = None
    callback: Callback | None = None
    channel: Literal["sms", "email", "voice", "rcs", "whatsapp"] = "sms"
    idempotent: bool = False
    """A message sent again under the same `{reference.once}` cannot reach the person twice: only if the contract says so."""


class Account(Struct, frozen=True, kw_only=True):
    """What one lane adds to a vendor's file."""

    sender: str = ""
    callback: str = ""
    """The public URL of the lane's callbacks."""
    settings: Mapping[str, str] = {}
    secrets: Mapping[str, Secret] = {}
