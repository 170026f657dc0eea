"""What is particular to a lane of WhatsApp: four limits of four different things, and what we do when Meta changes them.

META is https://developers.facebook.com/documentation/business-messaging/whatsapp (messaging-limits, throughput: 2025 and 2026).
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from gateway.http_lane_config import HttpLane
from gateway.lane_config import Kept
from gateway.model import TrafficClass
from gateway.quantities import Pause, Seconds, Share
from gateway.tables import Contradiction

_Shares = Annotated[
    Share | Mapping[TrafficClass, Share],
    Meta(description="a share of the rate from 0 (paused) to 1, or a table of traffic classes with a share each"),
]


_DEFAULTS: Mapping[str, Mapping[TrafficClass, float]] = {
    "green": dict.fromkeys(TrafficClass, 1.0),
    "yellow": dict.fromkeys(TrafficClass, 0.5),
    # One-time passwords and confirmations are seldom what people complain of; bulk is, and so it waits.
    "red": {TrafficClass.OTP: 0.1, TrafficClass.TRANSACTIONAL: 0.1, TrafficClass.BULK: 0.0},
}


class Quality(Struct, frozen=True, kw_only=True):
    """How much of the lane's rate each traffic class gets while Meta rates the number so; see `_DEFAULTS`.

    The rating is what people thought of the number in the last 7 days. Nothing in Meta's documents ties a speed to it: to slow
    down is our own policy. A class that a table does not name keeps its default.
    """

    green: _Shares = {}
    yellow: _Shares = {}
    red: _Shares = {}

    def __post_init__(self) -> None:
        for color, defaults in _DEFAULTS.items():
            shares = getattr(self, color)
            named = shares if isinstance(shares, Mapping) else dict.fromkeys(TrafficClass, shares)
            force_setattr(self, color, {**defaults, **named})

    @property
    def policy(self) -> Mapping[str, Mapping[TrafficClass, float]]:
        """Shares by rating in Meta's words, and by class; a number without feedback (UNKNOWN, NA) is as GREEN."""
        colors: dict[str, Mapping[TrafficClass, float]] = {color.upper(): getattr(self, color) for color in _DEFAULTS}
        return colors | dict.fromkeys(("UNKNOWN", "NA"), colors["GREEN"])


class Pair(Struct, frozen=True, kw_only=True):
    """How much one person gets from one number. Meta's: 1 message in 6 s, and 45 at once, which borrow from what comes."""

    every_s: Pause = 6
    burst: Annotated[int, Meta(ge=1, le=1000, description="messages at once, from 1 to 1000")] = 45

    @property
    def rate(self) -> float:
        """Messages per second; 0 where there is no limit of ours."""
        return 1 / self.every_s if self.every_s else 0.0


class Portfolio(Struct, frozen=True, kw_only=True):
    """A business portfolio: how many people all its numbers together may write to in 24 hours outside a service window.

    The limit is what we assume until Meta says another, which then counts. Meta's lowest is what a new portfolio has.
    """

    limit: Literal[250, 2000, 10_000, 100_000, "unlimited"] = 250
    # Shares of the limit that less urgent classes leave to a class, whether it needs them that day or not.
    reserve: Mapping[TrafficClass, Kept] = {}

    def __post_init__(self) -> None:
        if sum(self.reserve.values()) > 0.5 or TrafficClass.BULK in self.reserve:
            raise Contradiction("reserve", "does not leave half to bulk", "at most 0.5 together, none for bulk")

    @property
    def recipients(self) -> int | None:
        """Distinct people in any 24 hours; None for any number."""
        return None if self.limit == "unlimited" else self.limit


class WhatsAppLane(HttpLane, frozen=True, kw_only=True):
    """A number of WhatsApp."""

    # 80 is what a number has; 20 one that shares with the app on a phone, 1,000 after an upgrade (META/throughput).
    rate: Annotated[float, Meta(ge=0, le=100_000, description="messages per second, 0 pauses the lane")] = 80
    quality: Quality = Quality()
    pair: Pair = Pair()
    # What becomes of messages of a template that Meta has paused: they wait for it, or take the next step of their plan.
    templates: Literal["hold", "next"] = "hold"
    # The table [portfolios.<name>] that the number is of; empty: one of its own, named after the account.
    portfolio: Annotated[str, Meta(max_length=64, description="a name of the tables [portfolios.<name>]")] = ""
    # The number's quality, throughput and limit are asked for so often, beside what callbacks say of them. Meta allows 200
    # such calls an hour for an account that sends nothing, and 5,000 for one that does.
    poll_s: Seconds = 60
    # Meta counts debt collection among what it calls misleading (META/policy-enforcement-violations), and blocks for it:
    # messages for the purpose third_party_collection are refused here unless somebody has said otherwise.
    allow_collections: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.portfolio:
            force_setattr(self, "portfolio", self.account)
