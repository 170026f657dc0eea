"""What the demo plays on: a broker, a store, simulated operators and Meta, and the gateway as its users run it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from gateway import config, topics
from gateway.config import Config
from gateway.demo.account import Operator
from gateway.demo.meta import NUMBER, Meta
from gateway.demo.process import Gateway
from gateway.demo.script import ANDINA, ATLANTICA, WHATSAPP, Script
from gateway.embedded import EmbeddedBroker, EmbeddedStore, free_port
from gateway.lane_config import Lane
from gateway.simulators import WhatsAppSimulator
from gateway.simulators.limits import TIERS
from gateway.simulators.whatsapp import Quality
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator

PASSWORD = "tr0mb0n"  # noqa: S105 - of an operator that exists for half a minute
_NEXT_TIER = TIERS["TIER_10K"]

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

[admin]
port = {admin}

[webhooks]
port = {webhooks}

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

[lanes.atlantica.errors.ESME_RSYSERR]
disposition = "retry"
after_s = 4

[portfolios.banco]
limit = 2000

[lanes.whatsapp]
provider = "whatsapp"
account = "banco"
rate = 150
slots = 6  # the burst of a number grows with them, and saves up what comes while the process is busy with SMS
concurrency = 8
classes = ["bulk"]
poll_s = 1
allow_private = true
quality.red = 0.1

[lanes.whatsapp.whatsapp]
phone_number_id = "{number}"
base_url = "http://127.0.0.1:{meta}"
token_file = "password"
app_secret_file = "password"
verify_token_file = "password"

[[routes]]
channel = "whatsapp"
lane = "whatsapp"

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

    def __init__(
        self,
        config_file: Path,
        loaded: Config,
        smsc: Simulator,
        graph_api: WhatsAppSimulator,
        meta: Meta,
        gateway: Gateway,
    ) -> None:
        self.config_file = config_file
        self.config = loaded
        self.gateway = gateway
        self._smsc = smsc
        self._graph_api = graph_api
        self._meta = meta

    @property
    def binds(self) -> tuple[int, int]:
        """How many binds there are, and how many there have to be."""
        wanted = sum(lane.slots for lane in self.config.lanes.values() if isinstance(lane, Lane))
        return sum(account.counts.binds for account in self._smsc.accounts.values()), wanted

    @property
    def metrics(self) -> str:
        """Where the gateway says how it is."""
        return f"http://127.0.0.1:{self.config.admin.port}/metrics"

    @property
    def told(self) -> bool:
        """Whether Meta has nothing more to say."""
        return not self._meta.callbacks.pending

    def refuse(self, script: Script) -> None:
        """Let operators refuse some destinations for good."""
        for lane, account in self._smsc.accounts.items():
            rejected = dict.fromkeys(script.refused(lane), int(CommandStatus.ESME_RINVDSTADR))
            account.behaviour = replace(account.behaviour, rejected=rejected)
        self._meta.refuse(script.refused(WHATSAPP))

    def rate(self, quality: Quality) -> None:
        """Have Meta rate the number. Nobody is told: the gateway asks."""
        self._meta.set_quality(NUMBER, quality)

    def promote(self) -> None:
        """Have Meta raise the limit of the portfolio to the next tier, and tell the gateway."""
        self._graph_api.send(self._meta, self._meta.set_limit(_NEXT_TIER))

    def recover(self) -> None:
        """End the moment in which an operator could not take everything."""
        account = self._smsc.accounts[ATLANTICA]
        account.behaviour = replace(account.behaviour, errors={})

    def seen(self) -> dict[str, Operator]:
        """What each operator saw so far."""
        return {name: _seen(account) for name, account in self._smsc.accounts.items()} | {WHATSAPP: self._meta.seen()}


@asynccontextmanager
async def build(doing: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Start everything, saying what, and stop it again in the reverse order."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recado-demo-")))
        doing("starting a Kafka-compatible broker and a Valkey store")
        broker = await stack.enter_async_context(EmbeddedBroker())
        store = await stack.enter_async_context(EmbeddedStore())
        doing("starting two operators, and Meta's end of a WhatsApp number")
        accounts = [
            Account(name, PASSWORD, behaviour, record="full", first_id=first_id, seed=1)
            for name, behaviour, first_id in ((ANDINA, _ANDINA, 0xA0000), (ATLANTICA, _ATLANTICA, 7_000_000))
        ]
        smsc = await stack.enter_async_context(Simulator(accounts))
        webhooks = free_port()
        meta = Meta(PASSWORD, f"http://127.0.0.1:{webhooks}/hooks/{WHATSAPP}")
        graph_api = await stack.enter_async_context(WhatsAppSimulator(meta))
        (folder / "password").write_text(PASSWORD)
        file = folder / "recado.toml"
        file.write_text(
            CONFIG.format(
                bootstrap=broker.bootstrap,
                store=store.url,
                port=smsc.port,
                number=NUMBER,
                meta=graph_api.port,
                webhooks=webhooks,
                admin=free_port(),
            )
        )
        loaded = config.load(file)
        await topics.create(loaded)
        doing("starting the gateway, which joins its consumer groups and binds")
        gateway = Gateway(file, folder / "gateway.log")
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        yield Stage(file, loaded, smsc, graph_api, meta, gateway)


def _seen(account: Account) -> Operator:
    counts = account.counts
    torn = counts.parts_announced - counts.parts
    return Operator(account.record.texts(), counts.duplicates, torn, counts.pending)
