"""What became of the messages, from what arrived: pure, so that a test can know the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from benchmarks.peers.mix import Message, number_of


class Arrival(NamedTuple):
    """A submit_sm that the SMSC accepted, at a moment in Unix seconds."""

    to: str
    at: float


class Verdict(msgspec.Struct, frozen=True):
    accepted: int
    """Messages that the peer took responsibility for."""
    arrived: int
    """Messages of which all parts have arrived, accepted or not: what a publisher may count on is `accepted - lost`."""
    lost: int
    """Accepted messages of which a part did not arrive."""
    duplicates: int
    """Parts beyond those that a message has."""
    unreported: int
    """Messages that arrived, and whose final state the publisher was never told."""
    first_at: float
    last_at: float


def judge(
    messages: Sequence[Message], accepted: Sequence[int], reported: Sequence[int], arrivals: Sequence[Arrival]
) -> Verdict:
    """Parts are told apart by number only: one that came twice does not stand for one that did not come, see `lost_parts`."""
    copies = Counter(number_of(arrival.to) for arrival in arrivals)
    whole = [copies[number] >= message.parts for number, message in enumerate(messages)]
    moments = [arrival.at for arrival in arrivals]
    return Verdict(
        accepted=sum(map(bool, accepted)),
        arrived=sum(whole),
        lost=sum(bool(taken) and not came for taken, came in zip(accepted, whole, strict=True)),
        duplicates=sum(max(0, copies[number] - message.parts) for number, message in enumerate(messages)),
        unreported=sum(came and not told for came, told in zip(whole, reported, strict=True)),
        first_at=min(moments, default=0.0),
        last_at=max(moments, default=0.0),
    )
