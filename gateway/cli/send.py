"""`recado send`: a file becomes a form, rows, jobs, and records that Kafka has acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer
import uvloop
from aiokafka.errors import KafkaError

from gateway import campaign, inventory, log, topics
from gateway.cli.mistakes import explained, readable, reason
from gateway.cli.terminal import INTERRUPTED, Meter, fail, say
from gateway.config import Config
from gateway.errors import InvalidJob
from gateway.model import Job, encode_job
from gateway.personalise import Template

_BAD_ROWS_SHOWN = 20


def form(job_id: str, text: str, **fields: str) -> Job | None:
    """Return what recipients get, or None when only whole jobs are to be published. A mistake in it ends the command."""
    given: dict[str, Any] = {name: value for name, value in fields.items() if value}
    if not job_id and not text:
        return None
    if not job_id or not text:
        fail("--job-id and --text go together", 2)
    if len(job_id) > campaign.MAX_JOB_ID:
        fail(
            f"--job-id has {len(job_id)} characters, at most {campaign.MAX_JOB_ID} fit: jobs and messages add a number",
            2,
        )
    try:
        Template(text)
        # The jobs get recipients of their own.
        shared = given | {"text": text, "job_id": job_id, "recipients": [{"to": ""}]}
        return msgspec.structs.replace(msgspec.convert(shared, Job), recipients=[])
    except (InvalidJob, msgspec.ValidationError) as error:
        fail(str(error), 2)


def send(file: Path, config: Config, shared: Job | None, per_job: int, strict: bool) -> None:
    """Read the file twice: to find what is wrong with it before anything is published, and to publish it."""
    with readable(file):
        found = campaign.survey(campaign.checked(_rows(file), shared))
        if found.recipients and shared is None:
            fail("recipients need --job-id and --text; only whole jobs go without", 2)
        _list(found.bad)
        if strict and found.bad:
            fail(f"{len(found.bad):,} bad rows: nothing was published")
        if not found.messages:
            fail("there is nothing to publish")
        jobs = campaign.jobs(campaign.checked(_rows(file), shared), shared, per_job)
        with explained(config), Meter("published", found.messages) as meter:
            _publish(config, jobs, meter)
    left_out = f", {len(found.bad):,} bad rows left out" if found.bad else ""
    typer.echo(f"published {meter.done:,} messages to {config.kafka.jobs_topic}{left_out}")


def _rows(file: Path) -> Iterator[campaign.Row | campaign.BadRow]:
    if file.suffix.lower() == ".jsonl":
        with file.open("rb") as lines:
            yield from campaign.read_jsonl(lines)
    else:
        with file.open(encoding="utf-8", newline="") as text:
            yield from campaign.read_csv(text)


def _list(bad: list[campaign.BadRow]) -> None:
    for row in bad[:_BAD_ROWS_SHOWN]:
        say(f"line {row.line}: {row.reason}")
    if len(bad) > _BAD_ROWS_SHOWN:
        say(f"… and {len(bad) - _BAD_ROWS_SHOWN:,} more bad rows")


def _publish(config: Config, jobs: Iterable[Job], meter: Meter) -> None:
    log.setup("WARNING")
    try:
        uvloop.run(_to_kafka(config, jobs, meter))
    except (KafkaError, KeyboardInterrupt) as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        if not interrupted and not meter.done:
            raise
        say(f"recado: {'interrupted' if interrupted else reason(error)}")
        say(f"published {meter.done:,} messages; send the same file with the same --job-id: those are recognised")
        raise typer.Exit(INTERRUPTED if interrupted else 1) from None


async def _to_kafka(config: Config, jobs: Iterable[Job], meter: Meter) -> None:
    topic = config.kafka.jobs_topic
    await inventory.require(config, topic)
    producer = topics.producer(config.kafka)
    try:
        await producer.start()
        records = ((encode_job(job), len(job.recipients)) for job in jobs)
        await campaign.publish(producer, topic, records, meter.advance)
    finally:
        await producer.stop()
