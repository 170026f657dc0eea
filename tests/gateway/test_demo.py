"""The demo's script, and the account that it closes: it has to notice whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from gateway import content, numbers
from gateway.config import loads
from gateway.demo.account import Evidence, Operator, close
from gateway.demo.meta import NUMBER, Meta
from gateway.demo.script import ANDINA, ATLANTICA, WHATSAPP, Script, write
from gateway.demo.stage import CONFIG
from gateway.demo.tally import Tally
from gateway.errors import InvalidJob, MissingParameter
from gateway.lane import Lane
from gateway.model import Event, EventStatus, Job, Message, decode_job, message_id_of
from gateway.providers.whatsapp import WhatsApp, WhatsAppSettings
from gateway.routing import Router
from gateway.simulators.end import Request
from gateway.tables import Secret

AT = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
SCRIPT = write(300)
LOADED = loads(
    CONFIG.format(bootstrap="b:1", store="redis://s", port=1, number=NUMBER, meta=2, webhooks=3, admin=4).replace(
        "_file", "_env"
    ),
    {"password": "x"},
)
GOOD = next(name for name, message in SCRIPT.messages.items() if message.lane == ANDINA and not message.refused)
LONG = "largo-000000"
REFUSED = next(name for name, message in SCRIPT.messages.items() if message.fails)
ELSEWHERE = next(name for name, message in SCRIPT.messages.items() if message.refused == WHATSAPP)
READ = next(name for name, message in SCRIPT.messages.items() if message.lane == WHATSAPP)
REJECTED = next(name for name, message in SCRIPT.messages.items() if message.rejected)


def jobs_of(script: Script) -> list[bytes]:
    return [value for value, _ in script.records if value != script.poison]


# The script.


def test_a_script_has_as_many_messages_as_asked_and_each_number_once() -> None:
    """Whatever happens twice is known as a copy."""
    script = write(1234)
    assert len(script.messages) == 1234
    assert len({message.to for message in script.messages.values()}) == 1234
    published = [message_id_of(job, n) for job in map(decode_job, jobs_of(script)) for n in range(len(job.recipients))]
    assert set(published) == set(script.messages)
    assert len(published) == script.recipients == 1234 + script.copies
    assert script.copies > 0


def test_a_script_has_one_record_that_is_no_job() -> None:
    """The poison, in the midst of the others."""
    values = [value for value, _ in SCRIPT.records]
    assert len(values) == SCRIPT.jobs + 1
    assert 0 < values.index(SCRIPT.poison) < len(values) - 1
    with pytest.raises(InvalidJob):
        decode_job(SCRIPT.poison)


def shown(message: Message) -> str:
    """What a person sees of a message at Meta's end of the demo."""
    meta = Meta("x", "")
    settings = WhatsAppSettings(
        phone_number_id=NUMBER, token=Secret("x"), app_secret=Secret("x"), verify_token=Secret("x")
    )
    call = WhatsApp(settings).call([message], "", 0.0)
    headers = {"Authorization": dict(call.headers)["authorization"]}
    answer = meta.receive(Request("POST", f"{NUMBER}/messages", headers, call.body), 0.0)
    assert answer.status == 200
    [text] = meta.seen().texts[message.to[1:]]
    return text


def lane_of(router: Router, job: Job, step: content.Content, to: str) -> str:
    choice = router.choices(step.channel, job.class_, job.tenant, step.sender)(to, "")
    return choice.only if choice else ""


def test_a_script_knows_what_the_gateway_will_say() -> None:
    """Lane, text and reason of rejection of every recipient, by the gateway's own rules."""
    router = Router(LOADED.routes, LOADED.lanes)
    lanes = {name: Lane(lane, 0.0) for name, lane in LOADED.lanes.items()}
    parts = set()
    for job in map(decode_job, jobs_of(SCRIPT)):
        for index, recipient in enumerate(job.recipients):
            expected = SCRIPT.messages[message_id_of(job, index)]
            said = job.fallback[0] if expected.refused == WHATSAPP else job
            lane = lane_of(router, job, said, recipient.to)
            text, rejected = "", ""
            try:
                rendered = content.compile(said).render(recipient.params)
                text = rendered.text
                if said.channel == "whatsapp":
                    text = shown(
                        Message(f"{index}", recipient.to, "", *[""] * 4, job.class_, 0, "", 0, content=rendered.content)
                    )
            except MissingParameter:
                rejected = "parameter"
            if numbers.check(recipient.to):
                rejected = "number"
            elif not lane:
                rejected = "route"
            elif not rejected and said.channel == "sms":
                count = lanes[lane].carrier.count(text)
                rejected = "parts" if count > LOADED.lanes[lane].max_parts else ""
                parts.add(count)
            assert rejected == expected.rejected
            if not rejected:
                assert (lane, text) == (expected.lane, expected.text)
    assert {1, 2, 3} <= parts


# The account.


def event(status: EventStatus, message_id: str, seconds: float = 0.0, **fields: object) -> Event:
    fields = {"event_id": f"{message_id}/{status}/1"} | fields
    return Event(status=status, time=AT + timedelta(seconds=seconds), message_id=message_id, **fields)


def evidence() -> Evidence:
    """What a faultless gateway leaves behind."""
    events = []
    texts: dict[str, dict[str, list[str]]] = {ANDINA: {}, ATLANTICA: {}, WHATSAPP: {}}
    for number, value in enumerate(jobs_of(SCRIPT)):
        job = decode_job(value)
        events.append(Event(f"{number}", EventStatus.ACCEPTED, AT, job_id=job.job_id, recipients=len(job.recipients)))
    for name, message in SCRIPT.messages.items():
        if message.rejected:
            events.append(event(EventStatus.REJECTED, name, error_code=message.rejected))
        elif message.fails:
            events.append(event(EventStatus.FAILED, name, lane=message.lane, parts=1))
        else:
            if message.refused:
                events.append(event(EventStatus.FALLBACK, name, lane=message.refused, parts=1))
            same = {"lane": message.lane, "parts": 1, "provider_message_id": f"id-{name}"}
            if name == LONG:
                same |= {"parts": 3, "provider_message_ids": (f"id-{name}", "b", "c")}
            events.append(event(EventStatus.SUBMITTED, name, **same))
            events.append(event(EventStatus.DELIVERED, name, 1, **same | {"provider_message_ids": ()}))
            if name == READ:
                events.append(event(EventStatus.READ, name, 2, **same))
            texts[message.lane][message.to[1:]] = [message.text]
    copies = range(SCRIPT.copies)
    events += [event(EventStatus.DUPLICATE, GOOD, event_id=f"copy-{number}", lane=ANDINA) for number in copies]
    operators = {lane: Operator(seen, 0, 0, 0) for lane, seen in texts.items()}
    operators[WHATSAPP] = replace(operators[WHATSAPP], read={SCRIPT.messages[READ].to[1:]})
    return Evidence(events, operators, [SCRIPT.poison])


def test_the_account_of_a_faultless_gateway_closes() -> None:
    """No rule finds anything."""
    assert [finding for finding in close(SCRIPT, evidence()) if finding.wrong] == []


def test_an_event_that_comes_again_is_not_wrong() -> None:
    """Events are delivered at least once, under the same id."""
    found = evidence()
    assert not any(finding.wrong for finding in close(SCRIPT, replace(found, events=[*found.events, *found.events])))


def test_a_receipt_of_any_part_may_complete_a_message() -> None:
    """The last that comes does."""
    found = evidence()
    events = [
        replace(e, provider_message_id="c") if e.message_id == LONG and e.status is EventStatus.DELIVERED else e
        for e in found.events
    ]
    assert not any(finding.wrong for finding in close(SCRIPT, replace(found, events=events)))


def test_who_has_read_a_message_need_not_have_been_told_its_delivery() -> None:
    """The one includes the other."""
    assert not any(finding.wrong for finding in close(SCRIPT, without(EventStatus.DELIVERED, READ)(evidence())))


Change = Callable[[Evidence], Evidence]


def without(status: EventStatus, name: str = "") -> Change:
    """One event less."""

    def change(found: Evidence) -> Evidence:
        victim = next(e for e in found.events if e.status is status and e.message_id == (name or e.message_id))
        return replace(found, events=[e for e in found.events if e is not victim])

    return change


def changed(status: EventStatus, name: str, /, **fields: object) -> Change:
    """One event that says something else."""

    def change(found: Evidence) -> Evidence:
        events = [replace(e, **fields) if e.status is status and e.message_id == name else e for e in found.events]
        assert events != found.events
        return replace(found, events=events)

    return change


def also(status: EventStatus, name: str, **fields: object) -> Change:
    """One event more."""
    more = event(status, name, 1, **{"event_id": "more", "lane": ANDINA, "parts": 1} | fields)
    return lambda found: replace(found, events=[*found.events, more])


def seen(name: str, texts: list[str], lane: str = ANDINA) -> Change:
    """An operator that saw something else for the number of a message."""

    def change(found: Evidence) -> Evidence:
        operator = found.operators[lane]
        texts_of = {**operator.texts, SCRIPT.messages[name].to[1:]: texts}
        return replace(found, operators=found.operators | {lane: replace(operator, texts=texts_of)})

    return change


def counted(lane: str = ATLANTICA, **counts: object) -> Change:
    """An operator with other counts."""
    return lambda found: replace(found, operators=found.operators | {lane: replace(found.operators[lane], **counts)})


def dead(*values: bytes) -> Change:
    return lambda found: replace(found, dead=values)


TEXT = SCRIPT.messages[GOOD].text
JOBS, FINALS, REJECTIONS, HISTORIES = "every job", "every message", "what is wrong", "every final state"
READINGS, LIMITS, ARRIVALS, COPIES, RECEIPTS, DEAD, OTHERS = (
    "whoever has read",
    "no operator was sent",
    "every operator",
    "every second",
    "every receipt",
    "what is no job",
    "no event",
)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (without(EventStatus.ACCEPTED), JOBS),
        (changed(EventStatus.ACCEPTED, "", recipients=1), JOBS),
        (also(EventStatus.ACCEPTED, "", recipients=0), JOBS),
        (without(EventStatus.DELIVERED, GOOD), FINALS),
        (also(EventStatus.FAILED, GOOD), FINALS),
        (changed(EventStatus.DELIVERED, GOOD, status=EventStatus.UNKNOWN), FINALS),
        (without(EventStatus.REJECTED, REJECTED), FINALS),
        (without(EventStatus.REJECTED, REJECTED), REJECTIONS),
        (changed(EventStatus.REJECTED, REJECTED, error_code="other"), REJECTIONS),
        (also(EventStatus.REJECTED, GOOD, error_code="number"), REJECTIONS),
        (without(EventStatus.SUBMITTED, GOOD), HISTORIES),
        (also(EventStatus.SUBMITTED, GOOD), HISTORIES),
        (changed(EventStatus.DELIVERED, GOOD, time=AT - timedelta(seconds=1)), HISTORIES),
        (changed(EventStatus.DELIVERED, GOOD, provider_message_id="other"), HISTORIES),
        (changed(EventStatus.DELIVERED, LONG, parts=2), HISTORIES),
        (changed(EventStatus.DELIVERED, GOOD, lane=ATLANTICA), HISTORIES),
        (also(EventStatus.SUBMITTED, REFUSED), HISTORIES),
        (changed(EventStatus.FAILED, REFUSED, status=EventStatus.DELIVERED), HISTORIES),
        (without(EventStatus.FALLBACK, ELSEWHERE), HISTORIES),
        (also(EventStatus.FALLBACK, ELSEWHERE, lane=WHATSAPP), HISTORIES),
        (changed(EventStatus.FALLBACK, ELSEWHERE, lane=ATLANTICA), HISTORIES),
        (also(EventStatus.FALLBACK, GOOD, lane=WHATSAPP), HISTORIES),
        (also(EventStatus.READ, READ, lane=WHATSAPP), FINALS),
        (also(EventStatus.DELIVERED, READ, lane=WHATSAPP), FINALS),
        (without(EventStatus.READ, READ), READINGS),
        (counted(WHATSAPP, read=()), READINGS),
        (counted(WHATSAPP, beyond=1), LIMITS),
        (seen(GOOD, [TEXT, TEXT]), ARRIVALS),
        (seen(GOOD, []), ARRIVALS),
        (seen(GOOD, [TEXT.replace("ñ", "n") + "."]), ARRIVALS),
        (seen(GOOD, [TEXT], ATLANTICA), ARRIVALS),
        (seen(REFUSED, ["x"]), ARRIVALS),
        (seen(REJECTED, ["x"]), ARRIVALS),
        (counted(duplicates=1), ARRIVALS),
        (counted(torn=1), ARRIVALS),
        (without(EventStatus.DUPLICATE), COPIES),
        (also(EventStatus.DUPLICATE, GOOD), COPIES),
        (counted(pending=1), RECEIPTS),
        (also(EventStatus.ORPHAN, ""), RECEIPTS),
        (dead(), DEAD),
        (dead(SCRIPT.poison, SCRIPT.poison), DEAD),
        (dead(b"something else"), DEAD),
        (also(EventStatus.DELIVERED, "of nobody"), OTHERS),
    ],
)
def test_the_account_does_not_close_when(change: Change, rule: str) -> None:
    """The rule that is broken says so, whatever the others say."""
    broken = [str(finding) for finding in close(SCRIPT, change(evidence())) if finding.wrong]
    assert any(finding.startswith(rule) for finding in broken), broken


def test_a_finding_names_a_few_and_counts_the_rest() -> None:
    """Ten thousand lines help nobody."""
    found = replace(evidence(), events=[])
    finals = next(str(f) for f in close(SCRIPT, found) if f.rule.startswith(FINALS))
    assert finals.endswith(f"and {len(SCRIPT.messages) - 3} more")


# What is shown.


def test_a_tally_counts_an_event_once_and_knows_when_all_has_come() -> None:
    """By lane and status; not before the last job, copy and final state."""
    events = evidence().events
    for missing in (EventStatus.ACCEPTED, EventStatus.DUPLICATE, EventStatus.DELIVERED, EventStatus.REJECTED):
        incomplete = Tally(SCRIPT)
        incomplete.add(without(missing)(evidence()).events)
        assert not incomplete.complete
    tally = Tally(SCRIPT)
    tally.add(events)
    tally.add(events)
    assert tally.complete
    assert tally.final == len(SCRIPT.messages)
    assert tally.ended == tally.planned
    assert not any(tally.in_flight.values())
    assert tally.of(EventStatus.SUBMITTED, lane=ATLANTICA) == tally.planned[ATLANTICA]
    assert tally.of(EventStatus.DUPLICATE) == SCRIPT.copies


@pytest.mark.e2e
def test_the_demo_closes_its_account() -> None:
    """The whole of it, small, as `make demo` runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "demo", "--messages", "200"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The account closes." in done.stdout
    assert done.stderr == ""
