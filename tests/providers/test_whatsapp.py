"""WhatsApp: requests, the table of errors, signatures, callbacks and health."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Disposition
from gateway.model import Message, TrafficClass
from gateway.providers.contract import (
    Accepted,
    Change,
    Failure,
    Hook,
    Reading,
    Reply,
    Scope,
    Status,
    Unsendable,
    Unsigned,
    reference_of,
)
from gateway.providers.whatsapp import RULES, WhatsApp, WhatsAppSettings, failure_of, template_of
from gateway.providers.whatsapp_hooks import limit_of
from gateway.tables import Secret

SETTINGS = WhatsAppSettings(
    phone_number_id="1065", token=Secret("t0ken"), app_secret=Secret("s3cret"), verify_token=Secret("v3rify")
)
PROVIDER = WhatsApp(SETTINGS)
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "whatsapp_hooks.json").read_text(encoding="utf-8"))
TEMPLATE = '{"type":"template","template":{"name":"due","language":{"code":"es_MX"}}}'
R, T, H, S, X = (
    Disposition.RETRY,
    Disposition.THROTTLED,
    Disposition.HOLD,
    Disposition.STOP,
    Disposition.REJECTED,
)
LANE, PERSON, TEMPLATES, MARKETING = Scope.LANE, Scope.RECIPIENT, Scope.TEMPLATE, Scope.MARKETING

# Written out from the published table on its own, so that a slip in the provider's shows: action, codes, what it asks for.
TABLE: list[tuple[str, list[int], tuple[Disposition, Scope]]] = [
    ("A", [1, 2, 131000, 131016, 133004, 131057, 131053], (R, LANE)),
    ("A, a template still syncing", [134101], (R, TEMPLATES)),
    ("B", [130429], (T, LANE)),
    ("B2", [4, 80007], (T, LANE)),
    ("C", [131056], (T, PERSON)),
    ("D", [131048], (H, LANE)),
    ("D2", [131064], (H, TEMPLATES)),
    ("E", [132015, 132016, 132001, 132007, 132068, 132069, 131063], (H, TEMPLATES)),
    ("F", [0, 190, 3, 10, 131005, 368, 131031, 131042, 131045, 131037, 133010, 133006, 133016, 33, 134011], (S, LANE)),
    ("F, permissions", list(range(200, 300)), (S, LANE)),
    ("G", [131021, 131051], (X, PERSON)),
    ("G, many in a row for one template are E", [100, 131008, 131009, 135000], (X, TEMPLATES)),
    ("G, of a template", [132000, 132005, 132012, 132018], (X, TEMPLATES)),
    ("H", [131026, 130472, 130403, 131062, 130497, 137000], (X, PERSON)),
    ("H, marketing", [131049], (X, MARKETING)),
    ("I", [131050], (X, MARKETING)),
    ("J", [131047], (X, PERSON)),
    ("K", [131052], (X, PERSON)),
    ("test number", [131030], (X, PERSON)),
]
ROWS = [(code, *asks) for _, codes, asks in TABLE for code in codes]


def message(content: str = TEMPLATE, message_id: str = "m-1", attempt: int = 1) -> Message:
    return Message(
        message_id=message_id,
        to="+525512345678",
        text="",
        sender="",
        job_id="j-1",
        campaign="",
        tenant="banco",
        class_=TrafficClass.BULK,
        expires_at=0.0,
        source="0:0:0",
        accepted_at=1.0,
        attempt=attempt,
        content=content,
    )


def refused(code: int, status: int = 400, usage: str = "") -> Failure:
    error = {"message": f"(#{code}) Title", "type": "OAuthException", "code": code, "error_data": {"details": "why"}}
    headers = {"x-business-use-case-usage": usage} if usage else {}
    reply = Reply(status, headers, json.dumps({"error": error}).encode())
    (result,) = PROVIDER.read([message()], reply)
    assert isinstance(result, Failure)
    return result


def answered(status: int, body: bytes | dict[str, Any]) -> Accepted | Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    (result,) = PROVIDER.read([message()], Reply(status, {}, raw))
    return result


def hook(body: bytes, signature: str | None = None, **changes: Any) -> Hook:
    headers = {} if signature is None else {"x-hub-signature-256": signature}
    call = Hook("POST", "https://gw.example/hooks/wa", {}, headers, body)
    return msgspec.structs.replace(call, **changes)


def signed(body: bytes, secret: bytes = b"s3cret") -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def callback(*changes: Any) -> bytes:
    return json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "W", "changes": list(changes)}]}
    ).encode()


def handshake(**query: str) -> Hook:
    return Hook("GET", "https://gw.example/hooks/wa", {f"hub.{name}": value for name, value in query.items()}, {}, b"")


# ------------------------------------------------------------------------------------------------------------- requests


def test_a_request_is_what_meta_wants() -> None:
    """Head, recipient with its plus, our reference and the content as it is."""
    call = PROVIDER.call([message()], "", 0.0)
    assert (call.method, call.url) == ("POST", "https://graph.facebook.com/v23.0/1065/messages")
    assert dict(call.headers) == {"authorization": "Bearer t0ken", "content-type": "application/json"}
    assert json.loads(call.body) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+525512345678",
        "biz_opaque_callback_data": "banco/m-1/1",
        "type": "template",
        "template": {"name": "due", "language": {"code": "es_MX"}},
    }


def test_the_address_and_the_version_are_settings() -> None:
    """For a simulator, and for when Meta retires a version."""
    settings = msgspec.structs.replace(SETTINGS, base_url="http://127.0.0.1:9/", version="v24.0")
    assert WhatsApp(settings).call([message()], "", 0.0).url == "http://127.0.0.1:9/v24.0/1065/messages"


@given(st.text(max_size=128))
def test_any_message_id_comes_back_as_it_was(message_id: str) -> None:
    """The reference is the only thing of ours that is escaped: publishers choose their ids."""
    body = json.loads(PROVIDER.call([message(message_id=message_id, attempt=3)], "", 0.0).body)
    assert body["biz_opaque_callback_data"] == reference_of(message(message_id=message_id, attempt=3))


def test_a_message_without_content_is_not_sent() -> None:
    """A text for SMS that was routed here: it fails before anything is written."""
    with pytest.raises(Unsendable) as caught:
        PROVIDER.call([message("")], "", 0.0)
    assert caught.value.code == "content"


@pytest.mark.parametrize(
    ("content", "subject"),
    [(TEMPLATE, "template:due/es_MX"), ('{"type":"text","text":{"body":"x"}}', ""), ("", "")],
)
def test_the_template_of_a_message_is_known_by_the_name_that_changes_use(content: str, subject: str) -> None:
    """What a paused template holds back are the messages with its subject."""
    assert template_of(message(content)) == subject


def test_secrets_are_not_in_the_representation() -> None:
    """Settings end up in logs and in tracebacks."""
    assert not any(secret in repr(SETTINGS) for secret in ("t0ken", "s3cret", "v3rify"))


# -------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("status", [400, 403, 429, 500])
@pytest.mark.parametrize(("code", "disposition", "scope"), ROWS)
def test_the_code_decides_and_never_the_status(code: int, disposition: Disposition, scope: Scope, status: int) -> None:
    """The same code was seen with different statuses; it asks for the same each time."""
    failure = refused(code, status)
    assert (failure.disposition, failure.scope, failure.code, failure.text) == (disposition, scope, str(code), "why")
    assert failure == failure_of(code, "why")


def test_every_rule_is_in_the_table_of_this_test() -> None:
    """A code that is added has to be added here too, with its row."""
    assert set(RULES) == {code for code, *_ in ROWS}


@pytest.mark.parametrize(
    ("code", "after"),
    [
        (131057, 60.0),
        (134101, 600.0),
        (132015, 10800.0),
        (132069, 3600.0),
        (131049, 86400.0),
        (131056, None),
        (1, None),
    ],
)
def test_waits_where_meta_says_how_long(code: int, after: float | None) -> None:
    """Where it does not, the gateway's own steps apply (4^X for a pair of numbers)."""
    assert refused(code).after == after


def test_media_that_meta_could_not_take_is_tried_a_few_times() -> None:
    """The file itself may be what is wrong with it (131053)."""
    assert (refused(131053).attempts, refused(131000).attempts) == (3, 0)


@pytest.mark.parametrize(
    ("usage", "after"),
    [
        ('{"W":[{"type":"whatsapp","call_count":100,"estimated_time_to_regain_access":19}]}', 1140.0),
        ('{"W":[{"estimated_time_to_regain_access":1}],"V":[{"estimated_time_to_regain_access":2}]}', 120.0),
        ('{"W":[{"estimated_time_to_regain_access":0}]}', 60.0),
        ("{}", 60.0),
        ("garbage", 60.0),
    ],
)
@pytest.mark.parametrize("code", [4, 80007])
def test_a_metered_account_is_told_when_it_may_call_again(code: int, usage: str, after: float) -> None:
    """In minutes, in a header with an entry per use; without one, a minute."""
    assert refused(code, usage=usage).after == after


def test_the_usage_header_says_nothing_about_other_codes() -> None:
    """It comes with every answer."""
    usage = '{"W":[{"estimated_time_to_regain_access":19}]}'
    assert refused(130429, usage=usage).after is None


@pytest.mark.parametrize(
    ("status", "disposition"), [(500, R), (503, R), (400, X), (401, S), (408, R), (429, T), (200, Disposition.UNKNOWN)]
)
def test_a_new_code_goes_by_its_status(status: int, disposition: Disposition) -> None:
    """Nothing better is known of it. With 200 it may have been accepted, and a 401 is about our credentials."""
    assert (refused(999999, status).disposition, refused(999999, status).code) == (disposition, "999999")


@pytest.mark.parametrize("status", [302, 400, 402, 403, 404, 405])
def test_a_new_code_stops_no_number(status: int) -> None:
    """The message has failed; many of one template in a row hold that up for a while."""
    failure = refused(999999, status)
    assert (failure.disposition, failure.scope, failure.text) == (X, TEMPLATES, "why")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 100, "error_subcode": 33, "type": "GraphMethodException"}, "33"),
        ({"code": 100, "error_subcode": 33}, "33"),
        ({"code": 100, "error_subcode": "33"}, "33"),
        ({"code": 100, "type": "GraphMethodException"}, "33"),
        ({"code": 100, "error_subcode": 2494010, "type": "OAuthException"}, "100"),
        ({"code": 131009, "error_subcode": 33}, "131009"),
    ],
)
def test_a_number_that_is_not_there_stops_its_lane(error: dict[str, Any], code: str) -> None:
    """Deleted, a wrong id, or ours no more: Graph's general error for that shares its code with a wrong parameter."""
    result = answered(400, {"error": {"message": "Unsupported post request. Object does not exist"} | error})
    assert isinstance(result, Failure)
    assert (result.code, result.disposition) == (code, S if code == "33" else X)


@pytest.mark.parametrize("status", ["accepted", "", None])
def test_an_accepted_message_has_an_id(status: str | None) -> None:
    """The status is optional in Meta's answer."""
    sent = {"id": "wamid.1"} | ({} if status is None else {"message_status": status})
    answer = {"contacts": [{"input": "+52", "wa_id": "521"}], "messages": [sent]}
    assert answered(200, answer) == Accepted("wamid.1")


@pytest.mark.parametrize("status", ["held_for_quality_assessment", "paused"])
def test_a_held_message_is_accepted_and_kept_back(status: str) -> None:
    """It has an id, and a callback says what became of it."""
    assert answered(200, {"messages": [{"id": "wamid.1", "message_status": status}]}) == Accepted("wamid.1", held=True)


@pytest.mark.parametrize(
    "body",
    [b"", b"garbage", b"[]", b"null", b"{}", b'{"messages":[]}', b'{"messages":[{"id":7}]}', b'{"messages":[{"id":""}]}',
     b'{"success":true}', b"[" * 100_000, b"\xff", b'{"error":null}', b'{"error":{"code":"x"}}'],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_an_ok_that_says_nothing_is_unknown(body: bytes) -> None:
    """It may have been accepted, and there is no key to send it again under."""
    result = answered(200, body)
    assert isinstance(result, Failure)
    assert result.disposition is Disposition.UNKNOWN


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_bare_server_error_is_unknown(status: int) -> None:
    """A proxy's page: it may have passed the message on before it lost the connection."""
    result = answered(status, b"<html>")
    assert isinstance(result, Failure)
    assert result.disposition is Disposition.UNKNOWN


def test_an_id_with_a_failed_status_is_unknown() -> None:
    """It contradicts itself: the message may be on its way."""
    result = answered(500, {"messages": [{"id": "wamid.1"}]})
    assert isinstance(result, Failure)
    assert result.disposition is Disposition.UNKNOWN


@pytest.mark.parametrize(
    "error",
    [
        {"code": 131026},
        {"code": 131026, "message": None, "error_data": None},
        {"code": 131026, "error_data": {"details": None}},
        {"code": 131026, "error_data": "text"},
        {"code": 131026, "error_subcode": 1, "fbtrace_id": "x", "is_transient": False},
        {"code": 131026, "error_subcode": None, "type": None},
    ],
)
def test_a_code_counts_whatever_stands_round_it(error: dict[str, Any]) -> None:
    """Details are for people; a shape of theirs that is new must not cost the code."""
    result = answered(400, {"error": error})
    assert isinstance(result, Failure)
    assert (result.disposition, result.code) == (Disposition.REJECTED, "131026")


@given(st.integers(100, 599), st.binary())
def test_reading_never_raises(status: int, body: bytes) -> None:
    """Whatever comes back, each message gets exactly one outcome."""
    assert len(PROVIDER.read([message()], Reply(status, {}, body))) == 1


# ----------------------------------------------------------------------------------------------------------- signatures


def test_a_signed_callback_is_taken() -> None:
    """Hex of HMAC-SHA256 over the raw body."""
    PROVIDER.verify(hook(b'{"a": 1}', signed(b'{"a": 1}')), 0.0)


@pytest.mark.parametrize(
    "signature",
    [None, "", "sha256=", signed(b"body", b"other"), signed(b"other"), signed(b"body")[7:], signed(b"body") + "0", "é",
     signed(b"body", b""), "sha1=" + hmac.new(b"s3cret", b"body", hashlib.sha1).hexdigest()],
)  # fmt: skip
def test_a_wrong_signature_is_refused(signature: str | None) -> None:
    """Missing, of another secret, of another body, of another algorithm, cut or prolonged."""
    with pytest.raises(Unsigned):
        PROVIDER.verify(hook(b"body", signature), 0.0)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
def test_other_methods_are_refused(method: str) -> None:
    """Even when signed."""
    with pytest.raises(Unsigned):
        PROVIDER.verify(hook(b"body", signed(b"body"), method=method), 0.0)


def test_an_empty_secret_proves_nothing() -> None:
    """Anybody could sign with it, and show the empty token."""
    provider = WhatsApp(msgspec.structs.replace(SETTINGS, app_secret=Secret(""), verify_token=Secret("")))
    with pytest.raises(Unsigned):
        provider.verify(hook(b"body", signed(b"body", b"")), 0.0)
    with pytest.raises(Unsigned):
        provider.verify(handshake(mode="subscribe", verify_token="", challenge="1"), 0.0)


def test_the_handshake_returns_the_challenge() -> None:
    """Bare, as Meta wants it."""
    asked = handshake(mode="subscribe", verify_token="v3rify", challenge="1158201444")
    PROVIDER.verify(asked, 0.0)
    assert PROVIDER.receive(asked) == Reading(answer=b"1158201444")


@pytest.mark.parametrize(
    "query", [{"mode": "subscribe", "verify_token": "x"}, {"mode": "subscribe"}, {"verify_token": "v3rify"}, {}]
)
def test_a_wrong_handshake_is_refused(query: dict[str, str]) -> None:
    """Who does not know the word gets no echo."""
    with pytest.raises(Unsigned):
        PROVIDER.verify(handshake(challenge="1", **query), 0.0)


# ------------------------------------------------------------------------------------------------------------ callbacks


def test_a_change_names_the_business_account_that_it_is_of() -> None:
    """One address hears of all accounts of an app, in one callback too."""
    value = {"event": "PAUSED", "message_template_name": "due", "message_template_language": "es_MX"}
    change = {"field": "message_template_status_update", "value": value}
    entries = [{"id": account, "changes": [change]} for account in ("1", "2")]
    body = json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode()
    assert [each.account for each in PROVIDER.receive(hook(body)).changes] == ["1", "2"]


def entry(time: str) -> bytes:
    """A callback of which Meta says when it was, in any JSON."""
    value = {"event": "PAUSED", "message_template_name": "due", "message_template_language": "es_MX"}
    change = json.dumps({"field": "message_template_status_update", "value": value})
    return (
        f'{{"object":"whatsapp_business_account","entry":[{{"id":"W","time":{time},"changes":[{change}]}}]}}'.encode()
    )


def test_a_callback_without_its_head_is_read() -> None:
    """Meta's own example of an app that was uninstalled lacks it; refused, all of the callback would come again for days."""
    body = json.dumps({"entry": [{"id": "1", "changes": [{"value": {"event": "PARTNER_APP_UNINSTALLED"}}]}]}).encode()
    reading = PROVIDER.receive(hook(body))
    assert reading.changes == [Change("account:1", "event", "PARTNER_APP_UNINSTALLED", account="1")]
    assert reading.unknown == []


@pytest.mark.parametrize("time", ["1739321024", '"1739321024"', "1739321024123", '"1739321024123"'])
def test_a_change_has_the_time_of_its_entry(time: str) -> None:
    """In seconds, or in milliseconds as other products of Meta write it."""
    changes = PROVIDER.receive(hook(entry(time))).changes
    assert changes == [Change("template:due/es_MX", "status", "PAUSED", account="W", at=1739321024.0)]


@pytest.mark.parametrize(
    "time",
    [
        "null",
        "0",
        "-1739321024",
        "17393210240",
        "1739321024.5",
        "1e999",
        "9" * 400,
        '""',
        '"2025-02-12"',
        "true",
        "[]",
        "{}",
    ],
    ids=lambda time: time[:12],
)
def test_a_time_that_cannot_be_read_costs_nothing_else(time: str) -> None:
    """The change is as one without."""
    changes = PROVIDER.receive(hook(entry(time))).changes
    assert changes == [Change("template:due/es_MX", "status", "PAUSED", account="W")]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_callbacks(vector: dict[str, Any]) -> None:
    """Every row of the documented callbacks, and those that strange ones cost nothing but themselves."""
    reading = PROVIDER.receive(hook(callback(vector["change"])))
    expected = vector["reading"]
    assert reading.statuses == msgspec.convert(expected.get("statuses", []), list[Status])
    assert msgspec.to_builtins(reading.inbound) == expected.get("inbound", [])
    changes = [msgspec.structs.replace(change, account="") for change in reading.changes]
    assert changes == [Change(*row) for row in expected.get("changes", [])]
    assert reading.unknown == expected.get("unknown", [])


def test_one_callback_holds_many_updates() -> None:
    """Batches come as entries, changes and lists; their order is kept and a strange one among them is only counted."""
    changes = [vector["change"] for vector in VECTORS]
    reading = PROVIDER.receive(hook(callback(*changes)))
    expected = [vector["reading"] for vector in VECTORS]
    assert [status.status for status in reading.statuses] == [
        status["status"] for part in expected for status in part.get("statuses", [])
    ]
    assert len(reading.inbound) == sum(len(part.get("inbound", [])) for part in expected)
    assert len(reading.changes) == sum(len(part.get("changes", [])) for part in expected)
    assert len(reading.unknown) == sum(len(part.get("unknown", [])) for part in expected)


@pytest.mark.parametrize(("code", "disposition", "scope"), [row for row in ROWS if not 200 < row[0] < 300])
def test_a_failed_status_means_what_the_answer_would(code: int, disposition: Disposition, scope: Scope) -> None:
    """Failures arrive in the answer, later, or both: one table for both."""
    errors = [{"code": code, "title": "t", "message": "m", "error_data": {"details": "why"}}]
    status = {"id": "wamid.1", "status": "failed", "timestamp": "1", "recipient_id": "525512345678", "errors": errors}
    reading = PROVIDER.receive(hook(callback({"field": "messages", "value": {"statuses": [status]}})))
    assert reading.statuses[0].failure == refused(code)
    assert (refused(code).disposition, refused(code).scope) == (disposition, scope)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"object":"page","entry":[]}', b'{"object":"whatsapp_business_account"}', b"\xff\xfe",
     b'{"object":"whatsapp_business_account","entry":' + b"[" * 100_000],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
def test_what_is_no_callback_of_meta_is_refused(body: bytes) -> None:
    """Signed or not: it is not what this provider sends."""
    with pytest.raises(ValueError):  # noqa: PT011 (any of its kinds)
        PROVIDER.receive(hook(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(JSON | st.binary())
def test_any_body_is_read_or_refused(body: Any) -> None:
    """Nothing but a reading or ValueError comes out."""
    with contextlib.suppress(ValueError):
        PROVIDER.receive(hook(body if isinstance(body, bytes) else json.dumps(body).encode()))


@given(st.data())
def test_any_callback_that_was_bent_is_read(data: st.DataObject) -> None:
    """One value somewhere in a real callback replaced by anything: the rest is read, nothing is raised."""
    change = json.loads(json.dumps(data.draw(st.sampled_from(VECTORS))["change"]))
    node: Any = {"change": change}
    key: Any = "change"
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans() | st.just(True)):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else list(range(len(node)))))
    if key != "field":
        node[key] = data.draw(JSON)
    whole = {"field": "messages", "value": {"statuses": [{"id": "wamid.9", "status": "read"}]}}
    reading = PROVIDER.receive(hook(callback(change, whole)))
    assert reading.statuses[-1].id == "wamid.9"


# ------------------------------------------------------------------------------------------------------ limits and health


@pytest.mark.parametrize(
    ("value", "limit"),
    [("TIER_50", 50), ("TIER_250", 250), ("TIER_1K", 1000), ("TIER_2K", 2000), ("TIER_10K", 10_000), ("tier_100k", 100_000),
     ("TIER_UNLIMITED", None), ("TIER_NOT_SET", 250), (2000, 2000), ("2000", 2000), (-1, None), ("-1", None)],
)  # fmt: skip
def test_limits_in_every_spelling(value: str | int, limit: int | None) -> None:
    """As a tier or a number, old ones too."""
    assert limit_of(value) == limit


@pytest.mark.parametrize("value", ["", "TIER_", "TIER_LOTS", "-2", "2.5", "TIER_2M"])
def test_what_is_no_limit(value: str) -> None:
    """A limit that cannot be read must not become unlimited."""
    with pytest.raises(ValueError, match="limit"):
        limit_of(value)


def test_health_is_asked_of_the_number() -> None:
    """With the fields that no callback carries."""
    call = PROVIDER.health_call()
    assert call.url.startswith("https://graph.facebook.com/v23.0/1065?fields=")
    fields = set(call.url.partition("=")[2].split(","))
    assert fields >= {"quality_rating", "throughput", "whatsapp_business_manager_messaging_limit"}
    assert (call.method, call.body, dict(call.headers)) == ("GET", b"", {"authorization": "Bearer t0ken"})


def test_health_becomes_changes() -> None:
    """The display number ties the id to the name that callbacks use."""
    health = {
        "display_phone_number": "+1 555-078-3881",
        "quality_rating": "YELLOW",
        "throughput": {"level": "STANDARD"},
        "whatsapp_business_manager_messaging_limit": "TIER_250",
        "id": "1065",
    }
    assert PROVIDER.read_health(Reply(200, {}, json.dumps(health).encode())) == [
        Change("number:1065", "display_phone_number", "+15550783881"),
        Change("number:1065", "quality", "YELLOW"),
        Change("number:1065", "throughput", "STANDARD"),
        Change("portfolio", "limit", "TIER_250"),
    ]


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b'{"error":{"code":190}}'), (200, b"garbage"), (200, b"{}"), (500, b'{"quality_rating":"RED"}')],
)
def test_health_that_cannot_be_read_says_nothing(status: int, body: bytes) -> None:
    """A quality that was not asked or not answered has not changed."""
    assert PROVIDER.read_health(Reply(status, {}, body)) == []
