"""The contract of `gateway/providers/contract.py`, held by every provider. A new one adds its case to the list."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers.contract import Accepted, Call, Failure, Hook, Reading, Reply, Unsendable, Unsigned
from tests.providers import test_aldeamo, test_infobip, test_rbm, test_sinch, test_twilio, test_vonage
from tests.providers.suite import NOW, Case, a_hook, a_reply, several, with_body

CASES: list[Case] = [
    test_twilio.SMS,
    test_twilio.VOICE,
    test_infobip.CASE,
    test_vonage.CASE,
    test_sinch.CASE,
    test_aldeamo.CASE,
    test_rbm.CASE,
]

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
with_callbacks = pytest.mark.parametrize("case", [case for case in CASES if case.hook], ids=lambda case: case.name)

# Bodies that start like real ones reach further into a reader than noise does.
_WORDS = st.sampled_from(
    [
        *("messages", "message", "status", "messageId", "message-id", "message-count", "id", "sid", "code", "error"),
        *("result", "results", "receivedRequests", "failedRequests", "mobile", "name", "groupId", "to", "text", "data"),
        *("eventType", "type", "statuses", "requestError", "access_token", "expires_in", "batch_id", "CallSid"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)
_BODIES = st.one_of(
    st.binary(max_size=64),
    st.dictionaries(_WORDS, _VALUES, max_size=5).map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", b"{}", b"[]", b"null", b'"', b"\xff{", b"[" * 60_000, b'{"a":' * 60_000]),
)
_HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "content-type"]), st.text(max_size=40) | st.just("9" * 5000), max_size=3
)
_STATUSES = st.sampled_from([200, 201, 400, 401, 429, 500, 503]) | st.integers(0, 999)

few = settings(max_examples=30)


def _count(case: Case) -> int:
    return min(3, case.provider.batch)


def _call(case: Case) -> Call:
    return case.provider.call(several(case, _count(case)), "a-token", NOW)


@every
def test_a_call_is_a_request_over_tls_with_names_of_headers_in_lower_case(case: Case) -> None:
    """The port sends it as it stands."""
    call = _call(case)
    assert call.url.startswith("https://")
    assert call.method in {"GET", "POST", "PUT"}
    assert all(name == name.lower() for name, _ in call.headers)


@every
def test_a_call_is_the_same_whenever_it_is_built(case: Case) -> None:
    """A request is a function of its messages, the token and the time."""
    assert _call(case) == _call(case)


@every
def test_secrets_stand_in_no_url_no_representation_and_no_error(case: Case) -> None:
    """URLs and representations are logged."""
    shown = [_call(case).url, repr(case.provider), str(case.provider)]
    with pytest.raises(Unsendable) as refused:
        case.provider.prepare(_nothing(case))
    shown += [str(refused.value), repr(refused.value)]
    if case.hook:
        with pytest.raises(Unsigned) as unsigned:
            case.provider.verify(case.forged["wrong signature"], NOW)
        shown += [str(unsigned.value), repr(unsigned.value)]
    assert case.secrets
    for secret in case.secrets:
        assert all(secret not in text for text in shown)


def _nothing(case: Case) -> Message:
    return msgspec.structs.replace(case.message, text="", content="")


@every
def test_a_message_that_it_carries_passes_and_one_with_nothing_in_it_does_not(case: Case) -> None:
    """`prepare` raises Unsendable and only that, and does not quote the number."""
    case.provider.prepare(case.message)
    with pytest.raises(Unsendable) as refused:
        case.provider.prepare(_nothing(case))
    assert refused.value.code
    assert case.message.to not in str(refused.value)


@every
def test_messages_that_it_takes_are_accepted_one_by_one(case: Case) -> None:
    """One result a message, in their order, with an id each."""
    messages = several(case, _count(case))
    results = case.provider.read(messages, case.accepted(messages))
    assert all(isinstance(result, Accepted) and result.id for result in results)
    assert len({result.id for result in results if isinstance(result, Accepted)}) == len(messages)


def _mangled(data: st.DataObject, body: bytes) -> bytes:
    """Noise, or a real body of which a piece was replaced."""
    if data.draw(st.booleans()):
        return data.draw(_BODIES)
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(start + 12, len(body))))
    return body[:start] + data.draw(st.sampled_from([b"", b"null", b"{}", b"[]", b'"', b"-1", b"\xff"])) + body[end:]


@every
@few
@given(data=st.data())
def test_an_answer_never_raises_and_always_speaks_of_every_message(case: Case, data: st.DataObject) -> None:
    """Whatever comes back, any status, any octets."""
    messages = several(case, _count(case))
    body = _mangled(data, case.accepted(messages).body)
    reply = Reply(data.draw(_STATUSES), data.draw(_HEADERS), body)
    assert len(case.provider.read(messages, reply)) == len(messages)


@every
@pytest.mark.parametrize("body", [b"", b"<html>welcome</html>", b"{}", b"[]", b"null", b'{"a":' * 60_000])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_that_does_not_say_what_became_of_a_message_is_unknown(case: Case, status: int, body: bytes) -> None:
    """It may have been accepted."""
    messages = several(case, _count(case))
    results = case.provider.read(messages, a_reply(body, status))
    assert [r.disposition for r in results if isinstance(r, Failure)] == [Disposition.UNKNOWN] * len(messages)


@every
@pytest.mark.parametrize("status", [500, 502, 504, 599])
def test_a_server_error_is_tried_again_only_where_that_is_safe(case: Case, status: int) -> None:
    """It says nothing of what was accepted: without an idempotent id it is UNKNOWN."""
    (result,) = case.provider.read([case.message], a_reply(b"oops", status))
    assert isinstance(result, Failure)
    if not case.provider.idempotent:
        assert result.disposition is Disposition.UNKNOWN
    else:
        assert result.disposition in {Disposition.RETRY, Disposition.UNKNOWN}


@every
@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT", "date": "Fri, 15 Jan 2027 08:00:00 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
    ],
    ids=["nothing", "seconds", "date", "nonsense"],
)
def test_too_many_requests_slow_the_lane_for_as_long_as_asked(
    case: Case, headers: dict[str, str], after: float | None
) -> None:
    """429 is THROTTLED for every message of the request."""
    messages = several(case, _count(case))
    for result in case.provider.read(messages, Reply(429, headers, b"")):
        assert isinstance(result, Failure)
        assert (result.disposition, result.after) == (Disposition.THROTTLED, after)


@every
def test_wrong_credentials_stop_the_lane(case: Case) -> None:
    """All that follows would be refused as well."""
    for status in case.refused_statuses:
        for result in case.provider.read([case.message], a_reply(b"no", status)):
            assert isinstance(result, Failure)
            assert result.disposition is Disposition.STOP


@every
def test_a_bad_message_of_several_does_not_fail_the_others(case: Case) -> None:
    """400 rejects a message that was alone in its request; a batch may be tried again in other company."""
    (alone,) = case.provider.read([case.message], a_reply(b"", 400))
    assert isinstance(alone, Failure)
    assert alone.disposition is Disposition.REJECTED
    messages = several(case, _count(case))
    if len(messages) > 1:
        results = case.provider.read(messages, a_reply(b"", 400))
        assert {r.disposition for r in results if isinstance(r, Failure)} == {Disposition.RETRY}


@with_callbacks
def test_a_signed_callback_is_taken(case: Case) -> None:
    """And says something."""
    assert case.hook
    case.provider.verify(case.hook, NOW)
    reading = case.provider.receive(case.hook)
    assert reading.statuses or reading.inbound


@with_callbacks
def test_a_callback_that_proves_nothing_is_refused(case: Case) -> None:
    """Unsigned, signed by somebody else, or changed on its way."""
    assert {"unsigned", "wrong signature"} <= case.forged.keys()
    for hook in case.forged.values():
        with pytest.raises(Unsigned):
            case.provider.verify(hook, NOW)


@every
@few
@given(body=_BODIES, header=st.text(max_size=40), headers=_HEADERS)
def test_noise_is_never_taken_for_signed(case: Case, body: bytes, header: str, headers: dict[str, str]) -> None:
    """`verify` raises Unsigned for it, and nothing else."""
    names = [*(case.hook.headers if case.hook else ()), *headers]
    hook = Hook("POST", "https://[x:y", {"sig": header}, dict.fromkeys(names, header), body)
    with pytest.raises(Unsigned):
        case.provider.verify(hook, NOW)


@every
@few
@given(data=st.data())
def test_a_callback_is_read_or_refused_with_a_value_error(case: Case, data: st.DataObject) -> None:
    """Whatever is in it."""
    hook = case.hook or a_hook()
    hook = with_body(hook, _mangled(data, hook.body))
    try:
        reading = case.provider.receive(hook)
    except ValueError:
        return
    assert isinstance(reading, Reading)
    for status in reading.statuses:
        assert status.status in {
            EventStatus.SUBMITTED,
            EventStatus.DELIVERED,
            EventStatus.READ,
            EventStatus.FAILED,
            EventStatus.EXPIRED,
        }


@every
def test_a_credential_is_asked_for_and_read_or_not_needed(case: Case) -> None:
    """A provider that gives none says so; one that does refuses noise."""
    if case.provider.grant(NOW) is None:
        assert _call(case) == case.provider.call(several(case, _count(case)), "", NOW)
    for reply in (a_reply(b"", 500), a_reply(b"{}", 401), a_reply(b"{}", 200), a_reply(b"\xff", 200)):
        assert isinstance(case.provider.granted(reply, NOW), Failure)
