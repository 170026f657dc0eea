"""Requests of a generic provider: the templates of a vendor's file, compiled at start and filled for each batch."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote_plus

import msgspec

from gateway.model import Message
from gateway.providers.contract import Call, Unsendable
from gateway.providers.generic_config import Account, Place, Request, Signature
from gateway.providers.paths import FirstOf, Malformed, Path
from gateway.providers.placeholders import LEFT, Constants, Filler, Template, Values
from gateway.providers.requests import basic, check_text
from gateway.tables import Reader

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ORIGIN = re.compile(r"https?://[^/?#\s{}]+[/?#]")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.~%+-]")

encode_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class Compiler:
    """Compiles the texts of one vendor's file for one lane and notes what is wrong with each, under its path.

    What does not compile is replaced by a stand-in, so that everything else is still looked at: with a problem noted, no
    provider comes out of it.
    """

    def __init__(self, reader: Reader, account: Account) -> None:
        self.reader = reader
        self.account = account
        values = {f"setting.{name}": value for name, value in account.settings.items()}
        values |= {f"secret.{name}": secret.reveal() for name, secret in account.secrets.items()}
        if account.callback:
            values["callback"] = account.callback
        self.constants = Constants(values)

    def attempt(self, where: str, make: Callable[[], T], stand_in: T) -> T:
        """Return what `make` returns, or the stand-in after noting why it could not."""
        try:
            return make()
        except Malformed as exc:
            self.reader.add(where, exc.what, exc.remedy)
            return stand_in

    def template(self, text: str, where: str, extra: Iterable[str] = (), *, escape: bool = False) -> Template:
        """Compile a text with placeholders."""
        make = lambda: Template(text, self.constants, extra, escape=escape)  # noqa: E731
        return self.attempt(where, make, Template("https://stand.in/", self.constants))

    def constant(self, text: str, where: str) -> str:
        """Compile a text that only settings and secrets fill."""
        template = self.template(text, where)
        if template.constant is None:
            self.reader.add(where, "cannot depend on a message", "{setting.<name>}, {secret.<name>} or plain text")
        return template.constant or ""

    def place(self, place: Place, where: str) -> FirstOf | None:
        """Compile a path, or several; None for an empty text."""
        texts = (place,) if isinstance(place, str) else place
        paths = [self.attempt(where, partial(Path, text), None) for text in texts if text]
        return FirstOf([path for path in paths if path]) if paths else None


Fill = Callable[[Values, Sequence[Values]], Any]
"""Makes a part of a body from the values of the first message and of every message; None leaves it out."""


class Node(NamedTuple):
    """A part of a body; `fixed` when it is the same for every message."""

    fill: Fill
    fixed: bool


class Body:
    """A JSON body: the tables, lists and texts of the file, filled.

    `outer` are the names that stand outside the element of a message: messages of one request must agree in them.
    """

    def __init__(self, compiler: Compiler, request: Request, where: str) -> None:
        self._compiler = compiler
        self._each = request.each
        self.outer: set[str] = set()
        self.inner: set[str] = set()
        self._names = self.inner if request.each == "$" else self.outer
        self._found = request.each in ("", "$")
        root = self._node(request.json, where, "")
        if not self._found:
            compiler.reader.add(f"{where}.{request.each}", "is not a list in the body", "each names a list in json")
        self.fill: Fill = _elements(root.fill) if request.each == "$" else root.fill

    def _node(self, value: Any, where: str, keys: str) -> Node:
        if isinstance(value, str):
            template = self._compiler.template(value, where, ("token",))
            self._names.update(template.names)
            if template.constant is not None:
                return _fixed(template.constant)
            value = template.value
            return Node(lambda one, every: value(one), fixed=False)
        if isinstance(value, Mapping):
            return _table(
                {key: self._node(item, f"{where}.{key}", f"{keys}.{key}".lstrip(".")) for key, item in value.items()}
            )
        if isinstance(value, list) and keys == self._each and keys:
            return self._repeated(value, where)
        if isinstance(value, list):
            return _list([self._node(item, f"{where}[{at}]", f"{keys}[{at}]") for at, item in enumerate(value)])
        return _fixed(value)

    def _repeated(self, value: list[Any], where: str) -> Node:
        self._found = True
        if len(value) != 1:
            self._compiler.reader.add(where, "has not exactly one element", "write the element of one message")
        names, self._names = self._names, self.inner
        element = self._node(value[0] if value else "", f"{where}[0]", f"{self._each}[0]")
        self._names = names
        return Node(_elements(element.fill), fixed=False)


def _fixed(value: Any) -> Node:
    return Node(lambda one, every: value, fixed=True)


def _elements(element: Fill) -> Fill:
    return lambda one, every: [element(values, every) for values in every]


def _list(items: Sequence[Node]) -> Node:
    def fill(one: Values, every: Sequence[Values]) -> list[Any]:
        return [made for item in items if (made := item.fill(one, every)) is not None]

    return _fixed(fill({}, ())) if all(item.fixed for item in items) else Node(fill, fixed=False)


def _table(items: Mapping[str, Node]) -> Node:
    # Every key has its place from the start: the fixed ones are there, the others are filled in or taken out.
    start = {key: item.fill({}, ()) if item.fixed else None for key, item in items.items()}
    fills = [(key, item.fill) for key, item in items.items() if not item.fixed]
    if not fills:
        return _fixed(start)

    def fill(one: Values, every: Sequence[Values]) -> dict[str, Any] | None:
        made = start.copy()
        left = len(fills)
        for key, item in fills:
            value = item(one, every)
            if value is None:
                del made[key]
                left -= 1
            else:
                made[key] = value
        # What is left out takes with it a table that has nothing else of the message.
        return made if left else None

    return Node(fill, fixed=False)


class Fields:
    """Named texts: headers, the parameters of a query, the fields of a form."""

    def __init__(self, compiler: Compiler, texts: Mapping[str, str], where: str, extra: Iterable[str] = ()) -> None:
        self.templates = [(name, compiler.template(text, f"{where}.{name}", extra)) for name, text in texts.items()]
        self.names = {name for _, template in self.templates for name in template.names}
        self.fixed = tuple(
            (name, template.constant) for name, template in self.templates if template.constant is not None
        )
        self._pairs = [
            (f"{_quoted(name)}={_quoted(template.constant or '')}", template if template.constant is None else None)
            for name, template in self.templates
        ]

    def fill(self, values: Values) -> list[tuple[str, str]]:
        """Return the pairs in their order, without those that are left out."""
        return [(name, text) for name, template in self.templates if (text := template.text(values)) is not None]

    def encode(self, values: Values) -> str:
        """Return the pairs as `application/x-www-form-urlencoded`, for a body or a query."""
        pairs = []
        for start, template in self._pairs:
            if template is None:
                pairs.append(start)
            elif (text := template.text(values)) is not None:
                pairs.append(start + _quoted(text))
        return "&".join(pairs)


class Requests:
    """Builds the requests of one lane; keeps nothing of a message. `names` are those that messages fill in."""

    def __init__(self, compiler: Compiler, request: Request, where: str, *, with_token: bool) -> None:
        self._request = request
        self._headers = _compile_headers(compiler, request, where)
        self._query = Fields(compiler, request.query, f"{where}.query", ("token",))
        self._form = Fields(compiler, request.form or {}, f"{where}.form", ("token",))
        self._url = compiler.template(request.url, f"{where}.url", ("token",), escape=True)
        self._body = Body(compiler, request, f"{where}.json") if request.json is not None else None
        self._signer = Signer(compiler, request.sign, f"{where}.sign") if request.sign else None
        outer = self._headers.names | self._query.names | self._form.names | {*self._url.names}
        outer |= self._body.outer if self._body else set()
        outer |= self._signer.names if self._signer else set()
        self._outer = sorted(outer - {"token"})
        self.names = outer | (self._body.inner if self._body else set())
        self._filler = Filler(
            self.names,
            compiler.account.sender,
            ttl_s=request.ttl_s,
            alphabet={str(kind): word for kind, word in request.alphabet.items()},
            max_reference=request.max_reference,
        )
        self._check(compiler, request, where)
        if with_token != ("token" in self.names):
            what, remedy = ("is used nowhere", 'such as headers = { authorization = "Bearer {token}" }')
            if not with_token:
                what, remedy = ("has nothing to come from", "add [oauth2]")
            compiler.reader.add(where, f"{{token}} {what}", remedy)

    def build(self, messages: Sequence[Message], token: str, now: float) -> Call:
        """Build one request; raises `Unsendable`, and `ValueError` for messages of different groups."""
        every = []
        for message in messages:
            self._check_text(message)
            values = self._filler.fill(message, now)
            if self._request.needs and all(values[name] is None for name in self._request.needs):
                raise Unsendable("content", f"the message has no {' and no '.join(self._request.needs)}")
            values["token"] = token
            every.append(values)
        first = every[0]
        if len(every) > 1 and any(values[name] != first[name] for values in every[1:] for name in self._outer):
            raise ValueError("messages of different groups in one request")
        url = self._url.text(first) or ""
        headers = self._headers.fill(first) if self._headers.names else list(self._headers.fixed)
        # The constant ones come first and were looked at when they were compiled.
        for _, value in headers[len(self._headers.fixed) :]:
            if _CONTROL.search(value):
                raise Unsendable("header", "a value with a line break cannot stand in a header")
        if self._query.templates:
            url = _with_query(url, self._query.encode(first))
        if self._body is not None:
            body = encode_json(self._body.fill(first, every) or {})
        else:
            body = self._form.encode(first).encode("ascii")
        if self._signer is not None:
            url = self._signer.sign(first, url, headers, body)
        return Call(self._request.method, url, tuple(headers), body)

    def _check_text(self, message: Message) -> None:
        most = self._request.max_octets
        if self._request.max_text:
            check_text(message, self._request.max_text)
        if most and len(message.text) * 4 > most and len(message.text.encode()) > most:
            raise Unsendable("too_long", f"the text has more than {most} octets")

    def group(self, message: Message) -> tuple[str, ...]:
        """Return what messages of one request must agree in: all that stands outside their elements."""
        values = self._filler.fill(message, 0.0)
        # What is left of messages is the same at any time only if they expire together.
        return tuple([str(message.expires_at if name in LEFT else values[name]) for name in self._outer])

    def _check(self, compiler: Compiler, request: Request, where: str) -> None:
        # A message that could choose the host would choose who is asked.
        if not _ORIGIN.match(self._url.head + ("" if self._url.names else "/")):
            compiler.reader.add(
                f"{where}.url", "does not begin with a fixed host", "https://host/path; messages fill in what follows"
            )
        for key, template in (("url", self._url), ("sign.over", self._signer.over if self._signer else None)):
            if template is not None and template.may_be_left_out:
                compiler.reader.add(f"{where}.{key}", "cannot be left out", "take the question mark out of it")
        if request.json is not None and request.form is not None:
            compiler.reader.add(f"{where}.form", "stands beside json", "a request has one body")
        if request.method == "GET" and (request.json is not None or request.form is not None):
            compiler.reader.add(f"{where}.method", "GET has no body", "use query, or POST")
        for name in sorted(set(request.needs) - self.names):
            compiler.reader.add(f"{where}.needs", f"names {{{name}}}, which stands nowhere", "use it, or take it out")
        if request.batch > 1 and not request.each:
            compiler.reader.add(
                f"{where}.batch", "needs a list in the body", 'name it: each = "messages", or "$" for the body itself'
            )
        if request.each and request.json is None:
            compiler.reader.add(f"{where}.each", "needs a JSON body", "add [request.json]")


def _compile_headers(compiler: Compiler, request: Request, where: str) -> Fields:
    texts = {name.lower(): text for name, text in request.headers.items()}
    if request.json is not None:
        texts.setdefault("content-type", "application/json")
    elif request.form is not None:
        texts.setdefault("content-type", "application/x-www-form-urlencoded")
    fields = Fields(compiler, texts, f"{where}.headers", ("token",))
    # What is constant comes first: only the rest is looked at for line breaks, message by message.
    fields.templates.sort(key=lambda pair: pair[1].constant is None)
    for name, value in fields.fixed:
        if _CONTROL.search(f"{name}{value}"):
            compiler.reader.add(f"{where}.headers.{name}", "has a line break or another control character", "remove it")
    if request.basic:
        user = compiler.constant(request.basic.username, f"{where}.basic.username")
        password = compiler.constant(request.basic.password, f"{where}.basic.password")
        credentials = basic(user, password)
        fields.templates[:0] = [(name, Template(value, compiler.constants)) for name, value in credentials]
        fields.fixed = (*credentials, *fields.fixed)
    return fields


class Signer:
    """Signs requests: a digest over a template, put into a header or into the query."""

    def __init__(self, compiler: Compiler, sign: Signature, where: str) -> None:
        self.over = compiler.template(sign.over, f"{where}.over", ("body",))
        self._key = compiler.constant(sign.key, f"{where}.key").encode()
        self._value = compiler.template(sign.value, f"{where}.value", ("signature",))
        self._sign = sign
        self.names = {*self.over.names, *self._value.names} - {"body", "signature"}
        if sign.place == "header" and _CONTROL.search(sign.name):
            compiler.reader.add(f"{where}.name", "is not the name of a header", "such as x-signature")

    def sign(self, values: dict[str, Any], url: str, headers: list[tuple[str, str]], body: bytes) -> str:
        """Add the signature to the headers, or return the URL with it."""
        sign = self._sign
        if "body" in self.over.names:
            values["body"] = body.decode()
        text = (self.over.text(values) or "").encode()
        if self._key:
            digest = hmac.digest(self._key, text, sign.algorithm)
        else:
            digest = hashlib.new(sign.algorithm, text, usedforsecurity=False).digest()
        values["signature"] = digest.hex() if sign.encoding == "hex" else base64.b64encode(digest).decode()
        value = self._value.text(values) or ""
        if sign.place == "query":
            return _with_query(url, f"{_quoted(sign.name)}={_quoted(value)}")
        headers.append((sign.name.lower(), value))
        return url


def encode_form(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return fields as `application/x-www-form-urlencoded`."""
    return "&".join([f"{_quoted(name)}={_quoted(value)}" for name, value in fields]).encode("ascii")


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


_ESCAPES = {chr(code): quote_plus(chr(code)) for code in range(256)}


def _quoted(text: str) -> str:
    # Each kind of character once rather than each character: a quarter of what quote_plus takes for the text of an SMS.
    if text.isalnum() and text.isascii():
        return text
    text = text.replace("%", "%25").replace("+", "%2B").replace(" ", "+")
    for character in {*_UNSAFE.findall(text)}:
        text = text.replace(character, _ESCAPES.get(character) or quote_plus(character))
    return text
