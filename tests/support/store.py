"""The store that the tests run on: the embedded Valkey, or Redis with RECADO_TEST_STORE=redis."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.embedded import HOST, REDIS_PROBE, EmbeddedStore, Server, free_port

KIND = os.environ.get("RECADO_TEST_STORE", "embedded")


@asynccontextmanager
async def start_store(*, port: int | None = None) -> AsyncIterator[str]:
    """Run a store of the chosen kind, give its URL, and stop it at the end; it keeps everything in memory."""
    port = port or free_port()
    if KIND == "embedded":
        async with EmbeddedStore(port=port) as store:
            yield store.url
    elif KIND == "redis":
        command = ["redis-server", "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
        async with Server("Redis", command, port, REDIS_PROBE):
            yield f"redis://{HOST}:{port}/0"
    else:
        raise ValueError(f"RECADO_TEST_STORE={KIND} (embedded or redis)")
