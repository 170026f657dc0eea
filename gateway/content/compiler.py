"""Contents to renderers: what goes together on a channel, and the JSON that its providers take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from gateway.content import rcs, rules, whatsapp
from gateway.content.model import MAX_TEXT, Content
from gateway.content.renderer import Renderer, Slot
from gateway.content.rules import Rule, fault
from gateway.errors import InvalidJob, Problem
from gateway.personalise import Template

# What each channel carries beside `channel` and `sender`.
FIELDS: Mapping[str, frozenset[str]] = {
    "sms": frozenset({"text"}),
    "whatsapp": frozenset(
        {"text", "preview_url", "template", "language", "components", "interactive", "media", "reply_to"}
    ),
    "rcs": frozenset({"text", "media", "card", "carousel", "suggestions", "traffic_type"}),
    "voice": frozenset({"text", "language", "voice", "audio"}),
    "email": frozenset({"subject", "text", "html"}),
}

SPOKEN = rules.up_to(4000)
"""What the shortest of the providers takes in one request (Twilio's `Twiml`)."""


def compile(content: Content) -> Renderer:  # noqa: A001 (called as content.compile, as re.compile is)
    """Check a content as a whole and make what fills it in.

    Raises `InvalidJob` with the path and a remedy for fields that make no sense together, and for a text without placeholders
    that does not fit where it stands.
    """
    if any(_FOREIGN[content.channel](content)):
        raise _foreign(content)
    if content.channel == "sms":
        if not content.text:
            raise _invalid("text", "is empty", "an SMS is its text")
        return Renderer("", [], Template(content.text))
    writer = _Writer()
    writer.write(_SHAPES[content.channel](content))
    return Renderer("".join(writer.pieces), writer.slots)


_FOREIGN: Mapping[str, Callable[[Content], tuple[Any, ...]]] = {
    channel: attrgetter(*[name for name in Content.__struct_fields__ if name not in {"channel", "sender", *names}])
    for channel, names in FIELDS.items()
}
"""What a content has that its channel does not carry: all of it has to be empty."""


def _foreign(content: Content) -> InvalidJob:
    channel = content.channel
    name = next(
        name
        for name in Content.__struct_fields__
        if name not in {"channel", "sender", *FIELDS[channel]} and getattr(content, name)
    )
    where = " or ".join(channel for channel, names in FIELDS.items() if name in names)
    return _invalid(name, f"is not for {channel}", f"leave it out, or set channel to {where}")


class _At(Struct, frozen=True, gc=False):
    """A value with the path that it has in the job, and for a string its rule."""

    value: Any
    path: str
    rule: Rule | None = None


def _whatsapp(content: Content) -> dict[str, Any]:
    kind = _one_of(content, "template", "interactive", "media", "text")
    shape: dict[str, Any]
    if kind == "template":
        shape = _template(content)
    else:
        for name in ("language", "components"):
            if getattr(content, name):
                raise _invalid(name, "belongs to a template", "add template, or leave it out")
        if content.preview_url and kind != "text":
            raise _invalid("preview_url", "belongs to a text", "leave it out")
        if kind == "interactive":
            assert content.interactive is not None
            _check_interactive(content.interactive)
            shape = {"type": "interactive", "interactive": _At(content.interactive, "interactive")}
        elif kind == "media":
            name, asset = _asset(content.media)
            shape = {"type": name, name: _At(asset, f"media.{name}")}
        else:
            text = _At(content.text, "text", whatsapp.MAX_TEXT)
            shape = {"type": "text", "text": {"body": text, "preview_url": content.preview_url}}
    if content.reply_to:
        shape["context"] = {"message_id": _At(content.reply_to, "reply_to", rules.ID)}
    return shape


def _template(content: Content) -> dict[str, Any]:
    if not content.language:
        raise _invalid("language", "is empty", "say which of the template's languages, such as es_MX")
    if content.preview_url:
        raise _invalid("preview_url", "belongs to a text", "leave it out")
    _check_components(content.components)
    return {
        "type": "template",
        "template": {
            "name": content.template,
            "language": {"code": content.language},
            "components": _At(content.components, "components"),
        },
    }


def _check_components(components: Sequence[whatsapp.Component]) -> None:
    seen: set[str] = set()
    for number, component in enumerate(components):
        path = f"components[{number}]"
        key = str(type(component).__struct_config__.tag)
        if isinstance(component, whatsapp.Button):
            key += component.index
            takes = whatsapp.BUTTON_TAKES[component.sub_type]
            if not isinstance(component.parameters[0], takes):
                tag = takes.__struct_config__.tag
                raise _invalid(f"{path}.parameters[0]", f"is not for {component.sub_type}", f"give it type {tag}")
        elif isinstance(component, whatsapp.Body):
            names = [parameter.parameter_name for parameter in component.parameters]
            if any(names) and len(set(names) - {""}) < len(names):
                remedy = "name all of them, each once, or none"
                raise _invalid(f"{path}.parameters", "have missing or repeated names", remedy)
        else:
            _check_header(component.parameters[0], f"{path}.parameters[0]")
        if key in seen:
            raise _invalid(path, "is there twice", "put its parameters together, or give the button its own index")
        seen.add(key)


def _check_interactive(interactive: whatsapp.Interactive) -> None:
    if interactive.header is not None:
        _check_header(interactive.header, "interactive.header")
    if isinstance(interactive, whatsapp.Buttons):
        _check_distinct("interactive.action.buttons", [button.reply.id for button in interactive.action.buttons])
        return
    sections = interactive.action.sections
    rows = [row.id for section in sections for row in section.rows]
    path = "interactive.action.sections"
    if len(rows) > 10:
        raise _invalid(path, f"have {len(rows)} rows together", "10 is the most")
    if len(sections) > 1 and not all(section.title for section in sections):
        raise _invalid(path, "are several and one has no title", "give each a title")
    _check_distinct(path, rows)


def _check_distinct(path: str, ids: list[str]) -> None:
    if len(set(ids)) < len(ids):
        raise _invalid(path, "have an id twice", "give each its own")


def _check_header(part: Struct, path: str) -> None:
    for name in part.__struct_fields__:
        if isinstance(asset := getattr(part, name), whatsapp.Asset):
            _check_asset(asset, f"{path}.{name}")


def _asset(media: Struct | None) -> tuple[str, whatsapp.Asset]:
    """Return what a message of media is, and the file itself."""
    assert media is not None
    name = str(media.__struct_config__.tag)
    asset: whatsapp.Asset = getattr(media, name)
    _check_asset(asset, f"media.{name}")
    return name, asset


def _check_asset(asset: whatsapp.Asset, path: str) -> None:
    if bool(asset.id) == bool(asset.link):
        raise _invalid(path, "has both id and link" if asset.id else "has neither id nor link", "give one of them")


def _rcs(content: Content) -> dict[str, Any]:
    kind = _one_of(content, "text", "card", "carousel", "media")
    message: dict[str, Any]
    if kind == "text":
        message = {"text": _At(content.text, "text", rcs.MAX_TEXT)}
    elif kind == "card":
        assert content.card is not None
        _check_card(content.card.card_content, "card.cardContent")
        message = {"richCard": {"standaloneCard": _At(content.card, "card")}}
    elif kind == "carousel":
        assert content.carousel is not None
        for number, card in enumerate(content.carousel.card_contents):
            _check_card(card, f"carousel.cardContents[{number}]")
        message = {"richCard": {"carouselCard": _At(content.carousel, "carousel")}}
    else:
        name, asset = _asset(content.media)
        for field in asset.__struct_fields__:
            if field != "link" and not _is_empty(getattr(asset, field)):
                raise _invalid(f"media.{name}.{field}", "is not for rcs", "give the link alone")
        message = {"contentInfo": {"fileUrl": _At(asset.link, f"media.{name}.link", rules.URL)}}
    _check_suggestions(content.suggestions, "suggestions")
    message["suggestions"] = _At(content.suggestions, "suggestions")
    return {"contentMessage": message, "messageTrafficType": content.traffic_type}


def _check_card(card: rcs.CardContent, path: str) -> None:
    if not (card.title or card.description or card.media):
        raise _invalid(path, "is empty", "give it a title, a description or media")
    _check_suggestions(card.suggestions, f"{path}.suggestions")


def _check_suggestions(suggestions: Sequence[rcs.Suggestion], path: str) -> None:
    for number, suggestion in enumerate(suggestions):
        action = suggestion.action
        if (suggestion.reply is None) == (action is None):
            raise _invalid(f"{path}[{number}]", "is not one of reply and action", "give exactly one")
        if action is not None:
            does = (action.open_url_action, action.dial_action, action.view_location_action)
            if sum(each is not None for each in does) != 1:
                raise _invalid(f"{path}[{number}].action", "does not do one thing", "give exactly one action")


def _voice(content: Content) -> dict[str, Any]:
    if _one_of(content, "audio", "text") == "text":
        said = _At(content.text, "text", SPOKEN)
        return {"say": said, "language": content.language, "voice": content.voice}
    for name in ("language", "voice"):
        if getattr(content, name):
            raise _invalid(name, "belongs to a text", "leave it out")
    return {"audio": _At(content.audio, "audio", rules.HTTPS)}


def _email(content: Content) -> dict[str, Any]:
    if not content.subject:
        raise _invalid("subject", "is empty", "a mail needs one")
    if not (content.text or content.html):
        raise _invalid("text", "is empty and so is html", "give one of them, or both")
    return {
        "subject": _At(content.subject, "subject", _rules(Content)["subject"]),
        "text": _At(content.text, "text", rules.up_to(MAX_TEXT)),
        "html": _At(content.html, "html", _rules(Content)["html"]),
    }


_SHAPES: Mapping[str, Callable[[Content], dict[str, Any]]] = {
    "whatsapp": _whatsapp,
    "rcs": _rcs,
    "voice": _voice,
    "email": _email,
}


def _one_of(content: Content, *names: str) -> str:
    present = [name for name in names if not _is_empty(getattr(content, name))]
    if len(present) != 1:
        what = f"goes not with {present[1]}" if present else "is empty"
        raise _invalid((present or names)[0], what, f"give exactly one of {', '.join(names)}")
    return present[0]


def _invalid(path: str, what: str, remedy: str) -> InvalidJob:
    return InvalidJob(str(Problem(path, what, remedy)))


def _is_empty(value: Any) -> bool:
    """Whether a field that may be left out was: no such field is a number, so none is nought."""
    return not (value.value if isinstance(value, _At) else value)


class _Writer:
    """Writes JSON as the pieces of a %-format; what was left out of the job is left out of it."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.slots: list[Slot] = []

    def write(self, value: Any, path: str = "", rule: Rule | None = None) -> None:
        if isinstance(value, _At):
            self.write(value.value, value.path, value.rule)
        elif isinstance(value, dict):
            self._object([(name, part, path, None) for name, part in value.items() if not _is_empty(part)])
        elif isinstance(value, Struct):
            self._object(_parts(value, path))
        elif isinstance(value, list):
            self.pieces.append("[")
            for number, part in enumerate(value):
                if number:
                    self.pieces.append(",")
                self.write(part, f"{path}[{number}]")
            self.pieces.append("]")
        elif isinstance(value, str) and rule is not None:
            self._string(value, path, rule)
        else:
            self._constant(msgspec.json.encode(value).decode())

    def _object(self, parts: list[tuple[str, Any, str, Rule | None]]) -> None:
        between = "{"
        for name, part, path, rule in parts:
            self._constant(f'{between}"{name}":')
            self.write(part, path, rule)
            between = ","
        self.pieces.append("{}" if between == "{" else "}")

    def _string(self, value: str, path: str, rule: Rule) -> None:
        try:
            template = Template(value)
        except InvalidJob as error:
            raise InvalidJob(f"{path}: {error.reason}") from None
        if template.names:
            self.pieces.append("%s")
            self.slots.append(Slot(path, rule, template))
            return
        if (breach := fault(rule, template.text)) is not None:
            raise _invalid(path, breach.text, "it is the same for every recipient")
        self._constant(rule.write(template.text))

    def _constant(self, text: str) -> None:
        self.pieces.append(text.replace("%", "%%"))


def _parts(value: Struct, path: str) -> list[tuple[str, Any, str, Rule | None]]:
    config = type(value).__struct_config__
    parts: list[tuple[str, Any, str, Rule | None]] = []
    if config.tag_field is not None:
        parts.append((config.tag_field, config.tag, path, None))
    for field, name, required, rule in _layout(type(value)):
        part = getattr(value, field)
        if required or not _is_empty(part):
            parts.append((name, part, f"{path}.{name}", rule))
    return parts


@cache
def _layout(struct: type[Struct]) -> tuple[tuple[str, str, bool, Rule | None], ...]:
    """Return the fields of a struct: name, name on the wire, whether it has to be there, and its rule."""
    rule_of = _rules(struct)
    return tuple((field.name, field.encode_name, field.required, rule_of.get(field.name)) for field in fields(struct))


@cache
def _rules(struct: type[Struct]) -> dict[str, Rule]:
    """Return the rules of a struct's fields, out of their annotations and those of the members of a union."""
    found: dict[str, Rule] = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        for annotation in (hint, *get_args(hint)):
            for meta in getattr(annotation, "__metadata__", ()):
                if (rule := rules.rule_of(meta)) is not None:
                    found[name] = rule
    return found
