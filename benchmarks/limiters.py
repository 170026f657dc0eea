"""What a token costs, how exactly a limit is kept, and how `aiolimiter` and `limits` compare, in the same run.

`python -m benchmarks.limiters [--json FILE]`: a table on stderr, JSON on stdout. Costs are those of tokens that are granted, a
batch at a time; all take turns, so that a busy machine slows them alike, and the median of each counts. Exactness is counted
in virtual time: the most that a greedy caller gets in any second, be it steady or in gusts, and what it gets on average. The
three processes of `Lease` share one limit through a store. `limits` has no burst: its rate is the whole window of a second.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import limits
import limits.storage.memory
import limits.strategies
import msgspec
from aiolimiter import AsyncLimiter
from redis import Redis

from benchmarks.support import machine, versions
from gateway.embedded import EmbeddedStore, free_port
from ratelimit import LEASE_SCRIPT, SLICE_S, Adaptive, Chain, Lease, TokenBucket

TARGET_US = 0.3
"""CPU µs that a token may cost on the hot path, where tokens are taken a hundred at a time."""

RATE = 1000
BURST = 100

_BATCHES = (1, 10, 100)
_TOKENS = 1000  # of one measurement
_REPEATS = 50
_PLENTY = 10**6  # as rate and as burst: whatever is asked for is there
_BETWEEN_S = 1e-7  # two batches are never at one time
_SECONDS = 10
_POLLS_PER_S = 256
_WARM_UP_S = 4  # until a store without memory gives out shares

Grant = Callable[[float], Awaitable[int]]
"""Takes all that there is at a time, and says how much that was."""


class Cost(msgspec.Struct, frozen=True):
    """A limiter with plenty of tokens: `take` takes so many in batches of so many; `clear` is not timed."""

    name: str
    take: Callable[[int, int], Awaitable[None]]
    clear: Callable[[], object] = lambda: None


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that shows the time it is told, for limiters that ask it."""

    now: float | None = None

    def time(self) -> float:
        return super().time() if self.now is None else self.now


def _plenty(now: float) -> TokenBucket:
    return TokenBucket(_PLENTY, _PLENTY, now - 2)


def _lease(rate: int, burst: int, now: float) -> Lease:
    """Make a lease that has been given all, for good, long enough ago to be full."""
    lease = Lease("l", rate, burst, ttl_s=1e9)
    request = lease.request(now - 2)
    lease.answered([request[2], "g", rate << 20, burst, []], now - 2)
    return lease


def costs() -> list[Cost]:
    now = time.monotonic()
    adaptive = Adaptive(_PLENTY, now)
    loop_limiter = AsyncLimiter(_PLENTY, 1)
    storage = limits.storage.memory.MemoryStorage()
    item = limits.RateLimitItemPerSecond(_PLENTY)

    async def ask(tokens: int, batch: int) -> None:
        rate, now = adaptive.rate, time.monotonic()
        for _ in range(tokens // batch):
            now += _BETWEEN_S
            rate(now)

    async def acquire(tokens: int, batch: int) -> None:
        for _ in range(tokens // batch):
            await loop_limiter.acquire(batch)

    def hit(strategy: limits.strategies.RateLimiter) -> Callable[[int, int], Awaitable[None]]:
        async def take(tokens: int, batch: int) -> None:
            for _ in range(tokens // batch):
                if not strategy.hit(item, cost=batch):
                    raise AssertionError("refused with plenty left")

        return take

    return [
        Cost("TokenBucket", _taking(_plenty(now))),
        Cost("Chain of 3", _taking(Chain([_plenty(now) for _ in range(3)]))),
        Cost("Lease", _taking(_lease(_PLENTY, _PLENTY, now))),
        Cost("Adaptive.rate", ask),
        Cost("aiolimiter", acquire),
        Cost("limits, fixed window", hit(limits.strategies.FixedWindowRateLimiter(storage)), storage.reset),
        Cost("limits, moving window", hit(limits.strategies.MovingWindowRateLimiter(storage)), storage.reset),
    ]


def _taking(bucket: TokenBucket | Chain | Lease) -> Callable[[int, int], Awaitable[None]]:
    async def take(tokens: int, batch: int) -> None:
        grant, now = bucket.take, time.monotonic()
        for _ in range(tokens // batch):
            now += _BETWEEN_S
            if grant(batch, now) != batch:
                raise AssertionError("refused with plenty left")

    return take


async def measure(cases: list[Cost]) -> list[dict[str, Any]]:
    """The median CPU µs a token of each, by batch, and how many times that the one of aiolimiter is."""
    times: dict[tuple[str, int], list[float]] = {(case.name, batch): [] for case in cases for batch in _BATCHES}
    for _ in range(_REPEATS):
        for case in cases:
            for batch in _BATCHES:
                case.clear()
                start = time.thread_time_ns()
                await case.take(_TOKENS, batch)
                times[case.name, batch].append((time.thread_time_ns() - start) / 1000 / _TOKENS)
        await asyncio.sleep(0.02)  # what has been taken is there again
    us = {key: statistics.median(values) for key, values in times.items()}
    return [
        {
            "limiter": case.name,
            "us": {str(batch): round(us[case.name, batch], 4) for batch in _BATCHES},
            "ratio": {str(batch): round(us["aiolimiter", batch] / us[case.name, batch], 1) for batch in _BATCHES},
        }
        for case in cases
    ]


async def exactness(name: str, make: Callable[[], Grant], allowed: int) -> dict[str, Any]:
    """The most in any second, of a steady caller and of one that comes in gusts, and the average of the steady one."""
    steady = await _grants(make(), lambda _: True)
    # A little, then nothing, then all at the end of one second and the beginning of the next.
    gusty = await _grants(make(), lambda second: second % 2 < 0.01 or 0.9 < second % 2 < 1.2)
    return {
        "limiter": name,
        "most_in_a_second": max(_most_in_a_second(steady), _most_in_a_second(gusty)),
        "allowed": allowed,
        "average": sum(tokens for at, tokens in steady if at >= 1) / (_SECONDS - 1),
        "rate": RATE,
    }


async def _grants(grant: Grant, wants: Callable[[float], bool]) -> list[tuple[float, int]]:
    polls = [poll / _POLLS_PER_S for poll in range(_SECONDS * _POLLS_PER_S)]
    return [(at, await grant(at)) for at in polls if wants(at)]


def _most_in_a_second(grants: list[tuple[float, int]]) -> int:
    return max(sum(tokens for at, tokens in grants[n:] if at <= start + 1) for n, (start, _) in enumerate(grants))


def bucket_grant() -> Grant:
    bucket = TokenBucket(RATE, BURST, -1.0)

    async def grant(now: float) -> int:
        return bucket.take(_PLENTY, now)

    return grant


def chain_grant() -> Grant:
    chain = Chain([TokenBucket(RATE * n, BURST * n, -1.0) for n in (1, 2, 3)])

    async def grant(now: float) -> int:
        return chain.take(_PLENTY, now)

    return grant


def leases_grant(store: Redis) -> Grant:
    """Three processes that call the store once a slice, and are all as greedy."""
    leases = [Lease("l", RATE, BURST) for _ in range(3)]
    script, prefix = store.register_script(LEASE_SCRIPT), f"b{id(leases)}:"
    due = -float(_WARM_UP_S)

    def call(lease: Lease, now: float) -> None:
        [reply] = script(args=[msgspec.msgpack.encode([prefix, [lease.request(now)]])])
        lease.answered(reply, now)

    async def grant(now: float) -> int:
        nonlocal due
        while due <= now:
            for lease in leases:
                call(lease, due)
                if lease.owes:
                    call(lease, due)
            due += SLICE_S
        return sum(lease.take(_PLENTY, now) for lease in leases)

    return grant


def aiolimiter_grant() -> Grant:
    limiter, loop = AsyncLimiter(BURST, BURST / RATE), asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)

    async def grant(now: float) -> int:
        loop.now, granted = now, 0
        while limiter.has_capacity():
            await limiter.acquire()
            granted += 1
        loop.now = None
        return granted

    return grant


def limits_grant(strategy: type[limits.strategies.RateLimiter], clock: SimpleNamespace) -> Grant:
    limiter, item = strategy(limits.storage.memory.MemoryStorage()), limits.RateLimitItemPerSecond(RATE)

    async def grant(now: float) -> int:
        clock.now, granted = now, 0
        while limiter.hit(item):
            granted += 1
        return granted

    return grant


@contextmanager
def virtual_wall_clock() -> Iterator[SimpleNamespace]:
    """Show `limits` the time that is told to what this yields."""
    clock = SimpleNamespace(now=0.0)
    virtual = SimpleNamespace(time=lambda: 1e9 + clock.now)
    modules: list[Any] = [limits.storage.memory, limits.strategies]
    for module in modules:
        module.time = virtual
    try:
        yield clock
    finally:
        for module in modules:
            module.time = time


async def accuracy() -> list[dict[str, Any]]:
    allowed = RATE + BURST
    rows = [
        await exactness("TokenBucket", bucket_grant, allowed),
        await exactness("Chain of 3", chain_grant, allowed),
    ]
    async with EmbeddedStore(port=free_port()) as server:
        with Redis.from_url(server.url) as store:
            rows.append(await exactness("Lease, 3 processes", lambda: leases_grant(store), allowed))
    rows.append(await exactness("aiolimiter", aiolimiter_grant, allowed))
    with virtual_wall_clock() as clock:
        fixed, moving = limits.strategies.FixedWindowRateLimiter, limits.strategies.MovingWindowRateLimiter
        rows.append(await exactness("limits, fixed window", lambda: limits_grant(fixed, clock), RATE))
        rows.append(await exactness("limits, moving window", lambda: limits_grant(moving, clock), RATE))
    return rows


def run() -> dict[str, Any]:
    with asyncio.Runner() as runner:
        cases = runner.run(measure(costs()))
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        rows = runner.run(accuracy())
    return {
        "cases": cases,
        "accuracy": rows,
        "target_us": TARGET_US,
        "versions": versions() | {name: metadata.version(name) for name in ("aiolimiter", "limits")},
        "machine": machine(),
    }


def main() -> int:
    """Measure and print; the exit code is 1 when a token of ours costs more than the target, or one too many is granted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.limiters", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    file: Path | None = parser.parse_args().json
    result = run()
    print(f"{'CPU µs a token, in batches of':<30}" + "".join(f"{batch:>10}" for batch in _BATCHES), file=sys.stderr)
    for row in result["cases"]:
        print(f"{row['limiter']:<30}" + "".join(f"{us:>10}" for us in row["us"].values()), file=sys.stderr)
    print(f"\n{'tokens':<30}{'most in 1 s':>12}{'allowed':>10}{'average':>10}{'rate':>8}", file=sys.stderr)
    for row in result["accuracy"]:
        numbers = f"{row['most_in_a_second']:>12}{row['allowed']:>10}{row['average']:>10.1f}{row['rate']:>8}"
        print(f"{row['limiter']:<30}{numbers}", file=sys.stderr)
    text = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    if file is not None:
        file.write_text(text + "\n")
    print(text)
    ours = {"TokenBucket", "Chain of 3", "Lease", "Lease, 3 processes"}
    quick = all(row["us"]["100"] <= TARGET_US for row in result["cases"] if row["limiter"] in ours)
    exact = all(row["most_in_a_second"] <= row["allowed"] for row in result["accuracy"] if row["limiter"] in ours)
    return 0 if quick and exact else 1


if __name__ == "__main__":
    sys.exit(main())
