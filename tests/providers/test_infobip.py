"""Infobip: batches, an outcome for each message, reports with the network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers.contract import Accepted, Failure, Hook, Reply, Scope, Unsendable
from gateway.providers.infobip import Infobip, InfobipSettings
from gateway.providers.requests import stable_id
from gateway.tables import Secret
from tests.providers.suite import NOW, Case, a_hook, a_message, a_reply, with_header, without

SETTINGS = InfobipSettings(
    base_url="https://xyz.api.infobip.com",
    api_key=Secret("the-api-key"),
    sender="24601",
    callback_url="https://hooks.example/ib",
    callback_user="recado",
    callback_password=Secret("the-password"),
)
LANE = Infobip(SETTINGS)
FIRST, SECOND, THIRD = (a_message(number=n) for n in range(3))
ID = stable_id(FIRST)

PENDING = {"groupId": 1, "groupName": "PENDING", "id": 26, "name": "PENDING_ACCEPTED", "description": "ok"}


def rejected(name: str, group: int = 5) -> dict[str, object]:
    return {"groupId": group, "groupName": "REJECTED", "id": 12, "name": name, "description": "why"}


def answer(*outcomes: tuple[Message, dict[str, object]]) -> Reply:
    rows = [{"messageId": stable_id(message), "to": message.to[1:], "status": status} for message, status in outcomes]
    return a_reply({"bulkId": "b", "messages": rows})


def accepted(messages: Sequence[Message]) -> Reply:
    return answer(*((message, PENDING) for message in messages))


def called(*results: Mapping[str, object]) -> Hook:
    credentials = base64.b64encode(b"recado:the-password").decode()
    return a_hook(msgspec.json.encode({"results": results}), {"authorization": f"Basic {credentials}"})


REPORT = called({"messageId": ID, "to": "573001110000", "status": {"groupId": 3, "name": "DELIVERED_TO_HANDSET"}})

CASE = Case(
    name="infobip",
    provider=LANE,
    message=FIRST,
    accepted=accepted,
    secrets=("the-api-key", "the-password"),
    hook=REPORT,
    # Basic authentication says who calls and not what: the body is not signed.
    forged={
        "unsigned": without(REPORT, "authorization"),
        "wrong signature": with_header(REPORT, "authorization", "Basic " + base64.b64encode(b"recado:x").decode()),
    },
)


def test_messages_travel_together_each_with_its_own_id_text_and_time() -> None:
    """The number without its plus sign; the id is a UUID of ours and the reference comes back in the report."""
    late = a_message("Vence ya", number=1, sender="Banco", expires_at=NOW + 200)
    call = LANE.call([FIRST, late], "", NOW)
    assert (call.method, call.url) == ("POST", "https://xyz.api.infobip.com/sms/3/messages")
    assert dict(call.headers) == {
        "authorization": "App the-api-key",
        "accept": "application/json",
        "content-type": "application/json",
    }
    delivery = {"url": "https://hooks.example/ib", "intermediateReport": False}
    assert msgspec.json.decode(call.body) == {
        "messages": [
            {
                "sender": "24601",
                "destinations": [{"to": "573001110000", "messageId": ID}],
                "content": {"text": "Su pago vence hoy"},
                "webhooks": {
                    "callbackData": "acme/job-1:0/1",
                    "contentType": "application/json",
                    "delivery": delivery,
                },
            },
            {
                "sender": "Banco",
                "destinations": [{"to": "573001110001", "messageId": stable_id(late)}],
                "content": {"text": "Vence ya"},
                "webhooks": {
                    "callbackData": "acme/job-1:1/1",
                    "contentType": "application/json",
                    "delivery": delivery,
                },
                "options": {"validityPeriod": {"amount": 3, "timeUnit": "MINUTES"}},
            },
        ]
    }


def test_no_report_is_asked_for_without_a_place_for_it() -> None:
    """And the longest validity is 48 hours."""
    lane = Infobip(msgspec.structs.replace(SETTINGS, callback_url=""))
    call = lane.call([a_message(expires_at=NOW + 1_000_000)], "", NOW)
    (body,) = msgspec.json.decode(call.body)["messages"]
    assert body["webhooks"] == {"callbackData": "acme/job-1:0/1"}
    assert body["options"]["validityPeriod"]["amount"] == 2880


def test_the_id_belongs_to_one_attempt_at_one_message() -> None:
    """The same in every process; another for another attempt, message or tenant."""
    assert stable_id(a_message()) == ID
    others = [a_message(attempt=2), a_message(number=1), a_message(tenant="other")]
    assert len({ID, *map(stable_id, others)}) == 4


@pytest.mark.parametrize(("text", "fits"), [("ñ" * 2000, True), ("ñ" * 2001, False), ("x" * 4000, True)])
def test_what_has_more_than_four_thousand_octets_is_not_sent(text: str, fits: bool) -> None:
    """The limit of REJECTED_MESSAGE_TOO_LONG."""
    if fits:
        LANE.prepare(a_message(text))
    else:
        with pytest.raises(Unsendable, match="octets"):
            LANE.prepare(a_message(text))


def test_one_answer_has_an_outcome_for_each_message_in_any_order() -> None:
    """Accepted, refused, and one that is not named at all."""
    reply = answer((THIRD, PENDING), (FIRST, rejected("REJECTED_DESTINATION")))
    assert LANE.read([FIRST, SECOND, THIRD], reply) == [
        Failure(Disposition.REJECTED, "REJECTED_DESTINATION", "why", None, Scope.RECIPIENT),
        Failure(Disposition.UNKNOWN, "http:200"),
        Accepted(stable_id(THIRD)),
    ]


@pytest.mark.parametrize(
    ("status", "disposition", "scope"),
    [
        (rejected("REJECTED_NOT_ENOUGH_CREDITS"), Disposition.STOP, Scope.LANE),
        (rejected("REJECTED_SOURCE"), Disposition.REROUTE, Scope.LANE),
        (rejected("REJECTED_NETWORK"), Disposition.REROUTE, Scope.LANE),
        (rejected("REJECTED_FLOODING_FILTER"), Disposition.THROTTLED, Scope.RECIPIENT),
        (rejected("REJECTED_SYSTEM_ERROR"), Disposition.RETRY, Scope.LANE),
        (rejected("REJECTED_SOMETHING_NEW"), Disposition.REJECTED, Scope.LANE),
        (rejected("UNDELIVERABLE_NOT_DELIVERED", 2), Disposition.REROUTE, Scope.RECIPIENT),
        (rejected("EXPIRED_EXPIRED", 4), Disposition.REJECTED, Scope.LANE),
        (rejected("SOMETHING_NEW", 9), Disposition.UNKNOWN, Scope.LANE),
    ],
)
def test_a_status_in_an_answer_says_what_to_do(
    status: dict[str, object], disposition: Disposition, scope: Scope
) -> None:
    """By its name, then by its group."""
    assert LANE.read([FIRST], answer((FIRST, status))) == [
        Failure(disposition, str(status["name"]), "why", None, scope)
    ]


def test_a_duplicate_of_our_own_id_is_the_message_itself() -> None:
    """It was accepted when it came first."""
    assert LANE.read([FIRST], answer((FIRST, rejected("REJECTED_DUPLICATE_MESSAGE_ID")))) == [Accepted(ID)]


def test_a_refused_request_says_why() -> None:
    """With the code of its service exception."""
    body = {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED", "text": "Invalid login details"}}}
    assert LANE.read([FIRST], a_reply(body, 401)) == [
        Failure(Disposition.STOP, "UNAUTHORIZED", "Invalid login details")
    ]


@pytest.mark.parametrize(
    ("result", "status", "failure"),
    [
        ({"status": {"groupId": 1, "name": "PENDING_ENROUTE"}}, EventStatus.SUBMITTED, None),
        ({"status": {"groupId": 3, "name": "DELIVERED_TO_OPERATOR"}}, EventStatus.SUBMITTED, None),
        ({"status": {"groupId": 3, "name": "DELIVERED_TO_HANDSET"}}, EventStatus.DELIVERED, None),
        (
            {"status": {"groupId": 4, "name": "EXPIRED_EXPIRED"}, "error": {"groupId": 0, "name": "NO_ERROR"}},
            EventStatus.EXPIRED,
            Failure(Disposition.REJECTED, "EXPIRED_EXPIRED"),
        ),
        (
            {
                "status": {"groupId": 2, "name": "UNDELIVERABLE_NOT_DELIVERED"},
                "error": {"groupId": 1, "name": "EC_UNKNOWN_SUBSCRIBER", "permanent": True},
            },
            EventStatus.FAILED,
            Failure(Disposition.REJECTED, "EC_UNKNOWN_SUBSCRIBER", scope=Scope.RECIPIENT),
        ),
        (
            {
                "status": {"groupId": 2, "name": "UNDELIVERABLE_NOT_DELIVERED"},
                "error": {"groupId": 1, "name": "EC_ABSENT_SUBSCRIBER", "permanent": False},
            },
            EventStatus.FAILED,
            Failure(Disposition.REROUTE, "EC_ABSENT_SUBSCRIBER", scope=Scope.RECIPIENT),
        ),
        (
            {"status": {"groupId": 5, "name": "REJECTED_DND"}},
            EventStatus.FAILED,
            Failure(Disposition.REJECTED, "REJECTED_DND", scope=Scope.RECIPIENT),
        ),
    ],
    ids=["pending", "at the operator", "delivered", "expired", "permanent", "temporary", "rejected"],
)
def test_a_report_becomes_a_status_with_the_network(
    result: dict[str, object], status: EventStatus, failure: Failure | None
) -> None:
    """`permanent` decides whether another lane may try."""
    common = {
        "messageId": ID,
        "to": "573001110000",
        "doneAt": "2027-01-15T03:00:00.500-0500",
        "mccMnc": "732101",
        "callbackData": "acme/job-1:0/1",
    }
    (read,) = LANE.receive(called({**common, **result})).statuses
    assert (read.id, read.reference, read.to) == (ID, "acme/job-1:0/1", "+573001110000")
    assert (read.status, read.failure) == (status, failure)
    assert (read.network, read.at) == ("732101", NOW + 0.5)


def test_a_callback_holds_many_and_what_is_new_is_counted() -> None:
    """Reports and messages from people in their order, unknown groups by number."""
    mo = {
        "messageId": "m1",
        "from": "573001110000",
        "to": "24601",
        "text": "pagué",
        "receivedAt": "2027-01-15T08:00:00.000+0000",
        "smsCount": 2,
        "keyword": "PAGUE",
    }
    ok = {"messageId": "a", "status": {"groupId": 3}}
    reading = LANE.receive(called(ok, mo, {"messageId": "b", "status": {"groupId": 77}}, {"messageId": "c"}, ok))
    assert [status.id for status in reading.statuses] == ["a", "a"]
    assert reading.unknown == ["group:77", "result"]
    (inbound,) = reading.inbound
    assert (inbound.inbound_id, inbound.from_, inbound.to) == ("m1", "+573001110000", "24601")
    assert (inbound.text, inbound.parts, inbound.time.timestamp()) == ("pagué", 2, NOW)


def test_a_mad_time_costs_no_other_message() -> None:
    """It is no time."""
    one, mad = ({"messageId": each, "from": "57300", "to": "89", "text": "x"} for each in "ab")
    reading = LANE.receive(called(one, mad | {"receivedAt": "9999-12-31T23:59:59-14:00"}))
    assert [each.inbound_id for each in reading.inbound] == ["a", "b"]
