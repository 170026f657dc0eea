"""`recado sim whatsapp` and `recado sim http`: what options become, and what a mistake is told."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import sim_http
from gateway.simulators import WhatsAppSimulator
from gateway.simulators.limits import Limits
from gateway.simulators.setup import HttpSetup, WhatsAppSetup


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(pretty_exceptions_enable=False)
    made.command()(sim_http.whatsapp)
    made.command(name="http")(sim_http.http)
    return made


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been played, instead of playing it."""
    found: list[Any] = []
    monkeypatch.setattr(sim_http, "_play", lambda *played: found.append(played))
    return found


def test_options_become_a_setup(app: typer.Typer, played: list[Any]) -> None:
    """And go before what JSON says."""
    setup = '{"behaviour": {"latency_s": 1, "read_s": 2}, "limits": {"pair": false}}'
    options = ["--latency", "0.5", "--error", "131048=0.01", "--mps", "20", "--limit", "TIER_2K", "--number", "1"]
    options += ["--template", "a es", "--reads", "0", "--setup", setup]
    assert CliRunner().invoke(app, ["whatsapp", *options]).exit_code == 0
    ((described, host, port),) = played
    assert isinstance(described, WhatsAppSetup)
    assert (host, port) == ("127.0.0.1", 8443)
    behaviour = described.behaviour
    assert (behaviour.latency_s, behaviour.read_s, behaviour.errors) == (0.5, 2, {"131048": 0.01})
    assert described.limits == Limits(throughput_mps=20, messaging_limit=2000, pair=False)
    assert (described.numbers, list(described.templates or ())) == (("1",), ["a es"])


def test_without_options_it_is_like_meta(app: typer.Typer, played: list[Any]) -> None:
    """One number at 80 a second, any template."""
    assert CliRunner().invoke(app, ["whatsapp"]).exit_code == 0
    assert played[0][0] == WhatsAppSetup()


def test_every_vendor_gets_the_behaviour_that_none_has_of_its_own(app: typer.Typer, played: list[Any]) -> None:
    """By its name in the JSON."""
    setup = '{"behaviours": {"sinch": {"latency_s": 9}}}'
    options = ["--fault", "unanswered=0.1", "--webhook-url", "http://a/{vendor}", "--setup", setup]
    assert CliRunner().invoke(app, ["http", *options]).exit_code == 0
    described = played[0][0]
    assert isinstance(described, HttpSetup)
    ends = described.simulator("127.0.0.1", 0).ends
    assert ends["twilio"].script.behaviour.faults == {"unanswered": 0.1}
    assert (ends["sinch"].script.behaviour.latency_s, ends["sinch"].webhook_url) == (9, "http://a/sinch")


@pytest.mark.parametrize(
    "arguments",
    [
        ["whatsapp", "--limit", "TIER_7"],
        ["whatsapp", "--error", "131048"],
        ["whatsapp", "--fault", "dance=1"],
        ["whatsapp", "--template", "a"],
        ["http", "--setup", "/no/such/file"],
        ["http", "--failure", "1=2"],
    ],
)
def test_a_mistake_is_exit_code_2(app: typer.Typer, arguments: list[str]) -> None:
    """With a line that says what it is."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.output.startswith("recado: ")


def test_a_line_says_what_happened() -> None:
    """Nothing of a far end that nobody used, but for WhatsApp's state."""
    whatsapp = WhatsAppSimulator().whatsapp
    assert sim_http._status(whatsapp, 0, 0.0) == "whatsapp: GREEN, TIER_UNLIMITED, 0 people reached"
    counts = whatsapp.record.counts
    counts.requests = counts.accepted = 1234
    counts.refused["131056"] = 2
    assert "1,234 accepted (80/s), 2 131056" in sim_http._status(whatsapp, 80, 0.0)
    assert sim_http._status(next(iter(HttpSetup().simulator("127.0.0.1", 0).ends.values())), 0, 0.0) == ""
