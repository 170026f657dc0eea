# ruff: noqa: PLC0415 - every command imports what it needs, so that `recado --help` need not wait for Kafka clients
"""The commands and their options; what they do is elsewhere."""

from __future__ import annotations

import signal
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gateway.cli import operating, sim_http
from gateway.cli.terminal import INTERRUPTED, console, fail, run_until_signal, say
from gateway.model import EventStatus, TrafficClass

app = typer.Typer(
    name="recado",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Carry bulk messages from Kafka to SMPP short codes, as fast as each operator allows, and lose none.

    [bold]Try it,[/bold] without anything but this program:

      recado demo

    [bold]Set it up:[/bold]

      recado check recado.toml              [dim]what it means, or what is wrong[/dim]
      recado topics --create -c recado.toml [dim]make the topics that are missing[/dim]
      recado run -c recado.toml             [dim]SIGTERM drains and stops[/dim]
      recado run -c recado.toml --workers 4 --pidfile recado.pid
      recado reload --pidfile recado.pid    [dim]apply a changed file[/dim]

    [bold]Send, and see what becomes of it:[/bold]

      recado send people.csv -c recado.toml --job-id nov-1 \\
             --text "Hola {nombre}, su factura vence el {fecha}"
      recado events -c recado.toml --job nov-1 --status failed

    [bold]See what it does, and stop it:[/bold]

      recado top -c recado.toml             [dim]lanes as they are now[/dim]
      recado pause claro-co -c recado.toml  [dim]or --campaign, --template[/dim]
      recado dead list -c recado.toml       [dim]what could not be read[/dim]

    [bold]Play an operator,[/bold] slow and moody if you like:

      recado sim smsc --port 2775 --latency 0.05 --error ESME_RSYSERR=0.01

    Exit codes: 0 done, 1 failed, 2 a mistake in the arguments or in the
    configuration, 130 interrupted.""",
)
sim = typer.Typer(no_args_is_help=True, help="Simulated providers: they take everything and deliver to nobody.")
app.add_typer(sim, name="sim")
sim.command()(sim_http.whatsapp)
sim.command()(sim_http.http)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration, a TOML file.")]
AsJSON = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]


def main() -> None:
    """The entry point of `recado`."""
    app(prog_name="recado")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recado {version('recado')}")
        raise typer.Exit


@app.callback()
def _recado(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigFile,
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], typer.Option(case_sensitive=False, help="How much to log.")
    ] = "INFO",
    workers: Annotated[
        int | None, typer.Option(min=0, help="So many processes, supervised by this one; 0: one for each core.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="Words and key=value, or JSON, an object a line.")
    ] = "text",
    pidfile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the process id there, for `recado reload`.")
    ] = None,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run one gateway process, or several, until SIGTERM or Ctrl-C.

    It stops taking in, lets the windows drain, unbinds and commits; a
    second signal ends it at once. Start as many processes as you like with
    the same file, here and on other machines: they share the lanes.

    With --workers, one that dies is started again; one that somebody has
    drained (POST /drain at its admin port, or SIGTERM to it alone) stays
    down until `recado reload`. Exit code 0 if all drained; 1 if one had to
    be killed, or none came up; 2 if the configuration cannot be used, or a
    port of it is taken.
    """
    from gateway import log
    from gateway.cli import control, mistakes

    loaded = mistakes.load(config)
    log.setup(log_level, log_format, worker)
    # Who finds us by the pidfile may send it at once, and would end us: it waits for its handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    with control.pidfile(pidfile):
        if workers is not None:
            raise typer.Exit(control.supervise(config, workers, "--log-level", log_level, "--log-format", log_format))
        with mistakes.explained(loaded):
            control.work(config, loaded, worker)


@app.command()
def reload(
    pidfile: Annotated[Path | None, typer.Option(metavar="FILE", help="The one that `recado run` was given.")] = None,
    pid: Annotated[int | None, typer.Option(min=1, help="The process, if it has no pidfile.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Check this file first, and stop if it is bad."),
    ] = None,
) -> None:
    """Have a running gateway read its configuration again: sends it SIGHUP.

    What can change without dropping a bind changes at once; a bad file is
    refused as a whole. The gateway's log says which, and why. Workers that
    were drained are started again.
    """
    from gateway.cli import control, mistakes

    if config is not None:
        mistakes.load(config)
    if pidfile is not None and pid is None:
        control.hang_up(control.running(pidfile))
    elif pid is not None and pidfile is None:
        control.hang_up(pid)
    else:
        fail("name the gateway by --pidfile or by --pid", 2)


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: AsJSON = False) -> None:
    """Say what a configuration means, or every problem in it with a remedy.

    Exit code 2 if there is a problem; warnings are none.
    """
    import msgspec

    from gateway.check import describe
    from gateway.cli import mistakes, tables
    from gateway.config import load
    from gateway.errors import ConfigError

    if not as_json:
        screen = console()
        for table in tables.summary(describe(mistakes.load(file))):
            screen.print(table)
        return
    try:
        answer: Any = describe(load(file))
    except ConfigError as error:
        answer = {"problems": error.problems}
    typer.echo(msgspec.json.format(msgspec.json.encode(answer)))
    if isinstance(answer, dict):
        raise typer.Exit(2)


@app.command()
def topics(
    config: ConfigFile,
    create: Annotated[bool, typer.Option("--create", help="Make the topics that are missing.")] = False,
) -> None:
    """List the topics that a configuration needs, and which of them are there.

    Exit code 1 if one is missing or does not fit. No topic is ever changed or deleted; of lanes' topics that it makes it has the
    store forget what it knows of older ones of the same names.
    """
    import uvloop

    from gateway import inventory, log
    from gateway import topics as kafka
    from gateway.cli import mistakes, tables
    from gateway.errors import StoreUnavailable

    loaded = mistakes.load(config)
    log.setup("WARNING")
    outcome: dict[str, str] = {}
    with mistakes.explained(loaded):
        there = uvloop.run(inventory.existing(loaded))
        missing = [topic.name for topic in inventory.compare(loaded, there) if not topic.found]
        if create and missing:
            try:
                uvloop.run(inventory.forget_lanes(loaded, missing))
            except StoreUnavailable as error:
                say(f"warning: the store is not asked whether it knows older topics of these names: {error}")
            outcome = uvloop.run(kafka.create(loaded))
            there = uvloop.run(inventory.existing(loaded))
        found = inventory.compare(loaded, there)
        stranded = uvloop.run(inventory.stranded(loaded, there))
    created = {name for name, what in outcome.items() if what == "created"}
    console().print(tables.inventory(found, created))
    for name, what in outcome.items():
        if what.startswith("error"):
            say(f"{name}: {what}")
    for name, count in stranded.items():
        say(f"warning: {count} messages wait in {name}, which the configuration has no more: nobody reads them")
    if any(topic.fault for topic in found):
        raise typer.Exit(1)


@app.command()
def send(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    config: ConfigFile,
    job_id: Annotated[
        str, typer.Option(help="Names the campaign: sent again with the same id, nobody gets it twice.")
    ] = "",
    text: Annotated[
        str, typer.Option(metavar="TEMPLATE", help="With {placeholders}; a brace itself is {{ or }}.")
    ] = "",
    campaign: Annotated[str, typer.Option(help="A name to report by.")] = "",
    tenant: Annotated[str, typer.Option(help="Who pays; ids are unique within a tenant.")] = "",
    class_: Annotated[TrafficClass, typer.Option("--class", help="How urgent it is.")] = TrafficClass.BULK,
    sender: Annotated[str, typer.Option(help="Short code or name; default: the lane's.")] = "",
    expires_at: Annotated[str, typer.Option(metavar="TIME", help="2026-11-21T23:00:00-05:00: not sent after it.")] = "",
    per_job: Annotated[int, typer.Option(min=1, max=10_000, help="Recipients in one job.")] = 500,
    strict: Annotated[bool, typer.Option("--strict", help="Publish nothing if one row is bad.")] = False,
) -> None:
    """Publish a campaign to the jobs topic, and return when Kafka has all of it.

    [bold]FILE.csv[/bold] (commas, semicolons or tabs): the header names the columns.
    `to` is the number in E.164, `message_id`, if there is one, is yours,
    and all others are parameters of the text.

    [bold]FILE.jsonl[/bold]: on each line a recipient, {"to": …, "params": {…}}, or a
    whole job as it is to be published.

    Bad rows are listed by their line and left out. Correct them and send
    the whole file again with the same --job-id: those who have got it are
    recognised, by their `message_id` or, without one, by their line. So
    neither delete nor sort rows that have none.
    """
    from gateway.cli import mistakes
    from gateway.cli import send as sending

    loaded = mistakes.load(config)
    fields = {"campaign": campaign, "tenant": tenant, "class": class_, "sender": sender, "expires_at": expires_at}
    sending.send(file, loaded, sending.form(job_id, text, **fields), per_job, strict)


@app.command()
def events(
    config: ConfigFile,
    status: Annotated[list[EventStatus] | None, typer.Option(help="Only this status; may be repeated.")] = None,
    job: Annotated[str, typer.Option(help="Only this job, or all of what `send` published under this --job-id.")] = "",
    tenant: Annotated[str, typer.Option(help="Only this tenant.")] = "",
    message_id: Annotated[str, typer.Option(help="Only this message.")] = "",
    begin: Annotated[Literal["beginning", "now"], typer.Option("--from", help="Where to start.")] = "now",
    as_json: AsJSON = False,
) -> None:
    """Follow what becomes of messages, until Ctrl-C.

    Events name messages and jobs, never phone numbers or texts. One may
    come twice; its event_id is the same then.
    """
    from gateway.cli import events as watching
    from gateway.cli import mistakes
    from gateway.follow import Filter

    loaded = mistakes.load(config)
    wanted = Filter(statuses=frozenset(status or ()), job=job, tenant=tenant, message_id=message_id)
    with mistakes.explained(loaded):
        run_until_signal(watching.show(loaded, wanted, begin, as_json))


@sim.command()
def smsc(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 2775,
    system_id: Annotated[list[str] | None, typer.Option(help="An account; repeat it with its password.")] = None,
    password: Annotated[list[str] | None, typer.Option(help="In the same order. Default: recado, recado.")] = None,
    latency: Annotated[float | None, typer.Option(metavar="SECONDS", help="Until a submit_sm is answered.")] = None,
    latency_jitter: Annotated[float | None, typer.Option(metavar="SECONDS", help="Added at random.")] = None,
    error: Annotated[
        list[str] | None, typer.Option(metavar="STATUS=SHARE", help="Refuse so many: ESME_RSYSERR=0.01.")
    ] = None,
    throttle_above: Annotated[
        float | None, typer.Option(metavar="RATE", help="Parts a second, beyond: ESME_RTHROTTLED.")
    ] = None,
    unanswered: Annotated[float | None, typer.Option(metavar="SHARE", help="Accept so many and never answer.")] = None,
    max_binds: Annotated[int | None, typer.Option(help="One more is ESME_RALYBND.")] = None,
    receipts: Annotated[float | None, typer.Option(metavar="SHARE", help="Messages that get a receipt.")] = None,
    receipt_delay: Annotated[float | None, typer.Option(metavar="SECONDS", help="From the answer to it.")] = None,
    receipt_jitter: Annotated[float | None, typer.Option(metavar="SECONDS", help="Added at random.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE=SHARE", help="End so many with UNDELIVERABLE=0.05, EXPIRED …")
    ] = None,
    resp_id: Annotated[str | None, typer.Option(metavar="FORMAT", help="Ids in answers: d, x, X, 010d.")] = None,
    receipt_id: Annotated[str | None, typer.Option(metavar="FORMAT", help="Ids in receipts.")] = None,
    behaviour: Annotated[
        str | None,
        typer.Option(metavar="FILE|JSON", help='Any knob: \'{"disconnect_after": 1000, "blackhole": true}\''),
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(help="Take commands here: unbind, drop, MO …, see smpp/simulator/control.py.")
    ] = None,
) -> None:
    """Play an operator's SMSC until Ctrl-C: it takes messages, sends receipts, and delivers to nobody.

    Without options it is one account, recado with the password recado,
    that accepts and delivers everything at once.
    """
    from gateway.cli import sim as simulated
    from gateway.errors import GatewayError

    try:
        how = simulated.behaviour(
            behaviour,
            latency_s=latency,
            latency_jitter_s=latency_jitter,
            errors=simulated.statuses(error or ()),
            throttle_above=throttle_above,
            unanswered=unanswered,
            max_binds=max_binds,
            receipt_ratio=receipts,
            receipt_delay_s=receipt_delay,
            receipt_jitter_s=receipt_jitter,
            states=simulated.states(state or ()),
            resp_id=resp_id,
            receipt_id=receipt_id,
        )
        accounts = simulated.accounts(system_id or (), password or (), how)
    except GatewayError as mistake:
        fail(str(mistake), 2)
    try:
        run_until_signal(simulated.serve(accounts, host, port, control_port))
    except OSError as taken:
        fail(f"cannot listen on {host}:{port}: {taken.strerror or taken}")


@app.command()
def demo(
    messages: Annotated[int, typer.Option(min=100, max=1_000_000, help="How many messages the campaign has.")] = 10_000,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running afterwards, to try other commands on it.")
    ] = False,
) -> None:
    """Show the whole thing on this machine: broker, store, two operators, WhatsApp, a campaign, the account at the end.

    Everything is started here and stopped again; nothing leaves the
    machine. Half-way WhatsApp's number is rated RED, and is slow until
    it is GREEN again. Exit code 0 only if the account closes: every
    message has exactly one final state, and the operators saw each
    exactly once.
    """
    from gateway import demo as show
    from gateway.errors import GatewayError

    try:
        closed = run_until_signal(show.run(messages, keep, console()))
    except GatewayError as error:
        fail(str(error))
    if closed is None:
        raise typer.Exit(INTERRUPTED)
    if not closed:
        raise typer.Exit(1)


for command in (operating.lanes, operating.top, operating.pause, operating.resume):
    app.command()(command)
app.add_typer(operating.dead, name="dead")
