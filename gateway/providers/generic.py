"""A provider that is written in TOML and not in Python: `deploy/providers/*.toml` are examples.

A vendor's file says what requests, answers and callbacks look like (`generic_config.py`); a lane adds its account. Both are
compiled here, once, into a provider like any other.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ConfigError, Disposition
from gateway.model import Message
from gateway.providers.contract import Call, Failure, Grant, Hook, Reading, Reply, Result, Unsigned
from gateway.providers.generic_callback import Callbacks
from gateway.providers.generic_config import Account, Vendor
from gateway.providers.generic_oauth import Tokens
from gateway.providers.generic_reply import Answers
from gateway.providers.generic_request import Compiler, Requests
from gateway.tables import Reader, Secret


class Generic:
    """One lane of a vendor that a file describes."""

    def __init__(
        self, vendor: Vendor, requests: Requests, answers: Answers, tokens: Tokens | None, callbacks: Callbacks | None
    ) -> None:
        self.idempotent = vendor.idempotent
        self.batch = vendor.request.batch
        self._requests = requests
        self._answers = answers
        self._tokens = tokens
        self._callbacks = callbacks
        status = vendor.callback.status if vendor.callback else None
        self.secret_path = vendor.callback is not None and vendor.callback.proof.kind == "path"
        self._by_own_id = status is not None and not status.reference
        # Where an answer is counted a message has several results, and so several ids.
        self.by_reference = status is not None and bool(status.reference and (not status.id or vendor.reply.count))

    def call(self, messages: Sequence[Message], token: str, now: float) -> Call:
        """Build one request; raises `Unsendable`, and `ValueError` for messages that are not of one `group`."""
        return self._requests.build(messages, token, now)

    def prepare(self, message: Message) -> None:
        """Build a request of this message alone and forget it; raises `Unsendable`."""
        self._requests.build((message,), "token", 0.0)  # as if there were one: a URL carries none that is empty

    def own_id(self, message: Message) -> str:
        """Return our id of a message, where callbacks carry it and no reference beside it."""
        return self._answers.own_id(message) if self._by_own_id else ""

    def group(self, message: Message) -> tuple[str, ...]:
        """Return what messages must have in common to share a request: what stands once in it, such as one text for all."""
        return self._requests.group(message)

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        """Say what became of each message."""
        return self._answers.read(messages, reply)

    def grant(self, now: float) -> Call | None:
        """Build the request for a credential, where the vendor wants one."""
        return self._tokens.call(now) if self._tokens else None

    def granted(self, reply: Reply, now: float) -> Grant | Failure:
        """Read the credential."""
        if self._tokens is None:
            return Failure(Disposition.STOP, "grant", "this provider gives no credentials")
        return self._tokens.read(reply, now)

    def verify(self, hook: Hook, now: float) -> None:
        """Check a callback; raises `Unsigned`, also where the vendor's file knows of none."""
        if self._callbacks is None:
            raise Unsigned("no callbacks are configured")
        self._callbacks.verify(hook, now)

    def receive(self, hook: Hook) -> Reading:
        """Read a callback that was verified."""
        if self._callbacks is None:
            raise ValueError("no callbacks are configured")
        return self._callbacks.receive(hook)


def compile_vendor(reader: Reader, raw: object, account: Account, path: str) -> Generic | None:
    """Return the provider that a vendor's tables and a lane's account make, or None after at least one more problem.

    `path` is where the tables stand, for the problems; what is at fault in `account` is noted under it too.
    """
    before = len(reader.problems)
    vendor = reader.table(Vendor, raw, path)
    if vendor is None or len(reader.problems) > before:
        return None
    compiler = Compiler(reader, account)
    requests = Requests(compiler, vendor.request, f"{path}.request", with_token=vendor.oauth2 is not None)
    answers = Answers(compiler, vendor.reply, f"{path}.reply", vendor.request.batch)
    tokens = Tokens(compiler, vendor.oauth2, f"{path}.oauth2") if vendor.oauth2 else None
    callbacks = Callbacks(compiler, vendor.callback, f"{path}.callback", vendor.channel) if vendor.callback else None
    if vendor.idempotent and "reference.once" not in requests.names:
        what = "needs an id that stays the same when a message is sent again"
        reader.add(f"{path}.idempotent", what, "let [request] carry {reference.once}")
    for name in compiler.constants.unused():
        if name != "callback":
            reader.add(f"{path}.{name}", "is used nowhere", "remove it from the lane, or check how its name is written")
    return Generic(vendor, requests, answers, tokens, callbacks) if len(reader.problems) == before else None


def load(file: Path, account: Account) -> Generic:
    """Read a vendor's file, or raise `ConfigError` with every problem in it."""
    reader = Reader(os.environ, file.parent)
    try:
        raw: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        reader.add(str(file), exc.strerror or "cannot be read", "name a file that can be read")
    except ValueError as exc:  # no UTF-8, or no TOML
        reader.add(str(file), str(exc), "see https://toml.io")
    else:
        provider = compile_vendor(reader, raw, account, file.name)
        if provider is not None:
            return provider
    raise ConfigError(tuple(reader.problems))


def secrets_of(reader: Reader, raw: Mapping[str, object], path: str) -> dict[str, Secret]:
    """Return a table of secrets of any names, each given as `<name>_env` or `<name>_file`; notes those that cannot be read."""
    names = sorted({key.removesuffix("_env").removesuffix("_file") for key in raw})
    # Names of fields must be identifiers; names of secrets need not be.
    fields = {f"secret_{number}": name for number, name in enumerate(names)}
    model = msgspec.defstruct("Secrets", [(field, Secret) for field in fields], rename=fields, frozen=True)
    table = reader.table(model, raw, path)
    return {name: getattr(table, field) for field, name in fields.items()} if table else {}
