"""What arrived at a far end, and when: measured there, in some 200 octets a message, so that a million fit into memory."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import msgspec

__all__ = ["Arrival", "Counts", "Record", "max_distinct"]


class Counts(msgspec.Struct):
    """The account kept so far; live, so read it or copy it. A refused message is an arrival and nothing else."""

    requests: int = 0
    """Requests that carried messages, malformed ones included."""
    malformed: int = 0
    accepted: int = 0
    refused: dict[str, int] = {}
    """Messages by the code they were refused with, or the fault that their request met."""
    faults: dict[str, int] = {}
    """Requests by what became of their answer."""
    distinct: int = 0
    """References accepted; a message without one is always another."""
    duplicates: int = 0
    """Messages accepted beyond the first of their reference."""
    recipients: int = 0
    """Different recipients of accepted messages."""
    senders: dict[str, int] = {}
    """Accepted messages by sender: the phone number id, the short code."""
    max_per_second: dict[str, int] = {}
    """By sender: the most arrivals in any window of one second, refused ones included."""


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One message: when it came (seconds of the simulator's clock), and the code it was refused with, empty if accepted."""

    at: float
    sender: str
    recipient: str
    reference: str
    code: str


class Record:
    """Columns instead of objects, and hashes of references instead of themselves where only their number counts: that any
    two of a million meet is one chance in 40 millions."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._at = array("d")
        self._recipients = array("Q")
        self._senders = array("H")
        self._codes = array("H")
        self._references = bytearray()
        self._ends = array("Q")
        self._names: dict[str, int] = {"": 0}  # senders and codes: few, and each message has one of both
        self._copies: dict[int, int] = {}
        self._by_recipient: dict[int, int] = {}
        self._last_second: dict[str, deque[float]] = {}

    def __len__(self) -> int:
        return len(self._at)

    def add(self, now: float, sender: str, recipient: str, reference: str, code: str = "") -> None:
        """Note a message that arrived at `now`, not before the one noted last; `recipient` is digits, at most 19."""
        number = int(recipient) if recipient else 0
        self._at.append(now)
        self._recipients.append(number)
        self._senders.append(self._name(sender))
        self._codes.append(self._name(code))
        self._references += reference.encode()
        self._ends.append(len(self._references))
        counts = self.counts
        last_second = self._last_second.setdefault(sender, deque())
        last_second.append(now)
        while now - last_second[0] >= 1.0:
            last_second.popleft()
        if len(last_second) > counts.max_per_second.get(sender, 0):
            counts.max_per_second[sender] = len(last_second)
        if code:
            counts.refused[code] = counts.refused.get(code, 0) + 1
            return
        counts.accepted += 1
        counts.senders[sender] = counts.senders.get(sender, 0) + 1
        self._by_recipient[number] = self._by_recipient.get(number, 0) + 1
        counts.recipients = len(self._by_recipient)
        if not reference:
            counts.distinct += 1
            return
        key = hash(reference)
        copies = self._copies.get(key, 0)
        self._copies[key] = copies + 1
        if copies:
            counts.duplicates += 1
        else:
            counts.distinct += 1

    def note_fault(self, fault: str) -> None:
        faults = self.counts.faults
        faults[fault] = faults.get(fault, 0) + 1

    def copies(self, reference: str) -> int:
        """How often a message with that reference was accepted."""
        return self._copies.get(hash(reference), 0)

    def to(self, recipient: str) -> int:
        """How many messages to that recipient were accepted."""
        return self._by_recipient.get(int(recipient), 0)

    def per_recipient(self) -> Mapping[int, int]:
        """Accepted messages by recipient; live."""
        return self._by_recipient

    def arrivals(self, start: int = 0, stop: int | None = None) -> Iterator[Arrival]:
        """Arrivals in their order, refused ones too, from number `start` up to and without number `stop`."""
        names = tuple(self._names)
        for index in range(len(self))[start:stop]:
            begin = self._ends[index - 1] if index else 0
            yield Arrival(
                self._at[index],
                names[self._senders[index]],
                str(self._recipients[index] or ""),
                self._references[begin : self._ends[index]].decode(),
                names[self._codes[index]],
            )

    def accepted(self) -> Iterator[tuple[float, int]]:
        """(time, recipient) of every accepted message, for `max_distinct`."""
        for at, recipient, code in zip(self._at, self._recipients, self._codes, strict=True):
            if not code:
                yield at, recipient

    def _name(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))


def max_distinct(accepted: Iterable[tuple[float, int]], window_s: float) -> int:
    """The most different recipients in any window of `window_s` seconds, its end excluded; `accepted` ascends in time."""
    inside: deque[tuple[float, int]] = deque()
    held: dict[int, int] = {}
    most = 0
    for at, recipient in accepted:
        inside.append((at, recipient))
        held[recipient] = held.get(recipient, 0) + 1
        while at - inside[0][0] >= window_s:
            _, left = inside.popleft()
            if held[left] == 1:
                del held[left]
            else:
                held[left] -= 1
        most = max(most, len(held))
    return most
