"""The two simulators: WhatsApp alone, and all other vendors on one port."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from gateway.simulators.behaviour import Behaviour
from gateway.simulators.server import Simulator
from gateway.simulators.vendors import VENDORS, Account
from gateway.simulators.whatsapp import WhatsApp

__all__ = ["HttpSimulator", "WhatsAppSimulator"]


class WhatsAppSimulator(Simulator):
    """The Graph API of one portfolio at the root of its URL, as http://127.0.0.1:<port>/v23.0/<phone number id>/messages."""

    def __init__(
        self,
        whatsapp: WhatsApp | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.whatsapp = whatsapp or WhatsApp()
        super().__init__({"whatsapp": self.whatsapp}, default=self.whatsapp, host=host, port=port, clock=clock)


class HttpSimulator(Simulator):
    """Every vendor at the first step of the path, as http://127.0.0.1:<port>/twilio/2010-04-01/Accounts/….

    `behaviours` and `accounts` are by vendor; one that is not named gets the defaults. In `webhook_url`, `{vendor}` stands for
    the vendor's name.
    """

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour] | None = None,
        accounts: Mapping[str, Account] | None = None,
        *,
        webhook_url: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        first_id: int = 0,
        seed: int = 0,
    ) -> None:
        ends = {
            name: vendor(
                (behaviours or {}).get(name),
                account=(accounts or {}).get(name),
                webhook_url=webhook_url.replace("{vendor}", name),
                first_id=first_id,
                seed=seed,
            )
            for name, vendor in VENDORS.items()
        }
        super().__init__(ends, host=host, port=port, clock=clock)
