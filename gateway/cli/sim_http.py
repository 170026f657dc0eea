# ruff: noqa: PLC0415 - every command imports what it needs, so that `recado --help` need not wait for it
"""`recado sim whatsapp` and `recado sim http`: the simulated providers over HTTP for a person at a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.terminal import fail, run_until_signal, say

if TYPE_CHECKING:
    from gateway.simulators.end import End
    from gateway.simulators.server import Simulator
    from gateway.simulators.setup import Setup

_REPORT_EVERY_S = 5.0

Host = Annotated[str, typer.Option(help="Where to listen.")]
Port = Annotated[int, typer.Option(help="Of requests and of /control/…; 0 takes any that is free.")]
Latency = Annotated[float | None, typer.Option(metavar="SECONDS", help="Until a request is answered.")]
LatencyJitter = Annotated[float | None, typer.Option(metavar="SECONDS", help="Added at random.")]
Faults = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FAULT=SHARE", help="Spoil so many answers: unanswered, reset, slow, garbage, close, bare_500 …"
    ),
]
Receipts = Annotated[float | None, typer.Option(metavar="SHARE", help="Messages that are reported on.")]
Delivered = Annotated[float | None, typer.Option(metavar="SECONDS", help="From sent to delivered.")]
Reads = Annotated[float | None, typer.Option(metavar="SHARE", help="Delivered messages that are read.")]
SetupOption = Annotated[
    str,
    typer.Option(
        metavar="FILE|JSON", help='Any knob: \'{"behaviour": {"delivered_skipped": 0.5}}\'; see gateway/simulators.'
    ),
]


def whatsapp(
    host: Host = "127.0.0.1",
    port: Port = 8443,
    webhook_url: Annotated[str, typer.Option(metavar="URL", help="Where the webhooks go; none without it.")] = "",
    number: Annotated[list[str] | None, typer.Option(metavar="ID", help="A phone number id; may be repeated.")] = None,
    token: Annotated[str | None, typer.Option(help="Of the requests. Default: recado.")] = None,
    app_secret: Annotated[str | None, typer.Option(help="Signs the webhooks. Default: recado.")] = None,
    mps: Annotated[int | None, typer.Option(help="Messages a second of a number, beyond: 130429. Default: 80.")] = None,
    limit: Annotated[
        str | None, typer.Option(metavar="TIER|PEOPLE", help="Different people in 24 hours. Default: TIER_UNLIMITED.")
    ] = None,
    day: Annotated[float | None, typer.Option(metavar="SECONDS", help="How long those 24 hours are.")] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME LANGUAGE'", help="The only templates there are. Default: any is taken."),
    ] = None,
    latency: Latency = None,
    latency_jitter: LatencyJitter = None,
    error: Annotated[list[str] | None, typer.Option(metavar="CODE=SHARE", help="Refuse so many: 131048=0.01.")] = None,
    failure: Annotated[
        list[str] | None, typer.Option(metavar="CODE=SHARE", help="Accept so many that fail later: 131026=0.05.")
    ] = None,
    fault: Faults = None,
    receipts: Receipts = None,
    delivered: Delivered = None,
    reads: Reads = None,
    setup: SetupOption = "{}",
) -> None:
    """Play Meta's side of WhatsApp until Ctrl-C: it takes messages, sends signed webhooks, and delivers to nobody.

    Without options it is one number, 100000000000001, with the token
    recado, that takes 80 messages a second, one each 6 seconds for a
    person (45 at once), and templates only until that person has written.

    [bold]Try it:[/bold]

      recado sim whatsapp --webhook-url http://127.0.0.1:8080/whatsapp
      curl -d '{"rating": "RED"}' 127.0.0.1:8443/control/quality
      curl -d '{"messaging_limit": "TIER_2K"}' 127.0.0.1:8443/control/limit
      curl -d '{"sender": "573001234567", "text": "hola"}' \\
           127.0.0.1:8443/control/inbound
      curl -d '{"script": [{"code": "131056", "times": 3}]}' \\
           127.0.0.1:8443/control/errors
      curl -d '' 127.0.0.1:8443/control/stats
    """
    from gateway.simulators.setup import InvalidSetup, WhatsAppSetup, read_setup

    try:
        knobs = _behaviour(latency, latency_jitter, error, failure, fault, receipts, delivered, reads)
        people = int(limit) if limit and limit.isdecimal() else limit
        limits = _given(throughput_mps=mps, messaging_limit=people, day_s=day)
        described = read_setup(
            setup,
            WhatsAppSetup,
            webhook_url=webhook_url,
            numbers=number,
            token=token,
            app_secret=app_secret,
            templates={name: {} for name in template or ()},
            limits=limits,
            behaviour=knobs,
        )
    except InvalidSetup as mistake:
        fail(str(mistake), 2)
    _play(described, host, port)


def http(
    host: Host = "127.0.0.1",
    port: Port = 8444,
    webhook_url: Annotated[
        str,
        typer.Option(metavar="URL", help="Where callbacks go that no request named a place for; {vendor} is replaced."),
    ] = "",
    latency: Latency = None,
    latency_jitter: LatencyJitter = None,
    error: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE=SHARE", help="Refuse so many, with a vendor's code or a status: 429=0.01."),
    ] = None,
    failure: Annotated[
        list[str] | None, typer.Option(metavar="CODE=SHARE", help="Accept so many that fail later.")
    ] = None,
    fault: Faults = None,
    receipts: Receipts = None,
    delivered: Delivered = None,
    reads: Reads = None,
    setup: SetupOption = "{}",
) -> None:
    """Play Twilio, Infobip, Vonage, Sinch, Aldeamo, RBM and a generic vendor until Ctrl-C, each at its path.

    http://127.0.0.1:8444/twilio/2010-04-01/Accounts/…, /infobip/sms/3/…,
    /vonage/sms/json, /sinch/xms/v1/…, /aldeamo/SmsiWS/…, /rbm/v1/phones/…,
    /generic. Logins and secrets are recado, callbacks are signed as each
    vendor signs them, and nobody gets a message.

    [bold]Try it:[/bold]

      recado sim http --latency 0.1 --fault unanswered=0.01
      curl -u recado:recado -d To=+573001234567 -d From=89000 -d Body=hola \\
           127.0.0.1:8444/twilio/2010-04-01/Accounts/recado/Messages.json
      curl -d '{"end": "twilio", "script": [{"code": "20429"}]}' \\
           127.0.0.1:8444/control/errors
      curl -d '' 127.0.0.1:8444/control/stats
    """
    from gateway.simulators.setup import HttpSetup, InvalidSetup, read_setup

    try:
        knobs = _behaviour(latency, latency_jitter, error, failure, fault, receipts, delivered, reads)
        described = read_setup(setup, HttpSetup, webhook_url=webhook_url, behaviour=knobs)
    except InvalidSetup as mistake:
        fail(str(mistake), 2)
    _play(described, host, port)


def _behaviour(
    latency: float | None,
    latency_jitter: float | None,
    errors: Iterable[str] | None,
    failures: Iterable[str] | None,
    faults: Iterable[str] | None,
    receipts: float | None,
    delivered: float | None,
    reads: float | None,
) -> dict[str, Any]:
    return _given(
        latency_s=latency,
        latency_jitter_s=latency_jitter,
        errors=_shares(errors),
        failures=_shares(failures),
        faults=_shares(faults),
        receipt_ratio=receipts,
        delivered_s=delivered,
        read_ratio=reads,
    )


def _given(**knobs: Any) -> dict[str, Any]:
    return {name: value for name, value in knobs.items() if value not in (None, {})}


def _shares(given: Iterable[str] | None) -> dict[str, float]:
    """Read `131048=0.01` and the like."""
    shares = {}
    for text in given or ():
        name, _, share = text.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            fail(f"{text} is no NAME=SHARE, such as 131048=0.01", 2)
    return shares


def _play(described: Setup, host: str, port: int) -> None:
    simulator = described.simulator(host, port)
    try:
        run_until_signal(_serve(simulator))
    except OSError as taken:
        fail(f"cannot listen on {host}:{port}: {taken.strerror or taken}")


async def _serve(simulator: Simulator) -> None:
    """Serve until cancelled or told to stop, and say every few seconds what happened."""
    from gateway.simulators.control import Control

    control = Control(simulator)
    async with simulator:
        say(f"{', '.join(simulator.ends)} on http://{simulator.host}:{simulator.port}, commands at /control/…")
        lines: dict[str, str] = {}
        last = dict.fromkeys(simulator.ends, 0)
        while not control.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(control.stopped.wait(), _REPORT_EVERY_S)
            for name, end in simulator.ends.items():
                accepted = end.record.counts.accepted
                line = _status(end, max(0, accepted - last[name]) / _REPORT_EVERY_S, simulator.clock())
                last[name] = accepted
                if line and line != lines.get(name):
                    say(f"{time.strftime('%H:%M:%S')}  {line}")
                lines[name] = line


def _status(end: End, rate: float, now: float) -> str:
    """One line on a far end; empty if nobody has used it."""
    from gateway.simulators.limits import tier
    from gateway.simulators.whatsapp import WhatsApp

    counts = end.record.counts
    parts = [f"{counts.accepted:,} accepted ({rate:,.0f}/s)"] if counts.requests else []
    parts += [f"{count:,} {code}" for code, count in (*counts.refused.items(), *counts.faults.items())]
    if counts.malformed:
        parts.append(f"{counts.malformed:,} malformed")
    if end.callbacks.planned:
        parts.append(f"{end.callbacks.sent:,} callbacks answered, {end.callbacks.pending:,} pending")
    if isinstance(end, WhatsApp):
        ratings = "/".join(number.quality_rating for number in end.numbers.values())
        parts.append(f"{ratings}, {tier(end.limits.messaging_limit)}, {end.reached(now):,} people reached")
    return f"{end.name}: {', '.join(parts)}" if parts else ""
