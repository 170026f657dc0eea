"""One table `[lanes.<name>]` of a provider over HTTP (or of a server of mail): `recado` makes requests where it has binds.

What is the provider's own stands in a table named after it, `[lanes.<name>.twilio]`, and is read as its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import fields

from gateway.content.model import Channel
from gateway.lane_config import NO_HOST, Contract, Lane, is_host
from gateway.providers import registry
from gateway.quantities import Pause, Seconds
from gateway.tables import Certificates, Contradiction, Reader, did_you_mean
from smpp.receipt import IdFormat


class HttpSettings(Struct, frozen=True, kw_only=True):
    """How the requests of a lane are made. The deadline for an answer, `timeout_s`, counts from before the connection."""

    concurrency: Annotated[int, Meta(ge=1, le=1000, description="requests of a slot at a time, from 1 to 1000")] = 16
    connect_timeout_s: Seconds = 5
    # Later answers are lost, and the message is in doubt from then on.
    timeout_s: Seconds = 30
    max_response: Annotated[int, Meta(ge=1024, le=2**30, description="bytes, at least 1024")] = 1_048_576
    # For a provider in our own network: addresses that are not public, and http:// without TLS.
    allow_private: bool = False
    ca_file: Certificates | None = None
    drain_s: Pause = 10
    reconnect_min_s: Seconds = 1
    reconnect_max_s: Seconds = 60

    def __post_init__(self) -> None:
        if self.connect_timeout_s >= self.timeout_s:
            # Else it could not be told whether a request that took too long was ever written.
            raise Contradiction("connect_timeout_s", "is not below timeout_s", "connecting is a part of the request")
        if self.reconnect_min_s > self.reconnect_max_s:
            raise Contradiction("reconnect_min_s", "is above reconnect_max_s", "the first wait is the shortest")


_OF_MAIL = ("concurrency", "drain_s")
"""What a lane of mail has of these: its connections are made by the settings of its server."""


class HttpLane(Contract, frozen=True, kw_only=True):
    """A contract with one provider: an account or a number there, with its slots and their requests."""

    provider: registry.Name
    # Parallel shares, each with its requests and with partitions of its own: what processes can divide among themselves.
    slots: Annotated[int, Meta(ge=1, le=64, description="parallel shares of the lane, from 1 to 64")] = 1
    http: HttpSettings
    """Its keys stand in the lane's own table."""
    settings: Any
    """Those of the provider: `WhatsAppSettings`, `TwilioSettings` …"""

    @property
    def channel(self) -> Channel:
        """What it carries."""
        return registry.channel(self.provider, self.settings)

    @property
    def concurrency(self) -> int:
        """Requests of a slot at a time."""
        return self.http.concurrency

    @property
    def window(self) -> int:
        """Messages of a slot that may be unanswered: a request carries up to a batch of them."""
        return self.http.concurrency * registry.batch(self.settings)

    @property
    def drain_s(self) -> float:
        """How long a slot that is given up waits for its answers."""
        return self.http.drain_s

    @property
    def sender(self) -> str:
        """Who sends where the job names nobody; empty where the account itself is the sender."""
        sender: str = getattr(self.settings, "sender", "")
        return sender

    @property
    def max_parts(self) -> int:
        """A message is one part to us, whatever its provider makes of it."""
        return 1

    @property
    def message_id_format(self) -> IdFormat:
        """Callbacks write ids as answers do."""
        return "same"

    @property
    def has_callbacks(self) -> bool:
        """Whether its provider tells what became of messages."""
        return registry.has_callbacks(self.provider, self.settings)

    @property
    def identity(self) -> tuple[object, ...]:
        """Whose account or number it is: equal for two lanes that are one to the provider."""
        return registry.identity(self.provider, self.settings)


AnyLane = Lane | HttpLane


def read(
    reader: Reader, model: type[HttpLane], raw: Mapping[str, Any], path: str, *, name: str, callback_url: str
) -> HttpLane | None:
    """Return a lane's table as a `model`, or None after at least one more problem; `raw["provider"]` is a provider's name."""
    before = len(reader.problems)
    provider: registry.Name = raw["provider"]
    http = [field for field in HttpSettings.__struct_fields__ if provider != "smtp" or field in _OF_MAIL]
    given = {"name", "http", "settings"}
    own = [field.encode_name for field in fields(model) if field.name not in given]
    reader.unknown_keys(raw, [*own, *http, provider], path)
    try:
        settings = registry.read(reader, provider, raw.get(provider, {}), f"{path}.{provider}", callback_url)
    except registry.MissingPackage as error:
        reader.add(f"{path}.provider", str(error), error.remedy)
        settings = None
    requests = reader.table(HttpSettings, {key: raw[key] for key in http if key in raw}, path)
    _check_url(reader, getattr(settings, "base_url", ""), requests, f"{path}.{provider}.base_url")
    if not is_host(getattr(settings, "host", "localhost")):
        reader.add(f"{path}.{provider}.host", *NO_HOST)
    lane = reader.table(
        model, {key: raw[key] for key in own if key in raw}, path, name=name, http=requests, settings=settings
    )
    return lane if len(reader.problems) == before else None


def _check_url(reader: Reader, url: str, requests: HttpSettings | None, where: str) -> None:
    allowed = ("https://", "http://") if requests and requests.allow_private else ("https://",)
    if url and not url.startswith(allowed):
        reader.add(where, "is refused", "https://…; http:// only with allow_private, in a network of ours")
    elif url and not is_host(_host_of(url)):
        reader.add(where, *NO_HOST)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def known(reader: Reader, provider: object, path: str) -> bool:
    """Whether there is such a provider; notes that there is none."""
    if provider in registry.NAMES:
        return True
    names = ["smpp", *registry.NAMES]
    remedy = f"one of: {', '.join(names)}"
    reader.add(f"{path}.provider", f"there is no provider {provider!r}", did_you_mean(str(provider), names) or remedy)
    return False
