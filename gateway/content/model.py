"""What a job says, whoever it says it to: the same fields in a job and in a step of its plan."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.content import rcs, whatsapp
from gateway.content.rules import HTTPS, ID, filled, markup, one_line

# 255 parts of 153 septets, the most that a concatenation header can number (3GPP TS 23.040 §9.2.3.24.1).
MAX_TEXT = 39_015

MAX_HTML = 100_000
"""Larger mails are cut by mailboxes."""

# `$` alone would let a final line break pass in Python; in JSON Schema it would not.
_END = r"$(?!\n)"

Channel = Literal["sms", "whatsapp", "rcs", "voice", "email"]


class Content(Struct, forbid_unknown_fields=True, gc=False):
    """A channel and what goes over it. Which fields go together is said in `gateway/content/compiler.py`."""

    channel: Channel = "sms"
    # Printable ASCII in 20 octets is what `source_addr` holds beside its NUL (SMPP 3.4 §4.4.1).
    sender: Annotated[
        str,
        Meta(
            max_length=20,
            pattern=r"^[ -~]*" + _END,
            description="Originating address, such as a short code; empty: the lane's own.",
        ),
    ] = ""
    text: Annotated[
        str,
        Meta(
            max_length=MAX_TEXT,
            description=(
                "With `{name}` placeholders, filled per recipient; a brace itself is written twice. An SMS; a free WhatsApp "
                "message (4096); an RCS message (3072); what a voice says (4000); the plain part of a mail."
            ),
        ),
    ] = ""
    template: Annotated[whatsapp.TemplateName, Meta(description="WhatsApp: the approved template.")] = ""
    language: Annotated[
        str,
        Meta(
            max_length=35,
            pattern=r"^([A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*)?" + _END,
            description="WhatsApp: the template's, as Meta writes it (`es_MX`). Voice: the one spoken (`es-MX`).",
        ),
    ] = ""
    components: Annotated[
        list[whatsapp.Component], Meta(max_length=12, description="WhatsApp: what the template's placeholders become.")
    ] = []
    interactive: Annotated[whatsapp.Interactive, Meta(description="WhatsApp: reply buttons or a list.")] | None = None
    media: Annotated[whatsapp.Media, Meta(description="WhatsApp; RCS by `link`, without caption.")] | None = None
    preview_url: Annotated[bool, Meta(description="WhatsApp: show what the first URL of the text leads to.")] = False
    reply_to: Annotated[str, filled(ID, "WhatsApp: the id of the person's message that this answers.")] = ""
    card: Annotated[rcs.Card, Meta(description="RCS.")] | None = None
    carousel: Annotated[rcs.Carousel, Meta(description="RCS.")] | None = None
    suggestions: Annotated[list[rcs.Suggestion], Meta(max_length=11, description="RCS: chips under the message.")] = []
    traffic_type: Annotated[
        rcs.TrafficType, Meta(description="RCS: what the message is for; agents with several uses need it.")
    ] = ""
    audio: Annotated[str, filled(HTTPS, "Voice: a recording that is played, instead of a text.")] = ""
    voice: Annotated[
        str,
        Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*" + _END, description="Voice: who speaks, by provider's name."),
    ] = ""
    subject: Annotated[str, filled(one_line(998), "Mail.")] = ""
    html: Annotated[
        str, Meta(max_length=MAX_HTML), filled(markup(MAX_HTML), "Mail: values are escaped, the rest is yours.")
    ] = ""
