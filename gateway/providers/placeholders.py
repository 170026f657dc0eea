"""The placeholders of a generic provider's requests: `{to.digits}`, `{text}`, `{content.subject?}`, `{secret.key}`.

A text is compiled once, at start, where settings and secrets, which never change, are filled in. What is left is filled
for each message from a dictionary of values. A brace itself is written twice. A question mark says that there may be no
value: then the whole text is left out, with the key that it stands under. Without one, a message that has no value for
it is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote

import msgspec

from gateway import numbers
from gateway.model import Message
from gateway.providers.contract import Unsendable, reference_of
from gateway.providers.paths import Malformed, text_of
from gateway.providers.requests import seconds_left, stable_id
from gateway.tables import did_you_mean
from smpp import gsm7

Values = Mapping[str, Any]
Getter = Callable[[Message, float], Any]

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[a-z]+(?:\.[A-Za-z0-9_-]+)*)(?P<optional>\?)?\}|[{}]")
_SYNTAX = "a name in braces such as {to.digits}; {{ and }} for braces themselves"


def _digits(message: Message, _now: float) -> str | None:
    digits = message.to.removeprefix("+")
    return digits if digits.isascii() and digits.isdecimal() else None


def _country(message: Message, _now: float) -> str | None:
    return numbers.country_code(message.to)


def _national(message: Message, _now: float) -> str | None:
    code = numbers.country_code(message.to)
    return message.to[1 + len(code) :] if code else None


def _iso(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


MESSAGE: dict[str, Getter] = {
    "to": lambda message, now: message.to,
    "to.digits": _digits,
    "to.country": _country,
    "to.national": _national,
    "text": lambda message, now: message.text or None,
    "sender": lambda message, now: message.sender or None,
    "sender.bare": lambda message, now: message.sender.removeprefix("+") or None,
    "reference": lambda message, now: reference_of(message),
    "reference.url": lambda message, now: quote(reference_of(message), safe=""),
    "reference.uuid": lambda message, now: stable_id(message),
    "reference.once": lambda message, now: stable_id(message, once=True),
    "campaign": lambda message, now: message.campaign or None,
    "class": lambda message, now: str(message.class_),
    "expires.unix": lambda message, now: int(message.expires_at) or None,
    "expires.iso": lambda message, now: _iso(message.expires_at) if message.expires_at else None,
    "now.unix": lambda message, now: int(now),
    "now.iso": lambda message, now: _iso(now),
}
"""What a message gives. Alone in a text of a JSON body a value keeps its kind: the Unix times are numbers."""
LEFT = {"ttl.s": (1, 1), "ttl.ms": (1000, 1), "ttl.min": (1, 60)}
"""What is left until a message expires, in whole units of so many to so many seconds."""
_OF_LANE = ("alphabet", *LEFT)


class Constants:
    """Settings and secrets by their placeholder's name; notes which were used, so that a mistyped one is found."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.used.add(name)
        try:
            return self._values[name]
        except KeyError:
            kind, _, key = name.partition(".")
            given = [other.removeprefix(f"{kind}.") for other in self._values if other.startswith(f"{kind}.")]
            remedy = did_you_mean(key, given) or (
                f"give the lane a {key} in {kind}s" if key else f"give the lane a {kind}"
            )
            raise Malformed(f"needs {{{name}}}, which the lane does not have", remedy) from None

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def unused(self) -> list[str]:
        """Return what was given and is needed nowhere."""
        return sorted(set(self._values) - self.used)


# What of ASCII the default alphabet has; most texts need no closer look, which costs ten times as much.
_PLAIN = re.compile(r"[\n -_a-~]*")

_CONSTANT = re.compile(r"(setting|secret)\..+|callback")


class Template:
    """A text with placeholders. `names` are those that a message fills; without any, `constant` is the text.

    `head` is what stands before the first of them; `alone` says that nothing stands beside the only one. `absent`: an
    optional setting that the lane does not have leaves the text out for every message.
    """

    __slots__ = ("_format", "_optional", "_text", "absent", "alone", "constant", "head", "names")

    def __init__(self, text: str, constants: Constants, extra: Iterable[str] = (), *, escape: bool = False) -> None:
        """Compile; `extra` are names besides a message's own. Raises `Malformed`.

        With `escape`, the text is a URL: what is filled in from messages and secrets is percent-encoded.
        """
        known = {*MESSAGE, *_OF_LANE, *extra}
        pieces: list[str] = []
        names: list[str] = []
        self._optional: set[str] = set()
        self._text = _quoted if escape else _plain
        self.absent = False
        end = 0
        for token in _TOKEN.finditer(text):
            pieces.append(text[end : token.start()].replace("%", "%%"))
            end = token.end()
            name = token["name"]
            if name is None and token[0] in ("{{", "}}"):
                pieces.append(token[0][0])
            elif name is None:
                raise Malformed(f"has a brace that opens or closes nothing at character {token.start() + 1}", _SYNTAX)
            elif _CONSTANT.fullmatch(name):
                if token["optional"] and name not in constants:
                    self.absent = True
                    continue
                value = constants[name]
                value = self._text(value) if name.startswith("secret.") else value
                pieces.append(value.replace("%", "%%"))
            elif escape and name == "reference.url":
                raise Malformed("would encode {reference.url} twice", "{reference}: what fills a URL is encoded in it")
            elif name in known or name == "content" or name.startswith("content."):
                pieces.append("%s")
                names.append(name)
                if token["optional"]:
                    self._optional.add(name)
            else:
                raise Malformed(f"has an unknown placeholder {{{name}}}", did_you_mean(name, known) or _SYNTAX)
        pieces.append(text[end:].replace("%", "%%"))
        self._format = "".join(pieces)
        self.alone = self._format == "%s"
        self.names = tuple(names)
        self.constant = None if names or self.absent else self._format % ()
        self.head = "".join(pieces[: pieces.index("%s")] if names else pieces).replace("%%", "%")

    @property
    def may_be_left_out(self) -> bool:
        """Whether something in it is optional."""
        return self.absent or bool(self._optional)

    def value(self, values: Values) -> Any:
        """Return the filled text, or for a placeholder alone its very value; None to leave it out.

        Raises `Unsendable` when a value is missing that is not optional.
        """
        found = [values[name] for name in self.names]
        if self.absent or None in found:
            return self._without(found)
        return found[0] if self.alone else self._format % tuple(map(self._text, found))

    def text(self, values: Values) -> str | None:
        """Return the filled text, or None to leave it out; raises `Unsendable` like `value`."""
        if self.constant is not None:
            return self.constant
        value = self.value(values)
        return self._text(value) if self.alone and value is not None else cast("str | None", value)

    def _without(self, found: Sequence[Any]) -> None:
        for name, value in zip(self.names, found, strict=True):
            if value is None and name not in self._optional:
                raise Unsendable(name.replace(".", "_"), f"the message has no {name}")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | list):
        raise Unsendable("content", "a table or a list cannot stand in a text")
    return text_of(value)


def _quoted(value: Any) -> str:
    """Return a value for a URL. Empty, and one or two dots, would make another path of it."""
    text = _plain(value)
    if text in ("", ".", ".."):
        raise Unsendable("url", "a value that a URL cannot carry")
    return quote(text, safe="")


class Filler:
    """Gives the values for the names that templates use; compiled once, applied to every message."""

    __slots__ = ("_alphabet", "_content", "_getters", "_longest", "_sender", "_ttl", "_units")

    def __init__(
        self,
        names: Iterable[str],
        sender: str,
        *,
        ttl_s: tuple[int, int] = (1, 1),
        alphabet: Mapping[str, str] | None = None,
        max_reference: int = 0,
    ) -> None:
        """Compile; `sender` is the lane's own, for messages that name none, and `ttl_s` bounds what is left of a message."""
        names = {*names, "reference"} if max_reference else {*names}
        self._getters = [(name, MESSAGE[name]) for name in MESSAGE if name in names]
        self._sender = [
            (name, sender if name == "sender" else sender.removeprefix("+"))
            for name in ("sender", "sender.bare")
            if name in names and sender
        ]
        self._content = [(name, name.split(".")[1:]) for name in sorted(names) if name.split(".")[0] == "content"]
        self._units = [(name, unit) for name, unit in LEFT.items() if name in names]
        self._ttl = ttl_s
        self._alphabet = (alphabet or {}) if "alphabet" in names else None
        self._longest = max_reference

    def fill(self, message: Message, now: float) -> dict[str, Any]:
        """Return the values for one message, None where it has none; raises `Unsendable` for content that is no JSON."""
        values = {name: getter(message, now) for name, getter in self._getters}
        if not message.sender:
            values.update(self._sender)
        if self._alphabet is not None:
            plain = _PLAIN.fullmatch(message.text) or gsm7.DEFAULT.encode(message.text) is not None
            values["alphabet"] = self._alphabet.get("gsm7" if plain else "unicode")
        if self._longest and len(values["reference"]) > self._longest:
            values["reference"] = values["reference.url"] = None
        if self._units:
            left = seconds_left(message, now, *self._ttl)
            for name, (many, seconds) in self._units:
                values[name] = None if left is None else left * many // seconds
        if self._content:
            content = _content_of(message)
            for name, keys in self._content:
                value: Any = content
                for key in keys:
                    value = value.get(key) if isinstance(value, dict) else None
                values[name] = value
        return values


_decode: Callable[[str], Any] = msgspec.json.Decoder().decode


def _content_of(message: Message) -> Any:
    try:
        return _decode(message.content) if message.content else None
    except (msgspec.DecodeError, RecursionError) as exc:
        raise Unsendable("content", "the content of the message is not JSON") from exc
