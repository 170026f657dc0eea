"""Whom a lane reaches: asked before anything is written, in batches, no oftener than allowed, and remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Disposition
from gateway.model import Message
from gateway.providers import http_reach
from gateway.providers.contract import Call, Failure, Reply, Result, Scope
from gateway.providers.http_answer import HttpAnswer, Refusal
from gateway.providers.http_reach import Known
from gateway.providers.replies import by_status
from tests.providers.http_stage import (
    Plain,
    Request,
    Server,
    Stage,
    Step,
    accept,
    disconnect,
    granted,
    hang,
    reply,
    running,
)

UNREACHABLE = "reroute unreachable"
HANDED_BACK = "throttled put-back"
NOT_REACHED = Failure(Disposition.REROUTE, "404", scope=Scope.RECIPIENT)


class Directory:
    """A JSON list of numbers out, a JSON list of those that can be reached back."""

    def __init__(self, base: str, *, per_s: float, batch: int, kept_s: float) -> None:
        self.per_s = per_s
        self.batch = batch
        self.reachable_s = self.unreachable_s = kept_s
        self.asked_at: list[float] = []
        self._base = base

    def ask(self, numbers: Sequence[str], token: str) -> Call:
        self.asked_at.append(time.monotonic())
        return Call("POST", f"{self._base}/who", (("authorization", f"Bearer {token}"),), msgspec.json.encode(numbers))

    def read(self, reply: Reply) -> Collection[str] | Failure:
        if reply.body.endswith(b"bug"):
            raise KeyError("+573001110000")
        return by_status(reply) if reply.status != 200 else msgspec.json.decode(reply.body, type=list[str])


class Telling(Plain):
    """A `Plain` with a directory; `[]` says of a message that its person is not reached."""

    directory: Directory

    def read(self, messages: Sequence[Message], reply: Reply) -> list[Result]:
        return [NOT_REACHED] if reply.body == b"[]" else super().read(messages, reply)


class Asking(Stage):
    """Sends again what is handed back, as the dispatcher does."""

    directory: Directory

    async def results(self, count: int) -> dict[object, str]:
        said = await super().results(count)
        back = [text for text in self.messages if said.get(text) == HANDED_BACK]
        if not back or not self.port.bound:
            return said
        self.port.submit([(self.messages[text], text) for text in back])
        return said | await self.results(len(back))


class Office(Server):
    """Answers who can be reached: everybody but those whose last digits are in `gone`, unless `steps` say something else."""

    def __init__(self, *gone: str, steps: Sequence[Step] = (), sending: Step = accept) -> None:
        super().__init__(self._answer)
        self.questions: list[list[str]] = []
        self.sent: list[str] = []
        self._gone = gone
        self._replies = list(steps)
        self._sending = sending

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if " /who " not in request.line:
            self.sent += request.texts
            await self._sending(request, writer)
            return
        numbers = request.texts
        self.questions.append(numbers)
        step = self._replies.pop(0) if self._replies else None
        reached = [number for number in numbers if not number.endswith(self._gone)]
        await (step or reply(200, msgspec.json.encode(reached)))(request, writer)


@asynccontextmanager
async def asking(
    office: Office,
    *,
    per_s: float = 1000,
    most: int = 100,
    kept_s: float = 3600,
    grant: bool = False,
    slots: int = 1,
    bound: bool = True,
    **settings: object,
) -> AsyncIterator[Asking]:
    await office.open()
    try:
        base = f"http://127.0.0.1:{office.port}"
        provider = Telling(base, grant=grant)
        provider.directory = Directory(base, per_s=per_s, batch=most, kept_s=kept_s)
        stage = Asking(provider, slots=slots, **settings)
        stage.directory = provider.directory
        async with running(stage):
            await stage.until(lambda: stage.port.bound is bound)
            yield stage
    finally:
        await office.close()


async def test_nobody_is_written_to_who_is_not_reached() -> None:
    """Their messages go elsewhere without a request; the others go, and all were asked about at once."""
    office = Office("0001")
    async with asking(office) as stage:
        assert await stage.outcome("a", "b", "c") == {"a": "id-a", "b": UNREACHABLE, "c": "id-c"}
        assert stage.port.in_flight == 0
    assert office.questions == [["+573001110000", "+573001110001", "+573001110002"]]
    assert sorted(office.sent) == ["a", "c"]


async def test_who_was_asked_about_is_written_to_at_the_lane_s_rate() -> None:
    """The tokens of all were taken when they were submitted: what left together now would be more than the contract allows."""
    office = Office("0001")
    async with asking(office) as stage:
        stage.submit("a", "b", "c")
        said = await Stage.results(stage, 3)
    assert list(said.items()) == [("b", UNREACHABLE), ("c", HANDED_BACK), ("a", HANDED_BACK)]
    assert office.sent == []


async def test_what_was_not_sent_is_apart_from_what_was_answered() -> None:
    """It made no round trip, and says nothing of how long one takes."""
    async with asking(Office("0001")) as stage:
        await stage.outcome("a", "b", "c")
        stage.submit("a", "b", "c")
        await stage.until(lambda: not stage.port.in_flight)
        kinds = {frozenset((type(answer), answer.context) for answer in batch) for batch in stage.inbox.answers}
    assert frozenset({(Refusal, "b")}) in kinds
    assert frozenset.union(*kinds) == {(HttpAnswer, "a"), (Refusal, "b"), (HttpAnswer, "c")}


@pytest.mark.parametrize("known", ["reached", "not reached"])
async def test_an_answer_is_remembered(known: str) -> None:
    """Of either kind: the next message to the same person needs none."""
    office = Office(*(() if known == "reached" else ("0000",)))
    async with asking(office) as stage:
        said = [await stage.outcome(text) for text in ("a", "b")]
    assert said == ([{"a": "id-a"}, {"b": "id-b"}] if known == "reached" else [{"a": UNREACHABLE}, {"b": UNREACHABLE}])
    assert len(office.questions) == 1


async def test_an_answer_is_not_believed_for_ever() -> None:
    """After its time it is asked again."""
    office = Office()
    async with asking(office, kept_s=0.02) as stage:
        await stage.outcome("a")
        await asyncio.sleep(0.03)
        await stage.outcome("b")
    assert len(office.questions) == 2


async def test_a_refusal_for_the_person_is_remembered_too() -> None:
    """What sending itself was told counts more than what was said before."""
    office = Office(sending=reply(404, b"[]"))
    async with asking(office) as stage:
        assert await stage.outcome("a") == {"a": "reroute 404"}
        assert await stage.outcome("b") == {"b": UNREACHABLE}
    assert (len(office.questions), office.sent) == (1, ["a"])


async def test_a_question_has_a_bound() -> None:
    """More than that are asked about in the next one."""
    office = Office("0004")
    async with asking(office, most=2, concurrency=5) as stage:
        said = await stage.outcome(*"abcde")
    assert said == {"a": "id-a", "b": "id-b", "c": "id-c", "d": "id-d", "e": UNREACHABLE}
    assert [len(question) for question in office.questions] == [2, 2, 1]


@pytest.mark.parametrize("slots", [1, 3])
async def test_no_more_questions_a_second_than_are_allowed(slots: int) -> None:
    """Of which a process has the part that belongs to its slots."""
    async with asking(Office(), per_s=20, most=1, slots=slots) as stage:
        await stage.outcome("a", "b", "c")
        asked = stage.directory.asked_at
    assert len(asked) == 3
    assert (
        asked[2] - asked[0] > slots / 20
    )  # two pauses, but for what a busy machine takes between the clock and the question


async def test_a_person_is_asked_about_once_however_many_messages_wait() -> None:
    """While it is asked about, no question names it again."""
    office = Office()
    async with asking(office) as stage:
        stage.submit("a")
        stage.submit("b")
        assert await stage.results(2) == {"a": "id-a", "b": "id-b"}
    assert office.questions == [["+573001110000"]]


@pytest.mark.parametrize(
    "step",
    [reply(429, b"", "Retry-After: 60"), reply(400, b""), reply(200, b"<html>"), disconnect, hang],
    ids=["too often", "refused", "nonsense", "disconnect", "silence"],
)
async def test_while_nobody_tells_all_are_written_to(step: Step, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it, and it is left alone for a while; the log says so without a number."""
    office = Office("0000", steps=[step])
    async with asking(office, timeout_s=0.3, connect_timeout_s=0.2, reconnect_min_s=60, reconnect_max_s=60) as stage:
        assert await stage.outcome("a") == {"a": "id-a"}
        assert await stage.outcome("b") == {"b": "id-b"}
    assert len(office.questions) == 1
    assert "nobody tells whom the lane reaches" in caplog.text
    assert "300111" not in caplog.text


async def test_messages_do_not_wait_for_an_answer_as_long_as_for_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever only saves requests must not hold the window."""
    monkeypatch.setattr(http_reach, "_ANSWER_S", 0.1)
    async with asking(Office("0000", steps=[hang]), timeout_s=600, reconnect_min_s=60, reconnect_max_s=60) as stage:
        assert await stage.outcome("a") == {"a": "id-a"}


async def test_it_is_asked_again_after_a_while() -> None:
    """And then whom it does not reach is written to no more."""
    office = Office("0000", steps=[reply(503, b"")])
    async with asking(office) as stage:
        reach = stage.shared.reach
        assert reach
        assert await stage.outcome("a") == {"a": "id-a"}
        await stage.until(lambda: reach.of("+573001110000") is False)
        assert await stage.outcome("b") == {"b": UNREACHABLE}


async def test_a_question_carries_the_grant() -> None:
    """As messages do."""
    office = Office()
    office.tokens = [granted("t1")]
    async with asking(office, grant=True) as stage:
        await stage.outcome("a")
    assert {request.headers["authorization"] for request in office.requests} == {"Bearer t1"}


async def test_nobody_is_asked_about_while_there_is_no_grant() -> None:
    """Messages are made ready before the lane is up, at every start: they are asked about when they are submitted."""
    office = Office("0000")
    wanted, ready = asyncio.Event(), asyncio.Event()

    async def when_it_is_given(request: Request, writer: asyncio.StreamWriter) -> None:
        wanted.set()
        await ready.wait()
        await granted("t1")(request, writer)

    office.tokens = [when_it_is_given]
    async with asking(office, grant=True, bound=False) as stage:
        assert stage.shared.reach
        stage.shared.reach.of("+573001110000")
        await wanted.wait()
        ready.set()
        await stage.until(lambda: stage.port.bound)
        assert await stage.outcome("a") == {"a": UNREACHABLE}
    assert [request.headers["authorization"] for request in office.requests] == ["Bearer t1"]


async def test_closing_hands_back_whom_it_was_asked_about() -> None:
    """Nothing was written to them, and whoever opens it again asks about them again."""
    office = Office(steps=[hang])
    async with asking(office, drain_s=5) as stage:
        stage.submit("a")
        await stage.until(lambda: office.questions)
        await stage.port.close()
        assert await stage.results(1) == {"a": "throttled put-back"}
        assert office.sent == []
        stage.port = type(stage.port)(stage.shared, stage.inbox, lambda: None)
        stage.port.start()
        assert await stage.outcome("a") == {"a": "id-a"}
    assert len(office.questions) == 2


async def test_slots_share_what_is_known() -> None:
    """What one was told the other knows, and it is told when the other's question is answered."""
    office = Office("0000")
    async with asking(office, slots=2) as stage:
        other = Stage(Plain(""))
        other.port = type(stage.port)(stage.shared, other.inbox, lambda: None)
        async with running(other):
            stage.submit("a")
            other.submit("b")
            assert await stage.results(1) == {"a": UNREACHABLE}
            assert await other.results(1) == {"b": UNREACHABLE}
        assert await stage.outcome("c") == {"c": UNREACHABLE}
    assert len(office.questions) == 1


async def test_a_bug_in_reading_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """All are written to, and the log does not quote it."""
    office = Office(steps=[reply(200, b"[]bug")])
    async with asking(office) as stage:
        assert await stage.outcome("a") == {"a": "id-a"}
    assert "error=KeyError" in caplog.text
    assert "300111" not in caplog.text


# What is known of numbers.

_NUMBERS = st.sampled_from([f"+57{n}" for n in range(8)])


@given(st.lists(st.tuples(_NUMBERS, st.booleans(), st.floats(1, 9), st.floats(0, 3))), st.integers(2, 8))
def test_what_is_known_is_what_was_learned_last_within_its_time_and_the_bound(
    steps: list[tuple[str, bool, float, float]], capacity: int
) -> None:
    """Nothing else is ever said, and there are never more than the bound."""
    known = Known(capacity)
    model: dict[str, tuple[bool, float]] = {}
    now = 0.0
    for number, reachable, seconds, wait in steps:
        known.learn(number, reachable, now + seconds)
        model[number] = (reachable, now + seconds)
        assert known.get(number, now) is reachable
        now += wait
        assert len(known) <= capacity
        for other, (said, until) in model.items():
            assert known.get(other, now) in ((None, said) if now < until else (None,))


def test_who_is_asked_for_often_stays_known() -> None:
    """The longest unused leave first."""
    known = Known(4)
    known.learn("+571", True, 10.0)
    for number in range(20):
        known.learn(f"+58{number}", False, 10.0)
        assert known.get("+571", 1.0) is True
    assert known.get("+580", 1.0) is None
