"""Whom a lane reaches, where its provider tells beforehand: asked in batches, before anything is written, and kept for a while.

It only saves requests. While the provider does not tell, whoever is not known is written to, and the answer to that decides.

A process keeps it for itself: what goes to one number over a lane waits in one partition (`Failover.address`), so that no
other process asks about it, and a store in between would be written and hardly read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice

from gateway.errors import Disposition
from gateway.http_lane_config import HttpSettings
from gateway.providers.contract import Directory, Failure, Scope
from gateway.providers.http_client import BadURL, HttpClient, NoAnswer, NotSent
from gateway.providers.http_grant import Grants, backoff

log = logging.getLogger("gateway.http")

_ANSWER_S = 2.0
"""Messages wait for the answer, and fill the window meanwhile: a provider that takes longer does not tell."""
UNREACHABLE = Failure(
    Disposition.REROUTE, "unreachable", "the provider does not reach this number", scope=Scope.RECIPIENT
)


class Known:
    """What is known of numbers, each for a time; at most `capacity`, of which the longest unused leave first. Pure."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._half = max(1, capacity // 2)
        # Number → answer and until when it holds; two generations, so that leaving costs nothing.
        self._young: dict[str, tuple[bool, float]] = {}
        self._old: dict[str, tuple[bool, float]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, number: str, now: float) -> bool | None:
        """Return whether a number can be reached, None for one of which nothing is known now."""
        known = self._young.get(number)
        if known is None and (known := self._old.pop(number, None)) is not None:
            self.learn(number, *known)
        return known[0] if known is not None and now < known[1] else None

    def learn(self, number: str, reachable: bool, until: float) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[number] = (reachable, until)


class Reach:
    """What all slots of a lane in this process know and ask together. One task asks, one question at a time.

    A process with `n` of the lane's `slots` asks `n / slots` of what the provider allows: all of them keep to it.
    Whoever uses it says so with `open` and, as often, `close`.
    """

    def __init__(
        self, lane: str, directory: Directory, client: HttpClient, grants: Grants, settings: HttpSettings, slots: int
    ) -> None:
        self._lane = lane
        self._directory = directory
        self._client = client
        self._grants = grants
        self._settings = settings
        self._slots = slots
        self._known = Known()
        self._unasked: dict[str, None] = {}
        self._asked: frozenset[str] = frozenset()
        self._wanted = asyncio.Event()
        self._next_at = 0.0
        self._failures = 0  # in a row
        self._silent_until = 0.0
        self._users: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    def of(self, number: str) -> bool | None:
        """Whether to write to a number; None while that is asked. When there are answers, `on_told` is called.

        While the lane waits for its grant nobody can be asked: that is for when there is one, and the lane is up.
        """
        now = time.monotonic()
        known = self._known.get(number, now)
        grants = self._grants
        if known is None and (now < self._silent_until or (grants.needed and not grants.token)):
            return True
        if known is None and number not in self._asked:
            self._unasked[number] = None
            self._wanted.set()
        return known

    def refused(self, number: str) -> None:
        """Take in that a message to this number was refused for whom it went to."""
        self._known.learn(number, False, time.monotonic() + self._directory.unreachable_s)

    def open(self, on_told: Callable[[], None]) -> None:
        self._users.append(on_told)
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"reach {self._lane}")

    async def close(self, on_told: Callable[[], None]) -> None:
        self._users.remove(on_told)
        if not self._users and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait((task,))

    async def _keep(self) -> None:
        directory = self._directory
        while True:
            await self._wanted.wait()
            await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
            numbers = list(islice(self._unasked, directory.batch))
            for number in numbers:
                del self._unasked[number]
            if not self._unasked:
                self._wanted.clear()
            self._asked = frozenset(numbers)
            self._next_at = time.monotonic() + self._slots / (len(self._users) * directory.per_s)
            try:
                failure = await self._ask(numbers)
            finally:  # also when it is closed: once it is open again, they are asked about like others
                self._asked = frozenset()
            if failure is None:
                self._failures = 0
            else:
                self._fall_silent(failure)
            for on_told in self._users:
                on_told()

    async def _ask(self, numbers: Sequence[str]) -> Failure | None:
        """Ask about numbers, once. No message is at stake: whatever goes wrong, they are written to."""
        directory = self._directory
        try:
            async with asyncio.timeout(_ANSWER_S):
                reply = await self._client.send(directory.ask(numbers, self._grants.token))
            reached = directory.read(reply)
        except (NotSent, NoAnswer, BadURL, TimeoutError) as error:
            return Failure(Disposition.RETRY, "no-answer", str(error))
        except Exception as error:  # a bug: nobody must wait for it, and its words may quote a number
            log.critical("a provider broke lane=%s error=%s", self._lane, type(error).__name__)
            return Failure(Disposition.RETRY, "internal")
        if isinstance(reached, Failure):
            return reached
        now = time.monotonic()
        for number in numbers:
            reachable = number in reached
            seconds = directory.reachable_s if reachable else directory.unreachable_s
            self._known.learn(number, reachable, now + seconds)
        return None

    def _fall_silent(self, failure: Failure) -> None:
        self._failures += 1
        settings = self._settings
        seconds = max(failure.after or 0.0, settings.reconnect_min_s + backoff(settings, self._failures))
        self._silent_until = time.monotonic() + seconds
        self._unasked.clear()
        self._wanted.clear()
        log.warning(
            "nobody tells whom the lane reaches, all are written to lane=%s code=%s retry_in_s=%.2f",
            *(self._lane, failure.code, seconds),
        )
