"""What goes wrong during a soak: each fault happens, is over after a while, and says when that was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping

import psutil

from benchmarks.apache import ApacheKafka
from benchmarks.site import Site
from benchmarks.support import Gateway
from gateway.embedded import EmbeddedBroker, Server
from smpp.constants import CommandStatus

Fault = Callable[[Site, Gateway], Awaitable[None]]
"""Returns when it is over: from then on everything is there again, and the gateway has to find its way back."""


class Missed(Exception):
    """A fault that did not happen."""


_AWAY_S = 2.0
"""How long whatever goes away stays away."""
_VICTIM = 1
"""The worker that is killed. The first one lives as long as the soak: its memory is the one to look at."""


async def disconnect(here: Site, gateway: Gateway) -> None:
    """The SMSC cuts all binds without a word, with what is in flight on them."""
    await here.control.call("drop")


async def throttle(here: Site, gateway: Gateway) -> None:
    """The SMSC refuses everything for a while with ESME_RTHROTTLED."""
    await _behave(here, errors={str(int(CommandStatus.ESME_RTHROTTLED)): 1.0})
    await asyncio.sleep(_AWAY_S)
    await _behave(here, errors={})


async def restart_store(here: Site, gateway: Gateway) -> None:
    """The store is killed, and started again with what it had written down."""
    await _restart(here.store, _AWAY_S)


async def restart_broker(here: Site, gateway: Gateway) -> None:
    """The broker is killed and started again at once, which takes Apache Kafka some seconds of its own."""
    assert here.broker is not None
    await _restart(here.broker, 0.0)


async def freeze_broker(here: Site, gateway: Gateway) -> None:
    """The broker stands still: instead of a restart for one that keeps everything in memory."""
    assert here.broker is not None
    os.kill(here.broker.pid, signal.SIGSTOP)
    await asyncio.sleep(_AWAY_S)
    os.kill(here.broker.pid, signal.SIGCONT)


async def kill_worker(here: Site, gateway: Gateway) -> None:
    """kill -9 of a worker; whoever supervises starts it again after a second. Raises `Missed` if it is down already."""
    try:
        gateway.workers()[_VICTIM].kill()
    except (KeyError, psutil.NoSuchProcess):
        raise Missed from None


def of(here: Site) -> Mapping[str, Fault]:
    """Every fault that can be made here, by name, in the order in which they happen."""
    faults: dict[str, Fault] = {"worker killed": kill_worker, "SMSC disconnects": disconnect}
    if isinstance(here.broker, ApacheKafka):
        faults["broker restarts"] = restart_broker
    elif isinstance(here.broker, EmbeddedBroker):
        faults["broker stands still"] = freeze_broker
    return faults | {"SMSC throttles": throttle, "store restarts": restart_store}


async def _behave(here: Site, **changes: object) -> None:
    for account in here.config.lanes:
        await here.control.call("behaviour", system_id=account, changes=changes)


async def _restart(server: Server, away_s: float) -> None:
    server.kill()
    await asyncio.sleep(away_s)
    await server.__aenter__()


class Calamities:
    """Makes faults happen, one after the other, at equal distances; `log` has what happened when, in Unix seconds."""

    def __init__(self, here: Site, gateway: Gateway, faults: Mapping[str, Fault], every_s: float) -> None:
        self._here = here
        self._gateway = gateway
        self._faults = list(faults.items())
        self._every_s = every_s
        self.log: list[tuple[str, float, float]] = []
        """Name, when it began and when it was over."""

    async def run(self, until: Callable[[], bool]) -> None:
        """Go on until something holds; a fault that has begun is brought to its end."""
        started = asyncio.get_running_loop().time()
        number = 0
        while True:
            due = started + (number + 1) * self._every_s
            while (left := due - asyncio.get_running_loop().time()) > 0:
                if until():
                    return
                await asyncio.sleep(min(left, 0.5))
            if until():
                return
            name, fault = self._faults[number % len(self._faults)]
            began = time.time()
            with contextlib.suppress(Missed):
                await fault(self._here, self._gateway)
                self.log.append((name, began, time.time()))
            number += 1
