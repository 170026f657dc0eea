"""What may stand for a number or a name in the configuration: bounds for the machine, a description for people."""

from typing import Annotated

from msgspec import Meta

DAY = 86_400

Seconds = Annotated[float, Meta(gt=0, le=3600, description="seconds, above 0 and at most 3600")]
Pause = Annotated[float, Meta(ge=0, le=3600, description="seconds, at most 3600; 0 for none")]
# Long enough for a long weekend, short enough that no key in the store is for ever.
Ttl = Annotated[int, Meta(ge=60, le=30 * DAY, description="whole seconds, from 60 to 2592000 (30 days)")]
Partitions = Annotated[int, Meta(ge=1, le=1000, description="how many partitions, from 1 to 1000")]
Bound = Annotated[int, Meta(ge=1, le=1_000_000, description="how many, from 1 to 1000000")]
Weight = Annotated[int, Meta(ge=1, le=1000, description="a weight, a whole number from 1 to 1000")]
Attempts = Annotated[int, Meta(ge=1, le=1000, description="how often at most, from 1 to 1000")]
Port = Annotated[int, Meta(ge=1, le=65_535, description="a TCP port, from 1 to 65535")]
PortOrOff = Annotated[int, Meta(ge=0, le=65_535, description="a TCP port, or 0 for off")]
Share = Annotated[float, Meta(ge=0, le=1, description="a share, from 0 to 1")]
Text = Annotated[str, Meta(min_length=1, description="a text in quotation marks, not empty")]
TopicPart = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]{1,80}\Z", description="letters, digits, dot, underscore and hyphen")
]


def ascii_octets(most: int, least: int = 0) -> Meta:
    """A C-octet string of SMPP; `most` is its size in the specification without the NUL."""
    remedy = f"{least} to {most} ASCII characters, as the operator says"
    return Meta(min_length=least, max_length=most, pattern=r"^[ -~]*\Z", description=remedy)
