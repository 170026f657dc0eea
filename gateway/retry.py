"""When a message that was certainly not accepted is tried again. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.model import Message

MAX_ATTEMPTS = 16
"""With the delays below two hours on average, beyond which a code that says "later" means "no"."""
FIRST_S = 10.0
"""Ceiling of the first wait, where the code has none of its own."""

_CEILING_S = 1800.0
_DOUBLINGS = 20
"""After so many any first wait is beyond the ceiling."""
_LEAST_S = 1.0
"""A failure of this moment is still there in the next. Also what the delay ladder may be late."""


def next_attempt(
    message: Message,
    now: float,
    roll: Callable[[], float] = random.random,
    *,
    limit: int = MAX_ATTEMPTS,
    first_s: float = FIRST_S,
    after: float = 0.0,
) -> float | None:
    """Unix time of the next attempt, or None when there are no attempts or no time left.

    Attempts count from the first of the message's channel: a step of a fallback has as many as what failed before it.
    Exponential with full jitter: a random share (`roll`, below 1) of `first_s`, which doubles with every attempt up to half an
    hour. It counts from a second from now, or from `after` seconds, for which the provider asked. A message that expires before
    the end of that wait is tried in the time that it has, and given up only when that is a second.
    """
    attempts = message.attempt - message.first_attempt + 1
    if attempts >= limit:
        return None
    earliest = now + max(_LEAST_S, after)
    spread = min(_CEILING_S, first_s * 2.0 ** min(attempts - 1, _DOUBLINGS))
    if message.expires_at:
        spread = min(spread, message.expires_at - _LEAST_S - earliest)
    return None if spread < 0 else earliest + spread * roll()
