"""What a hard kill may and may not do: nothing is lost, and only who asked for it gets a message twice."""

from __future__ import annotations

import random

import pytest

from smpp.simulator import Account, Behaviour, Simulator
from tests.support.closing import closes
from tests.support.stage import PASSWORD, Stages, job, lane, people

KILLS = 10
WINDOW = 50
BINDS = 2
BULK = 40_000
OTP = 10_000
PER_JOB = 2_000


@pytest.mark.timeout(240)
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
        await closes(site, account, bulk, patience_s=60)
        assert await closes(site, account, otp, repeated=KILLS * WINDOW * BINDS) == 0
        gateway.assert_clean_log()
