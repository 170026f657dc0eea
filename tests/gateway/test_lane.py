"""What the slots of a lane share."""

from gateway import config
from gateway.lane import Lane


def lane(**changes: object) -> Lane:
    given = {"name": "andina", "host": "h", "port": 1, "system_id": "s", "password": config.Secret("x"), "rate": 100}
    return Lane(config.Lane(**(given | changes)))


def test_processes_share_the_rate_by_their_slots() -> None:
    """However the slots are spread, the buckets of all processes together hold the contract and no more."""
    first, second = lane(binds=4, burst=8), lane(binds=4, burst=8)
    first.share(3, 0.0)
    second.share(1, 0.0)
    assert (first.bucket.rate, second.bucket.rate) == (75, 25)
    assert (first.bucket.burst, second.bucket.burst) == (6, 2)


def test_a_process_without_slots_has_no_tokens() -> None:
    """A lane whose slots went elsewhere is paused here."""
    left = lane(binds=2)
    left.share(0, 0.0)
    assert left.bucket.take(10, 1000.0) == 0


def test_short_texts_need_no_counting() -> None:
    """In UCS-2 33 characters fit a part whatever they are; without UCS-2 a text may not fit at all."""
    sure = lane(max_parts=2).sure_to_fit
    assert lane(max_parts=2).encoder.count("😀" * sure) <= 2
    assert lane(alphabets=("gsm7",)).sure_to_fit == 0
