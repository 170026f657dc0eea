"""Progress: which offset may be committed."""

import pytest

from gateway.progress import Progress


def test_starts_at_the_committed_offset():
    """Nothing begun: the position is where reading starts."""
    progress = Progress(42)
    assert (progress.position, progress.pending) == (42, 0)


def test_stays_at_the_oldest_that_is_not_done():
    """What is done above it does not count."""
    progress = Progress(10)
    progress.begin([10, 11, 12])
    progress.done_many([12, 11])
    assert (progress.position, progress.pending) == (10, 1)


def test_jumps_over_what_was_done_before():
    """The oldest done, the position goes to the next that is not."""
    progress = Progress(10)
    progress.begin([10, 11, 12, 13])
    progress.done_many([11, 12])
    progress.done(10)
    assert progress.position == 13


def test_ends_behind_the_last_when_all_are_done():
    """In the reverse order of the partition too."""
    progress = Progress(10)
    progress.begin(range(10, 20))
    progress.done_many(range(19, 9, -1))
    assert (progress.position, progress.pending) == (20, 0)


def test_offsets_that_never_were_do_not_hold_it():
    """Compacted records and transaction markers: before the first, in between, between two batches."""
    progress = Progress(10)
    progress.begin([15, 18])
    progress.begin([30])
    assert progress.position == 15
    progress.done(15)
    assert progress.position == 18
    progress.done(18)
    assert progress.position == 30
    progress.done(30)
    assert progress.position == 31


def test_goes_on_after_all_were_done():
    """The next batch is held as the first was."""
    progress = Progress(0)
    progress.begin([0])
    progress.done(0)
    progress.begin([1, 2])
    progress.done(2)
    assert progress.position == 1


def test_an_empty_batch_is_nothing():
    """A poll may bring nothing for a partition."""
    progress = Progress(3)
    progress.begin([])
    progress.done_many([])
    assert (progress.position, progress.pending) == (3, 0)


@pytest.mark.parametrize("offsets", [[4], [9, 10], [12, 11], [10, 11, 11], [10, 13, 12, 14]])
def test_offsets_that_do_not_ascend_are_refused(offsets):
    """A record read twice or out of order would let the position pass one that is open; nothing is begun."""
    progress = Progress(5)
    progress.begin([5, 9])
    with pytest.raises(ValueError, match="do not ascend"):
        progress.begin(offsets)
    assert (progress.position, progress.pending) == (5, 2)
    progress.begin([10])


@pytest.mark.parametrize("offset", [4, 5, 7, 8])
def test_done_twice_or_never_begun_is_refused(offset):
    """Below the start, done before, in a gap, beyond the end."""
    progress = Progress(5)
    progress.begin([5, 6])
    progress.done(5)
    with pytest.raises(ValueError, match=f"offset {offset} is not open"):
        progress.done(offset)
    assert (progress.position, progress.pending) == (6, 1)


def test_a_refused_batch_is_done_up_to_the_one_refused():
    """What was rightly done stays done."""
    progress = Progress(0)
    progress.begin([0, 1, 2])
    with pytest.raises(ValueError, match="offset 7 is not open"):
        progress.done_many([0, 7, 1])
    assert (progress.position, progress.pending) == (1, 2)


def test_repr_shows_how_far_it_is():
    """For logs and for a debugger."""
    progress = Progress(0)
    progress.begin([0, 1, 2])
    progress.done(0)
    assert repr(progress) == "Progress(position=1, end=3, pending=2)"
