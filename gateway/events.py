"""Events: what the publisher is told. Pure: the same input gives the same `event_id`, so a repetition can be recognised.

They are keyed by job, so that those of one message are in order and those of one batch in few partitions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from gateway.correlation import Sent
from gateway.ledger import Outcome
from gateway.model import Event, EventStatus, Job, Message, encode_event, event_id
from gateway.outbox import Record

_OF_KIND = {
    "s": EventStatus.SUBMITTED,
    "f": EventStatus.FAILED,
    "x": EventStatus.EXPIRED,
    "u": EventStatus.UNKNOWN,
    "d": EventStatus.DUPLICATE,
}


@lru_cache(maxsize=64)
def utc(at: float) -> datetime:
    """Unix time as the contract has it; all of a batch share theirs."""
    return datetime.fromtimestamp(at, UTC)


def of_outcome(message: Message, outcome: Outcome, lane: str) -> Record:
    """What became of an attempt. A duplicate is something that happened to a record, all else to the attempt."""
    status = _OF_KIND[outcome.kind]
    ids = outcome.ids
    event = Event(
        event_id(
            message.tenant, message.message_id, status, message.source if outcome.kind == "d" else message.attempt
        ),
        status,
        utc(outcome.at),
        message.message_id,
        message.job_id,
        message.campaign,
        message.tenant,
        message.class_,
        "sms",
        lane,
        message.attempt,
        outcome.parts,
        len(ids) - ids.count(""),
        ids[0] if ids else "",
        ids if len(ids) > 1 else (),
        outcome.error_code,
        outcome.error_text,
    )
    return message.job_id.encode(), encode_event(event)


def of_receipt(
    sent: Sent, status: EventStatus, at: datetime, parts_done: int, error_code: str, error_text: str = ""
) -> Record:
    """What a receipt says of a message, or the receipts of all its parts together."""
    event = Event(
        event_id(sent.tenant, sent.message_id, status, sent.attempt),
        status,
        at,
        sent.message_id,
        sent.job_id,
        sent.campaign,
        sent.tenant,
        sent.class_,
        "sms",
        sent.lane,
        sent.attempt,
        sent.parts,
        parts_done,
        sent.id,
        (),
        error_code,
        error_text,
    )
    return sent.job_id.encode(), encode_event(event)


def of_orphan(lane: str, account: str, provider_message_id: str, at: datetime, error_code: str) -> Record:
    """A receipt that belongs to nothing we know: published for whoever reconciles with the operator."""
    event = Event(
        event_id("", f"{account}:{provider_message_id}", EventStatus.ORPHAN, error_code),
        EventStatus.ORPHAN,
        at,
        lane=lane,
        channel="sms",
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
