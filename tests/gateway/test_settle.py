"""What answers, silence and late answers make of a message: outcomes, and what the ledger is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.config import ClassPolicy, Config, loads
from gateway.correlation import decode_sent, doubt_key, id_key, reference_key
from gateway.errors import Disposition
from gateway.flight import Flight, Part
from gateway.ledger import Outcome
from gateway.model import Step, TrafficClass, decode_message
from gateway.providers.contract import Failure, Scope
from gateway.providers.http_answer import HttpAnswer, Refusal
from gateway.publisher import _again
from gateway.quantities import DAY
from gateway.settle import LANE_DOWN
from ratelimit import Adaptive
from smpp.constants import CommandStatus
from smpp.events import LateResponse, Response
from tests.support.dispatching import NOW, Line, configured, ids, long_text, message, messages, port_of, put

ROK, RTHROTTLED, RSYSERR = 0, int(CommandStatus.ESME_RTHROTTLED), int(CommandStatus.ESME_RSYSERR)
RINVDSTADR, RINVSRCADR = int(CommandStatus.ESME_RINVDSTADR), int(CommandStatus.ESME_RINVSRCADR)
RINVPASWD, RINVEXPIRY = int(CommandStatus.ESME_RINVPASWD), int(CommandStatus.ESME_RINVEXPIRY)
OTP = TrafficClass.OTP


def two_lanes(**andina: Any) -> Config:
    """Two lanes, of which the first is preferred."""
    return configured({"andina": andina, "brava": {}}, [{"lanes": ["andina", "brava"]}])


def alone(**andina: Any) -> Config:
    return configured({"andina": andina})


def line(config: Config, *several: Any, class_: str = "bulk") -> Line:
    """A line with these messages on `andina`, admitted and not yet written."""
    one = Line(config)
    put(one.queue("andina", class_), *several)
    one.forwarder.refill(one.slots.values(), NOW)
    return one


def outcome_of(config: Config, command_status: int, **changes: Any) -> Outcome:
    """What becomes of a message that is answered so."""
    one = line(config, message(**changes))
    one.answer(one.write(), command_status)
    return one.outcomes["m"]


# One part.


def test_what_was_accepted_is_submitted_under_the_operators_id() -> None:
    """And its receipt will be known: a row from the account and the id to the message."""
    one = line(two_lanes(account="account"), message(attempt=2))
    one.answer(one.write())
    assert one.outcomes == {"m": Outcome("s", NOW, ("id-m-0",))}
    key, row, ttl = one.turn.rows
    sent = decode_sent(row)
    assert (key, ttl) == ("d:account:id-m-0", 4 * DAY)
    assert (sent.to, sent.message_id, sent.attempt, sent.lane, sent.id) == (message().to, "m", 2, "andina", "id-m-0")
    assert one.told == [(0, "s")]


@pytest.mark.parametrize(("text", "rows"), [("hello", 1), (long_text(2), 2)], ids=["whole", "parts"])
@pytest.mark.parametrize(("validity_s", "lives_s"), [(60, 3600), (6 * DAY, 8 * DAY)])
def test_a_row_lives_until_the_operator_has_said_that_its_message_expired(
    text: str, rows: int, validity_s: int, lives_s: int
) -> None:
    """Which it does only when the validity is over."""
    one = line(alone(max_validity_s=validity_s), message(text=text))
    one.answer(one.write())
    assert one.turn.rows[2::3] == [lives_s] * rows


def test_an_operator_without_ids_has_accepted_too() -> None:
    """Its receipts could not be told apart, so none is waited for."""
    one = line(alone(), message())
    (part,) = one.write()
    one.settler.answers([Response(part, ROK, "")], NOW)
    assert one.outcomes == {"m": Outcome("s", NOW, ("",))}
    assert one.turn.rows == []


@pytest.mark.parametrize(
    ("command_status", "kind", "code"),
    [
        (RSYSERR, "r", "ESME_RSYSERR"),
        (RINVSRCADR, "r", "ESME_RINVSRCADR"),
        (RINVEXPIRY, "f", "ESME_RINVEXPIRY"),
        (RINVDSTADR, "f", "ESME_RINVDSTADR"),
        (0x0411, "f", "0x00000411"),
    ],
)
def test_what_a_refusal_makes_of_a_message(command_status: int, kind: str, code: str) -> None:
    """By its disposition, on a lane alone; the code goes with it."""
    outcome = outcome_of(alone(), command_status)
    assert (outcome.kind, outcome.error_code, outcome.ids) == (kind, code, ("",))


# RETRY.


def test_a_retry_is_due_within_its_ceiling() -> None:
    """A second at least, the code's own wait at most."""
    dues = [outcome_of(alone(errors={"ESME_RSYSERR": {"disposition": "retry", "after_s": 30}}), RSYSERR).due
            for _ in range(20)]  # fmt: skip
    assert all(NOW + 1 <= due <= NOW + 31 for due in dues)
    assert len(set(dues)) > 1


@pytest.mark.parametrize(
    ("lane", "rule", "attempt", "kind"),
    [
        ({"max_attempts": 3}, {}, 2, "r"),
        ({"max_attempts": 3}, {}, 3, "f"),
        ({"max_attempts": 3}, {"attempts": 2}, 2, "f"),
        ({"max_attempts": 3}, {"attempts": 9}, 3, "f"),
        ({}, {"attempts": 9}, 8, "r"),
        ({}, {"attempts": 9}, 9, "f"),
    ],
)
def test_attempts_end_at_the_lower_limit(lane: dict[str, Any], rule: dict[str, Any], attempt: int, kind: str) -> None:
    """Of the lane's and the code's own; the attempts of every lane before count."""
    config = alone(**lane, errors={"ESME_RSYSERR": {"disposition": "retry", **rule}})
    outcome = outcome_of(config, RSYSERR, attempt=attempt)
    assert outcome.kind == kind
    if kind == "f":
        assert outcome.error_text == "no attempts or time left"


def test_a_message_that_expires_before_the_next_attempt_has_failed() -> None:
    """Its last second is not waited for."""
    assert outcome_of(alone(), RSYSERR, expires_at=NOW + 1.5).kind == "f"


# HOLD.


def test_a_hold_pauses_the_sender_and_keeps_the_message() -> None:
    """For as long as the code says; others go on."""
    config = alone(errors={"ESME_RINVSRCADR": {"disposition": "hold", "after_s": 300}})
    one = line(config, message("a"), message("b"), message("c", sender="1"))
    (first, *_) = one.write()
    one.answer([first], RINVSRCADR)
    assert one.outcomes["a"].kind == "r"
    assert one.outcomes["a"].due >= NOW + 300
    put(one.slot("andina").queues[0], message("d"), message("e", sender="1"))
    assert ids(one.write()) == ["e"]
    assert one.outcomes["d"].kind == "w"
    assert one.outcomes["d"].due == pytest.approx(NOW + 300, abs=5)


# REROUTE.


def test_a_reroute_goes_to_the_next_lane_as_the_next_attempt() -> None:
    """It was written here, so it needs a claim of its own there."""
    outcome = outcome_of(two_lanes(), RINVDSTADR, attempt=3)
    assert outcome == Outcome("m", NOW, error_code="ESME_RINVDSTADR", lane="brava", attempt=4)


def test_a_reroute_without_another_lane_has_failed() -> None:
    """With the operator's code."""
    for config, changes in ((alone(), {}), (two_lanes(), {"tried": ("brava",)})):
        outcome = outcome_of(config, RINVDSTADR, **changes)
        assert (outcome.kind, outcome.error_code) == ("f", "ESME_RINVDSTADR")


def test_a_reroute_to_a_lane_that_is_down_has_failed() -> None:
    """It would be stranded there."""
    one = line(two_lanes(), message())
    parts = one.write()
    one.failover.down = {"brava"}
    one.answer(parts, RINVDSTADR)
    assert one.outcomes["m"].kind == "f"


def test_no_second_lane_after_a_part_was_accepted() -> None:
    """The person would get the message twice."""
    one = line(two_lanes(), message(text=long_text(2)))
    first, second = one.write()
    one.answer([first])
    one.answer([second], RINVDSTADR)
    assert one.outcomes == {"m": Outcome("f", NOW, ("id-m-0", ""), "ESME_RINVDSTADR", "refused by the operator", 2)}


def test_no_second_lane_while_a_part_is_in_doubt() -> None:
    """It may have been accepted."""
    one = line(two_lanes(), message(text=long_text(2)))
    first, second = one.write()
    one.settler.unanswered([first], NOW)
    one.answer([second], RINVDSTADR)
    assert one.outcomes["m"].kind == "f"


def test_no_second_lane_for_what_an_earlier_attempt_got_accepted() -> None:
    """A retry of the parts that are left is refused."""
    one = line(two_lanes(), message(text=long_text(2), accepted_ids=("id-1", "")))
    one.answer(one.write(), RINVDSTADR)
    assert one.outcomes["m"].kind == "f"


def test_once_refused_for_good_what_is_left_of_a_message_is_not_written() -> None:
    """Its other parts would cost, and say nothing."""
    one = line(two_lanes(window=1), message("a", text=long_text(3)), message("b"))
    one.answer(one.write(), RINVDSTADR)
    assert ids([*one.write(), *one.write()]) == ["b"]
    assert one.outcomes["a"].kind == "m"


def test_once_refused_for_good_a_message_fails_though_its_lane_cannot_go_on() -> None:
    """What is left of it needs neither room nor tokens."""
    one = line(alone(window=2), message(text=long_text(3)))
    first, second = one.write()
    one.answer([first])
    one.answer([second], RINVDSTADR)
    assert one.outcomes == {"m": Outcome("f", NOW, ("id-m-0", "", ""), "ESME_RINVDSTADR", "refused by the operator", 3)}
    one.choose()
    assert not one.slot("andina").queues[0].ready
    assert len(one.turn.settled) == 1


def test_once_refused_for_good_a_message_does_not_move_with_its_lane() -> None:
    """It goes on with its plan, whatever else waits for a lane that is down."""
    step = Step("sms", "1", "Otra vez", "")
    one = line(two_lanes(window=1), message("a", text=long_text(3), plan=(step,)), message("b"))
    one.answer(one.write(), RINVEXPIRY)
    one.failover.down = {"andina"}
    one.choose()
    assert {name: (outcome.kind, outcome.error_code) for name, outcome in one.outcomes.items()} == {
        "a": ("n", "ESME_RINVEXPIRY"),
        "b": ("m", LANE_DOWN),
    }


def test_of_several_refusals_the_gravest_decides() -> None:
    """In whatever order they come."""
    for order in ((RSYSERR, RINVEXPIRY), (RINVEXPIRY, RSYSERR)):
        one = line(two_lanes(), message(text=long_text(2)))
        for part, command_status in zip(one.write(), order, strict=True):
            one.answer([part], command_status)
        assert (one.outcomes["m"].kind, one.outcomes["m"].error_code) == ("f", "ESME_RINVEXPIRY")


def test_a_failure_goes_on_with_the_plan() -> None:
    """Its next step that has a route, as the next attempt; without one it has failed."""
    step = Step("sms", "1", "Otra vez", "")
    outcome = outcome_of(alone(), RINVEXPIRY, plan=(Step("voice", "", "Hola", ""), step), attempt=2)
    assert (outcome.kind, outcome.lane, outcome.step, outcome.attempt) == ("n", "andina", 1, 3)
    assert outcome_of(alone(), RINVEXPIRY, plan=(Step("voice", "", "Hola", ""),)).kind == "f"


# STOP and THROTTLED: put back.


@pytest.mark.parametrize("command_status", [RTHROTTLED, RINVPASWD])
def test_what_is_put_back_is_open_and_counts_no_attempt(command_status: int) -> None:
    """Certainly not accepted: no outcome, and the ledger knows that it is not under way."""
    one = line(alone(), message())
    one.answer(one.write(), command_status)
    assert one.outcomes == {}
    assert one.told == [(0, "o")]
    (part,) = one.slot("andina").queues[0].ready
    assert part.flight.message.attempt == 1
    assert not part.flight.concluded


def test_a_lane_that_says_stop_is_stopped() -> None:
    """Nothing more is written, and nothing of it fails, until somebody has looked."""
    one = line(alone(), *messages(30))
    one.answer(one.write(), RINVPASWD)
    assert one.lanes["andina"].stopped == "ESME_RINVPASWD"
    assert one.write() == []
    one.lanes["andina"].reconfigure(one.lanes["andina"].config, 0.0)
    assert len(one.write()) == 10
    assert one.outcomes == {}


def test_a_window_that_bounces_is_one_throttle() -> None:
    """The lane pauses once, for its pause."""
    bounced, single = line(alone(), *messages(10)), line(alone(), *messages(10))
    bounced.answer(bounced.write(), RTHROTTLED)
    single.answer(single.write()[:1], RTHROTTLED)
    assert bounced.write() == single.write() == []
    rates = [round(one.lanes["andina"].adaptive._level, 3) for one in (bounced, single)]
    assert rates[0] == rates[1]


def again(one: Line) -> list[str]:
    """What is written next, in its order, when the pause is over."""
    one.forwarder.refill(one.slots.values(), NOW)
    return ids(one.slot("andina").queues[0].ready)


def test_a_window_that_bounces_goes_back_in_its_order() -> None:
    """In front of what has not been written yet: one person's messages keep their order."""
    one = line(alone(), *messages(12))
    one.answer(one.write(), RTHROTTLED)
    assert again(one) == [f"m{n}" for n in range(10)]


def test_what_bounces_in_several_reads_goes_back_in_its_order() -> None:
    """Of the same turn or of different ones, with some of it accepted."""
    one = line(alone(), *messages(12))
    parts = one.write()
    one.answer(parts[:4], RTHROTTLED)
    one.answer(parts[4:6])
    one.answer(parts[6:], RTHROTTLED)
    assert again(one) == [f"m{n}" for n in (0, 1, 2, 3, 6, 7, 8, 9, 10, 11)]


def test_a_message_of_which_a_part_bounced_is_open_once_no_other_is_under_way() -> None:
    """Until then it may be accepted in part."""
    one = line(alone(), message(text=long_text(2)))
    first, second = one.write()
    one.answer([first], RTHROTTLED)
    assert one.told == []
    one.answer([second])
    assert one.outcomes == {}
    assert one.slot("andina").queues[0].flights[0].ids == ["", "id-m-1"]


def test_the_ledger_knows_what_was_accepted_of_a_message_that_bounced() -> None:
    """A crash before its next write must neither send the accepted part again nor report it as unknown."""
    one = line(alone(), message(text=long_text(2)))
    first, second = one.write()
    one.answer([first], RTHROTTLED)
    one.answer([second])
    assert one.told == [(0, "o")]


def test_a_message_with_a_part_in_doubt_is_not_open_when_another_bounces() -> None:
    """The next owner would send the silent part again, which this class never does."""
    one = line(alone(), message(text=long_text(2)))
    first, second = one.write()
    one.settler.unanswered([first], NOW)
    one.answer([second], RTHROTTLED)
    assert one.told == []


def test_what_bounces_after_its_queue_was_given_away_is_left_to_the_next_owner() -> None:
    """As open: not under way, and not ours to write."""
    one = line(alone(), message())
    parts = one.write()
    queue = one.slot("andina").queues[0]
    queue.owned = False
    one.answer(parts, RTHROTTLED)
    assert one.told == [(0, "o")]
    assert (queue.flights, list(queue.ready)) == ({}, [])


def revoked(one: Line) -> None:
    """Its queue goes elsewhere while parts of it are under way."""
    queue = one.slot("andina").queues[0]
    queue.owned = False
    queue.keep((part for part in queue.ready if part.flight.flying), NOW)


def comes_back(one: Line, part: Part, answered: int | None) -> None:
    """A part is refused for now, or never answered."""
    if answered is None:
        one.settler.unanswered([part], NOW)
    else:
        one.answer([part], answered)


def given_back(one: Line) -> None:
    """Its queue is ours again."""
    queue = one.slot("andina").queues[0]
    queue.take(2, 0)
    queue.owned = True


@pytest.mark.parametrize("answered", [RTHROTTLED, None])
def test_a_part_that_comes_back_while_its_queue_is_away_is_written_when_it_is_ours_again(answered: int | None) -> None:
    """Another part is under way all the time: the message has not been let go."""
    config = alone(errors={"ESME_RTHROTTLED": {"disposition": "throttled", "after_s": 0}})
    one = line(config, message(text=long_text(2), class_=OTP), class_="otp")
    first, second = one.write()
    revoked(one)
    comes_back(one, first, answered)
    given_back(one)
    one.answer([second])
    one.lanes["andina"].adaptive = Adaptive(100_000, 0.0)
    assert one.write() == [first]
    one.answer([first])
    assert one.outcomes["m"].kind == "s"


@pytest.mark.parametrize("answered", [RTHROTTLED, None])
def test_a_part_that_comes_back_while_its_queue_is_away_goes_with_it(answered: int | None) -> None:
    """When the last of the others has landed, all of it is the next owner's."""
    one = line(alone(), message(text=long_text(2), class_=OTP), class_="otp")
    first, second = one.write()
    revoked(one)
    comes_back(one, first, answered)
    one.answer([second])
    queue = one.slot("andina").queues[0]
    assert queue.flights == {}
    assert one.told == ([] if answered is None else [(0, "o")])
    given_back(one)
    one.lanes["andina"].adaptive = Adaptive(100_000, 0.0)
    assert one.write() == []


# Silence.


def test_silence_is_unknown_where_the_class_reports() -> None:
    """And may be resolved: by the destination, from when it was written."""
    one = line(alone(), message())
    one.settler.unanswered(one.write(), NOW)
    assert one.outcomes == {"m": Outcome("u", NOW, ("",), "no-answer", "written, not answered", 1)}
    key, field, row, ttl = one.turn.doubts
    assert (key, ttl) == (doubt_key("andina", message().to), 4 * DAY)
    assert field == f"{NOW:017.6f}/banco/m/1/0"
    assert decode_sent(row).message_id == "m"


def test_silence_sends_again_where_the_class_resends() -> None:
    """In front, in order, without a claim: it is the same attempt."""
    one = line(alone(), *[message(f"m{n}", class_=OTP) for n in range(12)], class_="otp")
    parts = one.write()
    assert len(one.turn.claims) == 2 * 10
    port_of(one.slot("andina")).in_flight = 0
    one.settler.unanswered(parts[:4], NOW)
    assert ids(one.write()) == ["m0", "m1", "m2", "m3", "m10", "m11"]
    assert len(one.turn.claims) == 2 * 12
    assert one.outcomes == {}


def test_what_is_never_answered_is_sent_again_as_often_as_anything_else() -> None:
    """Once at once; after that silence counts as an attempt, and the last leaves it unknown: it may have come each time."""
    one = line(alone(max_attempts=2), message(class_=OTP), class_="otp")
    for _ in range(2):
        parts = one.write()
        assert one.outcomes == {}
        port_of(one.slot("andina")).in_flight = 0
        one.settler.unanswered(parts, NOW)
    again = one.outcomes["m"]
    assert (again.kind, again.error_code, again.doubtful) == ("r", "no-answer", True)
    assert len(one.turn.doubts) == 4
    one = line(alone(max_attempts=2), message(class_=OTP, attempt=2, doubtful=True), class_="otp")
    one.settler.unanswered(one.write(), NOW)
    assert one.outcomes["m"].kind == "u"


def test_only_the_silent_part_of_a_message_is_in_doubt() -> None:
    """What was accepted has its receipt."""
    one = line(alone(), message(text=long_text(2)))
    first, second = one.write()
    one.answer([first])
    one.settler.unanswered([second], NOW)
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("u", ("id-m-0", ""))
    assert one.turn.doubts[1].endswith("/1")
    assert len(one.turn.doubts) == 4


def test_a_late_answer_resolves_what_was_reported_as_unknown() -> None:
    """It is submitted after all, its receipt will be known, and it is no doubt any more."""
    one = line(alone(), message())
    (part,) = one.write()
    one.settler.unanswered([part], NOW)
    one.settler.late([LateResponse(part, 0, "id-9")], NOW + 5)
    assert [outcome.kind for _, outcome in one.turn.settled] == ["u", "s"]
    assert one.turn.rows[0] == "d:andina:id-9"
    assert one.turn.forgotten == one.turn.doubts[:2]


def answered_late(**changes: Any) -> tuple[Line, list[Part]]:
    """A message of three parts, of which the first was in doubt for a while and the others are under way."""
    one = line(alone(), message(text=long_text(3), **changes))
    first, *others = one.write()
    port_of(one.slot("andina")).in_flight -= 1
    one.settler.unanswered([first], NOW)
    one.settler.late([LateResponse(first, 0, "late")], NOW)
    return one, others


def test_after_a_late_answer_nothing_is_in_doubt() -> None:
    """What is refused then is tried again, and is no doubt for a receipt to resolve."""
    one, (second, third) = answered_late()
    one.answer([second], RSYSERR)
    one.answer([third])
    outcome = one.outcomes["m"]
    assert (outcome.kind, outcome.ids, outcome.doubtful) == ("r", ("late", "", "id-m-2"), False)
    assert one.turn.doubts == []


def test_after_a_late_answer_what_expires_has_expired() -> None:
    """A part of it was certainly not accepted."""
    one, (second, third) = answered_late(expires_at=NOW + 50)
    one.answer([second], RTHROTTLED)
    one.answer([third])
    one.choose(NOW + 100)
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("x", ("late", "", "id-m-2"))


def test_after_a_late_answer_what_bounced_is_open() -> None:
    """The next owner writes only what is left."""
    one, (second, third) = answered_late()
    one.answer([second], RTHROTTLED)
    assert one.told == []
    one.answer([third])
    assert one.told == [(0, "o")]


def test_a_late_answer_resolves_its_own_part_only() -> None:
    """The other is as silent as before."""
    one = line(alone(), message(text=long_text(3)))
    first, second, third = one.write()
    one.settler.unanswered([first, second], NOW)
    one.settler.late([LateResponse(first, 0, "late")], NOW)
    one.answer([third])
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("u", ("late", "", "id-m-2"))


def test_a_late_answer_says_nothing_of_what_an_earlier_owner_wrote() -> None:
    """The doubt of a crash is of all parts, and stays."""
    one = Line(alone())
    queue = one.queue("andina", "otp")
    queue.recover_before = 1
    put(queue, message(text=long_text(2), class_=OTP, expires_at=NOW + 50))
    first, second = one.write()
    one.settler.unanswered([first], NOW)
    one.settler.late([LateResponse(first, 0, "late")], NOW)
    one.answer([second], RTHROTTLED)
    one.choose(NOW + 100)
    assert one.outcomes["m"].kind == "u"


@pytest.mark.parametrize("provider_message_id", ["id-1", ""])
def test_what_is_accepted_the_second_time_is_submitted_once(provider_message_id: str) -> None:
    """A late answer to its first write makes its receipt known, and no second event. An operator may give no ids."""
    one, (again,) = resent(late=False)
    one.settler.answers([Response(again, ROK, provider_message_id)], NOW + 9)
    one.settler.late([LateResponse(again, 0, provider_message_id and "id-0")], NOW + 10)
    assert [(outcome.kind, outcome.ids) for _, outcome in one.turn.settled] == [("s", (provider_message_id,))]
    assert one.turn.rows[::3] == (["d:andina:id-1", "d:andina:id-0"] if provider_message_id else [])


def test_what_is_in_doubt_when_a_reload_changes_its_class_is_not_submitted() -> None:
    """It was not written again, and will not be."""
    one = line(alone(), message(text=long_text(3)))
    first, *others = one.write()
    one.settler.unanswered([first], NOW)
    one.settler.classes = replace(one.settler.classes, bulk=ClassPolicy(in_doubt="resend"))
    one.answer(others)
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("u", ("", "id-m-1", "id-m-2"))
    assert len(one.turn.doubts) == 4


def test_a_late_answer_saves_a_message_from_being_sent_again() -> None:
    """If it comes before the second write."""
    one = line(alone(), message(class_=OTP), class_="otp")
    (part,) = one.write()
    one.settler.unanswered([part], NOW)
    one.settler.late([LateResponse(part, 0, "id-9")], NOW + 5)
    assert one.outcomes == {"m": Outcome("s", NOW + 5, ("id-9",))}
    assert one.write() == []


@pytest.mark.parametrize("count", [1, 2])
def test_a_late_answer_saves_what_is_being_sent_again_from_a_third_time(count: int) -> None:
    """Whatever becomes of the second write: each part is known to be accepted."""
    text = "Hola" if count == 1 else long_text(count)
    one = line(alone(), message(text=text, class_=OTP), class_="otp")
    first = one.write()
    port_of(one.slot("andina")).in_flight = 0
    one.settler.unanswered(first, NOW)
    again = one.write()
    assert len(first) == len(again) == count
    one.settler.late([LateResponse(part, 0, f"id-{part.number}") for part in first], NOW + 5)
    one.settler.unanswered(again, NOW + 9)
    assert one.outcomes["m"].kind == "s"


def resent(*, late: bool, **changes: Any) -> tuple[Line, list[Part]]:
    """A message that was written, not answered, and written again; `late`: the first write is answered after that."""
    one = line(alone(), message(class_=OTP, **changes), class_="otp")
    first = one.write()
    port_of(one.slot("andina")).in_flight = 0
    one.settler.unanswered(first, NOW)
    again = one.write()
    if late:
        one.settler.late([LateResponse(part, 0, f"id-{part.number}") for part in first], NOW + 5)
    return one, again


@pytest.mark.parametrize("text", ["Hola", long_text(2)])
@pytest.mark.parametrize("command_status", [RINVDSTADR, RSYSERR, RTHROTTLED, RINVPASWD])
def test_a_late_answer_saves_what_is_refused_the_second_time(command_status: int, text: str) -> None:
    """It is accepted: neither failed nor written a third time. The lane gives way all the same."""
    one, again = resent(late=True, text=text)
    one.answer(again, command_status, NOW + 9)
    assert one.outcomes["m"].kind == "s"
    assert one.write() == []
    lane = one.lanes["andina"]
    assert bool(lane.stopped) == (command_status == RINVPASWD)
    assert bool(lane.meter.throttled) == (command_status == RTHROTTLED)


@pytest.mark.parametrize(("command_status", "changes"), [(RINVDSTADR, {}), (RSYSERR, {"expires_at": NOW + 10})])
def test_what_is_refused_the_second_time_may_have_been_accepted_the_first(
    command_status: int, changes: dict[str, Any]
) -> None:
    """A receipt may tell: it is unknown, not failed, and nobody else carries it."""
    one, again = resent(late=False, plan=(Step("sms", "", "Hola", ""),), **changes)
    one.answer(again, command_status, NOW + 9)
    assert one.outcomes["m"].kind == "u"
    assert len(one.turn.doubts) == 4


def test_what_is_told_of_an_attempt_that_was_followed_by_another_starts_no_step() -> None:
    """The next one has the claim that the step would need, and is on its way."""
    plan = (Step("sms", "", "Hola", ""),)
    one, again = resent(late=False, plan=plan)
    one.answer(again, RSYSERR, NOW + 9)
    assert (one.outcomes["m"].kind, one.outcomes["m"].doubtful) == ("r", True)
    assert decode_sent(one.turn.doubts[2]).plan == ""
    one, again = resent(late=False, plan=plan)
    one.answer(again, RINVDSTADR, NOW + 9)
    assert decode_sent(one.turn.doubts[2]).plan


def test_doubt_steps_aside_with_a_message() -> None:
    """It comes back from the delay ladder as doubtful as it was."""
    one = line(alone(), message(class_=OTP), class_="otp")
    flight = one.slot("andina").queues[0].ready[0].flight
    flight.in_doubt = True
    one.settler.defer(flight, 60, NOW)
    assert decode_message(_again(flight, one.outcomes["m"])[1]).doubtful


def test_silence_makes_no_refusal_better() -> None:
    """One part was refused for good: the other is not written again and again."""
    one = line(alone(), message(text=long_text(2), class_=OTP), class_="otp")
    first, second = one.write()
    one.answer([first], RINVDSTADR)
    one.settler.unanswered([second], NOW)
    assert one.outcomes["m"].kind == "f"
    assert one.write() == []


def test_a_late_refusal_says_nothing() -> None:
    """What was in doubt stays so: we do not know which of its writes it is about."""
    one = line(alone(), message())
    (part,) = one.write()
    one.settler.unanswered([part], NOW)
    one.settler.late([LateResponse(part, RSYSERR, "")], NOW + 5)
    assert [outcome.kind for _, outcome in one.turn.settled] == ["u"]


# Moved without an answer.


def test_a_message_that_was_never_written_moves_as_the_same_attempt() -> None:
    """Its lane is down: nobody has tried."""
    one = line(two_lanes(), message(attempt=2))
    (flight,) = one.slot("andina").queues[0].flights.values()
    assert one.settler.move(flight, NOW)
    assert one.outcomes == {"m": Outcome("m", NOW, error_code=LANE_DOWN, lane="brava", attempt=2)}


def test_a_message_that_bounced_moves_as_the_next_attempt() -> None:
    """Its claim is this lane's."""
    one = line(two_lanes(), message(attempt=2))
    one.answer(one.write(), RTHROTTLED)
    (flight,) = one.slot("andina").queues[0].flights.values()
    one.settler.move(flight, NOW)
    assert one.outcomes["m"].attempt == 3


def test_a_message_without_another_lane_does_not_move() -> None:
    """It waits."""
    one = line(alone(), message())
    (flight,) = one.slot("andina").queues[0].flights.values()
    assert not one.settler.move(flight, NOW)
    assert one.outcomes == {}


def test_a_message_steps_aside_as_the_same_attempt() -> None:
    """Nothing of it was written: no attempt is counted, no claim was made."""
    one = line(alone(), message(attempt=2))
    (flight,) = one.slot("andina").queues[0].flights.values()
    one.settler.defer(flight, 12.5, NOW)
    assert one.outcomes == {"m": Outcome("w", NOW, due=NOW + 12.5, attempt=2)}
    assert one.write() == []


def test_what_expires_in_doubt_is_unknown_not_expired() -> None:
    """It may have arrived."""
    flights = {}
    for doubtful in (False, True):
        one = line(alone(), message(text=long_text(2), expires_at=NOW - 1))
        flight: Flight = next(iter(one.slot("andina").queues[0].flights.values()))
        flight.in_doubt = doubtful
        one.settler.expire(flight, NOW)
        flights[doubtful] = one.outcomes["m"]
    assert (flights[False].kind, flights[False].parts) == ("x", 2)
    assert (flights[True].kind, flights[True].error_code) == ("u", "no-answer")


def test_of_what_expires_in_doubt_only_the_silent_part_is_a_doubt() -> None:
    """The other has its receipt."""
    one = line(alone(), message(text=long_text(2), class_=OTP, expires_at=NOW + 5), class_="otp")
    first, second = one.write()
    one.answer([first])
    one.settler.unanswered([second], NOW)
    assert one.write(NOW + 6) == []
    assert (one.outcomes["m"].kind, one.outcomes["m"].ids) == ("u", ("id-m-0", ""))
    assert [field[-2:] for field in one.turn.doubts[1::4]] == ["/1"]


# Over HTTP an answer can say nothing, and does so at once.


ACCOUNTS = {
    "twilio": 'account_sid = "AC1"\nauth_token_env = "TOKEN"',
    "vonage": 'api_key = "k"\napi_secret_env = "TOKEN"',
}


def over_http(provider: str = "twilio", max_attempts: int = 16) -> Config:
    """A lane at a provider, before another."""
    lanes = "\n".join(
        f"""
        [lanes.{name}]
        provider = "{provider}"
        account = "{name}"
        rate = 10
        max_attempts = {max_attempts}
        [lanes.{name}.{provider}]
        {ACCOUNTS[provider]}
        """
        for name in ("andina", "brava")
    )
    text = '[kafka]\nbootstrap = "k:9092"\n[store]\nurl = "redis://s"\n[[routes]]\nlanes = ["andina", "brava"]\n'
    return loads(text + lanes, {"TOKEN": "secret"})


def test_over_http_silence_is_tried_again_after_a_while() -> None:
    """As the next attempt, though its class resends: at once it would be as often as the provider answers."""
    one = line(over_http(), message(class_=OTP), class_="otp")
    one.settler.unanswered(one.write(), NOW)
    outcome = one.outcomes["m"]
    assert (outcome.kind, outcome.error_code) == ("r", "no-answer")
    assert outcome.due >= NOW + 1
    assert one.write() == []
    key, _, _ = one.turn.rows  # a callback of this attempt is known by its reference
    assert key.endswith("banco/m/1")


def test_a_provider_is_left_alone_for_as_long_as_it_asks() -> None:
    """`Retry-After` is the least; a random share of the next attempt's own wait comes on top."""
    one = line(over_http(), message())
    (part,) = one.write()
    one.settler.answers([HttpAnswer(part, "", Failure(Disposition.RETRY, "503", after=120.0))], NOW)
    assert one.outcomes["m"].due >= NOW + 120


def test_a_person_who_has_had_enough_ends_with_the_attempts() -> None:
    """Of all providers only Meta's limit for one person is sure to pass."""
    too_many = Failure(Disposition.THROTTLED, "flood", scope=Scope.RECIPIENT)
    for attempt, kind in ((2, "r"), (3, "f")):
        one = line(over_http(max_attempts=3), message(attempt=attempt))
        (part,) = one.write()
        one.settler.answers([HttpAnswer(part, "", too_many)], NOW)
        assert one.outcomes["m"].kind == kind


def test_a_callback_may_tell_before_the_next_attempt_does() -> None:
    """What waits for it after an answer that said nothing is known by our reference."""
    one = line(over_http(), message())
    (part,) = one.write()
    one.settler.answers([HttpAnswer(part, "", Failure(Disposition.RETRY, "http:200", doubtful=True))], NOW)
    assert one.outcomes["m"].kind == "r"
    assert one.turn.rows[0].endswith("banco/m/1")


@pytest.mark.parametrize("plan", [(), (Step("sms", "", "Hola", ""),)], ids=["alone", "with a plan"])
def test_what_may_have_been_accepted_is_unknown_in_the_end(plan: tuple[Step, ...]) -> None:
    """Neither failed nor sent elsewhere, however often it was tried."""
    one = line(over_http(max_attempts=3), message(attempt=3, plan=plan))
    (part,) = one.write()
    doubt = Failure(Disposition.RETRY, "http:200", doubtful=True)
    one.settler.answers([HttpAnswer(part, "", doubt)], NOW)
    outcome = one.outcomes["m"]
    assert (outcome.kind, outcome.error_code) == ("u", "http:200")
    assert one.turn.rows[0].endswith("banco/m/3")


PLAN = (Step("sms", "", "Hola", ""),)


@pytest.mark.parametrize("disposition", [Disposition.REROUTE, Disposition.REJECTED, Disposition.RETRY])
def test_what_an_earlier_attempt_may_have_got_accepted_goes_nowhere_else(disposition: Disposition) -> None:
    """Neither to the next lane nor to the next step, whatever this attempt is told: nobody is messaged twice by a fallback."""
    one = line(over_http(max_attempts=3), message(attempt=3, plan=PLAN, doubtful=True), class_="bulk")
    (part,) = one.write()
    one.settler.answers([HttpAnswer(part, "", Failure(disposition, "409"))], NOW)
    assert one.outcomes["m"].kind == "u"


def test_a_doubtful_message_is_not_moved_from_a_lane_that_is_down() -> None:
    """It waits for it."""
    one = line(over_http(), message(attempt=2, doubtful=True))
    (part,) = one.write()
    part.flight.flying -= 1
    assert not one.settler.move(part.flight, NOW)
    assert "m" not in one.outcomes


def test_a_doubtful_message_that_is_too_late_is_unknown() -> None:
    """It may have been in time."""
    one = line(over_http(), message(attempt=2, doubtful=True))
    (part,) = one.write()
    part.flight.flying -= 1
    one.settler.expire(part.flight, NOW)
    assert one.outcomes["m"].kind == "u"


def test_doubt_travels_with_the_next_attempt() -> None:
    """By the outcome, which is what a restart knows of it, and by the record."""
    one = line(over_http(), message())
    (part,) = one.write()
    one.settler.answers([HttpAnswer(part, "", Failure(Disposition.RETRY, "http:200", doubtful=True))], NOW)
    outcome = one.outcomes["m"]
    assert (outcome.kind, outcome.doubtful) == ("r", True)
    _, record = _again(part.flight, outcome)
    assert decode_message(record).doubtful


def test_what_a_provider_was_not_asked_is_no_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look as quick as none is, and everything else slow beside it."""
    one = line(alone(), message("a"), message("b"))
    first, second = one.write()
    why = Failure(Disposition.REROUTE, "unreachable")
    one.settler.answers([Refusal(first, "", why)], NOW)
    monkeypatch.setattr(time, "monotonic", lambda: second.written + 0.3)
    one.settler.answers([HttpAnswer(second, "id-b")], NOW + 0.3)
    assert one.lanes["andina"].meter.round_trip.total == pytest.approx(0.3)
    assert sum(one.lanes["andina"].meter.round_trip.buckets) == 1


def test_a_refusal_in_octets_that_are_no_text_is_settled() -> None:
    """A server of mail that writes Latin-1 must not end the worker."""
    one = line(over_http(), message())
    (part,) = one.write()
    why = Failure(Disposition.REJECTED, "smtp:550", "Buz\udcf3n inexistente")
    one.settler.answers([HttpAnswer(part, "", why)], NOW)
    assert one.outcomes["m"].error_text == "Buz?n inexistente"
    assert one.told == [(0, "f")]


def test_a_message_is_known_by_our_reference_where_callbacks_carry_no_more() -> None:
    """Vonage has an id for each part, and we keep the first. Where callbacks carry the id, a second row would only cost."""
    one = line(over_http("vonage"), message())
    (part,) = one.write()
    one.settler.answers([HttpAnswer(part, "0A0000000123ABCD1")], NOW)
    assert one.outcomes == {"m": Outcome("s", NOW, ("0A0000000123ABCD1",))}
    assert one.told == [(0, "s")]
    by_id, row, ttl, by_reference, again, same = one.turn.rows
    assert (by_id, by_reference) == (id_key("andina", "0A0000000123ABCD1"), reference_key("andina", "banco/m/1"))
    assert (row, ttl) == (again, same)
    assert decode_sent(row).id == "0A0000000123ABCD1"
    one = line(over_http(), message())
    (part,) = one.write()
    one.settler.answers([HttpAnswer(part, "SM1")], NOW)
    assert one.turn.rows[::3] == [id_key("andina", "SM1")]


@pytest.mark.parametrize("text", ["Hola", long_text(2)])
def test_what_an_earlier_attempt_may_have_got_accepted_takes_no_plan_along(text: str) -> None:
    """Its receipt must not send it over another channel: the person may have it."""
    for doubtful in (False, True):
        one = line(alone(), message(text=text, attempt=2, plan=PLAN, doubtful=doubtful))
        one.answer(one.write())
        assert [bool(decode_sent(row).plan) for row in one.turn.rows[1::3]] == [not doubtful] * len(one.turn.rows[1::3])


@pytest.mark.parametrize("text", ["Hola", long_text(2)])
@pytest.mark.parametrize("late", [False, True])
def test_what_was_written_twice_takes_no_plan_along(late: bool, text: str) -> None:
    """That one copy failed says nothing of the other, whichever of them is answered."""
    one, again = resent(late=late, text=text, plan=PLAN)
    one.answer(again)
    assert one.outcomes["m"].kind == "s"
    assert not any(decode_sent(row).plan for row in one.turn.rows[1::3])


def test_a_late_answer_before_the_second_write_leaves_no_doubt() -> None:
    """It was written once, and accepted: if it fails, that is certain."""
    one = line(alone(), message(class_=OTP, plan=PLAN), class_="otp")
    (part,) = one.write()
    one.settler.unanswered([part], NOW)
    one.settler.late([LateResponse(part, 0, "id-9")], NOW + 5)
    assert decode_sent(one.turn.rows[1]).plan


def test_of_what_was_sent_again_after_a_crash_no_receipt_starts_a_step() -> None:
    """The earlier owner's copy may have arrived."""
    one = Line(alone())
    queue = one.queue("andina", "otp")
    queue.recover_before = 1
    put(queue, message(class_=OTP, plan=PLAN))
    one.answer(one.write())
    assert one.outcomes["m"].kind == "s"
    assert not decode_sent(one.turn.rows[1]).plan


def test_of_two_writes_that_nobody_answered_no_receipt_starts_a_step() -> None:
    """It tells of one of them."""
    for silences, step in ((1, True), (2, False)):
        class_ = "otp" if silences == 2 else "bulk"
        one = line(alone(max_attempts=1), message(class_=TrafficClass(class_), plan=PLAN), class_=class_)
        for _ in range(silences):
            parts = one.write()
            port_of(one.slot("andina")).in_flight = 0
            one.settler.unanswered(parts, NOW)
        assert one.outcomes["m"].kind == "u"
        assert bool(decode_sent(one.turn.doubts[2]).plan) == step
