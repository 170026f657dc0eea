"""One table `[lanes.<name>]`: a contract with whoever carries our messages, and how we keep it; here also that of SMPP.

Lanes over HTTP are in `http_lane_config.py`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, cast

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from gateway.content.model import Channel
from gateway.model import TrafficClass
from gateway.quantities import DAY, Attempts, Pause, Port, Seconds, Text, Ttl, Weight, ascii_octets
from gateway.tables import Certificates, Contradiction, Secret
from smpp.constants import CommandStatus, status_name
from smpp.receipt import IdFormat
from smpp.segment import Alphabet, LongMode

# TON and NPI of SMPP 3.4 §5.2.5 and §5.2.6.
Numbering = Annotated[int, Meta(ge=0, le=255, description="a number of SMPP 3.4 §5.2.5 or §5.2.6, from 0 to 255")]
Cap = Annotated[float, Meta(ge=0, le=100_000, description='parts per second (0 pauses), or { "*" = 20, name = 50 }')]
CapKind = Literal["sender", "tenant", "campaign"]
Kept = Annotated[float, Meta(ge=0, le=0.5, description="a share of the lane, from 0 to 0.5")]
Refusal = Literal["retry", "throttled", "reroute", "rejected", "hold", "stop"]
"""The dispositions of an answer. UNKNOWN is none of them: that is silence."""
ErrorCode = Annotated[
    str,
    Meta(
        pattern=rf"^(default|0x[0-9A-Fa-f]{{1,8}}|[0-9]{{1,10}}|{'|'.join(status.name for status in CommandStatus)})\Z",
        description="a command_status by its name or number (ESME_RSYSERR, 1041, 0x0411), or default",
    ),
]

ALL_OTHERS = "*"
"""In a table of caps: what each has that is not named. No tenant can be called so."""
UNLISTED = "default"
"""In a table of errors: every code that neither it nor our own table names."""

NO_HOST = ("is the name of no host", "a name of parts of 1 to 63 characters with a dot between them, or an address")
"""What is wrong, and the remedy, where `is_host` says no."""


def is_host(name: str) -> bool:
    """Whether a name can be looked up at all, as the event loop looks it up (RFC 1035 §2.3.4, RFC 3490)."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


class Caps(Struct, frozen=True, kw_only=True):
    """Parts per second that one sender, tenant or campaign gets of a lane; whoever is named by no key has the lane's."""

    sender: Cap | Mapping[str, Cap] = {}
    tenant: Cap | Mapping[str, Cap] = {}
    campaign: Cap | Mapping[str, Cap] = {}

    def __post_init__(self) -> None:
        for kind in self.__struct_fields__:
            cap = getattr(self, kind)
            if not isinstance(cap, Mapping):
                force_setattr(self, kind, {ALL_OTHERS: cap})

    @property
    def kinds(self) -> tuple[CapKind, ...]:
        """Those with any cap: empty for a lane whose messages need not be asked where they come from."""
        every: tuple[CapKind, ...] = ("sender", "tenant", "campaign")
        return tuple(kind for kind in every if getattr(self, kind))

    def named(self, kind: CapKind) -> Mapping[str, float]:
        """Return the caps of a kind by name, `ALL_OTHERS` among them."""
        caps: Mapping[str, float] = getattr(self, kind)
        return caps

    def of(self, kind: CapKind, name: str) -> float | None:
        """Return the parts per second of one sender, tenant or campaign, or None where it has no cap."""
        caps = self.named(kind)
        return caps.get(name, caps.get(ALL_OTHERS))


class Adaptive(Struct, frozen=True, kw_only=True):
    """How a lane gives way when its operator asks for less, and how it comes back; never above the contract."""

    # What is left of the rate after a throttle, however many of a window bounce; 1 gives way not at all.
    cut: Annotated[float, Meta(ge=0.1, le=1, description="a factor from 0.1 to 1 (no cut)")] = 0.5
    # From nothing to the whole contract, in a straight line.
    recover_s: Seconds = 60
    # An operator that throttles everything still sees some, or nobody would notice that it has stopped.
    floor: Annotated[float, Meta(ge=0.001, le=1, description="a share of the rate, from 0.001 to 1")] = 0.05
    # Cut when answers get slower, too. Off: the window bounds what a slow SMSC holds, and slow by day is no overload.
    latency: bool = False


class ErrorRule(Struct, frozen=True, kw_only=True):
    """What a command_status asks for. Unset: what the disposition brings along."""

    disposition: Refusal
    # Until the first retry, or until a part of the lane that is held is tried again.
    after_s: Annotated[float, Meta(ge=0, le=DAY, description="seconds, at most a day")] | None = None
    # Of the message in all, the refused one included; the lane's max_attempts holds as well.
    attempts: Attempts | None = None

    def __post_init__(self) -> None:
        if self.after_s is not None and self.disposition not in _WAITING:
            raise Contradiction("after_s", f"has no meaning for {self.disposition}", "only retry, throttled, hold wait")
        if self.attempts is not None and self.disposition not in _COUNTING:
            raise Contradiction("attempts", f"has no meaning for {self.disposition}", "only retry and hold count them")


_WAITING = {"retry", "throttled", "hold"}
_COUNTING = {"retry", "hold"}


_RESERVE: Mapping[TrafficClass, float] = {TrafficClass.TRANSACTIONAL: 0.05, TrafficClass.BULK: 0.05}


class Contract(Struct, frozen=True, kw_only=True):
    """What every lane has: how much it may carry of what, and what it does when that is too much."""

    name: str
    provider: str
    # Of the whole account, over all slots and processes.
    rate: Annotated[float, Meta(ge=0, le=100_000, description="messages per second, 0 pauses the lane")]
    # Empty or 0 (the default): 50 ms of the rate, which outlasts a pause of the event loop and stays within 5 % of the
    # contract in any second.
    burst: Annotated[float, Meta(ge=1, le=100_000, description="how many at once, at least 1")] = 0
    # What the provider's message ids are unique in; lanes over the same account share it. Default: the lane's name.
    account: Annotated[str, Meta(min_length=1, max_length=64, description="1 to 64 characters")] = ""
    classes: Annotated[tuple[TrafficClass, ...], Meta(min_length=1)] = tuple(TrafficClass)
    caps: Caps = Caps()
    # After a slot comes up the rate climbs from nothing for so long: an SMSC that has just restarted is not flooded.
    quiet_s: Pause = 0
    # Silence after ESME_RTHROTTLED or 429: Kannel's default; Jasmin waits 30, one operator wants 60.
    throttle_pause_s: Pause = 1
    adaptive: Adaptive = Adaptive()
    # Shares that classes keep while more urgent ones are queued: urgent first, but nobody starves.
    reserve: Mapping[TrafficClass, Kept] = {}
    # Topics per class among which tenants are spread; served in turn, so that one with a million waiting does not
    # delay all others. 1 is off: first come, first served.
    fair_queues: Annotated[int, Meta(ge=1, le=64, description="queues per class, from 1 (off) to 64")] = 1
    # How many parts a tenant gets in its turn, beside the others' 1.
    weights: Mapping[str, Weight] = {}
    # With the delays of `retry.py` two hours on average, beyond which a code that says "later" means "no".
    max_attempts: Attempts = 16
    # A reconnect takes seconds; what is queued moves to the route's next lane only for more than that.
    down_after_s: Pause = 30
    # Back only when it has held: a bind that comes and goes would scatter one person's messages over the lanes.
    up_after_s: Pause = 60

    def __post_init__(self) -> None:
        if not self.account:
            force_setattr(self, "account", self.name)
        if not self.burst:
            force_setattr(self, "burst", max(1.0, self.rate / 20))
        force_setattr(self, "reserve", {**_RESERVE, **self.reserve})
        if sum(self.reserve.values()) > 0.5 or TrafficClass.OTP in self.reserve:
            raise Contradiction(
                "reserve", "does not leave half of the lane to otp", "at most 0.5 together, none for otp"
            )
        if len(set(self.classes)) < len(self.classes):
            raise Contradiction("classes", "names a class twice", "name each class once")


class Lane(Contract, frozen=True, kw_only=True):
    """A contract with one operator over SMPP: an account, with its window and its binds."""

    provider: Literal["smpp"] = "smpp"
    host: Text
    port: Port
    system_id: Annotated[str, ascii_octets(15, least=1)]
    password: Secret
    # An operator counts submit_sm, so long messages cost more.
    rate: Annotated[float, Meta(ge=0, le=100_000, description="parts (submit_sm) per second, 0 pauses the lane")]
    tls: bool = False
    tls_verify: bool = True
    ca_file: Certificates | None = None
    system_type: Annotated[str, ascii_octets(12)] = ""
    address_range: Annotated[str, ascii_octets(40)] = ""
    # A transceiver, or a transmitter and a receiver side by side.
    bind: Literal["trx", "txrx"] = "trx"
    binds: Annotated[int, Meta(ge=1, le=64, description="parallel binds of the account, from 1 to 64")] = 1
    # Unanswered submit_sm per bind. 10 is Kannel's default; it caps a bind at 10 per round trip.
    window: Annotated[int, Meta(ge=1, le=10_000, description="unanswered submit_sm per bind, from 1 to 10000")] = 10
    sender: Annotated[str, ascii_octets(20)] = ""
    # Unset: by the sender's shape, see `source_numbering`.
    source_ton: Numbering | None = None
    source_npi: Numbering | None = None
    # International, E.164.
    dest_ton: Numbering = 1
    dest_npi: Numbering = 1
    service_type: Annotated[str, ascii_octets(5)] = ""
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
    # Where the operator names the network that serves the number, if it does: the tag of its own parameter, which
    # SMPP 3.4 §5.3.2 lets vendors choose from 0x1400.
    network_tlv: Annotated[int, Meta(ge=1, le=0xFFFF, description="a tag, such as 0x1403")] | None = None
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
    errors: Mapping[ErrorCode, ErrorRule | Refusal] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        force_setattr(self, "errors", _canonical(self.errors))
        if not is_host(self.host):
            raise Contradiction("host", *NO_HOST)
        if not re.fullmatch(r"[ -~]{0,8}", self.password.reveal()):
            raise Contradiction("password", "does not fit", "SMPP 3.4 §4.1.1 has room for 8 ASCII characters")
        if self.reconnect_min_s > self.reconnect_max_s:
            raise Contradiction("reconnect_min_s", "is above reconnect_max_s", "the first wait is the shortest")

    @property
    def channel(self) -> Channel:
        """What it carries."""
        return "sms"

    @property
    def slots(self) -> int:
        """How many parallel shares the lane has: its binds, and the partitions of each of its topics."""
        return self.binds

    def error(self, code: str) -> ErrorRule | None:
        """Return what this lane says of a status by its name, or of `UNLISTED` ones; None where it says nothing."""
        return cast("ErrorRule | None", self.errors.get(code))

    def source_numbering(self, sender: str) -> tuple[int, int]:
        """Return source_addr_ton and source_addr_npi for a sender, by its shape where the lane does not set them.

        Alphanumeric: 5, 0. A short code, up to 8 digits: network specific, 3, 0. A number: international, 1, 1.
        None: unknown, 0, 0.
        """
        digits = sender.removeprefix("+")
        if not digits:
            ton, npi = 0, 0
        elif not digits.isdecimal():
            ton, npi = 5, 0
        elif len(sender) <= 8:
            ton, npi = 3, 0
        else:
            ton, npi = 1, 1
        return (
            ton if self.source_ton is None else self.source_ton,
            npi if self.source_npi is None else self.source_npi,
        )


def _canonical(errors: Mapping[str, ErrorRule | Refusal]) -> dict[str, ErrorRule]:
    """Name every code as the events do, and write a bare disposition out."""
    rules: dict[str, ErrorRule] = {}
    for key, rule in errors.items():
        name = key
        if key != UNLISTED and not key.startswith("ESME_"):
            name = status_name(int(key, 16 if key.startswith("0x") else 10))
        if name == "ESME_ROK":
            raise Contradiction(f"errors.{key}", "is no error", "0 is success (SMPP 3.4 §5.1.3)")
        if name in rules:
            raise Contradiction(f"errors.{key}", f"says again what {name} asks for", "list each code once")
        rules[name] = ErrorRule(disposition=rule) if isinstance(rule, str) else rule
    return rules
