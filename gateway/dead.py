"""Dead letters: a record that could not be read, with where it was and what was in it."""

from __future__ import annotations

from datetime import datetime

from aiokafka.structs import ConsumerRecord

from gateway.model import Dead, encode_dead
from gateway.outbox import Record

_OCTETS = 600_000
"""Of the value: in base64, and with the others, it still fits into the million that a broker takes."""
_KEY_OCTETS = 10_000
"""Of the key, which the letter has as its own and in base64."""
_REASON = 500
"""Characters of the reason, which may quote the value."""


def letter(record: ConsumerRecord, reason: str, at: datetime) -> Record:
    """What goes to the dead-letter topic for a record of any topic; what would not fit is cut, and that is said."""
    key, value = record.key, record.value
    if len(reason) > _REASON:
        reason = f"{reason[:_REASON]}…"
    if value is not None and len(value) > _OCTETS:
        reason = f"{reason} (value cut, it has {len(value)} octets)"
        value = value[:_OCTETS]
    if key is not None and len(key) > _KEY_OCTETS:
        reason = f"{reason} (key cut, it has {len(key)} octets)"
        key = key[:_KEY_OCTETS]
    return key, encode_dead(Dead(record.topic, record.partition, record.offset, reason, at, key, value))
