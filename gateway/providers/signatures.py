"""How providers prove that a callback is theirs.

Each function returns when the proof holds and raises `Unsigned` when it does not; none of them returns a verdict that a
caller could forget to look at. All compare in constant time, on the raw octets of the request. An empty secret proves
nothing and is refused: with one, anybody could sign.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from gateway.providers.contract import Unsigned

ParamsMethod = Literal["md5hash", "md5", "sha1", "sha256", "sha512"]
"""`md5hash` is a plain digest with the secret at the end, the others are HMACs."""

_UNIX = re.compile(r"[0-9]{1,12}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def hub_sha256(secret: str, body: bytes, header: str) -> None:
    """Meta: `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA256 of the body with the app's secret."""
    _compare("sha256=" + _mac(secret, body, "sha256").hex(), header)


def twilio(auth_token: str, url: str, form: Iterable[tuple[str, str]], header: str, fragment: str = "") -> None:
    """Twilio: base64 of HMAC-SHA1 of the URL as it was called and every parameter of the form, sorted, name and value.

    A parameter that comes twice with the same value counts once. Twilio signs with or without the port, whatever was
    called; both are tried. So is the URL with the `fragment` that it was given with: the manual has it end with the query,
    libraries have tests in which it does not.
    """
    parameters = "".join(name + value for name, value in sorted(set(form)))
    for candidate in _with_and_without_port(url):
        for ending in {"", fragment}:
            expected = _mac(auth_token, _octets(candidate + ending + parameters), "sha1")
            if _same(_base64(expected), header):
                return
    raise Unsigned("the signature is missing or wrong")


def rbm(client_token: str, data: bytes, header: str) -> None:
    """RBM: `X-Goog-Signature`, base64 of HMAC-SHA512 of the decoded `message.data` with the agent's client token."""
    _compare(_base64(_mac(client_token, data, "sha512")), header)


def sinch(secret: str, body: bytes, nonce: str, timestamp: str, header: str, now: float, tolerance_s: float) -> None:
    """Sinch: base64 of HMAC-SHA256 of body, nonce and timestamp, joined with dots; refuses what is too old or too new."""
    _compare(_base64(_mac(secret, b"%b.%b.%b" % (body, _octets(nonce), _octets(timestamp)), "sha256")), header)
    _check_age(timestamp, now, tolerance_s)


def vonage_params(
    secret: str, params: Mapping[str, str], now: float, tolerance_s: float, method: ParamsMethod = "md5hash"
) -> None:
    """Vonage SMS: the parameter `sig` over all others, sorted, as `&name=value`; refuses what is too old or too new.

    `&` and `=` in a value count as underscores (Vonage, "Signing messages"). The account's setting decides the method.
    """
    signed = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}"
        for name, value in sorted(params.items())
        if name != "sig"
    )
    if method == "md5hash":
        expected = hashlib.md5(_octets(signed + _known(secret)), usedforsecurity=False).hexdigest()
    else:
        expected = _mac(secret, _octets(signed), method).hex()
    _compare(expected, params.get("sig", "").lower())
    _check_age(params.get("timestamp", ""), now, tolerance_s)


class _Header(Struct):
    alg: str


class _Claims(Struct):
    payload_hash: str = ""
    iat: float | None = None
    exp: float | None = None
    nbf: float | None = None


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode


def jwt_hs256(secret: str, token: str, body: bytes, now: float, tolerance_s: float = 60.0) -> None:
    """Vonage Messages and Voice: a JWT (RFC 7519) whose claim `payload_hash` is the hex SHA-256 of the body.

    `token` is the bearer token without the word; only HS256 is taken, whatever the token asks for. `tolerance_s` is how far
    the clocks may differ at `exp`, `nbf` and `iat`. A body without the claim is refused: nothing would tie it to the token.
    """
    head, _, rest = token.partition(".")
    payload, _, signature = rest.partition(".")
    _compare(_base64url(_mac(secret, _octets(f"{head}.{payload}"), "sha256")), signature)
    try:
        header, claims = _decode_header(_unbase64url(head)), _decode_claims(_unbase64url(payload))
    except (ValueError, RecursionError) as exc:
        raise Unsigned("the token cannot be read") from exc
    if header.alg != "HS256":
        raise Unsigned("the token is not HS256")
    if claims.exp is not None and now > claims.exp + tolerance_s:
        raise Unsigned("the token has expired")
    if max(claims.nbf or 0.0, claims.iat or 0.0) > now + tolerance_s:
        raise Unsigned("the token is not valid yet")
    if body or claims.payload_hash:
        _compare(hashlib.sha256(body).hexdigest(), claims.payload_hash.lower())


def basic(user: str, password: str, header: str) -> None:
    """Basic authentication (RFC 7617): proves who calls, not what the body is."""
    scheme, _, credentials = header.partition(" ")
    _compare(_base64(_octets(f"{user}:{_known(password)}")), credentials.strip() if scheme.lower() == "basic" else "")


def token(secret: str, given: str) -> None:
    """A shared word in the request itself, as in handshakes and secret paths."""
    _compare(_known(secret), given)


def _known(secret: str) -> str:
    if not secret:
        raise Unsigned("no secret is configured")
    return secret


def _mac(secret: str, data: bytes, digest: str) -> bytes:
    return hmac.digest(_octets(_known(secret)), data, digest)


def _compare(expected: str, given: str) -> None:
    if not _same(expected, given):
        raise Unsigned("the signature is missing or wrong")


def _same(expected: str, given: str) -> bool:
    # As octets: compare_digest refuses a text with a character beyond ASCII, which anybody may send.
    return hmac.compare_digest(_octets(expected), _octets(given))


def _octets(text: str) -> bytes:
    # Headers hold lone surrogates where a request had octets that are not UTF-8; those must not raise.
    return text.encode("utf-8", "surrogatepass")


def _check_age(timestamp: str, now: float, tolerance_s: float) -> None:
    if not _UNIX.fullmatch(timestamp):
        raise Unsigned("the timestamp is missing or not one")
    if abs(now - int(timestamp)) > tolerance_s:
        raise Unsigned("the timestamp is too far from now")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64url(text: str) -> bytes:
    try:
        return base64.b64decode(_octets(text) + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc


def _with_and_without_port(url: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:  # a Host header can hold anything
        return (url,)
    host = parts.netloc.rpartition("@")[2]
    bare = host[: host.rindex(":")] if parts.port else host
    return url, *(urlunsplit(parts._replace(netloc=netloc)) for netloc in (bare, f"{bare}:{port}"))
