"""What a provider over HTTP is to the gateway: requests from messages, outcomes from answers, events from callbacks.

A provider is one file with its error table on top. It is pure: it opens no connection, reads no clock and keeps nothing of a
message, so that one contract suite tests them all and the port (`http.py`) does the same for each.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.errors import Disposition, GatewayError
from gateway.model import EventStatus, Inbound, Message

_MOST_CODE = 64
_MOST_TEXT = 500
"""Characters: a record must fit into a batch, whatever a provider says."""


class Scope(StrEnum):
    """What a failure is about: what slows down, pauses or stops because of it."""

    LANE = "lane"
    """The number or the account of the lane: everything that it carries."""
    RECIPIENT = "recipient"
    """This person on this lane; the others go on."""
    TEMPLATE = "template"
    """This template in this language; messages without it go on."""
    MARKETING = "marketing"
    """What this person is sent for advertising; all else goes on."""


class Failure(Struct, frozen=True):
    """Why a message was not accepted, and what that asks for.

    `code` is the provider's own (`131056`, `ESME_RTHROTTLED`); `after` is how many seconds it asked to wait, None when it said
    nothing. `text` is the provider's and may go into an event, never into a log: it can quote the message.
    """

    disposition: Disposition
    code: str
    text: str = ""
    after: float | None = None
    scope: Scope = Scope.LANE
    attempts: int = 0
    """Of the message in all, after which it has failed; 0 where only the lane has a limit."""
    doubtful: bool = False
    """It may have been accepted for all that: it can be sent again on this lane, and nowhere else."""


def encodable(text: str) -> str:
    """Return a text without the surrogates as which octets that are no UTF-8 are read: neither store nor Kafka takes them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def storable(failure: Failure) -> Failure:
    """Return a failure with words that fit into a record; mostly the same one."""
    code, text = encodable(failure.code[:_MOST_CODE]), encodable(failure.text[:_MOST_TEXT])
    if code == failure.code and text == failure.text:
        return failure
    return replace(failure, code=code, text=text)


PUT_BACK = Failure(Disposition.THROTTLED, "put-back", after=0.0)
"""Of a message that was chosen and not written: again at once, without an attempt, and the lane is not slower for it."""


class Accepted(Struct, frozen=True):
    """The provider has the message. `id` is its own name for it, what its callbacks carry."""

    id: str
    held: bool = False
    """Accepted and kept back (template pacing): a callback says whether it goes."""


Result = Accepted | Failure


class Call(Struct, frozen=True):
    """One request, as it goes out. Header names in lower case."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Reply(Struct, frozen=True):
    """One answer, read to its end. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Grant(Struct, frozen=True):
    """A credential that the provider gave for some time."""

    token: str
    until: float
    """Unix seconds."""


class Hook(Struct, frozen=True):
    """One request of a provider to us. `url` is the public one that the provider called; header names in lower case."""

    method: str
    url: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    remote: str = ""
    """The address that it came from, as far as the last proxy of ours."""


class Status(Struct, frozen=True):
    """What a callback says of one message."""

    id: str
    """The provider's id, empty where it only echoes ours."""
    status: EventStatus
    """delivered, read, failed, expired; or submitted for what is only under way."""
    reference: str = ""
    """Ours, as echoed: see `reference_of`."""
    to: str = ""
    at: float = 0.0
    """Unix seconds as the provider says, 0 when it does not."""
    failure: Failure | None = None
    network: str = ""
    """The operator that really serves the number (MCC and MNC), where the provider tells."""


class Change(Struct, frozen=True):
    """What a provider says of a lane rather than of a message: a quality, a limit, the state of a template.

    `subject` is whom it is about (`number:<id>`, `template:<name>/<language>`, `portfolio`, `recipient:<number>`), `what` the
    property, `value` its new value in the provider's words.
    """

    subject: str
    what: str
    value: str
    detail: str = ""
    account: str = ""
    """Of whom the provider says it, by an id of its own, where one address hears of several accounts."""
    at: float = 0.0
    """Unix seconds, when the provider says that it was, where it does: what comes late, or again, is older than it looks."""


class Reading(Struct):
    """What one callback holds. `unknown` counts what was not understood by name: never an error, always a metric."""

    statuses: list[Status] = []
    inbound: list[Inbound] = []
    changes: list[Change] = []
    unknown: list[str] = []
    answer: bytes = b""
    """What the provider wants to read; the status is 200."""
    content_type: str = "text/plain"


class Unsendable(GatewayError):
    """A message that this provider cannot carry, whatever happens: it fails before anything is sent."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Unsigned(GatewayError):
    """A callback that did not prove where it comes from; it is refused and counted, and its content is not looked at."""


class Provider(Protocol):
    """What `gateway/providers/*.py` implement; one instance serves one lane and holds its settings and secrets.

    Where callbacks may carry our reference and not the id that `read` returned, an attribute `by_reference` says so. Where
    a callback is proved by the last segment of its path, below the lane's own, an attribute `secret_path` does. Where they come
    later than others', an attribute `told_for_s` says until how many seconds after the request.
    """

    idempotent: bool
    """Sending a message again cannot reach the person twice, at any attempt: what is UNKNOWN is tried again, after a while."""
    batch: int
    """The most messages that one request carries."""

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        """Build the request for up to `batch` messages; `token` is the grant's, empty for a provider that needs none.

        Raises `Unsendable`; for a provider that takes several messages at once, `prepare` has found those before.
        """
        ...

    def group(self, message: Message) -> Hashable:
        """What messages of one request have to have in common; the same for all where a request says everything per message."""
        ...

    def own_id(self, message: Message) -> str:
        """Return the id that callbacks will carry, where it is ours and they echo nothing else; empty otherwise."""
        ...

    def prepare(self, message: Message) -> None:
        """Check one message before it is put in a request; raises `Unsendable`."""
        ...

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """Say what became of each message, in their order. Never raises: an answer that cannot be read is a `Failure` too.

        A 2xx that does not say what became of a message is UNKNOWN: it may have been accepted.
        """
        ...

    def grant(self, now: float) -> Call | None:
        """Build the request for a credential, or None for a provider whose requests carry all they need."""
        ...

    def granted(self, reply: Reply, now: float) -> Grant | Failure:
        """Read the credential out of the answer."""
        ...

    def verify(self, hook: Hook, now: float) -> None:
        """Check that a callback is the provider's, on the raw body and in constant time; raises `Unsigned`."""
        ...

    def receive(self, hook: Hook) -> Reading:
        """Read a callback that was verified; raises `ValueError` for a body that is not what this provider sends at all."""
        ...


class Directory(Protocol):
    """How a provider tells beforehand whom it reaches: the attribute `directory` of the few that do."""

    per_s: float
    """Questions a second that it takes, from all processes together."""
    batch: int
    """The most numbers in one question."""
    reachable_s: float
    """For how long it is believed of a number that it can be reached."""
    unreachable_s: float

    def ask(self, numbers: Sequence[str], token: str) -> Call:
        """Build the question about numbers, at most `batch`; `token` is the grant's."""
        ...

    def read(self, reply: Reply) -> Collection[str] | Failure:
        """Return those that can be reached, written like they were asked for, or why the answer does not say."""
        ...


def reference_of(message: Message) -> str:
    """Our name for one attempt at a message, for providers that echo one: short, and unique among all tenants."""
    return f"{message.tenant}/{message.message_id}/{message.attempt}"
