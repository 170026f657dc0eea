"""One table `[[routes]]`: what messages it is for, and which lanes may carry them."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway import numbers
from gateway.content.model import Channel
from gateway.model import TrafficClass
from gateway.quantities import Text, Weight
from gateway.tables import Contradiction

# Without a pattern: one beside a list in the same union corrupts memory in msgspec 0.22.
Countries = Annotated[
    Text | Annotated[tuple[Text, ...], Meta(min_length=1)],
    Meta(description='two letters of ISO 3166, "CO", or a list of them'),
]
Network = Annotated[str, Meta(pattern=r"^[0-9]{3}-?[0-9]{2,3}\Z", description='MCC and MNC, "732101" or "732-101"')]

Ranks = tuple[tuple[tuple[str, int], ...], ...]
"""Lanes with their weights: those of the first rank share the messages, the next ones are for when they cannot."""

Area = tuple[str, str]
"""What a number begins with, and its country where the beginning alone does not tell (+1, +7, +44 …), else empty."""


class Route(Struct, frozen=True, kw_only=True):
    """A rule of the ordered list: what it names must fit, what it leaves out fits anything."""

    # One lane; or ranks of lanes, each a lane's name or a table of names with their shares.
    lane: Text | None = None
    lanes: Annotated[
        tuple[Text | Mapping[str, Weight], ...],
        Meta(min_length=1, description='ranks: ["first", "then"], or [{ first = 3, also-first = 1 }, "then"]'),
    ] = ()
    channel: Channel = "sms"
    class_: TrafficClass | None = field(default=None, name="class")
    tenant: str | None = None
    sender: str | None = None
    prefix: Annotated[str, Meta(pattern=r"^\+[0-9]{1,15}\Z", description='"+57", "+57300"')] | None = None
    country: Countries | None = None
    # A network, or a name of the table [operators].
    operator: Text | None = None

    def __post_init__(self) -> None:
        if (self.lane is None) == (not self.lanes):
            raise Contradiction("lane", "or lanes: exactly one of them says where to", 'lane = "…" or lanes = ["…"]')
        names = self.lane_names
        if {} in self.lanes:
            raise Contradiction("lanes", "has a rank without a lane", "leave it out")
        if len(set(names)) < len(names):
            raise Contradiction(
                "lanes", "names a lane twice", "a lane that could not carry a message is not tried again"
            )
        for country in self.countries:
            if numbers.calling_code(country) is None:
                raise Contradiction("country", f"{country} has no telephone numbers", "two letters of ISO 3166")
        if not self.areas:
            raise Contradiction("prefix", "is of no number of that country", "leave out one of the two")

    @property
    def ranks(self) -> Ranks:
        """The lanes with their weights, the preferred first."""
        ranks = self.lanes or (self.lane or "",)
        return tuple(((rank, 1),) if isinstance(rank, str) else tuple(rank.items()) for rank in ranks)

    @property
    def lane_names(self) -> tuple[str, ...]:
        """Every lane that this route may lead to, in the order of preference."""
        return tuple(name for rank in self.ranks for name, _ in rank)

    @property
    def countries(self) -> tuple[str, ...]:
        """Those of which the number must be one; empty for any."""
        return (self.country,) if isinstance(self.country, str) else self.country or ()

    @property
    def areas(self) -> tuple[Area, ...]:
        """Where its numbers are: prefix and country in terms of what is cheap to look up."""
        prefix = self.prefix or ""
        if not self.countries:
            return ((prefix, ""),)
        return tuple(
            (max(prefix, code, key=len), country if numbers.shares_code(country) else "")
            for country in self.countries
            if (code := f"+{numbers.calling_code(country)}").startswith(prefix) or prefix.startswith(code)
        )


def network(text: str) -> str | None:
    """Return MCC and MNC as five or six digits, or None for anything else, such as an operator's name."""
    digits = text.replace("-", "", 1)
    return digits if digits.isdecimal() and digits.isascii() and 5 <= len(digits) <= 6 else None
