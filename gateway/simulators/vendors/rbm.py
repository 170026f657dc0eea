"""Google's RCS Business Messaging: the client names a message, so that sending it again changes nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from gateway.simulators import signing
from gateway.simulators.end import JSON, Answer, Post, Request, Update
from gateway.simulators.script import Refusal, Step
from gateway.simulators.vendors.vendor import NoSuchPath, Result, Submitted, Vendor, digits, form

__all__ = ["Rbm"]

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_EVENTS = {"delivered": "DELIVERED", "read": "READ"}
_TOKEN_LIFE_S = 3600
_MAX_BATCH = 10_000
_CONTENTS = frozenset(("text", "richCard", "contentInfo", "uploadedRbmFile"))


class _Batch(msgspec.Struct):
    users: list[str]
    agentId: str  # noqa: N815 - as in the request


class _AgentMessage(msgspec.Struct):
    contentMessage: dict[str, msgspec.Raw]  # noqa: N815 - as in the request


class Rbm(Vendor):
    """POST token grants the account's secret as a token, for whatever assertion or credentials.

    Codes are HTTP statuses: with `rejected = {"<digits>": "404"}` a person is not reachable, for the capability endpoints too.
    A failure is TTL_EXPIRATION_REVOKED, or with that code TTL_EXPIRATION_REVOKE_FAILED.
    """

    kind = "rbm"

    def special(self, request: Request) -> Answer | None:
        path, _, query = request.target.partition("?")
        if path == "token":
            return self._token(request)
        steps = unquote(path).split("/")
        single = request.method == "GET" and len(steps) == 4 and steps[-1] == "capabilities"
        if not (single or (request.method == "POST" and path == "v1/users:batchGet")) or not self.authorised(request):
            return None
        try:
            return self._capabilities(steps[2], parse_qs(query)) if single else self._reachable(request.body)
        except (ValueError, LookupError) as error:
            return self.error(Refusal("400", detail=f"{type(error).__name__}: {error}"))

    def _capabilities(self, user: str, asked: Mapping[str, Sequence[str]]) -> Answer:
        if not {"requestId", "agentId"} <= asked.keys():
            raise ValueError("requestId and agentId are required")
        if self._unreachable(digits(user)):
            return self.error(Refusal("404"))
        features = ["RICHCARD_STANDALONE", "RICHCARD_CAROUSEL", "ACTION_OPEN_URL", "ACTION_DIAL"]
        return Answer(200, msgspec.json.encode({"features": features}))

    def _reachable(self, body: bytes) -> Answer:
        """As proto3's JSON has it, a list of nobody is left out."""
        users = msgspec.json.decode(body, type=_Batch).users
        if len(users) > _MAX_BATCH:
            raise ValueError("too many users")
        reachable = [user for user in users if not self._unreachable(digits(user))]
        return Answer(200, msgspec.json.encode({"reachableUsers": reachable} if reachable else {}))

    def authorised(self, request: Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.account.secret}"

    def read(self, request: Request) -> list[Submitted]:
        path, _, query = request.target.partition("?")
        steps = unquote(path).split("/")
        if len(steps) != 4 or steps[:2] != ["v1", "phones"] or steps[3] != "agentMessages" or request.method != "POST":
            raise NoSuchPath
        asked = parse_qs(query)
        message_id, agent = asked["messageId"][0], asked["agentId"][0]
        content = msgspec.json.decode(request.body, type=_AgentMessage).contentMessage
        if len(_CONTENTS & content.keys()) != 1:
            raise ValueError("contentMessage has one of text, richCard, contentInfo")
        return [Submitted(agent, digits(steps[2]), message_id, id=message_id, note=request.body.decode())]

    def refuses_all(self, refusal: Refusal) -> bool:
        return True

    def plan(self, submitted: Submitted) -> Sequence[Step]:
        # An id that was used before is ignored (reference/rest/v1/phones.agentMessages/create).
        return [] if self.record.copies(submitted.id) > 1 else super().plan(submitted)

    def answer(self, results: Sequence[Result]) -> Answer:
        (result,) = results
        one = result.submitted
        whole = msgspec.json.decode(one.note, type=dict[str, Any])
        name = f"phones/+{one.recipient}/agentMessages/{result.id}"
        return Answer(200, msgspec.json.encode({"name": name, **whole}))

    def error_body(self, status: int, refusal: Refusal) -> Any:
        name = _STATUSES.get(status, "UNKNOWN")
        return {"error": {"code": status, "message": refusal.detail or name, "status": name}}

    def report(self, update: Update, at: float) -> Post | None:
        event: dict[str, Any] = {"messageId": update.id, "agentId": update.sender, "sendTime": _time(at)}
        event["eventId"] = f"{self._next_id():032x}"
        if update.state in _EVENTS:
            event |= {"senderPhoneNumber": f"+{update.recipient}", "eventType": _EVENTS[update.state]}
        elif update.state == "failed":
            failed = "TTL_EXPIRATION_REVOKE_FAILED"
            kind = failed if update.code == failed else "TTL_EXPIRATION_REVOKED"
            event |= {"phoneNumber": f"+{update.recipient}", "eventType": kind}
        else:
            return None
        return self._signed(event)

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        event: dict[str, Any] = {"senderPhoneNumber": f"+{sender}", "messageId": f"{self._next_id():032x}"}
        event |= {"sendTime": _time(at), "agentId": recipient, **(message or {"text": text})}
        return self._signed(event)

    def _token(self, request: Request) -> Answer:
        asked = form(request.body)
        if request.method != "POST" or not asked.get("grant_type"):
            return Answer(400, msgspec.json.encode({"error": "unsupported_grant_type"}))
        granted = {"access_token": self.account.secret, "expires_in": _TOKEN_LIFE_S, "token_type": "Bearer"}
        return Answer(200, msgspec.json.encode(granted))

    def _unreachable(self, recipient: str) -> bool:
        return self.script.behaviour.rejected.get(recipient) == "404"

    def _signed(self, event: Mapping[str, Any]) -> Post:
        decoded = msgspec.json.encode(event)
        content = {"message": {"data": b64encode(decoded).decode(), "messageId": str(self._next_id())}}
        headers = {"Content-Type": JSON, "X-Goog-Signature": signing.goog(self.account.signing_secret, decoded)}
        return Post(self.webhook_url, msgspec.json.encode(content), headers)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
