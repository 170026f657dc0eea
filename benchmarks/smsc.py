"""The simulated SMSC of the benchmark, in a process of its own: it also stamps when each message arrived.

The stamps lie in a file that both processes map, so that a million of them cost neither a protocol nor much memory.
"""

from __future__ import annotations

import asyncio
import gc
import mmap
import signal
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from smpp.pdu import SubmitSM
from smpp.simulator import Account, Behaviour, Simulator
from smpp.simulator.control import Control
from smpp.simulator.record import Record

DIGITS = 7
"""Of a destination, from its end: the index of the message. One more where there are more messages than those can tell."""


class Task(msgspec.Struct, frozen=True):
    """What the process is to do: its only argument, as JSON."""

    port: int
    control_port: int
    accounts: tuple[str, ...]
    password: str
    behaviour: Behaviour
    stamps: str
    messages: int


def map_stamps(path: Path, messages: int) -> memoryview[float]:
    """Unix seconds by the index of a message, 0.0 while it has not arrived; the file is made if it is not there."""
    with path.open("a+b") as file:
        file.truncate(messages * 8)
        return memoryview(mmap.mmap(file.fileno(), messages * 8)).cast("d")


class StampingRecord(Record):
    """Counts as ever, and notes when the first submit_sm of each message was read."""

    def __init__(self, account: Account, stamps: memoryview[float]) -> None:
        super().__init__("counts")
        self.counts = account.counts
        self._stamps = stamps
        self._digits = DIGITS if len(stamps) <= 10**DIGITS else DIGITS + 1

    def add(self, request: SubmitSM, command_status: int, now: float) -> None:
        super().add(request, command_status, now)
        index = int(request.destination_addr[-self._digits :])
        if not self._stamps[index]:
            # The loop's `now` has a resolution of a millisecond.
            self._stamps[index] = time.time()


async def run(task: Task) -> None:
    """Serve until SIGTERM."""
    stamps = map_stamps(Path(task.stamps), task.messages)
    accounts = []
    for name in task.accounts:
        account = Account(name, task.password, task.behaviour)
        account.record = StampingRecord(account, stamps)
        accounts.append(account)
    simulator = Simulator(accounts, port=task.port)
    control = Control(simulator)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, control.stopped.set)
    async with simulator:
        await control.start(port=task.control_port)
        await control.stopped.wait()
        await control.close()


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(run(msgspec.json.decode(sys.argv[1], type=Task)))
