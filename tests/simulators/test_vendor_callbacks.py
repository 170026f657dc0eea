"""What the other vendors report: each in its own shape, signed in its own way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest

from gateway.simulators.end import Request, Update
from gateway.simulators.script import Scripted
from gateway.simulators.vendors import VENDORS, Account
from tests.simulators.vendor_requests import (
    BASIC,
    BEARER,
    HOOK,
    REQUESTS,
    TWILIO,
    ask,
    encoded,
    fields,
    infobip,
    reported,
    sinch,
    vendor,
)


def test_a_call_is_answered_and_reported_like_one() -> None:
    """Only its end, unless more was asked for; the code of a failure is its status."""
    for code, expected in (
        ("", "completed"),
        ("busy", "busy"),
        ("no-answer", "no-answer"),
        ("13224", "failed"),
        ("machine", "completed"),
    ):
        end = vendor("twilio", failures={code: 1.0} if code else {})
        body = b"To=%2B573001234567&From=89000&Twiml=%3CResponse%2F%3E&StatusCallback=" + HOOK.encode()
        answer = end.receive(Request("POST", f"{TWILIO}/Calls.json", BASIC, body), 1.0)
        (post,) = reported(end, answer)
        assert json.loads(answer.body)["sid"].startswith("CA")
        assert fields(post)["CallStatus"] == expected
        assert ("AnsweredBy" in fields(post)) is (code == "machine")


def test_twilio_signs_with_the_url_that_was_asked_for() -> None:
    """And says when a message was delivered, or why not."""
    end, answer = ask("twilio")
    sent, delivered = reported(end, answer)
    assert [fields(post)["MessageStatus"] for post in (sent, delivered)] == ["sent", "delivered"]
    assert fields(delivered)["RawDlrDoneDate"] == "2311142213"
    for post in (sent, delivered):
        signed = post.url + "".join(name + value for name, value in sorted(fields(post).items()))
        expected = base64.b64encode(hmac.digest(b"recado", signed.encode(), "sha1")).decode()
        assert (post.url, post.headers["X-Twilio-Signature"]) == (HOOK, expected)
    end, answer = ask("twilio", failures={"30003": 1.0})
    (failed,) = reported(end, answer)
    assert (fields(failed)["MessageStatus"], fields(failed)["ErrorCode"]) == ("undelivered", "30003")


def test_infobip_joins_reports_for_one_url() -> None:
    """At most 100, and that an operator has a message besides what becomes of it."""
    end, answer = ask("infobip", infobip(*(f"5730{n:05}" for n in range(75))))
    posts = reported(end, answer)
    assert [(post.url, post.size) for post in posts] == [(f"{HOOK}/asked", 100), (f"{HOOK}/asked", 50)]
    (first, result, *_) = json.loads(posts[0].body)["results"]
    assert (first["messageId"], first["status"]["name"]) == ("gw-1", "DELIVERED_TO_OPERATOR")
    assert (result["messageId"], result["status"]["groupName"], result["error"]["permanent"]) == (
        "gw-1",
        "DELIVERED",
        False,
    )
    assert (result["doneAt"], result["callbackData"]) == ("2023-11-14T22:13:20.500+0000", "x")
    end, answer = ask("infobip", failures={"EXPIRED_EXPIRED": 1.0})
    (post,) = reported(end, answer)
    assert [each["status"]["groupName"] for each in json.loads(post.body)["results"]] == ["DELIVERED", "EXPIRED"]


def test_vonage_signs_a_parameter_or_a_token() -> None:
    """As the account is set up."""
    end, answer = ask("vonage", failures={"3": 1.0})
    (post,) = reported(end, answer)
    found = fields(post)
    joined = "".join(f"&{name}={value}" for name, value in sorted(found.items()) if name != "sig")
    assert found["sig"] == hashlib.md5(joined.encode() + b"recado").hexdigest()
    assert (found["status"], found["err-code"], found["client-ref"]) == ("failed", "3", "gw-1")

    end = VENDORS["vonage"](account=Account(scheme="jwt"), webhook_url=HOOK)
    post = reported(end, end.receive(REQUESTS["vonage"], 1.0))[0]
    claims = post.headers["Authorization"].removeprefix("Bearer ").split(".")[1]
    payload_hash = json.loads(base64.urlsafe_b64decode(claims + "=="))["payload_hash"]
    assert payload_hash == hashlib.sha256(post.body).hexdigest()
    assert json.loads(post.body)["messageId"]


@pytest.mark.parametrize(
    ("report", "states"),
    [("per_recipient", ["Dispatched", "Delivered"]), ("per_recipient_final", ["Delivered"]), ("none", [])],
)
def test_sinch_reports_what_was_asked_for(report: str, states: list[str]) -> None:
    """Signed, with nonce and time."""
    end, answer = ask("sinch", sinch(delivery_report=report))
    posts = reported(end, answer)
    assert [json.loads(post.body)["status"] for post in posts] == states
    for post in posts:
        head = "x-sinch-webhook-signature"
        signed = post.body + f".{post.headers[f'{head}-nonce']}.{post.headers[f'{head}-timestamp']}".encode()
        assert post.headers[head] == base64.b64encode(hmac.digest(b"recado", signed, "sha256")).decode()
        assert json.loads(post.body)["batch_id"] == json.loads(answer.body)["id"]


@pytest.mark.parametrize(("code", "expected"), [("402", ("Failed", 402)), ("Expired", ("Expired", 402))])
def test_sinch_fails_with_a_number_or_a_status(code: str, expected: tuple[str, int]) -> None:
    """Whichever the code is."""
    end, answer = ask("sinch", failures={code: 1.0})
    report = json.loads(reported(end, answer)[0].body)
    assert (report["status"], report["code"]) == expected


@pytest.mark.parametrize(("status", "again"), [(0, True), (429, True), (500, True), (400, False), (404, False)])
def test_sinch_repeats_a_callback_only_where_it_says_so(status: int, again: bool) -> None:
    """Others repeat every one."""
    assert vendor("sinch").tries_again(status) is again
    assert vendor("twilio").tries_again(status)


@pytest.mark.parametrize(
    ("behaviour", "events"),
    [
        ({"read_ratio": 1.0}, ["DELIVERED", "READ"]),
        ({"failures": {"ttl": 1.0}}, ["TTL_EXPIRATION_REVOKED"]),
        ({"failures": {"TTL_EXPIRATION_REVOKE_FAILED": 1.0}}, ["TTL_EXPIRATION_REVOKE_FAILED"]),
    ],
)
def test_rbm_wraps_and_signs_its_events(behaviour: dict[str, Any], events: list[str]) -> None:
    """The signature is of what is inside."""
    end, answer = ask("rbm", **behaviour)
    found = []
    for post in reported(end, answer):
        decoded = base64.b64decode(json.loads(post.body)["message"]["data"])
        expected = base64.b64encode(hmac.digest(b"recado", decoded, "sha512")).decode()
        assert post.headers["X-Goog-Signature"] == expected
        event = json.loads(decoded)
        assert event["messageId"] == "gw-1"
        found.append(event["eventType"])
    assert found == events


def test_rbm_ignores_an_id_that_was_used() -> None:
    """It answers as before and delivers nothing; that it came is noted."""
    end = vendor("rbm")
    first, second = end.receive(REQUESTS["rbm"], 1.0), end.receive(REQUESTS["rbm"], 2.0)
    assert first.body == second.body
    assert (len(first.updates), len(second.updates)) == (2, 0)
    assert end.record.counts.duplicates == 1


def test_rbm_grants_a_token() -> None:
    """For an assertion or for credentials."""
    asked = Request(
        "POST", "token", {}, b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"
    )
    granted = json.loads(vendor("rbm").receive(asked, 1.0).body)
    assert (granted["access_token"], granted["token_type"]) == ("recado", "Bearer")
    assert vendor("rbm").receive(Request("POST", "token", {}, b""), 1.0).status == 400


def test_rbm_knows_who_is_reachable() -> None:
    """One by one and many at once, with a token."""
    end = vendor("rbm", rejected={"573002": "404"})

    def capabilities(to: str, headers: Mapping[str, str] = BEARER) -> int:
        target = f"v1/phones/%2B{to}/capabilities?requestId=1&agentId=a"
        return end.receive(Request("GET", target, headers), 1.0).status

    assert (capabilities("573001"), capabilities("573002"), capabilities("573001", {})) == (200, 404, 401)
    many = Request("POST", "v1/users:batchGet", BEARER, encoded({"users": ["+573001", "+573002"], "agentId": "a"}))
    assert json.loads(end.receive(many, 1.0).body) == {"reachableUsers": ["+573001"]}
    nobody = Request("POST", "v1/users:batchGet", BEARER, encoded({"users": ["+573002"], "agentId": "a"}))
    assert json.loads(end.receive(nobody, 1.0).body) == {}
    assert len(end.record) == 0


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "v1/users:batchGet", b"{"),
        ("POST", "v1/users:batchGet", b'{"users": ["+573001"]}'),
        ("POST", "v1/users:batchGet", b'{"users": ["nobody"], "agentId": "a"}'),
        ("POST", "v1/users:batchGet", encoded({"users": ["+573001"] * 10_001, "agentId": "a"})),
        ("GET", "v1/phones/%2B573001/capabilities?agentId=a", b""),
        ("GET", "v1/phones/nobody/capabilities?requestId=1&agentId=a", b""),
    ],
    ids=["no JSON", "no agent", "no number", "too many", "no request id", "nobody"],
)
def test_rbm_refuses_a_question_that_is_none(method: str, target: str, body: bytes) -> None:
    """As Google does, with 400 and its reason."""
    answer = vendor("rbm").receive(Request(method, target, BEARER, body), 1.0)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["status"] == "INVALID_ARGUMENT"


def test_generic_reports_to_the_url_of_the_request() -> None:
    """Signed as Meta signs."""
    end, answer = ask("generic", encoded({"to": "+573001", "reference": "gw-1", "callback": f"{HOOK}/mine"}))
    post = reported(end, answer)[-1]
    signature = hmac.new(b"recado", post.body, hashlib.sha256).hexdigest()
    assert (post.url, post.headers["X-Signature-256"]) == (f"{HOOK}/mine", f"sha256={signature}")
    assert json.loads(post.body)["status"] == "delivered"


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("twilio", lambda post: parse_qs(post.body.decode())["Body"][0]),
        ("infobip", lambda post: json.loads(post.body)["results"][0]["text"]),
        ("vonage", lambda post: parse_qs(post.body.decode())["text"][0]),
        ("sinch", lambda post: json.loads(post.body)["body"]),
        ("rbm", lambda post: json.loads(base64.b64decode(json.loads(post.body)["message"]["data"]))["text"]),
        ("generic", lambda post: json.loads(post.body)["text"]),
    ],
)
def test_what_people_write_comes_in_each_vendors_shape(kind: str, where: Any) -> None:
    """To the webhook of the simulator."""
    post = vendor(kind).inbound("573001234567", "89000", "Sí, pago", {}, 0.0, 0.0)
    assert (post.url, where(post)) == (HOOK, "Sí, pago")


def test_aldeamo_is_silent() -> None:
    """What it would send is not public."""
    end, answer = ask("aldeamo")
    assert reported(end, answer) == []
    with pytest.raises(ValueError, match="not known"):
        end.inbound("573001", "1", "hola", {}, 0.0, 0.0)


@pytest.mark.parametrize("kind", VENDORS)
def test_without_an_address_nothing_is_reported(kind: str) -> None:
    """None was set up, and the request has none."""
    end, request = VENDORS[kind](), REQUESTS[kind]
    body = request.body.replace(b"StatusCallback=" + HOOK.encode(), b"").replace(
        f'"url": "{HOOK}/asked"'.encode(), b'"url": ""'
    )
    answer = end.receive(Request(request.method, request.target, request.headers, body), 1.0)
    assert answer.status in (200, 201)
    assert not answer.updates


@pytest.mark.parametrize("kind", VENDORS)
def test_a_fault_that_says_nothing_leaves_a_message_accepted(kind: str) -> None:
    """And one that says no leaves none."""
    end = vendor(kind)
    for fault, accepted in (("garbage", 1), ("bare_503", 1)):
        end.script.add(Scripted(fault=fault))  # type: ignore[arg-type]
        assert end.receive(REQUESTS[kind], 1.0).fault == fault
        assert end.record.counts.accepted == accepted


def test_an_update_of_anything_can_be_reported() -> None:
    """Of a message that was never there, too."""
    update = Update("x", "delivered", "89000", "573001")
    assert [vendor(kind).reports([update], 0.0) != [] for kind in VENDORS] == [kind != "aldeamo" for kind in VENDORS]
