"""Vonage: always 200 with a status for each part, and signed receipts."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers.contract import Accepted, Failure, Hook, Reply, Scope, Unsigned
from gateway.providers.vonage import Vonage, VonageSettings
from gateway.tables import Secret
from tests.providers.suite import NOW, Case, a_hook, a_message, a_reply, with_body

SETTINGS = VonageSettings(
    api_key="abcd1234",
    api_secret=Secret("the-api-secret"),
    signature_secret=Secret("the-signature"),
    sender="+12025550100",
    callback_url="https://hooks.example/v",
)
LANE = Vonage(SETTINGS)

RECEIPT = {
    "messageId": "0A0000000123ABCD1",
    "msisdn": "573001110000",
    "to": "12025550100",
    "status": "delivered",
    "err-code": "0",
    "network-code": "732101",
    "scts": "2701150300",
    "client-ref": "acme/job-1:0/1",
    "message-timestamp": "2027-01-15 08:00:00",
}


def signed(fields: dict[str, str], at: float = NOW, secret: str = "the-signature") -> dict[str, str]:
    fields = {**fields, "timestamp": str(int(at)), "nonce": "n"}
    text = "".join(f"&{name}={fields[name].replace('=', '_').replace('&', '_')}" for name in sorted(fields))
    return {**fields, "sig": hashlib.md5((text + secret).encode()).hexdigest()}


def posted(fields: dict[str, str]) -> Hook:
    return a_hook(urlencode(fields).encode(), {"content-type": "application/x-www-form-urlencoded"})


HOOK = posted(signed(RECEIPT))

CASE = Case(
    name="vonage",
    provider=LANE,
    message=a_message(),
    accepted=lambda messages: answer(("0", "ID1", "")),
    secrets=("the-api-secret", "the-signature"),
    hook=HOOK,
    forged={
        "unsigned": posted(RECEIPT),
        "wrong signature": posted(signed(RECEIPT, secret="another")),
        "another status": with_body(HOOK, HOOK.body.replace(b"delivered", b"failed")),
        "too old": posted(signed(RECEIPT, NOW - 90_001)),
    },
)


def answer(*parts: tuple[str, str, str], count: int | str | None = None) -> Reply:
    rows = [{"status": status, "message-id": id_, "error-text": text} for status, id_, text in parts]
    return a_reply({"message-count": str(len(parts)) if count is None else count, "messages": rows})


@pytest.mark.parametrize(
    ("message", "more"),
    [
        (a_message("Su pago vence mañana"), {"text": "Su pago vence mañana"}),
        (a_message("Último aviso"), {"text": "Último aviso", "type": "unicode"}),
        (a_message("[10 €]", sender="Banco"), {"text": "[10 €]", "from": "Banco"}),
        (a_message("x", expires_at=NOW + 90), {"text": "x", "ttl": "90000"}),
        (a_message("x", expires_at=NOW + 1), {"text": "x", "ttl": "20000"}),
    ],
    ids=["default alphabet", "unicode", "extension table", "expires", "expires at once"],
)
def test_a_message_becomes_a_form(message: Message, more: dict[str, str]) -> None:
    """Numbers without their plus sign, the time to live in milliseconds, unicode only where it must be."""
    call = LANE.call([message], "", NOW)
    assert (call.method, call.url) == ("POST", "https://rest.nexmo.com/sms/json")
    assert call.headers == (("content-type", "application/x-www-form-urlencoded"),)
    assert dict(parse_qsl(call.body.decode())) == {
        "api_key": "abcd1234",
        "api_secret": "the-api-secret",
        "callback": "https://hooks.example/v",
        "status-report-req": "1",
        "from": "12025550100",
        "to": "573001110000",
        "client-ref": "acme/job-1:0/1",
        **more,
    }


def test_a_reference_that_is_too_long_for_them_is_left_out() -> None:
    """100 characters; the receipt then finds the message by the id of its first part."""
    short, long = (a_message(message_id="x" * n) for n in (93, 94))
    assert b"client-ref" in LANE.call([short], "", NOW).body
    assert b"client-ref" not in LANE.call([long], "", NOW).body
    lane = Vonage(msgspec.structs.replace(SETTINGS, callback_url=""))
    assert b"callback" not in lane.call([short], "", NOW).body


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("0", "A", "")], Accepted("A")),
        ([("0", "A", ""), ("0", "B", "")], Accepted("A")),
        (
            [("1", "", "Throughput Rate Exceeded - please wait [ 250 ] and retry")],
            Failure(Disposition.THROTTLED, "1", "Throughput Rate Exceeded - please wait [ 250 ] and retry", after=0.25),
        ),
        ([("1", "", "Throttled")], Failure(Disposition.THROTTLED, "1", "Throttled")),
        ([("5", "", "Internal")], Failure(Disposition.RETRY, "5", "Internal")),
        ([("4", "", "Credentials")], Failure(Disposition.STOP, "4", "Credentials")),
        ([("9", "", "Quota")], Failure(Disposition.STOP, "9", "Quota")),
        ([("7", "", "Barred")], Failure(Disposition.REJECTED, "7", "Barred", scope=Scope.RECIPIENT)),
        ([("15", "", "Sender")], Failure(Disposition.REROUTE, "15", "Sender")),
        ([("98", "", "New")], Failure(Disposition.REJECTED, "98", "New")),
        ([("1", "", "a"), ("1", "", "a")], Failure(Disposition.THROTTLED, "1", "a")),
        ([("0", "A", ""), ("1", "", "a")], Failure(Disposition.UNKNOWN, "1", "a")),
        ([("1", "", "a"), ("0", "A", "")], Failure(Disposition.UNKNOWN, "1", "a")),
    ],
    ids=[
        *("one part", "two parts", "told to wait", "throttled", "internal", "credentials", "quota", "barred", "sender"),
        *("unlisted", "no part", "second refused", "first refused"),
    ],
)
def test_every_part_must_be_accepted(parts: list[tuple[str, str, str]], expected: object) -> None:
    """Of a text of which a part is on its way, nobody can say that it was not accepted."""
    assert LANE.read([a_message()], answer(*parts)) == [expected]


def test_an_answer_with_fewer_parts_than_it_counts_is_unknown() -> None:
    """As is one without an id."""
    for reply in (answer(("0", "A", ""), count="2"), answer(("0", "", ""))):
        assert LANE.read([a_message()], reply) == [Failure(Disposition.UNKNOWN, "http:200")]
    assert LANE.read([a_message()], answer(("0", "A", ""), count=1)) == [Accepted("A")]


@pytest.mark.parametrize("shape", ["query", "form", "json"])
def test_receipts_come_as_query_form_or_json(shape: str) -> None:
    """Signed in the same way, with the network that really serves the number."""
    fields = signed(RECEIPT)
    hook = {
        "query": a_hook(query=fields, method="GET"),
        "form": posted(fields),
        "json": a_hook(msgspec.json.encode(fields)),
    }[shape]
    LANE.verify(hook, NOW)
    (status,) = LANE.receive(hook).statuses
    assert (status.id, status.reference, status.to) == ("0A0000000123ABCD1", "acme/job-1:0/1", "+573001110000")
    assert (status.status, status.failure) == (EventStatus.DELIVERED, None)
    assert (status.network, status.at) == ("732101", NOW)


@pytest.mark.parametrize(
    ("word", "code", "status", "failure"),
    [
        ("accepted", "0", EventStatus.SUBMITTED, None),
        ("buffered", "0", EventStatus.SUBMITTED, None),
        ("unknown", "1", EventStatus.SUBMITTED, None),
        ("failed", "2", EventStatus.FAILED, Failure(Disposition.RETRY, "dlr:2", scope=Scope.RECIPIENT)),
        ("failed", "3", EventStatus.FAILED, Failure(Disposition.REROUTE, "dlr:3", scope=Scope.RECIPIENT)),
        ("rejected", "6", EventStatus.FAILED, Failure(Disposition.REJECTED, "dlr:6")),
        ("expired", "99", EventStatus.EXPIRED, Failure(Disposition.REJECTED, "dlr:99")),
    ],
)
def test_a_receipt_becomes_a_status(word: str, code: str, status: EventStatus, failure: Failure | None) -> None:
    """Its err-code says what to do, where it failed."""
    (read,) = LANE.receive(posted({**RECEIPT, "status": word, "err-code": code})).statuses
    assert (read.status, read.failure) == (status, failure)


def test_the_account_chooses_the_method_of_the_signature() -> None:
    """What is signed by another is refused."""
    lane = Vonage(msgspec.structs.replace(SETTINGS, signature_method="sha256"))
    with pytest.raises(Unsigned):
        lane.verify(HOOK, NOW)


def test_a_message_from_a_person_is_read() -> None:
    """Text, or binary with its octets in hexadecimal; parts of a long one say which they are."""
    fields = {
        "messageId": "M1",
        "msisdn": "573001110000",
        "to": "24601",
        "type": "text",
        "text": "sí",
        "message-timestamp": "2027-01-15 08:00:00",
        "concat-ref": "7",
        "concat-part": "1",
    }
    (text,) = LANE.receive(posted(fields)).inbound
    assert (text.inbound_id, text.from_, text.to) == ("M1", "+573001110000", "24601")
    assert (text.kind, text.text, text.time.timestamp()) == ("text", "sí", NOW)
    assert text.data == {"concat-ref": "7", "concat-part": "1"}
    (binary,) = LANE.receive(posted({"messageId": "M2", "msisdn": "57", "to": "24601", "data": "0102"})).inbound
    assert (binary.kind, binary.data) == ("binary", {"data": "0102"})


def test_a_new_status_is_counted_and_not_an_error() -> None:
    """What is neither a receipt nor a message is an error."""
    assert LANE.receive(posted({**RECEIPT, "status": "pondering"})).unknown == ["status:pondering"]
    with pytest.raises(ValueError, match="neither"):
        LANE.receive(posted({"messageId": "x"}))
