"""How a simulated far end treats its client: every knob in one value that can be replaced while requests flow."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["Behaviour", "Fault"]

Fault: TypeAlias = Literal[
    "unanswered", "reset", "slow", "garbage", "close", "bare_429", "bare_500", "bare_502", "bare_503", "bare_504"
]
"""What becomes of an answer: it never comes; the connection is reset in the middle of it; it comes an octet at a time; it is
200 and no JSON; it is right and the connection closes behind it; it is a status without a body."""

_SHARES = (
    "faults_accepted",
    "receipt_ratio",
    "read_ratio",
    "delivered_skipped",
    "receipts_duplicated",
    "receipts_reordered",
)
_TIMES = (
    "latency_s",
    "latency_jitter_s",
    "latency_tail_s",
    "sent_s",
    "delivered_s",
    "read_s",
    "receipt_jitter_s",
    "callback_retry_s",
)
_MIXES = ("faults", "errors", "failures")


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The default is a provider without faults: everything accepted, sent and delivered, at once.

    Shares are probabilities between 0 and 1, times are seconds, a jitter is uniform between 0 and its value and adds to its
    time. Codes are the vendor's own, as text: `"131056"`, `"21610"`, `"REJECTED_DESTINATION"`. Raises ValueError for a value
    that means nothing.
    """

    latency_s: float = 0.0
    """From the arrival of a request to its answer."""
    latency_jitter_s: float = 0.0
    latency_tail_s: float = 0.0
    """Mean of an exponential delay that adds to both: few answers, very late."""

    faults: dict[Fault, float] = {}
    """Share of requests by what becomes of their answer."""
    faults_accepted: float = 1.0
    """Share of the requests with an answer that says nothing (all but `slow` and `close`) that are accepted all the same.
    Those answered 429 or 503 never are."""
    slow_octet_s: float = 0.5
    """Between two octets of a slow answer."""

    errors: dict[str, float] = {}
    """Code → share of messages refused with it."""
    rejected: dict[str, str] = {}
    """Recipient (digits) → code."""
    error_status: int | None = None
    """HTTP status of every refusal, instead of the one that belongs to its code."""

    receipt_ratio: float = 1.0
    """Share of messages that are reported on."""
    failures: dict[str, float] = {}
    """Code → share of messages accepted, and reported as failed later."""
    sent_s: float = 0.0
    """From the answer to `sent` or `failed`."""
    delivered_s: float = 0.0
    """From `sent` to `delivered`."""
    read_s: float = 0.0
    """From `delivered` to `read`."""
    receipt_jitter_s: float = 0.0
    """Of each of the three."""
    read_ratio: float = 0.0
    delivered_skipped: float = 0.0
    """Share of the messages that are read of which `delivered` is never told."""
    receipts_duplicated: float = 0.0
    receipts_reordered: float = 0.0
    """Share of messages whose reports come last state first."""

    callback_batch: int = 1000
    """Reports in one request, where the vendor joins them at all; it may have a lower limit of its own."""
    callback_attempts: int = 8
    """How often a callback is tried that is not answered as the vendor wants."""
    callback_retry_s: float = 1.0
    """Before the second attempt; doubles with each."""

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1")
        for name in _TIMES:
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is a time in seconds")
        for name in _MIXES:
            mix = getattr(self, name)
            if any(share < 0 for share in mix.values()) or sum(mix.values()) > 1:
                raise ValueError(f"the shares of {name} add up to more than 1, or one is negative")
        if self.slow_octet_s <= 0:
            raise ValueError("slow_octet_s is more than 0")
        if self.callback_batch < 1 or self.callback_attempts < 1:
            raise ValueError("callback_batch and callback_attempts are at least 1")
        if self.error_status is not None and not 100 <= self.error_status <= 599:
            raise ValueError("error_status is an HTTP status")
