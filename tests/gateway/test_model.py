"""The records of the topics: what is accepted, what is refused and why, and what comes back from the wire."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidJob
from gateway.model import (
    FINAL,
    MAX_RECIPIENTS,
    Dead,
    Event,
    EventStatus,
    Inbound,
    Job,
    Message,
    TrafficClass,
    deadline_of,
    decode_event,
    decode_job,
    decode_message,
    encode_dead,
    encode_event,
    encode_inbound,
    encode_job,
    encode_message,
    event_id,
    message_id_of,
)

MINIMAL = {"job_id": "j-1", "text": "Hola", "recipients": [{"to": "+573001234567"}]}
NOW = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)


def job_of(**changes: object) -> Job:
    return decode_job(json.dumps(MINIMAL | changes).encode())


def reason_of(**changes: object) -> str:
    with pytest.raises(InvalidJob) as caught:
        job_of(**changes)
    return caught.value.reason


def test_the_smallest_job_has_the_documented_defaults() -> None:
    """Only an id, a text and a recipient are required; such a job is bulk SMS that never expires."""
    job = job_of()
    assert (job.class_, job.channel, job.tenant, job.campaign, job.sender) == (TrafficClass.BULK, "sms", "", "", "")
    assert job.expires_at is None
    assert job.recipients[0].params == {}


def test_every_field_of_a_job_is_read() -> None:
    """The example of the contract arrives whole."""
    job = job_of(
        campaign="cartera-nov",
        tenant="banco",
        **{"class": "otp"},
        channel="sms",
        sender="89000",
        recipients=[{"to": "+573001234567", "message_id": "opt-1", "params": {"a": "Ana", "n": 3, "x": 1.5}}],
        expires_at="2026-11-21T18:00:00-05:00",
    )
    assert (job.campaign, job.tenant, job.class_, job.sender) == ("cartera-nov", "banco", TrafficClass.OTP, "89000")
    assert job.expires_at == NOW
    assert job.recipients[0].message_id == "opt-1"
    assert job.recipients[0].params == {"a": "Ana", "n": 3, "x": 1.5}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expire_at": "2026-11-21T23:00:00Z"}, "unknown field `expire_at`"),
        ({"recipients": [{"to": "+573001234567"}, {"to": "+573001234567", "param": {}}]}, "$.recipients[1]"),
        ({"recipients": [{"to": 573001234567}]}, "got `int` - at `$.recipients[0].to`"),
        ({"recipients": [{"to": "+573001234567", "params": {"a": True}}]}, "$.recipients[0].params"),
        ({"recipients": [{"to": "+573001234567", "message_id": "x" * 129}]}, "$.recipients[0].message_id"),
        ({"recipients": []}, "length >= 1 - at `$.recipients`"),
        ({"recipients": [{"to": "+573001234567"}] * (MAX_RECIPIENTS + 1)}, "length <= 10000"),
        ({"job_id": ""}, "$.job_id"),
        ({"job_id": "x" * 129}, "$.job_id"),
        ({"tenant": "a/b"}, "$.tenant"),
        ({"tenant": "banco\n"}, "$.tenant"),
        ({"sender": "89000\0"}, "$.sender"),
        ({"sender": "89000\n"}, "$.sender"),
        ({"sender": "Año"}, "$.sender"),
        ({"sender": "9" * 21}, "$.sender"),
        ({"class": "urgent"}, "$.class"),
        ({"channel": "telegram"}, "$.channel"),
        ({"expires_at": "2026-11-21T23:00:00"}, "timezone component - at `$.expires_at`"),
    ],
)
def test_what_is_not_a_job_is_refused_with_its_reason_and_path(changes: dict[str, object], reason: str) -> None:
    """A publisher can find the mistake from the reason alone."""
    assert reason in reason_of(**changes)


def test_a_record_without_a_value_is_refused() -> None:
    """A tombstone is no job."""
    with pytest.raises(InvalidJob, match="no value"):
        decode_job(None)


def test_brackets_without_end_are_refused() -> None:
    """Two kilobytes of them would end every worker in turn."""
    with pytest.raises(InvalidJob, match=r"nested|required field"):  # from 3.14 on the stack has room for them
        decode_job(json.dumps(MINIMAL).encode()[:-1] + b',"media":{"z":' + b"[" * 5000 + b"]" * 5000 + b"}}")


@given(st.binary() | st.binary().map(lambda tail: json.dumps(MINIMAL).encode()[:-1] + tail))
def test_any_octets_are_a_job_or_refused(value: bytes) -> None:
    """Garbage never raises anything but InvalidJob."""
    try:
        job = decode_job(value)
    except InvalidJob:
        return
    assert isinstance(job, Job)


@pytest.mark.parametrize(
    "garbage",
    [
        b"[" * 200_000,
        b'{"job_id":' * 200_000,
        b'{"unknown":' + b"[" * 200_000,
        b'{"recipients":[{"params":{"a":' + b"[" * 200_000,
        b'{"job_id":"\xff"}',
        b'{"job_id":"\\ud800 "}',
    ],
)
def test_hostile_records_are_refused(garbage: bytes) -> None:
    """Deep nesting, broken UTF-8 and half surrogate pairs are InvalidJob as well."""
    with pytest.raises(InvalidJob):
        decode_job(garbage)


def test_a_job_survives_the_wire() -> None:
    """What `recado send` encodes, intake decodes."""
    job = job_of(**{"class": "transactional"}, expires_at="2026-11-21T23:00:00Z")
    assert decode_job(encode_job(job)) == job


def test_a_missing_message_id_is_derived_from_job_and_index() -> None:
    """So that the same job published again is recognised."""
    job = job_of(recipients=[{"to": "+573001234567"}, {"to": "+573001234567", "message_id": "mine"}])
    assert [message_id_of(job, index) for index in range(2)] == ["j-1:0", "mine"]


def test_deadlines_are_unix_seconds_and_zero_is_never() -> None:
    """A job that expired at the epoch itself is expired, not eternal."""
    assert deadline_of(job_of()) == 0
    assert deadline_of(job_of(expires_at="2026-11-21T23:00:00Z")) == NOW.timestamp()
    assert deadline_of(job_of(expires_at="1970-01-01T00:00:00Z")) == 1
    assert datetime.fromtimestamp(deadline_of(job_of(expires_at="9999-12-31T23:59:59-01:00")), UTC).year == 9999


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.builds(
        Message,
        *[TEXTS] * 7,
        st.sampled_from(TrafficClass),
        st.floats(0, 1e11),
        TEXTS,
        st.floats(0, 1e11),
        attempt=st.integers(1, 2**31),
        accepted_ids=st.lists(TEXTS).map(tuple),
    )
)
def test_a_message_survives_its_topic(message: Message) -> None:
    """Whatever text and numbers it carries."""
    assert decode_message(encode_message(message)) == message


def test_an_event_leaves_out_what_does_not_apply() -> None:
    """Publishers see only the fields that say something, under the names of the contract."""
    event = Event(event_id="banco/j-1/accepted/0:7", status=EventStatus.ACCEPTED, time=NOW, class_=TrafficClass.OTP)
    assert json.loads(encode_event(event)) == {
        "event_id": "banco/j-1/accepted/0:7",
        "status": "accepted",
        "time": "2026-11-21T23:00:00Z",
        "class": "otp",
    }


def test_an_event_survives_the_wire() -> None:
    """What the gateway publishes, `recado events` reads."""
    event = Event(
        event_id="e",
        status=EventStatus.DELIVERED,
        time=NOW,
        message_id="m",
        attempt=2,
        parts=2,
        parts_done=2,
        provider_message_id="7F",
        provider_message_ids=("7F", "80"),
    )
    assert decode_event(encode_event(event)) == event


def test_event_ids_tell_messages_states_and_attempts_apart() -> None:
    """Nothing else gives the id that a replay gives, even when message ids have slashes in them."""
    cases: list[tuple[str, str, str, int | str]] = [
        ("banco", "m/1", "submitted", 1),
        ("banco", "m", "submitted", 1),
        ("banco", "m", "submitted", 2),
        ("banco", "m", "delivered", 1),
        ("otro", "m", "submitted", 1),
        ("", "banco/m", "submitted", 1),
        ("banco", "m", "duplicate", "3:17"),
    ]
    ids = [event_id(*case) for case in cases]
    assert len(set(ids)) == len(cases)
    assert ids[1] == "banco/m/submitted/1"
    assert event_id("banco", "m", EventStatus.SUBMITTED, 1) == ids[1]


def test_final_states_are_the_documented_ones() -> None:
    """A message is done in exactly these."""
    assert {str(status) for status in FINAL} == {"rejected", "failed", "expired", "delivered", "read", "unknown"}


def test_inbound_has_one_shape_with_from_and_to() -> None:
    """The field is `from`, whatever Python calls it."""
    inbound = Inbound(
        inbound_id="i",
        channel="sms",
        lane="claro",
        account="claro",
        from_="+573001234567",
        to="89000",
        time=NOW,
        text="SI",
    )
    assert json.loads(encode_inbound(inbound)) == {
        "inbound_id": "i",
        "channel": "sms",
        "lane": "claro",
        "account": "claro",
        "from": "+573001234567",
        "to": "89000",
        "time": "2026-11-21T23:00:00Z",
        "text": "SI",
    }


def test_a_dead_record_keeps_its_octets() -> None:
    """Key and value are base64, so that anything at all can be kept and published again."""
    dead = Dead(topic="recado.jobs", partition=3, offset=17, reason="no", time=NOW, key=None, value=b"\xff\x00{")
    record = json.loads(encode_dead(dead))
    assert (record["partition"], record["offset"], record["key"], record["value"]) == (3, 17, None, "/wB7")
