"""When messages arrived at the simulated operator, and how well that could be seen from here."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil

from smpp.simulator import Account

_LOOK_S = 0.001


class Stalls:
    """How long the loop, in which the simulator reads and notes, stood still at the longest: then arrivals seem bunched."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            before = now()
            await asyncio.sleep(_LOOK_S)
            self.longest_s = max(self.longest_s, now() - before - _LOOK_S)


@asynccontextmanager
async def looking_closely() -> AsyncIterator[Stalls]:
    """Measure stalls, and have none for garbage: a pass over all that a test session has loaded takes a tenth of a second."""
    gc.collect()
    gc.freeze()
    stalls = Stalls()
    watching = asyncio.create_task(stalls.watch(), name="stalls")
    try:
        yield stalls
    finally:
        watching.cancel()
        gc.unfreeze()


def times(account: Account, wanted: Callable[[str], bool] = bool) -> list[float]:
    """When each part arrived, refused ones too (loop time, ascending); only of recipients that are `wanted`, given as `+57…`."""
    return [one.at for one in account.record.arrivals if wanted(f"+{one.request.destination_addr}")]


def reaching(account: Account, parts: float, seconds: float = 1.0, *, begin: int = 0) -> Callable[[], bool]:
    """Make a condition: so many parts have arrived within so many seconds, those before number `begin` not counted."""
    arrivals = account.record.arrivals
    behind = ceil(parts) - 1
    last = begin + behind

    def reached() -> bool:
        nonlocal last
        while last < len(arrivals):
            if arrivals[last].at - arrivals[last - behind].at < seconds:
                return True
            last += 1
        return False

    return reached
