"""How vendors sign what they send to us. Written from their documentation alone and shared with no code that verifies it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

__all__ = ["VonageScheme", "goog", "hub", "sinch", "twilio", "vonage", "vonage_jwt"]

VonageScheme: TypeAlias = Literal["md5hash", "md5", "sha1", "sha256", "sha512"]


def hub(secret: str, body: bytes) -> str:
    """Value of X-Hub-Signature-256: hexadecimal HMAC-SHA256 of the octets of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def twilio(secret: str, url: str, parameters: Mapping[str, str]) -> str:
    """Value of X-Twilio-Signature: base64 of HMAC-SHA1 over the URL and every parameter's name and value, by name."""
    signed = url + "".join(name + parameters[name] for name in sorted(parameters))
    return _base64(hmac.digest(secret.encode(), signed.encode(), "sha1"))


def goog(secret: str, decoded: bytes) -> str:
    """Value of X-Goog-Signature: base64 of HMAC-SHA512 over the data as it was before its own base64."""
    return _base64(hmac.digest(secret.encode(), decoded, "sha512"))


def sinch(secret: str, body: bytes, nonce: str, timestamp: str) -> str:
    """Value of x-sinch-webhook-signature: base64 of HMAC-SHA256 over body, nonce and timestamp with points between them."""
    return _base64(hmac.digest(secret.encode(), body + f".{nonce}.{timestamp}".encode(), "sha256"))


def vonage(secret: str, parameters: Mapping[str, str], scheme: VonageScheme) -> str:
    """The parameter `sig` of the SMS API: over `&name=value` of all others by name, `&` and `=` in values replaced by `_`.

    The plain hash has the secret behind the parameters, an HMAC has it as its key.
    """
    replace = str.maketrans("&=", "__")
    signed = "".join(f"&{name}={parameters[name].translate(replace)}" for name in sorted(parameters) if name != "sig")
    if scheme == "md5hash":
        return hashlib.md5((signed + secret).encode(), usedforsecurity=False).hexdigest()
    return hmac.new(secret.encode(), signed.encode(), scheme).hexdigest().upper()


def vonage_jwt(secret: str, body: bytes, issued_at: int, token_id: str, api_key: str) -> str:
    """The bearer token of a signed webhook: a JWT (HS256) whose `payload_hash` is the SHA-256 of the body."""
    claims = {
        "iat": issued_at,
        "jti": token_id,
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": api_key,
    }
    signed = ".".join(_base64url(msgspec.json.encode(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_base64url(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
