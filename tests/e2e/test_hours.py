"""People are written to within their hours only: what comes outside them waits in Kafka until they begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.model import EventStatus
from smpp.simulator import Account, Simulator
from tests.support.stage import PASSWORD, Stages, job, lane

ANA, ANA_ABROAD = "+573001234567", "+525512345678"


async def test_bulk_waits_for_the_hours_of_its_country(stage: Stages) -> None:
    """Today and tomorrow are holidays there; abroad there are none, and passwords have no hours."""
    account = Account("alpha", PASSWORD)
    today = datetime.now(UTC).date()
    holidays = [today + timedelta(days=day) for day in range(-1, 3)]
    hours = {"time_zone": "UTC", "days": {"mon-sun": "00:00-24:00"}, "country": "CO", "holidays": holidays}
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port)}, hours=[hours]) as site,
        site.worker(),
    ):
        await site.publish(job("j", [ANA, ANA_ABROAD]), job("otp", [ANA], **{"class": "otp"}))
        await site.tally.until_ended(["j:1", "otp:0"])
        assert site.tally.end_of("j:1") is site.tally.end_of("otp:0") is EventStatus.DELIVERED
        assert site.tally.of("j:0") == []
    assert account.counts.accepted == 2
