"""Lease: processes that share one limit through a real store, slice by slice of a virtual time. See also properties/."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from math import inf, nan
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis import asyncio as redis_asyncio

from ratelimit import Chain, TokenBucket
from ratelimit.lease import SLICE_S, Keeper, Lease, redis_runner
from ratelimit.lease_script import LEASE_SCRIPT

TTL_S = 2.0
PATIENCE_S = 2.5
"""The life of a share, and the margin."""


class Cluster:
    """Leases of several processes that call the store once a slice, one after the other, at the times that `now` shows."""

    def __init__(self, store: Redis, prefix: str) -> None:
        self.store, self.prefix, self.now = store, prefix, 1000.0
        self.key = f"{prefix}lease:l"
        self.script = store.register_script(LEASE_SCRIPT)
        self.leases: list[Lease] = []

    def join(self, rate: float = 100, burst: int = 20) -> Lease:
        lease = Lease("l", rate, burst, holder=f"p{len(self.leases)}", ttl_s=TTL_S, margin_s=PATIENCE_S - TTL_S)
        self.leases.append(lease)
        return lease

    def execute(self, request: list[Any]) -> Any:
        return self.script(args=[msgspec.msgpack.encode([self.prefix, [request]])])[0]

    def call(self, lease: Lease) -> None:
        lease.answered(self.execute(lease.request(self.now)), self.now)

    def slices(self, n: int, *, busy: Sequence[Lease] = (), away: Sequence[Lease] = ()) -> dict[Lease, int]:
        """Let time pass, and give what was granted to the busy ones, who take all that they get."""
        granted = dict.fromkeys(busy, 0)
        for _ in range(n):
            self.now += SLICE_S
            for lease in self.leases:
                if lease not in away:
                    self.call(lease)
                    if lease.owes:
                        self.call(lease)
            for lease in busy:
                granted[lease] += lease.take(10_000, self.now)
        return granted

    def finely(self, seconds: float) -> dict[Lease, int]:
        """Let time pass in fiftieths of a second, and give what was granted to all, one token at a time."""
        granted = dict.fromkeys(self.leases, 0)
        for step in range(round(seconds * 50)):
            self.now += 0.02
            if step % 5 == 0:
                for lease in self.leases:
                    self.call(lease)
                    if lease.owes:
                        self.call(lease)
            for lease in self.leases:
                granted[lease] += lease.take(1, self.now)
        return granted

    def settled(self, *leases: Lease) -> None:
        """Let the generation open, and the shares become what they should be while nobody does anything."""
        self.slices(40)


@pytest.fixture
def cluster(store_url: str, namespace: str) -> Iterator[Cluster]:
    with Redis.from_url(store_url) as store:
        yield Cluster(store, f"{namespace}:")


def shares(leases: Sequence[Lease]) -> list[tuple[int, int]]:
    return [(round(lease.rate), lease.burst) for lease in leases]


def test_a_new_lease_grants_nothing(cluster):
    """It has not asked anybody yet."""
    lease = cluster.join()
    assert (lease.take(5, 0.0), lease.available(0.0), lease.burst, lease.rate) == (0, 0, 0, 0)


def test_the_very_first_start_waits_for_whoever_may_be_there(cluster):
    """A store without memory gives nothing for the life of a share and the margin; then one process gets it all."""
    lease = cluster.join()
    cluster.slices(25)
    assert shares([lease]) == [(0, 0)]
    cluster.slices(2)
    assert shares([lease]) == [(100, 20)]
    assert lease.available(cluster.now) <= 10, "no burst is minted: what accrued in a slice"


def test_the_first_use_of_a_limit_need_not_wait(cluster):
    """Somebody knows that nobody can have a share: one call opens the generation, the next brings the share."""
    lease = cluster.join()
    lease.first_use()
    cluster.slices(2)
    assert shares([lease]) == [(100, 20)]


def test_a_first_use_is_over_with_the_first_call(cluster):
    """Its answer was lost; by the next, another has got a share, and the store has forgotten that."""
    early, late = cluster.join(), cluster.join()
    early.first_use()
    late.first_use()
    cluster.execute(late.request(cluster.now))
    cluster.slices(5, away=[late])
    assert early.rate == 50
    cluster.store.delete(cluster.key)
    late.want(1000)
    cluster.slices(10, away=[early])
    assert early.rate + late.rate == 50


def test_a_restart_after_a_release_does_not_wait(cluster):
    """The generation stays in the store, and the share was given back."""
    lease = cluster.join()
    cluster.settled()
    cluster.execute(lease.release(cluster.now))
    assert lease.take(5, cluster.now) == 0
    cluster.leases = []
    successor = cluster.join()
    successor._holder = "successor"
    cluster.call(successor)
    assert shares([successor]) == [(100, 20)]


def test_idle_processes_share_evenly(cluster):
    """So that whoever gets work can start at once."""
    cluster.join(), cluster.join()
    cluster.settled()
    assert shares(cluster.leases) == [(50, 10), (50, 10)]


def test_busy_processes_share_evenly(cluster):
    """Each gets a third of the rate, to the millionth."""
    for _ in range(3):
        cluster.join(rate=90, burst=33)
    cluster.settled()
    cluster.slices(5, busy=cluster.leases)
    assert shares(cluster.leases) == [(30, 11), (30, 11), (30, 11)]
    granted = cluster.slices(100, busy=cluster.leases)
    assert [abs(tokens - 300) <= 1 for tokens in granted.values()] == [True, True, True]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_busy_process_has_what_the_idle_cannot_use_two_slices_later(cluster, which):
    """Wherever in the slice it calls; a fiftieth stays with the others, so that their first message need not wait."""
    for _ in range(3):
        cluster.join()
    cluster.settled()
    busy = cluster.leases[which]
    busy.want(1000)
    cluster.slices(2)
    assert busy.rate >= 98
    assert [lease.available(cluster.now) for lease in cluster.leases if lease is not busy] == [1, 1]
    granted = cluster.slices(100, busy=[busy])
    assert granted[busy] >= 980


def test_demand_is_met_before_the_rest_is_divided(cluster):
    """One that needs little gets that; what it leaves goes to the other."""
    little, much = cluster.join(), cluster.join()
    cluster.settled()
    for _ in range(20):
        cluster.slices(1, busy=[much])
        little.take(2, cluster.now)
    assert [round(little.rate), round(much.rate)] == [20, 80]


def test_a_lower_share_is_free_when_its_process_has_said_so(cluster):
    """Until it has got the answer and called again, it may use what it had."""
    idle, busy = cluster.join(), cluster.join()
    cluster.settled()
    busy.want(1000)
    cluster.slices(1, away=[idle])
    reply = cluster.execute(idle.request(cluster.now))
    cluster.call(busy)
    assert shares(cluster.leases) == [(50, 10), (50, 10)]
    idle.answered(reply, cluster.now)
    cluster.call(busy)
    assert shares(cluster.leases) == [(1, 1), (50, 10)]
    cluster.call(idle)
    cluster.call(busy)
    assert shares(cluster.leases) == [(1, 1), (99, 18)]


def test_a_slice_without_work_costs_no_share(cluster):
    """Work comes in gusts: the better of the last two slices counts."""
    gusty, steady = cluster.join(), cluster.join()
    cluster.settled()
    cluster.slices(10, busy=[gusty, steady])
    cluster.slices(2, busy=[steady])
    assert [round(gusty.rate), round(steady.rate)] == [50, 50]


def test_a_joining_process_has_its_part_after_two_slices(cluster):
    """The others lower their share first, and say so."""
    first = cluster.join()
    cluster.settled()
    cluster.slices(5, busy=[first])
    second = cluster.join()
    second.want(1000)
    cluster.slices(2, busy=[first])
    assert shares([first, second]) == [(50, 10), (50, 10)]


@pytest.mark.parametrize(("rate", "burst", "seconds"), [(10, 1, 60), (10, 2, 60), (0.5, 1, 240)])
def test_three_processes_with_a_burst_for_fewer_take_turns(cluster, rate, burst, seconds):
    """Not all of them can hold a token; nobody starves, and little is lost between the turns."""
    for _ in range(3):
        cluster.join(rate, burst)
    cluster.settled()
    for lease in cluster.leases:
        lease.want(1000)
    granted = cluster.finely(seconds)
    least = rate * seconds / 3 * 0.6
    assert min(granted.values()) >= least
    assert sum(granted.values()) <= rate * seconds + burst


@pytest.mark.parametrize(("rate", "burst", "longest_s"), [(20, 1, 0.5), (100, 5, 0.5), (2, 1, 2.5)])
def test_who_has_something_urgent_does_not_wait_for_his_turn(cluster, rate, burst, longest_s):
    """Some slices instead of seconds; where a token takes half of one, until the others have got theirs."""
    for _ in range(8):
        cluster.join(rate, burst)
    cluster.settled()
    for lease in cluster.leases:
        lease.want(1000)
    cluster.finely(20)
    for lease in cluster.leases:
        lease.want(1000, urgent=True)
        assert cluster.finely(longest_s)[lease]
        lease.want(1000)
        cluster.finely(10)


@pytest.mark.parametrize(("rate", "burst", "busy"), [(20, 1, 1), (20, 2, 2), (20, 2, 3), (2, 1, 1)])
def test_what_is_urgent_without_end_leaves_the_others_something(cluster, rate, burst, busy):
    """Each gets turns in which it can use a token, and most of the contract is used."""
    for _ in range(busy + 2):
        cluster.join(rate, burst)
    cluster.settled()
    for lease in cluster.leases:
        lease.want(1000, urgent=lease in cluster.leases[:busy])
    granted = cluster.finely(120)
    assert min(granted.values()) >= 0.01 * rate * 120
    assert 0.7 * rate * 120 <= sum(granted.values()) <= rate * 120 + burst


def test_the_burst_goes_to_who_has_work(cluster):
    """One of three has work and a burst of one: it keeps it."""
    for _ in range(3):
        cluster.join(burst=1)
    cluster.settled()
    cluster.leases[2].want(10)
    cluster.slices(20)
    assert shares(cluster.leases) == [(0, 0), (0, 0), (100, 1)]


def test_without_the_store_a_share_lives_for_its_time(cluster):
    """Counted from when the last answered call was sent, not from the answer; then nothing is granted, nothing is left."""
    lease = cluster.join()
    cluster.settled()
    sent = cluster.now
    reply = cluster.execute(lease.request(sent))
    lease.answered(reply, sent + 0.5)
    assert lease.available(sent + TTL_S) == 20
    assert lease.take(5, sent + TTL_S + 0.001) == 0
    assert (lease.available(sent + TTL_S), lease.burst, lease.wait(sent + TTL_S + 1)) == (0, 0, SLICE_S)


def test_what_was_left_in_a_lapsed_bucket_is_lost(cluster):
    """Its burst may have been given to another and been granted there."""
    lease = cluster.join()
    cluster.settled()
    cluster.now += TTL_S + 1
    cluster.call(lease)
    assert shares([lease]) == [(100, 20)]
    assert lease.available(cluster.now) == 0


def test_the_share_of_a_crashed_process_is_free_when_its_beat_has_stood_still(cluster):
    """Not before its life and the margin are over."""
    crashed, alive = cluster.join(), cluster.join()
    cluster.settled()
    cluster.slices(24, busy=[alive], away=[crashed])
    assert shares([alive]) == [(50, 10)]
    cluster.slices(3, busy=[alive], away=[crashed])
    assert shares([alive]) == [(100, 20)]


def test_a_process_that_calls_again_is_not_removed(cluster):
    """Who saw it standing still says which beat that was."""
    slow, alive = cluster.join(), cluster.join()
    cluster.settled()
    alive.want(1000)
    cluster.slices(24, away=[slow])
    cluster.now += 0.2
    verdict = alive.request(cluster.now)
    assert verdict[-1]
    cluster.call(slow)
    assert slow.rate > 0
    alive.answered(cluster.execute(verdict), cluster.now)
    cluster.call(alive)
    assert slow.rate + alive.rate <= 100


def test_an_answer_that_came_after_the_share_had_lapsed_is_not_used(cluster):
    """Two calls were long under way; meanwhile the process was removed, and its share was given away."""
    slow, alive = cluster.join(), cluster.join()
    cluster.settled()
    first = slow.request(cluster.now)
    second = slow.request(cluster.now + 0.1)
    cluster.slices(40, busy=[alive], away=[slow])
    assert shares([alive]) == [(100, 20)]
    cluster.execute(first)
    slow.answered(cluster.execute(second), cluster.now)
    assert shares([slow, alive]) == [(0, 0), (100, 20)]
    cluster.slices(5, busy=[slow, alive])
    assert shares([slow, alive]) == [(50, 10), (50, 10)]


def test_a_call_that_is_repeated_later_changes_nothing(cluster):
    """It says what was used before its first answer: less than now."""
    first, second = cluster.join(), cluster.join()
    cluster.settled()
    first.want(1000)
    cluster.slices(1)
    request = first.request(cluster.now + SLICE_S)
    first.answered(cluster.execute(request), cluster.now + SLICE_S)
    rate = first.rate
    assert rate > 90
    assert cluster.execute(request)[2] == rate * 2**20
    second.want(1000)
    cluster.now += SLICE_S
    cluster.call(second)
    cluster.execute(request)
    cluster.call(second)
    assert first.rate + second.rate <= 100


def test_a_call_that_was_overtaken_changes_nothing(cluster):
    """It says what was used before a later call."""
    first, second = cluster.join(), cluster.join()
    cluster.settled()
    overtaken = first.request(cluster.now)
    first.want(1000)
    cluster.slices(3)
    cluster.execute(overtaken)
    second.want(1000)
    cluster.call(second)
    assert first.rate + second.rate <= 100


def test_an_answer_to_a_call_that_was_given_up_is_ignored(cluster):
    """The next request has said that nobody waits for it."""
    lease = cluster.join()
    cluster.settled()
    lease.set_limit(50, 20, cluster.now)
    reply = cluster.execute(lease.request(cluster.now))
    lease.request(cluster.now)
    lease.set_limit(100, 20, cluster.now)
    lease.answered([reply[0], reply[1], 100 * 2**20, 20, []], cluster.now)
    assert lease.rate == 50


def test_a_store_that_lost_its_memory_is_told_what_is_used(cluster):
    """Everybody keeps the share; nobody gets more, joining or busy, until all others would have lapsed."""
    silent, busy = cluster.join(), cluster.join()
    cluster.settled()
    cluster.store.delete(cluster.key)
    joining = cluster.join()
    cluster.slices(25, busy=[busy, joining], away=[silent])
    assert shares([busy, joining]) == [(50, 10), (0, 0)]
    cluster.slices(5, busy=[busy, joining], away=[silent])
    assert shares([busy, joining]) == [(50, 10), (50, 10)]


def test_a_store_that_restarts_with_an_old_snapshot_has_lost_its_memory(cluster):
    """In the snapshot the share of the busy process is that of the idle one still."""
    idle, busy = cluster.join(), cluster.join()
    cluster.settled()
    snapshot = msgspec.msgpack.decode(cluster.store.get(cluster.key)) | {"run": "before"}
    cluster.slices(5, busy=[busy])
    cluster.store.set(cluster.key, msgspec.msgpack.encode(snapshot))
    idle.want(1000)
    cluster.slices(1, away=[busy])
    assert idle.rate + busy.rate <= 100


def test_generations_that_one_call_began_differ(cluster):
    """A call that began one and is repeated after the store has lost its memory again."""
    request = cluster.join().request(cluster.now)
    first = cluster.execute(request)[1]
    cluster.store.delete(cluster.key)
    assert cluster.execute(request)[1] != first


def test_a_lower_contract_counts_at_once_where_it_is_known(cluster):
    """And for the others with their next call, although they have not heard of it."""
    knowing, other = cluster.join(), cluster.join()
    cluster.settled()
    knowing.set_limit(20, 4, cluster.now)
    assert shares(cluster.leases) == [(20, 4), (50, 10)]
    cluster.slices(2)
    assert shares(cluster.leases) == [(10, 2), (10, 2)]
    other.set_limit(20, 4, cluster.now)
    assert knowing.available(cluster.now) + other.available(cluster.now) <= 4


def test_a_higher_contract_counts_when_all_know_it(cluster):
    """And mints nothing: the larger burst fills up at the rate."""
    first, second = cluster.join(), cluster.join()
    cluster.settled()
    first.set_limit(1000, 200, cluster.now)
    cluster.slices(5)
    assert shares(cluster.leases) == [(50, 10), (50, 10)]
    second.set_limit(1000, 200, cluster.now)
    cluster.slices(1)
    cluster.call(first)
    assert shares(cluster.leases) == [(500, 100), (500, 100)]
    assert first.available(cluster.now) == 10


def test_rate_0_pauses_everybody(cluster):
    """One who knows is enough; afterwards all go on with what they had."""
    first, second = cluster.join(), cluster.join()
    cluster.settled()
    first.set_limit(0, 20, cluster.now)
    assert (first.available(cluster.now), first.wait(cluster.now)) == (0, inf)
    cluster.slices(2)
    assert (second.available(cluster.now), second.wait(cluster.now)) == (0, SLICE_S)
    first.set_limit(100, 20, cluster.now)
    cluster.slices(2)
    assert [lease.available(cluster.now) for lease in cluster.leases] == [10, 10]


@pytest.mark.parametrize(("rate", "burst"), [(-1, 10), (nan, 10), (inf, 10), (10, 0)])
def test_impossible_limits_are_refused(rate, burst):
    """At the start and later, and a refused change changes nothing."""
    with pytest.raises(ValueError, match="must be"):
        Lease("l", rate, burst)
    lease = Lease("l", 10, 20)
    with pytest.raises(ValueError, match="must be"):
        lease.set_limit(rate, burst, 0.0)
    assert lease.request(0.0)[8:10] == [10 * 2**20, 20]


def test_holders_differ_by_default():
    """Two processes with one identity would take each other's calls for their own."""
    assert Lease("l", 1, 1).request(0.0)[1] != Lease("l", 1, 1).request(0.0)[1]


def test_wait_is_until_the_tokens_are_there_or_a_slice(cluster):
    """The next slice may bring more."""
    lease = cluster.join()
    cluster.settled()
    lease.take(20, cluster.now)
    assert lease.wait(cluster.now, 5) == pytest.approx(0.05)
    assert lease.wait(cluster.now, 20) == SLICE_S


def test_in_a_chain_a_lease_is_a_bucket_and_is_told_what_is_wanted(cluster):
    """A chain asks each of its buckets for no more than there is, so the lease would not see what was missing."""
    lease, idle = cluster.join(), cluster.join()
    chain = Chain([lease, TokenBucket(1000, 1000, cluster.now)])
    assert chain.wait(cluster.now) == SLICE_S
    cluster.settled()
    assert chain.take(500, cluster.now) == 10
    lease.want(490)
    cluster.slices(2)
    assert lease.rate >= 98
    assert idle.rate <= 2


def test_repr_shows_the_share(cluster):
    """And the bucket, if there is one."""
    lease = cluster.join()
    assert repr(lease) == "Lease('l', rate=0, burst=0, None)"
    cluster.settled()
    assert repr(lease).startswith("Lease('l', rate=100, burst=20, TokenBucket(rate=100, burst=20, level=")


class Away(Exception):
    """The store is."""


class Clock:
    """Shows the time of the event loop, and a second more for each call to the store."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


async def test_keeper_calls_until_it_is_closed_and_then_gives_everything_back(store_url, namespace):
    """Failures of the kind named are survived; nothing is left of the process but the generation."""
    client = redis_asyncio.Redis.from_url(store_url)
    store_run, clock, calls, held = redis_runner(client), Clock(), 0, asyncio.Event()

    async def run(argument: bytes) -> Sequence[Any]:
        nonlocal calls
        calls += 1
        clock.ahead += 1.0
        if calls == 2:
            raise Away
        if all(lease.burst for lease in leases):
            held.set()
        return await store_run(argument)

    leases = [Lease("a", 100, 20, ttl_s=5.0), Lease("b", 10, 1, ttl_s=5.0)]
    keeper = Keeper(leases, run, prefix=f"{namespace}:", clock=clock, failures=(Away,), slice_s=0.001)
    task = asyncio.create_task(keeper.keep())
    await held.wait()
    assert [(lease.rate, lease.burst) for lease in leases] == [(100, 20), (10, 1)]
    keeper.close()
    await task
    assert [(lease.rate, lease.burst) for lease in leases] == [(0, 0), (0, 0)]
    states = [msgspec.msgpack.decode(await client.get(f"{namespace}:lease:{name}")) for name in "ab"]
    assert [(len(state["rows"]), state["open"]) for state in states] == [(0, True), (0, True)]
    await client.aclose()


async def test_keeper_says_at_once_what_others_wait_for():
    """An answer that takes a good part of the share is followed by another call in the same slice."""
    lease = Lease("a", 100, 20, holder="p")
    shares = iter([(100, 20), (50, 10), (50, 10), (49, 10), (0, 0)])
    told: list[list[Any]] = []

    async def run(argument: bytes) -> Sequence[Any]:
        request = msgspec.msgpack.decode(argument)[1][0]
        told.append([request[2], request[6] >> 20, request[7]])
        rate, burst = next(shares)
        if len(told) == 4:
            keeper.close()
        return [[request[2], b"g", rate << 20, burst, [b"q", 1]]]

    keeper = Keeper([lease], run, prefix="", clock=asyncio.get_running_loop().time, failures=(), slice_s=0.01)
    await keeper.keep()
    assert told == [[1, 0, 0], [2, 100, 20], [3, 50, 10], [4, 50, 10], [5, 0, 0]]


async def test_the_runner_needs_no_script_in_the_store(store_url, namespace):
    """It may have been restarted since, or flushed."""
    client = redis_asyncio.Redis.from_url(store_url)
    run = redis_runner(client)
    lease = Lease("a", 100, 20, holder="p")
    for beat in (1, 2):
        await client.script_flush()
        [reply] = await run(msgspec.msgpack.encode([f"{namespace}:", [lease.request(float(beat))]]))
        assert reply[0] == beat
    await client.aclose()
