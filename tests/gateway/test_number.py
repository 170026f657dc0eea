"""What a number's quality leaves each class of what is ready, and what many wrong messages do to their template."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil, inf
from typing import cast

import pytest
from msgspec.structs import replace

from gateway.board import Board
from gateway.conditions import Conditions
from gateway.config import WhatsAppLane, loads
from gateway.errors import Disposition
from gateway.flight import Flight, Queue
from gateway.model import Message, Step, TrafficClass
from gateway.number import Number
from gateway.portfolio import Answer, Portfolio
from gateway.providers.contract import Change, Failure, Scope
from gateway.providers.whatsapp import failure_of
from gateway.store import Patience, Store
from gateway.window import Window
from ratelimit import SLICE_S
from tests.support.dispatching import Line, numbers, put

OTP, TRANSACTIONAL, BULK = TrafficClass
RATE = 80
FILE = """
[kafka]
bootstrap = "localhost:9092"
[store]
url = "redis://localhost/0"
[lanes.wa]
provider = "whatsapp"
rate = 80
[lanes.wa.whatsapp]
phone_number_id = "1065"
token_env = "SECRET"
app_secret_env = "SECRET"
verify_token_env = "SECRET"
[[routes]]
channel = "whatsapp"
lane = "wa"
"""


def number(quality: str) -> Number:
    lane = loads(FILE, {"SECRET": "secret"}).lanes["wa"]
    assert isinstance(lane, WhatsAppLane)
    store = Patience(Store("redis://localhost/0"))  # nothing here calls it
    board = Board(Conditions(), store, "", lambda: None)
    found = Number(lane, board, Portfolio("main", store, "", {}), Window(store, ""), 0.0)
    board.changed([Change("number:1065", "quality", quality)], found.whose, 1.0)
    return found


def unequal() -> WhatsAppLane:
    """On YELLOW passwords have all of the rate and bulk half of it."""
    lane = loads(FILE + "[lanes.wa.quality.yellow]\notp = 1\nbulk = 0.5\n", {"SECRET": "secret"}).lanes["wa"]
    assert isinstance(lane, WhatsAppLane)
    return lane


@pytest.mark.parametrize(
    ("quality", "left", "wait"),
    [
        ("GREEN", {OTP: 50, BULK: 500}, inf),
        ("YELLOW", {OTP: 50, BULK: 500}, inf),  # all classes alike: that is the lane's own rate
        ("RED", {OTP: 50, BULK: 0}, inf),
    ],
)
def test_a_class_that_is_paused_waits_for_news_and_not_for_time(
    quality: str, left: dict[TrafficClass, int], wait: float
) -> None:
    """Asking again at once would keep a processor busy for as long as the number is red."""
    ready = {OTP: 50, BULK: 500}
    assert number(quality).limit_classes(ready, RATE, 2.0) == (wait, 0)
    assert ready == left


def test_a_class_with_a_share_waits_for_its_next_token() -> None:
    """Also while a more urgent one has the whole rate."""
    it = number("GREEN")
    it.configure(unequal(), None, 0.0)
    it._board.changed([Change("number:1065", "quality", "YELLOW")], it.whose, 2.0)
    slice_ = ceil(RATE / 2 * SLICE_S)
    ready = {OTP: 50, BULK: 500}
    wait, held = it.limit_classes(ready, RATE, 0.0)
    assert wait == pytest.approx(2 / RATE)
    assert held == slice_  # a share that is new is no burst
    assert ready == {OTP: 50, BULK: 0}
    ready = {OTP: 50, BULK: 500}
    assert it.limit_classes(ready, RATE, 0.03) == (inf, slice_ - 1)
    assert ready == {OTP: 50, BULK: 1}
    it.took(BULK, 1, 0.03)
    wait, _ = it.limit_classes({OTP: 50, BULK: 500}, RATE, 0.03)
    assert wait == pytest.approx(2 * 2 / RATE - 0.03)


def test_a_class_with_a_share_asks_for_the_lease_while_there_is_none() -> None:
    """It looks again after a slice: nobody is woken by a lease."""
    it = number("YELLOW")
    it.configure(unequal(), None, 0.0)
    ready = {BULK: 500}
    assert it.limit_classes(ready, 0.0, 1.0) == (SLICE_S, ceil(RATE / 2 * SLICE_S))
    assert ready == {BULK: 0}


WRONG = failure_of(132000)
SUBJECT = "template:payment_due/es_MX"


def templated(number: int = 0) -> Message:
    """A message of the template."""
    content = '{"type":"template","template":{"name":"payment_due","language":{"code":"es_MX"}}}'
    return Message(f"m{number}", "+573001234567", "", "", "j", "", "", BULK, 0.0, "0:0:0", 0.0, content=content)


def test_many_wrong_messages_in_a_row_hold_their_template() -> None:
    """For a minute: then some find out whether it is right again."""
    it = number("GREEN")
    assert WRONG is not None
    for n in range(49):
        it.wrong(templated(n), WRONG, 100.0)
        assert it._board.conditions.template_state("wa", SUBJECT, 100.0).standing == "ok"
    it.wrong(templated(), WRONG, 100.0)
    state = it._board.conditions.template_state("wa", SUBJECT, 100.0)
    assert (state.standing, state.until, state.reason) == ("held", 160.0, "132000")
    it.wrong(templated(), WRONG, 200.0)
    assert it._board.conditions.template_state("wa", SUBJECT, 200.0).standing == "ok"


def test_a_right_message_between_wrong_ones_clears_their_template() -> None:
    """Then it is the messages that are wrong."""
    it = number("GREEN")
    assert WRONG is not None
    for n in range(200):
        it.wrong(templated(n), WRONG, 100.0)
        if n % 40 == 39:
            assert it.accepted(templated()) == SUBJECT
    assert it._board.conditions.template_state("wa", SUBJECT, 100.0).standing == "ok"


def test_wrong_messages_hold_nothing_up_where_held_ones_go_elsewhere() -> None:
    """Fifty wrong ones would take all the right ones with them."""
    it = number("GREEN")
    it.configure(replace(unequal(), templates="next"), None, 0.0)
    assert WRONG is not None
    for n in range(100):
        it.wrong(templated(n), WRONG, 100.0)
    assert it.refusal(templated(), SUBJECT, window_open=False, now=100.0) == 0.0


def test_a_wrong_message_without_a_template_holds_nothing_up() -> None:
    """131009 and its like are about free messages too."""
    it = number("GREEN")
    wrong = failure_of(131009)
    assert wrong is not None
    for _ in range(100):
        it.wrong(replace(templated(), content=FREE), wrong, 100.0)
    assert it.refusal(replace(templated(), content=FREE), "", window_open=True, now=100.0) == 0.0


FREE = '{"type":"text","text":{"body":"x"}}'
PLAN = (Step("sms", "", "x", ""),)
SPAM = failure_of(131048)
BANNED = Change("account:wa", "ban", "DISABLE")


def spammed(templates: str = "hold") -> Number:
    """A number that Meta has told at 100 s that it has reached the spam limit."""
    it = number("GREEN")
    it.configure(replace(unequal(), templates=templates), None, 0.0)
    assert SPAM is not None
    held = it.held(templated(), SPAM, 100.0)
    assert held.disposition is Disposition.HOLD
    return it


@pytest.mark.parametrize("templates", ["hold", "next"])
@pytest.mark.parametrize("template", [SUBJECT, ""])
def test_what_a_held_number_has_waits_for_it(templates: str, template: str) -> None:
    """Whatever the lane does about templates: theirs are in order. It asks again in between."""
    it = spammed(templates)
    assert it.refusal(templated(), template, window_open=True, now=101.0) == 900.0
    assert it.refusal(templated(), template, window_open=True, now=3600.0) == 100.0
    assert it.refusal(templated(), template, window_open=True, now=3700.0) == 0.0


@pytest.mark.parametrize("templates", ["hold", "next"])
@pytest.mark.parametrize(
    "change",
    [BANNED, Change("account:wa", "event", "ACCOUNT_DELETED"), Change("account:wa", "event", "ACCOUNT_OFFBOARDED")],
)
def test_what_a_banned_number_has_waits_until_it_is_reinstated(templates: str, change: Change) -> None:
    """Nothing of a campaign is lost for good while somebody appeals."""
    it = number("GREEN")
    it.configure(replace(unequal(), templates=templates), None, 0.0)
    it._board.changed([change], it.whose, 100.0)
    assert it.refusal(templated(), SUBJECT, window_open=False, now=101.0) == 900.0
    it._board.changed(
        [Change("account:wa", change.what, "REINSTATE" if change is BANNED else "ACCOUNT_RECONNECTED")], it.whose, 200.0
    )
    assert it.refusal(templated(), SUBJECT, window_open=False, now=201.0) == 0.0


@pytest.mark.parametrize(
    ("expires_at", "plan", "goes_on"),
    [
        (1000.0, (), True),  # when it asked again it would be late
        (1002.0, (), False),
        (0.0, (), False),
        (3000.0, PLAN, True),
        (3701.0, PLAN, False),
        (0.0, PLAN, False),
    ],
)
def test_what_outlives_no_hold_of_its_number_goes_on_to_another_lane(
    expires_at: float, plan: tuple[Step, ...], goes_on: bool
) -> None:
    """Or to the next step of its plan, at once; without one it waits for as long as it can."""
    message = replace(templated(), expires_at=expires_at, plan=plan)
    answer = spammed().refusal(message, SUBJECT, window_open=False, now=101.0)
    if goes_on:
        assert answer == Failure(Disposition.REROUTE, "number-held", "131048")
    else:
        assert answer == 900.0


@pytest.mark.parametrize(("tried", "kind", "lane"), [((), "m", "a"), (("a",), "f", "")])
async def test_a_password_goes_over_another_number_of_its_route_while_its_own_is_held(
    tried: tuple[str, ...], kind: str, lane: str
) -> None:
    """Where there is none it has failed, with the reason: it would be worth nothing in an hour. Advertising waits."""
    one = Line(numbers())
    config = one.lanes["b"].config
    assert isinstance(config, WhatsAppLane)
    store = Patience(Store("redis://localhost/0"))
    board = Board(Conditions(), store, "", lambda: None)
    it = Number(config, board, Portfolio("main", store, "", {}), Window(store, ""), 0.0)
    one.lanes["b"].take_number(it)
    assert SPAM is not None
    now = time.time()
    it.held(templated(), SPAM, now)
    password = replace(templated(1), channel="whatsapp", expires_at=now + 300, tried=tried)
    put(one.queue("b"), password, templated(2))
    one.forwarder.refill(one.slots.values(), now)
    await one.forwarder.place(one.slots.values(), now)
    one.exchange()
    went, waits = (one.outcomes[message_id] for message_id in ("m1", "m2"))
    assert (went.kind, went.lane, went.error_code) == (kind, lane, "number-held")
    assert waits.kind == "w"
    assert waits.due == pytest.approx(now + 900, abs=5)


def test_a_plan_goes_on_while_its_number_is_banned() -> None:
    """Nobody knows for how long."""
    it = number("GREEN")
    it._board.changed([BANNED], it.whose, 100.0)
    answer = it.refusal(replace(templated(), plan=PLAN), SUBJECT, window_open=False, now=101.0)
    assert answer == Failure(Disposition.REROUTE, "number-held", "DISABLE")


@pytest.mark.parametrize(
    ("expires_at", "plan", "goes_on"), [(160.0, PLAN, True), (160.0, (), False), (161.0, PLAN, False)]
)
def test_what_outlives_no_hold_of_its_template_goes_on_with_its_plan(
    expires_at: float, plan: tuple[Step, ...], goes_on: bool
) -> None:
    """What has none expires in its time: the hold may be lifted before."""
    it = number("GREEN")
    assert WRONG is not None
    for n in range(50):
        it.wrong(templated(n), WRONG, 100.0)
    message = replace(templated(), expires_at=expires_at, plan=plan)
    answer = it.refusal(message, SUBJECT, window_open=False, now=101.0)
    late = Failure(Disposition.REJECTED, "template-held", "132000", scope=Scope.TEMPLATE)
    assert answer == (late if goes_on else 59.0)


async def test_what_gets_no_place_in_time_goes_on_with_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has no plan, or more time, asks again."""
    it = number("GREEN")
    now = time.time()
    messages = [
        replace(templated(n), expires_at=expires_at, plan=plan)
        for n, (expires_at, plan) in enumerate(
            [(now + 800, PLAN), (now + 800, ()), (now + 1000, PLAN), (0.0, PLAN), (now + 800, PLAN)]
        )
    ]
    answers = [Answer(900.0)] * 4 + [Answer(0.0, placed=True)]

    async def open_for(_: str, numbers: Sequence[str]) -> list[bool]:
        return [False] * len(numbers)

    async def reserve(*_: object) -> list[Answer]:
        return answers

    monkeypatch.setattr(it._window, "open_for", open_for)
    monkeypatch.setattr(it.portfolio, "reserve", reserve)
    queue = cast("Queue", None)
    flights = [Flight(queue, 0, message, [""]) for message in messages]
    late = Failure(Disposition.REROUTE, "no-place")
    assert await it.place(flights, {}) == [late, 900.0, 900.0, 900.0, 0.0]
    assert [flight.placed for flight in flights] == [False, False, False, False, True]
