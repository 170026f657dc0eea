"""What WhatsApp carries, in the shape and with the names of Meta's Cloud API.

META/messages/*, META/templates/components; META is https://developers.facebook.com/documentation/business-messaging/whatsapp.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.content.rules import COUPON, DEGREES, ID, INTEGER, SUFFIX, URL, filled, in_template, up_to

MAX_TEXT = up_to(4096)
PAYLOAD = up_to(256)


class _Value(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What all of these are: values that refuse what they do not know."""


# ---------------------------------------------------------------------------------------------------------------- media


class Asset(_Value, frozen=True):
    """A file that Meta has or can get. Exactly one of `id` and `link`; `id` is faster when many get the same."""

    id: Annotated[str, filled(ID, "What the upload returned.")] = ""
    link: Annotated[str, filled(URL, "Where Meta can get it; it keeps a copy for 10 minutes.")] = ""


class Captioned(Asset, frozen=True):
    """A picture or a video with a line under it."""

    caption: Annotated[str, filled(up_to(1024), "Shown under it.")] = ""


class Recording(Asset, frozen=True):
    """A sound."""

    voice: Annotated[bool, Meta(description="A voice message: an Ogg file in Opus.")] = False


class File(Captioned, frozen=True):
    """A document."""

    filename: Annotated[str, filled(up_to(240), "Its name on the phone; the extension chooses the icon.")] = ""


class Paper(Asset, frozen=True):
    """A document at the head of a template or of an interactive message; there it has no caption."""

    filename: Annotated[str, filled(up_to(240), "Its name on the phone; the extension chooses the icon.")] = ""


class ImageMessage(_Value, frozen=True, tag="image"):
    image: Captioned


class VideoMessage(_Value, frozen=True, tag="video"):
    video: Captioned


class AudioMessage(_Value, frozen=True, tag="audio"):
    audio: Recording


class DocumentMessage(_Value, frozen=True, tag="document"):
    document: File


class StickerMessage(_Value, frozen=True, tag="sticker"):
    sticker: Asset


Media = ImageMessage | VideoMessage | AudioMessage | DocumentMessage | StickerMessage


# ------------------------------------------------------------------------------------------------------------ templates

TemplateName = Annotated[str, Meta(max_length=512, pattern=r"^[a-z0-9_]*$(?!\n)", description="Its name at Meta.")]
ParameterName = Annotated[
    str, Meta(max_length=64, pattern=r"^[a-z0-9_]*$(?!\n)", description="For a template with named parameters.")
]


class HeaderText(_Value, frozen=True, tag="text"):
    text: Annotated[str, filled(in_template(60), "What the header's placeholder becomes.")]
    parameter_name: ParameterName = ""


class HeaderImage(_Value, frozen=True, tag="image"):
    image: Asset


class HeaderVideo(_Value, frozen=True, tag="video"):
    video: Asset


class HeaderDocument(_Value, frozen=True, tag="document"):
    document: Paper


class Place(_Value, frozen=True):
    """A point on the map; Meta takes the degrees as text."""

    latitude: Annotated[str, filled(DEGREES, "Decimal degrees.")]
    longitude: Annotated[str, filled(DEGREES, "Decimal degrees.")]
    name: Annotated[str, filled(up_to(1000), "What stands on the pin.")] = ""
    address: Annotated[str, filled(up_to(1000), "What stands under it.")] = ""


class HeaderLocation(_Value, frozen=True, tag="location"):
    location: Place


class BodyText(_Value, frozen=True, tag="text"):
    text: Annotated[str, filled(in_template(1024), "What the placeholder becomes.")]
    parameter_name: ParameterName = ""


class Currency(_Value, frozen=True):
    """An amount that Meta writes as the person's language does."""

    fallback_value: Annotated[str, filled(in_template(1024), "What is shown where Meta cannot write it.")]
    code: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)", description="ISO 4217.")]
    amount_1000: int | Annotated[str, filled(INTEGER, "The amount times 1000.")]


class CurrencyParameter(_Value, frozen=True, tag="currency"):
    currency: Currency
    parameter_name: ParameterName = ""


class Moment(_Value, frozen=True):
    """A date or time; the Cloud API shows the text as it is."""

    fallback_value: Annotated[str, filled(in_template(1024), "What is shown.")]


class DateTimeParameter(_Value, frozen=True, tag="date_time"):
    date_time: Moment
    parameter_name: ParameterName = ""


class PayloadParameter(_Value, frozen=True, tag="payload"):
    payload: Annotated[str, filled(PAYLOAD, "What comes back when the button is tapped.")]


class SuffixParameter(_Value, frozen=True, tag="text"):
    text: Annotated[str, filled(SUFFIX, "What is appended to the button's URL; the code of a one-time password.")]


class CouponParameter(_Value, frozen=True, tag="coupon_code"):
    coupon_code: Annotated[str, filled(COUPON, "What the button copies.")]


HeaderParameter = HeaderText | HeaderImage | HeaderVideo | HeaderDocument | HeaderLocation
BodyParameter = BodyText | CurrencyParameter | DateTimeParameter
ButtonParameter = PayloadParameter | SuffixParameter | CouponParameter


class Header(_Value, frozen=True, tag="header"):
    """What the template's header lacks."""

    parameters: Annotated[list[HeaderParameter], Meta(min_length=1, max_length=1)]


class Body(_Value, frozen=True, tag="body"):
    """What the template's text lacks: in its order, or by name."""

    parameters: Annotated[list[BodyParameter], Meta(min_length=1, max_length=100)]


class Button(_Value, frozen=True, tag="button"):
    """What one of the template's buttons lacks."""

    sub_type: Literal["quick_reply", "url", "copy_code"]
    index: Annotated[str, Meta(pattern=r"^[0-9]$(?!\n)", description="Which button, from 0, as text.")]
    parameters: Annotated[list[ButtonParameter], Meta(min_length=1, max_length=1)]


BUTTON_TAKES: dict[str, type[ButtonParameter]] = {
    "quick_reply": PayloadParameter,
    "url": SuffixParameter,
    "copy_code": CouponParameter,
}

Component = Header | Body | Button


# ---------------------------------------------------------------------------------------------------------- interactive


class TextHeader(_Value, frozen=True, tag="text"):
    text: Annotated[str, filled(up_to(60), "Bold, above the text.")]


class ShortText(_Value, frozen=True):
    text: Annotated[str, filled(up_to(1024), "The text.")]


class LongText(_Value, frozen=True):
    text: Annotated[str, filled(MAX_TEXT, "The text.")]


class Footer(_Value, frozen=True):
    text: Annotated[str, filled(up_to(60), "Small, under the text.")]


class Reply(_Value, frozen=True):
    id: Annotated[str, filled(PAYLOAD, "What comes back when it is tapped.")]
    title: Annotated[str, filled(up_to(20), "What stands on it.")]


class ReplyButton(_Value, frozen=True, tag="reply"):
    reply: Reply


class ButtonAction(_Value, frozen=True):
    buttons: Annotated[list[ReplyButton], Meta(min_length=1, max_length=3)]


class Buttons(_Value, frozen=True, tag="button"):
    """A text with up to three buttons."""

    body: ShortText
    action: ButtonAction
    header: TextHeader | HeaderImage | HeaderVideo | HeaderDocument | None = None
    footer: Footer | None = None


class Row(_Value, frozen=True):
    id: Annotated[str, filled(up_to(200), "What comes back when it is chosen.")]
    title: Annotated[str, filled(up_to(24), "What is chosen.")]
    description: Annotated[str, filled(up_to(72), "What stands under it.")] = ""


class Section(_Value, frozen=True):
    rows: Annotated[list[Row], Meta(min_length=1, max_length=10)]
    title: Annotated[str, filled(up_to(24), "Needed when there are several.")] = ""


class ListAction(_Value, frozen=True):
    button: Annotated[str, filled(up_to(20), "What opens the list.")]
    sections: Annotated[list[Section], Meta(min_length=1, max_length=10)]


class ListMenu(_Value, frozen=True, tag="list"):
    """A text with a list of up to ten rows to choose from."""

    body: LongText
    action: ListAction
    header: TextHeader | None = None
    footer: Footer | None = None


Interactive = Buttons | ListMenu
