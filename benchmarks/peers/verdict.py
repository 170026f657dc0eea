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
    """Messages of which all parts have arrived, accepted or not."""
    lost: int
    """Accepted messages of which a part did not arrive, and nobody said so."""
    in_doubt: int
    """Accepted messages of which a part did not arrive, and the publisher was told that this may be so."""
    duplicates: int
    """Parts beyond those that a message has."""
    unreported: int
    """Messages that arrived, and whose final state the publisher was never told."""
    first_at: float
    last_at: float


def judge(
    messages: Sequence[Message],
    accepted: Sequence[int],
    reported: Sequence[int],
    doubted: Sequence[int],
    arrivals: Sequence[Arrival],
) -> Verdict:
    """Parts of a message are counted, not told apart: two copies of one and none of another would pass for both."""
    copies = Counter(number_of(arrival.to) for arrival in arrivals)
    whole = [copies[number] >= message.parts for number, message in enumerate(messages)]
    missing = [doubt for taken, came, doubt in zip(accepted, whole, doubted, strict=True) if taken and not came]
    moments = [arrival.at for arrival in arrivals]
    return Verdict(
        accepted=sum(map(bool, accepted)),
        arrived=sum(whole),
        lost=missing.count(0),
        in_doubt=len(missing) - missing.count(0),
        duplicates=sum(max(0, copies[number] - message.parts) for number, message in enumerate(messages)),
        unreported=sum(came and not told for came, told in zip(whole, reported, strict=True)),
        first_at=min(moments, default=0.0),
        last_at=max(moments, default=0.0),
    )
