"""Aldeamo: a list of national numbers, of which some may fail inside a 200. Its receipts are not public, so it sends none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.simulators.end import Answer, Post, Request, Update
from gateway.simulators.script import Refusal
from gateway.simulators.vendors.vendor import NoSuchPath, Result, Submitted, Vendor, digits

__all__ = ["Aldeamo"]


class _Addressee(msgspec.Struct):
    mobile: str
    message: str = ""
    correlationLabel: str = ""  # noqa: N815 - as in the request


class _Request(msgspec.Struct):
    country: str
    addresseeList: list[_Addressee]  # noqa: N815
    message: str = ""


class Aldeamo(Vendor):
    """Codes are the `status` of a failed request in the list."""

    kind = "aldeamo"

    def read(self, request: Request) -> list[Submitted]:
        if request.target.rstrip("/") != "SmsiWS/smsSendPost" or request.method != "POST":
            raise NoSuchPath
        asked = msgspec.json.decode(request.body, type=_Request)
        if not asked.addresseeList or not all(one.message or asked.message for one in asked.addresseeList):
            raise ValueError("no addressees, or one without a message")
        return [
            Submitted("", digits(asked.country + one.mobile), one.correlationLabel, note=one.mobile)
            for one in asked.addresseeList
        ]

    def new_id(self, submitted: Submitted) -> str:
        return str(self._next_id())

    def answer(self, results: Sequence[Result]) -> Answer:
        received = [
            {"mobile": result.submitted.note, "transactionId": int(result.id)}
            for result in results
            if result.refusal is None
        ]
        failed = [
            {"mobile": result.submitted.note, "status": _number(result.refusal.code), "reason": "refused"}
            for result in results
            if result.refusal is not None
        ]
        result = {"receivedRequests": received, "failedRequests": failed}
        return Answer(200, msgspec.json.encode({"status": 1, "reason": "Created", "result": result}))

    def error_body(self, status: int, refusal: Refusal) -> Any:
        return {"status": -1, "reason": refusal.detail or "refused"}

    def report(self, update: Update, at: float) -> Post | None:
        return None

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        raise ValueError("what Aldeamo sends is not known")


def _number(code: str) -> int | str:
    return int(code) if code.lstrip("-").isdigit() else code
