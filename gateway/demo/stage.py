"""What the demo plays on: a broker, a store, two simulated operators, and the gateway as its users run it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from gateway import config, topics
from gateway.config import Config
from gateway.demo.account import Operator
from gateway.demo.script import ANDINA, ATLANTICA
from gateway.embedded import EmbeddedBroker, EmbeddedStore
from gateway.errors import GatewayError
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator

PASSWORD = "tr0mb0n"  # noqa: S105 - of an operator that exists for half a minute
_STOP_PATIENCE_S = 30.0
_COMPLAINTS = (" ERROR ", " CRITICAL ", "Traceback ", "Warning:")

# Small where the defaults are made for a cluster; the embedded broker has no idempotence, wakes no waiting fetch, and lets
# a group wait for half of its session timeout before the first assignment.
CONFIG = """\
[kafka]
bootstrap = "{bootstrap}"
idempotence = false
fetch_wait_ms = 10
session_timeout_s = 2
jobs_partitions = 2
events_partitions = 2
inbound_partitions = 1
delay_partitions = 1

[store]
url = "{store}"

[delay]
rungs_s = [1, 5, 60]

[lanes.andina]
host = "127.0.0.1"
port = {port}
system_id = "andina"
password_file = "password"
rate = 1000
binds = 2
window = 100
classes = ["bulk"]
message_id_format = "resp_hex_dlr_dec"

[lanes.atlantica]
host = "127.0.0.1"
port = {port}
system_id = "atlantica"
password_file = "password"
rate = 500
window = 100
classes = ["bulk"]
alphabets = ["gsm7", "gsm7-portuguese", "ucs2"]

[[routes]]
prefix = "+57"
lane = "andina"

[[routes]]
prefix = "+52"
lane = "andina"

[[routes]]
prefix = "+55"
lane = "atlantica"
"""

_ANDINA = Behaviour(
    latency_s=0.03,
    latency_jitter_s=0.03,
    resp_id="x",
    receipt_delay_s=0.5,
    receipt_jitter_s=1.0,
    states={"DELIVERED": 0.95, "UNDELIVERABLE": 0.04, "EXPIRED": 0.01},
)
_ATLANTICA = Behaviour(
    latency_s=0.08,
    latency_jitter_s=0.04,
    # For a moment: what is refused like this is tried again some seconds later.
    errors={int(CommandStatus.ESME_RSYSERR): 0.03},
    receipt_delay_s=0.3,
    receipt_jitter_s=2.0,
    states={"DELIVERED": 0.97, "UNDELIVERABLE": 0.03},
    receipts_duplicated=0.01,
)


class Stage:
    """Everything that runs while the demo does."""

    def __init__(self, config_file: Path, loaded: Config, simulator: Simulator, gateway: Gateway) -> None:
        self.config_file = config_file
        self.config = loaded
        self.gateway = gateway
        self._simulator = simulator

    @property
    def binds(self) -> int:
        return sum(account.counts.binds for account in self._simulator.accounts.values())

    def refuse(self, numbers: Sequence[str]) -> None:
        """Let every operator refuse some destinations for good."""
        for account in self._simulator.accounts.values():
            account.behaviour = replace(
                account.behaviour, rejected=dict.fromkeys(numbers, int(CommandStatus.ESME_RINVDSTADR))
            )

    def recover(self) -> None:
        """End the moment in which an operator could not take everything."""
        account = self._simulator.accounts[ATLANTICA]
        account.behaviour = replace(account.behaviour, errors={})

    def seen(self) -> dict[str, Operator]:
        """What each operator saw so far."""
        return {name: _seen(account) for name, account in self._simulator.accounts.items()}


class Gateway:
    """The process `recado run --config FILE`. Its log goes to a file."""

    def __init__(self, config_file: Path, log: Path) -> None:
        self.log = log
        self._command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(config_file)]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and return at once. Ctrl-C does not reach it: it is stopped after what it works with has been asked."""
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def check(self) -> None:
        """Raise `GatewayError` with the end of its log if it has ended."""
        if self._process is not None and self._process.returncode is not None:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            raise GatewayError(f"the gateway ended with exit code {self._process.returncode}\n{end}")

    def complaints(self) -> list[str]:
        """What a healthy gateway does not log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(sign in line for sign in _COMPLAINTS)]

    async def stop(self) -> int:
        """Ask it to stop (SIGTERM), kill it if it takes too long, and return its exit code. Again it does nothing more."""
        assert self._process is not None, "the gateway was not started"
        if self._process.returncode is None:
            self._process.terminate()
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_PATIENCE_S):
                        await self._process.wait()
            finally:
                if self._process.returncode is None:
                    self._process.kill()
        return await self._process.wait()


@asynccontextmanager
async def build(doing: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Start everything, saying what, and stop it again in the reverse order."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recado-demo-")))
        doing("starting a Kafka-compatible broker and a Valkey store")
        broker = await stack.enter_async_context(EmbeddedBroker())
        store = await stack.enter_async_context(EmbeddedStore())
        doing("starting two operators")
        accounts = [
            Account(name, PASSWORD, behaviour, record="full", first_id=first_id, seed=1)
            for name, behaviour, first_id in ((ANDINA, _ANDINA, 0xA0000), (ATLANTICA, _ATLANTICA, 7_000_000))
        ]
        simulator = await stack.enter_async_context(Simulator(accounts))
        (folder / "password").write_text(PASSWORD)
        file = folder / "recado.toml"
        file.write_text(CONFIG.format(bootstrap=broker.bootstrap, store=store.url, port=simulator.port))
        loaded = config.load(file)
        await topics.create(loaded)
        doing("starting the gateway, which joins its consumer groups and binds")
        gateway = Gateway(file, folder / "gateway.log")
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        yield Stage(file, loaded, simulator, gateway)


def _seen(account: Account) -> Operator:
    counts = account.counts
    torn = counts.parts_announced - counts.parts
    return Operator(account.record.texts(), counts.duplicates, torn, counts.pending)
