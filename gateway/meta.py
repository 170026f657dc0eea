"""All that a worker knows of Meta: the board of conditions, the portfolios, the service windows, and who asks for healths."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

from gateway.board import Board, Poll, Polled
from gateway.carrier import HttpCarrier
from gateway.conditions import Conditions
from gateway.config import Config
from gateway.inbox import Inbox
from gateway.lane import Lane, Slot
from gateway.number import Number
from gateway.portfolio import Portfolio
from gateway.providers.contract import Change
from gateway.providers.whatsapp import WhatsApp
from gateway.receipts import Reached
from gateway.store import Patience
from gateway.whatsapp_lane_config import WhatsAppLane
from gateway.window import Window


class Meta:
    """Gives every lane of WhatsApp its number, and carries what Meta says of one to all processes."""

    def __init__(
        self,
        config: Config,
        lanes: Mapping[str, Lane],
        slots: Mapping[tuple[str, int], Slot],
        store: Patience,
        prefix: str,
        inbox: Inbox,
    ) -> None:
        self._lanes = {name: lane for name, lane in lanes.items() if isinstance(lane.config, WhatsAppLane)}
        self._slots = slots
        self.board = Board(Conditions(), store, prefix, inbox.wake.set)
        self.window = Window(store, prefix)
        self.portfolios = {
            name: Portfolio(name, store, prefix, portfolio.reserve) for name, portfolio in config.portfolios.items()
        }
        now = time.monotonic()
        for lane in self._lanes.values():
            of_lane = lane.config
            assert isinstance(of_lane, WhatsAppLane)
            number = Number(of_lane, self.board, self.portfolios[of_lane.portfolio], self.window, now)
            number.configure(of_lane, config.portfolios[of_lane.portfolio].recipients)
            lane.take_number(number)

    def __bool__(self) -> bool:
        """Whether any lane is one of WhatsApp."""
        return bool(self._lanes)

    def reconfigure(self, config: Config) -> None:
        """Go on with what a reload has changed."""
        for lane in self._lanes.values():
            of_lane = lane.config
            if isinstance(of_lane, WhatsAppLane) and lane.number is not None:
                lane.number.configure(of_lane, config.portfolios[of_lane.portfolio].recipients)

    async def load(self) -> None:
        """Learn what was known; nothing is to be sent before. Waits while the store is away."""
        if self._lanes:
            await self.board.load()

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What is to run as long as the worker."""
        if self._lanes:
            yield "conditions", self.board.run()
            poll_s = min(lane.config.poll_s for lane in self._lanes.values() if isinstance(lane.config, WhatsAppLane))
            yield "health", Poll(self.board, self._polled, poll_s).run()

    async def changed(self, lane: str, changes: Sequence[Change]) -> None:
        """Take in what a callback said; when this returns it is safe, and within a second known everywhere."""
        number = self._lanes[lane].number if lane in self._lanes else None
        if number is not None:
            self.board.changed(changes, number.whose, time.time())
            await self.board.safe()

    async def settled(self, reached: Reached) -> None:
        """Count whom messages have reached, and give back the places of those that failed."""
        for name, (delivered, failed) in reached.items():
            if name in self.portfolios:
                await self.portfolios[name].settle(delivered, failed, int(time.time() * 1000))

    def _polled(self) -> Iterator[Polled]:
        for name, lane in self._lanes.items():
            carrier = lane.carrier
            slot = self._slots.get((name, 0))
            if slot and slot.port.bound and isinstance(carrier, HttpCarrier) and lane.number is not None:
                provider = carrier.provider
                assert isinstance(provider, WhatsApp)
                yield Polled(name, provider, carrier.shared.client.send, lane.number.whose)
