"""The credential of a lane whose provider gives one for some time (OAuth 2): fetched first, renewed before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from gateway.errors import Disposition
from gateway.http_lane_config import HttpSettings
from gateway.providers.contract import Failure, Grant, Provider
from gateway.providers.http_client import BadURL, HttpClient, NoAnswer, NotSent

log = logging.getLogger("gateway.http")

_RENEW_AT = 0.8
"""Of a grant's life: what is left is for a server that is away for a while."""
_LOOK_S = 5.0
"""How often it is seen whether the grant has ended after all: when is the wall clock's to say, and that may be set."""


def backoff(settings: HttpSettings, failures: int) -> float:
    """Seconds until the next attempt after so many failures in a row: exponential with full jitter."""
    ceiling = min(settings.reconnect_max_s, settings.reconnect_min_s * 2.0 ** min(failures - 1, 16))
    return random.random() * ceiling


class Grants:
    """The grant that all slots of a lane in this process share. One task asks for it, whoever wants one waits for that.

    Whoever uses it says so with `open` and, as often, `close`; it asks while anybody does.
    """

    def __init__(self, lane: str, provider: Provider, client: HttpClient, settings: HttpSettings) -> None:
        self._lane = lane
        self._provider = provider
        self._client = client
        self._settings = settings
        self._grant: Grant | None = None
        self._failure: Failure | None = None  # of the last time that we asked
        self._wanted = asyncio.Event()  # at once, not only in its time
        self._asked: asyncio.Future[None] | None = None  # until the next answer
        self._users: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self.needed = False

    @property
    def token(self) -> str:
        """What requests carry: empty while there is no valid grant, and for a provider that gives none."""
        grant = self._grant
        return grant.token if grant is not None and grant.until > time.time() else ""

    @property
    def reason(self) -> str:
        """Why there is no grant."""
        return f"grant: {self._failure.code}" if self._failure else "grant: none yet"

    def open(self, on_valid: Callable[[], None]) -> None:
        """Begin to keep a grant; `on_valid` is called when there is one after there was none."""
        self._users.append(on_valid)
        if self._task is None and self._provider.grant(time.time()) is not None:
            self.needed = True
            self._asked = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._keep(), name=f"grants {self._lane}")

    async def close(self, on_valid: Callable[[], None]) -> None:
        self._users.remove(on_valid)
        if not self._users and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait((task,))

    async def renew(self, used: str) -> Failure | None:
        """Replace a token that was refused; None once there is another, or why there is none.

        One that was fetched since is not asked for again, and what has just failed is asked for in its own time.
        """
        if self._grant is not None and self._grant.token != used:
            return None
        self._grant = None
        if self._failure is None and self._asked is not None:
            self._wanted.set()
            await asyncio.shield(self._asked)
        return self._failure

    async def _keep(self) -> None:
        failures = 0
        while True:
            had = bool(self.token)
            self._failure = await self._ask()
            self._wanted.clear()
            asked, self._asked = self._asked, asyncio.get_running_loop().create_future()
            assert asked is not None
            asked.set_result(None)
            if self._failure is None:
                failures = 0
                for on_valid in () if had else self._users:
                    on_valid()
                assert self._grant is not None
                left = self._grant.until - time.time()
                delay = max(self._settings.reconnect_min_s, left * _RENEW_AT)
            else:
                failures += 1
                delay = self._patience(self._failure, failures)
                refused = self._failure.disposition is Disposition.STOP
                log.log(
                    logging.ERROR if refused else logging.WARNING,
                    "no grant lane=%s code=%s retry_in_s=%.2f",
                    *(self._lane, self._failure.code, delay),
                )
            await self._rest(delay)

    async def _rest(self, delay: float) -> None:
        """Return after so long, or as soon as a grant is wanted or has ended."""
        end = time.monotonic() + delay
        while not self._wanted.is_set() and (left := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await self._wanted.wait()
            if self._failure is None and not self.token:
                return

    async def _ask(self) -> Failure | None:
        """Ask for a grant, once. No message is at stake: whatever went wrong, it can be asked again."""
        provider = self._provider
        call = provider.grant(time.time())
        assert call is not None
        try:
            given = provider.granted(await self._client.send(call), time.time())
        except NotSent as error:
            return Failure(Disposition.RETRY, "connect", str(error))
        except NoAnswer as error:
            return Failure(Disposition.RETRY, "no-answer", str(error))
        except BadURL as error:
            return Failure(Disposition.STOP, "url", str(error))
        if isinstance(given, Failure):
            return given
        self._grant = given
        return None

    def _patience(self, failure: Failure, failures: int) -> float:
        """Seconds to the next attempt. Credentials that are refused do not mend themselves: accounts get locked by knocking."""
        if failure.disposition is Disposition.STOP:
            return self._settings.reconnect_max_s * (0.5 + random.random() / 2)
        return max(failure.after or 0.0, backoff(self._settings, failures))
