"""What an account of the simulator has seen: counts for a million messages, or everything for a few thousand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from smpp.constants import Tag
from smpp.pdu import SubmitSM
from smpp.segment import Concat, concat, decode_text, split_udh

__all__ = ["Arrival", "Counts", "Record", "RecordMode", "max_per_second"]

RecordMode: TypeAlias = Literal["none", "counts", "full"]
"""`counts` costs some 80 octets a part accepted, `full` keeps every submit_sm and when it came."""

_UDHI = 0x40
_ALONE = Concat(0, 1, 1)


class Counts(msgspec.Struct):
    """The account kept so far; live, so read it or copy it.

    Every message arrived whole if `parts == parts_announced`, and once if `duplicates == 0`.
    """

    binds: int = 0
    max_binds: int = 0
    total_binds: int = 0
    unbinds: int = 0
    """Of the binds that are over, those that ended with an unbind from either side."""
    refused_binds: int = 0
    accepted: int = 0
    """submit_sm answered 0, or accepted and left unanswered."""
    refused: dict[str, int] = {}
    """submit_sm by the name of the status that they were answered."""
    unanswered: int = 0
    messages: int = 0
    """Distinct messages: those of which the first part was accepted."""
    parts: int = 0
    """Distinct parts."""
    parts_announced: int = 0
    """Parts that those messages say they have."""
    duplicates: int = 0
    """Copies of parts beyond the first."""
    receipts: int = 0
    """Deliveries planned, copies and notifications included; as `mo`."""
    mo: int = 0
    sent: int = 0
    """Deliveries written, each time."""
    redelivered: int = 0
    """Deliveries refused for a while, or not answered in time: sent again."""
    settled: int = 0
    """Deliveries answered for good."""
    discarded: int = 0
    """Of those, the ones that the ESME refused."""
    pending: int = 0
    """Deliveries not settled, those not yet due included."""
    malformed: int = 0
    unexpected: int = 0


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One submit_sm: when it was read (monotonic seconds), and what it was answered."""

    at: float
    request: SubmitSM
    command_status: int


class Record:
    """Tells which parts were accepted, and how often.

    A part is known by its destination, its place in its message and its octets; not by the reference of its message, which a
    sender may choose anew when it sends again. So two messages of the same text to the same number count as one sent twice.
    """

    def __init__(self, mode: RecordMode) -> None:
        self.mode = mode
        self.counts = Counts()
        self.arrivals: list[Arrival] = []
        """In order of arrival, refused ones too; only in mode `full`."""
        # Hashes instead of texts: that any two of a million meet is one chance in 40 millions.
        self._copies: dict[int, int] = {}

    def add(self, request: SubmitSM, command_status: int, now: float) -> None:
        """Note one submit_sm that arrived at `now`; a refused one is no message."""
        if self.mode == "full":
            self.arrivals.append(Arrival(now, request, command_status))
        if command_status or self.mode == "none":
            return
        if not request.esm_class & _UDHI and not request.tlvs:
            part = _ALONE
            key = hash((request.destination_addr, 1, 1, request.short_message))
        else:
            part, payload, _ = _read(request)
            key = hash((request.destination_addr, part.part_number, part.part_count, payload))
        counts = self.counts
        copies = self._copies.get(key, 0)
        self._copies[key] = copies + 1
        if copies:
            counts.duplicates += 1
            return
        counts.parts += 1
        if part.part_number == 1:
            counts.messages += 1
            counts.parts_announced += part.part_count

    def copies(self, destination_addr: str, payload: bytes, part_number: int = 1, part_count: int = 1) -> int:
        """How often one part was accepted; `payload` is what follows the user data header."""
        return self._copies.get(hash((destination_addr, part_number, part_count, payload)), 0)

    def texts(self) -> dict[str, list[str]]:
        """The accepted messages whose parts are all here, by destination; needs mode `full`."""
        texts: dict[str, list[str]] = {}
        unfinished: dict[tuple[str, str, int, int], dict[int, bytes]] = {}
        for arrival in self.arrivals:
            if arrival.command_status:
                continue
            request = arrival.request
            part, payload, elements = _read(request)
            key = (request.source_addr, request.destination_addr, part.reference, part.part_count)
            pieces = unfinished.setdefault(key, {})
            pieces[part.part_number] = payload
            if len(pieces) == part.part_count:
                del unfinished[key]
                joined = b"".join([pieces[number] for number in sorted(pieces)])
                text = decode_text(request.data_coding, joined, elements)
                texts.setdefault(request.destination_addr, []).append(text)
        return texts


def _read(request: SubmitSM) -> tuple[Concat, bytes, dict[int, bytes]]:
    payload = request.short_message or request.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    elements: dict[int, bytes] = {}
    if request.esm_class & _UDHI:
        elements, payload = split_udh(payload) or (elements, payload)
    return concat(elements, request.tlvs) or _ALONE, payload, elements


def max_per_second(times: Iterable[float]) -> int:
    """The most events in any window of one second, its end excluded; `times` ascend, in seconds."""
    moments = list(times)
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
