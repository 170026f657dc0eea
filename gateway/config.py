"""The configuration: one TOML file into one frozen tree.

Every default is here, in the unit that the key ends with (`_s` seconds); `deploy/recado.toml` shows all keys. Secrets
stand in the environment or in files of their own. A file with anything wrong in it is refused as a whole, with every
problem, its path and a remedy.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from gateway.errors import ConfigError
from gateway.model import Channel, TrafficClass
from gateway.tables import Contradiction, Reader, Secret, SecretURL, did_you_mean
from smpp.receipt import IdFormat
from smpp.segment import Alphabet, LongMode

Seconds = Annotated[float, Meta(gt=0, le=3600, description="seconds, above 0 and at most 3600")]
# Long enough for a long weekend, short enough that no key in the store is for ever.
Ttl = Annotated[int, Meta(ge=60, le=2_592_000, description="whole seconds, from 60 to 2592000 (30 days)")]
Partitions = Annotated[int, Meta(ge=1, le=1000, description="how many partitions, from 1 to 1000")]
Bound = Annotated[int, Meta(ge=1, le=1_000_000, description="how many, from 1 to 1000000")]
Port = Annotated[int, Meta(ge=1, le=65_535, description="a TCP port, from 1 to 65535")]
Text = Annotated[str, Meta(min_length=1, description="a text in quotation marks, not empty")]
TopicPart = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]{1,80}\Z", description="letters, digits, dot, underscore and hyphen")
]
InDoubt = Literal["resend", "report"]

# TON and NPI of SMPP 3.4 §5.2.5 and §5.2.6.
Numbering = Annotated[int, Meta(ge=0, le=255, description="a number of SMPP 3.4 §5.2.5 or §5.2.6, from 0 to 255")]

DAY = 86_400

_ASCII = r"^[ -~]*\Z"

# A lane's name is a part of topics, keys and metric labels.
_LANE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def _octets(most: int, least: int = 0) -> Meta:
    """A C-octet string of SMPP; `most` is its size in the specification without the NUL."""
    remedy = f"{least} to {most} ASCII characters, as the operator says"
    return Meta(min_length=least, max_length=most, pattern=_ASCII, description=remedy)


class Kafka(Struct, frozen=True, kw_only=True):
    """The brokers, the names of our topics, and how many partitions `recado topics --create` gives them."""

    bootstrap: Annotated[
        Text | Annotated[tuple[Text, ...], Meta(min_length=1)], Meta(description='"host:port", or a list of them')
    ]
    prefix: TopicPart = "recado"
    group: TopicPart = "recado"
    # `group.instance.id`: with one, a restart within the session timeout moves no partition. Empty: dynamic membership.
    instance: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,80}\Z", description="unique per process, or empty")] = ""
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
    ca_file: Path | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str = ""
    sasl_password: Secret = Secret("")

    def __post_init__(self) -> None:
        if self.sasl_mechanism and not (self.sasl_username and self.sasl_password):
            raise Contradiction("sasl_mechanism", "needs a name and a password", "set sasl_username, sasl_password_env")

    @property
    def servers(self) -> tuple[str, ...]:
        """The brokers to ask first, as `host:port`."""
        return (self.bootstrap,) if isinstance(self.bootstrap, str) else self.bootstrap

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

    def lane_topic(self, lane: str, class_: TrafficClass) -> str:
        """Where messages of a class wait for a lane; its partition i belongs to slot i."""
        return f"{self.prefix}.lane.{lane}.{class_}"


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


class Lane(Struct, frozen=True, kw_only=True):
    """One contract with one operator: an SMPP account, with its rate, its window and its binds."""

    name: str
    host: Text
    port: Port
    system_id: Annotated[str, _octets(15, least=1)]
    password: Secret
    # Of the whole account, over all binds and processes. An operator counts submit_sm, so long messages cost more.
    rate: Annotated[float, Meta(ge=0, le=100_000, description="parts (submit_sm) per second, 0 pauses the lane")]
    # Empty or 0 (the default): 50 ms of the rate, which outlasts a pause of the event loop and stays within 5 % of the
    # contract in any second.
    burst: Annotated[float, Meta(ge=1, le=100_000, description="parts at once, at least 1")] = 0
    provider: Literal["smpp"] = "smpp"
    # What the operator's message ids are unique in; lanes over the same account share it. Default: the lane's name.
    account: Annotated[str, Meta(min_length=1, max_length=64, description="1 to 64 characters")] = ""
    tls: bool = False
    tls_verify: bool = True
    ca_file: Path | None = None
    system_type: Annotated[str, _octets(12)] = ""
    address_range: Annotated[str, _octets(40)] = ""
    # A transceiver, or a transmitter and a receiver side by side.
    bind: Literal["trx", "txrx"] = "trx"
    binds: Annotated[int, Meta(ge=1, le=64, description="parallel binds of the account, from 1 to 64")] = 1
    # Unanswered submit_sm per bind. 10 is Kannel's default; it caps a bind at 10 per round trip.
    window: Annotated[int, Meta(ge=1, le=10_000, description="unanswered submit_sm per bind, from 1 to 10000")] = 10
    classes: Annotated[tuple[TrafficClass, ...], Meta(min_length=1)] = tuple(TrafficClass)
    sender: Annotated[str, _octets(20)] = ""
    # Unset: by the sender's shape, see `source_numbering`.
    source_ton: Numbering | None = None
    source_npi: Numbering | None = None
    # International, E.164.
    dest_ton: Numbering = 1
    dest_npi: Numbering = 1
    service_type: Annotated[str, _octets(5)] = ""
    # The first that holds the whole text is taken.
    alphabets: Annotated[tuple[Alphabet, ...], Meta(min_length=1)] = ("gsm7", "ucs2")
    # á to a and the like where that saves the text from UCS-2, which takes twice the parts.
    transliterate: bool = False
    long_messages: LongMode = "udh8"
    max_parts: Annotated[int, Meta(ge=1, le=255, description="parts of one message, from 1 to 255")] = 6
    # How the id of submit_sm_resp is written in the receipts.
    message_id_format: IdFormat = "same"
    # SMPP 3.4 §5.2.17: 1 asks for a receipt of success and of failure.
    registered_delivery: Annotated[int, Meta(ge=0, le=31, description="SMPP 3.4 §5.2.17, from 0 to 31")] = 1
    # Operators drop binds that are silent for some minutes; every 30 s is what Jasmin and Kannel do.
    enquire_link_s: Seconds = 30
    # Later answers still count, but the message is in doubt until then: a short patience makes duplicates.
    response_timeout_s: Seconds = 60
    connect_timeout_s: Seconds = 10
    bind_timeout_s: Seconds = 10
    reconnect_min_s: Seconds = 1
    reconnect_max_s: Seconds = 60
    drain_s: Seconds = 10
    # Operators keep a message for 24 to 72 hours; a later validity_period is cut to this.
    max_validity_s: Ttl = 3 * DAY

    def __post_init__(self) -> None:
        if not self.account:
            force_setattr(self, "account", self.name)
        if not self.burst:
            force_setattr(self, "burst", max(1.0, self.rate / 20))
        if not re.fullmatch(r"[ -~]{0,8}", self.password.reveal()):
            raise Contradiction("password", "does not fit", "SMPP 3.4 §4.1.1 has room for 8 ASCII characters")
        if self.reconnect_min_s > self.reconnect_max_s:
            raise Contradiction("reconnect_min_s", "is above reconnect_max_s", "the first wait is the shortest")
        if len(set(self.classes)) < len(self.classes):
            raise Contradiction("classes", "names a class twice", "name each class once")

    @property
    def slots(self) -> int:
        """How many parallel shares the lane has: its binds, and the partitions of each of its topics."""
        return self.binds

    def source_numbering(self, sender: str) -> tuple[int, int]:
        """Return source_addr_ton and source_addr_npi for a sender, by its shape where the lane does not set them.

        Alphanumeric: 5, 0. A short code, up to 8 digits: network specific, 3, 0. A number: international, 1, 1.
        """
        digits = sender.removeprefix("+")
        if not digits.isdecimal():
            ton, npi = 5, 0
        elif len(sender) <= 8:
            ton, npi = 3, 0
        else:
            ton, npi = 1, 1
        return (
            ton if self.source_ton is None else self.source_ton,
            npi if self.source_npi is None else self.source_npi,
        )


class Route(Struct, frozen=True, kw_only=True):
    """A rule of the ordered list: what it names must fit, what it leaves out fits anything."""

    lane: Text
    channel: Channel = "sms"
    class_: TrafficClass | None = field(default=None, name="class")
    tenant: str | None = None
    sender: str | None = None
    prefix: Annotated[str, Meta(pattern=r"^\+[0-9]{1,15}\Z", description='"+57", "+57300"')] | None = None


class Delay(Struct, frozen=True, kw_only=True):
    """The ladder of topics where a message waits for its time: each rung delays by so many seconds."""

    rungs_s: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=7 * DAY)], ...],
        Meta(min_length=1, max_length=16, description="whole seconds, ascending, at most a week each"),
    ] = (5, 60, 900, 14_400)

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
    """Where metrics and health are served; port 0 is off."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="a TCP port, or 0 for off")] = 0


class Config(Struct, frozen=True, kw_only=True):
    """The whole tree."""

    kafka: Kafka
    store: Store
    lanes: Mapping[str, Lane]
    routes: tuple[Route, ...]
    classes: Classes = Classes()
    delay: Delay = Delay()
    receipts: Receipts = Receipts()
    claims: Claims = Claims()
    limits: Limits = Limits()
    admin: Admin = Admin()

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
                kafka.lane_topic(lane.name, class_): lane.slots
                for lane in self.lanes.values()
                for class_ in lane.classes
            },
        }


_SECTIONS: dict[str, type[Struct]] = {
    "kafka": Kafka,
    "store": Store,
    "classes": Classes,
    "delay": Delay,
    "receipts": Receipts,
    "claims": Claims,
    "limits": Limits,
    "admin": Admin,
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
    reader.unknown_keys(raw, [*_SECTIONS, "lanes", "routes"], "")
    sections: dict[str, Any] = {name: reader.table(model, raw.get(name, {}), name) for name, model in _SECTIONS.items()}
    sections["lanes"] = _lanes(reader, raw.get("lanes", {}))
    sections["routes"] = _routes(reader, raw.get("routes", []), sections["lanes"])
    if reader.problems:
        raise ConfigError(tuple(reader.problems))
    return Config(**sections)


def _lanes(reader: Reader, raw: object) -> dict[str, Lane | None]:
    if not isinstance(raw, dict) or not raw:
        reader.add("lanes", "there is no lane", "add a table [lanes.<name>] for each account at an operator")
        return {}
    for name in raw:
        if not _LANE_NAME.fullmatch(name):
            reader.add(
                f"lanes.{name}", "is not a name for a lane", "lower-case letters, digits and hyphens, at most 63"
            )
    return {name: reader.table(Lane, table, f"lanes.{name}", name=name) for name, table in raw.items()}


def _routes(reader: Reader, raw: object, lanes: Mapping[str, Lane | None]) -> tuple[Route | None, ...]:
    if not isinstance(raw, list) or not raw:
        reader.add(
            "routes", "there is no route", 'add [[routes]] with lane = "…"; the first that fits a message is taken'
        )
        return ()
    routes = []
    for index, table in enumerate(raw):
        path = f"routes[{index}]"
        route = reader.table(Route, table, path)
        routes.append(route)
        if route is None:
            continue
        if route.lane not in lanes:
            remedy = did_you_mean(route.lane, lanes) or f"lanes: {', '.join(lanes)}"
            reader.add(f"{path}.lane", f"there is no lane {route.lane}", remedy)
            continue
        lane = lanes[route.lane]
        if lane and route.class_ and route.class_ not in lane.classes:
            reader.add(
                f"{path}.class", f"lane {lane.name} does not carry {route.class_}", "add it to the lane's classes"
            )
    return tuple(routes)
