"""What a far end has seen: counted as it arrives, and told again in full."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulators.record import Arrival, Record, max_distinct


def test_arrivals_are_told_as_they_were() -> None:
    """In order, refused ones too, from wherever one wants."""
    record = Record()
    expected = [
        Arrival(1.0, "a", "573001234567", "ñ-1", ""),
        Arrival(1.5, "b", "573001234567", "", "131056"),
        Arrival(2.0, "a", "", "2", ""),
    ]
    for one in expected:
        record.add(one.at, one.sender, one.recipient, one.reference, one.code)
    assert list(record.arrivals()) == expected
    assert list(record.arrivals(1, 2)) == expected[1:2]
    assert len(record) == 3


def test_what_was_accepted_twice_is_a_duplicate() -> None:
    """What was refused before is none, nor are messages without a reference."""
    record = Record()
    for code, reference in (("131056", "1"), ("", "1"), ("", "1"), ("", ""), ("", ""), ("", "2")):
        record.add(0.0, "a", "57300", reference, code)
    counts = record.counts
    assert (counts.accepted, counts.distinct, counts.duplicates, counts.refused) == (5, 4, 1, {"131056": 1})
    assert (record.copies("1"), record.copies("2"), record.copies("3")) == (2, 1, 0)


def test_recipients_and_senders_are_counted_one_by_one() -> None:
    """Of accepted messages."""
    record = Record()
    for sender, recipient, code in (("a", "1", ""), ("a", "2", ""), ("b", "1", ""), ("b", "3", "131026")):
        record.add(0.0, sender, recipient, "", code)
    assert (record.counts.recipients, record.counts.senders) == (2, {"a": 2, "b": 1})
    assert (record.to("1"), record.to("3"), dict(record.per_recipient())) == (2, 0, {1: 2, 2: 1})


@given(st.lists(st.floats(0, 3), max_size=40).map(sorted))
def test_the_most_in_a_second_is_that_of_any_window(times: list[float]) -> None:
    """As somebody would count who has time; a window's end is not part of it."""
    record = Record()
    for at in times:
        record.add(at, "a", "1", "", "131048")
    expected = max((sum(0 <= last - first < 1 for first in times if first <= last) for last in times), default=0)
    assert record.counts.max_per_second.get("a", 0) == expected


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 4)), max_size=40).map(sorted))
def test_distinct_recipients_are_those_of_any_window(accepted: list[tuple[float, int]]) -> None:
    """As somebody would count who has time."""
    expected = max(
        (len({one for at, one in accepted if at <= last and last - at < 2.5}) for last, _ in accepted), default=0
    )
    assert max_distinct(accepted, 2.5) == expected


def test_a_million_messages_fit_into_300_megabytes() -> None:
    """Measured with fewer; tables that have just grown are at their largest."""
    tracemalloc.start()
    try:
        record = Record()
        for number in range(22_000):
            record.add(number / 1000, "100000000000001", f"52155{number:08}", f"gw:01H{number:020}")
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(record) < 300
