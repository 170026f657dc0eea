"""The soak: what it promises, when things go wrong, and a very short one."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import report, soak, tables
from benchmarks.faults import Calamities, kill_worker
from benchmarks.settings import EMBEDDED
from benchmarks.soak import Mix, verdicts

GOOD: dict[str, Any] = {
    "capacity_per_s": 10_000.0,
    "offered_per_s": 7000.0,
    "first_workers": 1,
    "lost": 0,
    "duplicates": 0,
    "duplicates_bound": 0,
    "in_doubt": 800,
    "incidents": 2,
    "max_binds": 4,
    "faults": [{"back_after_s": 10.0}],
    "rss_slope_mb_per_h": 19.0,
    "files_early": 20,
    "files_late": 22,
}
MIX = Mix(window=100, binds=4)


def test_a_run_that_keeps_every_promise_keeps_them_all() -> None:
    """A headline has no usual second to come back to, and is offered all that is carried."""
    kept = verdicts(GOOD, MIX, 1800, headline=False)
    assert all(kept.values())
    assert kept.keys() - verdicts(GOOD, MIX, 1800, headline=True).keys() == {
        "70 % of capacity offered",
        "p99 back in time",
    }


@pytest.mark.parametrize(
    ("what", "broken"),
    [
        ({"offered_per_s": 6900.0}, "70 % of capacity offered"),
        ({"first_workers": 2}, "first worker lived all the time"),
        ({"lost": 1}, "nothing lost"),
        ({"duplicates": 1}, "duplicates within their bound"),
        ({"in_doubt": 801}, "in doubt at most what was in flight"),
        ({"max_binds": 5}, "binds within the contract"),
        ({"faults": [{"back_after_s": 10.1}]}, "p99 back in time"),
        ({"faults": [{"back_after_s": 0.0}, {"back_after_s": None}]}, "p99 back in time"),
        ({"rss_slope_mb_per_h": 21.0}, "memory flat"),
        ({"files_late": 23}, "descriptors flat"),
    ],
)
def test_a_promise_that_was_not_kept_is_named(what: dict[str, Any], broken: str) -> None:
    """And no other."""
    kept = verdicts(GOOD | what, MIX, 1800, headline=False)
    assert [promise for promise, good in kept.items() if not good] == [broken]


def test_what_is_offered_beside_other_work_says_nothing_of_time() -> None:
    """Nobody has asked what can be carried."""
    kept = verdicts(GOOD | {"capacity_per_s": None, "faults": [{"back_after_s": None}]}, MIX, 1800, headline=False)
    assert all(kept.values())
    assert not {"70 % of capacity offered", "p99 back in time"} & kept.keys()


def test_a_short_run_says_nothing_of_growth() -> None:
    """What warms up looks like a leak."""
    kept = verdicts(GOOD | {"rss_slope_mb_per_h": 5000.0}, MIX, 180, headline=False)
    assert not {"memory flat", "descriptors flat"} & kept.keys()


async def test_things_go_wrong_in_turn_until_it_is_over() -> None:
    """Each with when it began and when it was over; the last is brought to its end."""
    happened: list[str] = []

    def fault(name: str) -> Any:
        async def happen(here: Any, gateway: Any) -> None:
            await asyncio.sleep(0)
            happened.append(name)

        return happen

    began = time.time()
    wrong = Calamities(None, None, {name: fault(name) for name in "ab"}, 0.001)  # type: ignore[arg-type]
    await wrong.run(lambda: len(happened) == 3)
    assert happened == [name for name, _, _ in wrong.log] == ["a", "b", "a"]
    assert all(began <= start <= over for _, start, over in wrong.log)


async def test_what_could_not_happen_is_not_counted() -> None:
    """A worker that is down already cannot be killed: its kill would excuse what else is in doubt."""
    turns: list[str] = []

    class NobodyThere:
        def workers(self) -> dict[int, Any]:
            turns.append("look")
            return {}

    wrong = Calamities(None, NobodyThere(), {"worker killed": kill_worker}, 0.001)  # type: ignore[arg-type]
    await wrong.run(lambda: len(turns) == 2)
    assert wrong.log == []


async def test_a_first_worker_that_was_started_again_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is the same; its memory says nothing about half an hour."""
    lives = iter([11, 11, 12])

    class Process:
        def __init__(self, pid: int) -> None:
            self.pid = pid

        def memory_info(self) -> Any:
            return SimpleNamespace(rss=1e8)

        def num_fds(self) -> int:
            return 20

    monkeypatch.setattr(soak, "_LOOK_S", 0.0)
    here, load, tally = SimpleNamespace(pids={}), SimpleNamespace(published=0), soak.Tally(1)
    gateway = SimpleNamespace(workers=lambda: {0: Process(next(lives))})
    vitals = soak.Vitals(here, gateway, load, tally)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="StopIteration"):
        await vitals.run()
    assert (len(vitals.rows), vitals.first_workers) == (3, {11, 12})


@pytest.mark.faults
async def test_a_very_short_soak_closes_its_account() -> None:
    """Nothing is lost or doubled; how soon it recovered is not for tests."""
    found = await soak.run(12, EMBEDDED, headline=False)
    happened = [fault["fault"] for fault in found["faults"]]
    # On a machine that is busy there is no time for all of them.
    assert happened[:2] == ["worker killed", "SMSC disconnects"]
    assert (found["lost"], found["duplicates"]) == (0, 0)
    assert found["verdicts"]["in doubt at most what was in flight"]
    assert tables.of("soak", found)
    assert report.plots("soak", found)
