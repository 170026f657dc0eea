"""What a submit_sm_resp that is no acceptance asks for: one table, and what a lane's contract says otherwise.

Failures of a bind are the link's business; here a bind is up and a submit_sm was refused, so it was certainly not accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.errors import Disposition
from gateway.lane_config import UNLISTED, ErrorRule, Lane
from gateway.providers.contract import Failure
from smpp.constants import CommandStatus as Status
from smpp.constants import status_name

DEFAULTS: Final[Mapping[int, ErrorRule]] = {
    status: rule
    for rule, statuses in (
        # Too fast. The pause is the lane's `throttle_pause_s`.
        (ErrorRule(disposition="throttled"), (Status.ESME_RTHROTTLED,)),
        # One phone's queue more often than the whole SMSC's (see `Crowding`): throttling for it would stand the lane
        # still for somebody who has switched off. Jasmin waits 180 s, twice.
        (ErrorRule(disposition="retry", after_s=180, attempts=4), (Status.ESME_RMSGQFUL,)),
        # Kannel and Jasmin try these again; 30 s, twice, is Jasmin's.
        (ErrorRule(disposition="retry", after_s=30, attempts=3), (Status.ESME_RSYSERR, Status.ESME_RX_T_APPN)),
        # The SMSC no longer knows our bind: the session leaves it, and the link makes it anew. It counts as an attempt, or
        # a single message that is refused so each time would take the bind down for ever.
        (ErrorRule(disposition="retry"), (Status.ESME_RINVBNDSTS,)),
        # The specification does not say whether they pass, Kannel and Jasmin do not try again: once may help, and no
        # operator blocks an account for once.
        (
            ErrorRule(disposition="retry", after_s=30, attempts=2),
            (Status.ESME_RSUBMITFAIL, Status.ESME_RDELIVERYFAILURE, Status.ESME_RUNKNOWNERR),
        ),
        # Not its subscriber, where numbers are portable: another operator may have it. Intake has checked that the
        # number exists. Without a next lane it has failed. (TON and NPI may be wrong in the lane, but an SMSC also says so
        # of single numbers.)
        (
            ErrorRule(disposition="reroute"),
            (Status.ESME_RINVDSTADR, Status.ESME_RINVDSTTON, Status.ESME_RINVDSTNPI),
        ),
        # A sender that is not (yet, any more) ours here. The others go on, and not everything that it has queued is to
        # be refused one by one; but whoever mistyped it is told within the hour.
        (
            ErrorRule(disposition="hold", after_s=600, attempts=4),
            (Status.ESME_RINVSRCADR, Status.ESME_RINVSRCTON, Status.ESME_RINVSRCNPI),
        ),
        # The same for every message of the lane: our configuration, or an account that the operator has closed. They wait
        # (or take another lane) until somebody has looked, rather than fail by the hundred thousand.
        (
            ErrorRule(disposition="stop"),
            (Status.ESME_RINVSERTYP, Status.ESME_RINVSYSTYP, Status.ESME_RINVPASWD, Status.ESME_RINVSYSID),
        ),
        # This message, wherever it goes. ESME_RINVSCHED too: we never set a time.
        (
            ErrorRule(disposition="rejected"),
            (
                Status.ESME_RINVMSGLEN,
                Status.ESME_RINVCMDLEN,
                Status.ESME_RINVCMDID,
                Status.ESME_RINVPRTFLG,
                Status.ESME_RINVREGDLVFLG,
                Status.ESME_RINVESMCLASS,
                Status.ESME_RINVSCHED,
                Status.ESME_RINVEXPIRY,
                Status.ESME_RINVDFTMSGID,
                Status.ESME_RX_P_APPN,
                Status.ESME_RX_R_APPN,
                Status.ESME_RINVOPTPARSTREAM,
                Status.ESME_ROPTPARNOTALLWD,
                Status.ESME_RINVPARLEN,
                Status.ESME_RMISSINGOPTPARAM,
                Status.ESME_RINVOPTPARAMVAL,
            ),
        ),
    )
    for status in statuses
}

UNLISTED_DEFAULT: Final = ErrorRule(disposition="rejected")
"""For vendors' codes (0x400 and above) and all others: to try again what an operator refused is how accounts get blocked."""

_KEPT = 1000
"""Codes whose failures are remembered: a mad SMSC has four billion of them."""


class ErrorTable:
    """The failures of one lane by command_status: its own rules, then the defaults, then the rule for what is unlisted."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._known: dict[tuple[int, bool], Failure] = {}

    def _rule(self, command_status: int) -> ErrorRule:
        """Return what a status asks for on this lane."""
        lane = self._lane
        return (
            lane.error(status_name(command_status))
            or DEFAULTS.get(command_status)
            or lane.error(UNLISTED)
            or UNLISTED_DEFAULT
        )

    def failure(self, command_status: int, crowded: bool = False) -> Failure:
        """Return the failure of a status; of the whole lane's crowding where it is `crowded` and the lane has no rule.

        `after` is None where retry.py decides. A HOLD is about the message's sender, since nothing else of an SMPP
        lane can be refused by itself.
        """
        known = self._known.get((command_status, crowded))
        if known is None:
            known = self._failure(command_status, crowded)
            if len(self._known) < _KEPT:
                self._known[command_status, crowded] = known
        return known

    def _failure(self, command_status: int, crowded: bool) -> Failure:
        rule = self._rule(command_status)
        if crowded and rule is DEFAULTS[Status.ESME_RMSGQFUL]:
            rule = DEFAULTS[Status.ESME_RTHROTTLED]
        after = rule.after_s
        if after is None and rule.disposition == "throttled":
            after = self._lane.throttle_pause_s
        return Failure(
            Disposition(rule.disposition), status_name(command_status), after=after, attempts=rule.attempts or 0
        )


class Crowding:
    """Whether ESME_RMSGQFUL is about single phones or about the SMSC: more than a fifth of the answers of ten seconds.

    Counted in two halves, of which the older one is dropped: five to ten seconds are seen.
    """

    SHARE = 0.2
    LEAST = 10
    """Answers that say it, below which it is nothing."""
    HALF_S = 5.0

    __slots__ = ("_answers", "_full", "_since")

    def __init__(self) -> None:
        self._answers = [0, 0]
        self._full = [0, 0]
        self._since = 0.0

    def note(self, answers: int, full: int, now: float) -> None:
        """Count the answers of a batch, and those among them that said that a queue is full."""
        self._turn(now)
        self._answers[0] += answers
        self._full[0] += full

    def crowded(self, now: float) -> bool:
        """Whether the lane is to be slowed down for it."""
        self._turn(now)
        full = sum(self._full)
        return full >= self.LEAST and full > self.SHARE * sum(self._answers)

    def _turn(self, now: float) -> None:
        halves = int((now - self._since) / self.HALF_S)
        if halves:
            self._since = now
            for counts in (self._answers, self._full):
                counts[:] = [0, counts[0] if halves == 1 else 0]
