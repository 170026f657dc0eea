"""What a hard kill may and may not do: nothing is lost, and only who asked for it gets a message twice."""

from __future__ import annotations

import random

from gateway.model import EventStatus
from smpp.simulator import Account, Behaviour, Simulator
from tests.support.stage import PASSWORD, Stages, job, lane, people

KILLS = 10
WINDOW = 50
BINDS = 2
BULK = 40_000
OTP = 10_000
PER_JOB = 2_000


async def test_ten_kills_lose_nothing_and_repeat_only_what_asked_for_it(stage: Stages) -> None:
    """50,000 messages, kill -9 at 10 moments: class `report` is never sent twice, `resend` at most a window a bind."""
    moments = sorted(random.Random(7).sample(range(500, BULK + OTP - 2_000), KILLS))
    account = Account("alpha", PASSWORD, Behaviour(latency_s=0.01, latency_jitter_s=0.02, receipt_delay_s=0.2))
    async with (
        Simulator([account], deliver_timeout=2) as smsc,
        stage(lanes={"alpha": lane(smsc.port, window=WINDOW, binds=BINDS)}, receipts={"early_limit_s": 5}) as site,
        site.process() as gateway,
    ):
        bulk: dict[str, str] = {}
        otp: dict[str, str] = {}
        for start in range(0, BULK + OTP, PER_JOB):
            urgent = start % (5 * PER_JOB) == 0
            recipients = people(f"j{start}", PER_JOB, start)
            (otp if urgent else bulk).update(recipients)
            await site.publish(job(f"j{start}", recipients.values(), **{"class": "otp" if urgent else "bulk"}))
        for moment in moments:
            await site.until(lambda moment=moment: account.counts.accepted >= moment, patience_s=60)
            gateway.kill()
            gateway.start()
        await site.tally.until_ended([*bulk, *otp], patience_s=60)

        def copies(to: str) -> int:
            return account.record.copies(to[1:], b"Hola")

        accepted = {message_id for message_id, to in bulk.items() if copies(to)}
        # Whatever the operator accepted has a receipt, and that resolves what was in doubt.
        await site.tally.until(lambda: all(EventStatus.DELIVERED in site.tally.statuses[each] for each in accepted), 30)
        assert site.tally.ends(otp) == {EventStatus.DELIVERED: OTP}
        assert site.tally.ends(accepted) == {EventStatus.DELIVERED: len(accepted)}
        assert site.tally.ends(bulk.keys() - accepted) in ({}, {EventStatus.UNKNOWN: BULK - len(accepted)})
        assert max(copies(to) for to in bulk.values()) == 1
        assert sum(copies(to) - 1 for to in otp.values()) <= KILLS * WINDOW * BINDS
        gateway.assert_clean_log()
