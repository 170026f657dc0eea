"""Never more people in 24 hours than the portfolio allows, and never fewer than it could: three processes against an oracle.

The processes share a real store and have a virtual clock, each a little wrong. They crash between reserving and writing and
between writing and confirming; calls run twice; what is delivered, when, and whether anybody hears of it is left to chance.
The oracle knows nothing but when whom a message reached.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from heapq import heappop, heappush
from random import Random

import pytest
from msgspec import Struct

from gateway.model import TrafficClass
from gateway.portfolio import DAY_MS, Portfolio, Wish
from gateway.store import Patience, Store

PEOPLE, LIMIT, BATCH = 10_000, 2_000, 100
SECOND = 1000
HOUR = 3600 * SECOND
START = 1_800_000_000_000


class Oracle:
    """Who was reached when."""

    def __init__(self) -> None:
        self.reached: list[tuple[int, str]] = []

    def most(self) -> int:
        """The most distinct people in any window of a day."""
        most = 0
        last: dict[str, int] = {}
        window: deque[tuple[int, str]] = deque()
        for at, person in sorted(self.reached):
            while window and window[0][0] <= at - DAY_MS:
                then, gone = window.popleft()
                if last[gone] == then:
                    del last[gone]
            window.append((at, person))
            last[person] = at
            most = max(most, len(last))
        return most


class Chances(Struct, frozen=True):
    """Of a message or a turn to meet each misfortune."""

    crash: float = 0.0
    twice: float = 0.0
    fails: float = 0.0
    lost: float = 0.0
    """Accepted, and never delivered."""
    silent: float = 0.0
    """Delivered soon, and nobody is ever told."""
    late: float = 0.0
    """Delivered after hours: a phone that was off."""


class Process:
    """One that has a third of the messages."""

    def __init__(self, portfolio: Portfolio, skew: int, queue: list[str]) -> None:
        self.portfolio = portfolio
        self.skew = skew
        self.queue = deque(queue)


class World:
    """Everything that happens, in its order."""

    def __init__(self, processes: list[Process], chances: Chances, random: Random) -> None:
        self.processes = processes
        self.chances = chances
        self.random = random
        self.oracle = Oracle()
        self.now = START
        self.most_used = 0
        self.events: list[tuple[int, int, str, int, str]] = []
        """When, a tie-breaker, what, which process, about whom."""

    def at(self, delay: int, what: str, process: int, person: str = "") -> None:
        heappush(self.events, (self.now + delay, self.random.getrandbits(60), what, process, person))

    def chance(self, of: float) -> bool:
        return self.random.random() < of

    async def run(self) -> None:
        for n in range(len(self.processes)):
            self.at(n * SECOND, "turn", n)
        while self.events:
            self.now, _, what, which, person = heappop(self.events)
            process = self.processes[which]
            now = self.now + process.skew
            if what == "turn":
                await self.turn(process, which, now)
            elif what == "reach":
                self.oracle.reached.append((self.now, person))
            elif what == "confirm":
                await process.portfolio.settle([(person, f"{person}/1")], [], now)
            else:
                await process.portfolio.settle([], [(person, f"{person}/1")], now)

    async def turn(self, process: Process, which: int, now: int) -> None:
        batch = [process.queue.popleft() for _ in range(min(BATCH, len(process.queue)))]
        if not batch:
            return
        wishes = [Wish(person, f"{person}/1", TrafficClass.BULK) for person in batch]
        answers = await process.portfolio.reserve(LIMIT, wishes, now)
        if self.chance(self.chances.twice):
            answers = await process.portfolio.reserve(LIMIT, wishes, now)
        self.most_used = max(self.most_used, process.portfolio.used)
        if self.chance(self.chances.crash):  # before the write: the next owner finds them where they were
            process.queue.extendleft(reversed(batch))
            self.at(self.random.randrange(HOUR), "turn", which)
            return
        # A crash after the write: what is to be heard of these is heard hours later.
        deaf = self.random.randrange(4 * HOUR) if self.chance(self.chances.crash) else 0
        waits = [answer.wait_s for answer in answers if answer.wait_s]
        for person, answer in zip(batch, answers, strict=True):
            if answer.wait_s:
                process.queue.append(person)
            else:
                assert answer.placed
                self.write(which, person, deaf)
        self.at(int(max(1.0, min(waits, default=0.0)) * SECOND), "turn", which)

    def write(self, which: int, person: str, deaf: int) -> None:
        random = self.random
        heard = deaf + random.randrange(10 * SECOND)
        if self.chance(self.chances.fails):
            self.at(heard, "release", which, person)
        elif not self.chance(self.chances.lost):
            late = self.chance(self.chances.late)
            reach = random.randrange(12 * HOUR) if late else random.randrange(300 * SECOND)
            self.at(reach, "reach", which, person)
            if late or not self.chance(self.chances.silent):
                self.at(reach + heard, "confirm", which, person)


async def simulate(store_url: str, namespace: str, chances: Chances, seed: int) -> World:
    random = Random(seed)
    async with AsyncExitStack() as stack:
        processes = []
        for n in range(3):
            store = Store(store_url)
            stack.push_async_callback(store.close)
            portfolio = Portfolio("main", Patience(store), f"{namespace}:", {})
            people = [f"+52{person:010d}" for person in range(n, PEOPLE, 3)]
            processes.append(Process(portfolio, random.randrange(-30, 31) * SECOND, people))
        world = World(processes, chances, random)
        await world.run()
    return world


async def test_on_a_good_day_every_place_is_used_and_none_twice(store_url: str, namespace: str) -> None:
    """Exactly the limit in 24 hours, everybody once, in hardly more days than it takes."""
    world = await simulate(store_url, namespace, Chances(), seed=1)
    assert world.oracle.most() == LIMIT
    assert len(world.oracle.reached) == len({person for _, person in world.oracle.reached}) == PEOPLE
    assert world.now - START < 4.1 * DAY_MS  # at 0, 1, 2, 3 and 4 days


@pytest.mark.parametrize(
    "chances",
    [
        Chances(crash=0.1, twice=0.1, fails=0.03, lost=0.02, silent=0.2, late=0.1),
        Chances(silent=1.0),
    ],
)
async def test_through_crashes_losses_and_wrong_clocks_the_limit_holds(
    store_url: str, namespace: str, chances: Chances
) -> None:
    """Whatever is not known counts, so it is never more; and all places are taken all the same."""
    world = await simulate(store_url, namespace, chances, seed=2)
    assert LIMIT * 0.9 < world.oracle.most() <= LIMIT
    assert world.most_used == LIMIT
    assert not any(process.queue for process in world.processes)
