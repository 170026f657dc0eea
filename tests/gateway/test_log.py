"""What a log line may not show."""

import logging

import pytest

from gateway.log import Redacting


def line(message: str, *args: object) -> str:
    return Redacting("%(message)s").format(logging.LogRecord("x", logging.INFO, "", 0, message, args, None))


@pytest.mark.parametrize("number", ["+573001234567", "573001234567", "+5511987654321", "3001234567"])
def test_numbers_of_people_are_masked(number: str) -> None:
    """Whatever a library or a peer wrote, only the last four digits stay."""
    shown = line("receipt for %s ignored", number)
    assert number not in shown
    assert shown == f"receipt for ***{number[-4:]} ignored"


@pytest.mark.parametrize(
    "text", ["port=2775", "offset=1234567", "queue=recado.lane.andina.bulk:3", "89000", "0x0000040B"]
)
def test_what_operations_need_stays(text: str) -> None:
    """Ports, offsets, short codes and statuses are no numbers of people."""
    assert line("%s", text) == text
