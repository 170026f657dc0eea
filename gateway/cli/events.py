"""`recado events`: the events topic on a terminal or in a pipe."""

from __future__ import annotations

import contextlib
import sys

import msgspec
import typer

from gateway import follow, inventory, log
from gateway.cli.terminal import console, say
from gateway.config import Config
from gateway.model import EventStatus, decode_event

_COLOURS = {
    EventStatus.DELIVERED: "green",
    EventStatus.READ: "green",
    EventStatus.SUBMITTED: "blue",
    EventStatus.ACCEPTED: "cyan",
    EventStatus.DUPLICATE: "yellow",
    EventStatus.UNKNOWN: "yellow",
    EventStatus.ORPHAN: "yellow",
    EventStatus.SHORT: "yellow",
}
"""All others mean that the person did not get it."""


async def show(config: Config, wanted: follow.Filter, begin: follow.Begin, as_json: bool) -> None:
    """Print what is wanted until cancelled. Raises `GatewayError` without the topic, aiokafka's `KafkaError` without a broker."""
    log.setup("WARNING")
    await inventory.require(config, config.kafka.events_topic)
    screen = console()
    coloured = screen.is_terminal and not screen.no_color
    async with contextlib.aclosing(follow.follow(config.kafka, [config.kafka.events_topic], begin)) as batches:
        async for batch in batches:
            for record in batch:
                try:
                    event = decode_event(record.value or b"")
                except (msgspec.DecodeError, UnicodeDecodeError):
                    say(f"no event at partition {record.partition} offset {record.offset}")
                    continue
                if wanted.wants(event):
                    if as_json:
                        sys.stdout.write(f"{record.value.decode()}\n")
                    else:
                        time, status, rest = follow.describe(event)
                        if coloured:
                            status = typer.style(status, fg=_COLOURS.get(event.status, "red"))
                        sys.stdout.write(f"{time}  {status}  {rest}\n")
            sys.stdout.flush()
