"""A far end without its socket: a request and the time give an answer and what will be reported later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.simulators.behaviour import Behaviour, Fault
from gateway.simulators.record import Record
from gateway.simulators.script import Script, State

__all__ = ["JSON", "NOBODY", "Answer", "Callbacks", "End", "Post", "Request", "Update"]

JSON = "application/json"

NOBODY = "recado"
"""Login, password and every secret, unless told otherwise: there is nothing to protect."""


class Request(msgspec.Struct, frozen=True):
    """`target` is the path behind the vendor's own, without a slash in front, and the query; header names in any case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


class Update(msgspec.Struct, frozen=True, gc=False):
    """What there is to report of one message; `url` is where its request asked for it, `note` is the vendor's own."""

    id: str
    state: State
    sender: str
    recipient: str
    reference: str = ""
    code: str = ""
    url: str = ""
    note: str = ""


class Answer(msgspec.Struct):
    """What a request is answered, what becomes of that answer, and the updates by the seconds after it."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = {}
    fault: Fault | None = None
    updates: Sequence[tuple[float, Update]] = ()


class Post(msgspec.Struct, frozen=True):
    """One callback as it goes out; it carries `size` updates."""

    url: str
    body: bytes
    headers: dict[str, str]
    size: int = 1


class Callbacks(msgspec.Struct):
    """The account of what a far end reported; in updates, but for `posts`."""

    planned: int = 0
    sent: int = 0
    """Answered as the vendor wants."""
    retried: int = 0
    lost: int = 0
    """Given up: refused for good, or tried as often as it may be."""
    posts: int = 0
    """Requests made."""

    @property
    def pending(self) -> int:
        """Updates neither sent nor lost, those not yet due included."""
        return self.planned - self.sent - self.lost


class End(ABC):
    """One account at a provider. `now` is always the simulator's clock, `at` seconds since 1970."""

    def __init__(self, name: str, behaviour: Behaviour | None, webhook_url: str, first_id: int, seed: int) -> None:
        self.name = name
        self.webhook_url = webhook_url
        """Where callbacks go that no request named another place for; empty for nowhere."""
        self.script = Script(behaviour or Behaviour(), seed)
        self.record = Record()
        self.callbacks = Callbacks()
        self._last_id = first_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.record.counts.accepted} accepted, {self.callbacks.pending} pending>"

    @abstractmethod
    def receive(self, request: Request, now: float) -> Answer:
        """Answer one request."""

    @abstractmethod
    def reports(self, updates: Sequence[Update], at: float) -> list[Post]:
        """Callbacks for updates that are due now, joined as far as the vendor joins them."""

    @abstractmethod
    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        """The callback of a message from a person; `message` are fields of the vendor's own. Raises ValueError."""

    def content(self, status: int) -> bool:
        """Whether the vendor takes a callback for done that was answered so."""
        return 200 <= status < 300

    def tries_again(self, status: int) -> bool:
        """Whether it repeats one that was not; 0 is no answer at all."""
        return True

    def reset(self) -> None:
        """Forget what arrived and what was written down; the behaviour stays."""
        self.record = Record()
        self.callbacks = Callbacks(planned=self.callbacks.pending)
        self.script.clear()

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id
