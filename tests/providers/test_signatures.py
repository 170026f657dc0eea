"""Signatures of callbacks, against what vendors and RFCs publish and against values computed another way."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers import signatures
from gateway.providers.contract import Unsigned

NOW = 1_700_000_000.0

# The payload and secret of GitHub's "Validating webhook deliveries": the same scheme as Meta's.
HUB = (
    "It's a Secret to Everybody",
    b"Hello, World!",
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
)

# twilio-python, tests/unit/test_request_validator.py.
TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_FORM = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
]

# RFC 4231 §4.3, as base64.
RBM = (
    "Jefe",
    b"what do ya want for nothing?",
    base64.b64encode(
        bytes.fromhex(
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        )
    ).decode(),
)

# sinch-sdk-dotnet, tests of the Conversation webhooks.
SINCH_BODY = (
    b'{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z","project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4",'
    b'"contact_create_notification":{"contact":{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS",'
    b'"identity":"48123456789","app_id":""}],"display_name":"New Test Contact","email":"new.contact@email.com",'
    b'"external_id":"","metadata":"","language":"EN_US"}},"message_metadata":""}'
)
SINCH_NONCE, SINCH_AT = "01FJA8B4A7BM43YGWSG9GBV067", 1_634_579_353
SINCH_SIGNATURE = "6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE="

# vonage-python-sdk, tests of check_signature.
VONAGE = {"a": "1", "b": "2", "timestamp": "1461605396"}
VONAGE_AT = 1_461_605_396
VONAGE_SIGNATURES: list[tuple[signatures.ParamsMethod, str]] = [
    ("md5hash", "6af838ef94998832dbfc29020b564830"),
    ("md5", "c15c21ced558c93a226c305f58f902f2"),
    ("sha1", "3e19a4e6880fdc2c1426bfd0587c98b9532f0210"),
    ("sha256", "a321e824b9b816be7c3f28859a31749a098713d39f613c80d455bbaffae1cd24"),
    (
        "sha512",
        (
            "812a18f76680fa0fe1b8bd9ee1625466ceb1bd96242e4d050d2cfd9a7b40166c"
            "63ed26ec9702168781b6edcf1633db8ff95af9341701004eec3fcf9550572ee8"
        ),
    ),
]

# vonage-python-sdk, jwt/tests/test_verify_jwt.py.
JWT_SECRET = "qwertyuiopasdfghjklzxcvbnm123456"
JWT = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."
    "eyJpc3MiOiJPbmxpbmUgSldUIEJ1aWxkZXIiLCJpYXQiOjE2OTc2MzQ2ODAsImV4cCI6MzMyNTQ1NDA4MjgsImF1ZCI6IiIsInN1YiI6IiJ9."
    "88vJc3I2HhuqEDixHXVhc9R30tA6U_HQHZTC29y6CGM"
)


def refuses(check: Callable[[], None]) -> bool:
    try:
        check()
    except Unsigned:
        return True
    return False


def test_meta_signs_the_body_with_hmac_sha256_in_hex() -> None:
    """The published example passes, and not one octet of it may change."""
    secret, body, header = HUB
    signatures.hub_sha256(secret, body, header)
    assert refuses(lambda: signatures.hub_sha256(secret, body + b" ", header))
    assert refuses(lambda: signatures.hub_sha256("other", body, header))
    assert refuses(lambda: signatures.hub_sha256(secret, body, header.removeprefix("sha256=")))
    assert refuses(lambda: signatures.hub_sha256(secret, body, ""))


@pytest.mark.parametrize(
    ("url", "form", "header"),
    [
        (TWILIO_URL, TWILIO_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (TWILIO_URL.replace(".com", ".com:1234"), TWILIO_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (TWILIO_URL, TWILIO_FORM, "kvajT1Ptam85bY51eRf/AJRuM3w="),
        (TWILIO_URL.replace(".com", ".com:1234").replace("https", "http"), TWILIO_FORM, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        (TWILIO_URL.replace("https", "http"), TWILIO_FORM, "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        (
            TWILIO_URL,
            [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")],
            "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
        ),
    ],
    ids=["plain", "port removed", "port added", "port kept", "port added to http", "twice the same name"],
)
def test_twilio_signs_url_and_sorted_form_with_hmac_sha1(url: str, form: list[tuple[str, str]], header: str) -> None:
    """The published examples pass; another form, URL or token does not."""
    signatures.twilio("12345", url, form, header)
    assert refuses(lambda: signatures.twilio("12345", url, [*form, ("X", "1")], header))
    assert refuses(lambda: signatures.twilio("12345", url + "&baz=3", form, header))
    assert refuses(lambda: signatures.twilio("54321", url, form, header))
    assert refuses(lambda: signatures.twilio("12345", url, form, ""))


def test_rbm_signs_the_decoded_data_with_hmac_sha512_in_base64() -> None:
    """The example of RFC 4231 passes."""
    token, data, header = RBM
    signatures.rbm(token, data, header)
    assert refuses(lambda: signatures.rbm(token, data + b" ", header))
    assert refuses(lambda: signatures.rbm("other", data, header))
    assert refuses(lambda: signatures.rbm(token, data, ""))


def test_sinch_signs_body_nonce_and_timestamp_with_hmac_sha256_in_base64() -> None:
    """The published example passes within its time, and each of its parts is signed."""

    def check(
        body: bytes = SINCH_BODY,
        nonce: str = SINCH_NONCE,
        at: str = str(SINCH_AT),
        header: str = SINCH_SIGNATURE,
        now: float = SINCH_AT + 300.0,
        secret: str = "foo_secret1234",
    ) -> bool:
        return refuses(lambda: signatures.sinch(secret, body, nonce, at, header, now, 300))

    assert not check()
    assert not check(now=SINCH_AT - 300.0)
    assert check(body=SINCH_BODY + b" ")
    assert check(nonce="another")
    assert check(at=str(SINCH_AT + 1))
    assert check(header="")
    assert check(secret="foo")
    assert check(now=SINCH_AT + 301.0)
    assert check(now=SINCH_AT - 301.0)


@pytest.mark.parametrize(("method", "sig"), VONAGE_SIGNATURES, ids=[method for method, _ in VONAGE_SIGNATURES])
def test_vonage_signs_sorted_parameters(method: signatures.ParamsMethod, sig: str) -> None:
    """The published examples pass in either case, within their time, by their own method only."""

    def check(params: dict[str, str], now: float = VONAGE_AT, secret: str = "secret") -> bool:
        return refuses(lambda: signatures.vonage_params(secret, params, now, 300, method))

    signed = {"sig": sig, **VONAGE}
    assert not check(signed)
    assert not check(signed | {"sig": sig.upper()})
    assert check(VONAGE)
    assert check(signed | {"a": "2"})
    assert check(signed | {"c": "3"})
    assert check(signed, secret="other")
    assert check(signed, now=VONAGE_AT + 301)
    others = {other for name, other in VONAGE_SIGNATURES if name != method}
    assert all(check(signed | {"sig": other}) for other in others)


def test_vonage_takes_ampersands_and_equals_signs_in_values_for_underscores() -> None:
    """So that a value cannot pose as another parameter."""
    text = "&a=x_y_z&timestamp=1700000000secret"
    params = {"a": "x&y=z", "timestamp": "1700000000", "sig": hashlib.md5(text.encode()).hexdigest()}
    signatures.vonage_params("secret", params, NOW, 1)


@pytest.mark.parametrize("stamp", ["", "x", "1e9", "-1", "9" * 5000])
def test_a_timestamp_that_is_none_is_refused_even_when_signed(stamp: str) -> None:
    """It would be good for ever."""
    params = {"timestamp": stamp, "sig": hashlib.md5(f"&timestamp={stamp}secret".encode()).hexdigest()}
    assert refuses(lambda: signatures.vonage_params("secret", params, NOW, 1e30))
    assert refuses(lambda: signatures.vonage_params("secret", {"sig": hashlib.md5(b"secret").hexdigest()}, NOW, 1e30))


def a_token(claims: object, secret: str = "secret", alg: str = "HS256") -> str:
    """A token put together with the primitives of RFC 2104, not with hmac."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    signed = encoded(json.dumps({"alg": alg, "typ": "JWT"}).encode()) + "." + encoded(json.dumps(claims).encode())
    key = secret.encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(k ^ 0x36 for k in key) + signed.encode()).digest()
    return f"{signed}.{encoded(hashlib.sha256(bytes(k ^ 0x5C for k in key) + inner).digest())}"


def test_a_published_token_passes() -> None:
    """HS256, within its time."""
    signatures.jwt_hs256(JWT_SECRET, JWT, b"", 1_697_634_681)
    assert refuses(lambda: signatures.jwt_hs256("asdf", JWT, b"", 1_697_634_681))
    assert refuses(lambda: signatures.jwt_hs256(JWT_SECRET, "asdf", b"", 1_697_634_681))


BODY = b'{"status":"delivered"}'
HASHED = {"payload_hash": hashlib.sha256(BODY).hexdigest(), "iat": NOW}


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        (HASHED, True),
        (HASHED | {"payload_hash": HASHED["payload_hash"].upper()}, True),  # type: ignore[attr-defined]
        (HASHED | {"exp": NOW - 59}, True),
        (HASHED | {"exp": NOW - 61}, False),
        (HASHED | {"nbf": NOW + 61}, False),
        (HASHED | {"iat": NOW + 61}, False),
        (HASHED | {"payload_hash": "00"}, False),
        ({"iat": NOW}, False),
        ({}, False),
        ([], False),
        (HASHED | {"exp": "never"}, False),
    ],
    ids=["good", "upper case", "late", "expired", "not yet", "future", "other body", "no hash", "none", "list", "type"],
)
def test_a_token_is_for_one_body_and_one_time(claims: object, good: bool) -> None:
    """A token without the hash of a body that is there ties nothing to it."""
    assert refuses(lambda: signatures.jwt_hs256("secret", a_token(claims), BODY, NOW)) is not good


@pytest.mark.parametrize("alg", ["none", "HS512", "RS256", "hs256"])
def test_a_token_does_not_choose_its_algorithm(alg: str) -> None:
    """Only HS256 is taken, signed with the right key or not."""
    token = a_token(HASHED, alg=alg)
    assert refuses(lambda: signatures.jwt_hs256("secret", token, BODY, NOW))
    assert refuses(lambda: signatures.jwt_hs256("secret", token.rpartition(".")[0] + ".", BODY, NOW))


def test_basic_authentication_is_that_of_rfc_7617() -> None:
    """The example of §2 passes, the scheme in any case."""
    header = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    signatures.basic("Aladdin", "open sesame", header)
    signatures.basic("Aladdin", "open sesame", header.replace("Basic", "basic"))
    assert refuses(lambda: signatures.basic("Aladdin", "open", header))
    assert refuses(lambda: signatures.basic("Jasmin", "open sesame", header))
    assert refuses(lambda: signatures.basic("Aladdin", "open sesame", header.replace("Basic", "Bearer")))
    assert refuses(lambda: signatures.basic("Aladdin", "open sesame", ""))


def test_an_empty_secret_proves_nothing() -> None:
    """With one, anybody could sign; a lane without a secret refuses all callbacks."""
    md5 = hashlib.md5(b"&timestamp=1700000000").hexdigest()
    empty = [
        lambda: signatures.hub_sha256(
            "", b"", "sha256=" + "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"
        ),
        lambda: signatures.vonage_params("", {"timestamp": "1700000000", "sig": md5}, NOW, 1),
        lambda: signatures.basic("", "", "Basic Og=="),
        lambda: signatures.token("", ""),
        lambda: signatures.jwt_hs256("", a_token({}, secret=""), b"", NOW),
    ]
    assert all(refuses(check) for check in empty)


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_no_text_in_a_request_raises_anything_else(one: str, two: str) -> None:
    """Headers and forms can hold lone surrogates, names beyond ASCII and numbers without end."""
    assert refuses(lambda: signatures.hub_sha256("s", b"", one))
    assert refuses(lambda: signatures.twilio("s", one, [(one, two)], two))
    assert refuses(lambda: signatures.rbm("s", b"", one))
    assert refuses(lambda: signatures.sinch("s", b"", one, two, one, NOW, 1))
    assert refuses(lambda: signatures.vonage_params("s", {one: two, "sig": two}, NOW, 1))
    assert refuses(lambda: signatures.jwt_hs256("s", f"{one}.{two}.{one}", b"", NOW))
    assert refuses(lambda: signatures.basic("s", "s", one))
    assert refuses(lambda: signatures.token("secret secret", one + two))
