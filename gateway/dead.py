"""Dead letters: a record that could not be read, with where it was and what was in it."""

from __future__ import annotations

from datetime import datetime

from aiokafka.structs import ConsumerRecord

from gateway.model import Dead, encode_dead
from gateway.outbox import Record

_OCTETS = 600_000
"""Of the value: in base64 it still fits into the million that a broker takes."""


def letter(record: ConsumerRecord, reason: str, at: datetime) -> Record:
    """What goes to the dead-letter topic for a record of any topic; a value that would not fit is cut, and that is said."""
    value = record.value
    if value is not None and len(value) > _OCTETS:
        reason = f"{reason} (value cut, it has {len(value)} octets)"
        value = value[:_OCTETS]
    return record.key, encode_dead(Dead(record.topic, record.partition, record.offset, reason, at, record.key, value))
