"""What is fuzzed: a function that takes octets and holds the rules, and seeds from which to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from tests.fuzz import callbacks, conversation, jobs, wire

KEPT = Path(__file__).parent / "kept"
"""Inputs that reached something new, one a line in hexadecimal: kept so that the next run, and every test, starts from them."""


class Target(Struct, frozen=True):
    """`run` raises for a bug and for nothing else; it says whether the input was understood, rather than refused."""

    run: Callable[[bytes], bool]
    seeds: Callable[[], Iterator[bytes]]
    modules: tuple[str, ...]
    """Whose lines are counted."""
    longest: int = 2048
    head: int | None = None
    """Octets before the line and the body of JSON or a form; None where octets are all that there is."""


def _of_providers(*names: str) -> tuple[str, ...]:
    return tuple(f"gateway.providers.{name}" for name in names)


_CALLBACKS = ("whatsapp_hooks", "hooks", "generic_callback", "paths", "signatures")
_ANSWERS = ("replies", "generic_reply", "paths")

TARGETS: Mapping[str, Target] = {
    "pdu": Target(wire.pdu, wire.pdus, ("smpp.pdu",), 512),
    "receipt": Target(wire.receipt, wire.receipts, ("smpp.receipt",), 512),
    "udh": Target(wire.udh, wire.udhs, ("smpp.segment", "smpp.gsm7"), 256),
    "text": Target(wire.text, wire.texts, ("smpp.segment", "smpp.gsm7")),
    "session": Target(conversation.session, conversation.sessions, ("smpp.session",), 256),
    "job": Target(
        jobs.job, jobs.jobs, ("gateway.content.compiler", "gateway.content.renderer", "gateway.model"), 8192, 0
    ),
    "callback": Target(callbacks.callback, callbacks.callbacks, _of_providers(*_CALLBACKS), 8192, 1),
    "answer": Target(callbacks.answer, callbacks.answers, _of_providers(*_ANSWERS), 4096, 3),
}


def kept(name: str) -> list[bytes]:
    """Inputs of earlier runs."""
    file = KEPT / f"{name}.txt"
    return [bytes.fromhex(line) for line in file.read_text().splitlines()] if file.exists() else []


def starts(name: str) -> list[bytes]:
    """Every input that a run starts from."""
    return [*dict.fromkeys((*TARGETS[name].seeds(), *kept(name)))]
