"""What can be reached from elsewhere, where nobody has asked for it: nothing."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path

import pytest

from gateway import config
from gateway.http_lane_config import HttpSettings
from smpp.simulator import Simulator

DEPLOY = Path(__file__).parents[2] / "deploy"


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def test_every_listener_is_off_or_on_the_loopback_interface() -> None:
    """Metrics, health, callbacks and the simulator; a port of 0 is off."""
    for listener in (config.Admin(), config.Webhooks()):
        assert is_loopback(listener.host)
        assert listener.port == 0
    assert is_loopback(Simulator([]).host)


@pytest.mark.parametrize("name", ["recado.toml", "operator.toml", "operators.toml", "whatsapp.toml"])
def test_no_example_listens_to_the_world(name: str) -> None:
    """Whoever copies one opens nothing by it; containers have an example of their own."""
    tables = tomllib.loads((DEPLOY / name).read_text(encoding="utf-8"))
    for section in ("admin", "webhooks"):
        assert is_loopback(tables.get(section, {}).get("host", "127.0.0.1"))


def test_a_provider_cannot_send_us_into_our_own_network() -> None:
    """Private addresses and plain HTTP have to be asked for."""
    assert not HttpSettings().allow_private


def test_bodies_are_bounded_before_they_are_read() -> None:
    """The default takes Meta's largest callback and not much more."""
    assert 3 * 2**20 < config.Webhooks().max_body <= 8 * 2**20
