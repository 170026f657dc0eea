"""A slot of a lane over HTTP: what a bind is over SMPP. Takes messages, makes requests, puts what became of them in the inbox.

There is no task per message: as many workers as there may be requests at a time take from one queue. A provider that takes
several messages at once gets what is waiting then; nothing waits for company.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace
from yarl import URL

from gateway.errors import Disposition
from gateway.http_lane_config import HttpSettings
from gateway.inbox import Inbox
from gateway.model import Message
from gateway.providers.contract import (
    PUT_BACK,
    Directory,
    Failure,
    Provider,
    Reply,
    Result,
    Scope,
    Unsendable,
    storable,
)
from gateway.providers.http_answer import HttpAnswer, Refusal
from gateway.providers.http_client import BadURL, HttpClient, NoAnswer, NotSent
from gateway.providers.http_grant import Grants, backoff
from gateway.providers.http_queue import Taken, Waiting
from gateway.providers.http_reach import UNREACHABLE, Reach

log = logging.getLogger("gateway.http")

_NO_ANSWER = Failure(Disposition.UNKNOWN, "no-answer")
_WRONG_NUMBER = (Disposition.REROUTE, Scope.RECIPIENT)
_MOST_ID = 512
"""Characters of a provider's id, which is a key of the store and stands in events. None that a callback may say is longer."""
_GATHER_S = 0.01
"""The most that an answer waits for others. A turn of the dispatcher costs as much for one as for ten, and a request takes far
longer; but no answer waits once half of what was under way is answered, so the last one never does."""
_SILENCES = 5
"""Requests in a row of which nobody knows what became, after which a port asks one at a time. Of a provider that fails now and
then so many are rare; of one that is away they are what it costs, besides those that were under way."""


class HttpLane:
    """What all slots of a lane in this process share: its connections, its grant, its provider and whom that reaches.

    `slots` are those of the lane in all processes.
    """

    def __init__(self, name: str, account: str, provider: Provider, settings: HttpSettings, slots: int = 1) -> None:
        self.name = name
        self.account = account
        self.provider = provider
        self.settings = settings
        self.client = HttpClient(name, settings)
        self.grants = Grants(name, provider, self.client, settings)
        directory: Directory | None = getattr(provider, "directory", None)
        self.reach = Reach(name, directory, self.client, self.grants, settings, slots) if directory else None


class HttpPort:
    """See the module. `start` once, `close` once.

    While its provider cannot be reached it is down: it takes nothing, and looks with growing pauses whether that is over. So it
    is when the answers say nothing; but that is over when one does, and for this it takes a message after each pause, and is down
    while that is not answered. With none to take it counts as up: else it would be given none once its messages went elsewhere.
    """

    def __init__(self, shared: HttpLane, inbox: Inbox, on_bound: Callable[[], None]) -> None:
        self.lane = shared.name
        self.account = shared.account
        self._shared = shared
        self._provider = shared.provider
        self._client = shared.client
        self._grants = shared.grants
        self._reach = shared.reach
        self._settings = shared.settings
        self._inbox = inbox
        self._on_bound = on_bound
        self._window = shared.settings.concurrency * shared.provider.batch
        self._waiting = Waiting(shared.provider.batch)
        self._unsure: list[Taken] = []  # the provider is asked whether it reaches them
        self._idle: list[asyncio.Future[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._answers: list[HttpAnswer] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._open = False
        self._empty = asyncio.Event()
        self._recovery: asyncio.Task[None] | None = None
        self._failures = 0  # to connect, since there was an answer
        self._silences = 0  # requests in a row of which nobody knows what became
        self._silence = ""  # why it asks one at a time, while it does
        self._resting: asyncio.TimerHandle | None = None
        self._down = "not started yet"
        self.in_flight = 0
        """Messages taken and not answered."""

    @property
    def room(self) -> int:
        """Messages that `submit` takes now."""
        window = 1 if self._silence else self._window
        return max(0, window - self.in_flight) if self.bound else 0

    @property
    def bound(self) -> bool:
        silent = self._resting is not None or (self._silence and self.in_flight)
        reachable = self._open and self._recovery is None and not silent
        return reachable and (not self._grants.needed or bool(self._grants.token))

    @property
    def down_reason(self) -> str:
        if self.bound:
            return ""
        return self._down or self._silence or self._grants.reason

    def abort(self) -> None:
        """Nothing: nobody counts the connections of a lane like this."""

    def start(self, after: float = 0.0) -> None:
        self._open = True
        self._down = ""
        self._client.open()
        self._grants.open(self._up)
        if self._reach is not None:
            self._reach.open(self._told)
        self.set_window(self._window)
        self._up()

    def set_window(self, window: int) -> None:
        """Change how many messages may be unanswered; a smaller one drains by itself."""
        self._window = window
        while self._open and len(self._workers) * self._provider.batch < window:
            name = f"http {self.lane} {len(self._workers)}"
            self._workers.append(asyncio.create_task(self._work(), name=name))

    def submit(self, messages: list[Taken]) -> None:
        """Take messages, at most `room`, to be written as soon as there is a worker for them."""
        assert len(messages) <= self.room
        self.in_flight += len(messages)
        self._line_up(self._reached(messages))

    async def close(self) -> None:
        """Put back what is not written, wait for the answers to what is, disconnect.

        What nobody answered within `drain_s` is in the inbox when this returns. Cancelling it leaves the workers at work.
        """
        self._open = False
        self._down = "closed"
        self._rested()
        self._put_back()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                while self.in_flight:
                    self._empty.clear()
                    await self._empty.wait()
        tasks = [task for task in (*self._workers, self._recovery) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._reach is not None:
            await self._reach.close(self._told)
        await self._grants.close(self._up)
        await self._client.close()
        self._flush()

    # The workers.

    async def _work(self) -> None:
        waiting = self._waiting
        loop = asyncio.get_running_loop()
        while True:
            while not waiting:
                idle = loop.create_future()
                self._idle.append(idle)
                await idle
            taken = waiting.take()
            try:
                await self._carry(taken)
            except asyncio.CancelledError:
                self._in_doubt(taken)
                raise

    async def _carry(self, taken: list[Taken]) -> None:
        """See messages through: every one of them is answered or in doubt when this returns, and none when it raises."""
        messages = [message for message, _ in taken]
        try:
            results = await self._granted(messages)
        except Unsendable as error:
            self._sift(taken, error)
        except NotSent as error:
            self._refuse(taken, Failure(Disposition.RETRY, "connect", after=self._settings.reconnect_min_s))
            self._go_down(str(error), error.origin)
        except NoAnswer:
            self._in_doubt(taken)
        except BadURL as error:
            self._refuse(taken, Failure(Disposition.STOP, "url", str(error)))
        except Exception as error:  # a bug: the messages must not hang for it
            self._broke(error)
            self._in_doubt(taken)
        else:
            self._settle(taken, results)

    async def _granted(self, messages: list[Message]) -> Sequence[Result]:
        """Make a request with the lane's grant, if it has one; a 401 was not accepted, and asks for a new one."""
        provider = self._provider
        grants = self._grants
        if not grants.needed:
            return provider.read(messages, await self._sent(messages, ""))
        token = grants.token
        if not token:
            return [PUT_BACK] * len(messages)
        reply = await self._sent(messages, token)
        if reply.status == 401:
            failure = await grants.renew(token)
            if failure is not None:
                return [failure if failure.disposition is Disposition.STOP else PUT_BACK] * len(messages)
            reply = await self._sent(messages, grants.token)
        return provider.read(messages, reply)

    async def _sent(self, messages: list[Message], token: str) -> Reply:
        try:
            call = self._provider.call(messages, token, time.time())
        except Exception as error:
            raise self._unsendable(error) from None
        reply = await self._client.send(call)
        self._failures = 0
        return reply

    def _unsendable(self, error: Exception) -> Unsendable:
        """Say of an error in making a request why it cannot be sent; all but `Unsendable` is a bug."""
        if isinstance(error, Unsendable):
            return error
        self._broke(error)
        return Unsendable("internal", "no request can be made of it")

    def _broke(self, error: Exception) -> None:
        # Its words may quote a message.
        log.critical("a provider broke lane=%s error=%s", self.lane, type(error).__name__)

    def _reached(self, messages: list[Taken]) -> list[Taken]:
        """Return what can be written now: whom the provider does not reach is refused, whom it is asked about stays here."""
        if self._reach is None:
            return messages
        said = [(taken, self._reach.of(taken[0].to)) for taken in messages]
        self._unsure += [taken for taken, known in said if known is None]
        self._refuse([taken for taken, known in said if known is False], UNREACHABLE)
        return [taken for taken, known in said if known]

    def _told(self) -> None:
        """Look again at those about whom the provider was asked. Who may be written to comes again at the lane's rate.

        The tokens of all of them were taken while nobody knew: together they would be more than the contract has in a second.
        """
        unsure, self._unsure = self._unsure, []
        self._refuse(self._reached(unsure)[::-1], PUT_BACK)

    def _line_up(self, messages: list[Taken]) -> None:
        """Let messages wait in the company that they may share a request with, and wake who makes the requests."""
        waiting = self._waiting
        if self._provider.batch == 1:
            for taken in messages:
                waiting.add(None, taken)
        else:
            for taken in messages:
                try:
                    group = self._provider.group(taken[0])
                except Exception as error:
                    self._refuse([taken], _rejected(self._unsendable(error)))
                else:
                    waiting.add(group, taken)
        idle = self._idle
        wanted = waiting.requests
        while wanted and idle:
            worker = idle.pop()
            if not worker.done():
                worker.set_result(None)
                wanted -= 1

    # What became of messages.

    def _settle(self, taken: list[Taken], results: Sequence[Result]) -> None:
        if len(results) != len(taken):
            log.critical("results do not match their messages lane=%s", self.lane)
            self._in_doubt(taken)
            return
        unknown: list[Failure] = []
        for (message, context), result in zip(taken, results, strict=True):
            if not isinstance(result, Failure):
                self._answer(HttpAnswer(context, result.id[:_MOST_ID]))
            elif result.disposition is Disposition.UNKNOWN:
                self._doubt(context, result)
                unknown.append(result)
            else:
                if self._reach is not None and (result.disposition, result.scope) == _WRONG_NUMBER:
                    self._reach.refused(message.to)
                self._answer(HttpAnswer(context, "", result))
        self._landed(len(taken))
        if len(unknown) == len(taken):
            self._fall_silent(unknown[0])
        else:
            self._silences = 0
            self._silence = ""
            self._rested()

    def _refuse(self, taken: Sequence[Taken], failure: Failure) -> None:
        for _, context in taken:
            self._answer(Refusal(context, "", failure))
        self._landed(len(taken))

    def _in_doubt(self, taken: Sequence[Taken]) -> None:
        for _, context in taken:
            self._doubt(context, _NO_ANSWER)
        self._landed(len(taken))
        self._fall_silent(_NO_ANSWER)

    def _doubt(self, context: Any, why: Failure) -> None:
        """Nobody knows what became of a message: its class decides.

        Where sending it again cannot reach the person twice there is nothing to decide: it is tried again, after a while.
        """
        if self._provider.idempotent:
            self._answer(HttpAnswer(context, "", replace(why, disposition=Disposition.RETRY, doubtful=True)))
        else:
            self._inbox.unanswered.append(context)
            self._inbox.wake.set()

    def _sift(self, taken: list[Taken], error: Unsendable) -> None:
        """Refuse what cannot be sent and let the others wait again: one message must not fail its company."""
        sendable = []
        for one in taken:
            try:
                self._provider.prepare(one[0])
            except Exception as why:
                self._refuse([one], _rejected(self._unsendable(why)))
            else:
                sendable.append(one)
        if len(sendable) < len(taken):
            self._line_up(sendable)
        else:
            self._refuse(taken, _rejected(error))

    def _put_back(self) -> None:
        """Hand back what is not written. Whoever puts back puts in front: the last one first."""
        unsure, self._unsure = self._unsure, []
        self._refuse([*self._waiting.clear(), *unsure][::-1], PUT_BACK)

    def _answer(self, answer: HttpAnswer) -> None:
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER_S, self._flush)
        self._answers.append(answer)

    def _flush(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
            for kind in (HttpAnswer, Refusal):
                if batch := [answer for answer in self._answers if type(answer) is kind]:
                    self._inbox.answers.append(batch)
            self._answers = []
            self._inbox.wake.set()

    def _landed(self, count: int) -> None:
        self.in_flight -= count
        if self.in_flight <= len(self._answers):
            self._flush()
        if not self.in_flight:
            self._empty.set()

    # Down and up.

    def _go_down(self, reason: str, origin: URL) -> None:
        if self._open and self._recovery is None:
            self._down = reason
            self._put_back()
            self._recovery = asyncio.create_task(self._recover(reason, origin), name=f"recovery {self.lane}")

    async def _recover(self, reason: str, origin: URL) -> None:
        """Look whether the provider can be reached, one attempt at a time and without a message."""
        while reason:
            self._down = reason
            self._failures += 1
            delay = backoff(self._settings, self._failures)
            log.warning(
                "lane cannot be reached lane=%s host=%s reason=%r retry_in_s=%.2f",
                *(self.lane, origin.raw_host, reason, delay),
            )
            await asyncio.sleep(delay)
            reason = await self._client.probe(origin)
        self._down = ""
        self._recovery = None
        self._up()

    def _fall_silent(self, why: Failure) -> None:
        """Note a request of which nobody knows what became; after some in a row, rest for a while, and each time for longer."""
        if not self._open or self._resting is not None:
            return
        self._silences += 1
        if self._silences < _SILENCES:
            return
        settings = self._settings
        delay = settings.reconnect_min_s + backoff(settings, self._silences - _SILENCES + 1)
        code = storable(why).code
        self._silence = f"silent: {code}"
        self._resting = asyncio.get_running_loop().call_later(delay, self._rested)
        self._put_back()
        log.warning("answers say nothing lane=%s code=%s retry_in_s=%.2f", self.lane, code, delay)

    def _rested(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
            self._inbox.wake.set()

    def _up(self) -> None:
        if self.bound:
            self._on_bound()
            self._inbox.wake.set()


def _rejected(error: Unsendable) -> Failure:
    return Failure(Disposition.REJECTED, error.code, error.text)
