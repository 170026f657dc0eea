"""What the worker shows over HTTP, and what it can be asked for; on the loopback interface unless configured otherwise.

Looking needs no token, since nothing here tells of people. Doing needs one, and leaves a line in the log, also when refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, GCCollector, ProcessCollector, generate_latest

from gateway import status
from gateway.admin import Ask, Key, in_words
from gateway.config import Admin
from gateway.errors import StoreUnavailable
from gateway.log import ALWAYS
from gateway.metrics.collect import WorkerCollector
from gateway.metrics.machinery import Backlog, LoopLag

if TYPE_CHECKING:
    from gateway.app import Worker

log = logging.getLogger("gateway.admin")

_BODY = 4096
"""Octets: an action says no more than a number."""
_BODY_S = 5.0
_LINGER_S = 0.5
"""For the rest of a body that nobody waits for any more."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Rate(Struct, frozen=True, forbid_unknown_fields=True):
    rate: float | None
    """Parts per second; None is the contract's."""


class _Refused(Exception):
    """An action that is not done: status and reason."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class AdminServer:
    """`/metrics` for Prometheus, `/lanes` for `recado top`; `/healthz` says that it has started and runs, `/readyz` that it
    carries messages: until then, and while it cannot, why not.

    `drain` stops the process as SIGTERM does, but for a signal that comes before or after it: that is not the second.
    """

    def __init__(
        self,
        admin: Admin,
        worker: Worker,
        *,
        drain: Callable[[], None] = lambda: signal.raise_signal(signal.SIGQUIT),
    ) -> None:
        self._admin = admin
        self._worker = worker
        self._drain = drain
        self._backlog = Backlog(*worker.consumers)
        self._lag = LoopLag()
        self._looking: asyncio.Task[None] | None = None
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(WorkerCollector(worker, self._backlog, self._lag))
        self._runner: web.AppRunner | None = None
        self._draining = False

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        application = web.Application(client_max_size=_BODY)
        pause = "{what:pause|resume}"
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/lanes", self._lanes),
                web.post(f"/lanes/{{lane}}/{pause}", self._guarded(self._pause_lane)),
                web.post("/lanes/{lane}/rate", self._guarded(self._rate)),
                web.post(f"/templates/{{lane}}/{{name}}/{{language}}/{pause}", self._guarded(self._pause_template)),
                # Who publishes without a tenant has an empty one; without a pattern a name may have no braces.
                web.post(
                    f"/campaigns/{{tenant:[^/]*}}/{{campaign:[^/]+}}/{pause}", self._guarded(self._pause_campaign)
                ),
                web.post("/drain", self._guarded(self._stop)),
            ]
        )
        self._looking = asyncio.create_task(self._lag.run(), name="loop lag")
        self._runner = web.AppRunner(application, access_log=None, lingering_time=_LINGER_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._admin.host, self._admin.port).start()

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        """At which it listens: for a configured 0, any that was free."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    # Looking.

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._backlog.look()
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        # A rollout must not go on to the next process while this one has no part in the lanes.
        if not self._worker.started:
            return web.Response(status=503, text="starting\n")
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        problems = ["draining"] if self._draining else self._worker.problems()
        if problems:
            return web.Response(status=503, text="".join(f"{problem}\n" for problem in problems))
        return web.Response(text="ready\n")

    async def _lanes(self, request: web.Request) -> web.Response:
        await self._backlog.look()
        read = status.read(self._worker, self._backlog, time.time(), time.monotonic())
        return web.Response(body=msgspec.json.encode(read), content_type="application/json")

    # Doing.

    async def _pause_lane(self, request: web.Request) -> None:
        await self._pause(request, "lane", request.match_info["lane"])

    async def _pause_template(self, request: web.Request) -> None:
        path = request.match_info
        await self._pause(request, "template", path["lane"], path["name"], path["language"])

    async def _pause_campaign(self, request: web.Request) -> None:
        await self._pause(request, "campaign", request.match_info["tenant"], request.match_info["campaign"])

    async def _pause(self, request: web.Request, *key: str) -> None:
        controls = self._worker.controls
        resumed = request.match_info["what"] == "resume"
        if resumed:
            with _promised():
                await controls.look()
            if key in controls.paused:  # of a lane that is gone since, too
                await self._ask(key, None)
                return
        if key[0] != "campaign":
            self._lane(request)
        if resumed:
            paused = ", ".join(map(in_words, sorted(controls.paused)))
            raise _Refused(404, f"nobody has paused it; paused: {paused or 'nothing'}")
        # Asked twice, it still counts from the first time; and it is written again, since others may have taken it back.
        await self._ask(key, controls.asked.get(key, Ask(time.time())))

    async def _rate(self, request: web.Request) -> None:
        lane = self._lane(request)
        try:
            async with asyncio.timeout(_BODY_S):
                body = await request.read()
            rate = msgspec.json.decode(body, type=_Rate).rate
        except TimeoutError as error:
            raise _Refused(408, f"the body was not here within {_BODY_S:g} s") from error
        except web.HTTPRequestEntityTooLarge as error:
            raise _Refused(413, "the body is too large") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refused(400, 'the body is not {"rate": <number or null>}') from error
        contract = self._worker.lanes[lane].config.rate
        if rate is not None and not 0 <= rate <= contract:
            raise _Refused(400, f"the contract is {contract:g} parts per second: more than it is for the configuration")
        await self._ask(("rate", lane), None if rate is None else Ask(time.time(), rate))

    async def _stop(self, request: web.Request) -> None:
        if not self._draining:
            self._draining = True
            # After the answer to this request.
            asyncio.get_running_loop().call_later(0.1, self._drain)

    async def _ask(self, key: Key, ask: Ask | None) -> None:
        with _promised():
            await self._worker.controls.change(key, ask)

    def _lane(self, request: web.Request) -> str:
        lane = request.match_info["lane"]
        if lane not in self._worker.lanes:
            raise _Refused(404, f"there is no lane {lane}")
        return lane

    def _guarded(self, action: Callable[[web.Request], Awaitable[None]]) -> _Handler:
        """Do it for who has the token, and write down who asked for what."""

        async def guarded(request: web.Request) -> web.Response:
            try:
                self._check_token(request)
                await action(request)
            except _Refused as refused:
                code, result = refused.code, str(refused)
            else:
                code, result = 200, "done"
            name = request.path.rpartition("/")[2]
            self._worker.controls.counts[name, "done" if code == 200 else "refused"] += 1
            stranger = code in (401, 403)  # who has no token could fill a disk, were each of his paths another line
            log.warning(
                "action path=%s remote=%s status=%d result=%r",
                f"*/{name}" if stranger else request.raw_path,
                request.remote,
                code,
                result,
                extra=None if stranger else ALWAYS,
            )
            headers = {"WWW-Authenticate": "Bearer"} if code == 401 else None
            return web.Response(status=code, text=f"{result}\n", headers=headers)

        return guarded

    def _check_token(self, request: web.Request) -> None:
        if not self._admin.token:
            raise _Refused(403, "no action without a token: set admin.token_env or admin.token_file")
        said = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(said, f"Bearer {self._admin.token.reveal()}".encode()):
            raise _Refused(401, "the token is missing or wrong")


@contextlib.contextmanager
def _promised() -> Iterator[None]:
    """Say that nothing was done where the store is away."""
    try:
        yield
    except StoreUnavailable as error:
        raise _Refused(503, "the store is away, ask again") from error
