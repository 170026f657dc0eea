"""Who goes first on a lane with less room than messages: the urgent, and among equals everybody in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from gateway.fair import queue_of
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.arrivals import looking_closely, times
from tests.support.stage import PASSWORD, Stage, Stages, job, lane, people

OTP = {"class": "otp"}
QUEUES = 4


def apart(count: int) -> list[str]:
    """Tenants of which no two share a queue."""
    names: dict[int, str] = {}
    for number in range(100):
        names.setdefault(queue_of(f"tenant{number}", QUEUES), f"tenant{number}")
    return list(names.values())[:count]


def order(account: Account, groups: Mapping[str, Mapping[str, str]]) -> list[str]:
    """To which of the groups of people each part went that has arrived so far, in its order."""
    group_of = {to: name for name, recipients in groups.items() for to in recipients.values()}
    return [group_of[f"+{one.request.destination_addr}"] for one in account.record.arrivals]


async def arrived(site: Stage, account: Account, count: int) -> None:
    await site.until(lambda: len(account.record.arrivals) >= count)


@pytest.mark.parametrize(
    ("latency_s", "window_s"), [(0.01, 10 / 100), (0.3, 0.3)], ids=["tokens are short", "the window is full"]
)
async def test_a_backlog_of_bulk_delays_a_password_by_less_than_a_window(
    stage: Stages, latency_s: float, window_s: float
) -> None:
    """Compared with a password on a lane that has nothing to do, published in the same moment."""
    slow = Behaviour(latency_s=latency_s, receipt_ratio=0)
    busy, idle = Account("alpha", PASSWORD, slow, record="full"), Account("idle", PASSWORD, slow, record="full")
    async with (
        Simulator([busy, idle]) as smsc,
        stage(
            lanes={
                "busy": lane(smsc.port, rate=100, window=10),
                "idle": lane(smsc.port, system_id="idle", rate=100, window=10),
            },
            routes=[{"lane": "idle", "tenant": "idle"}],
        ) as site,
        site.worker(),
        looking_closely() as stalls,
    ):
        await site.publish(job("bulk", people("bulk", 3000).values()))
        await arrived(site, busy, 30)
        passwords = people("otp", 5, 5_000_000)
        for number, to in enumerate(passwords.values()):
            await site.publish(
                *(job(f"{tenant}{number}", [to], tenant=tenant, **OTP) for tenant in ("busy", "idle")),
            )
            await arrived(site, idle, number + 1)
        there = set(passwords.values()).__contains__
        await site.until(lambda: len(times(busy, there)) == len(passwords))
        waited = [at - undelayed for at, undelayed in zip(times(busy, there), times(idle), strict=True)]
        assert max(waited) < window_s + stalls.longest_s
        assert busy.counts.accepted < 1000


async def test_a_class_keeps_its_reserve_while_more_urgent_ones_are_waiting(stage: Stages) -> None:
    """A stream of passwords that would fill the lane leaves bulk its fifth, and not more."""
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), record="full")
    groups = {"otp": people("otp", 1500), "bulk": people("bulk", 1500, 5_000_000)}
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=1000, reserve={"bulk": 0.2})}) as site,
        site.worker(),
    ):
        await site.publish(job("otp", groups["otp"].values(), **OTP), job("bulk", groups["bulk"].values()))
        await arrived(site, account, 1100)
    shares = Counter(order(account, groups)[100:1100])
    assert shares["bulk"] == pytest.approx(200, rel=0.1)


async def test_a_tenant_with_thousands_waiting_does_not_delay_one_with_twenty(stage: Stages) -> None:
    """From the first of the twenty to the last, the other one has had as many."""
    many, few = apart(2)
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), record="full")
    groups = {many: people(many, 3000), few: people(few, 20, 5_000_000)}
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=200, fair_queues=QUEUES)}) as site,
        site.worker(),
    ):
        await site.publish(job(many, groups[many].values(), tenant=many))
        await arrived(site, account, 100)
        before = len(account.record.arrivals)
        await site.publish(job(few, groups[few].values(), tenant=few))
        await site.until(lambda: order(account, groups).count(few) == 20)
    turns = order(account, groups)
    first, last = turns.index(few), len(turns) - 1 - turns[::-1].index(few)
    # What arrives until intake has read the job, and the window.
    assert first - before < 100
    assert turns[first:last].count(many) <= 20 + 2 * 4


async def test_weights_divide_a_lane_among_tenants(stage: Stages) -> None:
    """A weight of 3 beside two tenants without one: three fifths, and a fifth each."""
    heavy, *others = apart(3)
    account = Account("alpha", PASSWORD, Behaviour(receipt_ratio=0), record="full")
    groups = {name: people(name, 1200, 2000 * number) for number, name in enumerate((heavy, *others))}
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, rate=1000, fair_queues=QUEUES, weights={heavy: 3})}) as site,
        site.worker(),
    ):
        await site.publish(*(job(name, recipients.values(), tenant=name) for name, recipients in groups.items()))
        await arrived(site, account, 1200)
    shares = Counter(order(account, groups)[200:1200])
    assert {name: shares[name] for name in groups} == pytest.approx(
        {heavy: 600, others[0]: 200, others[1]: 200}, rel=0.15
    )
