"""The other vendors without their socket: each in its own shape, each with its own way of saying no."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.simulators import signing
from gateway.simulators.end import Request
from gateway.simulators.script import Scripted
from gateway.simulators.vendors import VENDORS, Account
from tests.simulators.vendor_requests import (
    REQUESTS,
    SMS,
    aldeamo,
    ask,
    infobip,
    vendor,
)


@pytest.mark.parametrize("kind", VENDORS)
def test_a_message_is_accepted_and_noted(kind: str) -> None:
    """With the number as digits, and our reference where the vendor takes one."""
    end, answer = ask(kind)
    (arrival,) = end.record.arrivals()
    assert answer.status in (200, 201)
    assert (arrival.at, arrival.recipient, arrival.code) == (1.0, "573001234567", "")
    assert arrival.reference == ("" if kind == "twilio" else "gw-1")


@pytest.mark.parametrize("kind", VENDORS)
def test_every_message_has_an_id_of_its_own(kind: str) -> None:
    """Unless the client chose it."""
    end = vendor(kind)
    answers = {end.receive(REQUESTS[kind], 1.0).body for _ in range(3)}
    assert len(answers) == (1 if kind == "rbm" else 3)


@pytest.mark.parametrize("kind", VENDORS)
def test_nobody_else_may_send(kind: str) -> None:
    """With a wrong secret or none."""
    end = vendor(kind)
    request = REQUESTS[kind]
    body = request.body.replace(b"api_secret=recado", b"api_secret=wrong")
    answer = end.receive(Request(request.method, request.target, {"Authorization": "Bearer wrong"}, body), 1.0)
    if kind == "vonage":
        assert json.loads(answer.body)["messages"][0]["status"] == "4"
    else:
        assert answer.status == 401
    assert len(end.record) == 0


@pytest.mark.parametrize("kind", sorted(VENDORS.keys() - {"generic"}))
def test_a_path_that_is_none_is_404(kind: str) -> None:
    """Whatever is sent there."""
    request = REQUESTS[kind]
    answer = vendor(kind).receive(Request("POST", "no/such/path", request.headers, request.body), 1.0)
    assert answer.status == 404


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("twilio", b"To=%2B573001234567&From=1"),
        ("twilio", b"To=nobody&From=1&Body=hola"),
        ("twilio", b"From=1&Body=hola"),
        ("twilio", b"To=%2B573001234567&From=1&Body=" + b"x" * 1601),
        ("infobip", b"{"),
        ("infobip", b'{"messages": []}'),
        ("sinch", b'{"to": [], "body": "hola"}'),
        ("sinch", b'{"to": ["1"]}'),
        ("aldeamo", b'{"country": "57", "addresseeList": [{"mobile": "300"}]}'),
        ("rbm", b'{"contentMessage": {}}'),
        ("rbm", b'{"contentMessage": {"text": "x", "richCard": {}}}'),
        ("generic", b'{"to": "+57 300"}'),
        ("vonage", urlencode({**SMS, "to": "nobody", "text": "x"}).encode()),
    ],
)
def test_what_is_no_message_is_refused(kind: str, body: bytes) -> None:
    """As malformed, and nothing is noted as a message."""
    end, answer = ask(kind, body)
    if kind == "vonage":
        assert json.loads(answer.body)["messages"][0]["status"] == "2"
    else:
        assert answer.status == 400
    assert (len(end.record), end.record.counts.malformed) == (0, 1)


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("status", [429, 503])
def test_any_request_can_be_refused_with_a_status(kind: str, status: int) -> None:
    """By a code that is one; with a Retry-After if the script says so."""
    end = vendor(kind)
    end.script.add(Scripted(code=str(status), retry_after="2"))
    answer = end.receive(REQUESTS[kind], 1.0)
    assert (answer.status, answer.headers["Retry-After"]) == (status, "2")
    assert json.loads(answer.body)
    assert end.record.counts.refused == {str(status): 1}
    assert end.receive(REQUESTS[kind], 1.0).status in (200, 201)


@pytest.mark.parametrize(
    ("kind", "code", "status", "expected"),
    [
        ("twilio", "21610", 400, {"code": 21610, "status": 400}),
        ("twilio", "20429", 429, {"code": 20429, "status": 429}),
        ("twilio", "429", 429, {"code": 20429, "status": 429}),
        ("vonage", "1", 200, {"message-count": "1"}),
        ("sinch", "syntax_invalid_parameter_format", 400, {"code": "syntax_invalid_parameter_format"}),
        ("rbm", "404", 404, {"error": {"code": 404, "message": "NOT_FOUND", "status": "NOT_FOUND"}}),
        ("generic", "blocked", 400, {"status": "rejected", "code": "blocked"}),
        (
            "infobip",
            "401",
            401,
            {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED", "text": "UNAUTHORIZED"}}},
        ),
    ],
)
def test_each_vendor_says_no_in_its_own_way(kind: str, code: str, status: int, expected: Mapping[str, Any]) -> None:
    """Status and body; nothing is reported later."""
    _, answer = ask(kind, errors={code: 1.0})
    assert answer.status == status
    assert expected.items() <= json.loads(answer.body).items()
    assert not answer.updates


def test_infobip_tells_of_each_destination_inside_200() -> None:
    """Its status, and the id that the client chose."""
    end, answer = ask("infobip", infobip("573001", "573002", "573003"), rejected={"573002": "REJECTED_DESTINATION"})
    messages = json.loads(answer.body)["messages"]
    assert [(one["messageId"], one["destination"], one["status"]["groupName"]) for one in messages] == [
        ("gw-1", "573001", "PENDING"),
        ("gw-2", "573002", "REJECTED"),
        ("gw-3", "573003", "PENDING"),
    ]
    assert [arrival.code for arrival in end.record.arrivals()] == ["", "REJECTED_DESTINATION", ""]
    assert {update.id for _, update in answer.updates} == {"gw-1", "gw-3"}


def test_aldeamo_has_two_lists() -> None:
    """Of national numbers."""
    _, answer = ask("aldeamo", aldeamo("3001", "3002"), rejected={"573002": "-5"})
    result = json.loads(answer.body)["result"]
    assert [one["mobile"] for one in result["receivedRequests"]] == ["3001"]
    assert result["failedRequests"] == [{"mobile": "3002", "status": -5, "reason": "refused"}]


@pytest.mark.parametrize(
    ("text", "kind", "parts"), [("x" * 160, "text", 1), ("x" * 161, "text", 2), ("ñ" * 71, "unicode", 2)]
)
def test_vonage_has_an_element_for_each_part(text: str, kind: str, parts: int) -> None:
    """The first has the id of the message."""
    _, answer = ask("vonage", urlencode({**SMS, "text": text, "type": kind}).encode())
    found = json.loads(answer.body)
    ids = [one["message-id"] for one in found["messages"]]
    assert (found["message-count"], len(set(ids))) == (str(parts), parts)
    assert {update.id for _, update in answer.updates} == {ids[0]}


def test_vonage_takes_a_signature_instead_of_the_secret() -> None:
    """If it is right."""
    end = VENDORS["vonage"](account=Account(scheme="sha256"))
    statuses = []
    for secret in ("recado", "wrong"):
        asked = {
            **{name: value for name, value in SMS.items() if name != "api_secret"},
            "text": "hola",
            "timestamp": "1",
        }
        asked["sig"] = signing.vonage(secret, asked, "sha256")
        answer = end.receive(Request("POST", "sms/json", {}, urlencode(asked).encode()), 1.0)
        statuses.append(json.loads(answer.body)["messages"][0]["status"])
    assert statuses == ["0", "4"]
