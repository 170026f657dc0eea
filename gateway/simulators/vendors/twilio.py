"""Twilio: form requests with one recipient; messages and calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from time import gmtime, strftime
from typing import Any
from urllib.parse import urlencode

import msgspec

from gateway.simulators import signing
from gateway.simulators.end import Answer, Post, Request, Update
from gateway.simulators.script import Refusal
from gateway.simulators.vendors.vendor import NoSuchPath, Result, Submitted, Vendor, digits, form, is_status

__all__ = ["Twilio"]

_STATUSES = {"20003": 401, "20429": 429}
_TITLES = {
    "20003": "Authenticate",
    "20429": "Too many requests",
    "21211": "Invalid 'To' Phone Number",
    "21610": "Attempt to send to unsubscribed recipient",
    "21611": "This 'From' number has exceeded the maximum number of queued messages",
    "21614": "'To' number is not a valid mobile number",
}
_CALL, _CALL_STATES = "call", {"sent": "ringing", "delivered": "completed"}
_MESSAGE_STATES = {"sent": "sent", "delivered": "delivered", "read": "read", "failed": "undelivered"}
_CALL_ENDS = frozenset(("busy", "no-answer", "canceled"))


class Twilio(Vendor):
    """A call that fails does so with its code as its status (busy, no-answer, canceled), or as `failed`; with the code
    `machine` it is completed, answered by one."""

    kind = "twilio"

    def read(self, request: Request) -> list[Submitted]:
        path = request.target.partition("?")[0].split("/")
        if len(path) != 4 or path[:2] != ["2010-04-01", "Accounts"] or request.method != "POST":
            raise NoSuchPath
        fields = form(request.body)
        url = fields.get("StatusCallback", "")
        if path[3] == "Calls.json":
            if not (fields.get("Url") or fields.get("Twiml")):
                raise ValueError("a call has a Url or Twiml")
            events = fields.get("StatusCallbackEvent", "completed")
            final_only = "ringing" not in events
            return [Submitted(fields["From"], digits(fields["To"]), "", url, "", final_only, _CALL)]
        if path[3] != "Messages.json":
            raise NoSuchPath
        if not any(fields.get(name) for name in ("Body", "MediaUrl", "ContentSid")):
            raise ValueError("a message has a Body, a MediaUrl or a ContentSid")
        if len(fields.get("Body", "")) > 1600:
            raise ValueError("Body has at most 1600 characters")
        return [Submitted(fields.get("From") or fields["MessagingServiceSid"], digits(fields["To"]), "", url)]

    def new_id(self, submitted: Submitted) -> str:
        return ("CA" if submitted.note == _CALL else "SM") + f"{self._next_id():032x}"

    def refuses_all(self, refusal: Refusal) -> bool:
        return True

    def status_of(self, code: str) -> int:
        return _STATUSES.get(code) or super().status_of(code)

    def answer(self, results: Sequence[Result]) -> Answer:
        (result,) = results
        one = result.submitted
        whole: dict[str, str | None] = {
            "sid": result.id,
            "account_sid": self.account.user,
            "from": one.sender,
            "to": f"+{one.recipient}",
            "status": "queued",
            "direction": "outbound-api",
            "api_version": "2010-04-01",
        }
        if one.note != _CALL:
            whole |= {"num_segments": "1", "error_code": None, "error_message": None}
        return Answer(201, msgspec.json.encode(whole))

    def error_body(self, status: int, refusal: Refusal) -> Any:
        code = (
            {401: "20003", 404: "20404", 429: "20429"}.get(status, "20001") if is_status(refusal.code) else refusal.code
        )
        return {
            "code": int(code),
            "message": refusal.detail or _TITLES.get(code, "Error"),
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        }

    def report(self, update: Update, at: float) -> Post:
        fields = {
            "AccountSid": self.account.user,
            "ApiVersion": "2010-04-01",
            "From": update.sender,
            "To": f"+{update.recipient}",
        }
        if update.note == _CALL:
            fields |= {"CallSid": update.id, "CallStatus": _CALL_STATES.get(update.state, "completed")}
            fields |= {"Timestamp": formatdate(at), "Direction": "outbound-api"}
            if update.state == "failed" and update.code == "machine":
                fields["AnsweredBy"] = "machine_start"
            elif update.state == "failed":
                fields["CallStatus"] = update.code if update.code in _CALL_ENDS else "failed"
        else:
            state = _MESSAGE_STATES[update.state]
            fields |= {"MessageSid": update.id, "MessageStatus": state, "SmsSid": update.id, "SmsStatus": state}
            if update.state == "failed":
                fields["ErrorCode"] = update.code
            elif update.state == "delivered":
                fields["RawDlrDoneDate"] = strftime("%y%m%d%H%M", gmtime(at))
        return self._signed(update.url or self.webhook_url, fields)

    def inbound(
        self, sender: str, recipient: str, text: str, message: Mapping[str, Any], now: float, at: float
    ) -> Post:
        fields = {
            "MessageSid": f"SM{self._next_id():032x}",
            "AccountSid": self.account.user,
            "From": f"+{sender}",
            "To": recipient,
            "Body": text,
            "NumMedia": "0",
            **{name: str(value) for name, value in message.items()},
        }
        return self._signed(self.webhook_url, fields)

    def _signed(self, url: str, fields: dict[str, str]) -> Post:
        url = url.partition("#")[0]  # how it is to connect is no part of where
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": signing.twilio(self.account.secret, url, fields),
        }
        return Post(url, urlencode(fields).encode(), headers)
