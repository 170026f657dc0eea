"""Events: what the publisher is told. Pure: the same input gives the same `event_id`, so a repetition can be recognised.

They are keyed by job, so that those of one message are in order and those of one batch in few partitions. Two of them are made
for nearly every message, so these are joined from pieces of JSON, of which the largest is the same for a whole job;
`tests/properties/test_events.py` holds them to the contract.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as quoted

from gateway.correlation import Sent
from gateway.ledger import Outcome
from gateway.model import Event, EventStatus, Job, Message, TrafficClass, encode_event, event_id
from gateway.outbox import Record

_OF_KIND = {
    "s": "submitted",
    "f": "failed",
    "x": "expired",
    "u": "unknown",
    "d": "duplicate",
    "j": "rejected",
    "n": "fallback",
}


@lru_cache(maxsize=64)
def utc(at: float) -> datetime:
    """Unix time as the contract has it; all of a batch share theirs."""
    return datetime.fromtimestamp(at, UTC)


def of_outcome(message: Message, outcome: Outcome, lane: str) -> Record:
    """What became of an attempt. A duplicate is something that happened to a record, all else to the attempt."""
    ids = outcome.ids
    kind = outcome.kind
    more = f',"provider_message_id":{quoted(ids[0])}' if ids and ids[0] else ""
    if len(ids) > 1:
        more += f',"provider_message_ids":[{",".join(map(quoted, ids))}]'
    return _of_attempt(
        message,
        lane,
        _OF_KIND[kind],
        _iso(outcome.at),
        message.source if kind == "d" else message.attempt,
        outcome.parts,
        len(ids) - ids.count(""),
        more,
        outcome.error_code,
        outcome.error_text,
    )


def of_receipt(
    sent: Sent, status: EventStatus, at: float, parts_done: int, error_code: str, error_text: str = ""
) -> Record:
    """What a receipt that came at `at` (Unix seconds) says of a message, or the receipts of all its parts together."""
    more = f',"provider_message_id":{quoted(sent.id)}' if sent.id else ""
    return _of_attempt(
        sent,
        sent.lane,
        status,
        _iso(at),
        sent.attempt,
        sent.parts,
        parts_done,
        more,
        error_code,
        error_text,
    )


def of_orphan(lane: str, channel: str, account: str, provider_message_id: str, at: datetime, error_code: str) -> Record:
    """A receipt that belongs to nothing we know: published for whoever reconciles with the operator."""
    event = Event(
        event_id("", f"{account}:{provider_message_id}", EventStatus.ORPHAN, error_code),
        EventStatus.ORPHAN,
        at,
        lane=lane,
        channel=channel,
        provider_message_id=provider_message_id,
        error_code=error_code,
    )
    return provider_message_id.encode(), encode_event(event)


def of_rejection(job: Job, message_id: str, at: datetime, error_code: str, error_text: str) -> Record:
    """One recipient of a job that never becomes a message on its way, and why."""
    event = Event(
        event_id(job.tenant, message_id, EventStatus.REJECTED, 0),
        EventStatus.REJECTED,
        at,
        message_id,
        job.job_id,
        job.campaign,
        job.tenant,
        job.class_,
        job.channel,
        error_code=error_code,
        error_text=error_text,
    )
    return job.job_id.encode(), encode_event(event)


def of_job(job: Job, source: str, at: datetime, rejected: int) -> Record:
    """The whole job is in Kafka's care: how many recipients it has and how many of them were rejected."""
    event = Event(
        event_id(job.tenant, job.job_id, EventStatus.ACCEPTED, source),
        EventStatus.ACCEPTED,
        at,
        "",
        job.job_id,
        job.campaign,
        job.tenant,
        job.class_,
        job.channel,
        recipients=len(job.recipients),
        rejected=rejected,
    )
    return job.job_id.encode(), encode_event(event)


def of_shortage(portfolio: str, class_: TrafficClass, times: int, at: datetime, messages: int) -> Record:
    """How many messages of a class have no place in a portfolio's limit; said for the `times`th time."""
    event = Event(
        event_id("", portfolio, EventStatus.SHORT, f"{class_}.{times}"),
        EventStatus.SHORT,
        at,
        class_=class_,
        channel="whatsapp",
        recipients=messages,
        portfolio=portfolio,
    )
    return portfolio.encode(), encode_event(event)


def _of_attempt(
    what: Message | Sent,
    lane: str,
    status: str,
    time: str,
    occurrence: int | str,
    parts: int,
    parts_done: int,
    more: str,
    error_code: str,
    error_text: str,
) -> Record:
    """An `Event` as `encode_event` would write it, but for the order of its fields."""
    tenant = what.tenant
    key, job = _of_job(what.job_id, what.campaign, tenant, what.channel, lane)
    message_id = quoted(what.message_id)
    status, class_ = (
        "" + status,
        "" + what.class_,
    )  # plain, since an enum in an f-string costs as much as all of this line
    if error_code:
        more += f',"error_code":{quoted(error_code)}'
    if error_text:
        more += f',"error_text":{quoted(error_text)}'
    return (
        key,
        f'{{"event_id":"{tenant}/{message_id[1:-1]}/{status}/{occurrence}","status":"{status}","time":"{time}"'
        f',"message_id":{message_id}{job},"class":"{class_}","attempt":{what.attempt},"parts":{parts}'
        f',"parts_done":{parts_done}{more}}}'.encode(),
    )


@lru_cache(maxsize=1024)
def _of_job(job_id: str, campaign: str, tenant: str, channel: str, lane: str) -> tuple[bytes, str]:
    """The key of the events of a job, and what all of them have in common."""
    said = f',"job_id":{quoted(job_id)}'
    if campaign:
        said += f',"campaign":{quoted(campaign)}'
    if tenant:
        said += f',"tenant":"{tenant}"'
    return job_id.encode(), f'{said},"channel":"{channel}","lane":"{lane}"'


@lru_cache(maxsize=64)
def _iso(at: float) -> str:
    return utc(at).isoformat().replace("+00:00", "Z")
