"""Tests of the proxy: a fault that it does not make would let every fault test pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.embedded import HOST
from tests.support.proxy import Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def proxied_echo() -> AsyncIterator[Proxy]:
    """A proxy before a server that sends back what it gets, and closes when the client has said everything."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    async with Proxy(HOST, server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def connection(proxy: Proxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(streams: Streams, text: bytes) -> bytes:
    streams[1].write(text)
    return await streams[0].readexactly(len(text))


async def is_silent(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), 0.05)
    except TimeoutError:
        return True
    return False


async def test_bytes_pass_both_ways_unchanged() -> None:
    """What is more than any buffer between the two arrives as it was sent."""
    text = bytes(range(256)) * 40_000
    async with proxied_echo() as proxy, connection(proxy) as (reader, writer):
        writer.write(text)
        assert await reader.readexactly(len(text)) == text


async def test_an_end_of_stream_passes_and_the_answer_still_arrives() -> None:
    """A client that has said everything gets the rest of the answer before the connection ends."""
    text = b"x" * 3_000_000
    async with proxied_echo() as proxy, connection(proxy) as (reader, writer):
        writer.write(text)
        writer.write_eof()
        assert await reader.read(-1) == text


async def test_cut_resets_connections_and_refuses_new_ones() -> None:
    """Both ends of an open connection see a reset, and nobody listens any more."""
    async with proxied_echo() as proxy, connection(proxy) as streams:
        assert await said(streams, b"before") == b"before"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await streams[0].read(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, proxy.port)
        assert proxy.connections == 0


async def test_restore_accepts_again_on_the_same_port() -> None:
    """A client that reconnects after a cut is served; cutting and restoring twice changes nothing."""
    async with proxied_echo() as proxy:
        for _ in range(3):
            proxy.cut()
            proxy.cut()
            proxy.restore()
            proxy.restore()
            async with connection(proxy) as streams:
                assert await said(streams, b"again") == b"again"


async def test_freeze_accepts_and_forwards_nothing_until_thaw() -> None:
    """A frozen connection stays open and silent, a new one too, and both go on with every byte after the thaw."""
    async with proxied_echo() as proxy, connection(proxy) as old:
        assert await said(old, b"before") == b"before"
        proxy.freeze()
        async with connection(proxy) as new:
            old[1].write(b"old")
            new[1].write(b"new")
            assert await is_silent(old[0])
            assert await is_silent(new[0])
            proxy.thaw()
            assert await old[0].readexactly(3) == b"old"
            assert await new[0].readexactly(3) == b"new"


async def test_a_frozen_connection_can_be_cut() -> None:
    """A blackhole may end in a reset."""
    async with proxied_echo() as proxy, connection(proxy) as (reader, writer):
        proxy.freeze()
        writer.write(b"lost")
        assert await is_silent(reader)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_delay_holds_every_byte_but_lets_many_wait_together() -> None:
    """A round trip takes twice the delay, and ten chunks one after the other take no longer than one."""
    async with proxied_echo() as proxy, connection(proxy) as (reader, writer):
        proxy.delay(0.3)
        now = asyncio.get_running_loop().time
        began = now()
        for number in range(10):
            writer.write(b"%d" % number)
            await asyncio.sleep(0.01)
        assert await reader.readexactly(10) == b"0123456789"
        took = now() - began
        assert took >= 2 * 0.3
        assert took < 10 * 2 * 0.3  # what one after the other would take


async def test_a_target_that_is_away_resets_the_client() -> None:
    """A proxy without a server behind it behaves like a server that crashes, not like one that is slow."""
    async with proxied_echo() as proxy:
        port = proxy.port
    async with Proxy(HOST, port) as orphan, connection(orphan) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
