"""How long is waited before an answer is given up, where nobody says otherwise."""

from __future__ import annotations

from gateway import config
from gateway.http_lane_config import HttpSettings
from smpp.link import BindConfig

_SLOWEST_S = 30
"""Operators under load take seconds; what is given up sooner is in doubt, and perhaps sent twice."""


def test_an_answer_is_waited_for_longer_than_any_operator_takes() -> None:
    """On every kind of lane; an enquire_link, which costs nothing, is given up sooner."""
    lane = config.Lane(name="x", host="h", port=1, system_id="s", password=config.Secret("x"), rate=1)
    bind = BindConfig(host="h", port=1, system_id="s")
    assert lane.response_timeout_s >= _SLOWEST_S
    assert bind.response_timeout >= _SLOWEST_S
    assert HttpSettings().timeout_s >= _SLOWEST_S
    assert bind.enquire_timeout < _SLOWEST_S
