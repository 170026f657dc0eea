"""RCS through RBM: ids of ours, service account, signed events."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers.contract import Accepted, Failure, Grant, Hook, Reply, Scope, Unsendable
from gateway.providers.rbm import Rbm, RbmSettings
from gateway.providers.requests import stable_id
from gateway.tables import Contradiction, Secret
from tests.providers.suite import NOW, Case, a_hook, a_message, a_reply, with_body, with_header, without


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY = rsa.generate_private_key(65_537, 2048)
PEM = pem_of(KEY)
SETTINGS = RbmSettings(
    agent_id="banco@rbm",
    client_email="recado@project.example",
    private_key=Secret(PEM),
    client_token=Secret("the-client-token"),
)
LANE = Rbm(SETTINGS)
MESSAGE = a_message("Año")
ID = stable_id(MESSAGE, once=True)
SIGNATURE = "x-goog-signature"

EVENT = {
    "senderPhoneNumber": "+573001110000",
    "eventType": "DELIVERED",
    "eventId": "e1",
    "messageId": ID,
    "agentId": "banco@rbm",
    "sendTime": "2027-01-15T08:00:00.250123456Z",
}


def called(event: Mapping[str, object]) -> Hook:
    data = msgspec.json.encode(event)
    body = {"message": {"data": base64.b64encode(data).decode(), "messageId": "1"}, "subscription": "s"}
    mac = hmac.new(b"the-client-token", data, hashlib.sha512).digest()
    return a_hook(msgspec.json.encode(body), {SIGNATURE: base64.b64encode(mac).decode()})


def accepted(messages: Sequence[Message]) -> Reply:
    return a_reply(
        {"name": f"phones/{messages[0].to}/agentMessages/{stable_id(messages[0], once=True)}", "sendTime": "…"}
    )


HOOK = called(EVENT)
HANDSHAKE = a_hook(b'{"clientToken":"the-client-token","secret":"1234567890"}')

CASE = Case(
    name="rbm",
    provider=LANE,
    message=MESSAGE,
    accepted=accepted,
    secrets=(PEM, PEM.splitlines()[5], "the-client-token", "a-token"),
    hook=HOOK,
    forged={
        "unsigned": without(HOOK, SIGNATURE),
        "wrong signature": with_header(HOOK, SIGNATURE, base64.b64encode(bytes(64)).decode()),
        "another event": with_body(HOOK, called({**EVENT, "eventType": "READ"}).body),
        "handshake with another token": a_hook(b'{"clientToken":"another","secret":"1234567890"}'),
        "handshake without a token": a_hook(b'{"secret":"1234567890"}'),
    },
)

CARD = '{"contentMessage":{"richCard":{"standaloneCard":{}}},"messageTrafficType":"TRANSACTION"}'


@pytest.mark.parametrize(
    ("settings", "message", "body"),
    [
        (SETTINGS, MESSAGE, {"contentMessage": {"text": "Año"}}),
        (
            msgspec.structs.replace(SETTINGS, traffic_type="TRANSACTION"),
            a_message("Año", expires_at=NOW + 90.9),
            {"ttl": "90s", "contentMessage": {"text": "Año"}, "messageTrafficType": "TRANSACTION"},
        ),
        (
            msgspec.structs.replace(SETTINGS, traffic_type="PROMOTION"),
            a_message("Año", content=CARD, expires_at=NOW + 5),
            {"ttl": "10s", **msgspec.json.decode(CARD)},
        ),
        (SETTINGS, a_message("", content=CARD), msgspec.json.decode(CARD)),
        (
            msgspec.structs.replace(SETTINGS, traffic_type="PROMOTION"),
            a_message("", content='{"contentMessage":{"text":"\\"messageTrafficType\\""}}'),
            {"contentMessage": {"text": '"messageTrafficType"'}, "messageTrafficType": "PROMOTION"},
        ),
        (
            SETTINGS,
            a_message("", content=CARD, expires_at=NOW + 9_000_000),
            {"ttl": "1296000s", **msgspec.json.decode(CARD)},
        ),
    ],
    ids=["text", "text that expires", "card that expires", "card", "content without a type", "card that expires late"],
)
def test_a_message_is_posted_under_an_id_of_ours(
    settings: RbmSettings, message: Message, body: dict[str, object]
) -> None:
    """A UUID in the query; the content as it stands, with its time to live."""
    call = Rbm(settings).call([message], "a-token", NOW)
    url = urlsplit(call.url)
    assert url.netloc == "rcsbusinessmessaging.googleapis.com"
    assert url.path == "/v1/phones/+573001110000/agentMessages"
    assert parse_qs(url.query) == {"messageId": [ID], "agentId": ["banco@rbm"]}
    assert UUID(ID).version == 5
    assert dict(call.headers) == {"authorization": "Bearer a-token", "content-type": "application/json"}
    assert msgspec.json.decode(call.body) == body


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        (a_message("x" * 3072), True),
        (a_message("x" * 3073), False),
        (a_message("", content='{"contentMessage":{"text":"%s"}}' % ("x" * 3072)), True),
        (a_message("", content='{"contentMessage":{"text":"%s"}}' % ("x" * 3073)), False),
        (a_message("", content='{"contentMessage":{"x":"%s"}}' % ("x" * 250_000)), False),
        (a_message("", content='{"text":"hola"}'), False),
        (a_message("", content="[]"), False),
    ],
    ids=["text", "long text", "content", "long text in content", "large content", "no message", "no object"],
)
def test_what_does_not_fit_is_not_sent(message: Message, fits: bool) -> None:
    """3,072 characters of text, 250 KB in all."""
    if fits:
        LANE.prepare(message)
    else:
        with pytest.raises(Unsendable):
            LANE.prepare(message)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, Failure(Disposition.REROUTE, "404", "why", scope=Scope.RECIPIENT)),
        (400, Failure(Disposition.REJECTED, "400", "why")),
        (401, Failure(Disposition.STOP, "401", "why")),
        (403, Failure(Disposition.STOP, "403", "why")),
        (429, Failure(Disposition.THROTTLED, "429", "why")),
        (500, Failure(Disposition.UNKNOWN, "500", "why")),
        (503, Failure(Disposition.UNKNOWN, "503", "why")),
    ],
)
def test_a_refusal_is_read_by_its_status(status: int, expected: Failure) -> None:
    """404: this person is not on RCS, another channel may reach them."""
    assert LANE.read([MESSAGE], a_reply({"error": {"message": "why", "status": "X"}}, status)) == [expected]


def test_an_answer_must_be_about_this_message() -> None:
    """The name ends with our id; an answer about another says nothing."""
    assert LANE.read([MESSAGE], accepted([MESSAGE])) == [Accepted(ID)]
    other = accepted([a_message(number=1)])
    assert LANE.read([MESSAGE], other) == [Failure(Disposition.UNKNOWN, "http:200")]


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_is_asked_for_with_a_signed_assertion() -> None:
    """RS256 over issuer, scope and audience, for an hour (RFC 7523)."""
    call = LANE.grant(NOW)
    assert call
    assert (call.method, call.url) == ("POST", "https://oauth2.googleapis.com/token")
    form = parse_qs(call.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    KEY.public_key().verify(_decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), hashes.SHA256())
    assert msgspec.json.decode(_decoded(head)) == {"alg": "RS256", "typ": "JWT"}
    assert msgspec.json.decode(_decoded(claims)) == {
        "iss": "recado@project.example",
        "scope": "https://www.googleapis.com/auth/rcsbusinessmessaging",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
    }


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (a_reply({"access_token": "t", "expires_in": 3599, "token_type": "Bearer"}), Grant("t", NOW + 3599)),
        (a_reply({"error": "invalid_grant"}, 400), Failure(Disposition.STOP, "http:400")),
        (a_reply({"error": "invalid_client"}, 401), Failure(Disposition.STOP, "http:401")),
        (a_reply(b"", 429, retry_after="3"), Failure(Disposition.THROTTLED, "http:429", after=3.0)),
        (a_reply(b"", 500), Failure(Disposition.RETRY, "http:500")),
        (a_reply({"token_type": "Bearer"}), Failure(Disposition.RETRY, "http:200")),
    ],
    ids=["given", "wrong key", "wrong account", "too often", "server", "nonsense"],
)
def test_a_token_is_read_or_says_why_not(reply: Reply, expected: object) -> None:
    """A refused assertion needs a person; anything else may be asked for again."""
    assert LANE.granted(reply, NOW) == expected


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "nonsense",
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
    ],
    ids=["none", "nonsense", "another kind"],
)
def test_a_wrong_key_is_a_contradiction_of_the_configuration(pem: str) -> None:
    """And is not quoted; line breaks that are still those of the JSON file are taken."""
    with pytest.raises(Contradiction) as wrong:
        msgspec.structs.replace(SETTINGS, private_key=Secret(pem))
    assert wrong.value.key == "private_key"
    assert msgspec.structs.replace(SETTINGS, private_key=Secret(PEM.replace("\n", "\\n"))).agent_id == "banco@rbm"


@pytest.mark.parametrize(
    ("event", "status", "failure"),
    [
        ({}, EventStatus.DELIVERED, None),
        ({"eventType": "READ"}, EventStatus.READ, None),
        (
            {"eventType": "TTL_EXPIRATION_REVOKED"},
            EventStatus.EXPIRED,
            Failure(Disposition.REROUTE, "TTL_EXPIRATION_REVOKED", scope=Scope.RECIPIENT),
        ),
        (
            {"eventType": "TTL_EXPIRATION_REVOKE_FAILED"},
            EventStatus.SUBMITTED,
            Failure(Disposition.UNKNOWN, "TTL_EXPIRATION_REVOKE_FAILED", scope=Scope.RECIPIENT),
        ),
    ],
    ids=["delivered", "read", "revoked", "not revoked"],
)
@pytest.mark.parametrize("number", ["senderPhoneNumber", "phoneNumber"], ids=["of the person", "of the server"])
def test_an_event_becomes_a_status(
    event: dict[str, object], status: EventStatus, failure: Failure | None, number: str
) -> None:
    """What could not be revoked may still arrive: it is neither expired nor delivered."""
    value = {name: value for name, value in EVENT.items() if name != "senderPhoneNumber"}
    (read,) = LANE.receive(called({**value, number: "+573001110000", **event})).statuses
    assert (read.id, read.to, read.at) == (ID, "+573001110000", NOW + 0.250123)
    assert (read.status, read.failure) == (status, failure)


@pytest.mark.parametrize(
    ("content", "kind", "text", "data"),
    [
        ({"text": "sí"}, "text", "sí", {}),
        ({"suggestionResponse": {"postbackData": "PAY", "text": "Pagar"}}, "button", "Pagar", {"payload": "PAY"}),
        (
            {"location": {"latitude": 4.6, "longitude": -74}},
            "location",
            "",
            {"latitude": 4.6, "longitude": -74.0},
        ),
        (
            {"userFile": {"payload": {"mimeType": "image/png", "fileName": "a.png", "fileUri": "https://f/1"}}},
            "media",
            "",
            {"url": "https://f/1", "mime_type": "image/png", "filename": "a.png"},
        ),
    ],
    ids=["text", "suggestion", "location", "file"],
)
def test_a_message_from_a_person_is_read(
    content: dict[str, object], kind: str, text: str, data: dict[str, object]
) -> None:
    """In the shape that all channels share."""
    value = {name: value for name, value in EVENT.items() if name not in {"eventType", "eventId"}}
    (inbound,) = LANE.receive(called({**value, "messageId": "m1", **content})).inbound
    assert (inbound.inbound_id, inbound.channel) == ("m1", "rcs")
    assert (inbound.from_, inbound.to) == ("+573001110000", "banco@rbm")
    assert (inbound.kind, inbound.text, inbound.data) == (kind, text, data)


@pytest.mark.parametrize(("event", "kind"), [("UNSUBSCRIBE", "opt_out"), ("SUBSCRIBE", "opt_in")])
def test_a_choice_of_the_person_is_a_message(event: str, kind: str) -> None:
    """It belongs to no message of ours; its id is the event's."""
    value = {name: value for name, value in EVENT.items() if name != "messageId"}
    reading = LANE.receive(called({**value, "eventType": event}))
    (inbound,) = reading.inbound
    assert (inbound.inbound_id, inbound.kind, inbound.text) == ("e1", kind, "")
    assert (inbound.from_, inbound.to, inbound.channel) == ("+573001110000", "banco@rbm", "rcs")
    assert not reading.statuses


def test_whom_it_reaches_is_asked_for_many_at_a_time() -> None:
    """For this agent, with the grant; who is not named in the answer is not reached."""
    directory = LANE.directory
    assert directory
    call = directory.ask(["+573001110000", "+573001110001"], "t1")
    assert (call.method, call.url) == ("POST", "https://rcsbusinessmessaging.googleapis.com/v1/users:batchGet")
    assert dict(call.headers) == {"authorization": "Bearer t1", "content-type": "application/json"}
    assert msgspec.json.decode(call.body) == {"users": ["+573001110000", "+573001110001"], "agentId": "banco@rbm"}
    assert directory.read(a_reply({"reachableUsers": ["+573001110001"]})) == {"+573001110001"}
    assert directory.read(a_reply({"reachableUsers": ["573001110001"]})) == {"+573001110001"}
    assert directory.read(a_reply({})) == set()


@pytest.mark.parametrize(
    "reply",
    [
        a_reply(b"<html>"),
        a_reply([]),
        a_reply({}, 204),
        a_reply({"reachableUsers": 1}),
        a_reply({}, 400),
        a_reply({}, 500),
    ],
    ids=["page", "list", "nothing", "number", "another region", "server"],
)
def test_an_answer_that_does_not_say_whom_it_reaches_is_none(reply: Reply) -> None:
    """Nobody is taken for unreachable because of it."""
    assert LANE.directory
    assert isinstance(LANE.directory.read(reply), Failure)


def test_how_long_to_wait_before_asking_again_is_said_by_the_answer() -> None:
    """600 questions a minute are allowed."""
    assert LANE.directory
    assert LANE.directory.per_s == 10
    assert LANE.directory.read(a_reply({}, 429, retry_after="7")) == Failure(
        Disposition.THROTTLED, "http:429", after=7.0
    )


def test_looking_up_can_be_turned_off() -> None:
    """Then the answer to a message tells."""
    assert Rbm(msgspec.structs.replace(SETTINGS, look_ups_per_s=0)).directory is None


def test_an_id_is_the_same_for_every_attempt() -> None:
    """Sending again is sending the same: what the ladder brings back cannot reach the person twice."""
    again = msgspec.structs.replace(MESSAGE, attempt=2)
    assert LANE.call([again], "t", NOW) == LANE.call([MESSAGE], "t", NOW)
    assert LANE.own_id(again) == LANE.own_id(MESSAGE) == ID


def test_another_step_of_a_plan_is_another_message() -> None:
    """Over the same agent: under the id of the first, which was accepted, it would be ignored."""
    step = msgspec.structs.replace(MESSAGE, attempt=3, first_attempt=3)
    again = msgspec.structs.replace(step, attempt=4)
    assert LANE.own_id(step) == LANE.own_id(again) != ID
    assert f"messageId={LANE.own_id(step)}&" in LANE.call([step], "t", NOW).url
    named = msgspec.structs.replace(MESSAGE, tenant="3", message_id=f"acme/{MESSAGE.message_id}")
    assert LANE.own_id(named) not in (ID, LANE.own_id(step))


def test_the_handshake_is_answered_with_its_secret() -> None:
    """By the agent whose client token it shows."""
    LANE.verify(HANDSHAKE, NOW)
    reading = LANE.receive(HANDSHAKE)
    assert (reading.answer, reading.content_type) == (b"1234567890", "text/plain")
    assert (reading.statuses, reading.inbound) == ([], [])


def test_typing_is_ignored_and_what_is_new_is_counted() -> None:
    """Neither is an error."""
    assert not LANE.receive(called({**EVENT, "eventType": "IS_TYPING"})).unknown
    assert LANE.receive(called({**EVENT, "eventType": "PONDERING"})).unknown == ["event:PONDERING"]
    assert LANE.receive(called({"messageId": "m"})).unknown == ["message"]


def test_an_empty_token_is_no_credential() -> None:
    """There is nothing to send with it."""
    assert isinstance(LANE.granted(a_reply({"access_token": "", "expires_in": 3600}), NOW), Failure)
