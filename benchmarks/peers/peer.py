"""What can be measured: something that carries messages to an SMSC and can tell when their receipts have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from benchmarks.peers.mix import Message

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "peers"
"""All that `install` fetched."""

SYSTEM_ID = "lane0"
PASSWORD = "bench"
"""Of the one account at the simulated SMSC."""
SENDER = "89000"
WINDOW = 100
"""submit_sm unanswered on the one bind, wherever a peer can be told."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader of the table has to know of a peer."""

    kind: str
    """`gateway` or `library`."""
    durable: bool
    """Whether what it accepted is meant to survive `kill -9`: only then is it killed."""
    stores: str
    lacks: str
    """What it does not do, as it is configured here."""


class Unavailable(Exception):
    """The peer cannot run here; the text says what is missing."""


class Carrier(Protocol):
    """A peer that is up and bound, or about to be. The arrays have a 1 at the number of each message of which they are true."""

    @property
    def accepted(self) -> bytearray:
        """The peer has taken responsibility for it."""

    @property
    def reported(self) -> bytearray:
        """The publisher has been told its final state."""

    @property
    def doubted(self) -> bytearray:
        """The publisher has been told that nobody knows whether it was sent."""

    @property
    def last_report_at(self) -> float:
        """Unix seconds."""

    def processes(self) -> Mapping[str, int]:
        """The pids to be charged, by what they are; children are charged with them."""

    async def publish(self, messages: Sequence[Message], seconds: float) -> None:
        """Hand over all of them, or as many as the peer takes in that time."""

    async def crash(self) -> None:
        """End the peer's own processes with SIGKILL, its stores not, and start them again."""


class Peer(Protocol):
    """Can be run any number of times, each with a fresh and empty store."""

    name: str
    facts: Facts

    def check(self) -> None:
        """Raises `Unavailable` if it cannot run here."""

    def versions(self) -> dict[str, str]: ...

    def running(
        self, smsc_port: int, messages: Sequence[Message], directory: Path
    ) -> AbstractAsyncContextManager[Carrier]:
        """Start everything in `directory`, and stop everything at the end however it comes."""
