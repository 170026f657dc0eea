"""Sends callbacks: what is due together goes together, and what is not taken is tried again, a bounded number of times."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

import aiohttp
from yarl import URL

from gateway.simulators.end import End, Post, Update
from smpp.simulator.agenda import Agenda

__all__ = ["Courier"]

_GATHER_S = 0.01
_CONNECTIONS = 16
_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_LONGEST_PAUSE_S = 600.0


class Courier:
    """Lives between `start` and `stop`; what was not delivered by then is forgotten."""

    def __init__(self) -> None:
        self._agenda: Agenda[tuple[End, Update]] = Agenda(_GATHER_S)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._posts: asyncio.Queue[tuple[End, Post, int]] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._retries: set[asyncio.TimerHandle] = set()

    async def start(self) -> None:
        self._workers = [asyncio.create_task(self._work(), name=f"courier-{n}") for n in range(_CONNECTIONS)]

    async def stop(self) -> None:
        for timer in (self._timer, *self._retries):
            if timer is not None:
                timer.cancel()
        for worker in self._workers:
            worker.cancel()
        for ended in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def plan(self, end: End, updates: Iterable[tuple[float, Update]], delay: float) -> None:
        """Report updates, each so many seconds after its answer, which comes after `delay`."""
        now = asyncio.get_running_loop().time() + delay
        for after, update in updates:
            self._agenda.add(now + after, (end, update))
            end.callbacks.planned += 1
        self._wake()

    def send(self, end: End, posts: Iterable[Post]) -> int:
        """Send callbacks at once; returns how many. Those to nowhere are left out."""
        count = 0
        for post in posts:
            if post.url:
                count += 1
                end.callbacks.planned += post.size
                self._posts.put_nowait((end, post, 1))
        return count

    def _wake(self) -> None:
        due = self._agenda.next_due
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_at(due, self._flush)

    def _flush(self) -> None:
        self._timer = None
        due: dict[int, tuple[End, list[Update]]] = {}
        for end, update in self._agenda.take(asyncio.get_running_loop().time()):
            due.setdefault(id(end), (end, []))[1].append(update)
        at = time.time()
        for end, updates in due.values():
            for post in end.reports(updates, at):
                self._posts.put_nowait((end, post, 1))
        self._wake()

    async def _work(self) -> None:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                end, post, attempt = await self._posts.get()
                callbacks = end.callbacks
                callbacks.posts += 1
                status = 0
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.post(
                        URL(post.url, encoded=True), data=post.body, headers=post.headers, allow_redirects=False
                    ) as response:
                        status = response.status
                        await response.read()
                how = end.script.behaviour
                if end.content(status):
                    callbacks.sent += post.size
                elif attempt >= how.callback_attempts or not end.tries_again(status):
                    callbacks.lost += post.size
                else:
                    callbacks.retried += post.size
                    pause = min(how.callback_retry_s * 2.0 ** (attempt - 1), _LONGEST_PAUSE_S)
                    self._retry(pause, end, post, attempt + 1)

    def _retry(self, pause: float, end: End, post: Post, attempt: int) -> None:
        def again() -> None:
            self._retries.discard(timer)
            self._posts.put_nowait((end, post, attempt))

        timer = asyncio.get_running_loop().call_later(pause, again)
        self._retries.add(timer)
