"""What answers have in common: how long to wait, and what a bare HTTP status says."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Disposition
from gateway.providers.contract import Failure
from gateway.providers.replies import THROTTLED, by_status, failure, retry_after, wait, whole_batch
from tests.providers.suite import NOW, a_message, a_reply


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("9" * 5000, None),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Friday, 15-Jan-27 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:59:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """RFC 9110 §10.2.3; a date that has passed asks for no wait, and anything else for nothing."""
    assert retry_after(value, NOW) == seconds


@given(st.text(), st.floats(0, 1e12))
def test_retry_after_is_never_negative_and_never_raises(value: str, now: float) -> None:
    """Whatever a server writes there."""
    seconds = retry_after(value, now)
    assert seconds is None or seconds >= 0


def test_nobody_is_waited_for_longer_than_an_hour() -> None:
    """Nine digits of seconds would be a lane that stands still for thirty years."""
    assert wait(a_reply(retry_after="999999999")) == 3600
    assert wait(a_reply(retry_after="59")) == 59


def test_a_date_is_measured_by_the_clock_of_the_server() -> None:
    """Without a `Date` of its own it says nothing."""
    until = "Fri, 15 Jan 2027 08:00:30 GMT"
    assert wait(a_reply(retry_after=until, date="Fri, 15 Jan 2027 08:00:10 GMT")) == 20.0
    assert wait(a_reply(retry_after=until)) is None
    assert wait(a_reply(retry_after="5")) == 5.0
    assert wait(a_reply()) is None


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (200, Disposition.UNKNOWN),
        (100, Disposition.UNKNOWN),
        (302, Disposition.STOP),
        (400, Disposition.REJECTED),
        (401, Disposition.STOP),
        (402, Disposition.STOP),
        (403, Disposition.STOP),
        (404, Disposition.STOP),
        (408, Disposition.RETRY),
        (413, Disposition.REJECTED),
        (422, Disposition.REJECTED),
        (429, Disposition.THROTTLED),
        (500, Disposition.UNKNOWN),
        (502, Disposition.UNKNOWN),
        (503, Disposition.UNKNOWN),
        (504, Disposition.UNKNOWN),
        (999, Disposition.UNKNOWN),
    ],
)
def test_a_bare_status_says_only_what_is_certain(status: int, disposition: Disposition) -> None:
    """A server that failed may have accepted the message."""
    assert by_status(a_reply(b"", status)) == Failure(disposition, f"http:{status}")


def test_a_server_that_names_a_time_has_turned_the_request_away() -> None:
    """503 with Retry-After."""
    assert by_status(a_reply(b"", 503, retry_after="4")) == Failure(Disposition.RETRY, "http:503", after=4.0)


def test_a_listed_code_goes_before_the_status() -> None:
    """And keeps what the answer asks to wait."""
    rules = {"busy": THROTTLED}
    reply = a_reply(b"", 400, retry_after="2")
    assert failure(rules, reply, "busy", "x") == Failure(Disposition.THROTTLED, "busy", "x", 2.0)
    assert failure(rules, reply, "other", "x") == Failure(Disposition.REJECTED, "other", "x", 2.0)


def test_a_rejected_batch_is_tried_again_in_other_company() -> None:
    """Other refusals are of all that is in it."""
    messages = [a_message(), a_message(number=1)]
    bad = Failure(Disposition.REJECTED, "400")
    assert whole_batch(messages, bad) == [msgspec.structs.replace(bad, disposition=Disposition.RETRY)] * 2
    assert whole_batch(messages[:1], bad) == [bad]
    stop = Failure(Disposition.STOP, "401")
    assert whole_batch(messages, stop) == [stop, stop]
