"""All that a worker knows of Meta: the board of conditions, the portfolios, the service windows, and who asks and looks."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from math import inf
from typing import Any

from gateway.board import Board, Poll, Polled
from gateway.carrier import HttpCarrier
from gateway.conditions import NOTICES, Conditions, Whose
from gateway.config import Config
from gateway.errors import Disposition
from gateway.inbox import Inbox
from gateway.lane import Lane, Slot
from gateway.metrics.machinery import Backlog
from gateway.number import Number
from gateway.outbox import Record
from gateway.portfolio import Portfolio
from gateway.providers.contract import Change, Failure
from gateway.providers.whatsapp import WhatsApp, failure_of
from gateway.receipts import Reached, Refused
from gateway.shortage import Shortages, Waiting
from gateway.store import Patience
from gateway.whatsapp_lane_config import WhatsAppLane
from gateway.window import Window

log = logging.getLogger("gateway.meta")


class Meta:
    """Gives every lane of WhatsApp its number, and carries what Meta says of one to all processes.

    `backlog` is of the topics of the lanes; `publish` returns when its events are in Kafka.
    """

    def __init__(
        self,
        config: Config,
        lanes: Mapping[str, Lane],
        slots: Mapping[tuple[str, int], Slot],
        store: Patience,
        prefix: str,
        inbox: Inbox,
        *,
        backlog: Backlog,
        publish: Callable[[list[Record]], Awaitable[None]],
    ) -> None:
        self._lanes = {name: lane for name, lane in lanes.items() if isinstance(lane.config, WhatsAppLane)}
        self._slots = slots
        self._numbers: dict[str, Number] = {}
        self._wake = inbox.wake.set
        self._backlog = backlog
        self.board = Board(Conditions(), store, prefix, self._learned)
        self.window = Window(store, prefix)
        self.portfolios = {
            name: Portfolio(name, store, prefix, portfolio.reserve) for name, portfolio in config.portfolios.items()
        }
        now = time.monotonic()
        for lane in self._lanes.values():
            of_lane = lane.config
            assert isinstance(of_lane, WhatsAppLane)
            portfolio = self.portfolios[of_lane.portfolio]
            self._numbers[lane.name] = Number(of_lane, self.board, portfolio, self.window, now)
        self._poll = Poll(self.board, self._polled, inf)
        self._configure(config, now)
        self._shortages = Shortages(
            {number.portfolio.name: number.portfolio for number in self._numbers.values()},
            store,
            limit_of=lambda name: self._of_portfolio(name)[1].recipients,
            speaks=lambda name: (self._of_portfolio(name)[0], 0) in slots,
            waiting=self._waiting,
            publish=publish,
        )

    def __bool__(self) -> bool:
        """Whether any lane is one of WhatsApp."""
        return bool(self._lanes)

    def reconfigure(self, config: Config) -> None:
        """Go on with what a reload has changed, and with numbers that Meta had stopped."""
        self._configure(config, time.monotonic())
        self.board.resumed([number.whose for number in self._numbers.values()], time.time())

    async def load(self) -> None:
        """Learn what was known; nothing is to be sent before. Waits while the store is away."""
        if self._lanes:
            await self.board.load()

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What is to run as long as the worker."""
        if self._lanes:
            yield "conditions", self.board.run()
            yield "health", self._poll.run()
            yield "shortage", self._shortages.run()

    async def changed(self, lane: str, changes: Sequence[Change]) -> None:
        """Take in what a callback said; when this returns it is safe, and within a second known everywhere.

        The address of one lane hears of all business accounts of an app: a change is for the lanes of its account, or for
        those that do not say of which they are.
        """
        if lane not in self._lanes:
            return
        app = {
            name: one.config.settings.waba_id
            for name, one in self._lanes.items()
            if isinstance(one.config, WhatsAppLane) and one.account == self._lanes[lane].account
        }
        now = time.time()
        for change in changes:
            if change.what in NOTICES:
                log.warning("Meta says subject=%s %s=%r", change.subject, change.what, change.value)
            account = change.account if change.account in app.values() else ""
            of_account = {name for name, waba_id in app.items() if waba_id == account or not change.account}
            for whose in self._distinct(of_account):
                self.board.changed([change], whose, now)
            if not of_account:
                log.info("a change of a business account that no lane has account=%.32s", change.account)
        await self.board.safe()

    async def refused(self, refused: Refused) -> None:
        """Take in what callbacks say of failed messages, as if it had been the answer; when this returns it is safe."""
        for sent, code in refused:
            number = self._numbers.get(sent.lane)
            failure = failure_of(int(code)) if code.isascii() and code.isdecimal() else None
            if number and failure and failure.disposition in (Disposition.HOLD, Disposition.STOP):
                self.board.failed(failure, number.whose, sent.template, sent.at or time.time())
        await self.board.safe()

    async def settled(self, reached: Reached) -> None:
        """Count whom messages have reached, and give back the places of those that failed."""
        for name, (delivered, failed) in reached.items():
            if name in self.portfolios:
                await self.portfolios[name].settle(delivered, failed, int(time.time() * 1000))

    def _configure(self, config: Config, now: float) -> None:
        self._poll.poll_s = inf
        for name, number in self._numbers.items():
            lane = self._lanes[name]
            of_lane = lane.config
            assert isinstance(of_lane, WhatsAppLane)
            portfolio = config.portfolios[of_lane.portfolio]
            number.portfolio.kept = portfolio.reserve
            number.configure(of_lane, portfolio.recipients, now)
            lane.take_number(number)
            self._poll.poll_s = min(self._poll.poll_s, of_lane.poll_s)

    def _learned(self) -> None:
        """Something is another than it was: here, or in another process that has told it."""
        for name, number in self._numbers.items():
            if code := self.board.conditions.stopped(number.whose.number):
                self._lanes[name].stop(Failure(Disposition.STOP, code))
        self._wake()

    def _distinct(self, lanes: set[str]) -> Iterator[Whose]:
        """One for all lanes that share an account and a portfolio: what is said of these is said once."""
        found = {(whose.account, whose.portfolio): whose for name in lanes for whose in (self._numbers[name].whose,)}
        yield from found.values()

    def _of_portfolio(self, portfolio: str) -> tuple[str, Number]:
        """The first lane of a portfolio, which speaks for it, and its number."""
        name = min(name for name, number in self._numbers.items() if number.portfolio.name == portfolio)
        return name, self._numbers[name]

    async def _waiting(self) -> list[Waiting]:
        """What this worker's queues have that has no place yet; of what is paused or stopped nobody knows when it wants one."""
        await self._backlog.look()
        return [
            Waiting(
                number.portfolio.name,
                queue.name,
                queue.class_,
                self._backlog.behind(queue.tp, queue.progress.end)
                + len(queue.records)
                + sum(not part.flight.admitted_at for part in queue.ready),
            )
            for (name, _), slot in self._slots.items()
            if (number := self._numbers.get(name)) is not None
            for queue in slot.queues
            if queue.owned and slot.lane.limit and not slot.lane.stopped and number.rate_of(queue.class_)
        ]

    def _polled(self) -> Iterator[Polled]:
        for name, lane in self._lanes.items():
            carrier = lane.carrier
            slot = self._slots.get((name, 0))
            if slot and slot.port.bound and isinstance(carrier, HttpCarrier) and lane.number is not None:
                provider = carrier.provider
                assert isinstance(provider, WhatsApp)
                yield Polled(name, provider, carrier.shared.client.send, lane.number.whose)
