"""The generic provider: its requests and credentials."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Disposition
from gateway.model import Message
from gateway.providers.contract import Call, Failure, Grant, Unsendable
from gateway.providers.generic_config import Account
from gateway.tables import Secret
from smpp import gsm7
from tests.providers.generic_lanes import (
    ACCOUNT,
    BEARER,
    HETEROGENEOUS,
    JSON,
    OAUTH,
    REPLY,
    REQUEST,
    lane,
)
from tests.providers.suite import NOW, a_message, a_reply


def called(body: str, message: Message | None = None, **request: str) -> Call:
    more = "\n".join(f"{name} = {value}" for name, value in request.items())
    return lane(REQUEST + more, body, REPLY).call([message or a_message()], "", NOW)


# Bodies, numbers, references.


@pytest.mark.parametrize(
    ("placeholder", "value"),
    [
        ("{to}", "+573001110000"),
        ("{to.digits}", "573001110000"),
        ("{to.country}", "57"),
        ("{to.national}", "3001110000"),
        ("{text}", "Su pago vence hoy"),
        ("{sender}", "+57600"),
        ("{sender.bare}", "57600"),
        ("{reference}", "acme/job-1:0/1"),
        ("{reference.url}", "acme%2Fjob-1%3A0%2F1"),
        ("{class}", "transactional"),
        ("{expires.unix}", int(NOW) + 90),
        ("{expires.iso}", "2027-01-15T08:01:30Z"),
        ("{ttl.s}", 90),
        ("{ttl.min}", 1),
        ("{ttl.ms}", 90_000),
        ("{now.unix}", int(NOW)),
        ("{now.iso}", "2027-01-15T08:00:00Z"),
        ("{callback}?ref={reference.url}", "https://hooks.example/lane?ref=acme%2Fjob-1%3A0%2F1"),
        ("{ttl.s}s of {{100%s}}", "90s of {100%s}"),
        ("{content}", {"a": {"b": [1, None, "x"]}}),
        ("{content.a.b}", [1, None, "x"]),
    ],
)
def test_a_placeholder_stands_for_a_value(placeholder: str, value: object) -> None:
    """Alone in JSON it keeps its kind; beside other text it is text."""
    message = a_message(expires_at=NOW + 90, content='{"a":{"b":[1,null,"x"]}}')
    call = called(f"[request.json]\nx = {msgspec.json.encode(placeholder).decode()}", message)
    assert msgspec.json.decode(call.body) == {"x": value}


def test_the_word_for_the_alphabet_is_the_vendors() -> None:
    """For every character of ASCII and some beyond, as our own encoder has it; without a word for it, nothing."""
    both = lane(REQUEST + 'alphabet = { gsm7 = "0", unicode = "8" }', '[request.json]\ndcs = "{alphabet}"', REPLY)
    for character in [*map(chr, range(1, 128)), *"ñáéÁ€ç😀"]:
        expected = "8" if gsm7.DEFAULT.encode(character) is None else "0"
        assert msgspec.json.decode(both.call([a_message(character)], "", NOW).body) == {"dcs": expected}
    assert msgspec.json.decode(called('[request.json]\ndcs = "{alphabet?}"\nto = "{to}"').body) == {
        "to": "+573001110000"
    }


def test_what_has_no_value_is_left_out_with_a_table_that_has_nothing_else() -> None:
    """Only where a question mark says so, and whatever stands beside it in the table that is the same for all."""
    body = """
    [request.json]
    to = "{to}"
    until = "{expires.iso?}"
    label = "for {campaign?}!"
    options = { validity = { amount = "{ttl.s?}", unit = "s" }, priority = 1 }
    parts = [{ type = "text", value = "{text}" }, { type = "html", value = "{content.html?}" }]
    fixed = { a = [1, true, 2.5, "{{}}"] }
    """
    assert msgspec.json.decode(called(body).body) == {
        "to": "+573001110000",
        "parts": [{"type": "text", "value": "Su pago vence hoy"}],
        "fixed": {"a": [1, True, 2.5, "{}"]},
    }
    with pytest.raises(Unsendable, match="content"):
        called('[request.json]\nx = "{content}"')
    with pytest.raises(Unsendable, match="campaign"):
        called('[request.json]\nx = "for {campaign}"')


def test_a_recipient_may_stand_in_a_list_in_a_form_or_in_the_url() -> None:
    """One recipient, in all the places where vendors want it."""
    assert msgspec.json.decode(called('[request.json]\nto = ["{to.digits}"]').body) == {"to": ["573001110000"]}
    form = called('[request.form]\nmobile = "{to.national}"\nmsg = "{text}"', a_message("a b&c=ñ+%€"))
    assert form.body == b"mobile=3001110000&msg=a+b%26c%3D%C3%B1%2B%25%E2%82%AC"
    assert ("content-type", "application/x-www-form-urlencoded") in form.headers
    get = called('[request.query]\nmsg = "{text}"\nkey = "{secret.key}"', a_message("¿sí?"), method='"GET"')
    assert (get.method, get.body) == ("GET", b"")
    assert get.url == "https://api.example/send?msg=%C2%BFs%C3%AD%3F&key=k%3D1%26"


LEGACY = """
[request]
method = "GET"
url = "{setting.host}/send/{secret.key}/{secret.password}/{to.national}/{to.country}/{text}"
"""


@given(text=st.text(min_size=1, max_size=30).filter(lambda text: text.encode("utf-8", "ignore").decode() == text))
def test_no_text_leaves_its_place_in_a_url(text: str) -> None:
    """Neither the path nor the host can be changed by it."""
    provider = lane(LEGACY, REPLY)
    try:
        url = provider.call([a_message(text)], "", NOW).url
    except Unsendable:
        assert text in {".", ".."}
        return
    parts = urlsplit(url)
    assert parts.netloc == "api.example"
    assert [unquote(part) for part in parts.path.split("/")[2:]] == ["k=1&", "the-password", "3001110000", "57", text]


@pytest.mark.parametrize("text", [".", ".."])
def test_a_text_that_would_be_another_path_is_not_sent(text: str) -> None:
    """One or two dots, which clients and servers resolve."""
    with pytest.raises(Unsendable) as refused:
        lane(LEGACY, REPLY).prepare(a_message(text))
    assert refused.value.code == "url"


@given(text=st.text(min_size=1, max_size=60), subject=st.text(max_size=20))
def test_any_text_comes_out_of_a_body_as_it_went_in(text: str, subject: str) -> None:
    """Escaping is nobody's business but the encoder's."""
    message = a_message(text, content=msgspec.json.encode({"s": subject}).decode())
    json = called('[request.json]\na = "{text}"\nb = "<{content.s}>"', message)
    assert msgspec.json.decode(json.body) == {"a": text, "b": f"<{subject}>"}
    form = called('[request.form]\na = "{text}"\nb = "<{content.s}>"', message)
    assert parse_qsl(form.body.decode(), keep_blank_values=True) == [("a", text), ("b", f"<{subject}>")]


def test_a_line_break_cannot_enter_a_header() -> None:
    """It would begin a header of the publisher's choice."""
    text = '[request]\nurl = "{setting.host}/"\nheaders = { x-a = "{text}", b = "{secret.key}{secret.password}" }\n'
    provider = lane(text, REPLY)
    assert ("x-a", "hola") in provider.call([a_message("hola")], "", NOW).headers
    with pytest.raises(Unsendable, match="header"):
        provider.call([a_message("a\r\nx-admin: 1")], "", NOW)


def test_a_text_that_is_too_long_is_not_sent() -> None:
    """In UTF-16 code units as vendors count, or in octets."""
    provider = lane(REQUEST + "max_text = 3\nmax_octets = 5", JSON, REPLY)
    provider.prepare(a_message("abc"))
    for text in ("abcd", "a😀b", "ñññ"):
        with pytest.raises(Unsendable):
            provider.prepare(a_message(text))


def test_messages_of_their_own_share_a_request_when_they_agree_in_the_rest() -> None:
    """The country stands once: a request is for one country."""
    provider = lane(REQUEST + 'each = "list"\nbatch = 10\n[request.json]' + HETEROGENEOUS, REPLY + 'list = "r"')
    messages = [a_message("uno"), a_message("dos", number=1)]
    assert msgspec.json.decode(provider.call(messages, "", NOW).body) == {
        "country": "57",
        "list": [
            {"mobile": "3001110000", "message": "uno", "label": "acme/job-1:0/1"},
            {"mobile": "3001110001", "message": "dos", "label": "acme/job-1:1/1"},
        ],
    }
    abroad = a_message("dos", to="+525512345678")
    assert provider.group(messages[0]) == provider.group(messages[1]) != provider.group(abroad)
    with pytest.raises(ValueError, match="groups"):
        provider.call([messages[0], abroad], "", NOW)


def test_one_text_goes_to_a_list_of_recipients() -> None:
    """Messages with another text are of another group: nobody gets what was written to somebody else."""
    body = '[request.json]\ntext = "{text}"\nto = ["{to.digits}"]'
    provider = lane(REQUEST + 'each = "to"\nbatch = 10', body, REPLY + 'own_id = "{reference.uuid}"')
    messages = [a_message(number=n) for n in range(3)]
    assert msgspec.json.decode(provider.call(messages, "", NOW).body)["to"] == [m.to[1:] for m in messages]
    assert provider.group(messages[0]) != provider.group(a_message("otro"))
    with pytest.raises(ValueError, match="groups"):
        provider.call([messages[0], a_message("otro", number=1)], "", NOW)


def test_what_is_left_of_messages_may_stand_once() -> None:
    """Then they share a request only when they expire together; beside each text it may differ."""
    once = REQUEST + 'each = "list"\nbatch = 10\n[request.json]\nttl = "{ttl.s?}"\n[[request.json.list]]\nto = "{to}"'
    provider = lane(once, REPLY + 'list = "r"')
    soon, late, never = [
        [a_message(number=n, expires_at=at) for n in range(2)] for at in (NOW + 90, NOW + 5 * 86_400, 0.0)
    ]
    assert len({provider.group(message) for message in (*soon, *late, *never)}) == 3
    for messages, left in ((soon, 90), (late, 5 * 86_400), (never, None)):
        assert provider.group(messages[0]) == provider.group(messages[1])
        assert msgspec.json.decode(provider.call(messages, "", NOW).body).get("ttl") == left
    with pytest.raises(ValueError, match="groups"):
        provider.call([soon[0], late[0]], "", NOW)
    each = REQUEST + 'each = "list"\nbatch = 10\n[[request.json.list]]\nto = "{to}"\nttl = "{ttl.s?}"'
    provider = lane(each, REPLY + 'list = "r"')
    assert provider.group(soon[0]) == provider.group(late[0]) == provider.group(never[0])


# Credentials.


def test_credentials_stand_where_the_vendor_wants_them() -> None:
    """Basic, a bearer, a word of the vendor's, the query, a form: all are texts with secrets in them."""
    basic = 'basic = { username = "{secret.key}", password = "{secret.password}" }'
    headers = 'headers = { authorization = "App {secret.key}", x-b = "Bearer {secret.password}" }'
    url = '[request]\nurl = "https://api.example/"\n'
    assert lane(url + basic, REPLY, account=_without_host()).call([a_message()], "", NOW).headers == (
        ("authorization", "Basic " + base64.b64encode(b"k=1&:the-password").decode()),
    )
    assert dict(lane(url + headers, REPLY, account=_without_host()).call([a_message()], "", NOW).headers) == {
        "authorization": "App k=1&",
        "x-b": "Bearer the-password",
    }


def _without_host() -> Account:
    return msgspec.structs.replace(ACCOUNT, settings={})


@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("place", ["header", "query"])
def test_each_request_can_be_signed(encoding: str, place: str) -> None:
    """An HMAC over chosen fields and the very octets of the body."""
    sign = f"""
    [request.sign]
    over = "{{to.digits}}.{{now.unix}}.{{body}}"
    key = "{{secret.key}}"
    algorithm = "sha512"
    encoding = "{encoding}"
    place = "{place}"
    name = "X-Sign"
    value = "v1={{signature}}"
    """
    call = lane(REQUEST, JSON, sign, REPLY).call([a_message()], "", NOW)
    mac = hmac.digest(b"k=1&", b"573001110000.%d.%b" % (NOW, call.body), "sha512")
    expected = "v1=" + (mac.hex() if encoding == "hex" else base64.b64encode(mac).decode())
    found = dict(call.headers).get("x-sign") if place == "header" else parse_qs(urlsplit(call.url).query)["X-Sign"][0]
    assert found == expected


def test_a_signature_without_a_key_is_a_digest() -> None:
    """Of fields with the secret among them, as older interfaces want it."""
    sign = '[request.sign]\nover = "{to.digits}{secret.key}"\nalgorithm = "md5"\nname = "x-sign"'
    call = lane(REQUEST, JSON, sign, REPLY).call([a_message()], "", NOW)
    assert dict(call.headers)["x-sign"] == hashlib.md5(b"573001110000k=1&").hexdigest()


def test_a_credential_is_granted_and_carried() -> None:
    """Client id and secret by Basic, the token in a header, its end from the answer."""
    provider = lane(BEARER, JSON, REPLY, OAUTH)
    asked = provider.grant(NOW)
    assert asked
    assert dict(parse_qsl(asked.body.decode())) == {"grant_type": "client_credentials", "scope": "sms send"}
    assert dict(asked.headers)["authorization"] == "Basic " + base64.b64encode(b"me:the-password").decode()
    assert provider.granted(a_reply({"access_token": "t", "expires_in": "60"}), NOW) == Grant("t", NOW + 60)
    assert provider.granted(a_reply({"access_token": "t"}), NOW) == Grant("t", NOW + 3600)
    assert dict(provider.call([a_message()], "t", NOW).headers)["authorization"] == "Bearer t"


def test_a_token_may_stand_in_the_url() -> None:
    """A message is looked at before there is one."""
    provider = lane(REQUEST.replace("/send", "/{token}/send"), JSON, REPLY, OAUTH)
    provider.prepare(a_message())
    assert provider.call([a_message()], "t", NOW).url == "https://api.example/t/send"


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (400, Disposition.STOP),
        (401, Disposition.STOP),
        (429, Disposition.THROTTLED),
        (500, Disposition.RETRY),
        (200, Disposition.RETRY),
    ],
)
def test_a_credential_that_is_not_given_stops_the_lane_only_when_it_is_refused(
    status: int, disposition: Disposition
) -> None:
    """No message was sent: nothing is in doubt."""
    provider = lane(BEARER, JSON, REPLY, OAUTH + 'send = "body"')
    failure = provider.granted(a_reply({"error": "x"}, status), NOW)
    assert isinstance(failure, Failure)
    assert failure.disposition is disposition


def test_a_service_account_signs_for_its_credential() -> None:
    """RFC 7523: an assertion of an hour, signed with the account's key."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = msgspec.structs.replace(
        ACCOUNT, secrets={"key": Secret("k"), "password": Secret(pem.replace("\n", "\\n"))}
    )
    asked = lane(BEARER, JSON, REPLY, OAUTH + 'send = "assertion"', account=account).grant(NOW)
    assert asked
    fields = dict(parse_qsl(asked.body.decode()))
    assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    signed, _, signature = fields["assertion"].rpartition(".")
    key.public_key().verify(_unbase64url(signature), signed.encode(), padding.PKCS1v15(), SHA256())
    assert msgspec.json.decode(_unbase64url(signed.partition(".")[2])) == {
        "iss": "me",
        "scope": "sms send",
        "aud": "https://api.example/token",
        "iat": NOW,
        "exp": NOW + 3600,
    }


def _unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_percent_sign_in_a_setting_or_secret_is_itself() -> None:
    """Texts are filled by formatting: what fills them is not a format."""
    account = msgspec.structs.replace(ACCOUNT, secrets={"key": Secret("%s%"), "password": Secret("{to}")})
    headers = dict(lane(REQUEST, JSON, REPLY, account=account).call([a_message()], "", NOW).headers)
    assert (headers["x-key"], headers["x-password"]) == ("%s%", "{to}")
    assert quote("%s%") in lane(LEGACY, REPLY, account=account).call([a_message()], "", NOW).url
