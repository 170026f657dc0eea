"""A slot of a lane of mail: some connections to the server, each sending one message after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gateway.errors import Disposition
from gateway.inbox import Inbox
from gateway.mail import MailSender, MailSettings
from gateway.model import Message
from gateway.providers.contract import PUT_BACK, Failure, Unsendable
from gateway.providers.http_answer import HttpAnswer, Refusal

log = logging.getLogger("gateway.mail")


class MailPort:
    """What a bind is over SMPP. `start` once, `close` once; a lost connection is made anew with the next message."""

    def __init__(
        self,
        lane: str,
        account: str,
        settings: MailSettings,
        connections: int,
        drain_s: float,
        inbox: Inbox,
        on_bound: Callable[[], None],
    ) -> None:
        self.lane = lane
        self.account = account
        self._settings = settings
        self._window = connections
        self._drain_s = drain_s
        self._inbox = inbox
        self._on_bound = on_bound
        self._queue: deque[tuple[Message, Any]] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()
        self._working = 0  # of the workers, those that are not about to end
        self._open = False
        self.in_flight = 0
        """Messages taken and not answered."""

    @property
    def room(self) -> int:
        return max(0, self._window - self.in_flight) if self._open else 0

    @property
    def bound(self) -> bool:
        return self._open

    @property
    def down_reason(self) -> str:
        return "" if self._open else "not started, or closed"

    def abort(self) -> None:
        """Nothing: nobody counts the connections of a lane like this."""

    def start(self, after: float = 0.0) -> None:
        self._open = True
        self.set_window(self._window)
        self._on_bound()
        self._inbox.wake.set()

    def set_window(self, window: int) -> None:
        """Change how many connections there are; one too many is given up once the server has answered to its mail."""
        self._window = window
        while self._open and self._working < window:
            self._working += 1
            worker = asyncio.create_task(self._work(), name=f"mail {self.lane}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        self._filled.set()

    def submit(self, messages: list[tuple[Message, Any]]) -> None:
        self.in_flight += len(messages)
        self._queue.extend(messages)
        self._filled.set()

    async def close(self) -> None:
        """Put back what is not begun, wait for the rest up to `drain_s`; what nobody answered is in the inbox then."""
        self._open = False
        while self._queue:
            self._answer(Refusal(self._queue.pop()[1], "", PUT_BACK))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                while self.in_flight:
                    self._empty.clear()
                    await self._empty.wait()
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers)

    async def _work(self) -> None:
        sender = MailSender(self._settings)
        try:
            while self._working <= self._window:
                if self._queue:
                    await self._carry(sender, *self._queue.popleft())
                else:
                    self._filled.clear()
                    await self._filled.wait()
        finally:
            self._working -= 1
            await sender.close()

    async def _carry(self, sender: MailSender, message: Message, context: Any) -> None:
        try:
            result = await sender.send(message, time.time())
        except Unsendable as error:
            result = Failure(Disposition.REJECTED, error.code, error.text)
        except asyncio.CancelledError:
            self._in_doubt(context)
            raise
        except Exception as error:  # a bug: neither the message nor those after it must hang for it
            # Its words may quote a message.
            log.critical("a mail broke lane=%s error=%s", self.lane, type(error).__name__)
            disposition = Disposition.UNKNOWN if sender.written else Disposition.REJECTED
            result = Failure(disposition, "internal", "an error of the gateway's own, see its log")
        if not isinstance(result, Failure):
            self._answer(HttpAnswer(context, result.id))
        elif result.disposition is Disposition.UNKNOWN:
            self._in_doubt(context)
        else:
            self._answer(HttpAnswer(context, "", result))

    def _answer(self, answer: HttpAnswer) -> None:
        self._inbox.answers.append([answer])
        self._landed()

    def _in_doubt(self, context: Any) -> None:
        self._inbox.unanswered.append(context)
        self._landed()

    def _landed(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._empty.set()
        self._inbox.wake.set()
