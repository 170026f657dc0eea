"""When messages arrived at the simulated operator, and how well that could be seen from here."""

from __future__ import annotations

import asyncio
import gc
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

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


def per_second(moments: Sequence[float], begin: float, end: float) -> float:
    """How many there were a second on average from `begin` until `end`."""
    return (bisect_left(moments, end) - bisect_left(moments, begin)) / (end - begin)
