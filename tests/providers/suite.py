"""What one provider brings to the contract suite, and the values that all its tests start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from gateway.model import Message, TrafficClass
from gateway.providers.contract import Hook, Provider, Reply

NOW = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""


class Case(Struct, frozen=True, kw_only=True):
    """One kind of lane at a provider."""

    name: str
    provider: Provider
    message: Message
    """One that it carries."""
    accepted: Callable[[Sequence[Message]], Reply]
    """Its answer when it takes them all."""
    secrets: tuple[str, ...]
    """What may stand in headers and bodies, and nowhere else."""
    hook: Hook | None = None
    """A callback that is signed, for NOW; None for a provider that has none."""
    forged: Mapping[str, Hook] = msgspec.field(default_factory=dict)
    """The same unsigned, wrongly signed and, where the body is signed, tampered with."""
    refused_statuses: tuple[int, ...] = (401, 403)
    """The HTTP statuses that say that the credentials are wrong."""


def a_message(text: str = "Su pago vence hoy", *, number: int = 0, **changes: object) -> Message:
    """A message to a person of Colombia; `number` tells several apart."""
    message = Message(
        message_id=f"job-1:{number}",
        to=f"+57300111{number:04d}",
        text=text,
        sender="",
        job_id="job-1",
        campaign="",
        tenant="acme",
        class_=TrafficClass.TRANSACTIONAL,
        expires_at=0.0,
        source="0:0:0",
        accepted_at=NOW,
    )
    return msgspec.structs.replace(message, **changes)


def several(case: Case, count: int) -> list[Message]:
    """`count` messages like the case's, each to a person of its own."""
    first = case.message
    return [
        msgspec.structs.replace(first, message_id=f"{first.message_id}-{n}", to=f"{first.to[:-4]}{n:04d}")
        for n in range(count)
    ]


def a_reply(body: object = b"", status: int = 200, **headers: str) -> Reply:
    """An answer; anything but octets is written as JSON. Underscores in header names stand for hyphens."""
    octets = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, octets)


def a_hook(
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    url: str = "https://hooks.example/lane",
    method: str = "POST",
) -> Hook:
    return Hook(method, url, dict(query or {}), dict(headers or {}), body)


def without(hook: Hook, header: str) -> Hook:
    """The same callback without one of its headers."""
    return msgspec.structs.replace(hook, headers={name: v for name, v in hook.headers.items() if name != header})


def with_header(hook: Hook, header: str, value: str) -> Hook:
    return msgspec.structs.replace(hook, headers={**hook.headers, header: value})


def with_body(hook: Hook, body: bytes) -> Hook:
    return msgspec.structs.replace(hook, body=body)
