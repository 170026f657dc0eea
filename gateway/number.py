"""One WhatsApp number in this process: what Meta's four limits and its conditions mean for what is written next.

The messages per second of the number are its lane's lease. What is left: its quality divides that rate among classes; a person
gets so many (`pairs.py`); templates and numbers are paused (`conditions.py`); and outside a person's service window the
portfolio has so many places a day (`portfolio.py`), which are reserved before a message is written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import ceil, inf

from msgspec.structs import replace

from gateway.board import Board
from gateway.conditions import Whose
from gateway.correlation import attempt_key
from gateway.errors import Disposition
from gateway.flight import Flight
from gateway.model import Message, TrafficClass, has_expired
from gateway.pairs import Pairs
from gateway.portfolio import Portfolio, Wish
from gateway.providers.contract import Failure, Scope
from gateway.providers.whatsapp import template_of
from gateway.whatsapp_lane_config import WhatsAppLane
from gateway.window import Window
from ratelimit import SLICE_S, TokenBucket

_AGAIN_S = 900.0
"""A message that is held asks again after this at the latest: what was paused may be lifted early."""
_IN_A_ROW = 50
"""Messages of one template that are wrong, and none between them that is right: then something is wrong with all of them."""
_WRONG_S = 60.0
"""How long such a template is held. A person has to look, and some that are wrong do not make the others wait for long."""
_TEMPLATES = 1000
"""Templates of which wrong messages are remembered; their names come from jobs."""
_GONE = "template-gone"
_CLOSED = "131047"
"""Meta's code for a free message outside the service window; we know without asking."""
_NO_PLACE = Failure(Disposition.REROUTE, "no-place")
"""Another lane of the route may be of another portfolio."""


class Number:
    """Made by the worker for each lane of WhatsApp; `board`, `portfolio` and `window` are shared by all numbers."""

    def __init__(
        self,
        lane: WhatsAppLane,
        board: Board,
        portfolio: Portfolio,
        window: Window,
        now: float,
    ) -> None:
        """`now` is monotonic seconds."""
        self.whose = Whose(lane.settings.phone_number_id, lane.settings.waba_id or lane.account, lane.portfolio)
        self.pairs: Pairs | None = None
        """None where the lane has no limit of its own for a person."""
        self._board = board
        self.portfolio = portfolio
        self._window = window
        self._classes = {class_: TokenBucket(0, 1, now) for class_ in TrafficClass}
        self._wrong: dict[str, int] = {}
        self.configure(lane, None, now)

    def configure(self, lane: WhatsAppLane, limit: int | None, now: float) -> None:
        """Go on with a lane's changed policy; `limit` is its portfolio's until Meta has said another. Monotonic seconds."""
        every_s, burst = lane.pair.every_s, lane.pair.burst
        if not every_s:
            self.pairs = None
        elif self.pairs is None:
            self.pairs = Pairs(every_s, burst, now)
        else:
            self.pairs.configure(every_s, burst, now)
        self._rate = lane.rate
        self._policy = lane.quality.policy
        self._next = lane.templates == "next"
        self._limit = limit

    @property
    def quality(self) -> str:
        return self._board.conditions.quality(self.whose.number)

    @property
    def recipients(self) -> int | None:
        """People that the portfolio may reach in 24 hours; None for any number."""
        return self._board.conditions.limit(self.whose.portfolio, self._limit)

    def rate(self) -> float:
        """Messages a second that the number stands now, in all classes together."""
        return max(self.rate_of(class_) for class_ in TrafficClass)

    def rate_of(self, class_: TrafficClass) -> float:
        """Messages a second that it stands now of one class; 0 while that is paused."""
        return self._board.conditions.rate_of(self.whose.number, class_, self._rate, self._policy, time.time())

    def limit_classes(self, ready: dict[TrafficClass, int], lease_rate: float, now: float) -> tuple[float, int]:
        """Lower what is ready of each class to what its share of the rate lets through now.

        Returns the seconds after which one that was held back may go on, infinite if none is, or only while it is paused
        (whoever changes that wakes everybody); and how many more would go if this process had more of the lease.
        """
        wait = inf
        held = 0
        for class_, size in ready.items():
            rate = self.rate_of(class_)
            if not rate:
                ready[class_] = 0
            elif rate < self._rate and rate != self.rate():
                bucket = self._classes[class_]
                share = lease_rate * rate / self._rate if self._rate else 0.0
                bucket.set_rate(share, now, max(1, int(share / 4)))
                ready[class_] = min(size, bucket.available(now))
                held += max(0, min(size, ceil(rate * SLICE_S)) - ready[class_])
                if not ready[class_]:
                    # Without a share of the lease there is none of the class, and nobody says when there is.
                    wait = min(wait, SLICE_S, bucket.wait(now, 1))
        return wait, held

    def took(self, class_: TrafficClass, count: int, now: float) -> None:
        """So many of a class are written."""
        self._classes[class_].take(count, now)

    def refusal(self, message: Message, template: str, *, window_open: bool, now: float) -> Failure | float:
        """Return why a message is not sent from here, or how many seconds it is held; 0 for one that can go. Unix time.

        `template` is as `template_of` gives it: empty for a free message. What a number is held for no other template would
        mend: its messages wait, whatever the lane does about templates, and those without time for that take another lane.
        """
        conditions = self._board.conditions
        if not template and not window_open:
            return Failure(
                Disposition.REJECTED, _CLOSED, "the person has not written within 24 hours", scope=Scope.RECIPIENT
            )
        state = conditions.number_state(self.whose, now, template=bool(template))
        if state.standing != "ok":
            elsewhere = Failure(Disposition.REROUTE, "number-held", state.reason)
            again = _wait(message, state.until, now, elsewhere)
            return elsewhere if isinstance(again, float) and has_expired(message, now + again) else again
        if template:
            state = conditions.template_state(self.whose.account, template, now)
        if state.standing == "ok":
            return 0.0
        if state.standing == "gone" or self._next:
            return Failure(Disposition.REJECTED, _GONE, state.reason, scope=Scope.TEMPLATE)
        late = Failure(Disposition.REJECTED, "template-held", state.reason, scope=Scope.TEMPLATE)
        return _wait(message, state.until, now, late)

    def is_held(self, message: Message) -> bool:
        """Whether Meta holds the number back for such a message, whatever its template is."""
        state = self._board.conditions.number_state(self.whose, time.time(), template=bool(template_of(message)))
        return state.standing != "ok"

    async def place(self, flights: Sequence[Flight], behind: Mapping[TrafficClass, int]) -> list[Failure | float]:
        """Reserve what messages need before they are written, and mark them; waits while the store is away.

        `behind` is how many of each class come after these. Answers for each, in their order, 0 for one that may go, the seconds
        after which to ask again, or why it never may.
        """
        now = time.time()
        messages = [flight.message for flight in flights]
        templates = [template_of(message) for message in messages]
        limit = self.recipients
        # Whether a person has written lately is asked for free messages, and where it saves a place.
        asked = [n for n, template in enumerate(templates) if limit is not None or not template]
        opened = [False] * len(messages)
        found = await self._window.open_for(self.whose.number, [messages[n].to for n in asked])
        for n, is_open in zip(asked, found, strict=True):
            opened[n] = is_open
        answers = [
            self.refusal(message, template, window_open=is_open, now=now)
            for message, template, is_open in zip(messages, templates, opened, strict=True)
        ]
        asking = [n for n, answer in enumerate(answers) if answer == 0.0]
        wishes = [Wish(messages[n].to, attempt_key(messages[n]), messages[n].class_, opened[n]) for n in asking]
        for n, answer in zip(asking, await self.portfolio.reserve(limit, wishes, int(now * 1000), behind), strict=True):
            answers[n] = answer.wait_s and _wait(messages[n], now + answer.wait_s, now, _NO_PLACE)
            flights[n].placed, flights[n].had_place = answer.placed, answer.had
        return answers

    def held(self, message: Message, failure: Failure, written_at: float) -> Failure:
        """Meta has refused a message for what it is of: its template or the number waits, here and in all processes.

        Returns what that asks for of this message: the same as of those behind it, see `refusal`.
        """
        self._board.failed(failure, self.whose, template_of(message), written_at)
        if self._next and failure.scope is Scope.TEMPLATE:
            return replace(failure, disposition=Disposition.REJECTED)
        return replace(failure, after=failure.after and min(_AGAIN_S, failure.after))

    def accepted(self, message: Message) -> str:
        """Note that Meta took a message; returns what `template_of` says of it."""
        if self.pairs is not None:
            self.pairs.accepted(message.to)
        template = template_of(message)
        if self._wrong:
            self._wrong.pop(template, None)
        return template

    def wrong(self, message: Message, failure: Failure, written_at: float) -> None:
        """A message does not go with its template: many in a row hold that up, here and in all processes."""
        if self._next:
            return  # a hold of ours would send the right ones elsewhere as well
        template = template_of(message)
        times = self._wrong.get(template, 0) + 1
        if len(self._wrong) >= _TEMPLATES:
            self._wrong.clear()
        if times < _IN_A_ROW:
            self._wrong[template] = times
        else:
            self._wrong.pop(template, None)
            held = replace(failure, disposition=Disposition.HOLD, after=_WRONG_S)
            self._board.failed(held, self.whose, template, written_at)

    def stopped(self, failure: Failure, at: float) -> None:
        """Nothing goes over the number until a person has looked: so in all processes, if Meta has said it of the number.

        `at` is Unix time.
        """
        self._board.failed(failure, self.whose, "", at)


def _wait(message: Message, until: float, now: float, late: Failure) -> Failure | float:
    """Seconds after which a message asks again; or `late` for one that would not live so long, and has a plan to go on with."""
    if message.plan and until >= (message.expires_at or inf):
        return late
    return min(_AGAIN_S, max(1.0, until - now))
