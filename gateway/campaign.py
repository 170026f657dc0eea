"""A campaign out of a file: rows to recipients, recipients to jobs, jobs to Kafka.

All but `publish` is pure. A row without a `message_id` gets one of the campaign's job id and the row's line: a file whose rows
are corrected where they stand and that is sent again reaches nobody twice, whatever was left out the first time and however
many go into a job.
"""

from __future__ import annotations

import asyncio
import csv
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import msgspec
from aiokafka import AIOKafkaProducer
from msgspec import Struct

from gateway import content, numbers
from gateway.errors import GatewayError, InvalidJob, MissingParameter
from gateway.model import MAX_RECIPIENTS, Job, Recipient, decode_job, encode_job
from gateway.personalise import Template, TooLong

MAX_OCTETS = 900_000
"""Of a job: a broker takes a million (`message.max.bytes`), the record's head and the job's own fields included."""
MAX_JOB_ID = 118
"""Characters of a campaign's id: of the 128 of a `message_id` the line takes up to ten, the colon included."""

_AHEAD = 16
"""Jobs on their way to the broker at once: more would only fill memory."""


class UnusableFile(GatewayError):
    """A file that is no campaign at all, such as a CSV without a column `to`."""


class Row(Struct, frozen=True):
    """What stands on one line (from 1): a recipient, or a whole job."""

    line: int
    item: Recipient | Job


class BadRow(Struct, frozen=True):
    """A line that cannot be sent, and why; the reason quotes no number and no text."""

    line: int
    reason: str


Rows: TypeAlias = Iterator[Row | BadRow]

_decode_recipient = msgspec.json.Decoder(Recipient).decode
_encode = msgspec.json.Encoder().encode


def read_csv(lines: Iterable[str]) -> Rows:
    """Read rows under a header with a column `to`, perhaps `message_id`, and one for each parameter.

    Commas, semicolons or tabs, whichever the header has most of. An empty cell is a missing parameter. Raises
    `UnusableFile` for a header that says nothing, or for octets that are no CSV.
    """
    source = iter(lines)
    header = next(source, "").removeprefix("\ufeff")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(_chain(header, source), delimiter=delimiter, strict=True)
    names: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not names:
                names = _columns([cell.strip() for cell in cells])
            elif cells:
                yield _of_cells(line, names, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UnusableFile(f"line {line} is no CSV: {error}") from error
    if not names:
        raise UnusableFile("the file is empty")


def read_jsonl(lines: Iterable[bytes]) -> Rows:
    """Read one JSON object a line: a recipient, or a whole job, which has `recipients`. Empty lines are passed over."""
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        try:
            keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            item = decode_job(text) if "recipients" in keys else _decode_recipient(text)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidJob, RecursionError) as error:
            yield BadRow(number, str(error))
        else:
            yield Row(number, item)


class Survey(Struct):
    """What a first reading finds: nothing has been published yet."""

    messages: int = 0
    """In rows that can be sent."""
    recipients: int = 0
    """Of those, the ones that stand on a line of their own and need a form."""
    bad: list[BadRow] = []


def survey(rows: Rows) -> Survey:
    """Count what `checked` rows hold."""
    found = Survey()
    for row in rows:
        match row:
            case BadRow():
                found.bad.append(row)
            case Row(item=Job(recipients=recipients)):
                found.messages += len(recipients)
            case Row():
                found.messages += 1
                found.recipients += 1
    return found


def checked(rows: Rows, form: Job | None) -> Rows:
    """Turn rows that would be rejected for their number or a missing parameter into bad ones, before anybody pays.

    `form` is what the recipients get, see `jobs`; whole jobs pass, except for those that no broker would take, or that say
    what no gateway could.
    """
    template = Template(form.text) if form else None
    for row in rows:
        reason = None
        if isinstance(row, Row):
            reason = _flaw(row.item) if isinstance(row.item, Job) else _fault(row.item, template)
        yield row if reason is None else BadRow(row.line, reason)


def _flaw(job: Job) -> str | None:
    octets = len(encode_job(job))
    if octets > MAX_OCTETS:
        return f"the job takes {octets} octets of {MAX_OCTETS}: split it"
    try:
        for each in (job, *job.fallback):
            content.compile(each)
    except InvalidJob as error:
        return error.reason
    return None


def jobs(rows: Rows, form: Job | None, per_job: int) -> Iterator[Job]:
    """Make jobs of rows, leaving out the bad ones: whole jobs as they are, recipients by up to `per_job` into `form`.

    The jobs are called `<job_id>-0001` and so on; one holds fewer when its parameters are large. Raises `UnusableFile` for a
    recipient without a form.
    """
    number = octets = 0
    waiting: list[Recipient] = []
    for row in rows:
        if isinstance(row, BadRow):
            continue
        if isinstance(row.item, Job):
            yield row.item
            continue
        if form is None:
            raise UnusableFile(f"line {row.line} is a recipient, and there is no text and no job id for it")
        recipient = row.item
        recipient.message_id = recipient.message_id or f"{form.job_id}:{row.line}"
        size = len(_encode(recipient)) + 1
        if waiting and (len(waiting) == min(per_job, MAX_RECIPIENTS) or octets + size > MAX_OCTETS):
            number += 1
            yield _numbered(form, number, waiting)
            waiting, octets = [], 0
        if not waiting:
            octets = len(_encode(form)) + len("-0000")
        waiting.append(recipient)
        octets += size
    if form and waiting:
        yield _numbered(form, number + 1, waiting)


async def publish(
    producer: AIOKafkaProducer, topic: str, records: Iterable[tuple[bytes, int]], on_published: Callable[[int], None]
) -> None:
    """Publish jobs, each with its number of messages, which `on_published` gets when Kafka has acknowledged them.

    Raises what aiokafka does for the first job that failed; by then every other one on its way has an outcome.
    """
    pending: deque[tuple[asyncio.Future[object], int]] = deque()

    async def settle(left: int) -> None:
        while len(pending) > left:
            future, messages = pending.popleft()
            await future
            on_published(messages)

    try:
        for value, messages in records:
            pending.append((await producer.send(topic, value), messages))
            await settle(_AHEAD)
        await settle(0)
    finally:
        outcomes = await asyncio.gather(*(future for future, _ in pending), return_exceptions=True)
        for (_, messages), outcome in zip(pending, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                on_published(messages)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _columns(names: list[str]) -> list[str]:
    if "to" not in names:
        raise UnusableFile("the first line names the columns, and none of them is `to`")
    twice = {name for name in names if names.count(name) > 1}
    if twice or not all(names):
        raise UnusableFile(f"two columns are called {min(twice)}" if any(twice) else "a column has no name")
    return names


def _of_cells(line: int, names: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(names):
        return BadRow(line, f"{len(cells)} cells under {len(names)} columns")
    params = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    recipient = {"to": params.pop("to", "").strip(), "message_id": params.pop("message_id", ""), "params": params}
    try:
        return Row(line, msgspec.convert(recipient, Recipient))
    except msgspec.ValidationError as error:
        return BadRow(line, str(error))


def _fault(recipient: Recipient, template: Template | None) -> str | None:
    reason = numbers.check(recipient.to)
    if reason is None and template:
        try:
            template.render(recipient.params)
        except (MissingParameter, TooLong) as error:
            return str(error)
    return reason


def _numbered(form: Job, number: int, recipients: list[Recipient]) -> Job:
    return msgspec.structs.replace(form, job_id=f"{form.job_id}-{number:04d}", recipients=recipients)
