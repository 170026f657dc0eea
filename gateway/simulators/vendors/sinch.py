"""Sinch's SMS API: a batch of recipients with one id, reported on one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.simulators import signing
from gateway.simulators.end import JSON, Answer, Post, Request, Update
from gateway.simulators.script import Refusal
from gateway.simulators.vendors.vendor import NoSuchPath, Result, Submitted, Vendor, digits, iso

__all__ = ["Sinch"]

_STATES = {
    "sent": ("Dispatched", 401),
    "delivered": ("Delivered", 0),
    "read": ("Delivered", 0),
    "failed": ("Failed", 402),
}
_FAILURES = frozenset(("Expired", "Rejected", "Aborted", "Cancelled", "Deleted", "Unknown"))


class _Batch(msgspec.Struct):
    to: list[str]
    body: str
    sender: str = msgspec.field(name="from", default="")
    delivery_report: str = "none"
    callback_url: str = ""
    client_reference: str = ""


class Sinch(Vendor):
    """A failure's code is its number (402 …), or the status that stands for it: Expired, Rejected …"""

    kind = "sinch"

    def authorised(self, request: Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.account.secret}"

    def read(self, request: Request) -> list[Submitted]:
        path = request.target.split("/")
        if len(path) != 4 or path[:2] != ["xms", "v1"] or path[3] != "batches" or request.method != "POST":
            raise NoSuchPath
        batch = msgspec.json.decode(request.body, type=_Batch)
        if not batch.to:
            raise ValueError("to is empty")
        final_only = batch.delivery_report != "per_recipient"
        batch_id = f"{self._next_id():026}"
        return [
            Submitted(
                batch.sender,
                digits(to),
                batch.client_reference,
                batch.callback_url,
                batch_id,
                final_only,
                batch.delivery_report,
            )
            for to in batch.to
        ]

    def refuses_all(self, refusal: Refusal) -> bool:
        return True

    def answer(self, results: Sequence[Result]) -> Answer:
        first = results[0]
        to = [result.submitted.recipient for result in results]
        whole = {"id": first.id, "to": to, "from": first.submitted.sender, "canceled": False, "type": "mt_text"}
        if first.submitted.reference:
            whole["client_reference"] = first.submitted.reference
        return Answer(201, msgspec.json.encode(whole))

    def error_body(self, status: int, refusal: Refusal) -> Any:
        return {"code": refusal.code, "text": refusal.detail or "refused"}

    def report(self, update: Update, at: float) -> Post | None:
        if update.note == "none":
            return None
        status, code = _STATES[update.state]
        if update.state == "failed" and update.code.isdigit():
            code = int(update.code)
        elif update.state == "failed" and update.code in _FAILURES:
            status = update.code
        content = {
            "type": "recipient_delivery_report_sms",
            "batch_id": update.id,
            "recipient": update.recipient,
            "code": code,
            "status": status,
            "at": iso(at),
            "operator": "334020",
        }
        if update.reference:
            content["client_reference"] = update.reference
        return self._signed(update.url or self.webhook_url, content, at)

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        content = {"type": "mo_text", "id": f"{self._next_id():026}", "from": sender, "to": recipient, "body": text}
        return self._signed(self.webhook_url, content | {"received_at": iso(at), **message}, at)

    def tries_again(self, status: int) -> bool:
        return status in (0, 429) or status >= 500

    def _signed(self, url: str, content: Any, at: float) -> Post:
        body = msgspec.json.encode(content)
        nonce, timestamp = f"{self._next_id():026}", str(int(at))
        headers = {
            "Content-Type": JSON,
            "x-sinch-webhook-signature": signing.sinch(self.account.signing_secret, body, nonce, timestamp),
            "x-sinch-webhook-signature-nonce": nonce,
            "x-sinch-webhook-signature-timestamp": timestamp,
            "x-sinch-webhook-signature-algorithm": "HmacSHA256",
        }
        return Post(url, body, headers)
