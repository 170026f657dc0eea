"""`recado dead`: records that could not be read, and sending them again once their cause is mended."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from gateway import inventory, log, topics
from gateway.cli.terminal import fail, say
from gateway.config import Config
from gateway.consumers import fetch
from gateway.model import Dead
from gateway.outbox import Batches, Outbox, partition_of

_CUT = re.compile(r"\((?:value|key) cut, ").search
"""What `dead.letter` writes behind the reason of a record that did not fit."""
_BATCH = 500
_WAIT_MS = 250

_decode = msgspec.json.Decoder(Dead).decode


class Letter(Struct, frozen=True):
    """A dead letter with its place in the dead-letter topic, which names it."""

    offset: int
    dead: Dead


class Wanted(Struct, frozen=True, kw_only=True):
    """Which letters are meant; what is empty means all."""

    offsets: frozenset[int] = frozenset()
    topic: str = ""
    reason: str = ""
    """A regular expression, found anywhere."""
    since: datetime | None = None

    def wants(self, letter: Letter) -> bool:
        dead = letter.dead
        return (
            (not self.offsets or letter.offset in self.offsets)
            and (not self.topic or dead.topic == self.topic)
            and (not self.reason or re.search(self.reason, dead.reason) is not None)
            and (self.since is None or dead.time >= self.since)
        )


def described(letter: Letter) -> str:
    """Return one line for a letter, without its value."""
    dead = letter.dead
    when = dead.time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{letter.offset:>8}  {when}  {dead.topic}:{dead.partition}:{dead.offset}  {dead.reason}"


def batches(letters: Sequence[Letter], jobs: tuple[str, int] | None) -> Batches:
    """Return what is to be produced: to the places of the records, or to the jobs topic (name, partitions)."""
    found: Batches = {}
    for letter in letters:
        dead = letter.dead
        where = (jobs[0], partition_of(dead.key or b"", jobs[1])) if jobs else (dead.topic, dead.partition)
        found.setdefault(where, []).append((dead.key, dead.value or b""))
    return found


def wanted(numbers: Sequence[int], topic: str, reason: str, since_h: float) -> Wanted:
    """Return the filter that a person means, or end the command."""
    try:
        re.compile(reason)
    except re.error as error:
        fail(f"--reason is no regular expression: {error}", 2)
    try:
        since = datetime.now(UTC) - timedelta(hours=since_h) if since_h else None
    except (OverflowError, ValueError):
        fail(f"--since {since_h:g}: there is no time so many hours ago", 2)
    return Wanted(offsets=frozenset(numbers), topic=topic, reason=reason, since=since)


def whole(letters: Sequence[Letter]) -> list[Letter]:
    """Return those that can be sent again and tell of the others, or end the command if there is none."""
    found = []
    for letter in letters:
        if letter.dead.value is None or _CUT(letter.dead.reason):
            say(f"{letter.offset}: not whole, it cannot be sent again")
        else:
            found.append(letter)
    if not found:
        fail("there is nothing to send again")
    return found


def confirm(letters: Sequence[Letter], jobs_topic: str) -> None:
    """Ask, and end the command for anything but yes."""
    where = {jobs_topic} if jobs_topic else {letter.dead.topic for letter in letters}
    if not sys.stdin.isatty():
        fail("nobody is there to ask: say --yes", 2)
    typer.confirm(f"Send {len(letters)} records to {', '.join(sorted(where))}?", abort=True)


async def show(config: Config, wanted: Wanted, values: bool, as_json: bool) -> bool:
    """Print them; True."""
    for letter in await read(config, wanted):
        if as_json:
            shown = msgspec.to_builtins(letter.dead) | {"number": letter.offset}
            if not values:
                shown = {key: value for key, value in shown.items() if key not in ("key", "value")}
            sys.stdout.write(f"{msgspec.json.encode(shown).decode()}\n")
        else:
            sys.stdout.write(f"{described(letter)}\n")
            if values:
                sys.stdout.write(f"{'':>10}{(letter.dead.value or b'').decode(errors='backslashreplace')}\n")
    return True


async def send(config: Config, letters: Sequence[Letter], to_jobs: bool) -> bool:
    """Produce them again; True when Kafka has all. Ends the command before the first if one has no place any more."""
    jobs = config.kafka.jobs_topic
    found = await inventory.require(config, jobs)
    where = (jobs, found[jobs]) if to_jobs else None
    gone = [f"{topic}:{partition}" for topic, partition in batches(letters, where) if partition >= found.get(topic, 0)]
    if gone:
        fail(f"there is no {', '.join(gone)}: leave those letters out, or send them --to-jobs if they are jobs")
    producer = topics.producer(config.kafka)
    await producer.start()
    try:
        outbox = Outbox(producer)
        for start in range(0, len(letters), _BATCH):
            await outbox.send(batches(letters[start : start + _BATCH], where))
    finally:
        await producer.stop()
    return True


async def read(config: Config, wanted: Wanted) -> list[Letter]:
    """Read the dead-letter topic from its beginning to where it ends now."""
    log.setup("WARNING")
    topic = config.kafka.dead_topic
    await inventory.require(config, topic)
    tp = TopicPartition(topic, 0)
    found = []
    consumer = AIOKafkaConsumer(
        **topics.connection(config.kafka),
        # Not by `seek_to_beginning`: a reset to the end that is on its way since `assign` would come after it.
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=config.kafka.fetch_wait_ms,
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for record in (await fetch(consumer, tp, timeout_ms=_WAIT_MS, max_records=_BATCH)).get(tp, ()):
                try:
                    letter = Letter(record.offset, _decode(record.value or b""))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    say(f"{record.offset}: no dead letter")
                    continue
                if record.offset < end and wanted.wants(letter):
                    found.append(letter)
    finally:
        await consumer.stop()
    return found
