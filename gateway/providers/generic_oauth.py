"""Credentials of a generic provider: OAuth 2 by client id and secret, or by an assertion signed with a service account's key."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.errors import Disposition
from gateway.providers import replies
from gateway.providers.contract import Call, Failure, Grant, Reply
from gateway.providers.generic_config import OAuth2
from gateway.providers.generic_request import Compiler, encode_form, encode_json
from gateway.providers.paths import Malformed
from gateway.providers.requests import Headers, basic

_ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_HEADERS = (("content-type", "application/x-www-form-urlencoded"),)

Signer = Callable[[bytes], bytes]


class _Token(Struct):
    access_token: str
    expires_in: float | str = 0


_decode_token = msgspec.json.Decoder(_Token)


class Tokens:
    """Asks for a credential (RFC 6749 §4.4, or RFC 7523 §2.1 for an assertion) and reads it."""

    def __init__(self, compiler: Compiler, oauth2: OAuth2, where: str) -> None:
        self._url = compiler.constant(oauth2.url, f"{where}.url")
        self._id = compiler.constant(oauth2.client_id, f"{where}.client_id")
        secret = compiler.constant(oauth2.client_secret, f"{where}.client_secret")
        self._scope = oauth2.scope
        self._lifetime = oauth2.lifetime_s
        self._signer: Signer | None = None
        self._headers: Headers = _HEADERS
        self._fields = {"grant_type": "client_credentials"} | ({"scope": oauth2.scope} if oauth2.scope else {})
        if oauth2.send == "basic":
            self._headers += basic(self._id, secret)
        elif oauth2.send == "body":
            self._fields |= {"client_id": self._id, "client_secret": secret}
        else:
            stand_in: Signer = bytes
            self._signer = compiler.attempt(f"{where}.client_secret", lambda: _rs256(secret), stand_in)

    def call(self, now: float) -> Call:
        """Build the request for a credential."""
        fields = self._fields
        if self._signer is not None:
            fields = {"grant_type": _ASSERTION, "assertion": self._assertion(self._signer, now)}
        return Call("POST", self._url, self._headers, encode_form(fields.items()))

    def read(self, reply: Reply, now: float) -> Grant | Failure:
        """Return the credential; a refusal stops the lane, anything else may pass: no message was sent."""
        answer = replies.read_json(_decode_token, reply.body)
        if reply.status == 200 and answer is not None and answer.access_token:
            return Grant(answer.access_token, now + (_seconds(answer.expires_in) or self._lifetime))
        failure = replies.by_status(reply, text="there is no credential in the answer")
        # RFC 6749 §5.2: a wrong client, scope or grant type is 400 or 401.
        instead = {Disposition.REJECTED: Disposition.STOP, Disposition.UNKNOWN: Disposition.RETRY}
        return replace(failure, disposition=instead.get(failure.disposition, failure.disposition))

    def _assertion(self, signer: Signer, now: float) -> str:
        claims = {"iss": self._id, "aud": self._url, "iat": int(now), "exp": int(now + self._lifetime)}
        if self._scope:
            claims["scope"] = self._scope
        signed = b".".join(_base64url(encode_json(part)) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        return b".".join((signed, _base64url(signer(signed)))).decode()


def _seconds(value: float | str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return seconds if seconds > 0 else 0.0


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _rs256(pem: str) -> Signer:
    # Imported here: only lanes with a service account need the package.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        # Copied out of a JSON key file, the line breaks are still those of the JSON.
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise Malformed("is not an RSA key in PEM", "the private_key of a service account's key file")
    return lambda data: key.sign(data, PKCS1v15(), hashes.SHA256())
