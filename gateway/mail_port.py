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
from gateway.http_lane_config import HttpSettings
from gateway.inbox import Inbox
from gateway.mail import MailSender, MailSettings, Unreachable
from gateway.model import Message
from gateway.providers.contract import PUT_BACK, Failure, Unsendable
from gateway.providers.http_answer import HttpAnswer, Refusal
from gateway.providers.http_grant import backoff

log = logging.getLogger("gateway.mail")


class MailPort:
    """What a bind is over SMPP. `start` once, `close` once; a lost connection is made anew with the next message.

    While no connection can be made it is down: it takes nothing, and looks with growing pauses whether that is over.
    """

    def __init__(
        self,
        lane: str,
        account: str,
        settings: MailSettings,
        http: HttpSettings,
        inbox: Inbox,
        on_bound: Callable[[], None],
    ) -> None:
        self.lane = lane
        self.account = account
        self._settings = settings
        self._http = http
        self._window = http.concurrency
        self._inbox = inbox
        self._on_bound = on_bound
        self._queue: deque[tuple[Message, Any]] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()
        self._working = 0  # of the workers, those that are not about to end
        self._senders: set[MailSender] = set()  # of the workers, one each
        self._open = False
        self._down = ""  # why there is no connection, while one is looked for
        self.in_flight = 0
        """Messages taken and not answered."""

    @property
    def room(self) -> int:
        return max(0, self._window - self.in_flight) if self.bound else 0

    @property
    def bound(self) -> bool:
        return self._open and not self._down

    @property
    def down_reason(self) -> str:
        return self._down if self._open else "not started, or closed"

    def abort(self) -> None:
        """Nothing: nobody counts the connections of a lane like this."""

    def start(self, after: float = 0.0) -> None:
        self._open = True
        self.set_window(self._window)
        self._up()

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
        self._put_back()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._http.drain_s):
                while self.in_flight:
                    self._empty.clear()
                    await self._empty.wait()
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers)

    async def _work(self) -> None:
        sender = MailSender(self._settings)
        self._senders.add(sender)
        try:
            while self._working <= self._window:
                if self._queue:
                    await self._carry(sender, *self._queue.popleft())
                else:
                    self._filled.clear()
                    await self._filled.wait()
        finally:
            self._working -= 1
            self._senders.discard(sender)
            await sender.close()

    async def _carry(self, sender: MailSender, message: Message, context: Any) -> None:
        try:
            result = await sender.send(message, time.time())
        except Unsendable as error:
            result = Failure(Disposition.REJECTED, error.code, error.text)
        except Unreachable as error:
            await self._unreached(sender, context, error)
            return
        except asyncio.CancelledError:
            if sender.written:
                self._in_doubt(context)
            else:
                self._refuse(context, PUT_BACK)
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

    # What became of messages.

    def _put_back(self) -> None:
        """Hand back what is not begun. Whoever puts back puts in front: the last one first."""
        while self._queue:
            self._refuse(self._queue.pop()[1], PUT_BACK)

    def _refuse(self, context: Any, failure: Failure) -> None:
        self._answer(Refusal(context, "", failure))

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

    # Down and up.

    async def _unreached(self, sender: MailSender, context: Any, error: Unreachable) -> None:
        if any(other.connected for other in self._senders):
            # One too many for the server: the others go on, and the lane gives way.
            self._refuse(context, Failure(Disposition.THROTTLED, error.code, str(error)))
            return
        self._refuse(context, PUT_BACK)
        if self.bound:
            self._down = str(error)
            self._put_back()
            await self._recover(sender)

    async def _recover(self, sender: MailSender) -> None:
        """Look whether there can be a connection, one attempt at a time and without a message."""
        failures = 0
        while self._down:
            failures += 1
            delay = backoff(self._http, failures)
            log.warning(
                "lane cannot be reached lane=%s host=%s reason=%r retry_in_s=%.2f",
                *(self.lane, self._settings.host, self._down, delay),
            )
            await asyncio.sleep(delay)
            self._down = await self._probe(sender)
        self._up()

    async def _probe(self, sender: MailSender) -> str:
        """Say why there is no connection, empty when there is one: of another worker too, which was making it meanwhile."""
        if not any(other.connected for other in self._senders):
            try:
                await sender.open()  # if it says that a person has to look, the next message hears it too
            except Unreachable as error:
                return str(error)
        return ""

    def _up(self) -> None:
        if self.bound:
            self._on_bound()
            self._inbox.wake.set()
