"""Which events are wanted, and how one reads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.follow import Filter, describe
from gateway.model import Event, EventStatus, TrafficClass

AT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
FAILED = Event(
    "banco/m-1/failed/2",
    EventStatus.FAILED,
    AT,
    "m-1",
    "nov-0003",
    tenant="banco",
    lane="claro",
    attempt=2,
    parts=3,
    parts_done=1,
    provider_message_id="A1",
    error_code="receipt:001",
    error_text="UNDELIVERABLE",
)


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        (Filter(), True),
        (Filter(statuses=frozenset({EventStatus.FAILED, EventStatus.EXPIRED})), True),
        (Filter(statuses=frozenset({EventStatus.DELIVERED})), False),
        (Filter(job="nov-0003"), True),
        (Filter(job="nov"), True),
        (Filter(job="no"), False),
        (Filter(job="nov-0003-"), False),
        (Filter(tenant="banco"), True),
        (Filter(tenant="otro"), False),
        (Filter(message_id="m-1"), True),
        (Filter(message_id="m-2"), False),
        (Filter(tenant="banco", message_id="m-2"), False),
    ],
)
def test_an_event_is_wanted_when_all_that_is_asked_fits(wanted: Filter, answer: bool) -> None:
    """A job id also stands for the numbered jobs that a campaign was cut into."""
    assert wanted.wants(FAILED) is answer


def test_an_event_reads_as_one_line() -> None:
    """What it is about, and only what there is to say."""
    time, status, rest = describe(FAILED)
    assert time.endswith(".000")
    assert status.strip() == "failed"
    assert rest == "m-1  job nov-0003  lane claro  parts 1/3  attempt 2  id A1  receipt:001 UNDELIVERABLE"


def test_an_event_about_a_job_says_how_many_it_has() -> None:
    """It has no message."""
    event = Event("banco/nov/accepted/0:1", EventStatus.ACCEPTED, AT, job_id="nov", recipients=500, rejected=2)
    assert describe(event)[2] == "-  job nov  500 recipients, 2 rejected"


def test_who_has_no_place_is_told_by_portfolio_and_class() -> None:
    """There is neither a job nor a message to name."""
    event = Event("andina/short/1", EventStatus.SHORT, AT, portfolio="andina", class_=TrafficClass.BULK, recipients=150)
    assert describe(event)[2] == "-  portfolio andina  bulk  150 without a place"
