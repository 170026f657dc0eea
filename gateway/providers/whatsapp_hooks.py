"""What Meta's callbacks for WhatsApp say (META/webhooks/reference/*).

Messages of people come out as `Inbound`. `account` is the id of the number that they wrote to, `from_` their number or, where
Meta keeps it from us, their business-scoped id (in `data.user_id` in any case); `time` is when Meta says they wrote.

| kind | text | data |
|---|---|---|
| text | what they wrote | |
| button | what stands on it | payload |
| list | what stands on the row | payload, description |
| flow | | name, response_json |
| media | the caption | media (image, video, audio, document, sticker), id, mime_type, sha256, filename, url, voice |
| location | its name | latitude, longitude, address, url |
| contacts, order | an order's text | contacts; catalog_id and product_items: JSON as text |
| reaction | the emoji, empty when it was taken back | |
| system | what Meta says of it | type (`user_changed_number`), wa_id (the new one), user_id |
| opt_out, opt_in | what Meta says of it | category |
| unsupported | | type, code |

What concerns no single message comes out as `Change`, with the id of the business account that Meta said it of, and when:

| subject | what | value (detail) |
|---|---|---|
| number:+<display number> | event | ONBOARDING, FLAGGED … |
| number:+<display number> | throughput | HIGH |
| number:<id> | error | a code (its text) |
| number:<id>, portfolio, account:<id> | alert | INCREASED_CAPABILITIES_ELIGIBILITY_FAILED … (severity) |
| portfolio | limit | TIER_2K, 2000, -1 …: see `limit_of` |
| template:<name>/<language> | status | APPROVED, PAUSED, DISABLED … (title of the pause, or the reason) |
| template:<name>/<language> | quality | GREEN, YELLOW, RED, UNKNOWN (the one before) |
| template:<name>/<language> | category | UTILITY … (the one before) |
| template:<name>/<language> | next_category | what it will become (when, in Unix seconds) |
| account:<id> | event | ACCOUNT_RESTRICTION, DISABLED_UPDATE … |
| account:<id> | violation, ban | a type; a state (date) |
| account:<id> | restriction | RESTRICTED_UTILITY_TEMPLATES … (when it ends) |
| recipient:+<number> | marketing_messages | stop, resume |

Languages are written as when sending (`es_MX`): callbacks have `es-MX` too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gateway.errors import Disposition
from gateway.model import EventStatus, Inbound
from gateway.providers import hooks
from gateway.providers import whatsapp_wire as wire
from gateway.providers.contract import Change, Failure, Reading, Status

FailureOf = Callable[[int, str], Failure | None]
Data = dict[str, str | int | float | bool | None]

_STATUSES: Mapping[str, EventStatus] = {
    "sent": EventStatus.SUBMITTED,
    "delivered": EventStatus.DELIVERED,
    "read": EventStatus.READ,
    "played": EventStatus.READ,
    "failed": EventStatus.FAILED,
}
_MEDIA = frozenset({"image", "video", "audio", "document", "sticker"})
_DIGITS = re.compile(r"[0-9]{1,11}")
_TIME = re.compile(rb'"?([0-9]{10})([0-9]{3})?"?')
"""Of an entry: in other products of Meta it has milliseconds."""


def read(body: bytes, failure_of: FailureOf) -> Reading:
    """Read a callback; raises `ValueError` for what is not one of Meta's.

    A part that cannot be understood is named in `unknown` and costs nothing else: Meta would send all of it again for days.
    """
    callback = hooks.parse(wire.callback, body)
    if callback.object != "whatsapp_business_account":
        raise ValueError("a callback about something else than WhatsApp")
    reading = Reading()
    for entry in callback.entry:
        for update in entry.changes:
            name = update.field
            try:
                if name in {"messages", "user_preferences"}:
                    _read_messages(wire.decode_messages(update.value), reading, failure_of)
                elif (reader := _READERS.get(name)) is not None:
                    reading.changes += [_of_entry(change, entry) for change in reader(update.value, entry.id)]
                else:
                    reading.unknown.append(f"field:{name[:64]}")
            except (ValueError, RecursionError):
                reading.unknown.append(f"value:{name[:64]}")
    return reading


def limit_of(value: str | int) -> int | None:
    """Return a portfolio's messaging limit in recipients a day, None for unlimited; raises `ValueError` for anything else.

    Meta writes it as a tier or as a number, in old versions with -1. A number that has sent nothing yet starts at 250.
    """
    text = str(value).upper()
    if text in {"TIER_UNLIMITED", "-1"}:
        return None
    if text == "TIER_NOT_SET":
        return 250
    if (match := re.fullmatch(r"(?:TIER_)?([0-9]{1,9})(K?)", text)) is None:
        raise ValueError("not a messaging limit")
    return int(match[1]) * (1000 if match[2] else 1)


def template_subject(name: str, language: str) -> str:
    return f"template:{name}/{language.replace('-', '_')}"


def display_number(text: str | None) -> str:
    """Return a number as people write it (`+1 555-078-3881`) in E.164; empty for none."""
    digits = re.sub(r"[^0-9]", "", text or "")
    return f"+{digits}" if digits else ""


def _of_entry(change: Change, entry: wire.Entry) -> Change:
    time = _TIME.fullmatch(bytes(entry.time))
    return msgspec.structs.replace(change, account=entry.id, at=float(time[1]) if time else 0.0)


def _read_messages(value: wire.Messages, reading: Reading, failure_of: FailureOf) -> None:
    statuses, unknown = reading.statuses, reading.unknown
    for raw in value.statuses:
        try:
            status = wire.decode_status(raw)
        except (ValueError, RecursionError):
            unknown.append("value:status")
            continue
        if (known := _STATUSES.get(status.status)) is not None:
            statuses.append(
                Status(
                    status.id,
                    known,
                    status.biz_opaque_callback_data or "",
                    hooks.plus(status.recipient_id or ""),
                    _unix(status.timestamp),
                    _failure(status, failure_of) if known is EventStatus.FAILED else None,
                )
            )
        elif status.status != "deleted":  # by the business itself, in old versions
            unknown.append(f"status:{status.status[:64]}")
    number = value.metadata.phone_number_id or ""
    to = display_number(value.metadata.display_phone_number)
    for raw in value.messages:
        _read_message(raw, number, to, reading)
    for raw in value.user_preferences:
        _read_preference(raw, number, to, reading)
    reading.changes += [Change(f"number:{number}", "error", str(error.code), error.text) for error in value.errors]


def _failure(status: wire.Status, failure_of: FailureOf) -> Failure:
    if not status.errors:
        return Failure(Disposition.REJECTED, "")
    error = status.errors[0]
    return failure_of(error.code, error.text) or Failure(Disposition.REJECTED, str(error.code), error.text)


def _read_message(raw: Raw, number: str, to: str, reading: Reading) -> None:
    try:
        message = wire.decode_message(raw)
    except (ValueError, RecursionError):
        reading.unknown.append("value:message")
        try:  # Whatever it says: somebody wrote, and that opens the service window.
            message = wire.Message(**msgspec.structs.asdict(wire.decode_envelope(raw)))
        except (ValueError, RecursionError):
            return
    kind, text, data = _content(message)
    if kind == "unsupported" and message.type != "unsupported":
        reading.unknown.append(f"message:{message.type[:64]}")
    reference = (message.context and message.context.id) or ""
    if message.reaction is not None:
        reference = message.reaction.message_id or ""
    if message.from_user_id:
        data.setdefault("user_id", message.from_user_id)
    if message.group_id:
        data["group_id"] = message.group_id
    sender = hooks.plus(message.sender or "") or message.from_user_id or ""
    reading.inbound.append(
        _inbound(message.id, number, sender, to, kind, text, data, _unix(message.timestamp), reference)
    )


def _content(message: wire.Message) -> tuple[str, str, Data]:
    """Return kind, text and data of a message; what is missing or new is `unsupported`."""
    kind = message.type
    interactive = message.interactive
    if kind == "text" and message.text is not None:
        return "text", message.text.body, {}
    if kind == "button" and (tap := message.button) is not None:
        return "button", tap.text or "", _given(payload=tap.payload)
    if kind == "interactive" and interactive is not None:
        if (tap := interactive.button_reply) is not None:
            return "button", tap.title or "", _given(payload=tap.id)
        if (tap := interactive.list_reply) is not None:
            return "list", tap.title or "", _given(payload=tap.id, description=tap.description)
        if (flow := interactive.nfm_reply) is not None:
            return "flow", flow.body or "", _given(name=flow.name, response_json=flow.response_json)
    if kind in _MEDIA and (media := getattr(message, kind)) is not None:
        data = msgspec.structs.asdict(media)
        return "media", data.pop("caption") or "", {"media": kind} | _given(**data)
    if kind == "location" and (place := message.location) is not None:
        data = msgspec.structs.asdict(place)
        return "location", data.pop("name") or "", _given(**data)
    if kind == "contacts" and message.contacts:
        return "contacts", "", {"contacts": _json(message.contacts)}
    if kind == "reaction" and message.reaction is not None:
        return "reaction", message.reaction.emoji or "", {}
    if kind == "order" and (order := message.order) is not None:
        return "order", order.text or "", _given(catalog_id=order.catalog_id, product_items=_json(order.product_items))
    if kind == "system" and (system := message.system) is not None:
        return "system", system.body or "", _given(type=system.type, wa_id=system.wa_id, user_id=system.user_id)
    code = message.errors[0].code if message.errors else None
    what = message.unsupported.type if message.unsupported is not None else kind
    return "unsupported", "", _given(type=what, code=code)


def _read_preference(raw: Raw, number: str, to: str, reading: Reading) -> None:
    try:
        preference = wire.decode_preference(raw)
        kind = {"stop": "opt_out", "resume": "opt_in"}[preference.value]
    except (ValueError, KeyError, RecursionError):
        reading.unknown.append("value:user_preference")
        return
    person = hooks.plus(preference.wa_id or "") or preference.user_id or ""
    at = _unix(preference.timestamp)
    # A preference has no id: who, what and when make one that is the same whenever Meta sends it again.
    inbound_id = f"{number}:{person}:{preference.category}:{preference.value}:{int(at)}"
    data = _given(category=preference.category, user_id=preference.user_id)
    detail = preference.detail or ""
    reading.inbound.append(_inbound(inbound_id, number, person, to, kind, detail, data, at))
    reading.changes.append(Change(f"recipient:{person}", preference.category, preference.value, detail))


def _inbound(
    inbound_id: str,
    number: str,
    sender: str,
    to: str,
    kind: str,
    text: str,
    data: Data,
    at: float,
    reference: str = "",
) -> Inbound:
    inbound = hooks.inbound(
        inbound_id,
        from_=sender,
        to=to,
        text=text,
        kind=kind,
        channel="whatsapp",
        at=at,
        reference=reference,
        data=data,
    )
    inbound.account = number
    return inbound


def _read_number(raw: Raw, account: str) -> list[Change]:
    value = wire.decode_number(raw)
    subject = f"number:{display_number(value.display_phone_number)}"
    limit = value.max_daily_conversations_per_business
    if value.event == "THROUGHPUT_UPGRADE":
        changes = [Change(subject, "throughput", "HIGH")]
    else:
        changes = [Change(subject, "event", value.event)] if value.event else []
        limit = value.current_limit if limit is None else limit  # with an upgrade it is the throughput's, not a limit
    return changes + ([] if limit == "TIER_NOT_SET" else _limit(limit))  # a new number says nothing of its portfolio


def _read_capability(raw: Raw, account: str) -> list[Change]:
    value = wire.decode_capability(raw)
    limit = value.max_daily_conversations_per_business
    return _limit(value.max_daily_conversation_per_phone if limit is None else limit)


def _limit(value: str | int | None) -> list[Change]:
    return [] if value is None else [Change("portfolio", "limit", str(value))]


def _read_template(raw: Raw, account: str) -> list[Change]:
    value = wire.decode_template(raw)
    subject = template_subject(value.message_template_name, value.message_template_language)
    changes = []
    if value.new_quality_score:
        changes.append(Change(subject, "quality", value.new_quality_score, value.previous_quality_score or ""))
    if category := value.new_category or value.message_template_category:
        changes.append(Change(subject, "category", category, value.previous_category or ""))
    if value.correct_category:
        at = "" if value.category_update_timestamp is None else str(value.category_update_timestamp)
        changes.append(Change(subject, "next_category", value.correct_category, at))
    if value.event:
        why = (value.other_info and value.other_info.title) or value.reason or ""
        changes.append(Change(subject, "status", value.event, why))
    return changes


def _read_account(raw: Raw, account: str) -> list[Change]:
    value = wire.decode_account(raw)
    subject = f"account:{account}"
    changes = [Change(subject, "event", value.event)]
    if value.violation_info is not None and value.violation_info.violation_type:
        changes.append(Change(subject, "violation", value.violation_info.violation_type))
    if value.ban_info is not None and value.ban_info.waba_ban_state:
        changes.append(Change(subject, "ban", value.ban_info.waba_ban_state, value.ban_info.waba_ban_date or ""))
    for restriction in value.restriction_info or ():
        until = "" if restriction.expiration is None else str(restriction.expiration)
        changes.append(Change(subject, "restriction", restriction.restriction_type, until))
    return changes


def _read_alert(raw: Raw, account: str) -> list[Change]:
    value = wire.decode_alert(raw)
    if value.entity_type == "BUSINESS":
        subject = "portfolio"
    elif value.entity_type == "PHONE_NUMBER":
        subject = f"number:{value.entity_id}"
    else:
        subject = f"account:{account}"
    return [Change(subject, "alert", value.alert_info.alert_type, value.alert_info.alert_severity or "")]


_READERS: Mapping[str, Callable[[Raw, str], list[Change]]] = {
    "phone_number_quality_update": _read_number,
    "business_capability_update": _read_capability,
    "message_template_status_update": _read_template,
    "message_template_quality_update": _read_template,
    "template_category_update": _read_template,
    "account_update": _read_account,
    "account_alerts": _read_alert,
}


def _unix(timestamp: str | int | None) -> float:
    # Eleven digits last until the year 5138; more are not seconds.
    text = str(timestamp)
    return float(text) if _DIGITS.fullmatch(text) else 0.0


def _given(**values: Any) -> Data:
    return {name: value for name, value in values.items() if value not in {None, ""}}


def _json(raw: Raw) -> str:
    return bytes(raw).decode("utf-8", "replace")
