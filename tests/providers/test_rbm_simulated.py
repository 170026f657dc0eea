"""A lane of RCS as it is configured, against the simulator of RBM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from gateway.carrier import HttpCarrier
from gateway.config import HttpLane, loads
from gateway.errors import Disposition
from gateway.inbox import Inbox
from gateway.model import Message
from gateway.providers.contract import PUT_BACK, Failure, Scope
from gateway.providers.http_answer import HttpAnswer
from gateway.providers.http_reach import UNREACHABLE
from gateway.simulators.behaviour import Behaviour
from gateway.simulators.server import Simulator
from gateway.simulators.vendors import VENDORS, Vendor
from tests.providers.suite import a_message
from tests.providers.test_rbm import PEM

PATIENCE_S = 5.0
GONE = "573001110001"
CONFIG = """
[kafka]
bootstrap = "k:9092"
[store]
url = "redis://s"
[[routes]]
channel = "rcs"
lane = "rcs"
[lanes.rcs]
provider = "rcs"
rate = 100
allow_private = true
[lanes.rcs.rcs]
agent_id = "agent"
client_email = "recado@project.example"
private_key_env = "PEM"
base_url = "{base}"
token_url = "{base}/token"
{more}
"""


class Lane:
    """The carrier of a lane, a port of it, and what comes out."""

    def __init__(self, config: str) -> None:
        lane = loads(config, {"PEM": PEM}).lanes["rcs"]
        assert isinstance(lane, HttpLane)
        self.carrier = HttpCarrier(lane)
        self._inbox = Inbox(100)
        self.port = self.carrier.port(self._inbox, lambda: None)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - some of it is in no event
                await asyncio.sleep(0.005)

    async def outcomes(self, messages: Sequence[Message]) -> list[Failure | None]:
        """Encode and submit messages, and wait for what becomes of each."""
        await self.until(lambda: self.port.bound)
        self.port.submit(
            [(body, place) for place, one in enumerate(messages) for body in self.carrier.encode(one, 0.0)]
        )
        await self.until(lambda: sum(map(len, self._inbox.answers)) == len(messages))
        found: dict[int, Failure | None] = {}
        for answer in (answer for answers in self._inbox.answers for answer in answers):
            assert isinstance(answer, HttpAnswer)
            found[answer.context] = answer.failure
        self._inbox.answers = []
        back = [place for place, failure in found.items() if failure is PUT_BACK]
        if back:  # about whom they go to was asked meanwhile
            found |= dict(zip(back, await self.outcomes([messages[place] for place in back]), strict=True))
        return [found[place] for place in range(len(messages))]


@asynccontextmanager
async def running(more: str = "", **behaviour: object) -> AsyncIterator[tuple[Lane, Vendor]]:
    end = VENDORS["rbm"](Behaviour(**behaviour))  # type: ignore[arg-type]
    async with Simulator({"rbm": end}) as simulator:
        lane = Lane(CONFIG.format(base=f"http://127.0.0.1:{simulator.port}/rbm", more=more))
        lane.port.start()
        try:
            yield lane, end
        finally:
            await lane.port.close()


def _arrived(end: Vendor) -> list[tuple[str, str]]:
    return sorted((arrival.recipient, arrival.code) for arrival in end.record.arrivals())


PEOPLE = [a_message("", content='{"contentMessage":{"text":"Hola"}}', number=n, channel="rcs") for n in range(3)]


async def test_who_is_not_reachable_is_sent_elsewhere_without_a_request() -> None:
    """The second time without a question, too."""
    async with running(rejected={GONE: "404"}) as (lane, end):
        assert await lane.outcomes(PEOPLE) == [None, UNREACHABLE, None]
        assert await lane.outcomes([PEOPLE[1]]) == [UNREACHABLE]
        assert _arrived(end) == [("573001110000", ""), ("573001110002", "")]


async def test_without_looking_up_the_answer_to_the_message_decides() -> None:
    """As often as it is sent."""
    not_reached = Failure(Disposition.REROUTE, "404", "NOT_FOUND", scope=Scope.RECIPIENT)
    async with running("look_ups_per_s = 0", rejected={GONE: "404"}) as (lane, end):
        assert await lane.outcomes(PEOPLE) == [None, not_reached, None]
        assert await lane.outcomes([PEOPLE[1]]) == [not_reached]
        assert _arrived(end) == [("573001110000", ""), (GONE, "404"), (GONE, "404"), ("573001110002", "")]


async def test_who_waits_for_a_turn_is_asked_about_meanwhile() -> None:
    """When it comes, the answer is there."""
    async with running() as (lane, _):
        await lane.until(lambda: lane.port.bound)
        lane.carrier.encode(PEOPLE[0], 0.0)
        reach = lane.carrier.shared.reach
        assert reach
        await lane.until(lambda: reach.of(PEOPLE[0].to))


@pytest.mark.parametrize("fault", ["garbage", "reset", "bare_502"])
async def test_what_is_in_doubt_comes_again_under_the_same_id(fault: str) -> None:
    """After a while, not at once; the person gets it once, however often it is sent."""
    async with running("look_ups_per_s = 0", faults={fault: 1.0}) as (lane, end):
        (failure,) = await lane.outcomes([PEOPLE[0]])
        assert failure
        assert failure.disposition is Disposition.RETRY
        requests = end.record.counts.requests
        assert requests == 1
        end.script.behaviour = Behaviour()
        again = msgspec.structs.replace(PEOPLE[0], attempt=2)
        assert await lane.outcomes([again]) == [None]
        assert (end.record.counts.requests, end.record.counts.duplicates) == (requests + 1, requests)
