"""The contract of `gateway/providers/contract.py`, held by every provider. A new one adds its case and its table to the lists.

Mail over SMTP is in neither: it makes no requests and hears no callbacks, and is no `Provider`.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Disposition
from gateway.model import EventStatus, Message
from gateway.providers.contract import Accepted, Call, Failure, Hook, Reading, Reply, Unsendable, Unsigned
from gateway.providers.registry import NAMES
from tests.providers import (
    oauth_case,
    test_aldeamo,
    test_generic_vendors,
    test_infobip,
    test_rbm,
    test_sinch,
    test_twilio,
    test_vonage,
    whatsapp_case,
)
from tests.providers.exchange import Exchange, play
from tests.providers.suite import NOW, Case, a_hook, a_reply, several, with_body
from tests.providers.tables import oauth, others, rcs, sms

CASES: list[Case] = [
    test_twilio.SMS,
    test_twilio.VOICE,
    test_infobip.CASE,
    test_vonage.CASE,
    test_sinch.CASE,
    test_aldeamo.CASE,
    test_rbm.CASE,
    *test_generic_vendors.CASES,
    whatsapp_case.CASE,
    oauth_case.CASE,
]
TABLES: dict[str, tuple[Exchange, ...]] = {
    "twilio sms": sms.TWILIO,
    "twilio voice": others.TWILIO_VOICE,
    "infobip": sms.INFOBIP,
    "infobip in TOML": sms.INFOBIP,
    "vonage": sms.VONAGE,
    "vonage in TOML": sms.VONAGE,
    "sinch": sms.SINCH,
    "aldeamo": sms.ALDEAMO,
    "rbm": rcs.RBM,
    "whatsapp": others.WHATSAPP,
    "postmark in TOML": others.POSTMARK,
    "voice blaster in TOML": others.BLASTER,
    "oauth in TOML": oauth.OAUTH,
}

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
with_directory = pytest.mark.parametrize(
    "case", [case for case in CASES if getattr(case.provider, "directory", None)], ids=lambda case: case.name
)
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

few = settings(max_examples=15)


def test_no_provider_is_left_out() -> None:
    """Each has a case and each case a table, in which all happens that can become of a message."""
    suffixes = {name.partition(" ")[0] for name in (case.name for case in CASES)}
    named = {"rbm" if name == "rcs" else name for name in NAMES}
    assert named - suffixes == {"generic", "smtp"}
    idempotent = {case.name: case.provider.idempotent for case in CASES}
    assert idempotent.keys() == TABLES.keys()
    for name, table in TABLES.items():
        assert len({row.label for row in table}) == len(table)
        outcomes = {getattr(outcome, "disposition", "accepted") for row in table for outcome in row.outcomes}
        assert {
            "accepted",
            Disposition.REJECTED,
            Disposition.RETRY,
            Disposition.THROTTLED,
            Disposition.STOP,
        } <= outcomes
        assert (Disposition.UNKNOWN in outcomes) is not idempotent[name]


@pytest.mark.parametrize(
    ("case", "row"),
    [pytest.param(case, row, id=f"{case.name}: {row.label}") for case in CASES for row in TABLES[case.name]],
)
async def test_what_it_is_asked_and_what_becomes_of_its_answers(case: Case, row: Exchange) -> None:
    """Every row of every table, over a real port."""
    await play(case.provider, row)


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
def test_a_message_that_may_be_sent_again_is_named_alike_at_every_attempt(case: Case) -> None:
    """Else a second one could reach the person twice; an attempt of its own has a name of its own elsewhere."""
    first = case.message
    again = msgspec.structs.replace(first, attempt=2)
    calls = [case.provider.call([message], "a-token", NOW) for message in (first, again)]
    assert (calls[0] == calls[1]) is case.provider.idempotent
    own = case.provider.own_id(first)
    assert own in ("", *(r.id for r in case.provider.read([first], case.accepted([first])) if isinstance(r, Accepted)))
    assert not case.provider.idempotent or own == case.provider.own_id(again)


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
def test_a_server_error_says_nothing_of_what_was_accepted(case: Case, status: int) -> None:
    """Whether it may be tried again is for the port to know, by `idempotent`."""
    (result,) = case.provider.read([case.message], a_reply(b"oops", status))
    assert isinstance(result, Failure)
    assert result.disposition is Disposition.UNKNOWN


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


@with_directory
@few
@given(status=_STATUSES, headers=_HEADERS, body=_BODIES)
def test_whom_it_reaches_is_said_or_it_is_said_why_not(
    case: Case, status: int, headers: dict[str, str], body: bytes
) -> None:
    """Never raises, whatever comes back; nothing but a 200 says that somebody is not reached."""
    said = case.provider.directory.read(Reply(status, headers, body))  # type: ignore[attr-defined]
    assert isinstance(said, Failure) or status == 200


@every
def test_a_credential_is_asked_for_and_read_or_not_needed(case: Case) -> None:
    """A provider that gives none says so; one that does refuses noise."""
    if case.provider.grant(NOW) is None:
        assert _call(case) == case.provider.call(several(case, _count(case)), "", NOW)
    for reply in (a_reply(b"", 500), a_reply(b"{}", 401), a_reply(b"{}", 200), a_reply(b"\xff", 200)):
        assert isinstance(case.provider.granted(reply, NOW), Failure)
