"""Records that cannot be read: whatever they hold, their letter has a place in the topic of the dead."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from gateway.dead import letter
from gateway.model import Dead

AT = datetime(2026, 7, 1, tzinfo=UTC)
MOST = 900_000
"""Of a batch of ours (`topics`)."""


def record(key: bytes | None, value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord("recado.jobs", 2, 7, 0, 0, key, value, None, -1, len(value or b""), ())


@pytest.mark.parametrize(("key", "value"), [(b"k", b"no job"), (None, b"no job"), (b"k", None), (b"", b"")])
def test_what_fits_is_kept_as_it_is(key: bytes | None, value: bytes | None) -> None:
    """With where it was, and why it is there."""
    written, octets = letter(record(key, value), "why", AT)
    assert written == key
    assert msgspec.json.decode(octets, type=Dead) == Dead("recado.jobs", 2, 7, "why", AT, key, value)


@pytest.mark.parametrize("key", [1, 200_000, 5_000_000])
@pytest.mark.parametrize("value", [1, 600_000, 8_000_000])
@pytest.mark.parametrize("reason", ["x" * 40, "x" * 5_000_000, "\0" * 5_000_000], ids=["short", "long", "escaped"])
def test_what_does_not_fit_is_cut_and_says_so(key: int, value: int, reason: str) -> None:
    """Key, value and reason, which quotes the value: a letter that the broker never takes would end every worker in turn."""
    written, octets = letter(record(b"k" * key, b"v" * value), reason, AT)
    assert written is not None
    assert len(written) + len(octets) < MOST
    dead = msgspec.json.decode(octets, type=Dead)
    assert dead.key == written == b"k" * len(written)
    assert dead.reason.startswith(reason[:40])
    assert (f"(value cut, it has {value} octets)" in dead.reason) == (dead.value != b"v" * value)
    assert (f"(key cut, it has {key} octets)" in dead.reason) == (len(written) != key)
