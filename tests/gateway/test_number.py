"""What a number's quality leaves each class of what is ready, and what many wrong messages do to their template."""

from __future__ import annotations

from math import ceil, inf

import pytest
from msgspec.structs import replace

from gateway.board import Board
from gateway.conditions import Conditions
from gateway.config import WhatsAppLane, loads
from gateway.model import Message, TrafficClass
from gateway.number import Number
from gateway.portfolio import Portfolio
from gateway.providers.contract import Change
from gateway.providers.whatsapp import failure_of
from gateway.store import Patience, Store
from gateway.window import Window
from ratelimit import SLICE_S

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
    assert it.refusal(SUBJECT, window_open=False, now=100.0) == 0.0
