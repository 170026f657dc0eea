"""What a log line may not show, how lines are written, and how often."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from gateway import log
from gateway.log import ALWAYS, Redacting, Sampling, Structured


def record(
    message: str, *args: object, level: int = logging.WARNING, at: float = 1_764_000_000.25
) -> logging.LogRecord:
    made = logging.LogRecord("gateway.x", level, "", 0, message, args, None)
    made.created = at
    return made


def line(message: str, *args: object) -> str:
    return Redacting("%(message)s").format(record(message, *args))


def structured(message: str, *args: object, worker: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Structured(worker).format(record(message, *args)))
    return found


# Numbers.


@pytest.mark.parametrize("number", ["+573001234567", "573001234567", "+5511987654321", "3001234567"])
def test_numbers_of_people_are_masked(number: str) -> None:
    """Whatever a library or a peer wrote, only the last four digits stay."""
    shown = line("receipt for %s ignored", number)
    assert number not in shown
    assert shown == f"receipt for ***{number[-4:]} ignored"
    assert structured("receipt for %s ignored to=%s", number, number) | {"time": ""} == {
        "time": "",
        "level": "WARNING",
        "logger": "gateway.x",
        "event": f"receipt for ***{number[-4:]} ignored",
        "to": f"***{number[-4:]}",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("invalid number 573001234567.", "invalid number ***4567."),
        ("573001234567. Try again", "***4567. Try again"),
        ("to:573001234567", "to:***4567"),
        ("573001234567:1:5", "***4567:1:5"),
        ('{"to":573001234567}', '{"to":***4567}'),
        ("x-573001234567", "x-***4567"),
        ("/573001234567/573007654321", "/***4567/***4321"),
        ("?to=%2B573001234567&x=1", "?to=***4567&x=1"),
        ("?q=to%3A573001234567", "?q=to***4567"),
        ("juan.573001234567@example.com", "juan.***4567@example.com"),
    ],
)
def test_a_number_is_known_whatever_stands_around_it(text: str, shown: str) -> None:
    """The words of peers end in a full stop, have keys and colons, and are addresses."""
    assert line("%s", text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "port=2775",
        "offset=1234567",
        "queue=recado.lane.andina.bulk:3",
        "recado.jobs:3:1234567890",
        "0:7:1234567890",
        "until=1764000000.25",
        "0.1234567890",
        "89000",
        "0x0000040B",
        "00000000-0000-4000-8000-12345678901a",
        "10.0.0.1:9092",
    ],
)
def test_what_operations_need_stays(text: str) -> None:
    """Ports, offsets, short codes and statuses are no numbers of people."""
    assert line("%s", text) == text
    assert structured("%s", text)["event"] == text


@pytest.mark.parametrize("formatter", [Redacting("%(message)s"), Structured()])
def test_numbers_in_a_traceback_are_masked(formatter: logging.Formatter) -> None:
    """Exceptions quote what they could not read."""
    try:
        raise ValueError("bad recipient +573001234567")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    shown = formatter.format(made)
    assert "573001234567" not in shown
    assert "***4567" in shown
    assert "ValueError" in shown


# Lines.


def test_a_line_of_text_is_words_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC, and the number of the process where there are several."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    log.setup("INFO", worker=2)
    (handler,) = root.handlers
    assert handler.format(record("lane down lane=%s", "claro")) == (
        "2025-11-24T16:00:00.250Z WARNING gateway.x worker=2 lane down lane=claro"
    )


def test_a_line_of_json_has_its_values_as_they_are() -> None:
    """The event is the same for all lines of a kind; figures stay figures."""
    found = structured("recovering queue=%s committed=%d share=%.2f", "q:1", 5, 0.5, worker=0)
    assert found == {
        "time": "2025-11-24T16:00:00.250Z",
        "level": "WARNING",
        "logger": "gateway.x",
        "worker": 0,
        "event": "recovering",
        "queue": "q:1",
        "committed": 5,
        "share": 0.5,
    }


@pytest.mark.parametrize(
    ("message", "args", "event", "values"),
    [
        ("running lanes=%d", (3,), "running", {"lanes": 3}),
        ("fetch: %s", ("no broker",), "fetch: no broker", {}),
        ("worker=%d ended %s", (1, "code=1"), "ended code=1", {"worker": 1}),
        (
            "up to %d messages, their class decides queue=%s",
            (7, "q"),
            "up to 7 messages, their class decides",
            {"queue": "q"},
        ),
        ("away reason=%r", ("it's 'gone'",), "away", {"reason": "it's 'gone'"}),
        ("level=%s", ("low",), "", {"level_": "low"}),
        ("condition %s=%r until=%.0f", ("quality", "RED", 5.0), "condition quality='RED'", {"until": 5.0}),
        ("100% sure", (), "100% sure", {}),
        ("50%% of lane=%s", ("a",), "50% of", {"lane": "a"}),
    ],
)
def test_words_and_values_are_told_apart(
    message: str, args: tuple[object, ...], event: str, values: dict[str, object]
) -> None:
    """By the pattern of the line, not by what it was filled with."""
    found = structured(message, *args)
    assert found["event"] == event
    assert {key: value for key, value in found.items() if key not in ("time", "level", "logger", "event")} == values


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_ends_a_process_is_a_line_like_others(form: str) -> None:
    """At the level that wakes people, without the number that is in it, in the form that is collected."""
    code = f"from gateway import log; log.setup('INFO', {form!r}); raise KeyError('573001234567')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "CRITICAL" in ended.stderr
    assert "ended by an error" in ended.stderr
    assert "573001234567" not in ended.stderr
    assert form == "text" or "KeyError" in json.loads(ended.stderr)["exception"]


# Repetitions.


def passed(*records: logging.LogRecord) -> list[int]:
    """Which of them come through a filter, by their place from 1."""
    sampling = Sampling()
    return [number for number, each in enumerate(records, 1) if sampling.filter(each)]


def test_what_repeats_itself_is_written_at_powers_of_two() -> None:
    """With its count, in both forms; figures make no difference."""
    many = [record("away retry_in_s=%.2f reason=%s", n / 7, "refused", at=1000 + n / 5) for n in range(20)]
    assert passed(*many) == [1, 2, 4, 8, 16]
    assert Redacting("%(message)s").format(many[7]).endswith("reason=refused seen=8")
    assert json.loads(Structured().format(many[7]))["seen"] == 8
    assert "seen" not in json.loads(Structured().format(many[0]))


def test_other_texts_are_other_lines() -> None:
    """Lane after lane goes down: each is news."""
    assert passed(*(record("lane down lane=%s", f"lane-{n}") for n in range(20))) == list(range(1, 21))


def test_after_a_minute_it_is_news_again() -> None:
    """The count begins anew."""
    times = [0, 1, 2, 3, 100, 101, 102]
    assert passed(*(record("away", at=1000 + at) for at in times)) == [1, 2, 4, 5, 6]


@pytest.mark.parametrize("level", [logging.INFO, logging.CRITICAL])
def test_state_changes_and_what_needs_a_person_are_always_written(level: int) -> None:
    """A third rebalance within a minute is no repetition of the second."""
    assert passed(*(record("slots owned=%d", n, level=level) for n in range(9))) == list(range(1, 10))


def test_what_a_person_has_asked_for_is_always_written() -> None:
    """The third pause within a minute is no repetition of the second. It does not count where the same is sampled."""
    asked = [record("asked for lane=%s", "claro") for _ in range(9)]
    for each in asked:
        each.__dict__.update(ALWAYS)
    away = [record("asked for lane=%s", "claro") for _ in range(4)]
    assert passed(*asked, *away) == [*range(1, 10), 10, 11, 13]


def test_only_so_many_lines_are_remembered() -> None:
    """Texts come from peers."""
    sampling = Sampling()
    for n in range(5000):
        assert sampling.filter(record("bad %s", f"text {n}"))
    assert len(sampling._seen) <= 1000
