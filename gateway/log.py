"""Logs: one line a state change, key=value, no number and no text of anybody's message."""

from __future__ import annotations

import logging
import re
import sys

_NUMBER = re.compile(r"(?<![\w.:-])\+?\d{6,11}(\d{4})(?![\w.])")


class Redacting(logging.Formatter):
    """Masks what looks like a phone number in whatever a library or a peer put into a line; the last four digits stay."""

    def format(self, record: logging.LogRecord) -> str:
        return _NUMBER.sub(r"***\1", super().format(record))


def setup(level: str = "INFO") -> None:
    """Log to stderr. aiokafka tells of every heartbeat of a rebalance: only what needs a person comes through."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL if level != "DEBUG" else logging.INFO)
