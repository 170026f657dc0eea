"""How a simulator is described in JSON, for a command line: one value for each kind of simulator."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.errors import GatewayError
from gateway.simulators.behaviour import Behaviour
from gateway.simulators.end import NOBODY
from gateway.simulators.limits import TIERS, Limits
from gateway.simulators.server import Simulator
from gateway.simulators.simulators import HttpSimulator, WhatsAppSimulator
from gateway.simulators.vendors import VENDORS, Account
from gateway.simulators.whatsapp import TemplateState, WhatsApp

__all__ = ["HttpSetup", "InvalidSetup", "Setup", "WhatsAppSetup", "read_setup"]

S = TypeVar("S", bound="Setup")


class InvalidSetup(GatewayError):
    """A description that means nothing."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds have. `webhook_url` is where callbacks go."""

    webhook_url: str = ""
    seed: int = 0

    def simulator(self, host: str, port: int) -> Simulator:
        raise NotImplementedError


class WhatsAppSetup(Setup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`templates` by `name language`; none given takes any."""

    behaviour: Behaviour = Behaviour()
    limits: Limits = Limits()
    numbers: tuple[str, ...] = ("100000000000001",)
    token: str = NOBODY
    app_secret: str = NOBODY
    templates: dict[str, TemplateState] | None = None

    def __post_init__(self) -> None:
        if not self.numbers:
            raise ValueError("there is no number")
        if any(len(name.split()) != 2 for name in self.templates or ()):
            raise ValueError("a template is named by its name and its language, as in 'payment_due es_MX'")

    def simulator(self, host: str, port: int) -> WhatsAppSimulator:
        templates = None
        if self.templates is not None:
            templates = {(key.split()[0], key.split()[1]): state for key, state in self.templates.items()}
        whatsapp = WhatsApp(
            self.behaviour,
            numbers=self.numbers,
            token=self.token,
            app_secret=self.app_secret,
            templates=templates,
            limits=self.limits,
            webhook_url=self.webhook_url,
            first_id=_first_id(),
            seed=self.seed,
        )
        return WhatsAppSimulator(whatsapp, host=host, port=port)


class HttpSetup(Setup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`behaviour` is every vendor's that has none of its own in `behaviours`; `accounts` are by vendor too."""

    behaviour: Behaviour = Behaviour()
    behaviours: dict[str, Behaviour] = {}
    accounts: dict[str, Account] = {}

    def __post_init__(self) -> None:
        unknown = (self.behaviours.keys() | self.accounts.keys()) - VENDORS.keys()
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: the vendors are {', '.join(VENDORS)}")

    def simulator(self, host: str, port: int) -> HttpSimulator:
        behaviours = dict.fromkeys(VENDORS, self.behaviour) | self.behaviours
        return HttpSimulator(
            behaviours,
            self.accounts,
            webhook_url=self.webhook_url,
            host=host,
            port=port,
            first_id=_first_id(),
            seed=self.seed,
        )


def read_setup(given: str, kind: type[S], **fields: Any) -> S:
    """A setup from JSON, or from a file of it, with single fields that go first unless they are empty.

    A dictionary among them changes the fields of its name one by one. A messaging limit may be a tier. Raises `InvalidSetup`.
    """
    try:
        text = given.encode() if given.lstrip().startswith("{") else Path(given).read_bytes()
        read = msgspec.json.decode(text, type=dict[str, Any])
        for name, value in fields.items():
            if value not in (None, "", {}, ()):
                read[name] = {**read.get(name, {}), **value} if isinstance(value, dict) else value
        limits = read.get("limits", {})
        if isinstance(limits.get("messaging_limit"), str):
            limits["messaging_limit"] = TIERS[limits["messaging_limit"]]
        return msgspec.convert(read, kind)
    except KeyError as error:
        raise InvalidSetup(f"{error} is no tier; they are {', '.join(TIERS)}") from error
    except (OSError, msgspec.MsgspecError, ValueError, TypeError, AttributeError) as error:
        raise InvalidSetup(str(error)) from error


def _first_id() -> int:
    """A provider does not give out an id again when it was restarted."""
    return int(time.time()) * 1_000_000
