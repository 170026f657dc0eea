"""The generic provider: the shapes and the proofs of callbacks."""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec
import pytest

from gateway.errors import Disposition
from gateway.model import EventStatus
from gateway.providers.contract import Failure, Hook, Unsigned
from tests.providers.generic_lanes import (
    JSON,
    REPLY,
    REQUEST,
    STATUS,
    WORD,
    callback,
    lane,
)
from tests.providers.suite import NOW, a_hook, with_body, with_header


@pytest.mark.parametrize(
    ("format_", "zone", "value"),
    [
        ("iso", "UTC", "2027-01-15T08:00:00Z"),
        ("iso", "America/Bogota", "2027-01-15 03:00:00"),
        ("iso", "America/Bogota", "2027-01-15T09:00:00+0100"),
        ("unix", "UTC", int(NOW)),
        ("unix", "UTC", str(int(NOW))),
        ("unix_ms", "UTC", int(NOW) * 1000),
        ("%d/%m/%y %H:%M", "America/Santiago", "15/01/27 05:00"),
    ],
)
def test_times_are_read_by_format_and_zone(format_: str, zone: str, value: object) -> None:
    """An offset in the text is stronger than the zone."""
    at = f'at = {{ path = "t", format = "{format_}", zone = "{zone}" }}'
    (status,) = (
        callback(WORD, STATUS + at).receive(a_hook(msgspec.json.encode({"s": "ok", "id": "a", "t": value}))).statuses
    )
    assert status.at == NOW


@pytest.mark.parametrize("value", [None, "", "yesterday", "nan", 10**400, {"a": 1}])
def test_a_time_that_is_none_is_not_known(value: object) -> None:
    """And no reason to lose the status."""
    at = 'at = { path = "t", format = "unix" }'
    body = msgspec.json.encode({"s": "ok", "id": "a", "t": str(value) if isinstance(value, int) else value})
    assert callback(WORD, STATUS + at).receive(a_hook(body)).statuses[0].at == 0.0


def test_elements_are_found_in_a_list_or_alone() -> None:
    """A list at a path, a list that is the body, one object."""
    one = {"s": "ok", "id": "a"}
    listed = callback('list = "data.items"', WORD, STATUS)
    for provider, body in (
        (callback(WORD, STATUS), one),
        (callback(WORD, STATUS), [one]),
        (listed, {"data": {"items": [one]}}),
        (listed, {"data": {"items": one}}),
    ):
        assert [s.id for s in provider.receive(a_hook(msgspec.json.encode(body))).statuses] == ["a"]
    with pytest.raises(ValueError, match="elements"):
        listed.receive(a_hook(b"{}"))


def test_statuses_and_messages_from_people_are_told_apart() -> None:
    """By conditions; one that fits neither is counted."""
    inbound = '[callback.inbound]\nwhen = [{ path = "type", is = "mo" }]\nfrom = "from"\nto = "to"\ntext = "body"\nid = "id"\n'
    when = 'when = [{ path = "type", matches = "dlr.*" }]\nreference = "query:ref"\n'
    provider = callback(WORD, STATUS + when, inbound + 'reference = "about"\nat = { path = "at", format = "unix" }')
    reading = provider.receive(
        a_hook(
            msgspec.json.encode(
                [
                    {"type": "dlr.sms", "s": "no", "id": "a"},
                    {
                        "type": "mo",
                        "from": "573001110000",
                        "to": "600",
                        "body": "sí",
                        "id": "m",
                        "about": "r",
                        "at": NOW,
                    },
                    {"type": "other"},
                ]
            ),
            query={"ref": "acme/1/1"},
        )
    )
    (status,), (person,) = reading.statuses, reading.inbound
    assert (status.status, status.reference) == (EventStatus.FAILED, "acme/1/1")
    assert status.failure == Failure(Disposition.REJECTED, "")
    assert (person.from_, person.to, person.text, person.reference) == ("+573001110000", "600", "sí", "r")
    assert person.time.timestamp() == NOW
    assert reading.unknown == ["element"]


def test_of_several_words_the_first_that_is_known_counts() -> None:
    """A finer word need not be known; if none is, the finest is counted."""
    provider = callback(WORD, STATUS.replace('"s"', '["detail", "s"]'))
    said = [{"detail": "ok", "s": "no"}, {"detail": "new", "s": "ok"}, {"detail": "new", "s": "?"}, {"s": "?"}]
    reading = provider.receive(a_hook(msgspec.json.encode([{"id": "a", **each} for each in said])))
    assert [each.status for each in reading.statuses] == [EventStatus.DELIVERED, EventStatus.DELIVERED]
    assert reading.unknown == ["status:new", "status:?"]


def test_the_answer_is_what_the_vendor_wants_to_read() -> None:
    """A text of its own, or nothing."""
    hook = a_hook(b'{"s":"ok","id":"a"}')
    said = callback('answer = "<ok/>"\ncontent_type = "text/xml"', WORD, STATUS).receive(hook)
    assert (said.answer, said.content_type) == (b"<ok/>", "text/xml")
    assert callback(WORD, STATUS).receive(hook).answer == b""


def _mac(digest: str, data: bytes) -> bytes:
    return hmac.digest(b"the-password", data, digest)


def _jwt(body: bytes) -> str:
    claims = {"iat": int(NOW), "payload_hash": hashlib.sha256(body).hexdigest()}
    head, payload = (
        base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=") for part in ({"alg": "HS256"}, claims)
    )
    mac = base64.urlsafe_b64encode(_mac("sha256", head + b"." + payload)).rstrip(b"=")
    return b".".join((head, payload, mac)).decode()


BODY = b'{"s":"ok","id":"a"}'
PUSH = msgspec.json.encode({"message": {"data": base64.b64encode(BODY).decode()}})
URL = "https://hooks.example/lane"
STAMP = str(int(NOW))
PARAMS = {"s": "ok", "id": "a", "timestamp": STAMP}
SIG = _mac("sha256", "".join(f"&{name}={PARAMS[name]}" for name in sorted(PARAMS)).encode()).hex()
SINCH = {
    "x-sinch-webhook-signature": base64.b64encode(_mac("sha256", BODY + b".n." + STAMP.encode())).decode(),
    "x-sinch-webhook-signature-nonce": "n",
    "x-sinch-webhook-signature-timestamp": STAMP,
}
TWILIO = base64.b64encode(_mac("sha1", (URL + "ida" + "sok").encode())).decode()
CREDENTIALS = base64.b64encode(b"me:the-password").decode()
SECRET = 'secret = "{secret.password}"'
NETS = 'networks = ["192.0.2.0/24", "2001:db8::1"]\naddress_header = "X-Real-IP"'


@pytest.mark.parametrize(
    ("lines", "genuine", "forged"),
    [
        (
            [f'proof = {{ kind = "hub", {SECRET} }}'],
            a_hook(BODY, {"x-hub-signature-256": "sha256=" + _mac("sha256", BODY).hex()}),
            lambda hook: with_body(hook, BODY + b" "),
        ),
        (
            ['format = "fields"', f'proof = {{ kind = "twilio", {SECRET} }}'],
            a_hook(b"s=ok&id=a", {"x-twilio-signature": TWILIO}, url=URL),
            lambda hook: with_body(hook, b"s=no&id=a"),
        ),
        (
            ['format = "pubsub"', f'proof = {{ kind = "rbm", {SECRET} }}'],
            a_hook(PUSH, {"x-goog-signature": base64.b64encode(_mac("sha512", BODY)).decode()}),
            lambda hook: with_body(hook, b"{}"),
        ),
        (
            [f'proof = {{ kind = "sinch", {SECRET}, window_s = 60 }}'],
            a_hook(BODY, SINCH),
            lambda hook: with_header(hook, "x-sinch-webhook-signature-nonce", "m"),
        ),
        (
            ['format = "fields"', f'proof = {{ kind = "params", method = "sha256", {SECRET} }}'],
            a_hook(query={**PARAMS, "sig": SIG}, method="GET"),
            lambda hook: msgspec.structs.replace(hook, query={**hook.query, "s": "no"}),
        ),
        (
            [f'proof = {{ kind = "jwt", {SECRET} }}'],
            a_hook(BODY, {"authorization": "Bearer " + _jwt(BODY)}),
            lambda hook: with_body(hook, BODY + b" "),
        ),
        (
            ['proof = { kind = "basic", username = "me", password = "{secret.password}" }'],
            a_hook(BODY, {"authorization": "Basic " + CREDENTIALS}),
            lambda hook: with_header(hook, "authorization", "Basic bWU6"),
        ),
        ([WORD], a_hook(BODY, {"x-word": "the-password"}), lambda hook: with_header(hook, "x-word", "the")),
        (
            [f'proof = {{ kind = "query", name = "w", {SECRET} }}'],
            a_hook(BODY, query={"w": "the-password"}),
            lambda hook: msgspec.structs.replace(hook, query={}),
        ),
        (
            [f'proof = {{ kind = "path", {SECRET} }}'],
            a_hook(BODY, url=f"{URL}/the-password?x=/other"),
            lambda hook: msgspec.structs.replace(hook, url=f"{URL}/?x=/the-password"),
        ),
        (
            [NETS, 'proof = { kind = "networks" }'],
            a_hook(BODY, {"x-real-ip": "10.0.0.1, 192.0.2.7"}),
            lambda hook: with_header(hook, "x-real-ip", "192.0.2.7, 10.0.0.1"),
        ),
        (
            [NETS, WORD],
            a_hook(BODY, {"x-word": "the-password", "x-real-ip": "2001:db8::1"}),
            lambda hook: with_header(hook, "x-real-ip", "2001:db8::2"),
        ),
    ],
    ids=[
        *("hub", "twilio", "rbm", "sinch", "params", "jwt", "basic", "header", "query", "path", "networks"),
        "networks and a header",
    ],
)
def test_a_callback_proves_itself_in_the_way_of_its_vendor(lines: list[str], genuine: Hook, forged: object) -> None:
    """What is changed in one place does not."""
    provider = callback(*lines, STATUS)
    provider.verify(genuine, NOW)
    assert [status.id for status in provider.receive(genuine).statuses] == ["a"]
    assert callable(forged)
    for hook in (forged(genuine), a_hook(genuine.body)):
        with pytest.raises(Unsigned):
            provider.verify(hook, NOW)


def test_without_callbacks_none_is_taken() -> None:
    """A lane whose vendor's file knows of none."""
    provider = lane(REQUEST, JSON, REPLY)
    with pytest.raises(Unsigned):
        provider.verify(a_hook(), NOW)
