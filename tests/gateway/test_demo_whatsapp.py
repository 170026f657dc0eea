"""The demo's number of WhatsApp: Meta's end of it, its rating, and what is shown of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from gateway.config import loads
from gateway.demo import standing, trouble
from gateway.demo.meta import NUMBER, Meta
from gateway.demo.process import Gateway
from gateway.demo.screen import Screen
from gateway.demo.script import WHATSAPP, write
from gateway.demo.stage import CONFIG, Stage
from gateway.demo.standing import Standing
from gateway.demo.tally import Tally
from gateway.model import Event, EventStatus
from gateway.simulators import WhatsAppSimulator
from gateway.simulators.end import Update
from smpp.simulator import Simulator

AT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
SCRIPT = write(300)
TEXT = CONFIG.format(bootstrap="b:1", store="redis://s", port=1, number=NUMBER, meta=2, webhooks=3, admin=4)
LOADED = loads(TEXT.replace("_file", "_env"), {"password": "x"})


def test_meta_knows_who_has_read_and_what_was_not_allowed() -> None:
    """What it has told, and what it has refused for another reason than that somebody does not use WhatsApp."""
    meta = Meta("x", "http://localhost/hooks")
    meta.reports([Update("1", "delivered", NUMBER, "57300"), Update("2", "read", NUMBER, "57301")], 0.0)
    for code in ("131026", "130429"):
        meta.record.add(0.0, NUMBER, "57302", "", code)
    assert (meta.seen().read, meta.seen().beyond) == ({"57301"}, 1)


async def test_meta_rates_the_number_red_half_way_and_green_when_that_was_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not before the gateway has said that it knows; then more people may be reached as well."""
    monkeypatch.setattr(trouble, "_RED_S", 0.0)
    monkeypatch.setattr(trouble, "_TURN_S", 0.0)
    tally, meta = Tally(SCRIPT), Meta("x", "http://localhost/hooks")
    stage = Stage(tmp_path, LOADED, Simulator([]), WhatsAppSimulator(meta), meta, Gateway(tmp_path, tmp_path))
    number = meta.numbers[NUMBER]
    with Screen(Console(file=StringIO())).live(LOADED, tally) as show:
        running = asyncio.create_task(trouble.of_a_number(stage, tally, show))

        async def rating(*submitted: int) -> str:
            tally.add([Event(f"{n}", EventStatus.SUBMITTED, AT, f"{n}", lane=WHATSAPP) for n in submitted])
            for _ in range(5):
                await asyncio.sleep(0)
            return number.quality_rating

        half = tally.planned[WHATSAPP] // 2
        assert await rating(*range(half - 1)) == "GREEN"
        assert await rating(half) == "RED"
        show.stand(Standing("RED"))
        assert await rating() == "GREEN"
        await running
    assert meta.limits.messaging_limit == 10_000
    assert not stage.told


METRICS = """\
# HELP recado_lane_effective_rate Parts per second.
# TYPE recado_lane_effective_rate gauge
recado_lane_effective_rate{lane="andina"} 1000.0
recado_lane_effective_rate{lane="whatsapp"} 19.5
# HELP recado_whatsapp_quality Rating.
# TYPE recado_whatsapp_quality gauge
recado_whatsapp_quality{lane="whatsapp",rating="RED"} 1.0
# HELP recado_whatsapp_recipients_used Used.
# TYPE recado_whatsapp_recipients_used gauge
recado_whatsapp_recipients_used{portfolio="banco"} 750.0
# HELP recado_whatsapp_limit Limit.
# TYPE recado_whatsapp_limit gauge
recado_whatsapp_limit{portfolio="banco"} 2000.0
"""


def test_a_standing_is_what_the_gateway_says_of_its_number() -> None:
    """Quality, rate and tier; of another lane nothing, and of a limit that is not there that there is none."""
    number = standing.read(METRICS, WHATSAPP)
    assert number == Standing("RED", 19.5, 2000, 750)
    assert str(number) == "RED, 20 messages/s, TIER_2K: 750 of 2,000 people reached"
    unlimited = standing.read(METRICS[: METRICS.index("# HELP recado_whatsapp_limit")], WHATSAPP)
    assert str(unlimited) == "RED, 20 messages/s, TIER_UNLIMITED: 750 people reached"
    assert standing.read("", WHATSAPP) == Standing()


def test_eighty_columns_are_enough() -> None:
    """For what is shown while it runs, and for the report: nothing is cut off."""
    out = StringIO()
    console, tally = Console(file=out, width=80), Tally(write(10_000))
    screen = Screen(console)
    with screen.live(LOADED, tally) as show:
        console.print(show)
    screen.report(tally, [])
    for name in (*LOADED.lanes, "submitted", "delivered", "in flight", "parts/s", "before a lane", "second try"):
        assert name in out.getvalue()
    assert "…" not in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_change_of_the_number_is_said_once(terminal: bool) -> None:
    """Of its quality or its limit; not of what changes all the time."""
    out = StringIO()
    with Screen(Console(file=out, force_terminal=terminal, width=200)).live(LOADED, Tally(SCRIPT)) as show:
        for used in range(3):
            show.stand(Standing("GREEN", 195.0, 2000, used))
            show.tick()
        show.stand(Standing("RED", 19.5, 2000, 3))
        show.stand(Standing("RED", 19.5, 10_000, 4))
    said = [line for line in out.getvalue().splitlines() if " s  whatsapp: " in line]
    assert [line.partition("whatsapp: ")[2] for line in said] == [
        "GREEN, 195 messages/s, TIER_2K: 0 of 2,000 people reached",
        "RED, 20 messages/s, TIER_2K: 3 of 2,000 people reached",
        "RED, 20 messages/s, TIER_10K: 4 of 10,000 people reached",
    ]
