"""WhatsApp's own limits, as the far end enforces them; all are told what time it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

__all__ = ["TIERS", "DistinctRecipients", "Limits", "PairRate", "tier"]

_PAIR_INTERVAL_S = 6.0
_PAIR_BURST = 45

TIERS: Mapping[str, int | None] = MappingProxyType(
    {
        "TIER_250": 250,
        "TIER_2K": 2_000,
        "TIER_10K": 10_000,
        "TIER_100K": 100_000,
        "TIER_UNLIMITED": None,
    }
)


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is enforced; None and False enforce nothing. Raises ValueError for a value that means nothing."""

    throughput_mps: int | None = 80
    """Of each number in any second, messages in both directions: beyond it 130429."""
    pair: bool = True
    """One message each 6 s from a number to a person, 45 at once: beyond it 131056."""
    messaging_limit: int | None = None
    """Of the portfolio: different people who were sent something outside a service window, in any `day_s`."""
    over_limit: Literal["refuse", "fail"] = "refuse"
    """Meta documents neither a code nor whether it is the answer or a later `failed` that says it."""
    over_limit_code: str = "131048"
    service_window: bool = True
    """Without a message of the person within `day_s`, everything but a template is answered 131047."""
    day_s: float = 86_400.0
    """How long a day is: a test need not wait for one."""

    def __post_init__(self) -> None:
        if self.throughput_mps is not None and self.throughput_mps < 1:
            raise ValueError("throughput_mps is at least 1, or none")
        if self.messaging_limit is not None and self.messaging_limit < 0:
            raise ValueError("messaging_limit is a number of people, or none")
        if self.day_s <= 0:
            raise ValueError("day_s is more than 0")


def tier(limit: int | None) -> str | int:
    """The name of a messaging limit, or itself where it has none: Meta's own examples have both."""
    return next((name for name, people in TIERS.items() if people == limit), limit or 0)


class PairRate:
    """For each pair of number and person the time at which its bucket is full again; who has a full one is forgotten."""

    def __init__(self) -> None:
        self._full_at: dict[tuple[str, str], float] = {}
        self._sweep_at = 10_000

    def admit(self, sender: str, recipient: str, now: float) -> bool:
        key = (sender, recipient)
        full_at = max(self._full_at.get(key, now), now)
        if full_at - now > _PAIR_INTERVAL_S * (_PAIR_BURST - 1):
            return False
        self._full_at[key] = full_at + _PAIR_INTERVAL_S
        if len(self._full_at) > self._sweep_at:
            self._full_at = {pair: until for pair, until in self._full_at.items() if until > now}
            self._sweep_at = max(10_000, 2 * len(self._full_at))
        return True


class DistinctRecipients:
    """Different people in a moving window, each counted from the last message to them; `most` is how many there ever were."""

    def __init__(self) -> None:
        self.most = 0
        self._last: OrderedDict[str, float] = OrderedDict()

    def count(self, now: float, window_s: float) -> int:
        last = self._last
        while last and now - next(iter(last.values())) >= window_s:
            last.popitem(last=False)
        return len(last)

    def admits(self, recipient: str, limit: int, now: float, window_s: float) -> bool:
        return self.count(now, window_s) < limit or recipient in self._last

    def add(self, recipient: str, now: float, window_s: float) -> None:
        self._last[recipient] = now
        self._last.move_to_end(recipient)
        self.most = max(self.most, self.count(now, window_s))
