"""What callbacks of providers have in common: forms, JSON, times, and messages from people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from gateway.content import Channel
from gateway.model import Inbound
from gateway.providers.contract import Hook

_EPOCH = datetime.fromtimestamp(0, UTC)

T = TypeVar("T")
_decode_object = msgspec.json.Decoder(dict[str, str | int | float | bool | None])


_YEAR_5138 = 1e11
"""Times beyond it are no times, and Python has none beyond 9999."""


def form_of(hook: Hook) -> list[tuple[str, str]]:
    """Return the fields of a form in the body, empty ones too (they are signed), as they stand."""
    return parse_qsl(hook.body.decode("utf-8", "replace"), keep_blank_values=True)


def fields_of(hook: Hook) -> dict[str, str]:
    """Return the parameters of a callback that comes as a query, a form or a flat JSON object; raises `ValueError`."""
    body = hook.body.strip()
    if not body:
        return dict(hook.query)
    if body.startswith(b"{"):
        values = parse(_decode_object, body)
        return {name: value if isinstance(value, str) else _plain(value) for name, value in values.items()}
    return dict(form_of(hook))


def parse(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a JSON callback; raises `ValueError` for anything else."""
    try:
        return decoder.decode(body)
    except RecursionError as exc:
        raise ValueError("the body is nested without end") from exc


def plus(number: str) -> str:
    """Return a number in E.164 with its plus sign, and what is none (a short code, a name) as it stands."""
    return f"+{number}" if number.isdecimal() and number.isascii() and len(number) >= 8 else number


def unix(text: str) -> float:
    """Return the Unix time of an ISO 8601 text, in UTC where it names no zone; 0 for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return at if 0 < at < _YEAR_5138 else 0.0


def inbound(
    inbound_id: str,
    *,
    from_: str,
    to: str,
    text: str = "",
    kind: str = "text",
    channel: Channel = "sms",
    at: float = 0.0,
    parts: int = 1,
    reference: str = "",
    data: Mapping[str, str | int | float | bool | None] | None = None,
) -> Inbound:
    """Return what a person wrote. Whose hook was called knows the lane, the account and the time; they are blank here.

    The time is the provider's where it says one, else the epoch.
    """
    return Inbound(
        inbound_id=inbound_id,
        channel=channel,
        lane="",
        account="",
        from_=from_,
        to=to,
        time=datetime.fromtimestamp(at, UTC) if at else _EPOCH,
        kind=kind,
        text=text,
        parts=parts,
        reference=reference,
        data=dict(data or {}),
    )


def _plain(value: float | bool | None) -> str:
    return "" if value is None else str(value)
