"""Infobip: many messages in one request, each with several destinations; what became of each is told inside a 200."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.simulators.end import Answer, Post, Request, Update
from gateway.simulators.script import Refusal, Step
from gateway.simulators.vendors.vendor import NoSuchPath, Result, Submitted, Vendor, digits, iso, json_post

__all__ = ["Infobip"]

_MAX_BATCH = 100
_GROUPS = {1: "PENDING", 2: "UNDELIVERABLE", 3: "DELIVERED", 4: "EXPIRED", 5: "REJECTED"}
_STATUSES = {
    "PENDING_ACCEPTED": (1, 26),
    "UNDELIVERABLE_REJECTED_OPERATOR": (2, 4),
    "UNDELIVERABLE_NOT_DELIVERED": (2, 9),
    "DELIVERED_TO_OPERATOR": (3, 2),
    "DELIVERED_TO_HANDSET": (3, 5),
    "EXPIRED_EXPIRED": (4, 15),
    "REJECTED_NETWORK": (5, 6),
    "REJECTED_PREFIX_MISSING": (5, 8),
    "REJECTED_DND": (5, 10),
    "REJECTED_SOURCE": (5, 11),
    "REJECTED_NOT_ENOUGH_CREDITS": (5, 12),
    "REJECTED_SENDER": (5, 13),
    "REJECTED_DESTINATION": (5, 14),
}
_STATES = {"sent": "DELIVERED_TO_OPERATOR", "delivered": "DELIVERED_TO_HANDSET", "read": "DELIVERED_TO_HANDSET"}


class _Destination(msgspec.Struct):
    to: str
    messageId: str = ""  # noqa: N815 - as in the request


class _Content(msgspec.Struct):
    text: str


class _Delivery(msgspec.Struct, frozen=True):
    url: str = ""


class _Webhooks(msgspec.Struct, frozen=True):
    delivery: _Delivery = _Delivery()
    callbackData: str = ""  # noqa: N815


class _Message(msgspec.Struct):
    destinations: list[_Destination]
    content: _Content
    sender: str = ""
    webhooks: _Webhooks = _Webhooks()


class _Request(msgspec.Struct):
    messages: list[_Message]


class Infobip(Vendor):
    """Codes are names of statuses: REJECTED_DESTINATION, UNDELIVERABLE_NOT_DELIVERED …; unknown ones are of the group
    REJECTED."""

    kind = "infobip"

    def authorised(self, request: Request) -> bool:
        return request.headers.get("Authorization") == f"App {self.account.secret}"

    def read(self, request: Request) -> list[Submitted]:
        if request.target != "sms/3/messages" or request.method != "POST":
            raise NoSuchPath
        found = []
        for message in msgspec.json.decode(request.body, type=_Request).messages:
            hooks = message.webhooks
            found += [
                Submitted(
                    message.sender,
                    digits(one.to),
                    one.messageId,
                    hooks.delivery.url,
                    one.messageId,
                    note=hooks.callbackData,
                )
                for one in message.destinations
            ]
        if not found:
            raise ValueError("no destinations")
        return found

    def plan(self, submitted: Submitted) -> Sequence[Step]:
        """Operators have a message first, also one that then fails; that is told although only final reports are asked for."""
        steps = self.script.steps()
        return [Step(0.0, "sent"), *steps] if steps and all(step.state == "failed" for step in steps) else steps

    def answer(self, results: Sequence[Result]) -> Answer:
        messages = [
            {
                "messageId": result.id,
                "destination": result.submitted.recipient,
                "status": _status(result.refusal.code if result.refusal else "PENDING_ACCEPTED"),
            }
            for result in results
        ]
        return Answer(200, msgspec.json.encode({"bulkId": f"{self._next_id():020}", "messages": messages}))

    def error_body(self, status: int, refusal: Refusal) -> Any:
        name = {400: "BAD_REQUEST", 401: "UNAUTHORIZED", 404: "NOT_FOUND", 429: "TOO_MANY_REQUESTS"}.get(
            status, "ERROR"
        )
        return {"requestError": {"serviceException": {"messageId": name, "text": refusal.detail or name}}}

    def reports(self, updates: Sequence[Update], at: float) -> list[Post]:
        batch = min(self.script.behaviour.callback_batch, _MAX_BATCH)
        by_url: dict[str, list[Update]] = {}
        for update in updates:
            by_url.setdefault(update.url or self.webhook_url, []).append(update)
        return [
            self._post(url, {"results": [_result(update, at) for update in chunk]}, len(chunk))
            for url, all_updates in by_url.items()
            for chunk in (all_updates[start : start + batch] for start in range(0, len(all_updates), batch))
        ]

    def report(self, update: Update, at: float) -> Post | None:
        return self.reports([update], at)[0]

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        result: dict[str, Any] = {
            "messageId": f"{self._next_id():020}",
            "from": sender,
            "to": recipient,
            "text": text,
            "cleanText": text,
        }
        result |= {"keyword": "", "receivedAt": iso(at), "smsCount": 1, **message}
        return self._post(self.webhook_url, {"results": [result], "messageCount": 1, "pendingMessageCount": 0}, 1)

    def _post(self, url: str, content: Any, size: int) -> Post:
        """As the portal sends it that was told a name and a password."""
        return json_post(url, content, {"Authorization": self.account.basic()}, size)


def _status(name: str) -> dict[str, Any]:
    group, number = _STATUSES.get(name, (5, 51))
    return {"groupId": group, "groupName": _GROUPS[group], "id": number, "name": name, "description": name.capitalize()}


def _result(update: Update, at: float) -> dict[str, Any]:
    failed = update.state == "failed"
    result: dict[str, Any] = {
        "messageId": update.id,
        "to": update.recipient,
        "sentAt": iso(at),
        "doneAt": iso(at),
        "messageCount": 1,
        "mccMnc": "334020",
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "status": _status(update.code if failed else _STATES[update.state]),
        "error": {"groupId": 1 if failed else 0, "name": "EC_ERROR" if failed else "NO_ERROR", "permanent": failed},
    }
    return result | ({"callbackData": update.note} if update.note else {})
