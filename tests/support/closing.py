"""Closing the account: what was published against what the operator accepted and what the publisher was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gateway.model import EventStatus
from smpp.simulator import Account
from tests.support.stage import Stage


def copies(account: Account | Sequence[Account], sent: Mapping[str, str], text: str = "Hola") -> Counter[str]:
    """How often the operators accepted each message of `sent` (its number by its message_id); needs different numbers."""
    accounts = [account] if isinstance(account, Account) else account
    found: Counter[str] = Counter()
    for message_id, to in sent.items():
        if count := sum(one.record.copies(to[1:], text.encode()) for one in accounts):
            found[message_id] = count
    return found


async def closes(
    site: Stage,
    account: Account | Sequence[Account],
    sent: Mapping[str, str],
    *,
    repeated: int = 0,
    patience_s: float = 30,
) -> int:
    """Wait for the end of every message, check the whole account, and return how many no operator has accepted.

    For operators that have a receipt for all they accept: each message that one accepted is delivered, each of the others
    is unknown, and no more than `repeated` copies too many were accepted.
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
