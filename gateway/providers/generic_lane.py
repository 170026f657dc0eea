"""The table `[lanes.<name>.generic]`: a vendor's file, and what a lane adds to it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.content.model import Channel
from gateway.providers.generic import Generic, compile_vendor, secrets_of
from gateway.providers.generic_config import Account
from gateway.tables import Reader, Secret


class GenericSettings(Struct, frozen=True, kw_only=True):
    """One account at a vendor that a file describes."""

    # deploy/providers/*.toml are examples.
    file: Path
    sender: str = ""
    callback_url: str = ""
    # What the file calls {setting.<name>} and {secret.<name>}.
    settings: Mapping[str, str] = {}
    secrets: Mapping[str, Secret] = {}
    vendor: Mapping[str, Any] = {}
    """What the file says; part of the configuration, so that a reload sees that it has changed."""

    @property
    def channel(self) -> Channel:
        """What the vendor carries."""
        return self.vendor.get("channel", "sms")  # type: ignore[no-any-return]  # read as one when it was compiled

    @property
    def batch(self) -> int:
        """How many messages one request carries at most."""
        return self.vendor["request"].get("batch", 1)  # type: ignore[no-any-return]

    @property
    def proof(self) -> bool:
        """Whether callbacks are read."""
        return "callback" in self.vendor

    @property
    def account(self) -> Account:
        """What the lane adds to the vendor's file."""
        return Account(sender=self.sender, callback=self.callback_url, settings=self.settings, secrets=self.secrets)


def read(reader: Reader, raw: object, path: str) -> GenericSettings | None:
    """Return the table with the vendor's file, or None after noting every problem in either."""
    table = dict(raw) if isinstance(raw, dict) else raw
    before = len(reader.problems)
    secrets = table.pop("secrets", {}) if isinstance(table, dict) else {}
    settings = reader.table(GenericSettings, table, path, secrets={}, vendor={})
    if not isinstance(secrets, dict):
        reader.add(f"{path}.secrets", "is not a table", f"write it as [{path}.secrets]")
        return None
    known = secrets_of(reader, secrets, f"{path}.secrets")
    if settings is None or len(reader.problems) > before:
        return None
    # What is wrong in the file can be due to the lane, which may lack a setting: the path names both.
    where = f"{path}:{settings.file.name}"
    try:
        vendor = tomllib.loads(settings.file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reader.add(where, str(error), "a file of UTF-8 in TOML: see https://toml.io")
        return None
    settings = replace(settings, secrets=known, vendor=vendor)
    return settings if compile_vendor(reader, vendor, settings.account, where) else None


def provider(settings: GenericSettings) -> Generic:
    """Make the provider; the settings have been read, and so compile."""
    made = compile_vendor(Reader({}, Path()), settings.vendor, settings.account, settings.file.name)
    assert made is not None
    return made
