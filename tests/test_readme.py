"""What the README shows is what the program takes and gives."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from gateway.check import describe
from gateway.config import loads
from gateway.content import rules
from gateway.model import EventStatus, decode_event, decode_job, encode_event

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(language: str, heading: str) -> str:
    """The first block of code in a language behind a heading."""
    section = README.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, f"no {language} under {heading}"
    return found[1]


def test_the_configuration_is_ten_lines_and_loads() -> None:
    """And there is nothing in it that deserves a warning but the number of copies, which a single broker cannot raise."""
    text = block("toml", "Configure it")
    assert len(text.splitlines()) == 10
    summary = describe(loads(text, {"CLARO_PASSWORD": "s3cret"}))
    assert [warning.path for warning in summary.warnings] == ["kafka.replication"]


def test_the_job_is_one() -> None:
    """As it stands there."""
    job = decode_job(block("json", "Jobs").encode())
    assert [recipient.message_id for recipient in job.recipients] == ["opt-1", ""]


def test_the_events_are_what_the_gateway_writes() -> None:
    """Field by field: written again they are the same JSON. They are about the job above."""
    job = decode_job(block("json", "Jobs").encode())
    for line in block("json", "Events").splitlines():
        event = decode_event(line.encode())
        assert msgspec.json.decode(encode_event(event)) == msgspec.json.decode(line)
        assert (event.job_id, event.campaign, event.tenant) == (job.job_id, job.campaign, job.tenant)


def test_every_status_is_explained() -> None:
    """In the table of statuses."""
    section = README.split("## Events", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) == set(EventStatus)


def test_every_fault_of_a_filled_field_is_a_reason_to_be_rejected() -> None:
    """In the row of `rejected`, by the code that the event has."""
    (row,) = re.findall(r"^\| `rejected` \|.*", README, re.MULTILINE)
    every = [each for each in vars(rules).values() if isinstance(each, rules.Rule)]
    codes = {rule.code for rule in (*every, rules.in_template(1), rules.one_line(1)) if rule.code}
    codes |= {fault.code for text in ("", "aa") if (fault := rules.fault(rules.up_to(1), text))}
    assert codes <= set(re.findall(r"`(\w+)`", row))


def test_its_links_lead_somewhere() -> None:
    """Files of this repository, as far as they are no pages of the web."""
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (Path(__file__).parents[1] / target).exists(), target
