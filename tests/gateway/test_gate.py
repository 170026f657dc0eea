"""What steps aside: caps of senders, tenants and campaigns, holds, and for how long. See also properties/test_gate.py."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from math import ceil

import pytest

from gateway.config import Caps
from gateway.gate import AGAIN_S, Gate
from gateway.hours import Calendar, Hours
from gateway.model import Message, TrafficClass
from tests.support.dispatching import message

T = 1000.0
BANK, SHOP = message(tenant="banco"), message(tenant="tienda")
OTP, BULK = (message(class_=class_) for class_ in (TrafficClass.OTP, TrafficClass.BULK))
DAY = 86_400.0
MOST_PARTS = 6


def gate(now: float = T, part: float = 1.0, **caps: object) -> Gate:
    """A gate whose caps are known, with nothing in their buckets yet."""
    one = Gate(Caps(**caps), MOST_PARTS, roll=random.Random(1).random)
    one.configure(Caps(**caps), part, now)
    return one


def passed(one: Gate, what: Message, since: float, until: float, parts: int = 1) -> int:
    """How many get through that ask a hundred times a second."""
    count = round((until - since) * 100)
    return sum(one.wait(what, parts, since + n / 100) == 0 for n in range(count))


# Open or not.


def test_a_lane_without_caps_and_holds_has_an_open_gate() -> None:
    """Nobody need ask."""
    assert gate().open
    assert not gate(tenant=10).open
    assert not gate(sender={"89000": 5}).open


def test_a_hold_closes_the_gate_until_it_is_over() -> None:
    """Whoever asks first after its end opens it again."""
    one = gate()
    one.hold("sender", "89000", T + 60)
    assert not one.open
    assert one.wait(message(), 1, T + 59) == 1
    assert not one.open
    assert one.wait(message(), 1, T + 60) == 0
    assert one.open


def test_a_hold_that_was_released_opens_the_gate() -> None:
    """Without waiting for its end, and only if there are no caps and no other holds."""
    one = gate()
    one.hold("sender", "89000", T + DAY)
    one.hold("sender", "1", T + DAY)
    one.release("sender", "89000")
    assert not one.open
    assert one.wait(message(), 1, T) == 0
    one.release("sender", "1")
    assert one.open
    capped = gate(tenant=1)
    capped.hold("sender", "89000", T + DAY)
    capped.release("sender", "89000")
    assert not capped.open


def test_a_reload_opens_and_closes_the_gate() -> None:
    """As it brings caps or takes them away; a hold stays."""
    one = gate(tenant=10)
    one.configure(Caps(), 1, T)
    assert one.open
    one.hold("sender", "89000", T + 60)
    one.configure(Caps(), 1, T)
    assert not one.open


# Holds.


def test_what_is_held_comes_back_when_the_hold_is_over() -> None:
    """Not before, and not all over the day."""
    one = gate()
    one.hold("sender", "89000", T + 600)
    assert one.wait(message(), 1, T) == 600
    assert one.wait(message(), 1, T + 250) == 350


def test_what_is_held_for_long_asks_meanwhile() -> None:
    """Somebody may have lifted the hold."""
    one = gate()
    one.hold("sender", "89000", T + DAY)
    assert one.wait(message(), 1, T) == AGAIN_S
    one.release("sender", "89000")
    assert one.wait(message(), 1, T + AGAIN_S) == 0


def test_a_hold_is_of_one_sender() -> None:
    """The others of the lane go on."""
    one = gate()
    one.hold("sender", "89000", T + 600)
    assert one.wait(message(sender="1"), 1, T) == 0


def test_what_is_held_takes_no_tokens() -> None:
    """Of the caps that it would pass."""
    one = gate(tenant=10)
    one.wait(BANK, 1, T)
    one.hold("sender", "89000", T + 600)
    for _ in range(100):
        one.wait(BANK, 1, T + 10)
    assert one.wait(message(sender="1"), 1, T + 10) == 0


# Caps.


@pytest.mark.parametrize(
    ("caps", "what", "rate"),
    [
        ({"tenant": 20}, BANK, 20),
        ({"tenant": {"banco": 20}}, BANK, 20),
        ({"tenant": {"banco": 20, "*": 5}}, BANK, 20),
        ({"tenant": {"banco": 20, "*": 5}}, SHOP, 5),
        ({"tenant": {"banco": 20}}, SHOP, 100),
        ({"sender": 20}, message(), 20),
        ({"campaign": {"cartera": 20}}, message(campaign="cartera"), 20),
        ({"campaign": {"cartera": 20}}, message(), 100),
        ({"campaign": 20}, message(campaign="cartera"), 20),
        ({"campaign": 20}, message(), 100),
        ({"tenant": 40, "sender": 20}, BANK, 20),
        ({"tenant": 0}, BANK, 0),
    ],
)
def test_what_a_cap_lets_through(caps: dict[str, object], what: Message, rate: int) -> None:
    """By name, by what all others have, and the least of several; without a cap as much as asks (100 a second)."""
    # What is asked for late, after the bucket was full, is lost.
    assert rate * 10 * 0.75 <= passed(gate(**caps), what, T, T + 10) <= rate * 10 + 10


def test_each_name_has_a_cap_of_its_own() -> None:
    """What one uses is not taken from the other."""
    one = gate(tenant=10)
    one.wait(BANK, 1, T)
    assert one.wait(SHOP, 1, T + 10) > 0, "a new name begins with an empty bucket"
    while one.wait(BANK, 1, T + 20) == 0:
        pass
    assert one.wait(SHOP, 1, T + 20) == 0


def test_campaigns_of_one_name_are_each_their_tenant_s() -> None:
    """Two tenants may call theirs alike; so are pauses."""
    one = gate(campaign={"cartera": 10})
    bank, shop = (message(tenant=tenant, campaign="cartera") for tenant in ("banco", "tienda"))
    for each in (bank, shop):
        one.wait(each, 1, T)
    while one.wait(bank, 1, T + 10) == 0:
        pass
    assert one.wait(shop, 1, T + 10) == 0
    one.configure(Caps(campaign={"cartera": 0}), 1, T + 20)
    assert one.wait(shop, 1, T + 30) > 0


def test_whoever_names_no_sender_goes_as_the_lane_s_and_under_its_cap() -> None:
    """That is who the operator sees."""
    one = Gate(Caps(sender={"89000": 0}), MOST_PARTS, sender="89000")
    assert one.wait(message(sender=""), 1, T) > 0
    assert one.wait(message(sender="Banco"), 1, T) == 0


def test_outside_the_hours_a_message_waits_until_they_begin() -> None:
    """Asked again after a day at the latest; within them its provider is told when they end."""
    one = gate()
    assert one.open
    monday = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    one.keep_hours(Calendar([Hours(time_zone="UTC", days={"mon": "07:00-19:00"})]))
    assert not one.open
    assert one.closed(message(), monday) == 7 * 3600
    assert one.closed(message(), monday + 12 * 3600) == 0
    assert one.closed(message(), monday + 20 * 3600) == 24 * 3600
    assert one.closed(message(class_=TrafficClass.OTP), monday) == 0
    assert one.within_hours(message(), monday + 12 * 3600).expires_at == monday + 19 * 3600
    assert one.within_hours(message(expires_at=monday + 13 * 3600), monday + 12 * 3600).expires_at == monday + 13 * 3600
    one.keep_hours(Calendar())
    assert one.open


def test_one_cap_that_is_short_takes_nothing_from_the_others() -> None:
    """A message that waits has used up nothing."""
    one = gate(tenant=1000, sender={"89000": 0})
    one.wait(message(sender="1"), 1, T)
    start = T + 1
    for _ in range(1000):
        assert one.wait(message(), 1, start) > 0
    assert one.wait(message(sender="1"), 1, start) == 0


def test_the_longest_wait_of_several_caps_counts() -> None:
    """Asking earlier would be in vain."""
    one = gate(tenant=10, sender=2)
    assert one.wait(message(), 1, T) == 0.5


def test_a_cap_of_nothing_is_asked_again_after_a_minute() -> None:
    """Somebody may have raised it by then."""
    one = gate(tenant=0)
    assert one.wait(BANK, 1, T) == 60
    one.configure(Caps(tenant=10), 1, T + 30)
    assert one.wait(BANK, 1, T + 60) == 0


def test_a_message_of_many_parts_passes_once_its_cap_has_burst_enough_for_it() -> None:
    """A cap below the parts of one message must not hold it for ever."""
    one = gate(tenant=1)
    assert any(one.wait(BANK, 6, T + n) == 0 for n in range(20))


# How long.


def test_a_backlog_is_spread_over_the_time_that_it_takes() -> None:
    """The n-th that steps aside is due when n would have passed, whatever their parts."""
    one = gate(tenant=10)
    waits = [one.wait(BANK, 1, T) for _ in range(500)] + [one.wait(BANK, 2, T) for _ in range(250)]
    assert waits[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert waits[499] == pytest.approx(50)
    assert waits[500:502] == pytest.approx([50.2, 50.4])
    assert waits[-1] == pytest.approx(100)


def test_what_a_backlog_has_spoken_for_is_forgotten_when_its_time_has_passed() -> None:
    """The next backlog begins from its own now."""
    one = gate(tenant=10)
    for _ in range(100):
        one.wait(BANK, 1, T)
    while one.wait(BANK, 1, T + 60) == 0:
        pass
    assert one.wait(BANK, 1, T + 60) == pytest.approx(0.2)


def drained(rate: float, count: int, parts: int) -> float:
    """How long a backlog takes whose messages come back at the ladder's next tenth of a second."""
    one = gate(tenant=rate)
    waiting = {0: count}
    beat = 0
    while waiting:
        for _ in range(waiting.pop(beat, 0)):
            if wait := one.wait(BANK, parts, T + beat / 10):
                due = max(beat + 1, ceil(round(beat + 10 * wait, 6)))
                waiting[due] = waiting.get(due, 0) + 1
        beat += 1
    return beat / 10


@pytest.mark.parametrize(("rate", "parts"), [(10, 1), (50, 3), (100, 1), (500, 1)])
def test_a_backlog_is_through_in_the_time_that_its_cap_takes(rate: float, parts: int) -> None:
    """Coming back from the ladder some tenths of a second late must not cost throughput."""
    count = int(20 * rate)
    assert drained(rate, count, parts) <= 1.2 * count * parts / rate


def test_nothing_is_told_to_wait_for_hours() -> None:
    """However long the backlog: when the cap is raised, that is felt within minutes."""
    one = gate(tenant=10)
    waits = [one.wait(BANK, 1, T) for _ in range(20_000)]
    assert max(waits) <= AGAIN_S
    one.configure(Caps(tenant=1000), 1, T + 1)
    assert one.wait(BANK, 1, T + 1) <= 0.001


def through(one: Gate, asks: Iterable[tuple[float, Message]], until: float) -> list[tuple[float, float, Message]]:
    """When each came and when it got through, of those that come back from the ladder's beats a little late."""
    waiting = [(came, n, came, what) for n, (came, what) in enumerate(asks)]
    heapify(waiting)
    done = []
    while waiting and waiting[0][0] <= until:
        now, n, came, what = heappop(waiting)
        if wait := one.wait(what, 1, now):
            heappush(waiting, (ceil(round(10 * (now + wait), 6)) / 10 + 0.05, n, came, what))
        else:
            done.append((came, now, what))
    return done


def test_a_backlog_beyond_what_is_spoken_for_uses_the_cap() -> None:
    """What asks again in vain has not put itself, or others, further behind each time."""
    count = round(10 * AGAIN_S * 3)
    done = through(gate(tenant=10), [(T, BANK)] * count, T + 3 * AGAIN_S)
    assert len(done) >= 0.98 * count


def test_who_has_waited_long_gets_places_as_well_as_who_comes_new() -> None:
    """New ones beyond the cap for half an hour, and the old are not pushed back for as long as that lasts."""
    old = [(T, BANK)] * round(10 * AGAIN_S * 1.5)
    new = [(T + 1 + n / 12, SHOP) for n in range(round(12 * AGAIN_S * 3))]
    one = gate(sender=10)
    whose = Counter(what.tenant for _, now, what in through(one, [*old, *new], T + 3 * AGAIN_S) if now > T + AGAIN_S)
    assert whose["banco"] > 0.05 * whose.total()


# Whose turn.


def test_a_one_time_password_does_not_wait_behind_a_campaign() -> None:
    """Of the same tenant, under the same cap: what has spoken for its tokens is less urgent."""
    one = gate(tenant=20)
    for _ in range(20_000):
        one.wait(BULK, 1, T)
    assert one.wait(OTP, 1, T) == pytest.approx(0.05)
    assert one.wait(OTP, 1, T) == pytest.approx(0.1)


def test_a_campaign_waits_behind_one_time_passwords() -> None:
    """It is due after them, and leaves them the tokens that they wait for."""
    one = gate(tenant=10)
    assert [one.wait(OTP, 1, T) for _ in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert one.wait(BULK, 1, T) == pytest.approx(0.6)
    assert one.wait(BULK, 1, T + 0.4) > 0
    assert one.wait(OTP, 1, T + 0.4) == 0


def test_what_expires_before_its_turn_speaks_for_nothing() -> None:
    """Else the tokens of those that are gone would be kept from who is less urgent."""
    one = gate(tenant=1)
    for _ in range(500):
        one.wait(OTP, 1, T, 60.0)
    assert one.wait(BULK, 1, T + 61) == 0


def test_one_time_passwords_within_the_cap_are_through_in_seconds() -> None:
    """While a campaign waits that is twice what the cap lets through."""
    asks = [(T, BULK)] * 12_000 + [(T + 0.5 + n / 8, OTP) for n in range(4_000)]
    late = [now - came for came, now, what in through(gate(tenant=10), asks, T + 550) if what is OTP]
    assert len(late) >= 3_990
    assert max(late) < 5


# Changes.


def test_a_change_of_the_part_mints_nothing() -> None:
    """However often slots come and go."""
    one = gate(tenant=10)
    one.wait(BANK, 1, T)
    while one.wait(BANK, 1, T + 10) == 0:
        pass
    for n in range(100):
        one.configure(Caps(tenant=10), n % 2, T + 10)
    assert one.wait(BANK, 1, T + 10) > 0


def test_a_process_without_slots_lets_nothing_through() -> None:
    """Its part of every cap is none."""
    one = gate(part=0, tenant=10)
    assert passed(one, BANK, T, T + 10) == 0


def test_a_cap_that_was_taken_away_and_came_back_begins_empty() -> None:
    """What would have accrued meanwhile is nobody's."""
    one = gate(tenant=10)
    one.wait(BANK, 1, T)
    one.configure(Caps(), 1, T)
    assert one.wait(BANK, 1, T + 5) == 0
    one.configure(Caps(tenant=10), 1, T + 10)
    assert one.wait(BANK, 1, T + 10) > 0


def test_a_raised_cap_counts_at_once() -> None:
    """For what asks after it, with the estimate begun anew."""
    one = gate(tenant=1)
    for _ in range(100):
        one.wait(BANK, 1, T)
    one.configure(Caps(tenant=100), 1, T)
    assert one.wait(BANK, 1, T) == pytest.approx(0.01)


# Bounds.


def test_names_are_forgotten_before_they_are_too_many() -> None:
    """They come from jobs. Forgetting one lets nobody through."""
    one = gate(campaign=10)
    assert not any(one.wait(message(campaign=f"c{n}"), 1, T) == 0 for n in range(30_000))
    assert len(one._known) <= 10_000


def test_senders_that_are_held_are_bounded() -> None:
    """They come from jobs, too, and an operator refuses each of them."""
    one = gate()
    for n in range(30_000):
        one.hold("sender", f"s{n}", T + 600)
    assert len(one._held) <= 10_000
