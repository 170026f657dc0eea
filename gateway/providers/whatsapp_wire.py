"""What Meta's callbacks for WhatsApp hold, as far as the gateway looks (META/webhooks/reference/*, META/support/error-codes).

Everything that Meta's pages show as optional, empty or absent somewhere is optional here, and what is not named is skipped.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct, field


class Update(Struct):
    # META/webhooks/reference/account_update has an example (PARTNER_APP_UNINSTALLED) without it, and without the object.
    field: str = "account_update"
    value: Raw = Raw()


class Entry(Struct):
    id: str = ""
    time: Raw = Raw()
    """Unix seconds, of when what it says came to be: the same when it is said again."""
    changes: list[Update] = []


class Callback(Struct):
    entry: list[Entry]
    object: str = "whatsapp_business_account"


class Details(Struct):
    details: str | None = None


class Error(Struct):
    """The same in answers and in callbacks; the details are the useful text."""

    code: int
    title: str | None = None
    message: str | None = None
    error_data: Details | str | None = None
    type: str | None = None
    error_subcode: str | int | None = None

    @property
    def meaning(self) -> int:
        """The code that says it best: of a number that is gone, or not ours, Graph says 100, as of a wrong parameter."""
        gone = self.type == "GraphMethodException" or str(self.error_subcode) == "33"
        return 33 if self.code == 100 and gone else self.code

    @property
    def text(self) -> str:
        data = self.error_data
        return (data.details if isinstance(data, Details) else data) or self.message or self.title or ""


class Status(Struct):
    id: str
    status: str
    timestamp: str | int | None = None
    recipient_id: str | None = None
    biz_opaque_callback_data: str | None = None
    errors: list[Error] | None = None


class Metadata(Struct):
    display_phone_number: str | None = None
    phone_number_id: str | None = None


class Context(Struct):
    id: str | None = None


class Text(Struct):
    body: str = ""


class Tap(Struct):
    """A button of a template, of a message, or a row of a list."""

    id: str | None = None
    title: str | None = None
    description: str | None = None
    payload: str | None = None
    text: str | None = None


class Flow(Struct):
    name: str | None = None
    body: str | None = None
    response_json: str | None = None


class Interactive(Struct):
    type: str = ""
    button_reply: Tap | None = None
    list_reply: Tap | None = None
    nfm_reply: Flow | None = None


class Media(Struct):
    id: str | None = None
    mime_type: str | None = None
    sha256: str | None = None
    caption: str | None = None
    filename: str | None = None
    url: str | None = None
    voice: bool | None = None


class Location(Struct):
    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None
    url: str | None = None


class Reaction(Struct):
    message_id: str | None = None
    emoji: str | None = None


class Order(Struct):
    catalog_id: str | None = None
    text: str | None = None
    product_items: Raw = Raw()


class System(Struct):
    type: str | None = None
    body: str | None = None
    wa_id: str | None = None
    user_id: str | None = None


class Unsupported(Struct):
    type: str | None = None


class Envelope(Struct):
    """What every message of a person has."""

    id: str
    type: str = ""
    timestamp: str | int | None = None
    sender: str | None = field(name="from", default=None)
    from_user_id: str | None = None


class Message(Envelope):
    context: Context | None = None
    group_id: str | None = None
    text: Text | None = None
    button: Tap | None = None
    interactive: Interactive | None = None
    image: Media | None = None
    video: Media | None = None
    audio: Media | None = None
    document: Media | None = None
    sticker: Media | None = None
    location: Location | None = None
    contacts: Raw = Raw()
    reaction: Reaction | None = None
    order: Order | None = None
    system: System | None = None
    unsupported: Unsupported | None = None
    errors: list[Error] | None = None


class Preference(Struct):
    value: str
    category: str = ""
    wa_id: str | None = None
    user_id: str | None = None
    detail: str | None = None
    timestamp: str | int | None = None


class Messages(Struct):
    """`messages` and `user_preferences`; parts are read one by one, so that a strange one costs only itself."""

    metadata: Metadata = field(default_factory=Metadata)
    statuses: list[Raw] = []
    messages: list[Raw] = []
    user_preferences: list[Raw] = []
    errors: list[Error] = []


class Number(Struct):
    event: str = ""
    display_phone_number: str | None = None
    current_limit: str | int | None = None
    max_daily_conversations_per_business: str | int | None = None


class Capability(Struct):
    max_daily_conversations_per_business: str | int | None = None
    max_daily_conversation_per_phone: str | int | None = None


class Other(Struct):
    title: str | None = None


class Template(Struct):
    """All three callbacks about templates: the one about quality comes under the name of the one about the status."""

    message_template_name: str
    message_template_language: str
    event: str | None = None
    reason: str | None = None
    other_info: Other | None = None
    previous_quality_score: str | None = None
    new_quality_score: str | None = None
    previous_category: str | None = None
    new_category: str | None = None
    correct_category: str | None = None
    message_template_category: str | None = None
    category_update_timestamp: int | None = None


class Violation(Struct):
    violation_type: str | None = None


class Ban(Struct):
    waba_ban_state: str | None = None
    waba_ban_date: str | None = None


class Restriction(Struct):
    restriction_type: str
    expiration: str | int | None = None


class Account(Struct):
    event: str
    violation_info: Violation | None = None
    ban_info: Ban | None = None
    restriction_info: list[Restriction] | None = None


class AlertInfo(Struct):
    alert_type: str
    alert_severity: str | None = None


class Alert(Struct):
    alert_info: AlertInfo
    entity_type: str = ""
    entity_id: str | int = ""


callback = msgspec.json.Decoder(Callback)
decode_messages = msgspec.json.Decoder(Messages).decode
decode_status = msgspec.json.Decoder(Status).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_preference = msgspec.json.Decoder(Preference).decode
decode_number = msgspec.json.Decoder(Number).decode
decode_capability = msgspec.json.Decoder(Capability).decode
decode_template = msgspec.json.Decoder(Template).decode
decode_account = msgspec.json.Decoder(Account).decode
decode_alert = msgspec.json.Decoder(Alert).decode
