"""How the gateway sees its number of WhatsApp, as it says itself at `/metrics`."""

from __future__ import annotations

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from gateway.simulators.limits import tier

_WANTED = {
    "recado_whatsapp_quality",
    "recado_whatsapp_limit",
    "recado_whatsapp_recipients_used",
    "recado_lane_effective_rate",
}


class Standing(Struct, frozen=True):
    """A number at one moment."""

    quality: str = "UNKNOWN"
    rate: float = 0.0
    """Messages a second that it may send now."""
    limit: int | None = None
    """People that its portfolio may reach in 24 hours."""
    used: int = 0

    def __str__(self) -> str:
        left = "" if self.limit is None else f" of {self.limit:,}"
        return f"{self.quality}, {self.rate:,.0f} messages/s, {tier(self.limit)}: {self.used:,}{left} people reached"


def read(metrics: str, lane: str) -> Standing:
    """Read what is said of the number of a lane, the only one; what is not said is as in `Standing`."""
    samples = {
        sample.name: sample
        for family in text_string_to_metric_families(metrics)
        if family.name in _WANTED
        for sample in family.samples
        if sample.labels.get("lane", lane) == lane
    }
    quality, limit = samples.get("recado_whatsapp_quality"), samples.get("recado_whatsapp_limit")
    rate, used = samples.get("recado_lane_effective_rate"), samples.get("recado_whatsapp_recipients_used")
    return Standing(
        quality.labels["rating"] if quality else "UNKNOWN",
        rate.value if rate else 0.0,
        int(limit.value) if limit else None,
        int(used.value) if used else 0,
    )
