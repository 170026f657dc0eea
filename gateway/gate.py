"""What a message may have to wait for besides tokens and window: hours, caps of its sender, tenant or campaign, what is held.

A message that has to wait steps aside to the delay ladder, so that nobody behind it waits with it. When it is due again it asks
again: the caps are kept exactly, the time at which it is due is only an estimate.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from math import inf

from msgspec.structs import replace

from gateway.hours import Calendar
from gateway.lane_config import CapKind, Caps
from gateway.model import Message, TrafficClass, has_expired
from gateway.pairs import Pairs
from gateway.providers.whatsapp import template_of
from ratelimit import TokenBucket

_NAMES = 10_000
"""Senders, tenants and campaigns that are remembered: they come from jobs. Who is forgotten begins with an empty bucket."""
AGAIN_S = 600.0
"""What steps aside asks again after this at the latest: what it waits for may have been raised or lifted."""
_TOMORROW_S = 86_400.0
"""What is outside the hours asks again after this at the latest: they may have been changed."""
_PAUSED_S = 60.0
"""A cap of 0 is asked again after this; somebody may have raised it."""
_BURST_S = 0.25
"""A capped flow may bunch up for so long: the ladder gives back what stepped aside a tenth of a second's worth at a time."""


_SUBJECTS: Mapping[str, Callable[[Message], str]] = {
    "sender": lambda message: message.sender,
    "campaign": lambda message: f"{message.tenant}/{message.campaign}",
    "template": template_of,
}
"""What of a message a hold of each kind is about."""
_Name = tuple[CapKind, str, str]
"""Whose bucket it is: the kind, the name, and of a campaign its tenant, since others may call theirs alike."""
_RANKS = {class_: rank for rank, class_ in enumerate(TrafficClass)}
"""0 is the most urgent."""


class _Cap:
    """One bucket, and by class until when what had to step aside has spoken for its tokens."""

    __slots__ = ("bucket", "spoken_for")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.bucket = TokenBucket(rate, burst, now)
        self.clear(now)

    def clear(self, now: float) -> None:
        """Begin the estimate anew."""
        self.spoken_for = [now] * len(_RANKS)

    def is_short(self, class_: TrafficClass, parts: int, now: float) -> bool:
        """Whether there are no tokens for these parts, or only what somebody more urgent waits for."""
        rank = _RANKS[class_]
        if rank and self.spoken_for[rank - 1] > now:
            return True
        return self.bucket.available(now) < min(parts, self.bucket.burst)

    def speak_for(
        self, class_: TrafficClass, parts: int, now: float, left_s: float, roll: Callable[[], float]
    ) -> float:
        """Seconds until there are tokens for these parts beyond what is spoken for by who is as urgent, or more.

        What has only `left_s` to live, and will expire before, speaks for nothing.

        A one-time password does not wait behind a campaign. What is beyond `AGAIN_S` speaks for nothing, else each time that it
        asks it would be further behind; when it asks is spread, so that it meets free places as often as what comes new does.
        """
        rate = self.bucket.rate
        if not rate:
            return _PAUSED_S
        rank = _RANKS[class_]
        took = parts / rate
        seconds = max(0.0, self.spoken_for[rank] - now) + took
        if seconds > min(left_s, AGAIN_S):
            return AGAIN_S * (0.5 + 0.5 * roll())
        for less_urgent in range(rank, len(_RANKS)):
            self.spoken_for[less_urgent] = max(self.spoken_for[less_urgent], now) + took
        return seconds


class Gate:
    """The hours, caps and holds of one lane in this process, which owns `part` of the lane's slots.

    `now` is monotonic seconds, but for hours.
    """

    def __init__(
        self, caps: Caps, max_parts: int = 1, sender: str = "", roll: Callable[[], float] = random.random
    ) -> None:
        """`max_parts` is of one message: no bucket is smaller. `sender` is whose cap counts where a job names nobody."""
        self._caps = caps
        self._sender = sender
        self._max_parts = max_parts
        self._roll = roll
        self._kinds = caps.kinds
        self._part = 1.0
        self._known: dict[_Name, _Cap] = {}
        self._held: dict[str, dict[str, float]] = {}
        """By kind and subject, until when."""
        self.pairs: Pairs | None = None
        """Of a number of WhatsApp."""
        self._calendar = Calendar()
        self.open = not self._kinds
        """There is nothing to ask: most lanes, most of the time."""

    def configure(self, caps: Caps, part: float, now: float) -> None:
        """Change caps, or the part of them that is this process's; takes effect at once and mints nothing."""
        self._caps = caps
        self._kinds = caps.kinds
        self._part = part
        for known, cap in list(self._known.items()):
            rate = caps.of(known[0], known[1])
            if rate is None:
                del self._known[known]
            else:
                cap.bucket.set_rate(rate * part, now, self._burst(rate * part))
                cap.clear(now)
        self._note_open()

    def keep_hours(self, calendar: Calendar) -> None:
        """Let nobody be written to beyond these hours from now on."""
        self._calendar = calendar
        self._note_open()

    def hold(self, kind: str, name: str, until: float) -> None:
        """Let nothing of a sender (campaign, template) pass before `until`."""
        held = self._held.setdefault(kind, {})
        if len(held) >= _NAMES:
            held.clear()
        held[name] = until
        self.open = False

    def release(self, kind: str, name: str) -> None:
        held = self._held.get(kind, {})
        held.pop(name, None)
        if not held:
            self._held.pop(kind, None)
        self._note_open()

    def closed(self, message: Message, now: float) -> float:
        """Seconds for which nobody may be written to, after which to ask again; `now` is Unix time."""
        return min(self._calendar.wait(message, now), _TOMORROW_S)

    def too_late(self, message: Message, now: float) -> bool:
        """Whether a message that was to go must not go any more: it has expired, or the hours have ended."""
        return has_expired(message, now) or self._calendar.wait(message, now) > 0

    def within_hours(self, message: Message, now: float) -> Message:
        """Return the message as its provider is to know it: it gives up when the person may not be written to any more."""
        ends = self._calendar.ends(message, now)
        return message if ends == inf or has_expired(message, ends) else replace(message, expires_at=ends)

    def wait(self, message: Message, parts: int, now: float, left_s: float = inf) -> float:
        """Seconds after which to ask again (`AGAIN_S` at most), or 0 with the tokens of all its caps taken: it goes now.

        `left_s` is how long the message has to live.
        """
        if self._held and (seconds := self._held_for(message, now)):
            return min(seconds, AGAIN_S)
        caps = [self._cap(name, now) for name in self._names(message)]
        short = [cap for cap in caps if cap is not None and cap.is_short(message.class_, parts, now)]
        if not short:
            if self.pairs is not None and (seconds := self.pairs.wait(message.to, parts, now)):
                return seconds
            for cap in caps:
                if cap is not None:
                    cap.bucket.take(parts, now)
            return 0.0
        return max(cap.speak_for(message.class_, parts, now, left_s, self._roll) for cap in short)

    def _names(self, message: Message) -> Iterable[_Name]:
        for kind in self._kinds:
            if kind == "sender":
                yield kind, message.sender or self._sender, ""
            elif kind == "tenant":
                yield kind, message.tenant, ""
            elif message.campaign:  # what is of none, one-time passwords among them, is not one campaign together
                yield kind, message.campaign, message.tenant

    def _cap(self, name: _Name, now: float) -> _Cap | None:
        cap = self._known.get(name)
        if cap is None:
            rate = self._caps.of(name[0], name[1])
            if rate is None:
                return None
            if len(self._known) >= _NAMES:
                self._known.clear()
            cap = self._known[name] = _Cap(rate * self._part, self._burst(rate * self._part), now)
        return cap

    def _held_for(self, message: Message, now: float) -> float:
        seconds = 0.0
        for kind, held in list(self._held.items()):
            name = _SUBJECTS[kind](message)
            until = held.get(name)
            if until is not None and until <= now:
                self.release(kind, name)
            elif until is not None:
                seconds = max(seconds, until - now)
        return seconds

    def _note_open(self) -> None:
        self.open = not (self._kinds or self._held or self._calendar) and self.pairs is None

    def _burst(self, rate: float) -> int:
        return max(self._max_parts, int(rate * _BURST_S))
