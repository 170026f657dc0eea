"""What answers of providers have in common: how long to wait, and what an HTTP status says when nothing better does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from gateway.errors import Disposition
from gateway.providers.contract import Failure, Reply, Result, Scope

Rule = tuple[Disposition, Scope]
Rules = Mapping[str, Rule]
"""A provider's table: its code to what that asks for, and of whom. A code that is not in it goes by the HTTP status."""

STOP: Rule = (Disposition.STOP, Scope.LANE)
THROTTLED: Rule = (Disposition.THROTTLED, Scope.LANE)
RETRY: Rule = (Disposition.RETRY, Scope.LANE)
REROUTE: Rule = (Disposition.REROUTE, Scope.LANE)
REJECTED: Rule = (Disposition.REJECTED, Scope.LANE)
UNKNOWN: Rule = (Disposition.UNKNOWN, Scope.LANE)
REFUSED_PERSON: Rule = (Disposition.REJECTED, Scope.RECIPIENT)
RETRY_PERSON: Rule = (Disposition.RETRY, Scope.RECIPIENT)
REROUTE_PERSON: Rule = (Disposition.REROUTE, Scope.RECIPIENT)

# What is certain of each status by RFC 9110 §15 and RFC 6585 §4, where a provider says nothing else. A redirect (never
# followed), a wrong path or method and a missing payment are about the lane, not about the message.
_STATUSES: Mapping[int, Rule] = {
    401: STOP,
    402: STOP,
    403: STOP,
    404: STOP,
    405: STOP,
    407: STOP,
    408: RETRY,
    410: STOP,
    421: STOP,
    425: RETRY,
    429: THROTTLED,
}

_SECONDS = re.compile(r"[0-9]{1,9}")
MOST_S = 3600.0
"""The most that is waited because an answer says so: then it may say so again."""

T = TypeVar("T")


def read_json(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Decode an answer, or return None for one that is not what the decoder expects."""
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; the other is for brackets without end
        return None


def retry_after(value: str | None, now: float) -> float | None:
    """Return how many seconds `Retry-After` asks for (RFC 9110 §10.2.3: seconds or an HTTP-date), None for neither."""
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = _http_date(text)
    return None if until is None else max(0.0, until - now)


def wait(reply: Reply) -> float | None:
    """Return how many seconds an answer asks to wait, at most `MOST_S`.

    An HTTP-date is measured against the answer's own `Date`: both are of the server's clock, whatever ours says.
    """
    value = reply.headers.get("retry-after")
    if value is None:
        return None
    date = _http_date(reply.headers.get("date", ""))
    if date is None and not _SECONDS.fullmatch(value.strip()):
        return None
    seconds = retry_after(value, date or 0.0)
    return None if seconds is None else min(seconds, MOST_S)


def failure(rules: Rules, reply: Reply, code: str, text: str = "") -> Failure:
    """Say what a code asks for, or the status of its answer where the table has no such code."""
    if rule := rules.get(code):
        return Failure(rule[0], code, text, wait(reply), rule[1])
    return by_status(reply, code, text)


def by_status(reply: Reply, code: str = "", text: str = "") -> Failure:
    """Say what an HTTP status asks for when there is nothing else to go by.

    UNKNOWN for 5xx: a server that failed, or a proxy that lost it, may have accepted the message. Only 503 with a time to
    come back says that it looked at the request and turned it away. 2xx without an outcome is UNKNOWN as well.
    """
    status = reply.status
    after = wait(reply)
    if status == 503 and after is not None:
        rule = RETRY
    elif 300 <= status < 400:
        rule = STOP
    elif 400 <= status < 500:
        rule = _STATUSES.get(status, REJECTED)
    else:
        rule = UNKNOWN
    return Failure(rule[0], code or f"http:{status}", text, after, rule[1])


def whole_batch(messages: Sequence[object], refused: Failure) -> list[Result]:
    """Give every message of a refused request its outcome.

    What is wrong with one message of several must not fail the others: a REJECTED batch may be tried again, in other company.
    """
    if len(messages) > 1 and refused.disposition is Disposition.REJECTED:
        refused = msgspec.structs.replace(refused, disposition=Disposition.RETRY)
    return [refused] * len(messages)


def _http_date(text: str) -> float | None:
    try:
        moment: datetime = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
