"""The server that providers call: what it takes, what it refuses, and that 200 means that Kafka has it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
import pytest
from yarl import URL

from gateway.embedded import HOST, free_port
from gateway.errors import StoreUnavailable
from gateway.model import EventStatus, Inbound
from gateway.providers.contract import Change
from gateway.providers.generic import load
from gateway.providers.generic_config import Account
from gateway.providers.twilio import Twilio, TwilioSettings
from gateway.simulators import notices
from gateway.simulators.behaviour import Behaviour
from gateway.simulators.end import Post
from gateway.simulators.limits import Limits
from gateway.simulators.simulators import WhatsAppSimulator
from gateway.simulators.whatsapp import WhatsApp
from gateway.tables import Secret
from gateway.webhooks import Served
from tests.gateway.callback_stage import (
    ANA,
    APP_SECRET,
    NUMBER,
    OTHER_NUMBER,
    PUBLIC_URL,
    VERIFY_TOKEN,
    Callbacks,
    callbacks,
    posted,
    statuses,
    whatsapp,
    written,
)
from tests.simulators.graph_requests import message, template
from tests.support.proxy import Proxy
from tests.support.stage import Stage, Stages, lane

DELIVERED = EventStatus.DELIVERED


def site_of(stage: Stages) -> Stage:
    """A deployment; its lane is no part of these tests."""
    return stage(lanes={"alpha": lane(1)})


async def inbound_of(site: Stage, count: int) -> list[Inbound]:
    records = await site.read(site.config.kafka.inbound_topic, count)
    return [msgspec.json.decode(record.value, type=Inbound) for record in records]


async def test_an_address_is_proved_to_meta(stage: Stages) -> None:
    """The challenge comes back bare to who knows our word, and 403 to who does not."""
    async with site_of(stage) as site, callbacks(site) as process:
        for token, expected in ((VERIFY_TOKEN, (200, "1158201444")), ("guess", (403, ""))):
            query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
            async with process.session.get(f"{process.url}/hooks/wa", params=query) as response:
                assert (response.status, await response.text()) == expected
        assert process.server.counts == {("wa", "taken"): 1, ("wa", "unsigned"): 1}


async def test_200_means_that_kafka_has_it(stage: Stages) -> None:
    """Events of what we know, and the ladder for the rest."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a", "b")
        response = await process.post(statuses(("a", "delivered"), ("b", "failed"), ("c", "read")))
        assert response.status == 200
        assert process.receipts.counts == {"matched": 2, "early": 1}
        await site.tally.until_ended(["m-a", "m-b"])
        assert site.tally.end_of("m-a") is DELIVERED
        assert site.tally.of("m-b")[0].error_code == "131026"
        assert process.server.contents == {("wa", "status"): 3}


FORGED: dict[str, dict[str, str]] = {
    "unsigned": {},
    "wrongly": {"X-Hub-Signature-256": "sha256=" + "0" * 64},
    "of-another-secret": {
        "X-Hub-Signature-256": "sha256="
        + hmac.digest(b"guess", statuses(("a", "delivered")).body, hashlib.sha256).hex()
    },
    "not-ascii": {"X-Hub-Signature-256": "sha256=é"},
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED.keys())
async def test_who_does_not_prove_who_he_is_is_refused(stage: Stages, headers: dict[str, str]) -> None:
    """403, counted, and nothing of it is looked at."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a")
        response = await process.post(statuses(("a", "delivered")), headers=headers)
        assert response.status == 403
        assert process.server.counts == {("wa", "unsigned"): 1}
        assert process.store.calls == 0
        assert not process.server.contents


GZIP = {"Content-Encoding": "gzip"}


def signed(body: bytes) -> dict[str, str]:
    """What goes with a body that is Meta's."""
    return {"X-Hub-Signature-256": "sha256=" + hmac.digest(APP_SECRET.encode(), body, hashlib.sha256).hex()}


async def test_what_cannot_be_a_callback_is_refused(stage: Stages) -> None:
    """Each with its status, its count, and nothing in the log."""
    garbage = b"\x00{not json \xff"
    good = statuses(("a", "delivered"))
    packed = gzip.compress(good.body)  # Meta does not, and what is signed is what came
    async with site_of(stage) as site, callbacks(site, max_body=2000) as process:
        cases = [
            ((await process.post(Post("", garbage, signed(garbage)))), 400, ("wa", "unreadable")),
            ((await process.post(Post("", packed, signed(packed) | GZIP))), 400, ("wa", "unreadable")),
            ((await process.post(good, path="/hooks/other")), 404, ("", "no-such-path")),
            ((await process.post(good, path="/hooks/wa/")), 404, ("", "no-such-path")),
            ((await process.post(Post("", b"x" * 2001, {}))), 413, ("wa", "oversized")),
            ((await process.post(Post("", b"x" * 2000, {}))), 403, ("wa", "unsigned")),
        ]
        async with process.session.put(f"{process.url}/hooks/wa", data=good.body, headers=good.headers) as response:
            cases.append((response, 405, ("wa", "method")))
        async with process.session.post(f"{process.url}/hooks/wa", data=_in_pieces(3000)) as response:
            cases.append((response, 413, ("wa", "oversized")))
        assert [response.status for response, _, _ in cases] == [status for _, status, _ in cases]
        assert process.server.counts == Counter(count for _, _, count in cases)
        assert process.server.octets == 0
        assert process.store.calls == 0


async def _in_pieces(size: int) -> AsyncIterator[bytes]:
    """A body whose length nobody says beforehand."""
    for _ in range(0, size, 500):
        yield b"x" * 500


VENDORS = Path(__file__).parents[2] / "deploy" / "providers"
BLASTER = Account(
    callback=f"{PUBLIC_URL}/hooks/vb",
    settings={"url": "https://blaster.example", "campaign": "7"},
    secrets={name: Secret(value) for name, value in (("user", "u"), ("password", "p"), ("callback", "the word/1"))},
)


async def test_a_secret_may_be_the_last_segment_of_the_address(stage: Stages, caplog: pytest.LogCaptureFixture) -> None:
    """Of a lane whose callbacks are proved so, and of no other; one guessed is refused, and nothing is logged."""
    blaster = Served("vb", "blaster", "voice", load(VENDORS / "voice-blaster.toml", BLASTER))
    caplog.set_level(logging.DEBUG)
    query = "?ref=acme%2Fm-a%2F1&call=a&result=answered"
    async with site_of(stage) as site, callbacks(site, blaster, whatsapp()) as process:
        await process.doubted("acme/m-a/1", "a", account="blaster")
        for path, status in (
            ("/hooks/vb/the%20word%2F1", 200),
            ("/hooks/vb/guess", 403),
            ("/hooks/vb/", 403),
            ("/hooks/vb", 403),
            ("/hooks/vb/x/the%20word%2F1", 404),
            ("/hooks/wa/the%20word%2F1", 404),
        ):
            url = URL(process.url + path + query, encoded=True)
            async with process.session.get(url) as response:
                assert response.status == status, path
        assert process.server.counts == {("vb", "taken"): 1, ("vb", "unsigned"): 3, ("", "no-such-path"): 2}
        await site.tally.until_ended(["m-a"])
    assert not any("word" in record.getMessage() for record in caplog.records)


async def test_a_body_that_is_cut_off_or_never_ends_leaves_nothing_behind(stage: Stages) -> None:
    """The connection goes in the middle of it, or nothing more comes: the second hears 503 at the deadline."""
    async with site_of(stage) as site, callbacks(site, deadline_s=0.3) as process:
        head = b"POST /hooks/wa HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx"
        _, writer = await asyncio.open_connection(HOST, process.server.port)
        writer.write(head)
        await site.until(lambda: process.server.octets == 1000)
        writer.transport.abort()
        await site.until(lambda: process.server.counts["wa", "cut-off"] == 1)
        reader, writer = await asyncio.open_connection(HOST, process.server.port)
        writer.write(head)
        assert b" 503 " in await reader.readline()
        writer.write(b"x" * 999)
        writer.close()
        assert process.server.counts["wa", "late"] == 1
        assert process.server.octets == 0


@pytest.mark.parametrize(
    "octets",
    [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"POST /hooks/wa?\xff HTTP/1.1\r\n\r\n", b"x" * 20_000 + b"\r\n\r\n"],
    ids=["tls", "not-ascii", "endless"],
)
async def test_what_is_no_http_is_answered_and_makes_no_noise(stage: Stages, octets: bytes) -> None:
    """400, without a line in the log, and the server goes on."""
    async with site_of(stage) as site, callbacks(site) as process:
        reader, writer = await asyncio.open_connection(HOST, process.server.port)
        writer.write(octets)
        assert b" 400 " in await reader.readline()
        writer.close()
        assert (await process.post(statuses(("a", "sent")))).status == 200


async def test_a_client_that_asks_first_is_told_to_go_on(stage: Stages) -> None:
    """`Expect: 100-continue` (RFC 9110 §10.1.1): clients of large bodies wait for it."""
    async with site_of(stage) as site, callbacks(site) as process:
        post = statuses(("a", "sent"))
        async with process.session.post(
            f"{process.url}/hooks/wa", data=post.body, headers=post.headers, expect100=True
        ) as response:
            assert response.status == 200


async def test_what_is_not_understood_is_counted_by_name(stage: Stages) -> None:
    """Not an error: the rest counts. However many names there are, the counters stay few."""
    async with site_of(stage) as site, callbacks(site) as process:
        await process.sent("a")
        fields: list[notices.Change] = [(f"field_{number}", {}) for number in range(150)]
        known: notices.Change = ("messages", {"statuses": []})
        assert (await process.post(posted([*fields, known, ("x" * 5000, {})]))).status == 200
        assert (await process.post(posted([("field_0", {})]))).status == 200
        assert process.server.unknown["wa", "field:field_0"] == 2
        assert process.server.unknown["wa", "other"] == 51
        assert len(process.server.unknown) == 101


async def test_what_people_write_is_published_in_one_shape(stage: Stages) -> None:
    """Lane and account are ours, `time` is when it reached us; and the number that they wrote to may answer freely."""
    wrote_at = int(time.time()) - 3600
    async with site_of(stage) as site, callbacks(site) as process:
        assert await process.window.open_for(NUMBER, [ANA]) == [False]
        assert (await process.post(written("hola", at=wrote_at))).status == 200
        [found] = await inbound_of(site, 1)
        assert await process.window.open_for(NUMBER, [ANA]) == [True]
        assert await process.window.open_for(OTHER_NUMBER, [ANA]) == [False]
        left = await process.redis.ttl(f"{process.prefix}w:{NUMBER}:{ANA[1:]}")
        assert left <= 23 * 3600
    assert (found.inbound_id, found.lane, found.account, found.channel) == ("wamid.in", "wa", "waba", "whatsapp")
    assert (found.from_, found.to, found.kind, found.text) == (ANA, "+15550001111", "text", "hola")
    assert abs(found.time - datetime.now(UTC)) < timedelta(minutes=1)
    assert found.data["written_at"] == datetime.fromtimestamp(wrote_at, UTC).isoformat()


async def test_a_message_from_a_person_is_published_once(stage: Stages) -> None:
    """Twice in a callback, in another one, at another process, for a week; one of another account with that id is another."""
    other = whatsapp("wb", OTHER_NUMBER, "other-waba")
    async with (
        site_of(stage) as site,
        callbacks(site, whatsapp(), other) as process,
        callbacks(site, whatsapp(), other) as second,
    ):
        now = time.time()
        hola = notices.inbound_value(NUMBER, "1", ANA[1:], "hola", {}, "wamid.1", now)
        assert (await process.post(posted([("messages", hola)] * 2))).status == 200
        await site.until(lambda: process.store.calls == 3)
        assert (await second.post(written("hola", "wamid.1", at=now))).status == 200
        assert (await process.post(written("hola", "wamid.1", at=now, number=OTHER_NUMBER), "/hooks/wb")).status == 200
        assert (await process.post(written("adiós", "wamid.2", at=now))).status == 200
        found = await inbound_of(site, 3)
        assert process.inbound.counts == {"published": 3, "repeated": 1}
        assert second.inbound.counts == {"published": 0, "repeated": 1}
        assert await process.redis.ttl(f"{process.prefix}i:waba:wamid.1") > 7 * 86_400 - 60
    assert sorted((each.account, each.inbound_id) for each in found) == [
        ("other-waba", "wamid.1"),
        ("waba", "wamid.1"),
        ("waba", "wamid.2"),
    ]


async def test_an_opt_out_is_published_and_opens_nothing(stage: Stages) -> None:
    """As what a person wants, and as a change that concerns the lane."""
    wish = {"wa_id": ANA[1:], "category": "marketing_messages", "value": "stop", "timestamp": str(int(time.time()))}
    metadata = {"display_phone_number": "15550001111", "phone_number_id": NUMBER}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "user_preferences": [wish]}
    async with site_of(stage) as site, callbacks(site) as process:
        assert (await process.post(posted([("user_preferences", value)]))).status == 200
        [found] = await inbound_of(site, 1)
        assert await process.window.open_for(NUMBER, [ANA]) == [False]
        assert process.changes == [("wa", Change(f"recipient:{ANA}", "marketing_messages", "stop"))]
    assert (found.kind, found.from_, found.data["category"]) == ("opt_out", ANA, "marketing_messages")


async def test_the_numbers_of_one_account_share_an_address(stage: Stages) -> None:
    """Meta calls one for all numbers of an app; a number that no lane has is counted, as is one of another account."""
    lanes = (whatsapp(), whatsapp("wb", OTHER_NUMBER), whatsapp("wc", "100000000000003", "other-waba"))
    async with site_of(stage) as site, callbacks(site, *lanes) as process:
        now = time.time()
        for index, number in enumerate((OTHER_NUMBER, "100000000000003", "100000000000004", NUMBER)):
            assert (await process.post(written("hola", f"wamid.{index}", at=now, number=number))).status == 200
        found = await inbound_of(site, 2)
        assert process.server.contents == {("wa", "inbound"): 4, ("wa", "stranger"): 2}
        assert await process.window.open_for(OTHER_NUMBER, [ANA]) == [True]
    assert {each.inbound_id: each.lane for each in found} == {"wamid.0": "wb", "wamid.3": "wa"}


async def test_changes_are_handed_over_before_the_answer(stage: Stages) -> None:
    """Who takes them and cannot: the provider is asked to come again."""
    update = {"event": "PAUSED", "message_template_name": "due", "message_template_language": "es_MX", "reason": ""}
    post = posted([("message_template_status_update", update)])
    async with site_of(stage) as site, callbacks(site) as process:
        process.changes_fail = StoreUnavailable("away")
        response = await process.post(post)
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        process.changes_fail = None
        assert (await process.post(post)).status == 200
        assert process.changes == [("wa", Change("template:due/es_MX", "status", "PAUSED", account="waba"))]
        assert process.server.counts == {("wa", "late"): 1, ("wa", "taken"): 1}


async def test_what_is_too_large_for_kafka_is_published_without_its_data(stage: Stages) -> None:
    """A record that no broker takes would stop everything that publishes."""
    contacts = [{"name": {"formatted_name": "x" * 1_000_000}}]
    now = time.time()
    async with site_of(stage) as site, callbacks(site) as process:
        assert (await process.post(written("", at=now, type="contacts", contacts=contacts))).status == 200
        assert (await process.post(written("y" * 1_500_000, "wamid.long", at=now))).status == 200
        found = {each.inbound_id: each for each in await inbound_of(site, 2)}
        assert process.inbound.counts["cut"] == 2
    assert (found["wamid.in"].kind, found["wamid.in"].data) == ("contacts", {})
    assert found["wamid.long"].text == "y" * 50_000


async def test_the_public_address_and_the_query_are_part_of_what_is_signed(stage: Stages) -> None:
    """Twilio: the URL as it was called, octets that are no UTF-8 included; our reference is in the query."""
    twilio = Twilio(TwilioSettings(account_sid="AC1", auth_token=Secret("token")))
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": ANA}
    parameters = "".join(name + value for name, value in sorted(form.items()))
    async with site_of(stage) as site, callbacks(site, Served("tw", "AC1", "sms", twilio)) as process:
        await process.doubted("acme/m-a/1", "a", account="AC1")
        for query, status in (("?ref=acme%2Fm-a%2F1", 200), ("?ref=%FF%00%ED%A0%80", 200), ("?ref=other", 403)):
            signed = f"{PUBLIC_URL}/hooks/tw{query.replace('other', 'acme')}{parameters}"
            signature = base64.b64encode(hmac.digest(b"token", signed.encode(), hashlib.sha1)).decode()
            headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
            response = await process.post(Post("", urlencode(form).encode(), headers), f"/hooks/tw{query}")
            assert response.status == status
            assert response.headers.get("Content-Type") == ("text/xml" if status == 200 else None)
        await site.tally.until_ended(["m-a"])
        assert process.receipts.counts["matched"] == 1


async def test_a_store_that_is_away_is_503_and_all_is_well_when_it_is_back(stage: Stages, store_url: str) -> None:
    """At the deadline; whatever was repeated meanwhile is published once."""
    async with (
        Proxy(HOST, urlsplit(store_url).port or 0) as proxy,
        site_of(stage) as site,
        callbacks(site, store_url=f"redis://{HOST}:{proxy.port}/0", deadline_s=0.3) as process,
    ):
        await process.sent("a")
        proxy.freeze()
        both = statuses(("a", "delivered")), written("hola", at=time.time())
        for _ in range(3):
            answers = await asyncio.gather(*(process.post(post) for post in both))
            assert [response.status for response in answers] == [503, 503]
        assert process.server.octets == 0
        proxy.thaw()
        await site.until(lambda: not process.store.away)
        for post in both:
            assert (await process.post(post)).status == 200
        assert (await process.post(both[0])).status == 200
        await site.tally.until_ended(["m-a"])
        assert not site.tally.repeated
        assert len(await inbound_of(site, 1)) == 1
        assert process.inbound.counts["published"] == 1


async def test_who_comes_while_it_is_full_is_asked_to_come_again(stage: Stages, store_url: str) -> None:
    """At once, before the body is read, or when it has been if that took long: what is inside stays bounded."""
    async with (
        Proxy(HOST, urlsplit(store_url).port or 0) as proxy,
        site_of(stage) as site,
        callbacks(site, store_url=f"redis://{HOST}:{proxy.port}/0", capacity=10) as process,
    ):
        ids = [f"id-{number}" for number in range(10)]
        await process.sent(*ids)
        proxy.freeze()
        post = statuses(*[(id_, "delivered") for id_ in ids])
        reader, writer = await asyncio.open_connection(HOST, process.server.port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in post.headers.items())
        writer.write(
            f"POST /hooks/wa HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {len(post.body)}\r\n\r\n".encode()
        )
        await site.until(lambda: process.server.octets == len(post.body))
        first = asyncio.create_task(process.post(post))
        await site.until(lambda: process.receipts.full)
        answers = await asyncio.gather(*(process.post(post) for _ in range(20)))
        assert {(response.status, response.headers["Retry-After"]) for response in answers} == {(503, "5")}
        writer.write(post.body)
        assert b" 503 " in await reader.readline()
        writer.close()
        assert process.server.counts == {("wa", "full"): 21}
        proxy.thaw()
        assert (await first).status == 200
        assert (await process.post(post)).status == 200
        assert process.receipts.counts == {"matched": 10, "repeated": 10}


async def test_bodies_have_room_for_so_many_and_no_more(stage: Stages) -> None:
    """Of senders that are slow: sixteen bodies of the largest size; what is announced counts, and is given back."""
    async with site_of(stage) as site, callbacks(site, max_body=1000) as process:
        writers = []
        for _ in range(16):
            _, writer = await asyncio.open_connection(HOST, process.server.port)
            writer.write(b"POST /hooks/wa HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
            writers.append(writer)
        await site.until(lambda: process.server.octets == 16_000)
        assert (await process.post(Post("", b"x", {}))).status == 503
        for writer in writers:
            writer.transport.abort()
        await site.until(lambda: process.server.octets == 0)
        assert (await process.post(Post("", b"x", {}))).status == 403


async def test_processes_listen_at_one_port(stage: Stages) -> None:
    """Whichever takes a callback publishes it; one that stops lets nobody in, and the other goes on."""
    port = free_port()
    post = statuses(("a", "delivered"))
    async with site_of(stage) as site, callbacks(site, port=port) as process, callbacks(site, port=port) as second:
        await process.sent("a")
        await second.server.stop()
        for _ in range(10):
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{process.url}/hooks/wa", data=post.body, headers=post.headers) as response,
            ):
                assert response.status == 200
        assert process.server.counts == {("wa", "taken"): 10}


async def test_a_campaign_s_callbacks_come_out_right(stage: Stages) -> None:
    """Meta as it can be: twice, last state first, `delivered` never told, and all of it again since we were away at first."""
    behaviour = Behaviour(
        sent_s=0.05,
        delivered_s=0.02,
        read_s=0.02,
        receipt_jitter_s=0.05,
        read_ratio=0.7,
        delivered_skipped=0.3,
        receipts_duplicated=0.5,
        receipts_reordered=0.3,
        failures={"131026": 0.1},
        callback_batch=10,
        callback_retry_s=0.05,
    )
    async with site_of(stage) as site, callbacks(site, port=free_port()) as process:
        meta = WhatsApp(
            behaviour,
            numbers=(NUMBER,),
            app_secret=APP_SECRET,
            limits=Limits(throughput_mps=None),
            webhook_url=f"{process.url}/hooks/wa",
        )
        await process.server.stop()
        async with WhatsAppSimulator(meta) as simulator:
            answers = await asyncio.gather(*(_send(process, simulator, number) for number in range(150)))
            await site.until(lambda: meta.callbacks.retried > 0)
            await process.server.start()
            await site.until(lambda: meta.callbacks.pending == 0)
        assert meta.callbacks.lost == 0
        counts = process.receipts.counts
        await site.tally.until(lambda: len(site.tally.events) >= counts["matched"])
        ids = [f"m-{answer}" for answer in answers]
        histories = Counter(tuple(event.status for event in site.tally.of(id_)) for id_ in ids)
    assert set(histories) == {
        (EventStatus.DELIVERED,),
        (EventStatus.DELIVERED, EventStatus.READ),
        (EventStatus.READ,),
        (EventStatus.FAILED,),
    }
    assert counts["matched"] == sum(len(history) * many for history, many in histories.items())
    assert counts["orphan"] + counts["unusable"] + counts["early"] == 0
    assert min(counts["repeated"], counts["overtaken"], counts["intermediate"]) > 0


async def _send(process: Callbacks, simulator: WhatsAppSimulator, number: int) -> str:
    """Have a message accepted by the simulator, and remember it as the dispatcher does."""
    to = f"+57300{number:07d}"
    url = f"http://{HOST}:{simulator.port}/v23.0/{NUMBER}/messages"
    async with process.session.post(
        url, json=message(template(), to=to), headers={"Authorization": "Bearer recado"}
    ) as response:
        id_: str = (await response.json())["messages"][0]["id"]
    await process.sent(id_, to=to)
    return id_
