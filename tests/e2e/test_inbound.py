"""What people write to us: published whole, in whatever pieces and order it comes, and only then answered."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import config
from gateway.app import Worker
from gateway.model import Inbound
from smpp.simulator import Account, Simulator
from tests.support.stage import PASSWORD, Stage, Stages, lane

ANA = "+573001234567"
LUIS = "+573017654321"
LONG = "Señor, ya pagué. " * 35


async def inbound(site: Stage, count: int) -> list[Inbound]:
    records = await site.read(site.config.kafka.inbound_topic, count)
    return [msgspec.json.decode(record.value, type=Inbound) for record in records]


async def test_a_message_from_a_person_is_published_with_its_addresses(stage: Stages) -> None:
    """Text, who, to whom, lane and account; GSM-7 and UCS-2."""
    account = Account("alpha", PASSWORD)
    lanes = {"alpha": lane(0, account="contract-7")}
    async with Simulator([account]) as smsc:
        lanes["alpha"]["port"] = smsc.port
        async with stage(lanes=lanes) as site, site.worker():
            smsc.send_mo("alpha", ANA[1:], "89000", "¿Cuánto debo?")
            smsc.send_mo("alpha", LUIS[1:], "89000", "Já paguei 🙂")
            found = {each.from_: each for each in await inbound(site, 2)}
            await site.until(lambda: account.counts.settled == 2)
    assert {from_: each.text for from_, each in found.items()} == {ANA: "¿Cuánto debo?", LUIS: "Já paguei 🙂"}
    ana = found[ANA]
    assert (ana.to, ana.lane, ana.account, ana.channel, ana.kind) == ("89000", "alpha", "contract-7", "sms", "text")
    assert (ana.parts, ana.parts_missing) == (1, 0)
    assert len({each.inbound_id for each in found.values()}) == 2


async def test_parts_are_joined_in_whatever_order_they_come(stage: Stages) -> None:
    """Every order, a part twice, all ways of marking parts, and parts that come on different binds."""
    account = Account("alpha", PASSWORD)
    ways: list[dict[str, Any]] = [
        {"long": long, "order": order}
        for long in ("udh8", "udh16", "sar")
        for order in ((1, 2, 3, 4), (4, 3, 2, 1), (2, 4, 4, 1, 3))
    ]
    async with (
        # A window of one delivery a bind: parts go round over the binds.
        Simulator([account], deliver_window=1) as smsc,
        stage(lanes={"alpha": lane(smsc.port, binds=3)}, kafka={"inbound_partitions": 1}) as site,
        site.worker(),
    ):
        await site.until(lambda: account.counts.binds == 3)
        for number, way in enumerate(ways):
            parts = smsc.send_mo("alpha", f"5730012345{number:02d}", "89000", LONG, **way)
            assert parts == 4
        await site.until(lambda: account.counts.pending == 0)
        smsc.send_mo("alpha", ANA[1:], "89000", "last")
        *found, last = await inbound(site, len(ways) + 1)
    assert {each.from_: (each.text, each.parts, each.parts_missing) for each in found} == {
        f"+5730012345{number:02d}": (LONG, 4, 0) for number in range(len(ways))
    }
    assert last.text == "last"
    assert account.counts.discarded == 0


class Impatient(Worker):
    """Waits for parts two seconds instead of the minute that a configuration may go down to."""

    def __init__(self, settings: config.Config) -> None:
        limits = msgspec.structs.replace(settings.limits, inbound_parts_s=2)
        super().__init__(msgspec.structs.replace(settings, limits=limits))


async def test_what_came_is_published_when_the_rest_does_not_come(stage: Stages) -> None:
    """Two of four parts: published after the deadline, in order, with the number that is missing."""
    account = Account("alpha", PASSWORD)
    async with (
        Simulator([account]) as smsc,
        stage(lanes={"alpha": lane(smsc.port)}) as site,
        site.worker(kind=Impatient),
    ):
        await site.until(lambda: account.counts.binds == 1)
        smsc.send_mo("alpha", ANA[1:], "89000", LONG, order=(3, 1))
        await site.until(lambda: account.counts.settled == 2)
        [found] = await inbound(site, 1)
    assert (found.parts, found.parts_missing) == (4, 2)
    assert found.text[:150] == LONG[:150]
    assert len(found.text) < len(LONG)
