"""What differs between a lane over SMPP and one over HTTP: how a message is made ready, what carries it, what a refusal means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gateway.correlation import REMEMBER_S
from gateway.http_lane_config import HttpLane
from gateway.inbox import Answer, Inbox
from gateway.lane_config import Lane
from gateway.model import Message
from gateway.providers import http, registry
from gateway.providers.contract import Failure
from gateway.providers.smpp import SmppEncoder, SmppPort
from gateway.providers.smpp_errors import Crowding, ErrorTable
from smpp.constants import CommandStatus
from smpp.receipt import IdFormat

AnyLane = Lane | HttpLane


class Port(Protocol):
    """What carries the messages of one slot: a bind, or a share of the requests to a provider."""

    lane: str
    account: str

    @property
    def room(self) -> int:
        """Parts that `submit` takes now."""
        ...

    @property
    def in_flight(self) -> int: ...

    @property
    def bound(self) -> bool:
        """It can send."""
        ...

    @property
    def down_reason(self) -> str: ...

    def start(self, after: float = 0.0) -> None:
        """Begin to connect, `after` seconds from now."""
        ...

    def abort(self) -> None:
        """Drop what is not answered: whoever has the slot next may connect at once, and the provider counts connections."""
        ...

    def submit(self, parts: list[tuple[Any, Any]]) -> None:
        """Write what the carrier has encoded, each with what its answer is to carry."""
        ...

    def set_window(self, window: int) -> None: ...

    async def close(self) -> None:
        """Drain and disconnect. What nobody answered is in the inbox when this returns."""
        ...


class Carrier(Protocol):
    """One for each lane of a process."""

    id_format: IdFormat
    """How the provider's ids are compared with those of its receipts."""
    echoes: bool
    """Callbacks carry our reference, and come again for days."""
    by_reference: bool
    """They may carry that and not the id of the answer."""
    in_line: bool
    """What is written at once is answered at once, over one connection."""
    told_for_s: int
    """How long after its write something may be said of a message: its row lives at least so long."""
    sure_to_fit: int
    """Length up to which a text needs no counting: it cannot take more parts than the lane allows."""

    def encode(self, message: Message, now: float) -> list[Any]:
        """What `Port.submit` takes, for each part in order; `now` is Unix time.

        Raises `SMPPError` or `Unsendable` for what this lane cannot carry.
        """
        ...

    def own_id(self, message: Message) -> str:
        """The provider's id of a message, where we have chosen it and its callbacks carry nothing else of ours; else empty."""
        ...

    def count(self, text: str) -> int:
        """How many parts a text takes; raises `SMPPError` for one that the lane cannot carry."""
        ...

    def port(self, inbox: Inbox, on_bound: Callable[[], None]) -> Port: ...

    def failure(self, answer: Answer, now: float) -> Failure:
        """What an answer that is no acceptance asks for; `now`, here and below, is monotonic seconds."""
        ...

    def answered(self, answers: int, now: float) -> None:
        """So many answers were read."""
        ...

    def reconfigure(self, lane: AnyLane) -> None: ...


class SmppCarrier:
    """Texts to submit_sm, statuses by the lane's table."""

    echoes = False
    by_reference = False
    in_line = True

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        encoder = SmppEncoder(lane)
        self.encode = encoder.encode
        self.count = encoder.count
        self.id_format = lane.message_id_format
        # An SMSC says that a message has expired only some time after its validity is over.
        self.told_for_s = lane.max_validity_s * 4 // 3
        # In UCS-2, where nothing else holds it, a part carries 67 code units, of which a character takes two at most.
        self.sure_to_fit = 33 * lane.max_parts if "ucs2" in lane.alphabets else 0
        self._errors = ErrorTable(lane)
        self._crowding = Crowding()
        self._full = 0

    def own_id(self, message: Message) -> str:
        return ""

    def port(self, inbox: Inbox, on_bound: Callable[[], None]) -> SmppPort:
        return SmppPort(self._lane, inbox, on_bound)

    def failure(self, answer: Answer, now: float) -> Failure:
        full = answer.command_status == CommandStatus.ESME_RMSGQFUL
        self._full += full
        return self._errors.failure(answer.command_status, full and self._crowding.crowded(now))

    def answered(self, answers: int, now: float) -> None:
        self._crowding.note(answers, self._full, now)
        self._full = 0

    def reconfigure(self, lane: AnyLane) -> None:
        assert isinstance(lane, Lane)
        self._lane = lane
        self._errors = ErrorTable(lane)


class HttpCarrier:
    """Messages as they are: their provider makes requests of them when it is their turn, and judges the answers."""

    id_format: IdFormat = "same"
    echoes = True
    by_reference = False
    in_line = False
    told_for_s = REMEMBER_S
    sure_to_fit = 1 << 30  # how long a text may be is the provider's to say

    def __init__(self, lane: HttpLane) -> None:
        self.provider = registry.build(lane)
        self.by_reference = getattr(self.provider, "by_reference", False)
        self.told_for_s = getattr(self.provider, "told_for_s", REMEMBER_S)
        self.shared = http.HttpLane(lane.name, lane.account, self.provider, lane.http, lane.slots)

    def encode(self, message: Message, now: float) -> list[Any]:
        self.provider.prepare(message)
        if self.shared.reach is not None:
            self.shared.reach.of(message.to)  # is asked while the message waits for its turn
        return [message]

    def own_id(self, message: Message) -> str:
        return self.provider.own_id(message)

    def count(self, text: str) -> int:
        return 1

    def port(self, inbox: Inbox, on_bound: Callable[[], None]) -> Port:
        return http.HttpPort(self.shared, inbox, on_bound)

    def failure(self, answer: Answer, now: float) -> Failure:
        failure: Failure = answer.failure
        return failure

    def answered(self, answers: int, now: float) -> None:
        pass

    def reconfigure(self, lane: AnyLane) -> None:
        pass


class MailCarrier(HttpCarrier):
    """Messages as they are, to a server of mail."""

    def __init__(self, lane: HttpLane) -> None:
        self._lane = lane

    def encode(self, message: Message, now: float) -> list[Any]:
        return [message]

    def own_id(self, message: Message) -> str:
        return ""

    def port(self, inbox: Inbox, on_bound: Callable[[], None]) -> Port:
        from gateway.mail_port import MailPort  # noqa: PLC0415 - needs a package that other lanes do not

        lane = self._lane
        return MailPort(lane.name, lane.account, lane.settings, lane.http, inbox, on_bound)


def carrier_of(lane: AnyLane) -> Carrier:
    """Make the carrier of a lane; raises `GatewayError` when what its provider needs is not installed."""
    if isinstance(lane, HttpLane) and lane.provider == "smtp":
        return MailCarrier(lane)
    return HttpCarrier(lane) if isinstance(lane, HttpLane) else SmppCarrier(lane)
