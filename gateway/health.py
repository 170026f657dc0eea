"""Which lanes cannot carry messages, so that those take their route's next lane. Pure; `now` is monotonic seconds."""

from collections.abc import Mapping

from msgspec import Struct

from gateway.lane_config import Contract


class _Condition(Struct):
    ok: bool
    since: float
    down: bool = False
    stopped: bool = False


class Health:
    """Up and down with hysteresis: down after `down_after_s` without being able to send, up after `up_after_s` of it.

    A lane of which nothing was ever observed is up. One that was stopped is down until it is resumed.
    """

    def __init__(self, lanes: Mapping[str, Contract]) -> None:
        self._lanes = lanes
        self._conditions: dict[str, _Condition] = {}
        self._down: frozenset[str] = frozenset()

    def configure(self, lanes: Mapping[str, Contract]) -> None:
        """Go on with what a reload says of the lanes."""
        self._lanes = lanes

    def observe(self, lane: str, ok: bool, now: float) -> None:
        """Note whether a lane can send now. Repeat it: a lane is as it was last seen."""
        condition = self._condition(lane, ok, now)
        self._judge(lane, condition, now)
        if condition.ok is not ok:
            condition.ok, condition.since = ok, now
            self._judge(lane, condition, now)

    def stop(self, lane: str, now: float) -> None:
        """Take a lane down at once, and until `resume`: somebody has to look at it."""
        self._condition(lane, ok=True, now=now).stopped = True

    def resume(self, lane: str) -> None:
        """Let a lane that was stopped carry messages again, at once unless it is then seen that it cannot."""
        self._conditions.pop(lane, None)

    def down(self, now: float) -> frozenset[str]:
        """Return the lanes that take no messages now; the same object while nothing changes."""
        for name, condition in self._conditions.items():
            self._judge(name, condition, now)
        down = frozenset(name for name, one in self._conditions.items() if one.down or one.stopped)
        if down != self._down:
            self._down = down
        return self._down

    def _condition(self, lane: str, ok: bool, now: float) -> _Condition:
        return self._conditions.setdefault(lane, _Condition(ok, now))

    def _judge(self, lane: str, condition: _Condition, now: float) -> None:
        lasted = now - condition.since
        if condition.ok:
            condition.down = condition.down and lasted < self._lanes[lane].up_after_s
        else:
            condition.down = condition.down or lasted >= self._lanes[lane].down_after_s
