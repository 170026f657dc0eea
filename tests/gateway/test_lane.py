"""What the slots of a lane share: its part of the contract, how it gives way, what it counts; and what a slot has of its own."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gateway import config
from gateway.errors import Disposition
from gateway.inbox import Inbox
from gateway.lane import Lane, Slot
from gateway.model import TrafficClass
from gateway.providers.contract import PUT_BACK, Failure, Scope
from gateway.providers.http_answer import HttpAnswer
from smpp.constants import CommandStatus
from smpp.events import Response
from tests.support.dispatching import lease, message, port_of, queue_of, slot_of
from tests.support.stage import toml

T = 1000.0
"""When the tests begin, in monotonic seconds."""
PAUSE = Failure(Disposition.THROTTLED, "ESME_RTHROTTLED", after=5.0)
CLOSED = Failure(Disposition.STOP, "ESME_RINVPASWD")
RTHROTTLED, RMSGQFUL, RSYSERR = (
    Response(None, int(status), "")
    for status in (CommandStatus.ESME_RTHROTTLED, CommandStatus.ESME_RMSGQFUL, CommandStatus.ESME_RSYSERR)
)
VENDORS = Response(None, 0x411, "")


def contract(**changes: Any) -> config.Lane:
    given = {"name": "andina", "host": "h", "port": 1, "system_id": "s", "password": config.Secret("x"), "rate": 100}
    return config.Lane(**(given | changes))


def lane(**changes: Any) -> Lane:
    return Lane(contract(**changes), T)


def number(**changes: Any) -> config.AnyLane:
    """A lane over HTTP: a number of WhatsApp."""
    keys = {"phone_number_id": "1", "token_env": "S", "app_secret_env": "S", "verify_token_env": "S"}
    sections = {
        "kafka": {"bootstrap": "localhost:9092"},
        "store": {"url": "redis://localhost"},
        "lanes": {"wa": {"provider": "whatsapp", "whatsapp": keys, **changes}},
        "routes": [{"channel": "whatsapp", "lane": "wa"}],
    }
    return config.loads("\n".join(f"{name} = {toml(table)}" for name, table in sections.items()), {"S": "x"}).lanes[
        "wa"
    ]


def leased(**changes: Any) -> Lane:
    """A lane that holds its whole contract."""
    one = lane(**changes)
    lease(one, T)
    return one


# Tokens.


def test_a_lane_without_a_lease_writes_nothing() -> None:
    """Nobody has said which part of the contract is this process's."""
    assert lane().tokens(T + 100).available(T + 100) == 0


def test_a_lane_grants_what_its_lease_grants() -> None:
    """At the rate of the contract, from its burst on."""
    one = leased(burst=20)
    granted = [one.tokens(T + n / 10).take(1000, T + n / 10) for n in range(101)]
    assert granted[0] == 20
    assert 1018 <= sum(granted) <= 1020


def test_a_lane_that_was_throttled_is_silent_for_the_pause() -> None:
    """For as long as the failure says; what had been granted before the pause is taken back by it."""
    one = leased(burst=20)
    one.throttled(PAUSE, T, T)
    for moment in (T, T + 1, T + 4.9):
        assert one.tokens(moment).take(1000, moment) == 0


def test_after_the_pause_a_lane_goes_on() -> None:
    """Not above the contract, and without the burst that it could not use meanwhile."""
    one = leased(burst=20, throttle_pause_s=5)
    one.throttled(PAUSE, T, T)
    start = T + 5.5
    one.tokens(start).take(1000, start)
    granted = sum(one.tokens(start + n / 10).take(1000, start + n / 10) for n in range(1, 11))
    assert 0 < granted <= 100 + 20


def test_a_window_that_bounces_counts_as_one_throttle() -> None:
    """A hundred answers of one moment leave the rate that one leaves."""
    rates = []
    for bounces in (1, 100):
        one = leased()
        for _ in range(bounces):
            one.throttled(PAUSE, T, T)
        rates.append([one.adaptive.rate(T + after) for after in (0.0, 5.5, 10.0, 70.0)])
    assert rates[0] == rates[1]


def test_a_window_that_bounces_for_seconds_counts_as_one_throttle() -> None:
    """What an operator answers one after the other was all written before the first answer."""
    one = leased()
    for bounce in range(51):
        one.throttled(PAUSE, T, T + bounce / 10)
    assert one.adaptive.rate(T + 10) == 50


def test_the_brake_is_for_the_process_s_share() -> None:
    """Where the operator has asked for half of the contract, half of the lease is granted, and half of its burst."""

    class Half:
        def rate(self, now: float) -> float:
            return 50.0

    one = leased(burst=20)
    one.adaptive = Half()  # type: ignore[assignment]
    granted = [one.tokens(T + n / 10).take(1000, T + n / 10) for n in range(101)]
    assert max(granted) <= 10
    assert 490 <= sum(granted) <= 510


def test_a_paused_contract_grants_nothing() -> None:
    """Rate 0, whatever the lease still holds of a time before."""
    one = leased()
    one.reconfigure(contract(rate=0), T)
    assert one.tokens(T + 10).take(1000, T + 10) == 0


# Failures.


def test_every_part_that_is_refused_as_too_many_is_counted() -> None:
    """Whatever its code, so that an alert need not know those of all providers."""
    one = leased()
    for code in ("ESME_RTHROTTLED", "http:503", "1"):
        one.throttled(Failure(Disposition.THROTTLED, code), T, T)
    assert one.meter.throttled == 3


def test_a_refusal_is_what_the_contract_makes_of_it() -> None:
    """The lane's own rule before the defaults."""
    one = lane(errors={"ESME_RSYSERR": "reroute", "0x0411": "hold"})
    assert one.failure(RSYSERR, T).disposition is Disposition.REROUTE
    assert one.failure(VENDORS, T).disposition is Disposition.HOLD
    assert one.failure(RTHROTTLED, T).disposition is Disposition.THROTTLED


def test_every_refusal_is_counted_by_its_code() -> None:
    """Vendors' codes too."""
    one = lane()
    for answer in (RTHROTTLED, VENDORS, VENDORS):
        one.failure(answer, T)
    assert one.refusals == {"ESME_RTHROTTLED": 1, "0x00000411": 2}


def test_what_a_refusal_says_can_be_stored() -> None:
    """Whatever octets a server writes, and however many; what fits is not touched."""
    one = Lane(number(), T)
    said = Failure(
        Disposition.REJECTED, "\udcf3" * 65, "Buz\udcf3n inexistente, número inválido" * 1000, scope=Scope.RECIPIENT
    )
    failure = one.failure(HttpAnswer(None, "", said), T)
    assert failure.code == "?" * 64
    assert failure.text.startswith("Buz?n inexistente, número inválido")
    assert len(failure.text) == 500
    assert failure.scope is Scope.RECIPIENT
    assert one.refusals == {failure.code: 1}
    for good in (PUT_BACK, Failure(Disposition.REJECTED, "131026", "número inválido")):
        assert one.failure(HttpAnswer(None, "", good), T) is good


def test_full_queues_throttle_the_lane_only_when_they_are_many() -> None:
    """One phone that is off is that message's business; a fifth of all answers is the SMSC's."""
    one = lane()

    def answers(full: int) -> None:
        for _ in range(full):
            one.failure(RMSGQFUL, T)
        one.answered(100, 0.1, T)

    answers(full=5)
    assert one.failure(RMSGQFUL, T).disposition is Disposition.RETRY
    answers(full=60)
    assert one.failure(RMSGQFUL, T).disposition is Disposition.THROTTLED


# Stopped, and going on.


def test_a_lane_that_was_stopped_sends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Until somebody has looked, who is told once."""
    one = leased()
    one.stop(CLOSED)
    one.stop(CLOSED)
    assert one.stopped == "ESME_RINVPASWD"
    assert one.tokens(T + 100).take(1000, T + 100) == 0
    assert len(caplog.records) == 1


def test_a_reload_lets_a_stopped_lane_go_on() -> None:
    """Whoever reloads has looked."""
    one = leased()
    one.stop(CLOSED)
    one.reconfigure(contract(), T)
    assert not one.stopped
    assert one.tokens(T + 1).take(1, T + 1) == 1


def test_a_reload_changes_the_rate_at_once_and_grants_no_burst() -> None:
    """A lower contract holds here before the store has heard of it."""
    one = leased(burst=20)
    one.tokens(T).take(1000, T)
    one.reconfigure(contract(rate=10, burst=2), T)
    assert one.tokens(T).take(1000, T) == 0
    granted = [one.tokens(T + n / 10).take(1000, T + n / 10) for n in range(1, 51)]
    assert 49 <= sum(granted) <= 50
    assert max(granted) <= 2


def test_a_reload_changes_what_errors_ask_for() -> None:
    """Of answers that come after it."""
    one = lane()
    one.reconfigure(contract(errors={"ESME_RTHROTTLED": "rejected"}), T)
    assert one.failure(RTHROTTLED, T).disposition is Disposition.REJECTED


def test_a_reload_keeps_the_throttle_that_is_under_way() -> None:
    """It was the operator's wish, and nothing of it has changed."""
    one = leased()
    one.throttled(PAUSE, T, T)
    one.reconfigure(contract(rate=50), T + 1)
    assert one.tokens(T + 2).take(1000, T + 2) == 0


@pytest.mark.parametrize(
    "changes",
    [{"throttle_pause_s": 30}, {"quiet_s": 2}, {"adaptive": config.Adaptive(recover_s=30)}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_reload_of_how_a_lane_gives_way_forgets_nothing(changes: dict[str, Any]) -> None:
    """Neither the pause that an operator has asked for, nor what his throttle has cut, nor what a bind has begun slowly."""
    held, cut, slow = leased(), leased(), leased(quiet_s=10)
    held.throttled(replace(PAUSE, after=60.0), T, T)
    cut.throttled(PAUSE, T, T)
    slow.reconnected(T)
    for one in (held, cut, slow):
        one.reconfigure(contract(**({"quiet_s": 10} | changes)), T + 1)
    assert held.tokens(T + 59).take(1000, T + 59) == 0
    assert held.adaptive.rate(T + 60) == 50
    assert cut.adaptive.rate(T + 5) == 50
    assert slow.adaptive.rate(T + 1) < 60


def test_a_reload_changes_how_long_a_throttle_lasts() -> None:
    """Where the operator does not say it."""
    one = leased(throttle_pause_s=60)
    one.reconfigure(contract(throttle_pause_s=1), T)
    one.throttled(replace(PAUSE, after=None), T, T)
    assert one.tokens(T + 0.9).take(1000, T + 0.9) == 0
    one.tokens(T + 2).take(1000, T + 2)
    assert one.tokens(T + 3).take(1000, T + 3) > 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 1, 1.2, 1.5, 1.99, 2, 2.5, 3, 10, 80, 1000])
def test_a_number_of_whatsapp_uses_most_of_its_rate_and_keeps_it_in_every_second(rate: float) -> None:
    """Meta counts seconds; at a rate below one a second it is one message in the time that this takes."""
    one = Lane(number(rate=rate), T)
    lease(one, T)
    steps = 100
    granted = [one.tokens(T + n / steps).take(1000, T + n / steps) for n in range(100 * steps)]
    period = steps if rate >= 1 else round(steps / rate)
    assert max(sum(granted[n : n + period]) for n in range(len(granted))) <= max(1, rate)
    assert sum(granted) >= 0.5 * 100 * rate


def test_a_number_of_whatsapp_can_be_paused() -> None:
    """By its rate."""
    one = Lane(number(rate=0), T)
    lease(one, T)
    assert one.tokens(T + 100).take(1, T + 100) == 0


def test_what_is_kept_ready_is_a_window_but_no_more_than_a_second() -> None:
    """A part that waits has its validity period in it."""
    assert lane(window=50).ahead == 50
    assert lane(window=500).ahead == 100
    assert lane(rate=0.5).ahead == 1


def test_one_that_is_never_answered_holds_up_no_other_meanwhile() -> None:
    """What a lane carries in the time that it waits for an answer fits in its span, up to what memory has room for."""
    assert lane(rate=100, response_timeout_s=60).span == 32_768
    assert lane(rate=1000, response_timeout_s=60).span == 120_000
    assert lane(rate=100_000, response_timeout_s=60).span == 262_144


# Shares.


def test_caps_are_divided_by_the_slots_of_this_process() -> None:
    """Two processes with one and three of four slots keep the cap together."""
    granted = []
    for slots in (1, 3):
        one = lane(binds=4, caps=config.Caps(tenant=40))
        one.share(slots, T)
        granted.append(sum(one.gate.wait(message(), 1, T + n / 200) == 0 for n in range(2001)))
    assert granted == [pytest.approx(100, abs=8), pytest.approx(300, abs=24)]


def test_caps_change_with_a_reload() -> None:
    """As soon as the slots are told."""
    one = lane()
    one.share(1, T)
    assert one.gate.open
    one.reconfigure(contract(caps=config.Caps(tenant=10)), T)
    one.share(1, T)
    assert not one.gate.open


def test_short_texts_need_no_counting() -> None:
    """In UCS-2 33 characters fit a part whatever they are; without UCS-2 a text may not fit at all."""
    carrier = lane(max_parts=2).carrier
    assert carrier.count("😀" * carrier.sure_to_fit) <= 2
    assert lane(alphabets=("gsm7",)).carrier.sure_to_fit == 0


# Slots.


def test_a_slot_has_its_queues_in_the_order_of_urgency() -> None:
    """However they came."""
    slot = slot_of(lane(), 0, Inbox(1))
    for class_, number in (("bulk", 1), ("otp", 0), ("bulk", 0), ("transactional", 0)):
        queue_of(slot, class_, number)
    assert [queue.class_ for queue in slot.queues] == ["otp", "transactional", "bulk", "bulk"]


def test_a_reload_changes_the_window_of_a_slot() -> None:
    """Of the bind that is up."""
    slot = slot_of(lane(), 0, Inbox(1))
    slot.lane.reconfigure(contract(window=33), T)
    slot.reconfigure()
    assert port_of(slot).window == 33


def test_a_reload_changes_weights_and_reserves() -> None:
    """From the next turn on."""
    slot = slot_of(lane(), 0, Inbox(1))
    slot.lane.reconfigure(
        replace(contract(), weights={"banco": 4}, reserve={TrafficClass.BULK: 0.5, TrafficClass.TRANSACTIONAL: 0}), T
    )
    slot.reconfigure()
    assert slot.turns.weights == {"banco": 4}
    assert slot.turns.shares({TrafficClass.OTP: 100, TrafficClass.BULK: 100}, 10) == [
        (TrafficClass.OTP, 5),
        (TrafficClass.BULK, 5),
    ]


async def test_a_slot_that_comes_after_a_reload_has_the_window_of_then() -> None:
    """Whatever carries its messages: a bind, or requests over HTTP."""
    before, after = number(concurrency=4), number(concurrency=9)
    one = Lane(before, T)
    one.reconfigure(after, T)
    port = Slot(one, 0, Inbox(1)).port
    port.start()
    assert port.room == 9
    await port.close()


def test_a_reload_does_not_change_whose_turn_it_is() -> None:
    """A queue that was idle has saved nothing up, before a reload or across it."""
    slot = slot_of(lane(fair_queues=2), 0, Inbox(1))
    busy, idle = queue_of(slot, "bulk", 0), queue_of(slot, "bulk", 1)
    for _ in range(1000):
        queue, parts = slot.turns.next([busy], 4)
        slot.turns.took(queue, parts, "a")
    slot.reconfigure()
    given = {busy: 0, idle: 0}
    for _ in range(100):
        queue, parts = slot.turns.next([busy, idle], 4)
        slot.turns.took(queue, parts, "a")
        given[queue] += parts
    assert given == {busy: 200, idle: 200}
