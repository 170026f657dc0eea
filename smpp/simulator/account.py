"""The SMSC's side of one account without its sockets: what it answers, and what it owes the ESME.

What must be true, whatever the ESME does:

- A submit_sm is judged once, and its answer is handed out at most once.
- A delivery (a receipt, or a part of an MO) is in exactly one place: waiting for its time, ready for a bind, or sent and not
  yet answered. It leaves only when the ESME has answered it for good; a connection that ends gives it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate
from random import Random

from smpp.constants import CommandId, CommandStatus, status_name
from smpp.pdu import Bind, SubmitSM, encode_response
from smpp.receipt import MessageState
from smpp.segment import Alphabet, LongMode
from smpp.simulator.agenda import Agenda, SlidingWindow
from smpp.simulator.behaviour import Behaviour
from smpp.simulator.delivery import Delivery, make_mo, make_receipt
from smpp.simulator.record import Counts, Record, RecordMode

__all__ = ["Account"]

_SUBMIT_SM_RESP = int(CommandId.SUBMIT_SM_RESP)

_SETTLED = frozenset((0, CommandStatus.ESME_RX_P_APPN, CommandStatus.ESME_RX_R_APPN))
"""Answers after which a delivery is not sent again: taken, or refused for good."""

_BEFORE_ITS_ANSWER = float("-inf")

_RESOLUTION = 0.005
"""Receipts of a few milliseconds go out together: a write for each would cost more than all the rest."""


class Account:
    """What all binds of one system_id share. `behaviour` may be replaced at any time and holds from the next PDU on.

    Message ids count up from `first_id`; the same `seed` makes the same choices. Connections are known by numbers above 0,
    `now` is monotonic seconds, and `epoch` is what makes seconds since 1970 of it, for the dates in receipts.
    """

    def __init__(
        self,
        system_id: str,
        password: str = "",
        behaviour: Behaviour | None = None,
        *,
        record: RecordMode = "counts",
        first_id: int = 1,
        seed: int = 0,
        epoch: float = 0.0,
    ) -> None:
        self.system_id = system_id
        self.password = password
        self.epoch = epoch
        self.record = Record(record)
        self._counts = self.record.counts
        self._random = Random(seed)
        self._next_id = first_id
        self._reference = 0
        self._agenda: Agenda[Delivery] = Agenda(_RESOLUTION)
        self._due: list[Delivery] = []
        self._outbox: deque[Delivery] = deque()
        self._queues: dict[int, deque[Delivery]] = {}
        self.behaviour = behaviour or Behaviour()

    def __repr__(self) -> str:
        counts = self._counts
        return f"<Account {self.system_id} {counts.binds} binds, {counts.accepted} accepted, {counts.pending} pending>"

    @property
    def behaviour(self) -> Behaviour:
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._states = [MessageState[name] for name in behaviour.states]
        self._weights = list(accumulate(behaviour.states.values()))
        above = behaviour.throttle_above
        self._throttle = None if above is None else SlidingWindow(above)

    @property
    def counts(self) -> Counts:
        return self._counts

    # Binds.

    def judge_bind(self, request: Bind) -> int:
        """The command_status that a bind gets; 0 is to be followed by `opened`."""
        behaviour = self._behaviour
        status = 0
        if request.password != self.password:
            status = int(CommandStatus.ESME_RINVPASWD)
        elif behaviour.bind_status:
            status = behaviour.bind_status
        elif behaviour.max_binds is not None and self._counts.binds >= behaviour.max_binds:
            status = int(CommandStatus.ESME_RALYBND)
        self._counts.refused_binds += status != 0
        return status

    def opened(self, connection: int, *, receives: bool) -> None:
        """A bind is up; `receives` says whether deliveries may go to it."""
        counts = self._counts
        counts.binds += 1
        counts.total_binds += 1
        counts.max_binds = max(counts.max_binds, counts.binds)
        if receives:
            self._queues[connection] = deque()

    def closed(self, connection: int, unanswered: Iterable[Delivery]) -> None:
        """A bind is gone: what it had not answered, and what only it was to get, goes to any other, oldest first."""
        self._counts.binds -= 1
        queue = self._queues.pop(connection, ())
        self._outbox.extendleft(reversed([*unanswered, *queue]))

    # MT.

    def submit(self, request: SubmitSM, connection: int, now: float) -> tuple[float, bytes] | None:
        """Judge a submit_sm: when its answer is due and the answer's PDU, or None when none is to be sent."""
        behaviour = self._behaviour
        status = self._judge(request, now)
        self.record.add(request, status, now)
        answer_at = now + behaviour.latency_s
        if behaviour.latency_jitter_s:
            answer_at += behaviour.latency_jitter_s * self._random.random()
        if status:
            refused = self._counts.refused
            name = status_name(status)
            refused[name] = refused.get(name, 0) + 1
            return answer_at, encode_response(_SUBMIT_SM_RESP, status, request.sequence_number)
        self._counts.accepted += 1
        number = self._next_id
        self._next_id = number + 1
        if request.registered_delivery & 3:
            self._plan_receipts(request, number, connection, answer_at, now)
        if self._chance(behaviour.unanswered):
            self._counts.unanswered += 1
            return None
        message_id = format(number, behaviour.resp_id).encode() + b"\0"
        return answer_at, encode_response(_SUBMIT_SM_RESP, 0, request.sequence_number, message_id)

    def _judge(self, request: SubmitSM, now: float) -> int:
        behaviour = self._behaviour
        if behaviour.rejected:
            status = behaviour.rejected.get(request.destination_addr, 0)
            if status:
                return status
        if behaviour.errors:
            roll = self._random.random()
            for status, share in behaviour.errors.items():
                roll -= share
                if roll < 0:
                    return status
        if behaviour.queue_limit is not None and self._counts.pending >= behaviour.queue_limit:
            return CommandStatus.ESME_RMSGQFUL
        if self._throttle is not None and not self._throttle.admit(now):
            return CommandStatus.ESME_RTHROTTLED
        return 0

    def _plan_receipts(self, request: SubmitSM, number: int, connection: int, answer_at: float, now: float) -> None:
        behaviour = self._behaviour
        if not self._chance(behaviour.receipt_ratio):
            return
        state = self._states[0]
        if len(self._states) > 1:
            state = self._random.choices(self._states, cum_weights=self._weights)[0]
        if request.registered_delivery & 3 == 2 and state is MessageState.DELIVERED:
            return  # §5.2.17: asked for failures only
        due = answer_at + behaviour.receipt_delay_s
        if behaviour.receipt_jitter_s:
            due += behaviour.receipt_jitter_s * self._random.random()

        message_id = format(number, behaviour.receipt_id)
        receipt = make_receipt(request, message_id, state, behaviour, due + self.epoch, connection)
        planned = [(_BEFORE_ITS_ANSWER if self._chance(behaviour.receipts_early) else due, receipt)]
        if self._chance(behaviour.receipts_duplicated):
            planned.append((due, Delivery(receipt.command_id, receipt.body, connection)))
        if self._chance(behaviour.intermediate):
            enroute = MessageState.ENROUTE
            notice = make_receipt(request, message_id, enroute, behaviour, answer_at + self.epoch, connection)
            if self._chance(behaviour.intermediate_late):
                planned.append((due, notice))
            else:
                planned.insert(0, (answer_at, notice))
        self._plan(planned, now)

    # What nobody submitted.

    def send_receipt(self, message_id: str, source_addr: str, destination_addr: str, state: str, now: float) -> None:
        """Make a receipt ready for any bind, of a message that the simulator need not know: from its recipient to its
        sender, with the name of a `MessageState`. Raises KeyError for another name."""
        request = SubmitSM(source_addr=destination_addr, destination_addr=source_addr)
        receipt = make_receipt(request, message_id, MessageState[state], self._behaviour, now + self.epoch)
        self._outbox.append(receipt)
        self._counts.pending += 1
        self._counts.receipts += 1

    def send_mo(
        self,
        source_addr: str,
        destination_addr: str,
        text: str,
        *,
        alphabets: Sequence[Alphabet] = ("gsm7", "ucs2"),
        long: LongMode = "udh8",
        order: Sequence[int] = (),
    ) -> int:
        """Make an MO ready for any bind and return how many parts it has.

        `order` lists their numbers as they are to be sent, one of them left out or twice if need be. Raises what
        `TextEncoder` does.
        """
        self._reference += 1
        parts = make_mo(source_addr, destination_addr, text, self._reference, alphabets, long)
        for number in order or range(1, len(parts) + 1):
            part = parts[number - 1]
            self._outbox.append(Delivery(part.command_id, part.body))
            self._counts.pending += 1
            self._counts.mo += 1
        return len(parts)

    # Deliveries: planned, ready, sent, settled.

    @property
    def next_due(self) -> float | None:
        """When `advance` has something to make ready."""
        return self._agenda.next_due

    @property
    def ready(self) -> bool:
        """Whether something waits only for a bind with room."""
        return bool(self._outbox) or any(self._queues.values())

    def advance(self, now: float) -> None:
        """Make ready what is due: once the answers of the same moment have been written, for no receipt goes before."""
        if self._due:
            for delivery in self._due:
                self._route(delivery)
            self._due.clear()
        for delivery in self._agenda.take(now):
            self._route(delivery)

    def take(self, connection: int, room: int) -> list[Delivery]:
        """What is to be sent on one bind, `room` at most: first what only it is to get."""
        taken: list[Delivery] = []
        for queue in (self._queues.get(connection), self._outbox):
            while queue and len(taken) < room:
                taken.append(queue.popleft())
        self._counts.sent += len(taken)
        return taken

    def answered(self, delivery: Delivery, command_status: int, now: float) -> None:
        """The ESME answered: settled, or to be sent again after a pause, on any bind."""
        counts = self._counts
        if command_status in _SETTLED:
            counts.pending -= 1
            counts.settled += 1
            counts.discarded += command_status != 0
        else:
            counts.redelivered += 1
            delivery.home = 0
            self._agenda.add(now + self._behaviour.redelivery_s, delivery)

    def expired(self, delivery: Delivery) -> None:
        """The ESME did not answer in time: to be sent again at once, on any bind."""
        self._counts.redelivered += 1
        self._outbox.append(delivery)

    def _plan(self, planned: Iterable[tuple[float, Delivery]], now: float) -> None:
        for due, delivery in planned:
            self._counts.pending += 1
            self._counts.receipts += 1
            if due > now:
                self._agenda.add(due, delivery)
            elif due == _BEFORE_ITS_ANSWER:
                self._route(delivery)
            else:
                self._due.append(delivery)

    def _route(self, delivery: Delivery) -> None:
        where = self._behaviour.receipt_where
        if where == "any" or not delivery.home:
            self._outbox.append(delivery)
        elif where == "same":
            self._queues.get(delivery.home, self._outbox).append(delivery)
        else:
            others = [queue for connection, queue in self._queues.items() if connection != delivery.home]
            (self._random.choice(others) if others else self._outbox).append(delivery)

    def _chance(self, share: float) -> bool:
        return share > 0 and (share >= 1 or self._random.random() < share)
