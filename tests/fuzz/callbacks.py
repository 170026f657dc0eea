"""What providers over HTTP say: callbacks and answers, each read and taken as far as the records that come of it.

An input is a head, a line with what stands in headers and query, and a body. The head is one octet for a callback (the provider)
and three for an answer (the provider, its status, how many messages were sent).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from urllib.parse import parse_qsl

import msgspec

from gateway import early, events
from gateway.correlation import Sent
from gateway.model import EventStatus, Inbound, TrafficClass, encode_inbound
from gateway.providers.contract import Accepted, Failure, Grant, Hook, Reading, Reply, Unsigned
from tests.fuzz.wire import vector
from tests.providers import generic_lanes, test_contract, test_whatsapp
from tests.providers.suite import NOW, Case, a_message, several

_WHATSAPP = Case(
    name="whatsapp",
    provider=test_whatsapp.PROVIDER,
    message=test_whatsapp.message(),
    accepted=lambda messages: Reply(
        200, {}, b'{"messaging_product":"whatsapp","contacts":[{"wa_id":"573001110000"}],"messages":[{"id":"wamid.1"}]}'
    ),
    secrets=(),
)
_OAUTH = Case(
    name="OAuth in TOML",
    provider=generic_lanes.lane(generic_lanes.BEARER, generic_lanes.REPLY, generic_lanes.OAUTH),
    message=a_message(),
    accepted=lambda messages: Reply(200, {}, b'{"id":"1"}'),
    secrets=(),
)
CASES = (_WHATSAPP, *(case for case in test_contract.CASES if case.name != "whatsapp"), _OAUTH)
_STATUSES = (200, 201, 202, 204, 301, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504, 100, 599)
_SENT = Sent("+573001110000", "m", "j", "", "acme", TrafficClass.BULK, "lane", 1, 1, 0, "id")


def _cut(data: bytes, head: int) -> tuple[bytes, str, bytes]:
    line, _, body = data[head:].partition(b"\n")
    # As aiohttp reads headers.
    return data[:head], line.decode("utf-8", "surrogateescape"), body


def _encodable(*texts: str) -> None:
    for text in texts:
        text.encode()


# Callbacks.


def callback(data: bytes) -> bool:
    """A callback is read or refused with a ValueError; what it says can be written down."""
    if not data:
        return False
    head, line, body = _cut(data, 1)
    case = CASES[head[0] % len(CASES)]
    headers = dict.fromkeys((*(case.hook.headers if case.hook else ("x-hub-signature-256",)), "content-type"), line)
    query = dict(parse_qsl(line.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), keep_blank_values=True))
    hook = Hook("POST", f"https://hooks.example/lane?{line}", query, headers, body)
    with contextlib.suppress(Unsigned):
        case.provider.verify(hook, NOW)
    try:
        reading = case.provider.receive(hook)
    except ValueError:
        return False
    _check_reading(reading)
    return bool(reading.statuses or reading.inbound or reading.changes)


def _check_reading(reading: Reading) -> None:
    bytes(reading.answer)
    _encodable(reading.content_type, *reading.unknown)
    for status in reading.statuses:
        assert math.isfinite(status.at)
        _encodable(status.network)
        if status.failure is not None:
            _check_failure(status.failure)
        if early.usable(status):
            noted = early.of_status("lane", "account", "sms", status, NOW)
            assert early.decode_early(early.encode_early(noted)) == noted
            _check_event(*early.event(_SENT, NOW, noted.status, noted.code, noted.text, 1))
            _check_event(*early.orphan(noted))
            _encodable(noted.key, noted.reference, noted.to)
    for inbound in reading.inbound:
        inbound.from_.encode()
        again = msgspec.json.decode(encode_inbound(inbound), type=Inbound)
        assert (again.inbound_id, again.text, again.time) == (inbound.inbound_id, inbound.text, inbound.time)
        inbound.time.timestamp()
    for change in reading.changes:
        _encodable(change.subject, change.what, change.value, change.detail)


def _check_event(key: bytes | None, value: bytes) -> None:
    assert key is not None
    msgspec.json.decode(value)


def _check_failure(failure: Failure) -> None:
    _encodable(failure.code, failure.text)
    assert failure.after is None or (math.isfinite(failure.after) and failure.after >= 0), failure.after


def callbacks() -> Iterator[bytes]:
    for each in vector("whatsapp_hooks"):
        yield b"\0\n" + test_whatsapp.callback(each["change"])
    for index, case in enumerate(CASES):
        if (hook := case.hook) is not None:
            query = "&".join(f"{name}={value}" for name, value in hook.query.items())
            yield bytes((index,)) + query.encode() + b"\n" + hook.body
            yield bytes((index,)) + next(iter(hook.headers.values()), "").encode() + b"\n" + hook.body
    for name, body in _MORE:
        yield bytes((_index(name),)) + b"\n" + body


def _index(name: str) -> int:
    return next(index for index, case in enumerate(CASES) if case.name == name)


_MORE = (
    ("twilio sms", b"MessageSid=SM2&From=%2B573001110000&To=24601&Body=hola&NumMedia=0"),
    ("twilio sms", b"MessageSid=SM2&MessageStatus=failed&ErrorCode=30008&To=%2B573001110000"),
    ("twilio voice", b"CallSid=CA1&CallStatus=busy&To=%2B573001110000"),
    (
        "infobip",
        b'{"results":[{"messageId":"m","from":"573001110000","to":"89000","text":"hola","receivedAt":"2027-01-15T08:00:00Z"}]}',
    ),
    (
        "vonage",
        b"messageId=1&msisdn=573001110000&to=89000&text=hola&type=text&message-timestamp=2027-01-15+08%3A00%3A00",
    ),
    ("vonage", b'{"message-id":"1","msisdn":"573001110000","status":"failed","err-code":"6","network-code":"732101"}'),
    (
        "sinch",
        b'{"type":"mo_text","id":"1","from":"573001110000","to":"89000","body":"hola","received_at":"2027-01-15T08:00:00Z"}',
    ),
    ("rbm", b'{"message":{"data":"eyJzZW5kZXJQaG9uZU51bWJlciI6Iis1NzMwMDExMTAwMDAiLCJ0ZXh0IjoiaG9sYSJ9"}}'),
    ("rbm", b'{"clientToken":"the-client-token","secret":"1234567890"}'),
    ("infobip in TOML", b'{"results":[{"messageId":"m","from":"57300","to":"89000","text":"hola","smsCount":2}]}'),
)


# Answers.


def answer(data: bytes) -> bool:
    """Whatever comes back, every message has an outcome that can be written down; a credential is one or a failure."""
    if len(data) < 3:
        return False
    head, line, body = _cut(data, 3)
    case = CASES[head[0] % len(CASES)]
    provider = case.provider
    headers = {"retry-after": line} | ({"date": "Fri, 15 Jan 2027 08:00:00 GMT"} if head[2] & 0x80 else {})
    reply = Reply(_STATUSES[head[1] % len(_STATUSES)], headers, body)
    messages = several(case, 1 + head[2] % min(3, provider.batch))
    results = provider.read(messages, reply)
    assert len(results) == len(messages)
    for message, result in zip(messages, results, strict=True):
        if isinstance(result, Accepted):
            _check_event(*events.of_receipt(_SENT, EventStatus.SUBMITTED, NOW, 1, "", ""))
            _encodable(result.id)
            assert message is not None
        else:
            _check_failure(result)
    granted = provider.granted(reply, NOW)
    if isinstance(granted, Grant):
        _encodable(granted.token)
        assert granted.token
        assert not math.isnan(granted.until)
    else:
        _check_failure(granted)
    return any(isinstance(result, Accepted) for result in results)


def answers() -> Iterator[bytes]:
    for index, case in enumerate(CASES):
        for count in (0, 1, 2):
            reply = case.accepted(several(case, 1 + count % min(3, case.provider.batch)))
            yield bytes((index, 0, count)) + b"\n" + reply.body
            for status in range(5, 17):
                yield bytes((index, status, count)) + b"7\n" + reply.body
    for status in (0, 5, 6, 12, 13):
        for code in (131056, 130429, 131026, 132015, 190, 4, 131048):
            body = {"error": {"message": "x", "type": "OAuthException", "code": code, "error_data": {"details": "y"}}}
            yield bytes((0, status, 0)) + b"\n" + json.dumps(body).encode()
    yield bytes((_index("rbm"), 0, 0)) + b'\n{"access_token":"x","expires_in":3600,"token_type":"Bearer"}'
    yield bytes((_index("OAuth in TOML"), 0, 0)) + b'\n{"access_token":"x","expires_in":"3600"}'
    yield bytes((_index("rbm"), 5, 0)) + b'30\n{"error":{"code":404,"status":"NOT_FOUND","message":"x","details":[]}}'
    yield bytes((_index("twilio sms"), 5, 0)) + b'\n{"code":21211,"message":"x","status":400}'
    yield bytes((_index("voice blaster in TOML"), 0, 0)) + b"\nERROR|12|wait 30 s"
