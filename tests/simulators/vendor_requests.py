"""The same message to each vendor, in its own shape."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

from gateway.simulators.behaviour import Behaviour
from gateway.simulators.end import Answer, Post, Request
from gateway.simulators.vendors import VENDORS, Vendor

HOOK = "http://127.0.0.1:1/hook"
BASIC = {"Authorization": "Basic " + base64.b64encode(b"recado:recado").decode()}
BEARER = {"Authorization": "Bearer recado"}
SMS = {"api_key": "recado", "api_secret": "recado", "from": "89000", "to": "573001234567", "client-ref": "gw-1"}
RCS = "v1/phones/+573001234567/agentMessages?messageId=gw-1&agentId=agent"


def encoded(content: Any) -> bytes:
    return json.dumps(content).encode()


def infobip(*recipients: str, **delivery: Any) -> bytes:
    destinations = [{"to": to, "messageId": f"gw-{n}"} for n, to in enumerate(recipients, 1)]
    hooks = {"delivery": {"url": f"{HOOK}/asked", **delivery}, "callbackData": "x"}
    return encoded(
        {
            "messages": [
                {"sender": "89000", "destinations": destinations, "content": {"text": "hola"}, "webhooks": hooks}
            ]
        }
    )


def aldeamo(*recipients: str) -> bytes:
    addressees = [{"mobile": to, "correlationLabel": f"gw-{n}"} for n, to in enumerate(recipients, 1)]
    return encoded({"country": "57", "message": "hola", "addresseeList": addressees})


def sinch(**more: Any) -> bytes:
    batch = {"from": "89000", "to": ["573001234567"], "body": "hola", "delivery_report": "per_recipient"}
    return encoded({**batch, "client_reference": "gw-1", **more})


TWILIO = "2010-04-01/Accounts/recado"
REQUESTS: dict[str, Request] = {
    "twilio": Request(
        "POST",
        f"{TWILIO}/Messages.json",
        BASIC,
        b"To=%2B573001234567&From=89000&Body=hola&StatusCallback=" + HOOK.encode(),
    ),
    "infobip": Request(
        "POST", "sms/3/messages", {"Authorization": "App recado"}, infobip("573001234567", intermediateReport=True)
    ),
    "vonage": Request("POST", "sms/json", {}, urlencode({**SMS, "text": "hola"}).encode()),
    "sinch": Request("POST", "xms/v1/plan/batches", BEARER, sinch()),
    "aldeamo": Request("POST", "SmsiWS/smsSendPost/", BASIC, aldeamo("3001234567")),
    "rbm": Request("POST", RCS, BEARER, encoded({"contentMessage": {"text": "hola"}})),
    "generic": Request("POST", "send", BEARER, encoded({"to": "+573001234567", "from": "89000", "reference": "gw-1"})),
}
"""The same message to each vendor."""


def vendor(kind: str, **behaviour: Any) -> Vendor:
    return VENDORS[kind](Behaviour(**behaviour), webhook_url=HOOK, first_id=41)


def ask(kind: str, body: bytes | None = None, **behaviour: Any) -> tuple[Vendor, Answer]:
    end, request = vendor(kind, **behaviour), REQUESTS[kind]
    if body is not None:
        request = Request(request.method, request.target, request.headers, body)
    return end, end.receive(request, 1.0)


def reported(end: Vendor, answer: Answer, at: float = 1_700_000_000.5) -> list[Post]:
    return end.reports([update for _, update in answer.updates], at)


def fields(post: Post) -> dict[str, str]:
    return dict(parse_qsl(post.body.decode(), keep_blank_values=True))
