"""The generic provider: success, results and the classification of failures."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from gateway.errors import Disposition
from gateway.providers.contract import Accepted, Failure, Result, Scope
from gateway.providers.requests import stable_id
from tests.providers.generic_lanes import (
    HETEROGENEOUS,
    JSON,
    REPLY,
    REQUEST,
    WORD,
    lane,
)
from tests.providers.suite import NOW, a_message, a_reply

JSON_ONCE = '[request.json]\nto = "{to}"\ntext = "{text}"\nid = "{reference.once}"\n'

ALDEAMO = """
[reply]
success = [{ http = "200" }, { path = "$.status", is = 1 }]
list = "result.received"
match = { path = "mobile", is = "{to.national}" }
id = "id"
otherwise = "rejected"
[reply.failed]
list = "result.failed"
match = { path = "mobile", is = "{to.national}" }
code = "status"
text = "reason"
[[reply.rules]]
path = "status"
is = ["-5"]
then = "retry"
attempts = 3
"""


def test_failures_may_stand_in_a_list_of_their_own() -> None:
    """Whoever stands in neither is in doubt; what the rules do not know was refused."""
    provider = lane(REQUEST + 'each = "list"\nbatch = 10\n[request.json]' + HETEROGENEOUS, ALDEAMO)
    messages = [a_message(number=n) for n in range(4)]
    first, second, third, _ = [m.to[3:] for m in messages]
    failed = [{"mobile": second, "status": -5, "reason": "later"}, {"mobile": third, "status": -9, "reason": "bad"}]
    received = [{"mobile": int(first), "id": 77}]
    assert provider.read(messages, a_reply({"status": 1, "result": {"received": received, "failed": failed}})) == [
        Accepted("77"),
        Failure(Disposition.RETRY, "-5", "later", attempts=3),
        Failure(Disposition.REJECTED, "-9", "bad"),
        Failure(Disposition.UNKNOWN, "http:200"),
    ]


RULES = """
[reply]
success = [{ http = "200-299" }, { path = "ok", is = true }]
id = ["id", "header:X-Id"]
code = "error.code"
text = "error.text"
held = [{ path = "state", matches = "held.*" }]
otherwise = "hold"
rules = [
    { http = "409", then = "accepted" },
    { http = "400-499", path = "error.code", is = [7, "x"], then = "throttled", scope = "recipient" },
    { path = "error.text", matches = "wait [0-9]+ms", then = "retry", wait = { path = "error.text", unit_s = 0.001 } },
    { path = "error.code", is = 8, then = "throttled", wait = { path = "header:x-reset" } },
    { path = "error.code", is = 9, then = "throttled", wait = { path = "error.after" } },
    { path = "error.template", then = "reroute", scope = "template" },
]
"""


@pytest.mark.parametrize(
    ("body", "status", "headers", "expected"),
    [
        ({"ok": True, "id": 5}, 201, {}, Accepted("5")),
        ({"ok": True}, 200, {"x-id": "h"}, Accepted("h")),
        ({"ok": True, "id": "a", "state": "held for review"}, 200, {}, Accepted("a", held=True)),
        ({"ok": True}, 200, {}, Failure(Disposition.UNKNOWN, "http:200")),
        ({"id": "a"}, 409, {}, Accepted("a")),
        ({"ok": False, "error": {"code": 1, "text": "t"}}, 200, {}, Failure(Disposition.HOLD, "1", "t")),
        ({"error": {"code": 1}}, 422, {}, Failure(Disposition.REJECTED, "1")),
        ({"error": {"code": 1}}, 200, {}, Failure(Disposition.UNKNOWN, "1")),
        ({"error": {"code": "7"}}, 400, {}, Failure(Disposition.THROTTLED, "7", scope=Scope.RECIPIENT)),
        (
            {"error": {"code": "x"}},
            400,
            {"retry-after": "5"},
            Failure(Disposition.THROTTLED, "x", after=5.0, scope=Scope.RECIPIENT),
        ),
        ({"error": {"code": 7}}, 200, {}, Failure(Disposition.UNKNOWN, "7")),
        ({"error": {"text": "wait 250ms"}}, 503, {}, Failure(Disposition.RETRY, "http:503", "wait 250ms", 0.25)),
        ({"error": {"code": 8}}, 200, {"x-reset": "12"}, Failure(Disposition.THROTTLED, "8", after=12.0)),
        ({"error": {"code": 9, "after": 86400}}, 200, {}, Failure(Disposition.THROTTLED, "9", after=3600.0)),
        ({"error": {"code": 9, "after": 1.5}}, 200, {}, Failure(Disposition.THROTTLED, "9", after=1.5)),
        ({"error": {"code": 9}}, 200, {"retry-after": "4"}, Failure(Disposition.THROTTLED, "9", after=4.0)),
        (
            {"error": {"template": "x"}},
            400,
            {},
            Failure(Disposition.REROUTE, "http:400", scope=Scope.TEMPLATE),
        ),
        (b"<html>", 502, {}, Failure(Disposition.UNKNOWN, "http:502")),
        ({"ok": False}, 500, {}, Failure(Disposition.UNKNOWN, "http:500")),
        ({"ok": False}, 403, {}, Failure(Disposition.STOP, "http:403")),
        (b"", 401, {}, Failure(Disposition.STOP, "http:401")),
    ],
)
def test_rules_say_in_their_order_what_an_answer_means(
    body: object, status: int, headers: dict[str, str], expected: Result
) -> None:
    """By status, path, value, list of values or pattern; then the default; then what the HTTP status means."""
    reply = msgspec.structs.replace(a_reply(body, status), headers=headers)
    assert lane(REQUEST, JSON, RULES).read([a_message()], reply) == [expected]


def test_only_what_the_vendor_says_is_a_refusal() -> None:
    """Of a success in two parts, one that is missing says nothing, and one that is otherwise does."""
    reply = REPLY.replace("{ http", '{ path = "a", is = 1 }, { path = "b", is = 1 }, { http')
    provider = lane(REQUEST, JSON, reply)
    assert provider.read([a_message()], a_reply({"a": 1, "id": 1})) == [Failure(Disposition.UNKNOWN, "http:200")]
    assert provider.read([a_message()], a_reply({"a": 0, "id": 1})) == [Failure(Disposition.REJECTED, "http:200")]


def test_answers_may_be_forms() -> None:
    """As the oldest interfaces have it."""
    provider = lane(
        REQUEST, JSON, REPLY.replace('"200-299" }', '"200" }, { path = "code", is = 0 }') + 'format = "form"'
    )
    assert provider.read([a_message()], a_reply(b"code=0&id=a%20b")) == [Accepted("a b")]
    assert provider.read([a_message()], a_reply(b"code=3&id=")) == [Failure(Disposition.REJECTED, "http:200")]


def test_an_id_of_ours_is_the_id_where_the_vendor_repeats_none() -> None:
    """One for each attempt, or one for all of them: what makes a second sending harmless."""
    provider = lane(REQUEST, JSON, REPLY.replace('id = "id"', 'own_id = "{reference.uuid}"'))
    (first,) = provider.read([a_message()], a_reply({}))
    assert isinstance(first, Accepted)
    assert [first] == provider.read([a_message()], a_reply({}))
    assert [first] != provider.read([a_message(attempt=2)], a_reply({}))
    assert not provider.idempotent
    once = lane("idempotent = true", REQUEST, JSON_ONCE, REPLY.replace('id = "id"', 'own_id = "{reference.once}"'))
    assert once.read([a_message()], a_reply({})) == once.read([a_message(attempt=2)], a_reply({}))
    assert once.call([a_message()], "", NOW) == once.call([a_message(attempt=2)], "", NOW)
    assert once.read([a_message()], a_reply({})) != once.read([a_message(attempt=2, first_attempt=2)], a_reply({}))
    assert once.idempotent


@pytest.mark.parametrize(
    ("callbacks", "known"),
    [("", False), ('id = "id"', True), ('id = "id"\nreference = "ref"', False)],
    ids=["no callbacks", "by its id", "by our reference"],
)
def test_what_is_in_doubt_is_known_by_what_callbacks_carry(callbacks: str, known: bool) -> None:
    """Our id, unless they repeat our reference, or say nothing at all."""
    status = f'[callback.status]\nstatus = "s"\nstatuses = {{ ok = "delivered" }}\n{callbacks}\notherwise = "rejected"'
    shape = f"[callback]\n{WORD}\n{status}"
    reply = REPLY.replace('id = "id"', 'own_id = "{reference.once}"')
    provider = lane(REQUEST, JSON_ONCE, reply, shape if callbacks else "")
    assert provider.own_id(a_message()) == (stable_id(a_message(), once=True) if known else "")


@pytest.mark.parametrize(
    ("reply", "callbacks", "known"),
    [
        ("", "", False),
        ("", 'id = "id"', False),
        ("", 'reference = "ref"', True),
        ("", 'id = "id"\nreference = "ref"', False),
        ('list = "parts"\ncount = "parts-count"', 'id = "id"\nreference = "ref"', True),
    ],
    ids=["no callbacks", "by its id", "by our reference", "by both", "by both, an id for each part"],
)
def test_what_is_accepted_is_known_by_our_reference_where_callbacks_may_lack_its_id(
    reply: str, callbacks: str, known: bool
) -> None:
    """Each row costs the store."""
    status = f'[callback.status]\nstatus = "s"\nstatuses = {{ ok = "delivered" }}\n{callbacks}\notherwise = "rejected"'
    provider = lane(REQUEST, JSON, REPLY + reply, f"[callback]\n{WORD}\n{status}" if callbacks else "")
    assert provider.by_reference is known


def test_octets_of_a_header_that_are_no_text_are_replaced() -> None:
    """An id would be a key of the store, which cannot have them."""
    provider = lane(REQUEST, JSON, REPLY.replace('"id"', '"header:x-id"') + 'code = "header:x-code"')
    reply = a_reply({})
    accepted, refused = (
        provider.read([a_message()], replace(reply, status=status, headers={"x-id": "n\udcfa7", "x-code": "\udcfa"}))
        for status in (200, 400)
    )
    assert accepted == [Accepted("n?7")]
    assert isinstance(refused[0], Failure)
    assert refused[0].code == "?"


def test_messages_of_a_batch_are_matched_by_what_the_vendor_repeats() -> None:
    """Two messages to one person stand in their order; a person of no message is nobody."""
    reply = REPLY + 'list = "r"\nmatch = { path = "to", is = "{to.digits}" }'
    provider = lane(REQUEST + 'each = "m"\nbatch = 5\n[[request.json.m]]\nto = "{to}"', reply)
    first, second = a_message(), a_message(number=1)
    rows = [
        {"to": second.to[1:], "id": "c"},
        {"to": first.to[1:], "id": "a"},
        {"to": first.to[1:], "id": "b"},
        {"to": "1"},
    ]
    assert provider.read([first, second, first], a_reply({"r": rows})) == [Accepted("a"), Accepted("c"), Accepted("b")]
