"""Sinch: one batch a message, signed receipts by recipient."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

import msgspec
import pytest

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers.contract import Accepted, Failure, Hook, Scope
from gateway.providers.sinch import Sinch, SinchSettings
from gateway.tables import Secret
from tests.providers.suite import NOW, Case, a_hook, a_message, a_reply, with_body, with_header, without

SETTINGS = SinchSettings(
    service_plan_id="plan1",
    api_token=Secret("the-api-token"),
    callback_secret=Secret("the-hmac-secret"),
    sender="24601",
    callback_url="https://hooks.example/s",
)
LANE = Sinch(SETTINGS)
SIGNATURE = "x-sinch-webhook-signature"

REPORT = {
    "type": "recipient_delivery_report_sms",
    "batch_id": "01FC66621",
    "recipient": "573001110000",
    "code": 0,
    "status": "Delivered",
    "at": "2027-01-15T08:00:00.250Z",
    "operator": "732101",
    "client_reference": "acme/job-1:0/1",
}


def called(value: Mapping[str, object], at: float = NOW) -> Hook:
    body, stamp = msgspec.json.encode(value), str(int(at))
    mac = hmac.new(b"the-hmac-secret", body + b".nonce1." + stamp.encode(), hashlib.sha256).digest()
    headers = {SIGNATURE: base64.b64encode(mac).decode(), f"{SIGNATURE}-nonce": "nonce1"}
    return a_hook(body, {**headers, f"{SIGNATURE}-timestamp": stamp, f"{SIGNATURE}-algorithm": "HmacSHA256"})


HOOK = called(REPORT)

CASE = Case(
    name="sinch",
    provider=LANE,
    message=a_message(),
    accepted=lambda messages: a_reply({"id": "01FC66621", "to": [messages[0].to[1:]]}, 201),
    secrets=("the-api-token", "the-hmac-secret"),
    hook=HOOK,
    forged={
        "unsigned": without(HOOK, SIGNATURE),
        "wrong signature": with_header(HOOK, SIGNATURE, base64.b64encode(bytes(32)).decode()),
        "another body": with_body(HOOK, HOOK.body + b" "),
        "another nonce": with_header(HOOK, f"{SIGNATURE}-nonce", "nonce2"),
        "no timestamp": without(HOOK, f"{SIGNATURE}-timestamp"),
        "too old": called(REPORT, NOW - 90_001),
    },
)


@pytest.mark.parametrize(
    ("settings", "message", "body"),
    [
        (
            SETTINGS,
            a_message("Año"),
            {
                "from": "24601",
                "to": ["+573001110000"],
                "body": "Año",
                "client_reference": "acme/job-1:0/1",
                "delivery_report": "per_recipient_final",
                "callback_url": "https://hooks.example/s",
            },
        ),
        (
            msgspec.structs.replace(SETTINGS, callback_url=""),
            a_message("x", sender="+12025550100", expires_at=NOW + 60.5),
            {
                "from": "12025550100",
                "to": ["+573001110000"],
                "body": "x",
                "client_reference": "acme/job-1:0/1",
                "expire_at": "2027-01-15T08:01:00.000Z",
            },
        ),
        (
            msgspec.structs.replace(SETTINGS, callback_url=""),
            a_message("x", expires_at=NOW + 1_000_000),
            {
                "from": "24601",
                "to": ["+573001110000"],
                "body": "x",
                "client_reference": "acme/job-1:0/1",
                "expire_at": "2027-01-18T08:00:00.000Z",
            },
        ),
    ],
    ids=["with receipt", "expires", "expires late"],
)
def test_a_message_becomes_a_batch(settings: SinchSettings, message: Message, body: dict[str, object]) -> None:
    """With a bearer token, never later than the message expires and at most three days ahead."""
    call = Sinch(settings).call([message], "", NOW)
    assert (call.method, call.url) == ("POST", "https://us.sms.api.sinch.com/xms/v1/plan1/batches")
    assert dict(call.headers) == {"authorization": "Bearer the-api-token", "content-type": "application/json"}
    assert msgspec.json.decode(call.body) == body


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (201, {"id": "01F"}, Accepted("01F")),
        (
            400,
            {"code": "syntax_invalid_parameter_format", "text": "to"},
            Failure(Disposition.REJECTED, "syntax_invalid_parameter_format", "to"),
        ),
        (
            403,
            {"code": "illegal_number_type", "text": "no"},
            Failure(Disposition.REJECTED, "illegal_number_type", "no", scope=Scope.RECIPIENT),
        ),
        (403, {"code": "blocked_account", "text": ""}, Failure(Disposition.STOP, "blocked_account")),
        (403, {"code": "something_new", "text": ""}, Failure(Disposition.STOP, "something_new")),
        (400, {"code": "something_new", "text": ""}, Failure(Disposition.REJECTED, "something_new")),
        (500, {"code": "something_new", "text": ""}, Failure(Disposition.UNKNOWN, "something_new")),
    ],
)
def test_an_answer_is_read_by_its_code_and_then_by_its_status(status: int, body: object, expected: object) -> None:
    """A code that forbids this number must not stop the lane."""
    assert LANE.read([a_message()], a_reply(body, status)) == [expected]


@pytest.mark.parametrize(
    ("word", "code", "status", "failure"),
    [
        ("Queued", 400, EventStatus.SUBMITTED, None),
        ("Dispatched", 401, EventStatus.SUBMITTED, None),
        ("Unknown", 0, EventStatus.SUBMITTED, None),
        ("Delivered", 0, EventStatus.DELIVERED, None),
        ("DELIVERED", 0, EventStatus.DELIVERED, None),
        ("Expired", 406, EventStatus.EXPIRED, Failure(Disposition.REROUTE, "expired:406", scope=Scope.RECIPIENT)),
        ("Failed", 11, EventStatus.FAILED, Failure(Disposition.REROUTE, "failed:11", scope=Scope.RECIPIENT)),
        ("Deleted", None, EventStatus.FAILED, Failure(Disposition.REJECTED, "deleted", scope=Scope.RECIPIENT)),
        ("Aborted", 405, EventStatus.FAILED, Failure(Disposition.REROUTE, "aborted:405")),
        ("Cancelled", 407, EventStatus.FAILED, Failure(Disposition.REJECTED, "cancelled:407")),
    ],
)
def test_a_receipt_becomes_a_status(word: str, code: int | None, status: EventStatus, failure: Failure | None) -> None:
    """With the batch, the person, the time and the operator."""
    (read,) = LANE.receive(called({**REPORT, "status": word, "code": code})).statuses
    assert (read.id, read.to, read.reference) == ("01FC66621", "+573001110000", "acme/job-1:0/1")
    assert (read.status, read.failure) == (status, failure)
    assert (read.network, read.at) == ("732101", NOW + 0.25)


def test_a_message_from_a_person_is_read() -> None:
    """`client_reference` is of the batch that it answers."""
    value = {
        "type": "mo_text",
        "id": "M1",
        "from": "573001110000",
        "to": "24601",
        "body": "sí",
        "received_at": "2027-01-15T08:00:00Z",
        "client_reference": "acme/job-1:0/1",
    }
    (inbound,) = LANE.receive(called(value)).inbound
    assert (inbound.inbound_id, inbound.from_, inbound.to) == ("M1", "+573001110000", "24601")
    assert (inbound.text, inbound.reference, inbound.time.timestamp()) == ("sí", "acme/job-1:0/1", NOW)


def test_what_is_new_is_counted_and_not_an_error() -> None:
    """A type or a status that nobody knows."""
    assert LANE.receive(called({"type": "delivery_report_sms", "batch_id": "x"})).unknown == [
        "type:delivery_report_sms"
    ]
    assert LANE.receive(called({**REPORT, "status": "Pondering"})).unknown == ["status:Pondering"]
