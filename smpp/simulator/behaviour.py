"""How the simulated SMSC treats one account: every knob in one value that can be replaced while messages flow."""

from __future__ import annotations

from typing import Literal

import msgspec

from smpp.receipt import MessageState

__all__ = ["Behaviour"]

_SHARES = (
    "unanswered",
    "receipt_ratio",
    "receipts_early",
    "receipts_duplicated",
    "intermediate",
    "intermediate_late",
)


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The default is an operator without faults: everything accepted and delivered, at once.

    Shares are probabilities between 0 and 1, times are seconds, a jitter is uniform between 0 and its value and adds to its
    time. Raises ValueError for a value that means nothing.
    """

    bind_status: int = 0
    """Answer to every bind, when it is not 0."""
    bind_answered: bool = True
    max_binds: int | None = None
    """One more is answered ESME_RALYBND."""

    latency_s: float = 0.0
    """From the arrival of a submit_sm to its answer: the round trip time, on loopback."""
    latency_jitter_s: float = 0.0
    unanswered: float = 0.0
    """Share accepted (with its receipt) and never answered."""
    blackhole: bool = False
    """Everything is read and accepted, nothing is written: answers and receipts of that time are lost on their way."""
    disconnect_after: int | None = None
    """Cut each connection at its submit_sm of that number; what came behind it was not accepted."""
    disconnect_unanswered: int = 0
    """How many before the cut were accepted but not answered."""

    errors: dict[int, float] = {}
    """command_status → share."""
    rejected: dict[str, int] = {}
    """destination_addr → command_status."""
    throttle_above: float | None = None
    """Parts accepted in any second; beyond it, ESME_RTHROTTLED."""
    queue_limit: int | None = None
    """Receipts and MO not yet answered by the ESME; beyond it, ESME_RMSGQFUL."""

    resp_id: str = "d"
    """Format of the message_id, a number, in submit_sm_resp: `d`, `x`, `X`, `010d`."""
    receipt_id: str = "d"
    """The same in receipts."""

    receipt_ratio: float = 1.0
    receipt_delay_s: float = 0.0
    """From the answer to the receipt."""
    receipt_jitter_s: float = 0.0
    states: dict[str, float] = msgspec.field(default_factory=lambda: {"DELIVERED": 1.0})
    """Name of a `MessageState` → weight, of the final state."""
    receipt_form: Literal["text", "tlvs", "both"] = "text"
    receipt_via: Literal["deliver_sm", "data_sm"] = "deliver_sm"
    receipt_where: Literal["same", "any", "other"] = "any"
    """Which bind of the account, seen from the one that submitted. Any, if there is none such."""
    receipts_early: float = 0.0
    """Share sent before the answer to their submit_sm."""
    receipts_duplicated: float = 0.0
    intermediate: float = 0.0
    """Share of messages with an ENROUTE notification as well."""
    intermediate_late: float = 0.0
    """Share of those notifications that come after the final receipt."""

    redelivery_s: float = 1.0
    """Pause before a deliver_sm that was refused for a while is sent again."""

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1")
        if sum(self.errors.values()) > 1:
            raise ValueError("the shares of errors add up to more than 1")
        unknown = self.states.keys() - MessageState.__members__.keys()
        if unknown or not sum(self.states.values()) > 0:
            raise ValueError(f"states has weights of {', '.join(MessageState.__members__)}")
        for spec in (self.resp_id, self.receipt_id):
            format(1, spec)
