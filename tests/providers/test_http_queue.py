"""Which messages share a request, and whose turn it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.http_queue import Taken, Waiting
from tests.providers.suite import a_message

MESSAGE = a_message()


def waiting(batch: int, *groups: str) -> Waiting:
    """Messages of these groups; the context of each is its group and its place."""
    queue = Waiting(batch)
    for place, group in enumerate(groups):
        queue.add(group, (MESSAGE, f"{group}{place}"))
    return queue


def contexts(taken: list[Taken]) -> list[str]:
    return [context for _, context in taken]


def test_a_request_is_of_one_group_and_no_longer_than_a_batch() -> None:
    """The oldest first, and the groups in turn."""
    queue = waiting(2, *"aabaab")
    assert queue.requests == 3
    assert [contexts(queue.take()) for _ in range(3)] == [["a0", "a1"], ["b2", "b5"], ["a3", "a4"]]
    assert (len(queue), queue.requests) == (0, 0)


def test_clearing_hands_back_everything() -> None:
    """Each group in its order."""
    queue = waiting(3, *"abba")
    assert contexts(queue.clear()) == ["a0", "a3", "b1", "b2"]
    assert (len(queue), queue.requests, queue.clear()) == (0, 0, [])


@given(st.integers(1, 5), st.lists(st.sampled_from("abc")))
def test_every_message_is_taken_once(batch: int, groups: list[str]) -> None:
    """In as many requests as were announced, none empty, too long or mixed, and each group in its order."""
    queue = waiting(batch, *groups)
    announced = queue.requests
    taken = []
    while queue:
        taken.append(contexts(queue.take()))
    assert len(taken) == announced
    assert all(1 <= len(request) <= batch and len({one[0] for one in request}) == 1 for request in taken)
    for group in "abc":
        places = [int(one[1:]) for request in taken for one in request if one[0] == group]
        assert places == [place for place, of in enumerate(groups) if of == group]
