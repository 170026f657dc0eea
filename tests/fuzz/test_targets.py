"""The rules of every target hold for what it starts from, and for a few changes of it: the millions are `make fuzz`."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.fuzz import mutate
from tests.fuzz.targets import TARGETS, kept

_CHANGES = 500
"""Of each target, in this test."""

every = pytest.mark.parametrize("name", TARGETS)


@every
def test_seeds_hold(name: str) -> None:
    """And most are understood: a fuzzer that starts from what is refused gets nowhere."""
    target = TARGETS[name]
    understood = [target.run(octets) for octets in target.seeds()]
    assert len(understood) > 5
    assert sum(understood) >= len(understood) / 20


@every
def test_kept_inputs_hold(name: str) -> None:
    """What earlier runs found worth keeping: each reached something that no other did."""
    inputs = kept(name)
    assert inputs
    for octets in inputs:
        TARGETS[name].run(octets)


@every
def test_changes_hold(name: str) -> None:
    """Of bodies as what they are, and of octets as they come; the same changes every time."""
    target = TARGETS[name]
    random = Random(name)
    inputs = [*target.seeds(), *kept(name)]
    for _ in range(_CHANGES):
        target.run(mutate.any_of(inputs, target.head, random)[: target.longest])


def test_a_changed_body_is_one_still() -> None:
    """JSON stays JSON and a form a form; what is neither is left to others."""
    random = Random(1)
    before = {"a": [1, {"b": "c"}], "d": "é"}
    bodies = [mutate.body(json.dumps(before).encode(), random) for _ in range(200)]
    assert all(body is not None and json.loads(body) is not Ellipsis for body in bodies)
    assert len(set(bodies)) > 100
    assert mutate.body(b"a=b&c=d", random) is not None
    assert mutate.body(b"\x00\x01", random) is None
    assert mutate.body(b"{", random) is None
