"""A whole gateway at its most talkative, through good and bad: what its log and its store keep of people and secrets."""

from __future__ import annotations

import re

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.model import EventStatus
from smpp import simulator as smpp
from tests.support.meta import on_whatsapp, reminder
from tests.support.stage import PASSWORD, Stages, job, lane, people

SAID = "Palabras-que-nadie-mas-lee"
BAD, REFUSED, WRITER = "+573", "+573019999999", "573018888888"
_PEOPLE = re.compile(r"300000\d{4}")
"""The numbers of `people` without their country code, which is how some systems write them. Not any ten digits: a fraction of a
second has them too."""


@pytest.mark.e2e
async def test_a_talkative_log_has_no_number_no_text_and_no_secret(stage: Stages, store_url: str) -> None:
    """Campaigns, refusals, messages from people, nonsense of every peer, a lost bind, a stop; and every key in the store ends."""
    smsc = smpp.Account("alpha", PASSWORD, smpp.Behaviour(rejected={REFUSED.lstrip("+"): 0x0B}))
    sms, chat = people("sms", 20), people("chat", 20, 1000)
    async with (
        smpp.Simulator([smsc]) as operator,
        on_whatsapp(stage, lanes={"sms": lane(operator.port)}, routes=[{"lane": "sms", "channel": "sms"}]) as meta,
    ):
        site = meta.site
        async with site.process("a", "--log-level", "DEBUG") as gateway:
            await site.publish_raw(b'{"job_id":"bad","text":"%b","to":"%b"}' % (SAID.encode(), WRITER.encode()))
            meta.refuse("131026", next(iter(chat.values())))
            await site.publish(
                job("sms", [*sms.values(), REFUSED, BAD], text=SAID),
                job("named", [{"to": to, "params": {"name": SAID}} for to in sms.values()], text="{name}"),
                reminder("chat", chat.values(), fallback=[{"channel": "sms", "text": SAID}]),
            )
            named = [f"named:{index}" for index in range(len(sms))]
            await site.tally.until_ended([*sms, *named, *chat])
            assert set(site.tally.ends(chat)) == {EventStatus.DELIVERED}
            operator.send_mo("alpha", WRITER, "89000", SAID)
            meta.write(WRITER, SAID)
            await meta.inbound(2)
            await _forged(site.config.webhooks.port)
            for nonsense in smpp.GARBAGE.values():
                await site.until(lambda: smsc.counts.binds > 0)
                operator.send_raw(nonsense)
            operator.drop_connections()
            await site.until(lambda: smsc.counts.total_binds > 1)
            gateway.terminate()
            assert await gateway.wait() == 0
            gateway.assert_clean_log()
        written = gateway.log_text()
        assert "DEBUG" in written
        for what in (SAID, PASSWORD, *_forms(REFUSED), *_forms(WRITER)):
            assert what not in written
        assert not _PEOPLE.findall(written)
        await _every_key_ends(store_url, site.namespace)


def _forms(number: str) -> tuple[str, str]:
    digits = number.lstrip("+")
    return digits, digits[2:]


async def _forged(port: int) -> None:
    """A callback that nobody signed, with a person and a word in all of its places."""
    url = f"http://127.0.0.1:{port}/hooks/wa?number={WRITER}&token={PASSWORD}"
    async with aiohttp.ClientSession() as client:
        headers = {"X-Hub-Signature-256": f"sha256={PASSWORD}", "X-Number": WRITER}
        async with client.post(url, data=SAID, headers=headers) as refused:
            assert refused.status == 403


async def _every_key_ends(store_url: str, namespace: str) -> None:
    async with Redis.from_url(store_url) as store:
        keys = [key async for key in store.scan_iter(match=f"*{namespace}*")]
        assert len(keys) > 40
        endless = [key for key in keys if await store.ttl(key) < 0]
    assert endless == []
