"""Parts of what a person writes: none is answered before it is sure that what came will be published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.delay import Ladder, Waiting
from gateway.inbound import Inbound
from gateway.model import Inbound as Written
from gateway.outbox import Outbox
from gateway.store import Patience, Store
from smpp.constants import Tag
from smpp.pdu import DataSM, DeliverSM
from tests.support.dispatching import NOW, Broker

WAIT_S = 60


class Process:
    """What joins parts in one process, with a broker that keeps what it is sent."""

    def __init__(self, store: Store, namespace: str) -> None:
        self.broker = Broker()
        self.inbound = Inbound(
            store=Patience(store),
            prefix=f"{namespace}:",
            outbox=Outbox(self.broker),
            ladder=Ladder({1: ("delay.1", 1)}),
            topic="inbound",
            parts_wait_s=WAIT_S,
        )

    async def take(self, *numbers: int, text: Sequence[str] = "abc") -> None:
        """Take these of three parts of one message, as one read brings them."""
        port: Any = SimpleNamespace(account="andina", lane="andina")
        await self.inbound.take([(port, part(number, text)) for number in numbers], NOW)

    async def read(self, *written: str) -> None:
        """Take parts of several messages in one read, each by its number and the text that it is of: `1abc`."""
        port: Any = SimpleNamespace(account="andina", lane="andina")
        await self.inbound.take([(port, part(int(each[0]), each[1:])) for each in written], NOW)

    async def wait(self) -> None:
        """Let the time of all deadlines come, in one call."""
        await self.inbound.overdue([bytes(deadline.payload) for deadline in self.deadlines()])

    def deadlines(self) -> list[Waiting]:
        return [msgspec.json.decode(value, type=Waiting) for _, value in self.broker.records["delay.1", 0]]

    def published(self) -> list[tuple[str, int]]:
        """The texts, and how many parts each lacks."""
        written = [msgspec.json.decode(value, type=Written) for _, value in self.broker.records["inbound", 0]]
        return [(each.text, each.parts_missing) for each in written]


def part(number: int, text: Sequence[str] = "abc") -> DeliverSM:
    """One of three parts, each a letter of the text; the reference is always the same."""
    return DeliverSM(
        source_addr="573001234567",
        destination_addr="89000",
        esm_class=0x40,
        short_message=b"\x05\x00\x03\x07\x03" + bytes([number]) + text[number - 1].encode(),
        data_coding=3 if len(text[0]) > 1 else 0,
    )


@asynccontextmanager
async def processes(url: str, namespace: str, count: int = 1) -> AsyncIterator[list[Process]]:
    """So many, over one store."""
    store = Store(url)
    try:
        yield [Process(store, namespace) for _ in range(count)]
    finally:
        await store.close()


async def test_what_is_incomplete_after_a_read_has_one_deadline(store_url: str, namespace: str) -> None:
    """However many of its parts the read brought; what is published then lacks the rest."""
    async with processes(store_url, namespace) as (one,):
        await one.take(1, 2)
        (deadline,) = one.deadlines()
        assert deadline.due == NOW + WAIT_S
        await one.inbound.overdue([bytes(deadline.payload)])
        assert one.published() == [("ab", 1)]


async def test_what_one_read_completes_has_no_deadline(store_url: str, namespace: str) -> None:
    """It is published instead."""
    async with processes(store_url, namespace) as (one,):
        await one.take(2, 3, 1)
        assert one.deadlines() == []
        assert one.published() == [("abc", 0)]


async def test_parts_that_a_killed_process_only_stored_get_their_deadline(store_url: str, namespace: str) -> None:
    """They are delivered again, and stand in the store by then: all the same somebody has to wait for the third."""
    async with processes(store_url, namespace, 2) as (killed, other):
        killed.broker.refusal = RuntimeError("killed")
        with pytest.raises(RuntimeError, match="killed"):
            await killed.take(1, 2)
        await other.take(1, 2)
        (deadline,) = other.deadlines()
        await other.inbound.overdue([bytes(deadline.payload)])
        assert other.published() == [("ab", 1)]


async def test_a_deadline_that_is_there_twice_publishes_once(store_url: str, namespace: str) -> None:
    """Every read that leaves a message incomplete makes one."""
    async with processes(store_url, namespace) as (one,):
        await one.take(3)
        await one.take(1)
        first, second = one.deadlines()
        await one.inbound.overdue([bytes(first.payload)])
        await one.inbound.overdue([bytes(second.payload)])
        assert one.published() == [("ac", 1)]


async def test_deadlines_that_come_together_publish_once(store_url: str, namespace: str) -> None:
    """Two reads of one beat are due in one call."""
    async with processes(store_url, namespace) as (one,):
        await one.take(3)
        await one.take(1)
        await one.wait()
        assert one.published() == [("ac", 1)]


async def test_a_part_of_a_joined_message_that_is_delivered_again_is_only_answered(
    store_url: str, namespace: str
) -> None:
    """The connection went before the answer: nothing is published and nothing waits, also in another process."""
    async with processes(store_url, namespace, 2) as (one, other):
        await one.take(1, 2)
        await one.take(3)
        for _ in range(2):
            await other.take(3)
            await other.take(2)
        assert other.deadlines() == []
        await one.wait()
        await other.take(3)
        await other.wait()
        assert one.published() == [("abc", 0)]
        assert other.published() == []


async def test_a_joined_message_that_is_delivered_again_as_a_whole_is_published_again(
    store_url: str, namespace: str
) -> None:
    """It may be another with the same words. Of a repetition the id is the same."""
    async with processes(store_url, namespace) as (one,):
        for number in (1, 2, 3, 3, 1, 2, 2):
            await one.take(number)
        await one.wait()
        assert one.published() == [("abc", 0)] * 2


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3)])
@pytest.mark.parametrize("text", ["xyz", "abz", "xbc", "axc"])
async def test_a_reference_can_be_used_again_at_once(
    store_url: str, namespace: str, text: str, order: tuple[int, ...]
) -> None:
    """By a message of as many parts, of which some may be the same as before."""
    async with processes(store_url, namespace) as (one,):
        await one.take(1, 2, 3)
        for number in order:
            await one.take(number, text=text)
        await one.wait()
        assert one.published() == [("abc", 0), (text, 0)]


async def test_what_is_left_of_a_joined_message_is_soon_forgotten(store_url: str, namespace: str) -> None:
    """After the time for which its parts would have waited, and its words at once; another with its reference waits as any."""
    async with processes(store_url, namespace) as (one,), Redis.from_url(store_url) as redis:
        await one.take(1, 2, 3)
        (key,) = await redis.keys(f"{namespace}:*")
        assert 0 < await redis.ttl(key) <= WAIT_S
        assert b"a".hex().encode() not in await redis.hvals(key)
        await one.take(2, text="xyz")
        assert await redis.ttl(key) > WAIT_S
        await one.wait()
        assert one.published() == [("abc", 0), ("y", 2)]


async def test_parts_wait_through_a_standstill_of_days(store_url: str, namespace: str) -> None:
    """The SMSC has its answer, and the deadline on the ladder has no octets."""
    async with processes(store_url, namespace) as (one,), Redis.from_url(store_url) as redis:
        await one.take(1, 2)
        (key,) = await redis.keys(f"{namespace}:*")
        assert await redis.ttl(key) > 7 * 86_400


@pytest.mark.parametrize("first", ["1xyz", "3xyz"], ids=["in-its-place", "elsewhere"])
async def test_the_deadline_of_a_joined_message_is_not_that_of_the_next(
    store_url: str, namespace: str, first: str
) -> None:
    """One with the same reference that has only begun waits its own time, alone or with the other in one call."""
    async with processes(store_url, namespace) as (one,):
        await one.read("1abc")
        await one.read("2abc", "3abc")
        await one.read(first)
        of_joined, of_next = one.deadlines()
        await one.inbound.overdue([bytes(of_joined.payload)])
        assert one.published() == [("abc", 0)]
        await one.inbound.overdue([bytes(of_joined.payload), bytes(of_next.payload)])
        assert one.published() == [("abc", 0), (first[int(first[0])], 2)]


async def test_a_deadline_of_the_version_before_names_no_part(store_url: str, namespace: str) -> None:
    """It publishes what is there."""
    async with processes(store_url, namespace) as (one,):
        await one.take(1, 2)
        (deadline,) = one.deadlines()
        *before, _, _ = msgspec.json.decode(deadline.payload)
        await one.inbound.overdue([msgspec.json.encode(before)])
        assert one.published() == [("ab", 1)]


@pytest.mark.parametrize("cut", range(6))
@pytest.mark.parametrize(
    ("order", "text"),
    [
        ((1, 2, 3), "xyz"),
        ((3, 2, 1), "xyz"),
        ((1, 2, 3), "abz"),  # the first that another has is in the same place of both
        ((3, 1, 2), "xbc"),
    ],
)
async def test_a_reference_can_be_used_again_in_one_read(
    store_url: str, namespace: str, text: str, order: tuple[int, ...], cut: int
) -> None:
    """However reads divide what was written: neither message takes a part of the other, and each is published once."""
    async with processes(store_url, namespace) as (one,):
        written = ["1abc", "2abc", "3abc", *(f"{number}{text}" for number in order)]
        await one.read(*written[:cut])
        await one.read(*written[cut:])
        await one.wait()
        assert one.published() == [("abc", 0), (text, 0)]


async def test_one_read_may_bring_any_number_of_messages_with_one_reference(store_url: str, namespace: str) -> None:
    """In the order in which they were written; what is incomplete at the end waits as any."""
    async with processes(store_url, namespace) as (one,):
        await one.read("1abc", "2abc", "3abc", "1def", "3def", "2def", "2ghi", "1ghi", "3ghi", "1jkl", "2jkl")
        assert one.published() == [("abc", 0), ("def", 0), ("ghi", 0)]
        (deadline,) = one.deadlines()
        await one.inbound.overdue([bytes(deadline.payload)])
        assert one.published()[3:] == [("jk", 1)]


async def test_a_part_that_one_read_brings_again_is_only_answered(store_url: str, namespace: str) -> None:
    """An SMSC that waits for an answer says all of it again, which is read together when we were busy."""
    async with processes(store_url, namespace) as (one,):
        await one.read("1abc", "2abc", "1abc", "3abc", "2abc", "1abc", "2abc", "3abc")
        await one.wait()
        assert one.published() == [("abc", 0)]
        assert one.deadlines() == []


async def test_what_a_killed_process_had_joined_takes_no_part_of_another_message(
    store_url: str, namespace: str
) -> None:
    """It could not publish it. Who gets the next message with its reference publishes it first."""
    async with processes(store_url, namespace, 2) as (killed, other):
        killed.broker.refusal = RuntimeError("killed")
        with pytest.raises(RuntimeError, match="killed"):
            await killed.take(1, 2, 3)
        await other.take(1, 2, 3, text="xyz")
        assert other.published() == [("abc", 0), ("xyz", 0)]


@pytest.mark.parametrize("sends", [0, 1])
async def test_a_read_with_two_messages_of_one_reference_is_all_delivered_again_when_its_process_is_killed(
    store_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, sends: int
) -> None:
    """Before the first is published, or before the second: nothing of them is lost or mixed."""
    async with processes(store_url, namespace, 2) as (killed, other):
        send = killed.broker.send_batch

        async def send_so_many(*args: Any, **kwargs: Any) -> asyncio.Future[None]:
            if killed.inbound.counts["published"] == sends:
                raise RuntimeError("killed")
            return await send(*args, **kwargs)

        monkeypatch.setattr(killed.broker, "send_batch", send_so_many)
        read = ["1abc", "2abc", "3abc", "1xyz", "2xyz", "3xyz"]
        with pytest.raises(RuntimeError, match="killed"):
            await killed.read(*read)
        assert killed.published() == [("abc", 0)] * sends
        await other.read(*read)
        assert sorted(other.published()) == [("abc", 0), ("xyz", 0)]


@pytest.mark.parametrize("joined", [True, False])
async def test_what_is_too_large_for_kafka_is_published_in_part(
    store_url: str, namespace: str, *, joined: bool
) -> None:
    """A record that no broker takes would end one worker after another: the SMSC delivers again what nobody answers."""
    async with processes(store_url, namespace) as (one,):
        await one.take(*(1, 2, 3)[: 3 if joined else 2], text=["\1" * 60_000] * 3)
        if not joined:
            await one.wait()
        assert one.published() == [("\1" * 50_000, 0 if joined else 1)]
        assert one.inbound.counts == {"published": 1, "cut": 1}


@pytest.mark.parametrize("length", [9, 2000])
async def test_numbers_of_another_length_than_theirs_join_nothing(store_url: str, namespace: str, length: int) -> None:
    """SAR parameters of any length can be on the wire: what they are of stands alone."""
    numbers = b"\2" * length
    tlvs: dict[int, bytes] = {
        Tag.SAR_MSG_REF_NUM: numbers,
        Tag.SAR_TOTAL_SEGMENTS: numbers,
        Tag.SAR_SEGMENT_SEQNUM: b"\1",
    }
    async with processes(store_url, namespace) as (one,):
        port: Any = SimpleNamespace(account="andina", lane="andina")
        await one.inbound.take([(port, DeliverSM(short_message=b"abc", tlvs=tlvs))], NOW)
        assert one.published() == [("abc", 0)]


@pytest.mark.parametrize("data_coding", [0x02, 0x04])
async def test_what_is_no_text_comes_with_its_octets(store_url: str, namespace: str, data_coding: int) -> None:
    """In hexadecimal; as a text too, in Latin-1, for it is one with an SMSC that says so of what people write (§5.2.19)."""
    async with processes(store_url, namespace) as (one,):
        port: Any = SimpleNamespace(account="andina", lane="andina")
        await one.inbound.take([(port, DeliverSM(short_message=b"STOP\xf1", data_coding=data_coding))], NOW)
        ((_, value),) = one.broker.records["inbound", 0]
    written = msgspec.json.decode(value, type=Written)
    assert (written.kind, written.text, written.data) == ("binary", "STOPñ", {"data": "53544f50f1"})


INTERNATIONAL, NATIONAL, SPECIFIC, ALPHANUMERIC = 1, 2, 3, 5


@pytest.mark.parametrize(
    ("ton", "written", "from_"),
    [
        (INTERNATIONAL, "573001234567", "+573001234567"),
        (INTERNATIONAL, "+573001234567", "+573001234567"),
        (INTERNATIONAL, "00573001234567", "+573001234567"),
        (INTERNATIONAL, "51987654321", "+51987654321"),
        (0, "573001234567", "+573001234567"),
        (0, "5511961234567", "+5511961234567"),
        # A number of Liège, or one of Colombia without its country code; a mobile of Peru, or of Porto Alegre.
        (0, "3241234567", "3241234567"),
        (0, "51987654321", "51987654321"),
        (NATIONAL, "3001234567", "3001234567"),
        (NATIONAL, "573001234567", "573001234567"),
        (INTERNATIONAL, "89000", "89000"),
        (INTERNATIONAL, "3001234567", "3001234567"),
        (0, "999999999999", "999999999999"),
        (SPECIFIC, "89000", "89000"),
        (ALPHANUMERIC, "Banco", "Banco"),
        (ALPHANUMERIC, "573001234567", "573001234567"),
        (0, "", ""),
    ],
)
@pytest.mark.parametrize("pdu", [DeliverSM, DataSM])
async def test_whoever_writes_is_named_as_in_jobs_where_that_is_certain(
    store_url: str, namespace: str, pdu: type[DeliverSM | DataSM], ton: int, written: str, from_: str
) -> None:
    """With that an opt-out is found again; what may be a short code, a name or a national number is left as it was written."""
    async with processes(store_url, namespace) as (one,):
        port: Any = SimpleNamespace(account="andina", lane="andina")
        await one.inbound.take([(port, pdu(source_addr_ton=ton, source_addr=written))], NOW)
        ((key, value),) = one.broker.records["inbound", 0]
        assert (key, msgspec.json.decode(value, type=Written).from_) == (from_.encode(), from_)
