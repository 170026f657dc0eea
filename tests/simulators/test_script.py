"""What happens next: the script first, the behaviour's shares behind it."""

from __future__ import annotations

import pytest

from gateway.simulators.behaviour import Behaviour, Fault
from gateway.simulators.script import Refusal, Script, Scripted, Step


@pytest.mark.parametrize(
    "wrong",
    [
        {"receipt_ratio": 1.1},
        {"read_ratio": -0.1},
        {"errors": {"1": 0.6, "2": 0.6}},
        {"failures": {"1": -0.5}},
        {"latency_s": -1},
        {"read_s": float("nan")},
        {"slow_octet_s": 0},
        {"callback_batch": 0},
        {"error_status": 99},
    ],
)
def test_a_behaviour_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    """With the name of the knob."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Behaviour(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{}, {"code": "1", "fault": "reset"}, {"code": "1", "times": 0}])
def test_a_line_of_the_script_is_a_code_or_a_fault(wrong: dict[str, object]) -> None:
    """Some number of times."""
    with pytest.raises(ValueError, match=r"code|times"):
        Scripted(**wrong)  # type: ignore[arg-type]


def test_the_script_is_followed_in_order_and_used_up() -> None:
    """Each line so many times, then the behaviour."""
    script = Script(Behaviour(rejected={"1": "9"}))
    script.add(Scripted(code="a", times=2, status=429, retry_after="3"))
    script.add(Scripted(code="b"))
    assert script.unused == 3
    first = Refusal("a", 429, "3")
    assert [script.refusal("1") for _ in range(4)] == [first, first, Refusal("b"), Refusal("9")]
    assert script.unused == 0


def test_a_line_for_one_recipient_waits_for_them() -> None:
    """While others go on."""
    script = Script(Behaviour())
    script.add(Scripted(code="a", recipient="1"))
    assert [script.refusal("2"), script.refusal("1"), script.refusal("1")] == [None, Refusal("a"), None]


def test_codes_and_faults_do_not_wait_for_each_other() -> None:
    """A request is asked for its fault once, and for the code of each message."""
    script = Script(Behaviour())
    script.add(Scripted(code="a"))
    script.add(Scripted(fault="reset"))
    assert (script.fault("1"), script.fault("1"), script.refusal("1")) == ("reset", None, Refusal("a"))


def test_shares_are_met_in_the_long_run() -> None:
    """Of codes and of faults."""
    script = Script(Behaviour(errors={"a": 0.2, "b": 0.1}, faults={"slow": 0.3}), seed=1)
    drawn = [script.refusal("1") for _ in range(5000)]
    assert 900 < drawn.count(Refusal("a")) < 1100
    assert 400 < drawn.count(Refusal("b")) < 600
    assert 1350 < [script.fault("1") for _ in range(5000)].count("slow") < 1650


@pytest.mark.parametrize(
    ("behaviour", "steps"),
    [
        ({}, [Step(0, "sent"), Step(0, "delivered")]),
        ({"receipt_ratio": 0}, []),
        (
            {"sent_s": 1, "delivered_s": 2, "read_s": 4, "read_ratio": 1},
            [Step(1, "sent"), Step(3, "delivered"), Step(7, "read")],
        ),
        ({"sent_s": 1, "failures": {"131026": 1}}, [Step(1, "failed", "131026")]),
        ({"read_ratio": 1, "delivered_skipped": 1}, [Step(0, "sent"), Step(0, "read")]),
        ({"delivered_skipped": 1}, [Step(0, "sent"), Step(0, "delivered")]),
        ({"receipts_reordered": 1, "delivered_s": 2}, [Step(0, "delivered"), Step(0, "sent")]),
        (
            {"receipts_duplicated": 1, "delivered_s": 2},
            [Step(0, "sent"), Step(0, "sent"), Step(2, "delivered"), Step(2, "delivered")],
        ),
    ],
)
def test_reports_follow_the_behaviour(behaviour: dict[str, object], steps: list[Step]) -> None:
    """States and their times."""
    assert Script(Behaviour(**behaviour)).steps() == steps  # type: ignore[arg-type]


def test_latency_has_a_jitter_and_a_tail() -> None:
    """Never less than what it adds to; the tail's mean is the one that was asked for."""
    script = Script(Behaviour(latency_s=1, latency_jitter_s=0.5, latency_tail_s=2), seed=1)
    drawn = [script.latency() for _ in range(5000)]
    assert min(drawn) >= 1
    assert 3.1 < sum(drawn) / len(drawn) < 3.4
    assert max(drawn) > 8


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [("slow", True), ("close", True), ("reset", False), ("garbage", False), ("bare_503", False), ("bare_429", False)],
)
def test_a_right_answer_is_always_of_an_accepted_message(fault: Fault, accepted: bool) -> None:
    """What says nothing is by share; what says no is never."""
    assert Script(Behaviour(faults_accepted=0)).accepts_under(fault) is accepted
    assert Script(Behaviour()).accepts_under(fault) is (fault not in ("bare_503", "bare_429"))
