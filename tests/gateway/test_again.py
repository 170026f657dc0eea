"""What stays as it was when something happens again: a message that bounced, a bind that comes back."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.errors import Disposition
from gateway.lane import Lane
from gateway.providers.contract import Failure
from smpp.constants import CommandId, CommandStatus
from smpp.pdu import SubmitSM, decode
from tests.support.dispatching import Line, configured, lease, long_text, message, put

T = 1000.0
"""Monotonic seconds."""
PAUSE = Failure(Disposition.THROTTLED, "ESME_RTHROTTLED", after=5.0)


def test_what_was_throttled_is_written_again_octet_by_octet() -> None:
    """Its receipt is asked for again too."""
    one = Line(configured({"andina": {"errors": {"ESME_RTHROTTLED": {"disposition": "throttled", "after_s": 0}}}}))
    put(one.queue("andina"), message(text=long_text(2)))
    first = one.write()
    bodies = [bytes(part.body) for part in first]
    one.answer(first, int(CommandStatus.ESME_RTHROTTLED))
    again: list[bytes] = []
    while len(again) < len(bodies):
        again += [bytes(part.body) for part in one.write()]
    assert again == bodies
    for body in again:
        pdu = decode(CommandId.SUBMIT_SM, body, 1)
        assert isinstance(pdu, SubmitSM)
        assert pdu.registered_delivery == 1


def _andina() -> Lane:
    (lane,) = configured({"andina": {"rate": 100, "burst": 20}}).lanes.values()
    one = Lane(replace(lane), T)
    lease(one, T)
    return one


def test_a_bind_that_comes_back_brings_no_tokens() -> None:
    """They are the lane's, not the session's: whoever reconnects often sends no more for it."""
    one = _andina()
    assert one.tokens(T).take(1000, T) == 20
    for _ in range(10):
        one.reconnected(T)
        assert one.tokens(T).take(1000, T) == 0


def test_a_bind_that_comes_back_does_not_end_a_pause() -> None:
    """What the operator asked for holds for the account, on whatever connection it was said."""
    one = _andina()
    one.throttled(PAUSE, T, T)
    one.reconnected(T + 1)
    for moment in (T + 1, T + 4.9):
        assert one.tokens(moment).take(1000, moment) == 0
