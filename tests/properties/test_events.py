"""Events that are joined from pieces of JSON are those that the contract's encoder would write."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gateway import events
from gateway.correlation import Sent
from gateway.ledger import Outcome
from gateway.model import Event, EventStatus, Message, TrafficClass, decode_event, event_id

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TENANTS = st.from_regex(r"[A-Za-z0-9._-]{0,8}", fullmatch=True)
LANES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
TIMES = st.integers(1_600_000_000_000_000, 2_000_000_000_000_000).map(lambda us: us / 1e6)
CLASSES = st.sampled_from(TrafficClass)
CHANNELS = st.sampled_from(["sms", "whatsapp", "rcs", "voice", "email"])
STATUSES = {"s": "submitted", "f": "failed", "x": "expired", "u": "unknown", "d": "duplicate", "j": "rejected"}

MESSAGES = st.builds(
    Message,
    message_id=TEXTS.filter(bool),
    to=st.just("+573001234567"),
    text=TEXTS,
    sender=st.just("89000"),
    job_id=TEXTS.filter(bool),
    campaign=TEXTS,
    tenant=TENANTS,
    class_=CLASSES,
    expires_at=st.just(0.0),
    source=st.from_regex(r"[0-9]:[0-9]{1,3}:[0-9]", fullmatch=True),
    accepted_at=TIMES,
    attempt=st.integers(1, 9),
    channel=CHANNELS,
)
OUTCOMES = st.builds(
    Outcome,
    kind=st.sampled_from(sorted(STATUSES)),
    at=TIMES,
    ids=st.lists(TEXTS, max_size=3).map(tuple),
    error_code=TEXTS,
    error_text=TEXTS,
    parts=st.integers(1, 3),
)
SENT = st.builds(
    Sent,
    to=st.just("+573001234567"),
    message_id=TEXTS.filter(bool),
    job_id=TEXTS.filter(bool),
    campaign=TEXTS,
    tenant=TENANTS,
    class_=CLASSES,
    lane=LANES,
    attempt=st.integers(1, 9),
    parts=st.integers(1, 3),
    id=TEXTS,
    channel=CHANNELS,
)


@given(MESSAGES, OUTCOMES, LANES)
def test_the_event_of_an_outcome_says_what_the_contract_asks_for(message: Message, outcome: Outcome, lane: str) -> None:
    """Whatever publishers and operators put into their names, the record decodes to the event that was meant."""
    key, value = events.of_outcome(message, outcome, lane)
    status = STATUSES[outcome.kind]
    occurrence = message.source if outcome.kind == "d" else message.attempt
    assert key == message.job_id.encode()
    assert decode_event(value) == Event(
        event_id(message.tenant, message.message_id, status, occurrence),
        EventStatus(status),
        datetime.fromtimestamp(outcome.at, UTC),
        message.message_id,
        message.job_id,
        message.campaign,
        message.tenant,
        message.class_,
        message.channel,
        lane,
        message.attempt,
        outcome.parts,
        sum(map(bool, outcome.ids)),
        outcome.ids[0] if outcome.ids else "",
        outcome.ids if len(outcome.ids) > 1 else (),
        outcome.error_code,
        outcome.error_text,
    )


@given(SENT, st.sampled_from(EventStatus), TIMES, st.integers(0, 3), TEXTS, TEXTS)
def test_the_event_of_a_receipt_says_what_the_contract_asks_for(
    sent: Sent, status: EventStatus, at: float, done: int, code: str, text: str
) -> None:
    """The same for what a receipt tells."""
    key, value = events.of_receipt(sent, status, at, done, code, text)
    assert key == sent.job_id.encode()
    assert decode_event(value) == Event(
        event_id(sent.tenant, sent.message_id, status, sent.attempt),
        status,
        datetime.fromtimestamp(at, UTC),
        sent.message_id,
        sent.job_id,
        sent.campaign,
        sent.tenant,
        sent.class_,
        sent.channel,
        sent.lane,
        sent.attempt,
        sent.parts,
        done,
        sent.id,
        (),
        code,
        text,
    )
