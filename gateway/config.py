"""The configuration: one TOML file into one frozen tree.

Every default is here, or beside it in `*_config.py`, in the unit that the key ends with (`_s` seconds); `deploy/recado.toml`
shows all keys. Secrets stand in the environment or in files of their own. A file with
anything wrong in it is refused as a whole, with every problem, its path and a remedy.
"""

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import force_setattr, replace

from gateway import named_tables
from gateway.errors import ConfigError
from gateway.hours import Hours
from gateway.http_lane_config import AnyLane, HttpLane
from gateway.lane_config import NO_HOST, Adaptive, Caps, Contract, ErrorRule, Lane, is_host
from gateway.model import TrafficClass
from gateway.quantities import DAY, Bound, Partitions, PortOrOff, Seconds, Text, TopicPart, Ttl
from gateway.route_config import Route
from gateway.tables import Certificates, Contradiction, Reader, Secret, SecretURL
from gateway.whatsapp_lane_config import Portfolio, WhatsAppLane

__all__ = [
    "Adaptive",
    "Admin",
    "AnyLane",
    "Caps",
    "Claims",
    "ClassPolicy",
    "Classes",
    "Config",
    "Contract",
    "Delay",
    "ErrorRule",
    "HttpLane",
    "InDoubt",
    "Kafka",
    "Lane",
    "Limits",
    "Portfolio",
    "Receipts",
    "Route",
    "Secret",
    "Store",
    "Webhooks",
    "WhatsAppLane",
    "load",
    "loads",
]

InDoubt = Literal["resend", "report"]

_SERVERS = '"host:port", or a list: ["a:9092", "b:9092"]'
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/,\[\]]+)(?::([0-9]{1,5}))?")


class Kafka(Struct, frozen=True, kw_only=True):
    """The brokers, the names of our topics, and how many partitions `recado topics --create` gives them."""

    bootstrap: Annotated[Text | Annotated[tuple[Text, ...], Meta(min_length=1)], Meta(description=_SERVERS)]
    prefix: TopicPart = "recado"
    group: TopicPart = "recado"
    # `group.instance.id`: with one, a restart within the session timeout moves no partition. Empty: dynamic membership.
    # {host} stands for the machine's name, so that several machines can have the same file.
    instance: Annotated[
        str, Meta(pattern=r"^([A-Za-z0-9._-]|\{host\}){0,80}\Z", description="unique per process, or empty")
    ] = ""
    session_timeout_s: Seconds = 10
    # How long a fetch without records is held by the broker. Kafka answers as soon as there is one, but not for a
    # partition that was paused when the fetch began: that waits this long. The embedded broker looks again only after
    # about half of it, so there it is latency.
    fetch_wait_ms: Annotated[int, Meta(ge=1, le=10_000, description="milliseconds, from 1 to 10000")] = 100
    # Off only for a broker that cannot (the embedded one); Apache Kafka can.
    idempotence: bool = True
    # One copy is for trying out; the loss of its broker is a loss of messages.
    replication: Annotated[int, Meta(ge=1, le=9, description="copies of each partition, from 1 to 9")] = 1
    jobs_partitions: Partitions = 8
    events_partitions: Partitions = 8
    inbound_partitions: Partitions = 4
    delay_partitions: Partitions = 4
    tls: bool = False
    ca_file: Certificates | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str = ""
    sasl_password: Secret = Secret("")

    def __post_init__(self) -> None:
        force_setattr(self, "instance", self.instance.replace("{host}", socket.gethostname()))
        for server in self.servers:
            if not _is_server(server):
                raise Contradiction("bootstrap", f"{server!r} is no host with its port", _SERVERS)
        if self.sasl_mechanism and not (self.sasl_username and self.sasl_password):
            raise Contradiction("sasl_mechanism", "needs a name and a password", "set sasl_username, sasl_password_env")

    @property
    def servers(self) -> tuple[str, ...]:
        """The brokers to ask first, as `host:port`."""
        return (self.bootstrap,) if isinstance(self.bootstrap, str) else self.bootstrap

    @property
    def deployment(self) -> str:
        """What processes have in common that share their lanes."""
        return f"{self.prefix}/{self.group}"

    @property
    def jobs_topic(self) -> str:
        """Where publishers put jobs."""
        return f"{self.prefix}.jobs"

    @property
    def events_topic(self) -> str:
        """Where publishers read what became of them."""
        return f"{self.prefix}.events"

    @property
    def inbound_topic(self) -> str:
        """Where publishers read what people wrote."""
        return f"{self.prefix}.inbound"

    @property
    def dead_topic(self) -> str:
        """Where records go that cannot be read."""
        return f"{self.prefix}.dead"

    def delay_topic(self, rung_s: int) -> str:
        """Where everything waits `rung_s` seconds."""
        return f"{self.prefix}.delay.{rung_s}"

    def lane_topic(self, lane: str, class_: TrafficClass, queue: int = 0) -> str:
        """Where messages of a class wait for a lane, in one of its fair queues; its partition i belongs to slot i."""
        return f"{self.prefix}.lane.{lane}.{class_}" + (f"-{queue}" if queue else "")


class Store(Struct, frozen=True, kw_only=True):
    """Redis or Valkey: claims, ledger, correlation of receipts."""

    url: SecretURL
    # An answer takes a millisecond; ten of a busy server's worst are still far below this.
    timeout_s: Seconds = 5

    def __post_init__(self) -> None:
        if not self.url.reveal().startswith(("redis://", "rediss://", "unix://")):
            raise Contradiction(
                "url", "is not the URL of a store", "redis://host:6379/0, rediss:// for TLS, or unix://"
            )
        if not _has_server(self.url.reveal()):
            remedy = "redis://host:6379/0; in a password / is written as %2F, # as %23 and so on"
            raise Contradiction("url", "has no host and port that could be looked up", remedy)


class ClassPolicy(Struct, frozen=True, kw_only=True):
    """What is particular to a traffic class."""

    in_doubt: InDoubt


class Classes(Struct, frozen=True, kw_only=True):
    """What to do with a message that was written and never answered: send it again, or report it as unknown.

    A second one-time password is a nuisance and a missing one a failed payment; a second reminder to a debtor may be
    against the law.
    """

    otp: ClassPolicy = ClassPolicy(in_doubt="resend")
    transactional: ClassPolicy = ClassPolicy(in_doubt="report")
    bulk: ClassPolicy = ClassPolicy(in_doubt="report")

    def in_doubt(self, class_: TrafficClass) -> InDoubt:
        """Return what a class wants for a message in doubt."""
        policy: ClassPolicy = getattr(self, class_)
        return policy.in_doubt


class Delay(Struct, frozen=True, kw_only=True):
    """The ladder of topics where a message waits for its time: each rung delays by so many seconds."""

    rungs_s: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=7 * DAY)], ...],
        Meta(min_length=1, max_length=16, description="whole seconds, ascending, at most a week each"),
    ] = (1, 5, 15, 60, 300, 900, 3600, 14_400)

    def __post_init__(self) -> None:
        if list(self.rungs_s) != sorted(set(self.rungs_s)):
            raise Contradiction("rungs_s", "does not ascend", "list the shortest first and none twice")


class Receipts(Struct, frozen=True, kw_only=True):
    """Delivery receipts: how long they are waited for, and how long for what they are about."""

    # The longest that operators keep a message.
    ttl_s: Ttl = 3 * DAY
    # A receipt that overtook its submit_sm_resp finds it within seconds; a bind that moved, within a session timeout.
    early_limit_s: Annotated[int, Meta(ge=0, le=DAY, description="whole seconds, up to a day")] = 120


class Claims(Struct, frozen=True, kw_only=True):
    """How long a `message_id` stays taken: published again within that time it is a duplicate."""

    ttl_s: Ttl = 3 * DAY


class Intake(Struct, frozen=True, kw_only=True):
    """How far ahead of the lanes jobs are taken."""

    # Messages that may wait for one lane, over all processes; 0 is any number. Beyond it no job is taken until half of them have
    # gone: also none for another lane, and no one-time password.
    lane_backlog: Annotated[int, Meta(ge=0, description="a number of messages, 0 for any")] = 0


class Limits(Struct, frozen=True, kw_only=True):
    """How much a process holds in memory at once."""

    # One call of the store, one write, one record batch for so many: more saves nothing and delays the first.
    batch_messages: Bound = 1000
    # Fetched and not yet forwarded, over all slots.
    buffered_messages: Bound = 20_000
    # Receipts and messages from people that are not yet published; beyond it the SMSC is asked to keep them.
    buffered_deliveries: Bound = 20_000
    # How long the parts of a message from a person wait for each other.
    inbound_parts_s: Ttl = 300

    def __post_init__(self) -> None:
        if self.batch_messages > self.buffered_messages:
            raise Contradiction("batch_messages", "is above buffered_messages", "a batch is taken out of the buffer")


class Admin(Struct, frozen=True, kw_only=True):
    """Where metrics and health are served; port 0 is off. Actions want the token; without one there are none."""

    host: Text = "127.0.0.1"
    port: PortOrOff = 0
    token: Secret = Secret("")

    def __post_init__(self) -> None:
        if not is_host(self.host):
            raise Contradiction("host", *NO_HOST)


class Webhooks(Struct, frozen=True, kw_only=True):
    """Where providers over HTTP call us; port 0 is off. TLS is the business of the proxy in front.

    All processes of a machine listen at the same port: whichever takes a callback publishes it.
    """

    host: Text = "127.0.0.1"
    port: PortOrOff = 0
    # What providers call, as the proxy has it: Twilio signs it, others are told it with each message.
    public_url: Annotated[
        str,
        Meta(pattern=r"^(https?://[^\s/?#]+[^\s?#]*)?\Z", description="https://messages.example.com, or with a path"),
    ] = ""
    # Meta's callbacks have 3 MB at most (META/webhooks/overview).
    max_body: Annotated[int, Meta(ge=1024, le=2**26, description="bytes, from 1024 to 67108864")] = 4 * 2**20
    # Callbacks that wait for Kafka at a time, in each process; beyond it providers are told to come again.
    max_pending: Bound = 1000

    def __post_init__(self) -> None:
        force_setattr(self, "public_url", self.public_url.rstrip("/"))
        if not is_host(self.host):
            raise Contradiction("host", *NO_HOST)

    def path(self, lane: str) -> str:
        """Return the path at which a lane hears from its provider."""
        return f"/hooks/{lane}"

    def url(self, lane: str) -> str:
        """Return the URL that its provider calls; empty while nobody has said where we are."""
        return self.public_url and self.public_url + self.path(lane)


class Config(Struct, frozen=True, kw_only=True):
    """The whole tree."""

    kafka: Kafka
    store: Store
    lanes: Mapping[str, AnyLane]
    routes: tuple[Route, ...]
    # Those that lanes of WhatsApp name, and one for each that names none.
    portfolios: Mapping[str, Portfolio] = {}
    # The names of mobile networks in routes and jobs, and the MCC-MNC of each.
    operators: Mapping[str, tuple[str, ...]] = {}
    # When people may be written to.
    hours: tuple[Hours, ...] = ()
    classes: Classes = Classes()
    delay: Delay = Delay()
    receipts: Receipts = Receipts()
    claims: Claims = Claims()
    intake: Intake = Intake()
    limits: Limits = Limits()
    admin: Admin = Admin()
    webhooks: Webhooks = Webhooks()

    def topics(self) -> dict[str, int]:
        """Return every topic that must exist, with its number of partitions."""
        kafka = self.kafka
        return {
            kafka.jobs_topic: kafka.jobs_partitions,
            kafka.events_topic: kafka.events_partitions,
            kafka.inbound_topic: kafka.inbound_partitions,
            kafka.dead_topic: 1,
            **{kafka.delay_topic(rung): kafka.delay_partitions for rung in self.delay.rungs_s},
            **{
                kafka.lane_topic(lane.name, class_, queue): lane.slots
                for lane in self.lanes.values()
                for class_ in lane.classes
                for queue in range(lane.fair_queues)
            },
        }

    def for_worker(self, index: int) -> "Config":
        """Return what one of several processes with this file runs with: its own instance and admin port, if there are any."""
        instance = self.kafka.instance
        return replace(
            self,
            kafka=replace(self.kafka, instance=instance and f"{instance}.{index}"),
            admin=replace(self.admin, port=self.admin.port and self.admin.port + index),
        )


_SECTIONS: dict[str, type[Struct]] = {
    "kafka": Kafka,
    "store": Store,
    "classes": Classes,
    "delay": Delay,
    "receipts": Receipts,
    "claims": Claims,
    "intake": Intake,
    "limits": Limits,
    "admin": Admin,
    "webhooks": Webhooks,
}


def load(path: Path) -> Config:
    """Read a file, with secrets from this process's environment, or raise `ConfigError` with every problem in it."""
    reader = Reader({}, path.parent)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        reader.add(str(path), exc.strerror or "cannot be read", "name a file that can be read")
    except UnicodeDecodeError:
        reader.add(str(path), "is not UTF-8", "save it as UTF-8")
    else:
        return loads(text, os.environ, path.parent)
    raise ConfigError(tuple(reader.problems))


def loads(text: str, env: Mapping[str, str], folder: Path = Path()) -> Config:
    """Read the text of a file, or raise `ConfigError`; relative paths in it start at `folder`."""
    reader = Reader(env, folder)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        reader.add("syntax", str(exc), "see https://toml.io")
        raise ConfigError(tuple(reader.problems)) from exc
    reader.unknown_keys(raw, [*_SECTIONS, "lanes", "portfolios", "routes", "operators", "hours"], "")
    sections: dict[str, Any] = {name: reader.table(model, raw.get(name, {}), name) for name, model in _SECTIONS.items()}
    webhooks: Webhooks = sections["webhooks"] or Webhooks()
    lanes = sections["lanes"] = named_tables.lanes(reader, raw.get("lanes", {}), webhooks.url)
    _check_formats(reader, lanes)
    operators = sections["operators"] = named_tables.operators(reader, raw.get("operators", {}))
    sections["portfolios"] = named_tables.portfolios(reader, raw.get("portfolios", {}), lanes)
    sections["routes"] = tuple(named_tables.routes(reader, raw.get("routes", []), lanes, operators))
    sections["hours"] = tuple(named_tables.hours(reader, raw.get("hours", [])))
    if reader.problems:
        raise ConfigError(tuple(reader.problems))
    return Config(**sections)


def _is_server(text: str) -> bool:
    """Whether the client of Kafka can look it up: a host, and perhaps a port."""
    found = _SERVER.fullmatch(text.strip())
    return found is not None and is_host(found[1].strip("[]")) and 0 < int(found[2] or 1) < 2**16


def _has_server(url: str) -> bool:
    """Whether the client of the store can look up where it is; without a host that is this machine."""
    try:
        parts = urlsplit(url)
        return parts.port != 0 and is_host(parts.hostname or "localhost")
    except ValueError:  # a port that is none, or brackets that hold no IPv6 address
        return False


def _check_formats(reader: Reader, lanes: named_tables.Lanes) -> None:
    """Note accounts whose lanes write ids in different formats: of a receipt only its account is known."""
    first: dict[str, AnyLane] = {}
    for lane in lanes.values():
        if lane is None:
            continue
        other = first.setdefault(lane.account, lane)
        if lane.message_id_format != other.message_id_format:
            what = f"is also that of lane {other.name}, whose message_id_format is another"
            reader.add(f"lanes.{lane.name}.account", what, "one format for all lanes of an account")
