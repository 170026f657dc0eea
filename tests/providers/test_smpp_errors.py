"""What statuses ask for: the defaults of docs and contracts, and what a lane says otherwise."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Lane
from gateway.errors import Disposition
from gateway.lane_config import ErrorRule, Refusal
from gateway.providers.smpp_errors import DEFAULTS, Crowding, ErrorTable
from gateway.tables import Secret
from smpp.constants import CommandStatus

RETRY, THROTTLED, REROUTE = Disposition.RETRY, Disposition.THROTTLED, Disposition.REROUTE
REJECTED, HOLD, STOP = Disposition.REJECTED, Disposition.HOLD, Disposition.STOP


def table(errors: Mapping[str, ErrorRule | Refusal] | None = None, **keys: float) -> ErrorTable:
    return ErrorTable(
        Lane(name="a", host="h", port=1, system_id="s", password=Secret("p"), rate=1, errors=errors or {}, **keys)
    )


@pytest.mark.parametrize(
    ("status", "disposition", "after", "attempts"),
    [
        ("ESME_RTHROTTLED", THROTTLED, 1, 0),
        ("ESME_RMSGQFUL", RETRY, 180, 4),
        ("ESME_RSYSERR", RETRY, 30, 3),
        ("ESME_RX_T_APPN", RETRY, 30, 3),
        ("ESME_RINVBNDSTS", RETRY, None, 0),
        ("ESME_RSUBMITFAIL", RETRY, 30, 2),
        ("ESME_RDELIVERYFAILURE", RETRY, 30, 2),
        ("ESME_RUNKNOWNERR", RETRY, 30, 2),
        ("ESME_RINVDSTADR", REROUTE, None, 0),
        ("ESME_RINVDSTTON", REROUTE, None, 0),
        ("ESME_RINVDSTNPI", REROUTE, None, 0),
        ("ESME_RINVSRCADR", HOLD, 600, 4),
        ("ESME_RINVSRCTON", HOLD, 600, 4),
        ("ESME_RINVSRCNPI", HOLD, 600, 4),
        ("ESME_RINVSERTYP", STOP, None, 0),
        ("ESME_RINVSYSTYP", STOP, None, 0),
        ("ESME_RINVPASWD", STOP, None, 0),
        ("ESME_RINVSYSID", STOP, None, 0),
        ("ESME_RINVMSGLEN", REJECTED, None, 0),
        ("ESME_RINVCMDLEN", REJECTED, None, 0),
        ("ESME_RINVCMDID", REJECTED, None, 0),
        ("ESME_RINVPRTFLG", REJECTED, None, 0),
        ("ESME_RINVREGDLVFLG", REJECTED, None, 0),
        ("ESME_RINVESMCLASS", REJECTED, None, 0),
        ("ESME_RINVSCHED", REJECTED, None, 0),
        ("ESME_RINVEXPIRY", REJECTED, None, 0),
        ("ESME_RINVDFTMSGID", REJECTED, None, 0),
        ("ESME_RX_P_APPN", REJECTED, None, 0),
        ("ESME_RX_R_APPN", REJECTED, None, 0),
        ("ESME_RINVOPTPARSTREAM", REJECTED, None, 0),
        ("ESME_ROPTPARNOTALLWD", REJECTED, None, 0),
        ("ESME_RINVPARLEN", REJECTED, None, 0),
        ("ESME_RMISSINGOPTPARAM", REJECTED, None, 0),
        ("ESME_RINVOPTPARAMVAL", REJECTED, None, 0),
    ],
)
def test_every_status_of_a_submit_has_its_default(
    status: str, disposition: Disposition, after: float | None, attempts: int
) -> None:
    """Disposition, seconds until the first retry, attempts in all."""
    code = CommandStatus[status]
    failure = table().failure(code)
    assert (failure.disposition, failure.code, failure.after) == (disposition, status, after)
    assert failure.attempts == attempts


@pytest.mark.parametrize(
    "status", [CommandStatus.ESME_RALYBND, CommandStatus.ESME_RQUERYFAIL, 0x400, 0x4FF, 0xFFFFFFFF]
)
def test_what_is_in_no_table_is_rejected(status: int) -> None:
    """Vendors' codes and those that no submit_sm is answered with: nothing is tried again for a code nobody knows."""
    assert status not in DEFAULTS
    assert table().failure(status).disposition is REJECTED


def test_a_lane_says_otherwise_by_code_and_for_what_is_unlisted() -> None:
    """Its own rule first, then the default of the code, then its rule for all others."""
    errors = table(
        {
            "ESME_RSUBMITFAIL": "rejected",
            "0x0411": ErrorRule(disposition="retry", after_s=60, attempts=5),
            "1042": "stop",
            "default": ErrorRule(disposition="retry", attempts=2),
        }
    )
    assert errors.failure(CommandStatus.ESME_RSUBMITFAIL).disposition is REJECTED
    vendor = errors.failure(0x411)
    assert (vendor.disposition, vendor.code, vendor.after, vendor.attempts) == (RETRY, "0x00000411", 60, 5)
    assert errors.failure(1042).disposition is STOP
    assert (errors.failure(0x413).disposition, errors.failure(0x413).attempts) == (RETRY, 2)
    assert errors.failure(CommandStatus.ESME_RSYSERR).after == 30
    assert errors.failure(CommandStatus.ESME_RINVMSGLEN).disposition is REJECTED


def test_a_throttle_waits_as_long_as_the_lane_says() -> None:
    """Unless the code's own rule says how long."""
    errors = table(
        {"0x0411": "throttled", "0x0412": ErrorRule(disposition="throttled", after_s=5)}, throttle_pause_s=60
    )
    assert [errors.failure(code).after for code in (CommandStatus.ESME_RTHROTTLED, 0x411, 0x412)] == [60, 60, 5]


def test_a_full_queue_is_a_throttle_when_all_are_full() -> None:
    """With its own code; other statuses do not change, nor does one for which the lane has its own rule."""
    full, error = CommandStatus.ESME_RMSGQFUL, CommandStatus.ESME_RSYSERR
    crowded = table().failure(full, crowded=True)
    assert (crowded.disposition, crowded.code, crowded.after) == (THROTTLED, "ESME_RMSGQFUL", 1)
    assert table().failure(error, crowded=True) == table().failure(error)
    assert table({"ESME_RMSGQFUL": "reroute"}).failure(full, crowded=True).disposition is REROUTE


def test_a_failure_is_made_once() -> None:
    """However many of a window bounce; and a mad SMSC's codes are not all kept."""
    errors = table()
    assert errors.failure(0x58) is errors.failure(0x58)
    first = [errors.failure(0x10000 + code) for code in range(2000)]
    assert sum(errors.failure(0x10000 + code) is known for code, known in enumerate(first)) < 1001


def test_one_phone_that_is_full_is_no_crowd() -> None:
    """Nor are ten among a hundred answers."""
    crowding = Crowding()
    crowding.note(100, 10, 0.0)
    assert not crowding.crowded(1.0)
    crowding.note(1, 1, 1.0)
    assert not crowding.crowded(1.0)


def test_more_than_a_fifth_of_the_answers_is_a_crowd_until_they_are_forgotten() -> None:
    """Within ten seconds."""
    crowding = Crowding()
    crowding.note(50, 0, 0.0)
    crowding.note(50, 21, 1.0)
    assert crowding.crowded(1.0)
    assert crowding.crowded(9.0)
    assert not crowding.crowded(30.0)


def test_a_few_are_no_crowd_whatever_their_share() -> None:
    """A lane with little to do is not slowed down for one phone that is tried again."""
    crowding = Crowding()
    crowding.note(9, 9, 0.0)
    assert not crowding.crowded(0.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 4)), max_size=40))
def test_the_recent_answers_decide(batches: list[tuple[int, int, float]]) -> None:
    """Crowded if the last five seconds are and those before have none; never when nobody was full within ten."""
    crowding, now = Crowding(), 100.0
    for answers, full, step in batches:
        now += step
        crowding.note(answers + full, full, now)
    assert not crowding.crowded(now + 10)
    crowding.note(40, 40, now + 10)
    assert crowding.crowded(now + 10)
