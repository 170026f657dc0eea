"""TOML tables into frozen structs, with every problem found and not only the first.

Knows nothing of what is configured: a field's type says what may stand there, and the description in its `Meta` is the
remedy that a person is shown.
"""

import difflib
import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo

from gateway.errors import Problem

T = TypeVar("T", bound=Struct)

Certificates = NewType("Certificates", Path)
"""A PEM file of whom to trust; looked into here, since whoever needs it would stumble over it much later."""


class Secret:
    """A value that is never printed; the file names where it is: `<key>_env` or `<key>_file`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the one place that sends it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "<secret>" if self._value else "<no secret>"


class SecretURL(Secret):
    """A secret that may also stand in the file itself, as long as there is no password in it."""

    __slots__ = ()


class Contradiction(Exception):
    """Keys of one table that do not go together; raised by the `__post_init__` of its struct."""

    def __init__(self, key: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.key, self.what, self.remedy = key, what, remedy


class Reader:
    """Reads tables and collects what is wrong in them.

    Secrets are looked up in `env` or in files; relative paths start at `folder`.
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.problems: list[Problem] = []
        self._env = env
        self._folder = folder

    def table(self, model: type[T], raw: object, path: str, **given: object) -> T | None:
        """Return `raw` as a `model`, or None after at least one more problem.

        `given` are fields that the file does not set, such as the name of the table.
        """
        if not isinstance(raw, dict):
            self.add(path, "is not a table", f"write it as [{path}]")
            return None
        before = len(self.problems)
        fields = [field for field in msgspec.structs.fields(model) if field.name not in given]
        self.unknown_keys(raw, [key for field in fields for key in _keys(field)], path)
        values = dict(given)
        for field in fields:
            self._field(field, raw, path, values)
        if len(self.problems) > before:
            return None
        try:
            return model(**values)
        except Contradiction as exc:
            self.add(f"{path}.{exc.key}", exc.what, exc.remedy)
            return None

    def value(self, annotation: Any, raw: object, where: str) -> object:
        """Return `raw` as what may stand here; None, among others, after a problem."""
        if isinstance(raw, dict):
            for kind in _choices(annotation):
                if isinstance(kind, type) and issubclass(kind, Struct):
                    return self.table(kind, raw, where)
                if get_origin(kind) is Mapping:
                    of_key, of_value = get_args(kind)
                    return {
                        self.value(of_key, key, f"{where}.{key}"): self.value(of_value, value, f"{where}.{key}")
                        for key, value in raw.items()
                    }
        try:
            return msgspec.convert(raw, annotation)
        except msgspec.ValidationError as exc:
            what, _, at = str(exc).partition(" - at `$")
            self.add(where + at.rstrip("`").replace("[...]", ""), _in_words(what), _remedy(annotation))
            return None

    def unknown_keys(self, raw: Mapping[str, object], known: Iterable[str], path: str) -> None:
        """Add a problem for each key of `raw` that is not in `known`."""
        known = list(known)
        for key in raw:
            if key in known:
                continue
            where = f"{path}.{key}" if path else key
            if f"{key}_env" in known:
                self.add(where, "is a secret and does not belong in the file", f"use {key}_env or {key}_file")
            else:
                self.add(where, "is not known", did_you_mean(key, known) or f"known here: {', '.join(known)}")

    def add(self, path: str, what: str, remedy: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(path, what, remedy))

    def _field(self, field: FieldInfo, raw: Mapping[str, Any], path: str, values: dict[str, object]) -> None:
        key, kind = field.encode_name, _choices(field.type)[0]
        where = f"{path}.{key}"
        if isinstance(kind, type) and issubclass(kind, Secret):
            secret = self._secret(kind, key, raw, path, required=field.required)
            if secret is not None:
                values[field.name] = secret
        elif key not in raw:
            if field.required:
                self.add(where, "is missing", _remedy(field.type))
        elif isinstance(kind, type) and issubclass(kind, Struct):
            values[field.name] = self.table(kind, raw[key], where)
        elif kind is Path or kind is Certificates:
            file = self._path(raw[key], where)
            if kind is Certificates and file is not None:
                self._look_into(file, where)
            values[field.name] = file
        else:
            values[field.name] = self.value(field.type, raw[key], where)

    def _path(self, value: object, where: str) -> Path | None:
        if isinstance(value, str) and (self._folder / value).is_file():
            return self._folder / value
        self.add(where, "there is no such file", "a path, relative to the folder of the configuration")
        return None

    def _look_into(self, certificates: Path, where: str) -> None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificates)
        except OSError:
            self.add(where, "cannot be read, or holds no certificate", "a PEM file, with -----BEGIN CERTIFICATE-----")

    def _secret(self, kind: type[Secret], key: str, raw: Mapping[str, Any], path: str, required: bool) -> Secret | None:
        ways = [way for way in _secret_keys(kind, key) if way in raw]
        if len(ways) != 1:
            written_out = not ways and key in raw  # an unknown key, already noted as one
            if ways or (required and not written_out):
                what = f"only one of {' and '.join(ways)} can hold" if ways else "is missing"
                self.add(f"{path}.{key}", what, f"use one of: {', '.join(_secret_keys(kind, key))}")
            return None
        way, where = ways[0], f"{path}.{ways[0]}"
        value = raw[way]
        if not isinstance(value, str) or not value:
            self.add(where, "is not a text", "a name or a path in quotation marks")
        elif way == key:
            if "@" not in value and "password=" not in value:
                return kind(value)
            self.add(where, "has a password in it", f"use {key}_env or {key}_file")
        elif way == f"{key}_env":
            if self._env.get(value):
                return kind(self._env[value])
            self.add(where, f"the environment variable {value} is not set or empty", f"set {value}")
        else:
            # Editors and `echo` end a file with a line break; no provider hands out a secret that ends with one.
            secret = _text_of(self._folder / value).rstrip("\r\n")
            if secret:
                return kind(secret)
            self.add(where, f"the file {value} cannot be read or is empty", "a path, relative to the configuration")
        return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion, or an empty text when nothing known is like `word`."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


def _in_words(message: str) -> str:
    """Return what msgspec says in the words of people who write TOML and not Python."""
    message = re.sub(r"^Invalid enum value (.*)", r"\1 is none of the choices", message)
    message = re.sub(r" matching regex .*", " of another form", message)
    message = re.sub(
        r"`([a-z |]+)`", lambda kinds: " or ".join(_WORDS.get(k, k) for k in kinds[1].split(" | ")), message
    )
    return message.replace("Expected", "expected", 1)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # absent, not UTF-8, or a path with NUL in it
        return ""


def _keys(field: FieldInfo) -> tuple[str, ...]:
    kind = _choices(field.type)[0]
    if isinstance(kind, type) and issubclass(kind, Secret):
        return _secret_keys(kind, field.encode_name)
    return (field.encode_name,)


def _secret_keys(kind: type[Secret], key: str) -> tuple[str, ...]:
    references = (f"{key}_env", f"{key}_file")
    return (key, *references) if issubclass(kind, SecretURL) else references


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the types of which a value may be one, without `None` and what `Annotated` says of them."""
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, Union):
        return tuple(kind for choice in get_args(annotation) for kind in _choices(choice))
    return () if annotation is type(None) else (annotation,)


def _remedy(annotation: Any) -> str:
    """Return what may stand here: the description where there is one, the choices where there are some."""
    if get_origin(annotation) is Annotated:
        described = [meta.description for meta in annotation.__metadata__ if isinstance(meta, Meta)]
        remedy = next(filter(None, described), "")
        if remedy:
            return remedy
    if get_origin(annotation) is Literal:
        return "one of: " + ", ".join(map(str, get_args(annotation)))
    members = getattr(annotation, "__members__", None)
    if members is not None:
        return "one of: " + ", ".join(str(member) for member in members.values())
    return next(filter(None, map(_remedy, get_args(annotation))), "")
