"""Networks of numbers: learned, remembered for a while, asked for once; and the scripts that share them."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.operators import LOOK_UP, STORE, TTL_S, Learned, Operators, from_tlv
from gateway.store import Patience, Script, Store

ANA, BEA = "+573001234567", "+573109876543"


@pytest.mark.parametrize(
    ("value", "network"),
    [
        (b"732101", "732101"),
        (b"732-101", "732101"),
        (b"73402", "73402"),
        (b"732101\0", "732101"),
        (b"", ""),
        (b"\x07\x32\x01", ""),
        (b"7321012", ""),
        (b"claro", ""),
        ("７３２101".encode(), ""),
    ],
)
def test_a_parameter_is_read_or_nothing(value: bytes, network: str) -> None:
    """Five or six ASCII digits; another form is not guessed at."""
    assert from_tlv(value) == network


def test_what_nobody_knows_is_asked_for_once() -> None:
    """Each number once a batch, and not again soon, whatever the answer."""
    learned = Learned()
    assert learned.missing([ANA, BEA, ANA], 0) == [ANA, BEA]
    learned.fill([ANA, BEA], [b"732101", None], 0)
    assert [learned.get(to, 0) for to in (ANA, BEA)] == ["732101", ""]
    assert learned.missing([ANA, BEA], 299) == []


def test_what_is_known_is_asked_for_again_after_a_while() -> None:
    """Absent after five minutes, known after an hour: receipts go on teaching, and people move."""
    learned = Learned()
    learned.fill([ANA, BEA], [b"732101", None], 0)
    assert learned.missing([ANA, BEA], 300) == [BEA]
    assert learned.missing([ANA, BEA], 3600) == [ANA, BEA]
    assert learned.get(ANA, 3600) == ""


def test_what_receipts_teach_is_known_at_once_and_stored_once() -> None:
    """A campaign's receipts do not write the same again and again; a change of operator is written."""
    learned = Learned()
    learned.teach(ANA, "732101", 0)
    learned.teach(ANA, "732101", 1)
    learned.teach(BEA, "732103", 1)
    assert learned.get(ANA, 1) == "732101"
    assert learned.taught() == [ANA, "732101", BEA, "732103"]
    learned.teach(ANA, "732101", 2)
    assert learned.taught() == []
    learned.teach(ANA, "732123", 3)
    assert learned.taught() == [ANA, "732123"]
    learned.teach(ANA, "732123", 3603)
    assert learned.taught() == [ANA, "732123"]


def test_the_last_of_several_is_stored() -> None:
    """One row a number, however often it changes before it is taken."""
    learned = Learned()
    learned.teach(ANA, "732101", 0)
    learned.teach(ANA, "732103", 0)
    assert learned.taught() == [ANA, "732103"]


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    """Whatever comes by."""
    learned = Learned(capacity=100)
    learned.fill([ANA], [b"732101"], 0)
    for number in range(1000):
        learned.fill([f"+57300{number:07d}"], [None], 0)
        assert learned.get(ANA, 0) == "732101"
        assert len(learned) <= 101


def test_what_waits_to_be_stored_is_bounded_too() -> None:
    """What finds no room is not learned: the next receipt teaches it again."""
    learned = Learned(unstored=2)
    for to in (ANA, BEA, "+573201234567"):
        learned.teach(to, "732101", 0)
    assert learned.taught() == [ANA, "732101", BEA, "732101"]
    learned.teach("+573201234567", "732101", 1)
    assert learned.taught() == ["+573201234567", "732101"]


class Noting(Patience):
    """The store, and whether it was called."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.called = asyncio.Event()

    async def run(self, script: Script, argument: Any) -> Any:
        answer = await super().run(script, argument)
        self.called.set()
        return answer


async def test_a_process_without_jobs_stores_what_its_receipts_teach(store_url: str, namespace: str) -> None:
    """Another one, which has the jobs, finds it."""
    store = Store(store_url)
    patience = Noting(store)
    learns, asks = (Operators(patience, f"{namespace}:", lambda: True) for _ in range(2))
    learns.teach(ANA, "732101")
    running = asyncio.create_task(learns.run())
    await patience.called.wait()
    assert await asks.of([ANA]) == {ANA: "732101"}
    running.cancel()
    await asyncio.wait([running])
    await store.close()


async def test_processes_share_what_they_learn(store_url: str, namespace: str) -> None:
    """What one stored the other finds, for a month; nothing for a number that nobody knows."""
    store = Store(store_url)
    prefix = f"{namespace}:"
    assert await store.run(STORE, [prefix, TTL_S, [ANA, "732101", BEA, "732103"]]) == 2
    answers = await store.run(LOOK_UP, [prefix, ["+573000000000", BEA, ANA]])
    assert answers == [None, b"732103", b"732101"]
    await store.close()
    async with Redis.from_url(store_url) as redis:
        assert TTL_S - 10 < await redis.ttl(f"{prefix}n:{ANA}") <= TTL_S
