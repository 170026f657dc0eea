"""What goes wrong in the middle of the campaign, and comes right again; each of these ends by itself or is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp

from gateway.demo import standing
from gateway.demo.screen import Show
from gateway.demo.script import ATLANTICA, WHATSAPP
from gateway.demo.stage import Stage
from gateway.demo.tally import Tally
from gateway.model import EventStatus

_LOOK_S = 0.5
_TURN_S = 0.1
_RED_S = 4.0
"""How long one sees that the number has become slow."""


async def of_an_operator(stage: Stage, tally: Tally) -> None:
    """One that cannot take everything recovers after a quarter of its messages."""
    await _until(lambda: tally.of(EventStatus.SUBMITTED, lane=ATLANTICA) >= tally.planned[ATLANTICA] // 4)
    stage.recover()


async def of_a_number(stage: Stage, tally: Tally, show: Show) -> None:
    """People complain half-way; when the gateway has been slow for a while they are content, and Meta allows more."""

    def submitted() -> int:
        return tally.of(EventStatus.SUBMITTED, lane=WHATSAPP)

    await _until(lambda: submitted() >= tally.planned[WHATSAPP] // 2)
    stage.rate("RED")
    show.say("people complain: Meta rates the number RED")
    await _until(lambda: show.standing.quality == "RED")
    before = submitted()
    await asyncio.sleep(_RED_S)
    stage.rate("GREEN")
    stage.promote()
    show.say(
        f"{submitted() - before} messages in {_RED_S:g} s: people are content, Meta rates it GREEN and raises its tier"
    )


async def watch(stage: Stage, show: Show) -> None:
    """Show how the gateway sees its number, for as long as it can be asked."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(stage.metrics) as response:
                    show.stand(standing.read(await response.text(), WHATSAPP))
            await asyncio.sleep(_LOOK_S)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(_TURN_S)
