"""Answers of a generic provider: what became of each message of a request, by the paths and rules of a vendor's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec.structs import replace

from gateway.errors import Disposition
from gateway.model import Message
from gateway.providers import replies
from gateway.providers.contract import Accepted, Failure, Reply, Result
from gateway.providers.generic_config import Match, ReplyShape, Rule, Wait
from gateway.providers.generic_request import Compiler
from gateway.providers.paths import Condition, Document, FirstOf, Test, compile_condition, pattern
from gateway.providers.placeholders import Filler

_decode = msgspec.json.Decoder()
_SLOWED = (Disposition.RETRY, Disposition.THROTTLED)


def compile_conditions(compiler: Compiler, conditions: Sequence[Condition], where: str) -> list[Test]:
    """Compile conditions, each under its own index."""
    return [_compiled(compiler, condition, f"{where}[{index}]") for index, condition in enumerate(conditions)]


def _compiled(compiler: Compiler, condition: Condition, where: str) -> Test:
    return compiler.attempt(where, lambda: compile_condition(condition), _never)


_never: Test = lambda document: False  # noqa: E731


class Rules:
    """The ordered rules of a vendor: the first whose condition holds says what a failure asks for."""

    def __init__(self, compiler: Compiler, rules: Sequence[Rule], where: str) -> None:
        tests = compile_conditions(compiler, rules, where)
        waits = [
            _waiter(compiler, rule.wait, f"{where}[{index}].wait") if rule.wait else None
            for index, rule in enumerate(rules)
        ]
        self._rules = [
            (
                test,
                rule,
                wait,
                compiler.place(rule.code, f"{where}[{at}].code"),
                compiler.place(rule.text, f"{where}[{at}].text"),
            )
            for at, (test, rule, wait) in enumerate(zip(tests, rules, waits, strict=True))
        ]

    def judge(self, document: Document, code: str, text: str) -> Failure | Literal["accepted"] | None:
        """Return what the first fitting rule makes of a document, or None when none fits."""
        for test, rule, wait, own_code, own_text in self._rules:
            if test(document):
                if rule.then == "accepted":
                    return rule.then
                return Failure(
                    Disposition(rule.then),
                    text_in(own_code, document) or code,
                    text_in(own_text, document) or text,
                    wait(document) if wait else None,
                    rule.scope,
                    rule.attempts,
                )
        return None


def _waiter(compiler: Compiler, wait: Wait, where: str) -> Callable[[Document], float | None]:
    path = compiler.place(wait.path, f"{where}.path")
    search = compiler.attempt(f"{where}.matches", lambda: pattern(wait.matches, groups=1), pattern("()")).search

    def read(document: Document) -> float | None:
        found = search(text_in(path, document))
        try:
            return min(replies.MOST_S, max(0.0, float(found[1]) * wait.unit_s)) if found else None
        except (TypeError, ValueError):  # a group that took no part, or no number
            return None

    return read


def text_in(path: FirstOf | None, document: Document) -> str:
    """Return what is at a path as text; empty where there is no path or nothing at it."""
    return path.text_in(document) if path else ""


class Matcher:
    """Sorts the results of an answer to the messages that they are about."""

    def __init__(self, compiler: Compiler, match: Match | None, where: str) -> None:
        self._path = compiler.place(match.path, f"{where}.path") if match else None
        self._is = compiler.template(match.is_ if match else "", f"{where}.is")
        self._filler = Filler(self._is.names, compiler.account.sender)

    def sort(self, messages: Sequence[Message], results: Sequence[Document]) -> list[list[Document]]:
        """Return the results of each message, in the order of messages.

        One message has several where the provider counts SMS. Several messages and as many results with nothing to tell
        them apart stand in the same order; any other number says nothing certain, and nobody gets a result.
        """
        ours: dict[str, list[int]] = {}
        for index, message in enumerate(messages):
            ours.setdefault(self._is.text(self._filler.fill(message, 0.0)) or "", []).append(index)
        theirs: dict[str, list[Document]] = {}
        for result in results:
            theirs.setdefault(text_in(self._path, result), []).append(result)
        sorted_: list[list[Document]] = [[] for _ in messages]
        for key, found in theirs.items():
            indexes = ours.get(key, ())
            if len(indexes) == 1:
                sorted_[indexes[0]] = found
            elif len(indexes) == len(found):
                for index, result in zip(indexes, found, strict=True):
                    sorted_[index] = [result]
        return sorted_


class Answers:
    """Reads the answers of one lane; keeps nothing of a message."""

    def __init__(self, compiler: Compiler, shape: ReplyShape, where: str, batch: int) -> None:
        self._shape = shape
        self._fields = None
        if shape.format == "text":
            self._fields = compiler.attempt(f"{where}.pattern", lambda: pattern(shape.pattern), pattern(""))
            if not self._fields.groupindex:
                compiler.reader.add(f"{where}.pattern", "names no group", r'such as "(?P<code>-?\d+)\|(?P<text>.*)"')
        self._success = compile_conditions(compiler, shape.success, f"{where}.success")
        self._judged = [
            (compiler.place(condition.path, f"{where}.success"), test)
            for condition, test in zip(shape.success, self._success, strict=True)
            if condition.path
        ]
        self._held = compile_conditions(compiler, shape.held, f"{where}.held")
        self._list = compiler.place(shape.list, f"{where}.list")
        self._count = compiler.place(shape.count, f"{where}.count")
        self._matcher = Matcher(compiler, shape.match, f"{where}.match")
        self._id = compiler.place(shape.id, f"{where}.id")
        self._own_id = compiler.template(shape.own_id, f"{where}.own_id")
        self._filler = Filler(self._own_id.names, compiler.account.sender)
        self._code = compiler.place(shape.code, f"{where}.code")
        self._text = compiler.place(shape.text, f"{where}.text")
        self._rules = Rules(compiler, shape.rules, f"{where}.rules")
        self._otherwise = shape.otherwise
        failed = shape.failed
        self._failed = compiler.place(failed.list, f"{where}.failed.list") if failed else None
        self._failed_matcher = Matcher(compiler, failed.match if failed else None, f"{where}.failed.match")
        self._failed_code = compiler.place(failed.code, f"{where}.failed.code") if failed else None
        self._failed_text = compiler.place(failed.text, f"{where}.failed.text") if failed else None
        self._check(compiler, where, batch)

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """Say what became of each message; never raises."""
        body = self._body_of(reply)
        document = Document(body, body, reply.headers, {}, reply.status)
        results = self._elements(self._list, document) if self._list else [document]
        failures = self._elements(self._failed, document) if self._failed else []
        unnamed = replies.whole_batch(messages, self._about_nobody(document, reply))
        if results is None and not failures:
            return unnamed
        if not self._list and len(messages) > 1:
            outcomes = [self._outcome(message, document, reply) for message in messages]
            refused = next((outcome for outcome in outcomes if isinstance(outcome, Failure)), None)
            return replies.whole_batch(messages, refused) if refused else outcomes
        if self._count and text_in(self._count, document) != str(len(results or ())):
            return [self._silent(reply)] * len(messages)
        mine = self._matcher.sort(messages, results or ())
        lost = self._failed_matcher.sort(messages, failures or ())
        return [
            self._sum(message, found, refusals, reply) or about
            for message, found, refusals, about in zip(messages, mine, lost, unnamed, strict=True)
        ]

    def own_id(self, message: Message) -> str:
        """Return the id of a message where the provider takes ours, else an empty text."""
        return self._own_id.text(self._filler.fill(message, 0.0)) or ""

    def _sum(self, message: Message, mine: Sequence[Document], lost: Sequence[Document], reply: Reply) -> Result | None:
        outcomes = [self._outcome(message, result, reply) for result in mine]
        outcomes += [self._failure(result, reply) for result in lost]
        if not outcomes:
            return None
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        if failures and len(failures) < len(outcomes):
            # A part of the text is on its way: the whole cannot be sent again without that part arriving twice.
            return replace(failures[0], disposition=Disposition.UNKNOWN)
        return outcomes[0]

    def _outcome(self, message: Message, result: Document, reply: Reply) -> Result:
        if not all(test(result) for test in self._success):
            judged = self._refused(result, reply)
            if judged != "accepted":
                return judged
        id_ = text_in(self._id, result)
        if not id_:
            id_ = self.own_id(message)
        if not id_:
            return self._silent(reply)
        return Accepted(id_, held=bool(self._held) and all(test(result) for test in self._held))

    def _failure(self, result: Document, reply: Reply) -> Failure:
        code, text = text_in(self._failed_code, result), text_in(self._failed_text, result)
        judged = self._judge(result, reply, code, text, said=True)
        return self._silent(reply) if judged == "accepted" else judged

    def _refused(self, result: Document, reply: Reply) -> Failure | Literal["accepted"]:
        said = any(path and path.find(result) is not None and not test(result) for path, test in self._judged)
        return self._judge(result, reply, text_in(self._code, result), text_in(self._text, result), said=said)

    def _about_nobody(self, document: Document, reply: Reply) -> Failure:
        judged = None if all(test(document) for test in self._success) else self._refused(document, reply)
        return judged if isinstance(judged, Failure) else self._silent(reply)

    def _judge(
        self, result: Document, reply: Reply, code: str, text: str, *, said: bool
    ) -> Failure | Literal["accepted"]:
        """Apply the rules; `said` is whether the provider itself says, whatever the HTTP status, that it refuses."""
        by_status = replies.by_status(reply, code, text)
        judged = self._rules.judge(result, by_status.code, text)
        if isinstance(judged, Failure) and judged.after is None and judged.disposition in _SLOWED:
            return replace(judged, after=by_status.after)
        if judged is None:
            return replace(by_status, disposition=self._otherwise) if said and 200 <= reply.status < 300 else by_status
        return judged

    @staticmethod
    def _silent(reply: Reply) -> Failure:
        # Whatever the status: an answer that does not say what became of a message may be to one that was accepted.
        return Failure(Disposition.UNKNOWN, f"http:{reply.status}")

    def _body_of(self, reply: Reply) -> Any:
        try:
            if self._fields is not None:
                found = self._fields.fullmatch(reply.body.decode("utf-8", "replace").strip())
                return found.groupdict() if found else None
            if self._shape.format == "form":
                return dict(parse_qsl(reply.body.decode("utf-8", "replace"), keep_blank_values=True))
            return _decode.decode(reply.body)
        except (ValueError, RecursionError):
            return None

    @staticmethod
    def _elements(path: FirstOf, document: Document) -> list[Document] | None:
        found = path.find(document)
        return [document.at(element) for element in found] if isinstance(found, list) else None

    def _check(self, compiler: Compiler, where: str, batch: int) -> None:
        shape = self._shape
        if not shape.id and not shape.own_id:
            compiler.reader.add(
                f"{where}.id", "is missing", "a path to the provider's id, or own_id where it takes ours"
            )
        if batch > 1 and not shape.list and not shape.own_id:
            compiler.reader.add(f"{where}.list", "is missing", "several messages need a result each, or own_id")
        if batch > 1 and shape.failed and not shape.failed.match:
            compiler.reader.add(
                f"{where}.failed.match", "is missing", 'such as { path = "mobile", is = "{to.national}" }'
            )
