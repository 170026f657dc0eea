"""How far a partition is finished: the offset that may be committed while messages end in any order."""

from collections import deque
from collections.abc import Iterable, Sequence
from operator import ge


class Progress:
    """The records of one partition that were begun and are not done, and the position below which all are done.

    Records begin in the order of the partition; offsets that the broker skips (compaction, transaction markers) never
    begin and count as done. A record begins once and is done once: anything else is a bug that could lose a message,
    and raises ValueError.
    """

    __slots__ = ("_begun", "_end", "_open")

    def __init__(self, start_offset: int) -> None:
        """Start with nothing begun, at the committed offset (the first one to read)."""
        self._open: set[int] = set()
        self._begun: deque[int] = (
            deque()
        )  # in the order of the partition, from the first that was open when somebody looked
        self._end = start_offset

    def __repr__(self) -> str:
        return f"Progress(position={self.position}, end={self._end}, pending={self.pending})"

    @property
    def position(self) -> int:
        """The offset to commit: everything below it is done, and it is the next one to read after a restart.

        However often it is read, each record is passed once.
        """
        begun, is_open = self._begun, self._open
        while begun and begun[0] not in is_open:
            begun.popleft()
        return begun[0] if begun else self._end

    @property
    def end(self) -> int:
        """The offset from which on nothing was begun."""
        return self._end

    @property
    def pending(self) -> int:
        """How many records were begun and are not done."""
        return len(self._open)

    def begin(self, offsets: Sequence[int]) -> None:
        """Begin the next records: offsets ascend, within the batch and from the batch before.

        Raises ValueError, with nothing begun, if they do not.
        """
        if not offsets:
            return
        if offsets[0] < self._end or any(map(ge, offsets, offsets[1:])):
            raise ValueError(f"offsets from {offsets[0]} to {offsets[-1]} do not ascend from {self._end}")
        self._open.update(offsets)
        self._begun.extend(offsets)
        self._end = offsets[-1] + 1

    def done(self, offset: int) -> None:
        """Finish one record; ValueError if it is not open."""
        self.done_many((offset,))

    def done_many(self, offsets: Iterable[int]) -> None:
        """Finish records in any order; ValueError at the first that is not open (those before it are done)."""
        is_open = self._open
        try:
            for offset in offsets:
                is_open.remove(offset)
        except KeyError:
            raise ValueError(f"offset {offset} is not open") from None
