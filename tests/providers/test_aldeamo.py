"""Aldeamo (experimental): partial success inside one 200."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec
import pytest

from gateway.errors import Disposition
from gateway.model import Message
from gateway.providers.aldeamo import Aldeamo, AldeamoSettings
from gateway.providers.contract import Accepted, Failure, Reply, Unsendable, Unsigned
from gateway.tables import Secret
from tests.providers.suite import NOW, Case, a_hook, a_message, a_reply

SETTINGS = AldeamoSettings(user="recado", password=Secret("the-password"), batch=3)
LANE = Aldeamo(SETTINGS)
FIRST, SECOND, THIRD = (a_message(f"Texto {n}", number=n) for n in range(3))


def answer(received: Sequence[tuple[str, object]], failed: Sequence[tuple[str, object, str]] = ()) -> Reply:
    result = {
        "dateToSend": "2027-01-15 03:00:00",
        "receivedRequests": [{"mobile": mobile, "transactionId": id_} for mobile, id_ in received],
        "failedRequests": [{"mobile": mobile, "status": status, "reason": why} for mobile, status, why in failed],
    }
    return a_reply({"status": 1, "reason": "Created", "result": result})


CASE = Case(
    name="aldeamo",
    provider=LANE,
    message=a_message(),
    accepted=lambda messages: answer([(message.to[3:], f"t-{n}") for n, message in enumerate(messages)]),
    secrets=("the-password", base64.b64encode(b"recado:the-password").decode()),
)


def test_messages_travel_together_with_national_numbers() -> None:
    """The calling code once; a text and our reference each; never one person's text for all."""
    call = LANE.call([FIRST, SECOND], "", NOW)
    assert call.url == "https://apismsi.aldeamo.com/SmsiWS/smsSendPost/"
    assert dict(call.headers)["authorization"] == "Basic " + base64.b64encode(b"recado:the-password").decode()
    assert msgspec.json.decode(call.body) == {
        "country": "57",
        "message": "",
        "encoding": "UTF-8",
        "messageFormat": 1,
        "addresseeList": [
            {"mobile": "3001110000", "message": "Texto 0", "correlationLabel": "acme/job-1:0/1"},
            {"mobile": "3001110001", "message": "Texto 1", "correlationLabel": "acme/job-1:1/1"},
        ],
    }
    assert msgspec.json.decode(LANE.call([FIRST], "", NOW).body)["message"] == "Texto 0"


def test_a_lane_sends_to_one_country() -> None:
    """A number of another has no national number in it."""
    with pytest.raises(Unsendable, match=r"\+57"):
        LANE.prepare(a_message(to="+5215512345678"))


@pytest.mark.parametrize(
    ("messages", "reply", "expected"),
    [
        (
            [FIRST, SECOND, THIRD],
            answer([("3001110002", 33), ("3001110000", "11")], [("3001110001", -5, "Número inválido")]),
            [Accepted("11"), Failure(Disposition.REJECTED, "-5", "Número inválido"), Accepted("33")],
        ),
        ([FIRST, SECOND], answer([("3001110000", 1)]), [Accepted("1"), Failure(Disposition.UNKNOWN, "http:200")]),
        ([FIRST, FIRST], answer([("3001110000", 1), ("3001110000", 2)]), [Accepted("1"), Accepted("2")]),
        (
            [FIRST, FIRST],
            answer([("3001110000", 1)], [("3001110000", -5, "")]),
            [Failure(Disposition.UNKNOWN, "http:200")] * 2,
        ),
        (
            [FIRST],
            a_reply({"status": -3, "reason": "Sin saldo"}),
            [Failure(Disposition.REJECTED, "-3", "Sin saldo")],
        ),
        (
            [FIRST, SECOND],
            a_reply({"status": -3, "reason": "Sin saldo"}),
            [Failure(Disposition.RETRY, "-3", "Sin saldo")] * 2,
        ),
        ([FIRST], a_reply({"status": 1, "reason": "Created"}), [Failure(Disposition.UNKNOWN, "http:200")]),
    ],
    ids=["partial", "not named", "one number twice", "twice, one refused", "refused", "batch refused", "no result"],
)
def test_one_answer_has_an_outcome_for_each_message(
    messages: list[Message], reply: Reply, expected: list[object]
) -> None:
    """Outcomes name the number only."""
    assert LANE.read(messages, reply) == expected


def test_callbacks_are_refused() -> None:
    """How they look and how they are signed is not public."""
    with pytest.raises(Unsigned):
        LANE.verify(a_hook(b"{}"), NOW)
    with pytest.raises(ValueError, match="not supported"):
        LANE.receive(a_hook(b"{}"))
