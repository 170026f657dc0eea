"""A vendor that is nobody's: JSON of one message, plain answers, callbacks signed as Meta's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.simulators import signing
from gateway.simulators.end import JSON, Answer, Post, Request, Update
from gateway.simulators.script import Refusal
from gateway.simulators.vendors.vendor import Result, Submitted, Vendor, digits

__all__ = ["Generic"]


class _Message(msgspec.Struct):
    to: str
    sender: str = msgspec.field(name="from", default="")
    reference: str = ""
    callback: str = ""


class Generic(Vendor):
    """Any path takes `{"to", "from", "reference", "callback", …}` with a bearer token and answers
    `{"id", "status": "accepted"}`, or 400 and `{"status": "rejected", "code", "message"}`."""

    kind = "generic"

    def authorised(self, request: Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.account.secret}"

    def read(self, request: Request) -> list[Submitted]:
        message = msgspec.json.decode(request.body, type=_Message)
        return [Submitted(message.sender, digits(message.to), message.reference, message.callback)]

    def refuses_all(self, refusal: Refusal) -> bool:
        return True

    def answer(self, results: Sequence[Result]) -> Answer:
        return Answer(200, msgspec.json.encode({"id": results[0].id, "status": "accepted"}))

    def error_body(self, status: int, refusal: Refusal) -> Any:
        return {"status": "rejected", "code": refusal.code, "message": refusal.detail or "refused"}

    def report(self, update: Update, at: float) -> Post:
        content = {"id": update.id, "reference": update.reference, "to": update.recipient, "status": update.state}
        return self._signed(update.url or self.webhook_url, content | {"code": update.code, "at": int(at)})

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        content = {"id": f"{self._next_id():032x}", "from": sender, "to": recipient, "text": text, "at": int(at)}
        return self._signed(self.webhook_url, content | dict(message))

    def _signed(self, url: str, content: Any) -> Post:
        body = msgspec.json.encode(content)
        return Post(
            url, body, {"Content-Type": JSON, "X-Signature-256": signing.hub(self.account.signing_secret, body)}
        )
