"""What becomes of a message over HTTP, as whoever settles it is told."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from gateway.providers.contract import Failure


class HttpAnswer(Struct, gc=False, eq=False):
    """What became of one message, with what the caller gave beside it."""

    context: Any
    message_id: str
    """The provider's; empty after a failure."""
    failure: Failure | None = None

    @property
    def command_status(self) -> int:
        """0 for success, 1 otherwise: what answers of SMPP are asked first."""
        return 0 if self.failure is None else 1


class Refusal(HttpAnswer, gc=False, eq=False):
    """Of a message that the provider was not asked to send. There was no round trip: a batch holds nothing but these, or none."""
