"""Adaptive stays between its floor and its contract, comes back in time, and never goes faster for a complaint more."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ratelimit.adaptive import Adaptive

CONTRACT = 100.0
SLACK = 1e-9
"""Rounding."""


class Step(NamedTuple):
    """What happens after some seconds: a complaint of what was sent `age` ago, answers, a restart, a change, or nothing."""

    pause: float
    age: float
    what: str
    value: Any


settings = st.fixed_dictionaries(
    {
        "cut": st.floats(0.1, 1),
        "recover_s": st.floats(0.5, 200),
        "floor": st.floats(0.001, 0.5),
        "hold_s": st.sampled_from([0.0, 0.2, 1.0, 30.0]),
        "ramp_s": st.sampled_from([0.0, 10.0]),
    }
)
pauses = st.one_of(st.just(0.0), st.sampled_from([0.0625, 0.5, 0.9375, 1.0]), st.floats(0, 5), st.floats(0, 100))
whats = st.one_of(
    st.tuples(st.just("throttled"), st.none()),
    st.tuples(st.just("throttled"), st.sampled_from([0.0, 0.1, 5.0])),
    st.tuples(st.just("answered"), st.floats(0.001, 20)),
    st.tuples(st.just("restarted"), st.none()),
    st.tuples(st.just("set_contract"), st.sampled_from([0.0, 1.0, 40.0, 100.0, 1000.0])),
    st.tuples(st.just("configure"), settings),
    st.tuples(st.just("nothing"), st.none()),
)
steps = st.lists(st.builds(lambda pause, age, what: Step(pause, age, *what), pauses, pauses, whats), max_size=40)


def apply(subject: Adaptive, step: Step, now: float) -> None:
    match step.what:
        case "throttled":
            subject.throttled(now - step.age, now, step.value)
        case "answered":
            subject.answered(200, step.value, now)
        case "restarted":
            subject.restarted(now)
        case "set_contract":
            subject.set_contract(step.value, now)
        case "configure":
            subject.configure(now, **step.value)


@given(how=settings, steps=steps)
def test_between_floor_and_contract_and_back_in_time(how, steps):
    """Below the floor only while held or paused; the whole contract again once it has had the time to recover."""
    subject, now, contract, held_until, ramp_from = Adaptive(CONTRACT, 0.0, **how), 0.0, CONTRACT, 0.0, 0.0
    for step in steps:
        now += step.pause
        apply(subject, step, now)
        if step.what == "throttled":
            held_until = max(held_until, now + (how["hold_s"] if step.value is None else step.value))
        if step.what == "restarted":
            ramp_from = now
        if step.what == "set_contract":
            contract = step.value
        if step.what == "configure":
            how = step.value
        rate = subject.rate(now)
        assert rate <= contract
        assert rate == 0 if now < held_until else rate >= how["floor"] * contract - SLACK
        assert rate == subject.rate(now)
    # Slow answers hold back for a second more.
    recovered = max(now + 1.0, held_until) + how["recover_s"]
    assert subject.rate(max(recovered, ramp_from + how["ramp_s"])) >= contract - SLACK


@examples(max_examples=300)
@given(how=settings, steps=steps, extra=st.dictionaries(st.integers(0, 40), pauses, min_size=1, max_size=5))
def test_a_complaint_more_never_raises_the_rate(how, steps, extra):
    """Now or at any time later, whatever else happens: not even by falling into one with the complaint after it."""
    spared, blamed, now = Adaptive(CONTRACT, 0.0, **how), Adaptive(CONTRACT, 0.0, **how), 0.0
    for index, step in enumerate(steps):
        now += step.pause
        if index in extra:
            blamed.throttled(now - extra[index], now)
        apply(spared, step, now)
        apply(blamed, step, now)
        for later in (0.0, 0.3, 1.0, 7.0, 50.0):
            assert blamed.rate(now + later) <= spared.rate(now + later) + SLACK


@given(how=settings, bounces=st.lists(st.floats(0, 60), min_size=1, max_size=20))
def test_a_window_of_complaints_cuts_once(how, bounces):
    """However many bounce, and for however long: it was sent before the first did."""
    subject = Adaptive(CONTRACT, 0.0, **(how | {"hold_s": 1.0}))
    for now in sorted(bounces):
        subject.throttled(0.0, now)
    kept = max(how["cut"], how["floor"])
    assert abs(subject.rate(max(bounces) + 1.0) - kept * CONTRACT) <= SLACK
