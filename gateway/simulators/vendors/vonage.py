"""Vonage's SMS API: always 200, an element for each part; receipts with a signed parameter, or a signed bearer token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import gmtime, strftime
from typing import Any, cast
from urllib.parse import urlencode

import msgspec

from gateway.simulators import signing
from gateway.simulators.end import JSON, Answer, Post, Request, Update
from gateway.simulators.script import Refusal
from gateway.simulators.vendors.vendor import NoSuchPath, Result, Submitted, Vendor, digits, form, is_status

__all__ = ["Vonage"]

_TEXTS = {
    "1": "Throughput Rate Exceeded - please wait [ 250 ] and retry",
    "2": "Missing to param",
    "4": "Bad Credentials",
    "5": "Internal Error",
    "9": "Partner quota exceeded",
}
_INSIDE_200 = {"400": "2", "401": "4"}
_STATES = {"sent": "buffered", "delivered": "delivered", "read": "delivered", "failed": "failed"}


class Vonage(Vendor):
    """Codes of refusals are its `status` (1, 5, 9 …), those of failures its `err-code`.

    The account's `scheme` signs: a parameter `sig` (md5hash, md5, sha1, sha256, sha512), or `jwt` in a header, with which the
    callback is JSON instead of a form.
    """

    kind = "vonage"

    def special(self, request: Request) -> Answer | None:
        if request.target != "sms/json" or self._knows(form(request.body)):
            return None
        return self.error(Refusal("4"))

    def authorised(self, request: Request) -> bool:
        return True  # it is in the form

    def read(self, request: Request) -> list[Submitted]:
        if request.target != "sms/json" or request.method != "POST":
            raise NoSuchPath
        fields = form(request.body)
        text = fields["text"]
        alone, joined = (70, 67) if fields.get("type") == "unicode" else (160, 153)
        parts = 1 if len(text) <= alone else -(-len(text) // joined)
        url = fields.get("callback", "")
        return [Submitted(fields["from"], digits(fields["to"]), fields.get("client-ref", ""), url, note=str(parts))]

    def refuses_all(self, refusal: Refusal) -> bool:
        return True

    def status_of(self, code: str) -> int:
        return int(code) if is_status(code) and code not in _INSIDE_200 else 200

    def answer(self, results: Sequence[Result]) -> Answer:
        (result,) = results
        one = result.submitted
        part = {
            "to": one.recipient,
            "status": "0",
            "remaining-balance": "100.00",
            "message-price": "0.03",
            "network": "334020",
        }
        if one.reference:
            part["client-ref"] = one.reference
        messages = [{**part, "message-id": f"{result.id}-{n}" if n else result.id} for n in range(int(one.note))]
        return Answer(200, msgspec.json.encode({"message-count": one.note, "messages": messages}))

    def error_body(self, status: int, refusal: Refusal) -> Any:
        code = _INSIDE_200.get(refusal.code, refusal.code)
        text = refusal.detail or _TEXTS.get(code, "Error")
        return {"message-count": "1", "messages": [{"status": code, "error-text": text}]}

    def report(self, update: Update, at: float) -> Post:
        fields = {
            "msisdn": update.recipient,
            "to": update.sender,
            "network-code": "334020",
            "messageId": update.id,
            "price": "0.03",
            "status": _STATES[update.state],
            "scts": strftime("%y%m%d%H%M", gmtime(at)),
            "err-code": update.code if update.state == "failed" else "0",
            "message-timestamp": strftime("%Y-%m-%d %H:%M:%S", gmtime(at)),
        }
        if update.reference:
            fields["client-ref"] = update.reference
        return self._signed(update.url or self.webhook_url, fields, at)

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        fields = {
            "msisdn": sender,
            "to": recipient,
            "messageId": self.new_id(Submitted(sender, recipient)),
            "text": text,
            "type": "text" if text.isascii() else "unicode",
            "keyword": text.partition(" ")[0].upper(),
            "message-timestamp": strftime("%Y-%m-%d %H:%M:%S", gmtime(at)),
            **{name: str(value) for name, value in message.items()},
        }
        return self._signed(self.webhook_url, fields, at)

    def _knows(self, fields: dict[str, str]) -> bool:
        account = self.account
        if "sig" in fields:
            given, expected = fields["sig"].lower(), signing.vonage(account.signing_secret, fields, self._scheme())
            return given == expected.lower() and fields.get("api_key") == account.user
        return (fields.get("api_key"), fields.get("api_secret")) == (account.user, account.secret)

    def _scheme(self) -> signing.VonageScheme:
        scheme = self.account.scheme
        return "md5hash" if scheme in ("", "jwt") else cast("signing.VonageScheme", scheme)

    def _signed(self, url: str, fields: dict[str, str], at: float) -> Post:
        secret = self.account.signing_secret
        fields["api-key"] = self.account.user
        if self.account.scheme == "jwt":
            body = msgspec.json.encode(fields)
            token = signing.vonage_jwt(secret, body, int(at), f"{self._next_id():032x}", self.account.user)
            return Post(url, body, {"Content-Type": JSON, "Authorization": f"Bearer {token}"})
        fields |= {"timestamp": str(int(at)), "nonce": f"{self._next_id():032x}"}
        fields["sig"] = signing.vonage(secret, fields, self._scheme())
        return Post(url, urlencode(fields).encode(), {"Content-Type": "application/x-www-form-urlencoded"})
