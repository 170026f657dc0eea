"""Rows that are the same for every provider whose requests can be in doubt."""

from __future__ import annotations

from gateway.model import Message
from tests.providers.exchange import DOUBT, LOST, NOT_CONNECTED, REFUSED, Ask, Exchange
from tests.providers.suite import a_reply


def unclear(ask: Ask, *messages: Message) -> tuple[Exchange, ...]:
    """Nobody says what became of a request: its messages are in doubt, unless it was never written."""
    return tuple(
        Exchange(label=label, messages=messages, answers=(answer,), asks=(ask,), outcomes=(outcome,) * len(messages))
        for label, answer, outcome in (
            ("no connection", REFUSED, NOT_CONNECTED),
            ("no answer", LOST, DOUBT),
            ("a proxy fails in between", a_reply(b"<html>Bad Gateway</html>", 502), DOUBT),
            ("a success that says nothing", a_reply(b"<html>It works!</html>"), DOUBT),
        )
    )
