"""Closing the account: what was published against what the operator accepted and what the publisher was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gateway.model import EventStatus
from smpp.simulator import Account
from tests.support.stage import Stage


def copies(account: Account, sent: Mapping[str, str], text: str = "Hola") -> Counter[str]:
    """How often the operator accepted each message of `sent` (its number by its message_id); needs different numbers."""
    found = {message_id: account.record.copies(to[1:], text.encode()) for message_id, to in sent.items()}
    return Counter({message_id: count for message_id, count in found.items() if count})


async def closes(
    site: Stage, account: Account, sent: Mapping[str, str], *, repeated: int = 0, patience_s: float = 30
) -> int:
    """Wait for the end of every message, check the whole account, and return how many the operator never accepted.

    For an operator that has a receipt for all it accepts: each message that it accepted is delivered, each of the others is
    unknown, and no more than `repeated` copies too many were accepted.
    """
    await site.tally.until_ended(sent, patience_s)
    accepted = copies(account, sent)
    # A receipt may still be on its way to a message that is unknown.
    await site.tally.until(
        lambda: all(EventStatus.DELIVERED in site.tally.statuses[each] for each in accepted), patience_s
    )
    assert site.tally.ends(accepted) == ({EventStatus.DELIVERED: len(accepted)} if accepted else {})
    rest = sent.keys() - accepted.keys()
    assert site.tally.ends(rest) == ({EventStatus.UNKNOWN: len(rest)} if rest else {})
    assert accepted.total() - len(accepted) <= repeated
    return len(rest)
