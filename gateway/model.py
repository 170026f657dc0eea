"""The records of the topics: what publishers write, what they read, and what travels between our own stages.

`Job`, `Event`, `Inbound` and `Dead` are the contract with the world; their JSON Schemas in `docs/` are generated from
here by `python -m gateway.schema`. `Message` is internal: a JSON array, because its field names would be half of its
octets.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from gateway.content.model import Channel, Content
from gateway.errors import InvalidJob

MAX_RECIPIENTS = 10_000

# `$` alone would let a final line break pass in Python; in JSON Schema it would not.
_END = r"$(?!\n)"

Tenant = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*" + _END,
        description="Who pays: message ids are unique within a tenant. Letters, digits, dot, underscore, hyphen.",
    ),
]
Campaign = Annotated[str, Meta(max_length=128, description="A name to group and report by.")]


class TrafficClass(StrEnum):
    """How urgent a message is; each class waits in topics of its own, and the first listed goes first."""

    OTP = "otp"
    TRANSACTIONAL = "transactional"
    BULK = "bulk"


Purpose = Literal["", "first_party_reminder", "third_party_collection"]


class Recipient(Struct, forbid_unknown_fields=True, gc=False):
    """One person of a job."""

    to: Annotated[
        str,
        Meta(
            description="The number in E.164 with its plus sign, for mail the address; an invalid one rejects the recipient."
        ),
    ]
    message_id: Annotated[
        str, Meta(max_length=128, description="Yours, unique within the tenant; empty: `<job_id>:<index from 0>`.")
    ] = ""
    params: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], str | int | float],
        Meta(max_length=64, description="Values of the placeholders of the text; ones that it lacks are ignored."),
    ] = {}
    email: Annotated[
        str,
        Meta(max_length=254, description="For a step of `fallback` over mail: the address, where `to` is a number."),
    ] = ""
    operator: Annotated[
        str,
        Meta(
            max_length=32,
            description="The network that serves the number, where you know it: MCC and MNC (`732101`), or a name of ours.",
        ),
    ] = ""


class Job(Content, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A content for one or thousands of recipients: one record of the jobs topic."""

    job_id: Annotated[str, Meta(min_length=1, max_length=128, description="Yours, unique within the tenant.")]
    recipients: Annotated[list[Recipient], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    campaign: Campaign = ""
    tenant: Tenant = ""
    class_: TrafficClass = field(default=TrafficClass.BULK, name="class")
    expires_at: (
        Annotated[
            datetime,
            Meta(tz=True, description="RFC 3339 with an offset: not sent after it, nor delivered if the operator can."),
        ]
        | None
    ) = None
    not_before: (
        Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset: not sent before it.")] | None
    ) = None
    purpose: Annotated[
        Purpose,
        Meta(
            description="What it is for, where a channel's policy asks: WhatsApp refuses collections for third parties."
        ),
    ] = ""
    fallback: Annotated[
        tuple[Content, ...],
        Meta(
            max_length=4,
            description="What to say over which channel instead, in this order, when the one before failed.",
        ),
    ] = ()


class Step(Struct, array_like=True, gc=False):
    """What one recipient is to be told over which channel, if what came before it fails."""

    channel: str
    sender: str
    text: str
    content: str
    to: str = ""
    """Where this channel needs another address; empty for the same."""


class Message(Struct, array_like=True, gc=False):
    """One personalised message on its way to a lane: one record of a lane topic."""

    message_id: str
    to: str
    text: str
    sender: str
    job_id: str
    campaign: str
    tenant: str
    class_: TrafficClass
    expires_at: float
    """Unix seconds; 0 when it never expires."""
    source: str
    """`partition:offset:timestamp:index` of the recipient in its job's record: tells our own second copy from a publisher's."""
    accepted_at: float
    """Unix seconds."""
    attempt: int = 1
    accepted_ids: tuple[str, ...] = ()
    """Provider's ids of the parts that an earlier attempt got accepted; only the others (empty) are written again."""
    content: str = ""
    """What channels other than SMS carry, as the JSON object that their providers splice into a request."""
    channel: str = "sms"
    operator: str = ""
    """Of the recipient, as MCC and MNC or by name, where it is known: routes may ask for it."""
    tried: tuple[str, ...] = ()
    """Lanes that certainly did not accept it, and do not want it."""
    plan: tuple[Step, ...] = ()
    """What is left of the job's `fallback`."""
    purpose: str = ""
    doubtful: bool = False
    """An earlier attempt may have been accepted: it stays on its lane, and is unknown in the end rather than failed."""
    first_attempt: int = 1
    """The attempt with which its channel began: retries count from there, and its parts are known together by it."""


def has_expired(message: Message, now: float) -> bool:
    """Whether nobody wants it any more; `now` is Unix seconds."""
    return 0 < message.expires_at <= now


def published_ms(message: Message) -> int:
    """When the record of a message's job was appended, Unix milliseconds; 0 for a message that intake has not made."""
    try:
        return int(message.source.split(":")[2])
    except (IndexError, ValueError):
        return 0


class EventStatus(StrEnum):
    """What became of a message; `accepted` is about a job, `short` about a portfolio of WhatsApp."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    SUBMITTED = "submitted"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    FALLBACK = "fallback"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    ORPHAN = "orphan"
    SHORT = "short"


FINAL = frozenset(EventStatus) - {
    EventStatus.ACCEPTED,
    EventStatus.DUPLICATE,
    EventStatus.SUBMITTED,
    EventStatus.ORPHAN,
    EventStatus.FALLBACK,
    EventStatus.SHORT,
}


class Event(Struct, omit_defaults=True, gc=False):
    """Something that became of a job or of one of its messages, or what holds them up: one record of the events topic."""

    event_id: Annotated[str, Meta(description="The same whenever the event is published again: deduplicate by it.")]
    status: Annotated[
        EventStatus,
        Meta(
            description=(
                "Final are rejected, failed, expired, delivered (a read may follow) and read. unknown (written to the "
                "operator, never answered, not sent again) is final unless a receipt or a late answer resolves it. "
                "fallback: this channel failed, and the job's next one is tried. short: of the messages of this class that "
                "wait for this portfolio so many `recipients` have no place in Meta's limit within 24 hours; said when they "
                "become a tenth more or fewer, and without `recipients` when all have one again."
            )
        ),
    ]
    time: Annotated[datetime, Meta(tz=True, description="When the gateway knew it.")]
    message_id: Annotated[str, Meta(description="Absent when the event is about a job.")] = ""
    job_id: str = ""
    campaign: str = ""
    tenant: str = ""
    class_: TrafficClass | None = field(default=None, name="class")
    channel: str = ""
    lane: Annotated[str, Meta(description="The operator's account that carried it.")] = ""
    attempt: Annotated[int, Meta(description="1 for the first; absent when nothing was tried.")] = 0
    parts: Annotated[int, Meta(description="How many SMS the text takes.")] = 0
    parts_done: Annotated[int, Meta(description="How many of them this status is known of.")] = 0
    provider_message_id: Annotated[
        str, Meta(description="The operator's id of the part that decided, or of the first, as it was given.")
    ] = ""
    provider_message_ids: Annotated[tuple[str, ...], Meta(description="All of them when there are several parts.")] = ()
    error_code: Annotated[str, Meta(description="Such as `ESME_RINVDSTADR`, `receipt:001`, `number`.")] = ""
    error_text: str = ""
    recipients: Annotated[
        int, Meta(description="`accepted`: of the job; `short`: at most how many have to wait for longer than a day.")
    ] = 0
    rejected: Annotated[
        int,
        Meta(description="`accepted` only: how many of them were rejected at once; what is too late is told later."),
    ] = 0
    portfolio: Annotated[str, Meta(description="`short` only: whose limit it is, a name of `[portfolios]`.")] = ""


class Inbound(Struct, omit_defaults=True, gc=False):
    """What a person wrote to us, in one shape for every channel: one record of the inbound topic."""

    inbound_id: Annotated[
        str, Meta(description="SMPP gives none: ours is the same for what an SMSC delivers again within a minute.")
    ]
    channel: Channel
    lane: str
    account: Annotated[str, Meta(description="What the provider's ids are unique in.")]
    from_: Annotated[
        str,
        Meta(
            description="Who wrote: in E.164 where that is certain, else as the SMSC has it (short code, name, national number)."
        ),
    ] = field(name="from")
    to: str
    time: Annotated[datetime, Meta(tz=True, description="When it reached the gateway.")]
    kind: Annotated[
        str,
        Meta(description="`text`, or `binary` with the octets in `data`, as hexadecimal."),
    ] = "text"
    text: str = ""
    parts: int = 1
    parts_missing: Annotated[int, Meta(description="Parts that had not come when the gateway stopped waiting.")] = 0
    reference: Annotated[str, Meta(description="What it answers to, where the channel says so.")] = ""
    data: Annotated[
        dict[str, str | int | float | bool | None], Meta(description="What only this channel or kind has.")
    ] = {}


class Dead(Struct, gc=False):
    """A record that could not be read, with its original octets and where it was: one record of the dead topic."""

    topic: str
    partition: int
    offset: int
    reason: str
    time: Annotated[datetime, Meta(tz=True)]
    key: Annotated[bytes | None, Meta(description="Base64.")]
    value: Annotated[bytes | None, Meta(description="Base64.")]


_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()

_encoder = msgspec.json.Encoder()
_job_decoder = msgspec.json.Decoder(Job)

encode_job: Callable[[Job], bytes] = _encoder.encode
encode_message: Callable[[Message], bytes] = _encoder.encode
decode_message: Callable[[bytes], Message] = msgspec.json.Decoder(Message).decode
encode_event: Callable[[Event], bytes] = _encoder.encode
decode_event: Callable[[bytes], Event] = msgspec.json.Decoder(Event).decode
encode_inbound: Callable[[Inbound], bytes] = _encoder.encode
encode_dead: Callable[[Dead], bytes] = _encoder.encode


def decode_job(value: bytes | None) -> Job:
    """Read a record of the jobs topic, or raise `InvalidJob` with the reason and the path of the field."""
    if value is None:
        raise InvalidJob("the record has no value", "json")
    try:
        return _job_decoder.decode(value)
    except msgspec.ValidationError as exc:
        raise InvalidJob(str(exc), "schema") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidJob(str(exc), "json") from exc
    except RecursionError as exc:  # brackets within brackets, in what is spliced as it is
        raise InvalidJob("is nested too deep", "json") from exc


def message_id_of(job: Job, index: int) -> str:
    """Return the id of the message for recipient `index` (from 0); the same whenever the job is published again."""
    return job.recipients[index].message_id or f"{job.job_id}:{index}"


def deadline_of(job: Job) -> float:
    """Return when the messages of a job expire, in Unix seconds; 0 when they never do."""
    # The epoch itself is long past and must not read as "never"; what an offset puts into the year 10000 has no date in UTC.
    return min(max(job.expires_at.timestamp(), 1.0), _LAST) if job.expires_at else 0.0


def event_id(tenant: str, subject: str, status: str, occurrence: int | str) -> str:
    """Return an id that a replay gives again and nothing else does.

    `subject` is the message id, or the job id for `accepted`. `occurrence` is the attempt, or for what happens to a
    record rather than to a message (`accepted`, `duplicate`) the record's coordinates. No tenant has a slash in it and
    neither have status and occurrence, so that ids with slashes cannot collide.
    """
    return f"{tenant}/{subject}/{status}/{occurrence}"
