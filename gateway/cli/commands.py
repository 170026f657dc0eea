# ruff: noqa: PLC0415 - every command imports what it needs, so that `recado --help` need not wait for Kafka clients
"""The commands and their options; what they do is elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.cli.terminal import Meter, console, fail, run_until_signal, say
from gateway.model import EventStatus, TrafficClass

if TYPE_CHECKING:
    from gateway.campaign import BadRow, Rows
    from gateway.config import Config
    from gateway.model import Job

_BAD_ROWS_SHOWN = 20
_INTERRUPTED = 130
"""128 + SIGINT, as shells count."""

app = typer.Typer(
    name="recado",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Carry bulk messages from Kafka to SMPP short codes, as fast as each operator allows, and lose none.

    [bold]Try it[/bold] without anything but this program:

      recado demo

    [bold]Set it up:[/bold]

      recado check recado.toml                          [dim]what it means, or all that is wrong with it[/dim]
      recado topics --create --config recado.toml       [dim]make the topics that are missing[/dim]
      recado run --config recado.toml                   [dim]SIGTERM drains and stops[/dim]

    [bold]Send, and see what becomes of it:[/bold]

      recado send people.csv -c recado.toml --job-id nov-1 --text "Hola {nombre}, vence el {fecha}"
      recado events -c recado.toml --job nov-1 --status failed --from beginning

    [bold]An operator for tests,[/bold] slow and moody if you like:

      recado sim smsc --port 2775 --system-id recado --password secret --latency 0.05 --error ESME_RSYSERR=0.01

    Exit codes: 0 done, 1 failed, 2 a mistake in the arguments or the configuration, 130 interrupted.""",
)
sim = typer.Typer(no_args_is_help=True, help="Simulated providers: they take everything and deliver to nobody.")
app.add_typer(sim, name="sim")

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
) -> None:
    """Run one gateway process until SIGTERM or Ctrl-C.

    It stops taking in, lets the windows drain, unbinds and commits; a second signal ends it at once. Start as many
    processes as you like with the same file: they share the lanes.
    """
    import uvloop

    from gateway import app as gateway
    from gateway import log

    loaded = _load(config)
    log.setup(log_level)
    with _explained(loaded):
        uvloop.run(gateway.run(loaded))


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: AsJSON = False) -> None:
    """Say what a configuration means, or every problem in it with a remedy.

    Exit code 2 if there is a problem; warnings are none.
    """
    import msgspec

    from gateway.check import describe
    from gateway.cli import tables
    from gateway.config import load
    from gateway.errors import ConfigError

    if not as_json:
        screen = console()
        for table in tables.summary(describe(_load(file))):
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

    Exit code 1 if one is missing or does not fit. Nothing is ever changed or deleted.
    """
    import uvloop

    from gateway import inventory
    from gateway import topics as kafka
    from gateway.cli import tables

    loaded = _load(config)
    outcome: dict[str, str] = {}
    with _explained(loaded):
        if create:
            outcome = uvloop.run(kafka.create(loaded))
        found = inventory.compare(loaded, uvloop.run(inventory.existing(loaded)))
    created = {name for name, what in outcome.items() if what == "created"}
    console().print(tables.inventory(found, created))
    for name, what in outcome.items():
        if what.startswith("error"):
            say(f"{name}: {what}")
    if any(topic.fault for topic in found):
        raise typer.Exit(1)


@app.command()
def send(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv|FILE.jsonl")],
    config: ConfigFile,
    job_id: Annotated[
        str, typer.Option(help="Names the campaign: sent again with the same id, nobody gets it twice.")
    ] = "",
    text: Annotated[str, typer.Option(metavar="TEMPLATE", help="With {placeholders}; a brace itself is {{ or }}.")] = "",
    campaign: Annotated[str, typer.Option(help="A name to report by.")] = "",
    tenant: Annotated[str, typer.Option(help="Who pays; ids are unique within a tenant.")] = "",
    class_: Annotated[TrafficClass, typer.Option("--class", help="How urgent it is.")] = TrafficClass.BULK,
    sender: Annotated[str, typer.Option(help="Short code or name; default: the lane's.")] = "",
    expires_at: Annotated[str, typer.Option(metavar="TIME", help="2026-11-21T23:00:00-05:00: not sent after it.")] = "",
    per_job: Annotated[int, typer.Option(min=1, max=10_000, help="Recipients in one job.")] = 500,
    strict: Annotated[bool, typer.Option("--strict", help="Publish nothing if one row is bad.")] = False,
) -> None:
    """Publish a campaign to the jobs topic, and return when Kafka has all of it.

    [bold]CSV[/bold] (comma, semicolon or tab): the header names the columns. `to` is the number in E.164, `message_id` (if
    there is one) is yours, all others are parameters of the text.

    [bold]JSONL[/bold]: a recipient a line, {"to": …, "params": {…}}, or whole jobs as they would be published.

    Bad rows are listed by their line and left out. Correct them and send the whole file again with the same --job-id: those
    who have got it are recognised.
    """
    loaded = _load(config)
    form = _form(job_id, text, campaign, tenant, class_, sender, expires_at)
    from gateway import campaign as rows

    with _explained(loaded), _readable(file):
        found = rows.survey(rows.checked(_rows(file), form))
        if found.recipients and form is None:
            fail("recipients need --job-id and --text; only whole jobs go without", 2)
        _list_bad(found.bad)
        if strict and found.bad:
            fail(f"{len(found.bad)} bad rows: nothing was published")
        if not found.messages:
            fail("there is nothing to publish")
        jobs = rows.jobs(rows.checked(_rows(file), form), form, per_job)
        _publish(loaded, jobs, found.messages)
    if found.bad:
        say(f"{len(found.bad):,} bad rows were left out")


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

    Events name messages and jobs, never phone numbers or texts. One may appear twice: its event_id is the same then.
    """
    from gateway.follow import Filter

    loaded = _load(config)
    wanted = Filter(statuses=frozenset(status or ()), job=job, tenant=tenant, message_id=message_id)
    with _explained(loaded):
        run_until_signal(_follow(loaded, wanted, begin, as_json))


@sim.command()
def smsc(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 2775,
    system_id: Annotated[list[str] | None, typer.Option(help="An account; repeat it with its password.")] = None,
    password: Annotated[list[str] | None, typer.Option(help="In the same order. [default: recado, recado]")] = None,
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
        str | None, typer.Option(metavar="FILE|JSON", help='Any knob: \'{"disconnect_after": 1000, "blackhole": true}\'')
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(help="Take commands here: unbind, drop, MO …, see smpp/simulator/control.py.")
    ] = None,
) -> None:
    """Play an operator's SMSC until Ctrl-C: it takes messages, sends receipts, and delivers to nobody.

    Without options it is one account, recado with the password recado, that accepts and delivers everything at once.
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
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards, to try other commands on it.")] = False,
) -> None:
    """Show the whole thing on this machine: broker, store, two operators, a campaign, and the account at the end.

    Everything is started here and stopped again; nothing leaves the machine. Exit code 0 only if the account closes: every
    message has exactly one final state, and the operators saw each of them exactly once.
    """
    from gateway import demo as show
    from gateway.errors import GatewayError

    try:
        closed = run_until_signal(show.run(messages, keep, console()))
    except GatewayError as error:
        fail(str(error))
    if closed is None:
        raise typer.Exit(_INTERRUPTED)
    if not closed:
        raise typer.Exit(1)


def _load(file: Path) -> Config:
    from gateway.config import load
    from gateway.errors import ConfigError

    try:
        return load(file)
    except ConfigError as error:
        say(f"recado: {file} cannot be used")
        for problem in error.problems:
            say(f"  {problem}")
        raise typer.Exit(2) from None


@contextlib.contextmanager
def _explained(config: Config) -> Iterator[None]:
    """Turn what a person can act on into one line and exit code 1. A bug keeps its traceback."""
    from aiokafka.errors import KafkaError

    from gateway.errors import GatewayError

    try:
        yield
    except KafkaError as error:
        fail(f"Kafka at {', '.join(config.kafka.servers)}: {error or type(error).__name__}")
    except GatewayError as error:
        fail(str(error))


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Say what is wrong with a file that a person named."""
    from gateway.campaign import UnusableFile

    try:
        yield
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", 2)
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8: save it as such", 2)
    except UnusableFile as error:
        fail(f"{file}: {error}", 2)


def _form(
    job_id: str, text: str, campaign: str, tenant: str, class_: TrafficClass, sender: str, expires_at: str
) -> Job | None:
    """What recipients get, or None when there are only whole jobs to publish. A mistake in it ends the command."""
    import msgspec

    from gateway.errors import InvalidJob
    from gateway.model import Job
    from gateway.personalise import Template

    given: dict[str, Any] = {"campaign": campaign, "tenant": tenant, "sender": sender, "expires_at": expires_at}
    given = {name: value for name, value in given.items() if value}
    if not job_id and not text:
        if given:
            fail(f"--{min(given).replace('_', '-')} is for recipients: it needs --job-id and --text", 2)
        return None
    if not job_id or not text:
        fail("--job-id and --text go together", 2)
    try:
        Template(text)
        given |= {"class": class_, "text": text, "recipients": [{"to": ""}]}
        msgspec.convert({**given, "job_id": f"{job_id}-0000"}, Job)
        return msgspec.convert({**given, "job_id": job_id}, Job)
    except (InvalidJob, msgspec.ValidationError) as error:
        fail(str(error), 2)


def _rows(file: Path) -> Rows:
    from gateway import campaign as rows

    if file.suffix.lower() in (".jsonl", ".ndjson"):
        with file.open("rb") as lines:
            yield from rows.read_jsonl(lines)
    else:
        with file.open(encoding="utf-8", newline="") as text:
            yield from rows.read_csv(text)


def _list_bad(bad: list[BadRow]) -> None:
    for row in bad[:_BAD_ROWS_SHOWN]:
        say(f"line {row.line}: {row.reason}")
    if len(bad) > _BAD_ROWS_SHOWN:
        say(f"… and {len(bad) - _BAD_ROWS_SHOWN:,} more bad rows")


def _publish(config: Config, jobs: Iterator[Job], messages: int) -> None:
    import uvloop
    from aiokafka.errors import KafkaError

    from gateway import campaign, inventory, log, topics
    from gateway.model import encode_job

    log.setup("WARNING")
    topic = config.kafka.jobs_topic

    async def publish(meter: Meter) -> None:
        if topic not in await inventory.existing(config):
            fail(f"there is no topic {topic}: recado topics --create --config …")
        producer = topics.producer(config.kafka)
        try:
            await producer.start()
            records = ((encode_job(job), len(job.recipients)) for job in jobs)
            await campaign.publish(producer, topic, records, meter.advance)
        finally:
            await producer.stop()

    with Meter("published", messages) as meter:
        try:
            uvloop.run(publish(meter))
        except (KafkaError, KeyboardInterrupt) as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
            say(f"{reason}: send the file again with the same --job-id, what Kafka has is recognised")
            say(f"published {meter.done:,} of {messages:,} messages to {topic}")
            raise typer.Exit(_INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1) from None
    typer.echo(f"published {meter.done:,} messages to {topic}")


async def _follow(config: Config, wanted: Any, begin: Literal["beginning", "now"], as_json: bool) -> None:
    import msgspec

    from gateway import follow, log
    from gateway.model import decode_event

    log.setup("WARNING")
    screen = console()
    async with contextlib.aclosing(follow.follow(config.kafka, [config.kafka.events_topic], begin)) as batches:
        async for batch in batches:
            for record in batch:
                try:
                    event = decode_event(record.value)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    say(f"no event: partition {record.partition} offset {record.offset}")
                    continue
                if not wanted.wants(event):
                    continue
                if as_json:
                    sys.stdout.write(record.value.decode() + "\n")
                else:
                    ...
            sys.stdout.flush()
