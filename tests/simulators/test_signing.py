"""Signatures of callbacks against values worked out by hand (openssl), and what each of them covers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from gateway.simulators import signing

PARAMETERS = {"b": "2", "a": "x&y=z", "sig": "not signed"}


def test_hub_is_the_hexadecimal_hmac_of_the_body() -> None:
    """RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signing.hub("Jefe", b"what do ya want for nothing?") == f"sha256={expected}"


def test_goog_is_base64_of_hmac_sha512() -> None:
    """RFC 4231, test case 2."""
    expected = bytes.fromhex(
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    )
    assert base64.b64decode(signing.goog("Jefe", b"what do ya want for nothing?")) == expected


def test_twilio_signs_the_url_and_the_parameters_by_name() -> None:
    """The example of Twilio's security page: its URL, its parameters, its token, its signature."""
    parameters = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signing.twilio("12345", url, parameters) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_sinch_joins_body_nonce_and_timestamp_with_points() -> None:
    """And with nothing else."""
    expected = base64.b64encode(hmac.digest(b"s", b'{"a":1}.n.1700000000', "sha256")).decode()
    assert signing.sinch("s", b'{"a":1}', "n", "1700000000") == expected


def test_vonage_hashes_parameters_with_the_secret_behind_them() -> None:
    """By name, without `sig`, and with what would separate parameters replaced."""
    assert signing.vonage("s", PARAMETERS, "md5hash") == hashlib.md5(b"&a=x_y_z&b=2s").hexdigest()


@pytest.mark.parametrize("scheme", ["md5", "sha1", "sha256", "sha512"])
def test_vonage_keys_an_hmac_with_the_secret(scheme: signing.VonageScheme) -> None:
    """In upper case."""
    expected = hmac.new(b"s", b"&a=x_y_z&b=2", scheme).hexdigest().upper()
    assert signing.vonage("s", PARAMETERS, scheme) == expected


def test_the_token_of_vonage_names_the_body_and_is_signed() -> None:
    """Three parts in base64 for URLs, without padding."""
    head, claims, signature = signing.vonage_jwt("s", b"{}", 1_700_000_000, "id", "key").split(".")
    assert json.loads(_decode(head)) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(_decode(claims)) == {
        "iat": 1_700_000_000,
        "jti": "id",
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(b"{}").hexdigest(),
        "api_key": "key",
    }
    assert _decode(signature) == hmac.digest(b"s", f"{head}.{claims}".encode(), "sha256")


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
