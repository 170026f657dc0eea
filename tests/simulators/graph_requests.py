"""Requests to the simulated Graph API, and what its webhooks say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.simulators.end import Answer, Post, Request
from gateway.simulators.whatsapp import WhatsApp

NUMBER = "100000000000001"
TO = "+573001234567"
DAY = 86_400.0
TEXT = {"type": "text", "text": {"body": "hola"}}
TAP = {"type": "button", "button": {"payload": "P", "text": "t"}}
BUTTON = {"type": "reply", "reply": {"id": "1", "title": "Pagar"}}
ROW = {"id": "1", "title": "Pagar"}


def buttons(count: int, text: str = "x") -> dict[str, Any]:
    content = {"type": "button", "body": {"text": text}, "action": {"buttons": [BUTTON] * count}}
    return {"type": "interactive", "interactive": content}


def rows(count: int) -> dict[str, Any]:
    action = {"button": "Ver", "sections": [{"title": "a", "rows": [ROW] * count}] * 2}
    return {"type": "interactive", "interactive": {"type": "list", "body": {"text": "x"}, "action": action}}


def template(name: str = "payment_due", *parameters: Mapping[str, Any], language: str = "es_MX") -> dict[str, Any]:
    components = [{"type": "body", "parameters": list(parameters)}] if parameters else []
    return {"type": "template", "template": {"name": name, "language": {"code": language}, "components": components}}


def message(content: Mapping[str, Any] | None = None, to: str = TO, reference: str = "") -> dict[str, Any]:
    head = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": to}
    return {**head, **({"biz_opaque_callback_data": reference} if reference else {}), **(content or template())}


def submit(end: WhatsApp, content: Mapping[str, Any], now: float = 0.0, number: str = NUMBER) -> Answer:
    request = Request(
        "POST", f"v23.0/{number}/messages", {"Authorization": "Bearer recado"}, json.dumps(content).encode()
    )
    return end.receive(request, now)


def code(answer: Answer) -> int | None:
    error = json.loads(answer.body).get("error")
    return error["code"] if error else None


def changes(posts: list[Post]) -> list[tuple[str, Any]]:
    return [
        (change["field"], change["value"])
        for post in posts
        for entry in json.loads(post.body)["entry"]
        for change in entry["changes"]
    ]
