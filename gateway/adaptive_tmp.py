from __future__ import annotations


class Adaptive:
    def __init__(
        self, contract: float, now: float, *, cut: float, recover_s: float, floor: float, hold_s: float, ramp_s: float
    ) -> None:
        self.contract = contract
        self.hold_s = hold_s
        self.until = 0.0

    def throttled(self, now: float, after: float | None = None) -> None:
        self.until = max(self.until, now + (self.hold_s if after is None else after))

    def answered(self, n: int, latency_s: float, now: float) -> None: ...
    def restarted(self, now: float) -> None: ...
    def set_contract(self, rate: float, now: float) -> None:
        self.contract = rate

    def rate(self, now: float) -> float:
        return 0.0 if now < self.until else self.contract
