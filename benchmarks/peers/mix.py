"""The messages: those of `benchmarks.campaign`, with their parameters filled in."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from benchmarks.campaign import Campaign

LONG = 0.2
"""The share of messages with three parts; the others have one. All are GSM-7."""
PER_JOB = 500


class Message(NamedTuple):
    to: str
    """Digits only; the last seven are the number of the message."""
    text: str
    parts: int


def campaign(messages: int) -> Campaign:
    return Campaign(first=0, messages=messages, per_job=PER_JOB, lanes=1, long=LONG)


def number_of(destination: str) -> int:
    return int(destination[-7:])


def make(messages: int) -> list[Message]:
    jobs = campaign(messages)
    made = []
    for number in range(jobs.jobs):
        job = msgspec.json.decode(jobs.job(number))
        for recipient in job["recipients"]:
            text = job["text"].format(**recipient["params"])
            made.append(Message(recipient["to"].lstrip("+"), text, 3 if len(text) > 160 else 1))
    return made
