"""What vendors of messages over HTTP have in common: a request carries messages, some are refused, the rest is reported on."""

from __future__ import annotations

from abc import abstractmethod
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from gateway.simulators.behaviour import Behaviour, Fault
from gateway.simulators.end import JSON, NOBODY, Answer, End, Post, Request, Update
from gateway.simulators.script import Refusal, Step

__all__ = ["Account", "NoSuchPath", "Result", "Submitted", "Vendor", "digits", "form", "is_status", "iso"]


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may use a vendor, and how its callbacks are signed; each vendor uses of it what it has."""

    user: str = NOBODY
    secret: str = NOBODY
    signing_secret: str = NOBODY
    scheme: str = ""
    """Where a vendor has several: of Vonage md5hash (default), md5, sha1, sha256, sha512, jwt."""

    def basic(self) -> str:
        return "Basic " + b64encode(f"{self.user}:{self.secret}".encode()).decode()


class Submitted(NamedTuple):
    """One message of a request; `id` is the client's choice, where it has one; `url` is for its callbacks."""

    sender: str
    recipient: str
    reference: str = ""
    url: str = ""
    id: str = ""
    final_only: bool = False
    """Only final states are reported."""
    note: str = ""


class Result(NamedTuple):
    submitted: Submitted
    id: str
    refusal: Refusal | None


class NoSuchPath(Exception):
    """A path of a vendor that takes no messages."""


class Vendor(End):
    """A subclass reads requests, writes answers and callbacks; nothing of it knows what time it is or what will happen."""

    kind: ClassVar[str]

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        account: Account | None = None,
        webhook_url: str = "",
        first_id: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(self.kind, behaviour, webhook_url, first_id, seed)
        self.account = account or Account()

    def receive(self, request: Request, now: float) -> Answer:
        special = self.special(request)
        if special is not None:
            return special
        if not self.authorised(request):
            return self.error(Refusal("401", detail="authentication failed"))
        self.record.counts.requests += 1
        try:
            submitted = self.read(request)
        except NoSuchPath:
            return self.error(Refusal("404", detail="no such path"))
        except (ValueError, LookupError, TypeError) as error:
            self.record.counts.malformed += 1
            return self.error(Refusal("400", detail=f"{type(error).__name__}: {error}"))
        fault = self.script.fault(submitted[0].recipient)
        if fault is not None:
            self.record.note_fault(fault)
            if not self.script.accepts_under(fault):
                for one in submitted:
                    self.record.add(now, one.sender, one.recipient, one.reference, fault)
                return Answer(200, fault=fault)
        return self._decide(submitted, fault, now)

    def _decide(self, submitted: Sequence[Submitted], fault: Fault | None, now: float) -> Answer:
        results = [Result(one, one.id or self.new_id(one), self.script.refusal(one.recipient)) for one in submitted]
        whole = next((one.refusal for one in results if one.refusal and self.refuses_all(one.refusal)), None)
        for one, _, refusal in results:
            final = whole or refusal
            self.record.add(now, one.sender, one.recipient, one.reference, final.code if final else "")
        if whole is not None:
            return self.error(whole, fault)
        answer = self.answer(results)
        answer.fault = fault
        answer.updates = [
            (step.after, self._update(result, step))
            for result in results
            if result.refusal is None and (result.submitted.url or self.webhook_url)
            for step in self.plan(result.submitted)
            if step.state != "sent" or not result.submitted.final_only
        ]
        return answer

    def _update(self, result: Result, step: Step) -> Update:
        one = result.submitted
        url = one.url or self.webhook_url
        return Update(result.id, step.state, one.sender, one.recipient, one.reference, step.code, url, one.note)

    def error(self, refusal: Refusal, fault: Fault | None = None) -> Answer:
        """The answer to a request of which nothing is accepted."""
        status = refusal.status or self.script.behaviour.error_status or self.status_of(refusal.code)
        headers = {"Retry-After": refusal.retry_after} if refusal.retry_after else {}
        return Answer(status, msgspec.json.encode(self.error_body(status, refusal)), headers=headers, fault=fault)

    def reports(self, updates: Sequence[Update], at: float) -> list[Post]:
        posts = (self.report(update, at) for update in updates)
        return [post for post in posts if post is not None]

    # What a vendor may have of its own.

    def special(self, request: Request) -> Answer | None:
        """The answer to a request that carries no messages."""
        return None

    def authorised(self, request: Request) -> bool:
        return request.headers.get("Authorization") == self.account.basic()

    def refuses_all(self, refusal: Refusal) -> bool:
        """Whether the code of one message is the answer to its whole request."""
        return is_status(refusal.code)

    def status_of(self, code: str) -> int:
        return int(code) if is_status(code) else 400

    def plan(self, submitted: Submitted) -> Sequence[Step]:
        return self.script.steps()

    def new_id(self, submitted: Submitted) -> str:
        return f"{self._next_id():032x}"

    @abstractmethod
    def read(self, request: Request) -> list[Submitted]:
        """The messages of a request, at least one. Raises NoSuchPath, ValueError or LookupError."""

    @abstractmethod
    def answer(self, results: Sequence[Result]) -> Answer:
        """The answer to a request that was not refused as a whole."""

    @abstractmethod
    def error_body(self, status: int, refusal: Refusal) -> Any: ...

    @abstractmethod
    def report(self, update: Update, at: float) -> Post | None:
        """The callback of one update; None where the vendor has none for it."""


def is_status(code: str) -> bool:
    """Whether a code is an HTTP status of failure, with which every vendor can refuse a request."""
    return len(code) == 3 and code.isdigit() and 400 <= int(code) <= 599


def digits(number: str) -> str:
    """A number as its digits, without `+` and without a channel such as `whatsapp:`. ValueError if it is none."""
    found = number.rpartition(":")[2].removeprefix("+")
    if not (found.isdecimal() and found.isascii() and len(found) <= 15):
        raise ValueError("a recipient is no number")
    return found


def form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def iso(at: float) -> str:
    """Milliseconds and an offset: 2026-11-21T23:00:00.000+0000."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(at * 1000) % 1000:03}+0000"


def json_post(url: str, content: Any, headers: dict[str, str] | None = None, size: int = 1) -> Post:
    return Post(url, msgspec.json.encode(content), {"Content-Type": JSON, **(headers or {})}, size)
