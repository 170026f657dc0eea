"""What takes callbacks, without the rest of a worker, over the real broker and store; and providers that call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
from redis.asyncio import BlockingConnectionPool, Redis
from yarl import URL

from gateway import config, topics
from gateway.correlation import REMEMBER_S, Sent, encode_sent, id_key, reference_key
from gateway.delay import Ladder
from gateway.inbound import Inbound
from gateway.inbox import Inbox
from gateway.model import TrafficClass
from gateway.outbox import Outbox
from gateway.providers.contract import Change
from gateway.providers.whatsapp import WhatsApp, WhatsAppSettings
from gateway.receipts import Receipts
from gateway.simulators import notices
from gateway.simulators.end import Post, Update
from gateway.simulators.script import State
from gateway.store import Patience, Store
from gateway.tables import Secret
from gateway.webhooks import Served, Webhooks
from gateway.window import Window
from tests.support.stage import Stage

ANA = "+573001234567"
NUMBER = "100000000000001"
OTHER_NUMBER = "100000000000002"
APP_SECRET = "s3cret"
VERIFY_TOKEN = "handshake"
PUBLIC_URL = "https://messages.example.com/recado"


def whatsapp(lane: str = "wa", number: str = NUMBER, account: str = "waba", secret: str = APP_SECRET) -> Served:
    """A lane over a number of WhatsApp."""
    settings = WhatsAppSettings(
        phone_number_id=number, token=Secret("token"), app_secret=Secret(secret), verify_token=Secret(VERIFY_TOKEN)
    )
    return Served(lane, account, "whatsapp", WhatsApp(settings), number)


def posted(changes: Sequence[notices.Change], secret: str = APP_SECRET) -> Post:
    """What Meta sends of them, signed."""
    return notices.post("", secret, "waba", changes)


def statuses(*said: tuple[str, State], reference: str = "", number: str = NUMBER, code: str = "131026") -> Post:
    """A callback that says something of messages by their ids."""
    updates = [Update(id_, state, number, ANA[1:], reference, code if state == "failed" else "") for id_, state in said]
    return posted(notices.statuses({number: "15550001111"}, updates, 1_750_000_000))


def written(text: str, message_id: str = "wamid.in", *, at: float, number: str = NUMBER, **message: Any) -> Post:
    """A callback with what Ana wrote."""
    value = notices.inbound_value(number, "15550001111", ANA[1:], text, message, message_id, at)
    return posted([("messages", value)])


class Counting(Patience):
    """The store, and how often it was asked."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls = 0

    async def run(self, script: Any, argument: Any) -> Any:
        self.calls += 1
        return await super().run(script, argument)


class Callbacks:
    """Made by `callbacks`: receipts, inbound and window of one process, and the server in front of them."""

    def __init__(
        self,
        site: Stage,
        served: Iterable[Served],
        outbox: Outbox,
        store: Counting,
        redis: Redis,
        capacity: int,
        deadline_s: float,
        max_body: int,
        port: int,
    ) -> None:
        kafka, delay = site.config.kafka, site.config.delay
        self.store = store
        self.prefix = f"{kafka.prefix}:"
        self.redis = redis
        self.learned: list[tuple[str, str]] = []
        self.changes: list[tuple[str, Change]] = []
        self.changes_fail: Exception | None = None
        ladder = Ladder({rung: (kafka.delay_topic(rung), kafka.delay_partitions) for rung in delay.rungs_s})
        self.inbound = Inbound(
            store=store,
            prefix=self.prefix,
            outbox=outbox,
            ladder=ladder,
            topic=kafka.inbound_topic,
            parts_wait_s=60,
            capacity=capacity,
        )
        self.receipts = Receipts(
            inbox=Inbox(1),
            store=store,
            prefix=self.prefix,
            outbox=outbox,
            ladder=ladder,
            inbound=self.inbound,
            events_topic=kafka.events_topic,
            formats={},
            ttl_s=60,
            early_limit_s=60,
            capacity=capacity,
            learn=lambda to, network: self.learned.append((to, network)),
        )
        self.window = Window(store, self.prefix)
        self.server = Webhooks(
            config.Webhooks(port=port, public_url=PUBLIC_URL, max_body=max_body),
            served,
            receipts=self.receipts,
            inbound=self.inbound,
            window=self.window,
            on_changes=self._on_changes,
            deadline_s=deadline_s,
        )
        self.session = aiohttp.ClientSession()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def sent(self, *ids: str, to: str = ANA, account: str = "waba") -> None:
        """Remember accepted messages as the dispatcher does: message `m-<id>` for each id of the provider."""
        for id_ in ids:
            await self._row(id_key(account, id_), _row_of(id_, to))

    async def doubted(self, reference: str, id_: str, account: str = "waba") -> None:
        """Remember a message of which nobody knows whether it was accepted, as message `m-<id>`."""
        await self._row(reference_key(account, reference), _row_of(id_, ANA, in_doubt=True))

    async def told(self, key: str) -> tuple[str, int]:
        """What a row says now, and for how many seconds more."""
        name = self.prefix + key
        row = await self.redis.get(name)
        assert isinstance(row, bytes)
        return row.decode(), await self.redis.ttl(name)

    async def post(
        self, post: Post, path: str = "/hooks/wa", headers: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        """Call the webhook."""
        headers = post.headers if headers is None else headers
        url = URL(self.url + path, encoded=True)
        async with self.session.post(url, data=BytesIO(post.body), headers=headers) as response:
            await response.read()
            return response

    async def _on_changes(self, lane: str, changes: Sequence[Change]) -> None:
        if self.changes_fail is not None:
            raise self.changes_fail
        self.changes += [(lane, change) for change in changes]

    async def _row(self, key: str, row: Sent) -> None:
        await self.redis.set(self.prefix + key, encode_sent(row), ex=REMEMBER_S)


def _row_of(id_: str, to: str, *, in_doubt: bool = False) -> Sent:
    return Sent(
        to,
        f"m-{id_}",
        "job",
        "",
        "acme",
        TrafficClass.BULK,
        "wa",
        1,
        id="" if in_doubt else id_,
        channel="whatsapp",
    )


@asynccontextmanager
async def callbacks(
    site: Stage,
    *served: Served,
    store_url: str = "",
    capacity: int = 1000,
    deadline_s: float = 8.0,
    max_body: int = 4 * 2**20,
    port: int = 0,
) -> AsyncIterator[Callbacks]:
    """One process that takes callbacks over the site's topics and store; `store_url` is another way to the store."""
    producer = topics.producer(site.config.kafka)
    await producer.start()
    url = site.config.store.url.reveal()
    store = Store(store_url or url, 1.0)
    redis = Redis.from_pool(BlockingConnectionPool.from_url(url, max_connections=20))
    outbox = Outbox(producer)
    counting = Counting(store)
    lanes = served or [whatsapp()]
    process = Callbacks(site, lanes, outbox, counting, redis, capacity, deadline_s, max_body, port)
    running = asyncio.create_task(process.receipts.run(), name="receipts")
    try:
        await process.server.start()
        yield process
    finally:
        await process.session.close()
        await process.server.stop()
        running.cancel()
        await asyncio.wait([running])
        await redis.aclose()
        await store.close()
        await producer.stop()
