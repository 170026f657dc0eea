"""The Graph API's side of messages: what a request must look like, how an error reads."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

__all__ = ["ERRORS", "Error", "Message", "Template", "error_body", "error_of"]


class Error(NamedTuple):
    """HTTP status and title of a code, as in Meta's table (META/support/error-codes)."""

    status: int
    title: str


_PERMISSION = range(200, 300)

ERRORS: Mapping[int, Error] = MappingProxyType(
    {
        0: Error(401, "AuthException"),
        1: Error(400, "API Unknown"),
        2: Error(503, "API Service"),
        3: Error(500, "API Method"),
        4: Error(400, "API Too Many Calls"),
        10: Error(403, "Permission Denied"),
        33: Error(400, "Parameter value is not valid"),
        100: Error(400, "Invalid parameter"),
        190: Error(401, "Access token has expired"),
        368: Error(403, "Temporarily blocked for policies violations"),
        80007: Error(400, "Rate limit issues"),
        130429: Error(400, "Rate limit hit"),
        130472: Error(400, "User's number is part of an experiment"),
        130497: Error(403, "Business account is restricted from messaging users in this country."),
        131000: Error(500, "Something went wrong"),
        131005: Error(403, "Access denied"),
        131008: Error(400, "Required parameter is missing"),
        131009: Error(400, "Parameter value is not valid"),
        131016: Error(500, "Service unavailable"),
        131021: Error(400, "Recipient cannot be sender"),
        131026: Error(400, "Message undeliverable"),
        131030: Error(400, "Recipient phone number not in allowed list"),
        131031: Error(403, "Account has been locked"),
        131037: Error(400, "WhatsApp provided number needs display name approval before message can be sent."),
        131042: Error(400, "Business eligibility payment issue"),
        131045: Error(500, "Incorrect certificate"),
        131047: Error(400, "Re-engagement message"),
        131048: Error(400, "Spam rate limit hit"),
        131049: Error(400, "This message was not delivered to maintain healthy ecosystem engagement."),
        131050: Error(400, "User has stopped receiving marketing messages"),
        131051: Error(400, "Unsupported message type"),
        131053: Error(400, "Media upload error"),
        131056: Error(400, "(Business Account, Consumer Account) pair rate limit hit"),
        131057: Error(500, "Account in maintenance mode"),
        132000: Error(400, "Template Param Count Mismatch"),
        132001: Error(404, "Template does not exist"),
        132005: Error(400, "Template Hydrated Text Too Long"),
        132007: Error(400, "Template Format Character Policy Violated"),
        132012: Error(400, "Template Parameter Format Mismatch"),
        132015: Error(400, "Template is Paused"),
        132016: Error(400, "Template is Disabled"),
        132068: Error(400, "Flow is blocked"),
        132069: Error(400, "Flow is throttled"),
        133004: Error(503, "Server Temporarily Unavailable"),
        133006: Error(400, "Phone number re-verification needed"),
        133010: Error(400, "Phone number Not Registered"),
        133016: Error(400, "Account register deregister rate limit exceeded"),
        134011: Error(400, "WhatsApp Business API terms of service not accepted"),
        134101: Error(400, "Template is syncing"),
        135000: Error(400, "Generic user error"),
    }
)
"""A code that is not here is answered 400: Meta adds some every year."""


def error_of(code: str) -> Error:
    """Status and title of a code given as text; of no number too."""
    number = int(code) if code.isdigit() else -1
    if number in _PERMISSION:
        return Error(403, "API Permission")
    return ERRORS.get(number) or Error(400, "Error")


def error_body(code: str, details: str, trace_id: str) -> bytes:
    """The body of a refusal. Where `details` is empty the title stands for it."""
    title = error_of(code).title
    error = {
        "message": f"(#{code}) {title}",
        "type": "OAuthException",
        "code": int(code) if code.isdigit() else code,
        "error_data": {"messaging_product": "whatsapp", "details": details or title},
        "fbtrace_id": trace_id,
    }
    return msgspec.json.encode({"error": error})


# Requests. What is not named is not looked at, as in the Graph API; what is named has Meta's limits.


class _Tagged(Struct, tag_field="type"):
    pass


class _Media(Struct):
    id: str = ""
    link: str = ""

    def __post_init__(self) -> None:
        if bool(self.id) == bool(self.link):
            raise ValueError("media has an id or a link")


class _TextValue(_Tagged, tag="text"):
    text: str
    parameter_name: str = ""


class _Money(Struct):
    fallback_value: str
    code: Annotated[str, Meta(min_length=3, max_length=3)]
    amount_1000: int


class _Currency(_Tagged, tag="currency"):
    currency: _Money
    parameter_name: str = ""


class _Fallback(Struct):
    fallback_value: str


class _DateTime(_Tagged, tag="date_time"):
    date_time: _Fallback
    parameter_name: str = ""


class _Image(_Tagged, tag="image"):
    image: _Media


class _Video(_Tagged, tag="video"):
    video: _Media


class _Document(_Tagged, tag="document"):
    document: _Media


class _Location(_Tagged, tag="location"):
    location: Raw


class _Payload(_Tagged, tag="payload"):
    payload: str


class _Action(_Tagged, tag="action"):
    action: Raw


_Parameter: TypeAlias = (
    _TextValue | _Currency | _DateTime | _Image | _Video | _Document | _Location | _Payload | _Action
)


class _Component(Struct):
    type: Literal["header", "body", "footer", "button", "carousel", "HEADER", "BODY", "FOOTER", "BUTTON"]
    parameters: list[_Parameter] = []
    sub_type: str = ""
    index: str | int = ""


class _Language(Struct):
    code: str


class Template(Struct):
    name: Annotated[str, Meta(pattern="^[a-z0-9_]{1,512}$")]
    language: _Language
    components: list[_Component] = []

    def body_parameters(self) -> int:
        return sum(len(component.parameters) for component in self.components if component.type.lower() == "body")


class _Text(Struct):
    body: Annotated[str, Meta(min_length=1, max_length=4096)]
    preview_url: bool = False


class _Body(Struct):
    text: Annotated[str, Meta(min_length=1, max_length=4096)]


class _Footer(Struct):
    text: Annotated[str, Meta(max_length=60)]


class _Reply(Struct):
    id: Annotated[str, Meta(min_length=1, max_length=256)]
    title: Annotated[str, Meta(min_length=1, max_length=20)]


class _Button(Struct):
    type: Literal["reply"]
    reply: _Reply


class _Row(Struct):
    id: Annotated[str, Meta(min_length=1, max_length=200)]
    title: Annotated[str, Meta(min_length=1, max_length=24)]
    description: Annotated[str, Meta(max_length=72)] = ""


class _Section(Struct):
    rows: Annotated[list[_Row], Meta(min_length=1)]
    title: Annotated[str, Meta(max_length=24)] = ""


class _Buttons(Struct):
    buttons: Annotated[list[_Button], Meta(min_length=1, max_length=3)]


class _List(Struct):
    button: Annotated[str, Meta(min_length=1, max_length=20)]
    sections: Annotated[list[_Section], Meta(min_length=1, max_length=10)]

    def __post_init__(self) -> None:
        if sum(len(section.rows) for section in self.sections) > 10:
            raise ValueError("a list has at most 10 rows")


class _ButtonMessage(_Tagged, tag="button"):
    body: _Body
    action: _Buttons
    footer: _Footer | None = None

    def __post_init__(self) -> None:
        if len(self.body.text) > 1024:
            raise ValueError("the body of a message with buttons has at most 1024 characters")


class _ListMessage(_Tagged, tag="list"):
    body: _Body
    action: _List
    footer: _Footer | None = None


class _URLMessage(_Tagged, tag="cta_url"):
    action: Raw


class _FlowMessage(_Tagged, tag="flow"):
    action: Raw


_Interactive: TypeAlias = _ButtonMessage | _ListMessage | _URLMessage | _FlowMessage


class Message(Struct):
    """The body of POST /{phone_number_id}/messages. Its `type` names the member that has to be there."""

    messaging_product: Literal["whatsapp"]
    to: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$")]
    type: str = "text"
    recipient_type: Literal["individual"] = "individual"
    biz_opaque_callback_data: str = ""
    template: Template | None = None
    text: _Text | None = None
    interactive: _Interactive | None = None
    image: _Media | None = None
    video: _Media | None = None
    document: _Media | None = None
    audio: _Media | None = None
    sticker: _Media | None = None
    location: dict[str, Any] | None = None
    contacts: list[Any] | None = None
    reaction: dict[str, Any] | None = None

    def fault(self) -> tuple[str, str] | None:
        """Code and details of what is wrong beyond the schema."""
        if self.type not in _TYPES:
            return "131051", "type is none that can be sent"
        if getattr(self, self.type) is None:
            return "131008", f"parameter {self.type} is required"
        return None


_TYPES = frozenset(
    ("template", "text", "interactive", "image", "video", "document", "audio", "sticker", "location", "contacts")
) | {"reaction"}
