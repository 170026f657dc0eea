"""What a refusal asks for: when a message is tried again, how often, and what else has to wait with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from gateway.model import EventStatus
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.arrivals import looking_closely, times
from tests.support.stage import PASSWORD, Stages, job, lane, people

ANA = "+573001234567"
LUIS = "+573017654321"
SOON = {"disposition": "retry", "after_s": 0.2}
"""A second, and a random part of 0.2, 0.4, 0.8 … more."""


def refusing(statuses: Mapping[str, int]) -> Behaviour:
    """An operator that refuses these numbers (`+57…`) with these statuses."""
    return Behaviour(rejected={to[1:]: int(status) for to, status in statuses.items()}, receipt_ratio=0)


async def test_a_busy_operator_gets_the_message_again(stage: Stages) -> None:
    """ESME_RSYSERR, then ok: submitted once, with the second attempt, a second after the first at the earliest."""
    account = Account("alpha", PASSWORD, refusing({ANA: CommandStatus.ESME_RSYSERR}), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, errors={"ESME_RSYSERR": SOON})}) as site,
        site.worker(),
    ):
        await site.publish(job("j", [ANA]))
        await site.until(lambda: account.counts.refused != {})
        account.behaviour = Behaviour()
        await site.tally.until_ended(["j:0"])
        submitted, delivered = site.tally.of("j:0")
        assert (submitted.status, submitted.attempt) == (EventStatus.SUBMITTED, 2)
        assert delivered.status is EventStatus.DELIVERED
    first, second = times(account)
    assert second - first >= 1


async def test_parts_of_several_attempts_are_one_message(stage: Stages) -> None:
    """Those that were refused at first go again alone; the receipts of all together say what became of the message."""
    account = Account("alpha", PASSWORD, Behaviour(errors={CommandStatus.ESME_RSYSERR: 0.4}))
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, errors={"ESME_RSYSERR": SOON})}) as site,
        site.worker(),
    ):
        await site.publish(job("j", [ANA] * 10, "x" * 400))
        await site.until(lambda: account.counts.accepted + sum(account.counts.refused.values()) == 30)
        account.behaviour = Behaviour()
        await site.tally.until_ended([f"j:{n}" for n in range(10)])
        for n in range(10):
            end = site.tally.of(f"j:{n}")[-1]
            assert (end.status, end.parts, end.parts_done) == (EventStatus.DELIVERED, 3, 3)
    assert account.counts.accepted == 30


async def test_attempts_travel_with_the_message_and_end_at_the_limit(stage: Stages) -> None:
    """A worker stops between two attempts, the next one goes on counting: three in all, as the lane says."""
    account = Account("alpha", PASSWORD, refusing({ANA: CommandStatus.ESME_RSYSERR}), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, errors={"ESME_RSYSERR": SOON}, max_attempts=3)}) as site,
    ):
        await site.publish(job("j", [ANA]))
        async with site.worker():
            await site.until(lambda: len(account.record.arrivals) == 1)
        async with site.worker():
            await site.tally.until_ended(["j:0"])
        [failed] = site.tally.of("j:0")
        assert (failed.status, failed.error_code, failed.attempt) == (EventStatus.FAILED, "ESME_RSYSERR", 3)
    assert len(account.record.arrivals) == 3


async def test_expires_at_ends_the_attempts(stage: Stages) -> None:
    """Tried again while there is time, never after it, and then told."""
    account = Account("alpha", PASSWORD, refusing({ANA: CommandStatus.ESME_RSYSERR}), record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, errors={"ESME_RSYSERR": SOON})}) as site,
        site.worker(),
    ):
        expires = datetime.now(UTC) + timedelta(seconds=2.8)
        await site.publish(job("j", [ANA], expires_at=expires.isoformat()))
        await site.tally.until_ended(["j:0"])
        [end] = site.tally.of("j:0")
        assert end.status in (EventStatus.FAILED, EventStatus.EXPIRED)
        assert end.time < expires + timedelta(seconds=1)
    assert len(account.record.arrivals) >= 2
    assert times(account)[-1] + account.epoch < expires.timestamp()


# What the operator answers, and the code and attempt of the event that tells that the message has failed; None: it was tried
# again. The lane's table names the first by name, by decimal and by hexadecimal number.
TABLE = {
    "renamed": (CommandStatus.ESME_RSYSERR, "ESME_RSYSERR"),
    "numbered": (CommandStatus.ESME_RINVMSGLEN, None),
    "a vendor's": (0x0411, None),
    "a vendor's, with capitals": (0x0ABC, "0x00000ABC"),
    "unlisted": (0x0555, "0x00000555"),
    "of our own table": (CommandStatus.ESME_RX_P_APPN, "ESME_RX_P_APPN"),
    "with a limit": (CommandStatus.ESME_RX_T_APPN, "ESME_RX_T_APPN"),
}
ERRORS = {
    "ESME_RSYSERR": "rejected",
    "1": SOON,
    "0x411": SOON,
    "0xABC": "rejected",
    "ESME_RX_T_APPN": {**SOON, "attempts": 1},
}


@pytest.mark.parametrize("unlisted", ["rejected", "retry"])
async def test_a_lane_says_what_its_operators_codes_ask_for(stage: Stages, unlisted: str) -> None:
    """By name, by number, vendors' codes; what nobody lists is refused for good, unless `default` says otherwise; all counted."""
    numbers = {name: f"+5730000000{n:02}" for n, name in enumerate(TABLE)}
    account = Account("alpha", PASSWORD, refusing({numbers[name]: status for name, (status, _) in TABLE.items()}))
    errors = ERRORS if unlisted == "rejected" else {**ERRORS, "default": SOON}
    codes = {name: code for name, (_, code) in TABLE.items()} | ({"unlisted": None} if unlisted == "retry" else {})
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, errors=errors)}) as site,
        site.worker() as worker,
    ):
        await site.publish(job("j", [{"to": to, "message_id": name} for name, to in numbers.items()]))
        await site.until(lambda: sum(account.counts.refused.values()) == len(TABLE))
        account.behaviour = Behaviour()
        await site.tally.until_ended(numbers)
        ends = {name: site.tally.of(name) for name in numbers}
        failed = {name: events[0].error_code for name, events in ends.items() if len(events) == 1}
        assert failed == {name: code for name, code in codes.items() if code}
        assert all(events[0].attempt == 2 for name, events in ends.items() if name not in failed)
        assert worker.lanes["alpha"].refusals == account.counts.refused


async def test_a_refused_sender_waits_and_nobody_else_does(stage: Stages) -> None:
    """ESME_RINVSRCADR: what has that sender is held back, the one that was refused too; all others go meanwhile."""
    bad, others = people("bad", 20), people("others", 200, 1000)
    first = bad["bad:0"]
    account = Account("alpha", PASSWORD, refusing({first: CommandStatus.ESME_RINVSRCADR}), record="full")
    hold = {"disposition": "hold", "after_s": 1.5}
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port, errors={"ESME_RINVSRCADR": hold})}) as site,
        site.worker(),
    ):
        await site.publish(job("refused", [{"to": first, "message_id": "bad:0"}], sender="Bonco"))
        await site.until(lambda: account.counts.refused != {})
        account.behaviour = Behaviour()
        rest = [{"to": to, "message_id": message_id} for message_id, to in bad.items() if to != first]
        await site.publish(job("rest", rest, sender="Bonco"), job("others", others.values()))
        await site.tally.until_ended([*bad, *others])
        assert site.tally.ends([*bad, *others]) == {EventStatus.DELIVERED: 220}
    senders = [one.request.source_addr for one in account.record.arrivals]
    assert senders == ["Bonco"] + 200 * ["89000"] + 20 * ["Bonco"]
    assert times(account)[201] - times(account)[0] >= 1.5


async def test_not_before_is_kept_within_a_second(stage: Stages) -> None:
    """Whatever rungs a message climbs, it leaves at its time, not before and at most a second later."""
    account = Account("alpha", PASSWORD, record="full")
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port)}) as site,
        site.worker(),
        looking_closely() as stalls,
    ):
        now = datetime.now(UTC)
        due = {f"+5730000000{n:02}": now + timedelta(seconds=wait) for n, wait in enumerate((0.3, 1, 1.7, 2.5, 3.4))}
        await site.publish(*(job(f"j{at}", [to], not_before=at.isoformat()) for to, at in due.items()))
        await site.until(lambda: account.counts.accepted == len(due))
        left = {f"+{one.request.destination_addr}": one.at + account.epoch for one in account.record.arrivals}
    late = {to: left[to] - at.timestamp() for to, at in due.items()}
    assert all(0 <= seconds <= 1 + stalls.longest_s for seconds in late.values()), late
