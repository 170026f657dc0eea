"""Logs: one line a state change, in words and key=value or as JSON, with no number and no text of anybody's message.

What repeats itself is written the first, second, fourth, eighth … time, with its count: a broker that is away is no news five
times a second. What a person has done, or waits for, is written each time (`ALWAYS`).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import msgspec

Format = Literal["text", "json"]

ALWAYS = {"always": True}
"""The `extra` of a warning or error that is news however often it comes: a person or the supervisor has acted, no message."""

_NUMBER = re.compile(
    r"(?<![\w.-])(?:\d{1,5}|(?=[\w.-]*[A-Za-z_])[\w.-]+):\d{1,5}:\d+(?![\d.])"  # topic:partition:offset, which stays
    r"|(?:\+|%[0-9A-Fa-f]{2}|(?<!\w)(?<!\d\.))\d{6,11}(?P<last>\d{4})(?!\w|\.\d)"
)
_PAIR = re.compile(r"[ ,]*(?<![%\w])([a-z_][a-z0-9_]*)=%[-#0-9.]*[a-z]")
_PLACEHOLDER = re.compile(r"%[-#0-9.]*[a-z]")

_QUIET_S = 60.0
"""What was silent for so long is news again."""
_KINDS = 1000
"""Different lines that are remembered."""


def redacted(text: str) -> str:
    """Mask what looks like a phone number; the last four digits stay."""
    return _NUMBER.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    return f"***{found['last']}" if found["last"] else found[0]


class Redacting(logging.Formatter):
    """Words and key=value. Masks numbers also in what a library or a peer put into a line."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record)) + _seen(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the base class's
        return _time(record)


class Structured(logging.Formatter):
    """JSON, a line each: `event` is the line's constant words, and the values of its key=value stand beside it."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        event, values = _parted(record)
        line: dict[str, Any] = {"time": _time(record), "level": record.levelname, "logger": record.name, **self._worker}
        line["event"] = redacted(event)
        for key, value in values.items():
            # A name of ours for something else gives way to it.
            line[f"{key}_" if key in line else key] = value if _is_figure(value) else redacted(str(value))
        if seen := record.__dict__.get("seen"):
            line["seen"] = seen
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


class Sampling(logging.Filter):
    """Lets a warning or error pass when it comes the first, second, fourth, eighth … time within a minute of the last.

    The same are those with the same words and texts; figures may differ. State changes (INFO), CRITICAL and what is marked
    as `ALWAYS` pass each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[Any, ...], tuple[int, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not logging.WARNING <= record.levelno < logging.CRITICAL or "always" in record.__dict__:
            return True
        args = record.args.values() if isinstance(record.args, Mapping) else record.args or ()
        key = (record.name, record.levelno, record.msg, *(str(arg) for arg in args if not _is_figure(arg)))
        count, last = self._seen.pop(key, (0, 0.0))
        count = count + 1 if record.created - last < _QUIET_S else 1
        if len(self._seen) >= _KINDS:
            del self._seen[next(iter(self._seen))]  # the one that was silent longest
        self._seen[key] = count, record.created
        if count & (count - 1):
            return False
        if count > 1:
            record.seen = count
        return True


def setup(level: str = "INFO", form: Format = "text", worker: int | None = None) -> None:
    """Log to stderr, also what ends the process; `worker` is its number where there are several.

    aiokafka tells of every heartbeat of a rebalance: only what needs a person comes through.
    """
    handler = logging.StreamHandler(sys.stderr)
    number = "" if worker is None else f" worker={worker}"
    plain = Redacting(f"%(asctime)s %(levelname)s %(name)s{number} %(message)s")
    handler.setFormatter(Structured(worker) if form == "json" else plain)
    handler.addFilter(Sampling())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL if level != "DEBUG" else logging.INFO)
    sys.excepthook = _ended


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The interpreter would print the error as it is, with the numbers and texts that are in it."""
    if issubclass(kind, Exception):
        logging.getLogger("gateway").critical("ended by an error", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seen(record: logging.LogRecord) -> str:
    seen = record.__dict__.get("seen")
    return f" seen={seen}" if seen else ""


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float)


def _parted(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return the words of a line, and its values by the keys in front of their placeholders.

    A line with a placeholder among its words has them filled in; other libraries' lines may be anything.
    """
    pattern = str(record.msg)
    pairs = list(_PAIR.finditer(pattern))
    args = record.args if isinstance(record.args, tuple) else ()
    if not pairs or len(_PLACEHOLDER.findall(pattern)) != len(args):
        return record.getMessage(), {}
    words = _PAIR.sub("", pattern)
    values: dict[str, Any] = {}
    left = []
    by_start = {pair.end(): pair[1] for pair in pairs}
    for placeholder, arg in zip(_PLACEHOLDER.finditer(pattern), args, strict=True):
        key = by_start.get(placeholder.end())
        if key is None:
            left.append(arg)
        else:
            values[key] = arg
    return (words % tuple(left)).strip(), values
