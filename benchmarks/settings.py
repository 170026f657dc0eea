"""The options of the pipeline's benchmark, and the gateway that they ask for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.campaign import MAX_MESSAGES, PREFIXES
from benchmarks.support import PASSWORD_ENV

EMBEDDED = "embedded"
APACHE = "kafka"
"""Not an address either: Apache Kafka, started for the benchmark. It can be restarted, which the embedded one cannot."""

_WARM_UP = 1000

# Defaults wherever a figure could depend on it; the exceptions are what the embedded broker cannot do.
_CONFIG = """\
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
group = "{prefix}"
instance = "{instance}"
idempotence = {idempotence}
fetch_wait_ms = {fetch_wait_ms}
session_timeout_s = {session_timeout_s}

[store]
url = "{store}"
"""
_LANE = """
[lanes.{name}]
host = "127.0.0.1"
port = {port}
system_id = "{name}"
password_env = "{password_env}"
rate = 100000
window = {window}
binds = {binds}
sender = "89000"
max_validity_s = 225  # what the store keeps longer than this is then for `receipts.ttl_s` to say
"""
_ROUTE = """
[[routes]]
lane = "{name}"
{condition}
"""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options, see `--help`."""

    messages: int
    window: int
    rtt_ms: float
    receipts: float
    long: float
    binds: int
    lanes: int
    recipients_per_job: int
    offered: float | None
    broker: str

    @property
    def lane_names(self) -> tuple[str, ...]:
        return tuple(f"lane{number}" for number in range(self.lanes))

    @property
    def warm_up(self) -> int:
        """Messages before a paced run is measured."""
        return 0 if self.offered is None else _WARM_UP


class Outputs(msgspec.Struct, frozen=True):
    """Files to write beside stdout."""

    json: Path | None
    profile: Path | None


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[Settings, Outputs]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline", description="What the whole durable path carries, and what it costs."
    )
    add = parser.add_argument
    add("--messages", type=int, help="default: 200,000, but what ten seconds bring with --offered")
    add("--window", type=int, default=100, help="unanswered submit_sm per bind")
    add("--rtt-ms", type=float, default=0.0, help="from a submit_sm to its answer at the simulator")
    add("--receipts", type=float, default=1.0, help="share of submit_sm that get a receipt")
    add("--long", type=float, default=0.0, help="share of messages with three parts")
    add("--binds", type=int, default=1, help="of each lane")
    add("--lanes", type=int, default=1, choices=range(1, len(PREFIXES) + 1))
    add("--recipients-per-job", type=int, help="default: 500, but 1 with --offered")
    offered = "publish so many to a running gateway (default: publish all, then start it)"
    add("--offered", type=float, metavar="MSG_PER_S", help=offered)
    add("--broker", default=EMBEDDED, metavar="HOST:PORT", help=f"default: an embedded one; {APACHE}: start one")
    add("--json", type=Path, metavar="FILE", help="write the result there as well")
    formats = "run py-spy on the gateway; .json is for speedscope, .svg a flame graph, all else folded stacks"
    add("--profile", type=Path, metavar="FILE", help=formats)
    given = parser.parse_args(arguments)
    if given.messages is None:
        given.messages = 200_000 if given.offered is None else round(10 * given.offered)
    if not 1 <= given.messages <= MAX_MESSAGES - _WARM_UP:
        parser.error(f"--messages is from 1 to {MAX_MESSAGES - _WARM_UP}")
    if given.recipients_per_job is None:
        given.recipients_per_job = 500 if given.offered is None else 1
    options = vars(given)
    outputs = Outputs(options.pop("json"), options.pop("profile"))
    return Settings(**options), outputs


def gateway_config(settings: Settings, bootstrap: str, store: str, smpp_port: int) -> str:
    """The TOML of the gateway under test."""
    text = machinery_config(settings.broker, bootstrap, store, paced=settings.offered is not None)
    for name, digits in zip(settings.lane_names, PREFIXES, strict=False):
        text += lane_config(name, smpp_port, settings.window, settings.binds, f'prefix = "{digits}"')
    return text


def machinery_config(
    broker: str, bootstrap: str, store: str, *, paced: bool, instance: str = "", namespace: str = ""
) -> str:
    """The TOML of Kafka and the store; `paced` where latency counts. An `instance` makes members of the groups static.

    A `namespace` keeps the topics of several gateways of one benchmark apart.
    """
    embedded = broker == EMBEDDED
    return _CONFIG.format(
        bootstrap=bootstrap,
        prefix=f"bench{os.getpid()}{namespace}",
        # The embedded broker lets static members wait longer, not shorter.
        instance="" if embedded else instance,
        idempotence="false" if embedded else "true",
        # The embedded broker sees a record only when half of a fetch's wait is over.
        fetch_wait_ms=10 if embedded and paced else 250,
        session_timeout_s=2 if embedded else 10,
        store=store,
    )


def lane_config(name: str, port: int, window: int, binds: int, condition: str) -> str:
    """The TOML of a lane, and of the route that leads to it under a condition."""
    return lane_table(name, port, window, binds) + _ROUTE.format(name=name, condition=condition)


def lane_table(name: str, port: int, window: int, binds: int) -> str:
    """The TOML of a lane alone; further keys may follow it."""
    return _LANE.format(name=name, port=port, password_env=PASSWORD_ENV, window=window, binds=binds)
