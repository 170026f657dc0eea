"""What Meta says of numbers, accounts, portfolios and templates, and what follows from it for what may be sent.

What is known is a set of *facts*: the last thing that was said of one property of one subject, and when. A later one takes the
place of an earlier one, in whatever order they come; `board.py` shares them. All times are Unix seconds of the wall clock, ours
or Meta's: two clocks that differ by more than lies between two contradictory facts would keep the wrong one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Literal

from msgspec import Struct

from gateway.errors import Disposition
from gateway.model import TrafficClass
from gateway.providers.contract import Change, Failure, Scope
from gateway.providers.whatsapp import RULES
from gateway.providers.whatsapp_hooks import limit_of

log = logging.getLogger("gateway.conditions")

Policy = Mapping[str, Mapping[TrafficClass, float]]
"""Share of a number's rate by quality and class, ours to choose; what is not named has all of it."""

_LEVELS = {"STANDARD": 80.0, "HIGH": 1000.0}
"""Messages a second (META/throughput). That a number shares with the Business app, 20, no level tells: its contract does."""

_EVER = 1e15
"""Until when something holds that nobody lifts: JSON knows no infinity."""
_HOUR = 3600.0
_DAY = 24 * _HOUR
_UNSAID_S = _DAY
"""How long something holds where Meta does not say: then one message finds out."""
# META/templates/template-pausing, META/webhooks/reference/message_template_status_update. What is paused by pacing waits for a
# person, as does what is reviewed. The others (FLAGGED, LOCKED, REINSTATED, LIMIT_EXCEEDED …) say that it can be sent.
_TEMPLATE_HOLDS = {
    "FIRST_PAUSE": 3 * _HOUR,
    "SECOND_PAUSE": 6 * _HOUR,
    "RATE_LIMITING_PAUSE": _UNSAID_S,
    "UNPAUSE": 0.0,
    "PAUSED": 3 * _HOUR,
    "PENDING": _UNSAID_S,
    "IN_APPEAL": _UNSAID_S,
    "ARCHIVED": _UNSAID_S,
    **dict.fromkeys(("DISABLED", "REJECTED", "DELETED", "PENDING_DELETION"), _EVER),
}
_AGAIN_S = 8 * _DAY
"""Meta says again for seven days what was not answered (META/webhooks/overview): what would be older was not said then."""
_REFUSAL_S = 600.0
_SPAM_CODE = "131048"
_REFUSALS = {"132016": _EVER, _SPAM_CODE: _HOUR}
"""Seconds by code where the failure does not say; of the spam limit (131048) none are published."""
_PROBE_S = _HOUR
_PROBE_SHARE = 0.1
"""Of its rate, for a number whose hour is over: it may not be for Meta, and what is too fast then counts against it again."""
_TEMPLATES = "restriction:RESTRICTED_BIZ_INITIATED_MESSAGING"
_REPLIES = "restriction:RESTRICTED_CUSTOMER_INITIATED_MESSAGING"
_UTILITY = "restriction:RATE_LIMITED_UTILITY_TEMPLATE_MESSAGING"
_UTILITY_CODE = "131064"
_ENDS = {"ACCOUNT_DELETED": _EVER, "ACCOUNT_OFFBOARDED": _EVER, "ACCOUNT_RECONNECTED": 0.0}
_OF_A_TOKEN = {"0", "3", "10", "33", "190", *map(str, range(200, 300)), "131005"}
"""What concerns a token and its permissions (META/support/error-codes): each process has its own, a restart brings another.
Of a number that a token may not see Graph says the same as of one that is gone (33)."""
_LASTING_STOPS = {str(code) for code, rule in RULES.items() if rule.disposition is Disposition.STOP} - _OF_A_TOKEN
"""What stops a number also after a restart: a proxy's `http:403`, or a word that is new, says nothing of the number."""
_POLLED = {"quality", "throughput", "display_phone_number", "limit"}
"""What is said again and again: that is news only once a day, unless it is another."""
NOTICES = {"event", "violation", "alert", "next_category", "error"}
"""What a person should read: what follows from most of it for what may be sent is not known here."""
_SAME_S = 60.0
"""A hold that is longer by less than this is no news: of a template that pauses, a window full of messages says so."""
_RATINGS = {"RED": 0, "YELLOW": 1}
_TROUBLED = {"FLAGGED", "LIMIT_EXCEEDED", "LOCKED"}
"""States of templates that hold nothing up, and that are no good news."""


class Whose(Struct, frozen=True):
    """What a lane has of Meta, and what its callbacks leave out: the portfolio, and whose template it is."""

    number: str
    """Its id, not its digits."""
    account: str
    """The id of its WhatsApp business account, or our name for it where nobody has said that."""
    portfolio: str


class State(Struct, frozen=True):
    """Whether something can be used. `until` is when to ask again of what is held, in Unix seconds, and infinite if gone."""

    standing: Literal["ok", "held", "gone"]
    until: float = 0.0
    reason: str = ""
    """In Meta's words: a status, a restriction, a code."""


OK = State("ok")


class Fact(Struct, array_like=True, frozen=True):
    """The last that was said of something: when, what, and until when that holds it up (0: it does not)."""

    at: float
    value: str
    until: float = 0.0


class News(Struct, frozen=True):
    """A fact that was not known, and whether it is bad news after what was known before."""

    fact: Fact
    bad: bool


Key = tuple[str, str]
"""Subject and property of a fact."""
Subject = dict[str, Fact]
_NOTHING: Subject = {}


class Conditions:
    """All facts, and what follows from them. Pure: `at` and `now` are Unix seconds."""

    def __init__(self) -> None:
        self._subjects: dict[str, Subject] = {}

    def facts(self) -> Iterator[tuple[Key, Fact]]:
        """Give all that is known."""
        return (((subject, what), fact) for subject, facts in self._subjects.items() for what, fact in facts.items())

    def learn(self, subject: str, what: str, fact: Fact) -> bool:
        """Take a fact in, unless a later one is known; whether it is news, which others have to be told."""
        facts = self._subjects.setdefault(subject, {})
        known = facts.get(what)
        if known is not None:
            if known.at > fact.at or known == fact:
                return False
            if what in _POLLED and known.value == fact.value and fact.at - known.at < _DAY:
                return False
        facts[what] = fact
        return True

    def fact(self, subject: str, what: str) -> Fact | None:
        return self._subjects.get(subject, _NOTHING).get(what)

    def quality(self, number: str) -> str:
        """Return GREEN, YELLOW or RED; UNKNOWN for a number of which nothing was said."""
        fact = self._of_number(number, "quality")
        return fact.value if fact else "UNKNOWN"

    def rate_of(self, number: str, class_: TrafficClass, contract: float, policy: Policy, now: float) -> float:
        """Messages a second for one class: of the contract, or of the number's level if that is less, what its quality leaves.

        After the spam limit little of that for a while.
        """
        level = self._of_number(number, "throughput")
        rate = min(contract, _level(level.value)) if level else contract
        refused = self._of_number(number, "refused")
        if refused and refused.value == _SPAM_CODE and now < refused.until + _PROBE_S:
            rate *= _PROBE_SHARE
        shares = policy.get(self.quality(number))
        return rate * shares.get(class_, 1.0) if shares else rate

    def limit(self, portfolio: str, default: int | None) -> int | None:
        """Recipients that a portfolio may reach in 24 hours, None for any number; `default` while nothing was said."""
        fact = self.fact(f"portfolio:{portfolio}", "limit")
        return limit_of(fact.value) if fact else default

    def number_state(self, whose: Whose, now: float, *, template: bool = True) -> State:
        """Say whether a number can send at all, and templates or what only goes in an open service window."""
        account = self._subjects.get(f"account:{whose.account}", _NOTHING)
        return _worst(
            now,
            self._of_number(whose.number, "refused"),
            account.get("event"),
            account.get("ban"),
            account.get(_TEMPLATES if template else _REPLIES),
        )

    def template_state(self, account: str, subject: str, now: float) -> State:
        """Say whether a template can be sent; `subject` is its name and language as `whatsapp.template_of` gives them."""
        facts = self._subjects.get(_template(account, subject))
        if facts is None:
            return OK
        status, refused = facts.get("status"), facts.get("refused")
        if refused and status and status.at > refused.at:
            refused = None  # what Meta has said since of the template itself
        category = facts.get("category")
        utility = self.fact(f"account:{account}", _UTILITY)
        if category is None or category.value != "UTILITY":
            utility = None
        return _worst(now, status, refused, utility)

    def stopped(self, number: str) -> str:
        """Return the code for which nothing is to be sent until a person has looked; empty if there is none."""
        fact = self.fact(f"number:{number}", "stopped")
        return fact.value if fact else ""

    def changed(self, changes: Iterable[Change], whose: Whose, at: float) -> dict[Key, News]:
        """Take in what a callback or the health of a number says; returns what is news.

        `at` is when the callback came, which counts where that does not say itself when it was, or when the question about
        the health was sent. What is not kept (`NOTICES`, people's preferences) is for others.
        """
        news = {}
        for change in changes:
            subject, what, fact = _fact_of(change, whose, _said_at(change, at))
            before = self.fact(subject, what)
            if fact is not None and self.learn(subject, what, fact):
                news[subject, what] = News(fact, _is_bad(what, fact, before))
        return news

    def failed(self, failure: Failure, whose: Whose, template: str, at: float) -> dict[Key, News]:
        """Take in a refusal that asks to hold a template or the number, or to stop the number; returns what is news.

        `at` is when the message was written, not when it was answered: what a template was before it was approved again
        does not count. `template` is as in `template_state`. A stop that says nothing of the number is its process's alone.
        """
        if failure.disposition is Disposition.STOP:
            news = failure.code in _LASTING_STOPS and not self.stopped(whose.number)
            return self._stop(whose, Fact(at, failure.code), bad=True) if news else {}
        until = at + (_REFUSALS.get(failure.code, _REFUSAL_S) if failure.after is None else failure.after)
        if failure.scope is Scope.TEMPLATE and template:
            subject = _template(whose.account, template)
            state = self.template_state(whose.account, template, at)
            status = self.fact(subject, "status")
            if status and status.at > at:
                return {}
            utility = self.fact(f"account:{whose.account}", _UTILITY)
            if failure.code == _UTILITY_CODE and utility:
                until = max(until, utility.until)
        elif failure.scope is Scope.LANE:
            subject = f"number:{whose.number}"
            state = self.number_state(whose, at)
        else:
            return {}
        fact = Fact(at, failure.code, until)
        if until < state.until + _SAME_S or not self.learn(subject, "refused", fact):
            return {}
        return {(subject, "refused"): News(fact, bad=True)}

    def resumed(self, whose: Whose, at: float) -> dict[Key, News]:
        """A person has looked: the number is not stopped any more by what was said before; returns what is news."""
        return self._stop(whose, Fact(at, ""), bad=False) if self.stopped(whose.number) else {}

    def _stop(self, whose: Whose, fact: Fact, *, bad: bool) -> dict[Key, News]:
        key = f"number:{whose.number}", "stopped"
        return {key: News(fact, bad)} if self.learn(*key, fact) else {}

    def _of_number(self, number: str, what: str) -> Fact | None:
        """What was said last of a number by its id or, where callbacks do not know that, by its digits."""
        own = self._subjects.get(f"number:{number}", _NOTHING)
        fact = own.get(what)
        display = own.get("display_phone_number")
        other = self.fact(f"number:{display.value}", what) if display else None
        return other if other and (fact is None or other.at > fact.at) else fact


def _said_at(change: Change, at: float) -> float:
    """When Meta says that it was, if it can have been then; else when we heard of it."""
    return change.at if at - _AGAIN_S < change.at < at else at


def _fact_of(change: Change, whose: Whose, at: float) -> tuple[str, str, Fact | None]:
    """Return subject, property and fact of a change, which is None for what is not kept."""
    subject, what, value, detail = change.subject, change.what, change.value, change.detail
    kind = subject.partition(":")[0]
    if kind == "number" and what in _POLLED:
        return subject, what, Fact(at, value)
    if kind == "portfolio" and what == "limit" and _is_limit(value):
        return f"portfolio:{whose.portfolio}", what, Fact(at, value)
    if kind == "template" and what == "status":
        hold = _TEMPLATE_HOLDS.get(detail, _TEMPLATE_HOLDS.get(value, 0.0))
        return (
            _template(whose.account, subject),
            what,
            Fact(at, f"{value} {detail}".strip(), at + hold if hold else 0.0),
        )
    if kind == "template" and what in {"category", "quality"}:
        return _template(whose.account, subject), what, Fact(at, value)
    account = f"account:{whose.account}"
    if kind == "account" and what == "restriction":
        return account, f"restriction:{value}", Fact(at, value, _unix(detail) or at + _UNSAID_S)
    if kind == "account" and what == "ban":
        return account, what, Fact(at, value, _EVER if value == "DISABLE" else 0.0)
    if kind == "account" and what == "event" and value in _ENDS:
        return account, what, Fact(at, value, _ENDS[value])
    return subject, what, None


def _is_bad(what: str, fact: Fact, before: Fact | None) -> bool:
    """Whether something is held up, or is worse than it was."""
    if fact.until > fact.at:
        return True
    if what == "status":
        return fact.value.partition(" ")[0] in _TROUBLED
    if what == "category":
        # It costs more, and people get only so many; of one that always was of it every change of its status says so.
        return fact.value == "MARKETING" and (before is None or before.value != "MARKETING")
    if what == "quality":
        return _RATINGS.get(fact.value, 2) < (_RATINGS.get(before.value, 2) if before else 2)
    if before is None:
        return False
    if what == "throughput":
        return _level(fact.value) < _level(before.value)
    return what == "limit" and (limit_of(fact.value) or inf) < (limit_of(before.value) or inf)


def _worst(now: float, *facts: Fact | None) -> State:
    worst = max((fact for fact in facts if fact and fact.until > now), key=lambda fact: fact.until, default=None)
    if worst is None:
        return OK
    return State("gone", inf, worst.value) if worst.until >= _EVER else State("held", worst.until, worst.value)


def _template(account: str, subject: str) -> str:
    """Names of templates are unique in an account."""
    return f"account:{account}/{subject}"


def _level(value: str) -> float:
    return float(value) if value.isdecimal() else _LEVELS.get(value, inf)


def _is_limit(value: str) -> bool:
    try:
        limit_of(value)
    except ValueError:
        log.error("a messaging limit that cannot be read, the last one stays value=%.32s", value)
        return False
    return True


def _unix(expiration: str) -> float:
    """When a restriction ends: Unix seconds as documented, or ISO 8601 as seen; 0 if it cannot be read."""
    if expiration.isdecimal():
        return float(expiration)
    try:
        time = datetime.fromisoformat(expiration)
    except ValueError:
        return 0.0
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
