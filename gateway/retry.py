"""When a message that was certainly not accepted is tried again. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.model import Message

MAX_ATTEMPTS = 8
"""With the delays below more than two hours, beyond which a code that says "later" means "no"."""

_FIRST_S = 10.0
_CEILING_S = 1800.0


def next_attempt(message: Message, now: float, roll: Callable[[], float] = random.random) -> float | None:
    """Unix time of the next attempt, or None when there are no attempts or no time left.

    Exponential with full jitter (over the upper half: a retry at once is the one that fails again); the first waits 5 to 10 s.
    """
    if message.attempt >= MAX_ATTEMPTS:
        return None
    ceiling = min(_CEILING_S, _FIRST_S * 2.0 ** (message.attempt - 1))
    due = now + ceiling * (0.5 + roll() / 2)
    return None if message.expires_at and due >= message.expires_at else due
