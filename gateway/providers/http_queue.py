"""What a slot over HTTP has taken and not yet written, arranged by who may share a request. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any

from gateway.model import Message

Taken = tuple[Message, Any]
"""A message and the context of whoever handed it over."""


class Waiting:
    """Messages by the group that their provider puts them in; `batch` is the most that one request carries.

    Groups take turns, so that a long one does not hold up the others.
    """

    __slots__ = ("_batch", "_count", "_groups")

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._groups: dict[Hashable, deque[Taken]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def requests(self) -> int:
        """How many requests they take."""
        if self._batch == 1:
            return self._count
        return sum(-(-len(group) // self._batch) for group in self._groups.values())

    def add(self, group: Hashable, taken: Taken) -> None:
        self._count += 1
        waiting = self._groups.get(group)
        if waiting is None:
            waiting = self._groups[group] = deque()
        waiting.append(taken)

    def take(self) -> list[Taken]:
        """Return the messages of the next request, oldest first. There must be some."""
        group, waiting = next(iter(self._groups.items()))
        taken = [waiting.popleft() for _ in range(min(self._batch, len(waiting)))]
        self._count -= len(taken)
        if not waiting:
            del self._groups[group]
        elif len(self._groups) > 1:
            self._groups[group] = self._groups.pop(group)
        return taken

    def clear(self) -> list[Taken]:
        """Return all that waits, each group in its order, and forget it."""
        every = [taken for waiting in self._groups.values() for taken in waiting]
        self._groups.clear()
        self._count = 0
        return every
