"""The account at the end: what was published, what the events say and what the operators saw have to agree. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from gateway.demo.script import Expected, Script
from gateway.model import FINAL, Event, EventStatus

_EXAMPLES = 3


class Operator(Struct, frozen=True):
    """What one operator saw."""

    texts: Mapping[str, Sequence[str]]
    """Of whole messages, by destination without the plus sign."""
    duplicates: int
    """Parts that came again."""
    torn: int
    """Parts that are missing to messages of which others came."""
    pending: int
    """Receipts that the gateway has not answered."""
    read: Collection[str] = ()
    """Destinations of which it said that somebody has read the message."""
    beyond: int = 0
    """Messages that it refused because they were more than it allows."""


class Evidence(Struct, frozen=True):
    """Everything that can be known from outside of the gateway."""

    events: Sequence[Event]
    """As they were read; one may be there twice."""
    operators: Mapping[str, Operator]
    """By the name of the lane."""
    dead: Sequence[bytes]
    """The octets of what was put aside."""


class Finding(Struct, frozen=True):
    """One rule of the account, and where it does not hold."""

    rule: str
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        if not self.wrong:
            return self.rule
        examples = ", ".join(self.wrong[:_EXAMPLES])
        more = f" and {len(self.wrong) - _EXAMPLES:,} more" if len(self.wrong) > _EXAMPLES else ""
        return f"{self.rule}. Not so: {examples}{more}"


def close(script: Script, evidence: Evidence) -> list[Finding]:
    """Check every rule. The account closes if no finding has anything wrong."""
    distinct = {event.event_id: event for event in evidence.events}.values()
    of_message: defaultdict[str, list[Event]] = defaultdict(list)
    of_jobs: list[Event] = []
    for event in distinct:
        if event.status is EventStatus.ACCEPTED:
            of_jobs.append(event)
        elif event.status is not EventStatus.SHORT:
            of_message[event.message_id].append(event)
    rules: tuple[tuple[str, Iterable[str]], ...] = (
        ("every job was accepted once, with all of its recipients", _jobs(script, of_jobs)),
        ("every message has exactly one final state", _finals(script, of_message)),
        ("what is wrong was rejected, with its reason", _rejections(script, of_message)),
        ("every final state follows from what the operator said", _histories(script, of_message)),
        ("whoever has read a message is known to have read it", _readings(script, of_message, evidence.operators)),
        ("every operator saw each of its messages exactly once, word for word", _arrivals(script, evidence.operators)),
        ("no operator was sent more than it allows", _limits(evidence.operators)),
        ("every second copy was recognised, and none was sent", _copies(script, of_message)),
        ("every receipt found its message and was answered", _receipts(of_message, evidence.operators)),
        ("what is no job was put aside as it was, and nothing else", _dead(script, evidence.dead)),
        ("no event is about anything else", _strangers(script, of_message)),
    )
    return [Finding(rule, tuple(wrong)) for rule, wrong in rules]


_OfMessage = Mapping[str, Sequence[Event]]


def _jobs(script: Script, accepted: Sequence[Event]) -> Iterator[str]:
    if len(accepted) != script.jobs:
        yield f"{len(accepted):,} of {script.jobs:,} jobs"
    recipients = sum(event.recipients for event in accepted)
    if recipients != script.recipients:
        yield f"{recipients:,} of {script.recipients:,} recipients"


def _finals(script: Script, events: _OfMessage) -> Iterator[str]:
    for message_id in script.messages:
        states = [event.status for event in events.get(message_id, ()) if event.status in FINAL]
        if states == [EventStatus.DELIVERED, EventStatus.READ]:
            continue  # the second includes the first
        if len(states) != 1:
            yield f"{message_id} is {' and '.join(states) or 'without one'}"
        elif states[0] is EventStatus.UNKNOWN:
            yield f"{message_id} is in doubt"


def _rejections(script: Script, events: _OfMessage) -> Iterator[str]:
    for message_id, message in script.messages.items():
        codes = {event.error_code for event in events.get(message_id, ()) if event.status is EventStatus.REJECTED}
        if codes != ({message.rejected} if message.rejected else set()):
            yield f"{message_id} {' '.join(sorted(codes)) or 'is not'}"


def _histories(script: Script, events: _OfMessage) -> Iterator[str]:
    for message_id, message in script.messages.items():
        if message.rejected:
            continue
        own = [event for event in events.get(message_id, ()) if event.status is not EventStatus.DUPLICATE]
        submitted = [event for event in own if event.status is EventStatus.SUBMITTED]
        final = [event for event in own if event.status in FINAL]
        before = [event.lane for event in own if event.status is EventStatus.FALLBACK]
        if before != ([message.refused] if message.refused and not message.fails else []):
            yield f"{message_id} took another way"
        elif any(event.lane != message.lane for event in own if event.status is not EventStatus.FALLBACK):
            yield f"{message_id} was not for this lane"
        elif message.fails:
            if submitted or any(event.status is not EventStatus.FAILED for event in final):
                yield f"{message_id} was refused and is not failed"
        elif len(submitted) != 1:
            yield f"{message_id} was submitted {len(submitted)} times"
        elif any(_contradicts(submitted[0], event) for event in final):
            yield f"{message_id} has a final state of another message"


def _contradicts(submitted: Event, final: Event) -> bool:
    return final.time < submitted.time or final.parts != submitted.parts or not _same_id(submitted, final)


def _same_id(submitted: Event, final: Event) -> bool:
    """The receipt that completes a message may be that of any of its parts."""
    return final.provider_message_id in (submitted.provider_message_ids or (submitted.provider_message_id,))


def _readings(script: Script, events: _OfMessage, operators: Mapping[str, Operator]) -> Iterator[str]:
    for message_id, message in script.messages.items():
        said = any(event.status is EventStatus.READ for event in events.get(message_id, ()))
        operator = operators.get(message.lane)
        if said != (operator is not None and message.to.removeprefix("+") in operator.read):
            yield f"{message_id} {'is not' if said else 'is'}"


def _limits(operators: Mapping[str, Operator]) -> Iterator[str]:
    return (f"{operator.beyond:,} at {lane}" for lane, operator in operators.items() if operator.beyond)


def _arrivals(script: Script, operators: Mapping[str, Operator]) -> Iterator[str]:
    for lane, operator in operators.items():
        left = dict(operator.texts)
        for message_id, message in script.messages.items():
            if message.lane == lane:
                wanted = [] if message.fails else [message.text]
                texts = left.pop(message.to.removeprefix("+"), [])
                if texts != wanted:
                    yield f"{message_id} at {lane}: {_difference(message, texts)}"
        if left:
            yield f"{len(left):,} that {lane} should never have seen"
        if operator.duplicates or operator.torn:
            yield f"{operator.duplicates:,} parts too many and {operator.torn:,} missing at {lane}"


def _difference(message: Expected, texts: Sequence[str]) -> str:
    if message.fails:
        return "accepted"
    return f"{len(texts)} times" if len(texts) != 1 else "another text"


def _copies(script: Script, events: _OfMessage) -> Iterator[str]:
    found = sum(event.status is EventStatus.DUPLICATE for own in events.values() for event in own)
    if found != script.copies:
        yield f"{found:,} of {script.copies:,}"


def _receipts(events: _OfMessage, operators: Mapping[str, Operator]) -> Iterator[str]:
    orphans = Counter(event.lane for own in events.values() for event in own if event.status is EventStatus.ORPHAN)
    for lane, operator in operators.items():
        if orphans[lane] or operator.pending:
            yield f"{orphans[lane]:,} orphans and {operator.pending:,} unanswered at {lane}"


def _dead(script: Script, dead: Sequence[bytes]) -> Iterator[str]:
    if list(dead) != [script.poison]:
        yield f"{len(dead):,} records"


def _strangers(script: Script, events: _OfMessage) -> Iterator[str]:
    for message_id, own in events.items():
        if message_id not in script.messages and any(event.status is not EventStatus.ORPHAN for event in own):
            yield message_id or "an event without a message"
