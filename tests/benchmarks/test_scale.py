"""Scale: what is compared, what the model assumes, and one case that is really carried."""

from typing import Any

import pytest

from benchmarks.load import TenantCampaign
from benchmarks.scale import Case, cases, measure, model, rises
from benchmarks.settings import EMBEDDED
from gateway.model import decode_job


def row(cpu_us: float, ratio: float = 1.0, **other: Any) -> dict[str, Any]:
    elsewhere = {"store": 20.0, "broker": 40.0}
    plain = {"lanes": 1, "slots": 1, "workers": 1, "messages": 1000, "cpu_us_per_message_elsewhere": elsewhere}
    return plain | {"cpu_us_per_message": cpu_us, "ratio": ratio} | other


def test_the_cases_differ_in_what_grows() -> None:
    """1, 10 and 50 lanes; 1, 20 and 200 slots; up to five times the backlog; 1 and 2 workers for as many slots."""
    found = cases(1000)
    assert [case.lanes for case in found["lanes"]] == [1, 10, 50]
    assert [case.slots for case in found["slots"]] == [1, 20, 200]
    assert [case.messages for case in found["backlog"]] == [1000, 2000, 5000]
    assert [(case.workers, case.slots) for case in found["workers"]] == [(1, 4), (2, 4)]


def test_jobs_belong_to_their_tenants_in_turn() -> None:
    """Which is what the routes of so many lanes go by."""
    campaign = TenantCampaign(3, messages=40, per_job=10)
    assert [decode_job(campaign.job(number)).tenant for number in range(4)] == ["t0", "t1", "t2", "t0"]


def test_the_model_adds_for_every_worker_what_the_second_added_and_the_store_bounds_it() -> None:
    """50 µs alone and 60 for two: 90 µs each for five; 20 µs of the store are 50,000 a second."""
    found = model(row(50), row(60))
    assert [line["cpu_us_per_message"] for line in found["rows"]] == [50, 60, 80, 120, 200]
    assert [line["of_workers_per_s"] for line in found["rows"]] == [20_000, 33_333, 50_000, 66_667, 80_000]
    assert [line["messages_per_s"] for line in found["rows"]] == [20_000, 33_333, 50_000, 50_000, 50_000]
    assert found["store_saturates_at_workers"] == 8


def test_a_second_worker_that_was_cheaper_adds_nothing_and_a_store_too_quick_to_time_has_a_cost() -> None:
    """Both are noise: a model that wins by adding workers, or divides by nothing, is none."""
    quick = row(50) | {"cpu_us_per_message_elsewhere": {"store": 0.0}}
    found = model(quick, row(45))
    assert found["added_us_per_worker"] == 0
    assert found["store_most_per_s"] == 100_000


def test_what_rises_is_named_with_how_much() -> None:
    """By the ratio to smpplib; a tenth more is noise."""
    growth = {
        "lanes": [row(50), row(90, 1.1, lanes=10), row(50, 1.3, lanes=50)],
        "backlog": [row(50), row(50, messages=9)],
    }
    assert rises(growth) == ["lanes: 1.30 times the CPU of a message at 50 instead of 1"]


@pytest.mark.e2e
async def test_a_case_is_carried_by_its_workers_over_its_lanes() -> None:
    """All arrive once, over two lanes of two binds each."""
    found = await measure(Case(messages=200, lanes=2, binds=2), EMBEDDED)
    assert (found["lost"], found["duplicates"], found["slots"]) == (0, 0, 4)
    assert found["cpu_us_per_message"] > 0
