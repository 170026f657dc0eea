"""The simulated SMSC without sockets: what it answers, what it owes, what it remembers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from smpp.constants import CommandId, CommandStatus
from smpp.pdu import HEADER, BindTransceiver, DataSM, DeliverSM, SubmitSM, decode
from smpp.receipt import MessageState, Receipt, parse
from smpp.segment import TextEncoder
from smpp.simulator import Account, Behaviour
from smpp.simulator.agenda import Agenda, SlidingWindow
from smpp.simulator.delivery import Delivery
from smpp.simulator.record import Record, max_per_second

S = CommandStatus


def submit_sm(destination_addr: str = "573001234567", short_message: bytes = b"hola", **fields: Any) -> SubmitSM:
    known: dict[str, Any] = {"source_addr": "89000", "registered_delivery": 1}
    return SubmitSM(destination_addr=destination_addr, short_message=short_message, **known | fields)


def long_message(text: str, reference: int, long: Any = "udh8") -> list[SubmitSM]:
    encoded = TextEncoder(long=long).encode(text, reference)
    messages = []
    for part in encoded.parts:
        message = submit_sm(short_message=part.short_message, esm_class=part.esm_class, data_coding=encoded.data_coding)
        messages.append(SubmitSM.decode_body(message.encode_body() + part.tlvs, 1))
    return messages


def answers(account: Account, count: int = 1, now: float = 0.0, **fields: Any) -> list[int]:
    """The statuses that so many submit_sm get."""
    statuses = []
    for number in range(count):
        answer = account.submit(submit_sm(f"57300{number:07d}", **fields), 1, now)
        assert answer is not None
        statuses.append(HEADER.unpack_from(answer[1])[2])
    return statuses


def message_id(answer: tuple[float, bytes] | None) -> str:
    assert answer is not None
    return answer[1][16:-1].decode()


def receipt_of(delivery: Delivery) -> Receipt:
    request = decode(delivery.command_id, delivery.body, 1)
    assert isinstance(request, DeliverSM | DataSM)
    found = parse(request.esm_class, request.short_message, request.tlvs)
    assert found is not None
    return found


def due(account: Account, now: float = 0.0) -> list[Delivery]:
    account.advance(now)
    return account.take(1, 1000)


# Answers.


def test_an_answer_carries_sequence_number_and_message_id() -> None:
    """Ids count up; the answer is due after the latency."""
    account = Account("a", behaviour=Behaviour(latency_s=0.5), first_id=41)
    assert account.submit(submit_sm(sequence_number=7), 1, 10.0) == (
        10.5,
        HEADER.pack(19, CommandId.SUBMIT_SM_RESP, 0, 7) + b"41\0",
    )
    assert message_id(account.submit(submit_sm(), 1, 10.0)) == "42"


def test_latency_jitter_only_adds() -> None:
    """Answers are due between the latency and the latency with its jitter."""
    account = Account("a", behaviour=Behaviour(latency_s=1.0, latency_jitter_s=0.5))
    times = [answer[0] for _ in range(50) if (answer := account.submit(submit_sm(), 1, 0.0))]
    assert len(set(times)) == 50
    assert min(times) >= 1.0
    assert max(times) <= 1.5


def test_an_error_carries_no_message_id_and_brings_no_receipt() -> None:
    """What was refused is no message."""
    account = Account("a", behaviour=Behaviour(rejected={"573001234567": S.ESME_RINVDSTADR}))
    assert account.submit(submit_sm(), 1, 0.0) == (0.0, HEADER.pack(16, CommandId.SUBMIT_SM_RESP, 0x0B, 0))
    assert due(account) == []
    assert account.counts.refused == {"ESME_RINVDSTADR": 1}
    assert (account.counts.accepted, account.counts.messages) == (0, 0)


def test_a_rejected_destination_is_rejected_alone() -> None:
    """Others are accepted."""
    account = Account("a", behaviour=Behaviour(rejected={"573000000001": S.ESME_RINVDSTADR}))
    assert answers(account, 3) == [0, S.ESME_RINVDSTADR, 0]


def test_errors_come_in_their_shares() -> None:
    """A mix of statuses is drawn as it was asked for, and the same again with the same seed."""
    behaviour = Behaviour(errors={S.ESME_RSYSERR: 0.25, 0x0400: 0.5})
    statuses = answers(Account("a", behaviour=behaviour, seed=5), 4000)
    counts = Counter(statuses)
    assert counts.keys() == {0, S.ESME_RSYSERR, 0x0400}
    assert abs(counts[0x0400] - 2000) < 150
    assert abs(counts[S.ESME_RSYSERR] - 1000) < 150
    assert statuses == answers(Account("a", behaviour=behaviour, seed=5), 4000)


def test_throttles_above_its_rate_and_recovers() -> None:
    """Within any second so many are accepted; refused ones do not count."""
    account = Account("a", behaviour=Behaviour(throttle_above=3))
    throttled = S.ESME_RTHROTTLED
    assert answers(account, 5, now=0.0) == [0, 0, 0, throttled, throttled]
    assert answers(account, 1, now=0.999) == [throttled]
    assert answers(account, 2, now=1.0) == [0, 0]


def test_the_queue_is_full_until_deliveries_are_answered() -> None:
    """ESME_RMSGQFUL counts what the ESME has not taken, and ends when it does."""
    account = Account("a", behaviour=Behaviour(queue_limit=2))
    assert answers(account, 3) == [0, 0, S.ESME_RMSGQFUL]
    account.answered(due(account)[0], 0, 0.0)
    assert answers(account, 2) == [0, S.ESME_RMSGQFUL]


def test_unanswered_is_accepted_all_the_same() -> None:
    """The message is there, and its receipt comes: only the answer does not."""
    account = Account("a", behaviour=Behaviour(unanswered=1.0))
    assert account.submit(submit_sm(), 1, 0.0) is None
    assert (account.counts.accepted, account.counts.unanswered, account.counts.messages) == (1, 1, 1)
    assert receipt_of(due(account)[0]).message_id == "1"


def test_behaviour_can_be_replaced() -> None:
    """What follows is judged by the new one."""
    account = Account("a")
    assert answers(account) == [0]
    account.behaviour = Behaviour(errors={S.ESME_RSYSERR: 1.0})
    assert answers(account) == [S.ESME_RSYSERR]


@pytest.mark.parametrize(
    "fields",
    [
        {"receipt_ratio": 1.1},
        {"unanswered": -0.1},
        {"errors": {8: 0.6, 20: 0.6}},
        {"states": {"DELIVRD": 1.0}},
        {"states": {}},
        {"resp_id": "q"},
    ],
)
def test_behaviour_refuses_what_means_nothing(fields: dict[str, Any]) -> None:
    """A wrong knob is an error at once, not a test that passes for another reason."""
    with pytest.raises(ValueError, match=r".+"):
        Behaviour(**fields)


# Binds.


def test_binds_are_judged_by_password_status_and_number() -> None:
    """A bind that went away makes room for another."""
    account = Account("a", "secret", Behaviour(max_binds=1))
    bind = BindTransceiver(system_id="a", password="secret")
    assert account.judge_bind(BindTransceiver(system_id="a", password="other")) == S.ESME_RINVPASWD
    assert account.judge_bind(bind) == 0
    account.opened(1, receives=True)
    assert account.judge_bind(bind) == S.ESME_RALYBND
    account.closed(1, [])
    assert account.judge_bind(bind) == 0
    account.behaviour = Behaviour(bind_status=S.ESME_RSYSERR)
    assert account.judge_bind(bind) == S.ESME_RSYSERR
    assert (account.counts.binds, account.counts.max_binds, account.counts.refused_binds) == (0, 1, 3)


# Receipts.


@pytest.mark.parametrize("form", ["text", "tlvs", "both"])
@pytest.mark.parametrize("via", ["deliver_sm", "data_sm"])
def test_a_receipt_in_every_form_is_read_as_the_same(form: Any, via: Any) -> None:
    """Text, optional parameters, both; deliver_sm, data_sm: same id, same state, addresses swapped."""
    behaviour = Behaviour(receipt_form=form, receipt_via=via, states={"UNDELIVERABLE": 1})
    account = Account("a", behaviour=behaviour)
    account.submit(submit_sm(dest_addr_ton=1, source_addr_ton=3), 1, 0.0)
    (delivery,) = due(account)
    request = decode(delivery.command_id, delivery.body, 1)
    assert isinstance(request, DeliverSM if via == "deliver_sm" else DataSM)
    assert (request.source_addr, request.source_addr_ton) == ("573001234567", 1)
    assert (request.destination_addr, request.dest_addr_ton) == ("89000", 3)
    receipt = receipt_of(delivery)
    assert (receipt.message_id, receipt.state, receipt.final) == ("1", MessageState.UNDELIVERABLE, True)


def test_receipts_are_dated_by_the_wall_clock() -> None:
    """Monotonic time and epoch together make the date."""
    account = Account("a", epoch=1_795_000_000.0)
    account.submit(submit_sm(), 1, 60.0)
    assert receipt_of(due(account, 60.0)[0]).done_at == "2611181107"


def test_ids_have_a_format_of_their_own_in_each_direction() -> None:
    """Hexadecimal with zeros here, decimal there: one number."""
    account = Account("a", behaviour=Behaviour(resp_id="010X", receipt_id="d"), first_id=0xABC)
    assert message_id(account.submit(submit_sm(), 1, 0.0)) == "0000000ABC"
    assert receipt_of(due(account)[0]).message_id == str(0xABC)


@pytest.mark.parametrize(
    ("registered_delivery", "state", "expected"),
    [(0, "DELIVERED", 0), (1, "DELIVERED", 1), (2, "DELIVERED", 0), (2, "EXPIRED", 1), (17, "DELIVERED", 1)],
)
def test_receipts_are_sent_when_asked_for(registered_delivery: int, state: str, expected: int) -> None:
    """§5.2.17: none, all, failures only."""
    account = Account("a", behaviour=Behaviour(states={state: 1}))
    account.submit(submit_sm(registered_delivery=registered_delivery), 1, 0.0)
    assert len(due(account)) == expected


def test_shares_of_receipts_and_states() -> None:
    """Some messages never get a receipt, some fail."""
    behaviour = Behaviour(receipt_ratio=0.5, states={"DELIVERED": 3, "EXPIRED": 1})
    account = Account("a", behaviour=behaviour)
    answers(account, 2000)
    account.advance(0.0)
    states = Counter(receipt_of(delivery).state for delivery in account.take(1, 2000))
    assert abs(states.total() - 1000) < 120
    assert abs(states[MessageState.EXPIRED] / states.total() - 0.25) < 0.05


def test_a_receipt_comes_after_its_delay_and_never_early() -> None:
    """The delay counts from the answer; batches go a little late, none goes early."""
    account = Account("a", behaviour=Behaviour(latency_s=1.0, receipt_delay_s=2.0))
    account.submit(submit_sm(), 1, 10.0)
    assert due(account, 12.999) == []
    assert account.next_due == pytest.approx(13.0, abs=0.0051)
    assert len(due(account, 13.006)) == 1


def test_an_early_receipt_is_ready_before_the_answer_is_written() -> None:
    """It does not wait for `advance`, which follows the answers; any other does."""
    account = Account("a", behaviour=Behaviour(receipts_early=1.0, receipt_delay_s=60.0))
    account.submit(submit_sm(), 1, 0.0)
    assert len(account.take(1, 10)) == 1
    account.behaviour = Behaviour()
    account.submit(submit_sm(), 1, 0.0)
    assert account.take(1, 10) == []
    assert len(due(account)) == 1


def test_a_duplicated_receipt_comes_twice() -> None:
    """Both have to be answered."""
    account = Account("a", behaviour=Behaviour(receipts_duplicated=1.0))
    account.submit(submit_sm(), 1, 0.0)
    first, second = due(account)
    assert first.body == second.body
    assert account.counts.pending == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_notification_comes_before_or_after_the_final_state(late: bool) -> None:
    """ENROUTE is marked intermediate, wherever it comes."""
    account = Account("a", behaviour=Behaviour(intermediate=1.0, intermediate_late=float(late)))
    account.submit(submit_sm(), 1, 0.0)
    receipts = [receipt_of(delivery) for delivery in due(account)]
    assert [receipt.intermediate for receipt in receipts] == [not late, late]
    assert {receipt.message_id for receipt in receipts} == {"1"}


@pytest.mark.parametrize(("where", "taken"), [("same", [1, 0]), ("other", [0, 1]), ("any", [1, 0])])
def test_receipts_go_to_the_bind_that_was_asked_for(where: Any, taken: list[int]) -> None:
    """Two binds of an account, and the message came by the first."""
    account = Account("a", behaviour=Behaviour(receipt_where=where))
    account.opened(1, receives=True)
    account.opened(2, receives=True)
    account.submit(submit_sm(), 1, 0.0)
    account.advance(0.0)
    assert [len(account.take(number, 10)) for number in (1, 2)] == taken


@pytest.mark.parametrize("where", ["same", "other", "any"])
def test_receipts_go_to_any_bind_when_there_is_none_such(where: Any) -> None:
    """The transmitter that submitted cannot receive, and there is no other than this receiver."""
    account = Account("a", behaviour=Behaviour(receipt_where=where))
    account.opened(1, receives=False)
    account.opened(2, receives=True)
    account.submit(submit_sm(), 2 if where == "other" else 1, 0.0)
    account.advance(0.0)
    assert len(account.take(2, 10)) == 1


# Deliveries.


@pytest.mark.parametrize("status", [S.ESME_RX_T_APPN, S.ESME_RSYSERR, S.ESME_RMSGQFUL])
def test_a_delivery_refused_for_a_while_comes_again(status: int) -> None:
    """After the pause, until it is taken."""
    account = Account("a", behaviour=Behaviour(redelivery_s=2.0))
    account.submit(submit_sm(), 1, 0.0)
    (delivery,) = due(account)
    account.answered(delivery, status, 0.0)
    assert due(account, 1.9) == []
    assert due(account, 2.1) == [delivery]
    account.answered(delivery, 0, 2.1)
    assert due(account, 100.0) == []
    assert (account.counts.settled, account.counts.redelivered, account.counts.pending) == (1, 1, 0)


def test_a_refused_delivery_comes_again_on_any_bind() -> None:
    """The bind that refused it may go on doing so."""
    account = Account("a", behaviour=Behaviour(receipt_where="same", redelivery_s=1.0))
    account.opened(1, receives=True)
    account.opened(2, receives=True)
    account.submit(submit_sm(), 1, 0.0)
    (delivery,) = due(account)
    account.answered(delivery, S.ESME_RX_T_APPN, 0.0)
    account.advance(2.0)
    assert account.take(2, 10) == [delivery]


@pytest.mark.parametrize("status", [S.ESME_RX_P_APPN, S.ESME_RX_R_APPN])
def test_a_delivery_refused_for_good_does_not(status: int) -> None:
    """It is counted as discarded."""
    account = Account("a")
    account.submit(submit_sm(), 1, 0.0)
    account.answered(due(account)[0], status, 0.0)
    assert due(account, 100.0) == []
    assert (account.counts.settled, account.counts.discarded, account.counts.pending) == (1, 1, 0)


def test_a_lost_bind_gives_back_what_it_owes_oldest_first() -> None:
    """Unanswered, then not yet sent, then what came after."""
    account = Account("a", behaviour=Behaviour(receipt_where="same"))
    account.opened(1, receives=True)
    for _ in range(3):
        account.submit(submit_sm(), 1, 0.0)
    account.advance(0.0)
    unanswered = account.take(1, 2)
    account.closed(1, unanswered)
    account.opened(2, receives=True)
    assert [receipt_of(delivery).message_id for delivery in account.take(2, 10)] == ["1", "2", "3"]


def test_parts_of_an_mo_go_in_the_order_asked_for() -> None:
    """Any order, parts twice or not at all."""
    account = Account("a")
    assert account.send_mo("573001234567", "89000", "Quiero pagar mi factura. " * 16, order=[3, 1, 1]) == 3
    parts = [DeliverSM.decode_body(delivery.body, 1) for delivery in account.take(1, 10)]
    assert [part.short_message[5] for part in parts] == [3, 1, 1]
    assert {(part.source_addr, part.destination_addr, part.esm_class) for part in parts} == {
        ("573001234567", "89000", 0x40)
    }


def test_a_receipt_of_nobody_s_message() -> None:
    """Any id, from the recipient to the sender."""
    account = Account("a")
    account.send_receipt("unknown-1", "573001234567", "89000", "EXPIRED", 0.0)
    (delivery,) = account.take(1, 10)
    assert DeliverSM.decode_body(delivery.body, 1).source_addr == "573001234567"
    assert (receipt_of(delivery).message_id, receipt_of(delivery).state) == ("unknown-1", MessageState.EXPIRED)


class Deliveries(RuleBasedStateMachine):
    """However binds come and go, each delivery is in one place, and in the end the ESME has answered each."""

    def __init__(self) -> None:
        super().__init__()
        behaviour = Behaviour(receipt_delay_s=0.01, receipts_duplicated=0.3, receipts_early=0.3, intermediate=0.3)
        self.account = Account("a", behaviour=behaviour)
        self.now = 0.0
        self.next_bind = 1
        self.sent: dict[int, list[Delivery]] = {}
        self.settled: list[Delivery] = []

    @rule(where=st.sampled_from(["same", "any", "other"]))
    def change(self, where: Any) -> None:
        self.account.behaviour = Behaviour(receipt_delay_s=0.01, receipt_where=where, receipts_early=0.3)

    @rule(receives=st.booleans())
    def open(self, receives: bool) -> None:
        self.account.opened(self.next_bind, receives=receives)
        self.sent[self.next_bind] = []
        self.next_bind += 1

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if self.sent:
            bind = data.draw(st.sampled_from(sorted(self.sent)))
            self.account.closed(bind, self.sent.pop(bind))

    @rule(data=st.data(), count=st.integers(1, 5))
    def submit(self, data: st.DataObject, count: int) -> None:
        if self.sent:
            bind = data.draw(st.sampled_from(sorted(self.sent)))
            for _ in range(count):
                self.account.submit(submit_sm(), bind, self.now)

    @rule(data=st.data(), room=st.integers(0, 4))
    def send(self, data: st.DataObject, room: int) -> None:
        if self.sent:
            bind = data.draw(st.sampled_from(sorted(self.sent)))
            batch = self.account.take(bind, room)
            assert len(batch) <= room
            self.sent[bind] += batch

    @rule(data=st.data(), status=st.sampled_from([0, 0, S.ESME_RX_T_APPN, None]))
    def answer(self, data: st.DataObject, status: int | None) -> None:
        busy = sorted(bind for bind, sent in self.sent.items() if sent)
        if busy:
            delivery = self.sent[data.draw(st.sampled_from(busy))].pop(0)
            if status is None:
                self.account.expired(delivery)
            else:
                self.account.answered(delivery, status, self.now)
            if status == 0:
                self.settled.append(delivery)

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.account.advance(self.now)

    @invariant()
    def the_account_closes(self) -> None:
        counts = self.account.counts
        assert counts.receipts == counts.pending + counts.settled
        assert counts.settled == len({id(delivery) for delivery in self.settled})
        assert counts.binds == len(self.sent)

    def teardown(self) -> None:
        for bind in list(self.sent):
            self.account.closed(bind, self.sent.pop(bind))
        self.account.opened(self.next_bind, receives=True)
        self.account.advance(self.now + 1000)
        last = self.account.take(self.next_bind, 10**6)
        assert len(last) == self.account.counts.pending
        assert len({id(delivery) for delivery in last + self.settled}) == self.account.counts.receipts


TestDeliveries = Deliveries.TestCase


# Time.


@given(st.lists(st.floats(0, 100), max_size=50), st.floats(0, 100), st.sampled_from([0.0, 0.005]))
def test_an_agenda_gives_everything_once_in_order_and_nothing_early(
    dues: list[float], now: float, resolution: float
) -> None:
    """What is taken was due, what is left is not due by more than the resolution."""
    agenda: Agenda[float] = Agenda(resolution)
    for moment in dues:
        agenda.add(moment, moment)
    taken = agenda.take(now)
    left = agenda.take(1000.0)
    assert sorted(taken + left) == sorted(dues)
    assert all(moment <= now for moment in taken)
    assert all(moment > now - resolution - 1e-9 for moment in left)
    assert agenda.next_due is None
    if not resolution:
        assert taken == sorted(taken)


@given(st.lists(st.floats(0, 0.4), max_size=80), st.integers(1, 5))
def test_a_sliding_window_admits_no_more_in_any_second(gaps: list[float], limit: int) -> None:
    """And never fewer than it may."""
    window, now = SlidingWindow(limit), 0.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        recent = sum(now - moment < 1.0 for moment in admitted)
        assert window.admit(now) is (recent < limit)
        if recent < limit:
            admitted.append(now)
    assert max_per_second(admitted) <= limit


@given(st.lists(st.floats(0, 0.6), max_size=40))
def test_max_per_second_looks_at_every_window(gaps: list[float]) -> None:
    """As many as in the fullest of the windows that begin with an event."""
    now, times = 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
    fullest = max((sum(first <= moment and moment - first < 1.0 for moment in times) for first in times), default=0)
    assert max_per_second(times) == fullest


# What it remembers.


def test_a_record_knows_a_part_that_came_twice() -> None:
    """By destination and octets; another destination or text is another message."""
    record = Record("counts")
    for destination, text in [("1", b"a"), ("2", b"a"), ("1", b"b"), ("1", b"a"), ("1", b"a")]:
        record.add(submit_sm(destination, text), 0, 0.0)
    assert (record.counts.messages, record.counts.parts, record.counts.duplicates) == (3, 3, 2)
    assert (record.copies("1", b"a"), record.copies("2", b"a"), record.copies("3", b"a")) == (3, 1, 0)


@pytest.mark.parametrize("long", ["udh8", "udh16", "sar", "payload"])
def test_a_record_sees_through_references(long: Any) -> None:
    """A long message sent again under another reference is the same message, all parts of it."""
    record = Record("counts")
    text = "Señora, su número es el 1234567890. " * 10
    for part in long_message(text, 7, long):
        record.add(part, 0, 0.0)
    parts = record.counts.parts
    assert (record.counts.messages, record.counts.parts_announced, record.counts.duplicates) == (1, parts, 0)
    for part in long_message(text, 8, long):
        record.add(part, 0, 0.0)
    assert (record.counts.messages, record.counts.parts, record.counts.duplicates) == (1, parts, parts)


def test_equal_parts_of_one_message_are_no_duplicates() -> None:
    """Their numbers tell them apart."""
    record = Record("counts")
    parts = long_message("0123456789" * 46, 1)[:3]
    body = parts[0].short_message[6:]
    for part in parts:
        part.short_message = part.short_message[:6] + body
        record.add(part, 0, 0.0)
    assert (record.counts.parts, record.counts.duplicates) == (3, 0)
    assert record.copies("573001234567", body, 2, len(long_message("0123456789" * 46, 1))) == 1


def test_a_message_that_lacks_a_part_shows() -> None:
    """Fewer parts than were announced."""
    record = Record("counts")
    first, _, third = long_message("abcdefghij" * 40, 1)
    record.add(first, 0, 0.0)
    record.add(third, 0, 0.0)
    assert (record.counts.messages, record.counts.parts, record.counts.parts_announced) == (1, 2, 3)


def test_a_refused_message_is_not_seen_but_arrived() -> None:
    """It may come again without being a duplicate."""
    record = Record("full")
    record.add(submit_sm(), S.ESME_RTHROTTLED, 1.0)
    record.add(submit_sm(), 0, 2.0)
    assert (record.counts.messages, record.counts.duplicates) == (1, 0)
    assert [(arrival.at, arrival.command_status) for arrival in record.arrivals] == [(1.0, S.ESME_RTHROTTLED), (2.0, 0)]


@pytest.mark.parametrize("long", ["udh8", "udh16", "sar", "payload"])
def test_a_full_record_gives_texts_back(long: Any) -> None:
    """Parts joined whatever their order; a message without all its parts is not there."""
    record = Record("full")
    text = "Ñandú, acción y €uros: 👍 " * 12
    for part in reversed(long_message(text, 300, long)):
        record.add(part, 0, 0.0)
    record.add(submit_sm("573000000002"), 0, 0.0)
    record.add(long_message("x" * 400, 9)[0], 0, 0.0)
    assert record.texts() == {"573001234567": [text], "573000000002": ["hola"]}


def test_a_record_that_keeps_nothing() -> None:
    """Mode `none` is for measuring others."""
    record = Record("none")
    record.add(submit_sm(), 0, 0.0)
    assert (record.counts.messages, record.arrivals, record.texts()) == (0, [], {})
