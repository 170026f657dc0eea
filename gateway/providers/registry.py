"""The providers by the names that they have in the configuration: what each is told, and how it is made.

A provider's module is imported when a lane uses it, and not before: some need packages that others do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

from msgspec import Struct

from gateway.content.model import Channel
from gateway.errors import GatewayError
from gateway.providers.contract import Provider
from gateway.tables import Reader

if TYPE_CHECKING:
    from gateway.http_lane_config import HttpLane

Name = Literal["whatsapp", "rcs", "twilio", "infobip", "vonage", "sinch", "aldeamo", "generic", "smtp"]


class Entry(Struct, frozen=True, kw_only=True):
    """What is known of a provider without its module."""

    module: str
    settings: str
    """The struct that its table in a lane is read as."""
    provider: str = ""
    """What makes it of these settings; empty for one that is no `Provider`."""
    channel: Channel | Literal[""] = ""
    """Empty where the settings tell: `told_by` is the field."""
    told_by: str = ""
    identity: tuple[str, ...]
    """The settings that say whose account or number it is."""
    alone: bool = False
    """Two lanes for one such number would each take its limits for their own: there may be one."""
    proof: str = ""
    """What its callbacks are verified with; empty for a provider that has none, and False there for a vendor that has none."""
    packages: Mapping[str, str] = {}
    """Beyond what every installation has: a package and the extra that brings it."""


PROVIDERS: Mapping[Name, Entry] = {
    "whatsapp": Entry(
        module="gateway.providers.whatsapp",
        settings="WhatsAppSettings",
        provider="WhatsApp",
        channel="whatsapp",
        identity=("phone_number_id",),
        alone=True,
        proof="app_secret",
    ),
    "rcs": Entry(
        module="gateway.providers.rbm",
        settings="RbmSettings",
        provider="Rbm",
        channel="rcs",
        identity=("agent_id",),
        alone=True,
        proof="client_token",
        packages={"cryptography": "rcs"},
    ),
    "twilio": Entry(
        module="gateway.providers.twilio",
        settings="TwilioSettings",
        provider="Twilio",
        told_by="product",
        identity=("account_sid",),
        proof="auth_token",
    ),
    "infobip": Entry(
        module="gateway.providers.infobip",
        settings="InfobipSettings",
        provider="Infobip",
        channel="sms",
        identity=("base_url",),
        proof="callback_password",
    ),
    "vonage": Entry(
        module="gateway.providers.vonage",
        settings="VonageSettings",
        provider="Vonage",
        channel="sms",
        identity=("api_key",),
        proof="signature_secret",
    ),
    "sinch": Entry(
        module="gateway.providers.sinch",
        settings="SinchSettings",
        provider="Sinch",
        channel="sms",
        identity=("service_plan_id",),
        proof="callback_secret",
    ),
    "aldeamo": Entry(
        module="gateway.providers.aldeamo",
        settings="AldeamoSettings",
        provider="Aldeamo",
        channel="sms",
        identity=("base_url", "user"),
    ),
    "generic": Entry(
        module="gateway.providers.generic_lane",
        settings="GenericSettings",
        provider="provider",
        told_by="channel",
        identity=("file", "settings", "secrets"),
        proof="proof",
        packages={"cryptography": "rcs"},
    ),
    "smtp": Entry(
        module="gateway.mail",
        settings="MailSettings",
        channel="email",
        identity=("host", "username"),
        packages={"aiosmtplib": "mail"},
    ),
}

NAMES: tuple[str, ...] = get_args(Name)

_BATCH = "batch"
_CALLBACK = "callback_url"


class MissingPackage(GatewayError):
    """A provider whose lanes need a package that is not installed; `remedy` says how to install it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"needs the package {package}")
        self.remedy = f"pip install 'recado[{extra}]'"


def read(reader: Reader, name: Name, raw: object, path: str, callback_url: str) -> Struct | None:
    """Return a provider's table in a lane as its settings, or None after at least one more problem.

    `callback_url` is where the lane hears from its provider; it is given to a provider that wants to be told, unless the
    table names another. Raises `MissingPackage`.
    """
    try:
        module = _module(name)
        model: type[Struct] = getattr(module, PROVIDERS[name].settings)
        if isinstance(raw, dict) and callback_url and _CALLBACK in model.__struct_fields__:
            raw = {_CALLBACK: callback_url} | raw
        if name == "generic":
            settings: Struct | None = module.read(reader, raw, path)
            return settings
        return reader.table(model, raw, path)
    except ModuleNotFoundError as error:
        raise _missing(PROVIDERS[name], error) from error


def build(lane: HttpLane) -> Provider:
    """Make the provider of a lane. One that is no `Provider` (smtp) is made by its port, from `lane.settings`."""
    made: Provider = getattr(_module(lane.provider), PROVIDERS[lane.provider].provider)(lane.settings)
    return made


def channel(name: Name, settings: Struct) -> Channel:
    """Return what a lane with these settings carries."""
    entry = PROVIDERS[name]
    told: Channel = entry.channel or getattr(settings, entry.told_by)
    return told


def has_callbacks(name: Name, settings: Struct) -> bool:
    """Say whether the provider tells what became of messages. Without the secret it does so in vain."""
    proof = PROVIDERS[name].proof
    return bool(proof) and getattr(settings, proof) is not False


def batch(settings: Struct) -> int:
    """Return how many messages one request of a lane with these settings carries at most."""
    most: int = getattr(settings, _BATCH, 1)
    return most


def identity(name: Name, settings: Struct) -> tuple[object, ...]:
    """Return whose account or number it is: equal for two lanes that are one to the provider."""
    return (name, *(getattr(settings, field) for field in PROVIDERS[name].identity))


def _module(name: Name) -> Any:
    return import_module(PROVIDERS[name].module)


def _missing(entry: Entry, error: ModuleNotFoundError) -> Exception:
    package = (error.name or "").partition(".")[0]
    extra = entry.packages.get(package)
    return MissingPackage(package, extra) if extra else error
