"""The demo from its first second to its last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

import msgspec
from aiokafka.structs import ConsumerRecord
from msgspec import Struct
from rich.console import Console

from gateway import campaign, topics
from gateway.demo import account, script, trouble
from gateway.demo.account import Evidence, Finding
from gateway.demo.screen import Screen, Show
from gateway.demo.stage import Stage, build
from gateway.demo.tally import Tally
from gateway.errors import GatewayError
from gateway.follow import follow
from gateway.model import Dead, Event, decode_event

_READY_PATIENCE_S = 30.0
_PATIENCE_S = 60.0
_SLOWEST_PER_S = 400.0
"""Messages that even a busy machine gets through; below it, a larger campaign would be cut off."""
_TURN_S = 0.1
_QUIET_S = 1.0
"""After the last event: what should not be there has time to show itself."""


Check: TypeAlias = Callable[[], None]
"""Raises if something has failed meanwhile."""


class Reading(Struct):
    """What has been read from Kafka."""

    events: list[Event] = []
    dead: list[bytes] = []
    last_at: float = 0.0
    """Monotonic."""


async def run(messages: int, keep: bool, console: Console) -> bool:
    """Play the whole demo and return whether the account closes; whatever happens, nothing of it stays behind.

    Raises `GatewayError` when something cannot be started or ends by itself.
    """
    screen = Screen(console)
    written = script.write(messages)
    tally = Tally(written)
    async with build(screen.say) as stage:
        await _until_bound(stage)
        stage.refuse(written)
        reading = Reading()
        async with _besides(reader=_read(stage, reading, tally)) as reads:
            screen.say(f"publishing {messages:,} messages in {written.jobs} jobs")
            with screen.live(stage.config, tally) as show:
                async with _besides(
                    watch=trouble.watch(stage, show),
                    operator=trouble.of_an_operator(stage, tally),
                    number=trouble.of_a_number(stage, tally, show),
                ) as happens:
                    await _publish(stage, written, show)
                    await _until_complete(stage, show, tally, (stage.gateway.check, reads, happens))
            code = 0
            if not keep:
                screen.say("asking the gateway to stop")
                code = await stage.gateway.stop()
            await _until_quiet(reading)
        findings = account.close(written, Evidence(reading.events, stage.seen(), reading.dead))
        findings.append(Finding("the gateway logged no error", tuple(stage.gateway.complaints())))
        if not keep:
            findings.append(Finding("the gateway stopped cleanly", (f"exit code {code}",) if code else ()))
        screen.report(tally, findings)
        if keep:
            screen.say(f"still running until Ctrl-C, for example: recado top --config {stage.config_file}")
            with contextlib.suppress(asyncio.CancelledError):  # it is how this is meant to end
                await asyncio.Event().wait()
    return not any(finding.wrong for finding in findings)


@contextlib.asynccontextmanager
async def _besides(**work: Coroutine[Any, Any, None]) -> AsyncIterator[Check]:
    """Do all of it until the block ends; what is given to the block raises what one of them failed with."""
    tasks = [asyncio.create_task(each, name=name) for name, each in work.items()]

    def check() -> None:
        for task in tasks:
            if task.done():
                task.result()

    try:
        yield check
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_bound(stage: Stage) -> None:
    try:
        async with asyncio.timeout(_READY_PATIENCE_S):
            while len(set(stage.binds)) > 1:
                stage.gateway.check()
                await asyncio.sleep(_TURN_S)
    except TimeoutError:
        found, wanted = stage.binds
        raise GatewayError(f"the gateway has {found} of {wanted} binds after {_READY_PATIENCE_S:.0f} s") from None


async def _publish(stage: Stage, written: script.Script, show: Show) -> None:
    def published(count: int) -> None:
        show.published += count

    kafka = stage.config.kafka
    producer = topics.producer(kafka)
    try:
        await producer.start()
        await campaign.publish(producer, kafka.jobs_topic, written.records, published)
    finally:
        await producer.stop()


async def _until_complete(stage: Stage, show: Show, tally: Tally, checks: Sequence[Check]) -> None:
    """Return when all has come, or when it has taken so long that the account should say what has not."""
    deadline = time.monotonic() + _PATIENCE_S + len(tally.script.messages) / _SLOWEST_PER_S
    while not (tally.complete and stage.told) and time.monotonic() < deadline:
        for check in checks:
            check()
        show.tick()
        await asyncio.sleep(_TURN_S)
    show.tick()


async def _until_quiet(reading: Reading) -> None:
    began = time.monotonic()
    while True:
        left = max(began, reading.last_at) + _QUIET_S - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(left)


async def _read(stage: Stage, reading: Reading, tally: Tally) -> None:
    """Read events and what was put aside until cancelled."""
    kafka = stage.config.kafka
    async with contextlib.aclosing(follow(kafka, [kafka.events_topic, kafka.dead_topic], "beginning")) as batches:
        async for batch in batches:
            if batch:
                reading.last_at = time.monotonic()
            events = [decode_event(record.value) for record in batch if record.topic == kafka.events_topic]
            tally.add(events)
            reading.events += events
            reading.dead += [_original(record) for record in batch if record.topic == kafka.dead_topic]


def _original(record: ConsumerRecord) -> bytes:
    return msgspec.json.decode(record.value, type=Dead).value or b""
