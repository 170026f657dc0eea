"""Aldeamo, an aggregator of Colombia and its neighbours. EXPERIMENTAL.

There is no public reference: this is what third-party integrations do. Receipts and throttling are only
in contracts, so that callbacks are refused, whatever they are, and a delivery stays unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.model import Message
from gateway.providers.contract import (
    Accepted,
    Call,
    Failure,
    Hook,
    Reading,
    Reply,
    Result,
    Unsendable,
    Unsigned,
    reference_of,
)
from gateway.providers.replies import REJECTED, Rule, Rules, by_status, read_json, whole_batch
from gateway.providers.requests import Keyed, basic, check_text, post_json
from gateway.tables import Secret

# The statuses of `failedRequests` are not public: a contract's own go here.
ERRORS: Rules = {}
UNLISTED: Rule = REJECTED

_SENT = 1


class AldeamoSettings(Struct, frozen=True, kw_only=True):
    """One account in one country."""

    user: str
    password: Secret
    # The calling code; the API takes national numbers.
    country: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,2}\Z", description='a calling code, such as "57"')] = "57"
    # A time-out leaves this many messages in doubt at once.
    batch: Annotated[int, Meta(ge=1, le=1000, description="messages in one request, from 1 to 1000")] = 1
    base_url: str = "https://apismsi.aldeamo.com"


class _Received(Struct, rename="camel"):
    mobile: str | int = ""
    transaction_id: str | int = ""


class _Failed(Struct):
    mobile: str | int = ""
    status: str | int = ""
    reason: str = ""


class _Outcome(Struct, rename="camel"):
    received_requests: list[_Received] = []
    failed_requests: list[_Failed] = []


class _Answer(Struct):
    status: str | int = ""
    reason: str = ""
    result: _Outcome | None = None


_decode_answer = msgspec.json.Decoder(_Answer)


class Aldeamo(Keyed):
    """One lane. Outcomes name the number and nothing else of ours."""

    idempotent = False

    def __init__(self, settings: AldeamoSettings) -> None:
        self.batch = settings.batch
        self._prefix = "+" + settings.country
        self._country = settings.country
        self._url = settings.base_url + "/SmsiWS/smsSendPost/"
        self._headers = basic(settings.user, settings.password.reveal())

    def prepare(self, message: Message) -> None:
        check_text(message)
        if not message.to.startswith(self._prefix):
            raise Unsendable("country", f"the lane sends only to {self._prefix}")

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        people = [
            {"mobile": self._national(message), "message": message.text, "correlationLabel": reference_of(message)}
            for message in messages
        ]
        return post_json(
            self._url,
            self._headers,
            {
                "country": self._country,
                # Everybody has a text of their own. Should theirs be ignored, nobody must get somebody else's.
                "message": messages[0].text if len(messages) == 1 else "",
                "encoding": "UTF-8",
                "messageFormat": 1,
                "addresseeList": people,
            },
        )

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """5xx is UNKNOWN: nothing is known of what they keep of a request that failed."""
        answer = read_json(_decode_answer, reply.body)
        if not 200 <= reply.status < 300 or answer is None:
            return whole_batch(messages, by_status(reply))
        if answer.result is None:
            if str(answer.status) in ("", str(_SENT)):
                return whole_batch(messages, by_status(reply))
            return whole_batch(messages, _refused(str(answer.status), answer.reason))
        accepted: dict[str, list[str]] = {}
        for each in answer.result.received_requests:
            accepted.setdefault(str(each.mobile), []).append(str(each.transaction_id))
        refused = {str(each.mobile): _refused(str(each.status), each.reason) for each in answer.result.failed_requests}
        results: list[Result] = []
        for message in messages:
            mobile = self._national(message)
            ids = accepted.get(mobile)
            if ids and mobile not in refused:
                results.append(Accepted(ids.pop(0)))
            elif ids is None and mobile in refused:
                results.append(refused[mobile])
            else:  # not named, or two messages to one number with different outcomes: which is which is not said
                results.append(by_status(reply))
        return results

    def verify(self, hook: Hook, now: float) -> None:
        raise Unsigned("callbacks of this provider are not supported")

    def receive(self, hook: Hook) -> Reading:
        raise ValueError("callbacks of this provider are not supported")

    def _national(self, message: Message) -> str:
        return message.to[len(self._prefix) :]


def _refused(status: str, reason: str) -> Failure:
    rule = ERRORS.get(status, UNLISTED)
    return Failure(rule[0], status, reason, scope=rule[1])
