"""What a far end does next: what a test wrote down for it, else what its behaviour draws."""

from __future__ import annotations

import random
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from gateway.simulators.behaviour import Behaviour, Fault

__all__ = ["Refusal", "Script", "Scripted", "State", "Step"]

State: TypeAlias = Literal["sent", "delivered", "read", "failed"]
"""What is reported of a message; every vendor has its own words for it, and some have none for `sent`."""

K = TypeVar("K", bound=str)


class Scripted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next `times` messages, or those to one recipient, are refused with a code, or their request meets a fault.

    Raises ValueError unless it is exactly one of the two.
    """

    code: str = ""
    fault: Fault | None = None
    times: int = 1
    recipient: str = ""
    """Digits; empty for anyone."""
    status: int | None = None
    """HTTP status instead of the one that belongs to the code."""
    retry_after: str = ""
    """Value of that header: seconds or a date."""

    def __post_init__(self) -> None:
        if bool(self.code) == bool(self.fault):
            raise ValueError("a line of the script has a code or a fault")
        if self.times < 1:
            raise ValueError("times is at least 1")


class Refusal(NamedTuple):
    """The code a message is refused with; `status` None is the one that belongs to it."""

    code: str
    status: int | None = None
    retry_after: str = ""
    detail: str = ""


class Step(NamedTuple):
    """A report of one message, `after` seconds from its answer; `code` says why it failed."""

    after: float
    state: State
    code: str = ""


class Script:
    """`behaviour` may be replaced at any time; lines of the script go before it, each in its order, and are used up."""

    def __init__(self, behaviour: Behaviour, seed: int = 0) -> None:
        self.behaviour = behaviour
        self._random = random.Random(seed)
        self._lines: list[tuple[Scripted, int]] = []

    def add(self, line: Scripted) -> None:
        self._lines.append((line, line.times))

    def clear(self) -> None:
        self._lines.clear()

    @property
    def unused(self) -> int:
        """Answers written down that nobody has asked for yet."""
        return sum(left for _, left in self._lines)

    def refusal(self, recipient: str) -> Refusal | None:
        """Whether this message is refused on purpose."""
        if self._lines:
            line = self._take(recipient, fault=False)
            if line is not None:
                return Refusal(line.code, line.status, line.retry_after)
        how = self.behaviour
        code = how.rejected.get(recipient) or self._draw(how.errors)
        return Refusal(code) if code else None

    def fault(self, recipient: str) -> Fault | None:
        """What becomes of the answer to a request, of which this is the first recipient."""
        if self._lines:
            line = self._take(recipient, fault=True)
            if line is not None:
                return line.fault
        return self._draw(self.behaviour.faults)

    def accepts_under(self, fault: Fault) -> bool:
        """Whether the messages of a request with that fault are accepted."""
        if fault in ("slow", "close"):
            return True
        return fault not in ("bare_429", "bare_503") and self._random.random() < self.behaviour.faults_accepted

    def latency(self) -> float:
        how = self.behaviour
        latency = how.latency_s
        if how.latency_jitter_s:
            latency += self._random.random() * how.latency_jitter_s
        if how.latency_tail_s:
            latency += self._random.expovariate(1 / how.latency_tail_s)
        return latency

    def draw(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def steps(self) -> list[Step]:
        """The reports of one accepted message, in the order of their times."""
        how = self.behaviour
        if how.receipt_ratio < 1 and not self.draw(how.receipt_ratio):
            return []
        after = how.sent_s + self._jitter()
        code = self._draw(how.failures)
        if code:
            steps = [Step(after, "failed", code)]
        else:
            steps = [Step(after, "sent")]
            read = self.draw(how.read_ratio)
            after += how.delivered_s + self._jitter()
            if not (read and self.draw(how.delivered_skipped)):
                steps.append(Step(after, "delivered"))
            if read:
                steps.append(Step(after + how.read_s + self._jitter(), "read"))
        if self.draw(how.receipts_reordered):
            steps = [Step(steps[0].after, step.state, step.code) for step in reversed(steps)]
        if self.draw(how.receipts_duplicated):
            steps = [step for step in steps for _ in range(2)]
        return steps

    def _jitter(self) -> float:
        jitter = self.behaviour.receipt_jitter_s
        return self._random.random() * jitter if jitter else 0.0

    def _draw(self, shares: dict[K, float]) -> K | None:
        if shares:
            point = self._random.random()
            for name, share in shares.items():
                if point < share:
                    return name
                point -= share
        return None

    def _take(self, recipient: str, *, fault: bool) -> Scripted | None:
        for index, (line, left) in enumerate(self._lines):
            if (line.fault is not None) == fault and line.recipient in ("", recipient):
                if left > 1:
                    self._lines[index] = (line, left - 1)
                else:
                    del self._lines[index]
                return line
        return None
