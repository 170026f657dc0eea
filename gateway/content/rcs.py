"""What RCS carries, in the shape and with the names of Google's RCS Business Messaging API (`phones.agentMessages`)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.content.rules import DECIMAL, PHONE, URL, filled, up_to

MAX_TEXT = up_to(3072)

TrafficType = Literal["", "AUTHENTICATION", "TRANSACTION", "PROMOTION", "SERVICEREQUEST", "ACKNOWLEDGEMENT"]


class _Value(Struct, frozen=True, forbid_unknown_fields=True, gc=False, rename="camel"):
    """What all of these are: values that refuse what they do not know."""


class SuggestedReply(_Value, frozen=True):
    text: Annotated[str, filled(up_to(25), "What stands on it and is sent.")]
    postback_data: Annotated[str, filled(up_to(2048), "What comes back with it.")]


class OpenUrl(_Value, frozen=True):
    url: Annotated[str, filled(URL, "What is opened.")]


class Dial(_Value, frozen=True):
    phone_number: Annotated[str, filled(PHONE, "Who is called.")]


class LatLong(_Value, frozen=True):
    latitude: float | Annotated[str, filled(DECIMAL, "Decimal degrees.")]
    longitude: float | Annotated[str, filled(DECIMAL, "Decimal degrees.")]


class ViewLocation(_Value, frozen=True):
    lat_long: LatLong
    label: Annotated[str, filled(up_to(100), "What stands on the pin.")] = ""


class SuggestedAction(_Value, frozen=True):
    """Something that the phone does; exactly one of the three."""

    text: Annotated[str, filled(up_to(25), "What stands on it.")]
    postback_data: Annotated[str, filled(up_to(2048), "What comes back when it is tapped.")]
    open_url_action: OpenUrl | None = None
    dial_action: Dial | None = None
    view_location_action: ViewLocation | None = None


class Suggestion(_Value, frozen=True):
    """A chip: exactly one of a reply and an action."""

    reply: SuggestedReply | None = None
    action: SuggestedAction | None = None


class ContentInfo(_Value, frozen=True):
    """A file by its address; Google fetches it once unless told to look again."""

    file_url: Annotated[str, filled(URL, "Where Google can get it.")]
    thumbnail_url: Annotated[str, filled(URL, "A small picture of it.")] = ""
    force_refresh: bool = False


class CardMedia(_Value, frozen=True):
    content_info: ContentInfo
    height: Literal["SHORT", "MEDIUM", "TALL"]


class CardContent(_Value, frozen=True):
    """One card; it has a title, a description or media."""

    title: Annotated[str, filled(up_to(200), "Above the description.")] = ""
    description: Annotated[str, filled(up_to(2000), "The text of the card.")] = ""
    media: CardMedia | None = None
    suggestions: Annotated[list[Suggestion], Meta(max_length=4)] = []


class Card(_Value, frozen=True):
    """One card that stands alone."""

    card_content: CardContent
    card_orientation: Literal["HORIZONTAL", "VERTICAL"] = "VERTICAL"
    thumbnail_image_alignment: Annotated[
        Literal["", "LEFT", "RIGHT"], Meta(description="Where the picture of a HORIZONTAL card stands.")
    ] = ""


class Carousel(_Value, frozen=True):
    """Cards to leaf through."""

    card_contents: Annotated[list[CardContent], Meta(min_length=2, max_length=10)]
    card_width: Literal["SMALL", "MEDIUM"] = "MEDIUM"
