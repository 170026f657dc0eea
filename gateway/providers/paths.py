"""Where to look in what a provider sends, and what to look for: paths, ranges of HTTP statuses and conditions.

Everything is compiled once, at start; what does not compile raises `Malformed` with a remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import GatewayError
from gateway.providers.contract import encodable


class Malformed(GatewayError):
    """A text of the configuration that does not compile: what is wrong with it and what may stand there."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class Document(Struct, gc=False):
    """What paths look into: the element at hand, the whole body round it, and what came with the body."""

    here: Any
    root: Any
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    status: int = 0
    """The HTTP status of an answer; 0 for a callback, which has none."""

    def at(self, here: Any) -> Document:
        """Return the same document with another element at hand."""
        return Document(here, self.root, self.headers, self.query, self.status)


_NAMED = re.compile(r"(query|header):([^\s:]+)")
_STEP = re.compile(r'"(?P<quoted>[^"]+)"|(?P<key>[^."\[\]$:\s]+)|\[(?P<index>[0-9]{1,6})\]')
_PATHS = "messages[0].status in the element at hand, $.status from the top, header:x-message-id, or query:ref"


class Path:
    """One place in a document: `status.groupId`, `$.messages[0]."message.id"`, `header:x-message-id`, `query:ref`."""

    __slots__ = ("_find", "_name", "_steps", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._name = ""
        self._steps: tuple[str | int, ...] = ()
        self._find: Callable[[Document], Any] = self._inside
        if named := _NAMED.fullmatch(text):
            self._name = named[2].lower() if named[1] == "header" else named[2]
            self._find = self._header if named[1] == "header" else self._parameter
        elif text.startswith("$"):
            self._steps = _steps(text[1:].removeprefix("."))
            self._find = self._from_the_top
        else:
            self._steps = _steps(text)
            if not self._steps:
                raise Malformed("is an empty path", _PATHS)

    def find(self, document: Document) -> Any:
        """Return what is there; None for nothing and for the null of JSON alike."""
        return self._find(document)

    def text_in(self, document: Document) -> str:
        """Return what is there as text; empty for nothing."""
        return text_of(self._find(document))

    def _header(self, document: Document) -> Any:
        value = document.headers.get(self._name)
        return None if value is None else encodable(value)

    def _parameter(self, document: Document) -> Any:
        return document.query.get(self._name)

    def _inside(self, document: Document) -> Any:
        return _walk(document.here, self._steps)

    def _from_the_top(self, document: Document) -> Any:
        return _walk(document.root, self._steps)


class FirstOf:
    """Several places, of which the first that has something counts."""

    __slots__ = ("_paths",)

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)

    def find(self, document: Document) -> Any:
        """Return what is at the first place that has something, or None."""
        for path in self._paths:
            value = path.find(document)
            if value is not None:
                return value
        return None

    def text_in(self, document: Document) -> str:
        """Return that as text; empty for nothing."""
        return text_of(self.find(document))


def _steps(text: str) -> tuple[str | int, ...]:
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise Malformed(f"is not a path from character {at + 1} on", _PATHS)
        steps.append(int(step["index"]) if step["index"] else step["quoted"] or step["key"])
        at = step.end()
        if text[at : at + 1] == "." and at + 1 < len(text):
            at += 1
        elif at < len(text) and text[at] != "[":
            raise Malformed(f"is not a path from character {at + 1} on", _PATHS)
    return tuple(steps)


def _walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        if isinstance(step, str):
            if not isinstance(value, Mapping):
                return None
            value = value.get(step)
        else:
            if not isinstance(value, list) or step >= len(value):
                return None
            value = value[step]
    return value


def text_of(value: Any) -> str:
    """Return a value as the text that it has in JSON, without quotation marks; empty for None, for tables and for lists.

    Vendors write the same status now as `0` and now as `"0"`: as texts they are equal.
    """
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, Mapping | list) else msgspec.json.encode(value).decode()


def statuses(text: str) -> frozenset[int]:
    """Return the HTTP statuses that `200-299`, `429` or `401, 403` name; raises `Malformed`."""
    found: set[int] = set()
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?\s*", part)
        if bounds is None or int(bounds[2] or bounds[1]) < int(bounds[1]):
            raise Malformed(f"{part.strip()!r} is no HTTP status", "200-299, or 429, or a list: 401, 403")
        found.update(range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1))
    return frozenset(found)


def pattern(text: str, groups: int | None = None) -> re.Pattern[str]:
    """Compile a regular expression, with exactly `groups` groups where that is given; raises `Malformed`."""
    try:
        compiled = re.compile(text)
    except re.error as exc:
        raise Malformed(f"is not a regular expression: {exc}", "see the documentation of Python's re") from exc
    if groups is not None and compiled.groups != groups:
        raise Malformed(f"has {compiled.groups} groups and needs {groups}", "put ( ) round what is to be read")
    return compiled


Scalar = str | int | float | bool


class Condition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must be so in a document; all that is given must hold. A path alone: something is there."""

    http: str = ""
    path: str = ""
    is_: Scalar | tuple[Scalar, ...] | None = msgspec.field(name="is", default=None)
    """The value, or a list of those that it may be."""
    matches: str = ""
    """A regular expression for the whole value."""


Test = Callable[[Document], bool]


def compile_condition(condition: Condition) -> Test:
    """Return a condition as a function; raises `Malformed`."""
    allowed = statuses(condition.http) if condition.http else None
    if not condition.path:
        if condition.is_ is not None or condition.matches:
            raise Malformed("does not say where to look", 'add path = "…"')
        if allowed is None:
            raise Malformed("asks for nothing", "give http, path, or both")
        return lambda document: document.status in allowed
    path = Path(condition.path)
    holds = _value_test(condition)

    def test(document: Document) -> bool:
        if allowed is not None and document.status not in allowed:
            return False
        value = path.find(document)
        return value is not None and holds(text_of(value))

    return test


def _value_test(condition: Condition) -> Callable[[str], bool]:
    if condition.is_ is not None and condition.matches:
        raise Malformed("has both is and matches", "one of them is enough")
    if condition.matches:
        matches = pattern(condition.matches).fullmatch
        return lambda value: matches(value) is not None
    if condition.is_ is None:
        return lambda value: True
    given = condition.is_ if isinstance(condition.is_, tuple) else (condition.is_,)
    return frozenset(map(text_of, given)).__contains__
