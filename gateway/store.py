"""A connection to Redis or Valkey: scripts of a batch, one at a time.

Everything the gateway keeps there is written and read by a handful of Lua scripts, each called once per batch with one
MessagePack argument: packing two hundred arguments costs more than the round trip. redis-py does what is hard (URL, TLS,
authentication, RESP); its command layer is left out, since it costs more per call than all of our batch.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from typing import Any, cast

import hiredis
import msgspec
from redis import exceptions
from redis.asyncio import Connection, ConnectionPool

from gateway.errors import StoreUnavailable
from gateway.metrics.meters import histogram

log = logging.getLogger("gateway.store")

_FAILURES = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_LOADING = (
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
)
_REFUSAL = re.compile(r"(?:^|-)(?:MISCONF|NOREPLICAS|BUSY) ")
"""A full disk, too few replicas, another's script that does not end: redis-py has no classes for these."""


def refuses_writes(error: exceptions.ResponseError) -> bool:
    """Whether the store says that it takes nothing for now; what else it says is a mistake of ours."""
    return _REFUSAL.search(str(error)) is not None


class Script:
    """A Lua script. It is given its one argument as `cmsgpack`, and answers whatever RESP can say."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source.encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


class Calls:
    """How the calls of a process went, over all its connections."""

    def __init__(self) -> None:
        self.seconds = histogram("recado_store_call_seconds")
        self.failures = 0


class Store:
    """Runs scripts over one connection, in the order in which they were called.

    `timeout` is seconds for one call, connecting included. After a failure the next call connects again.
    """

    def __init__(self, url: str, timeout: float = 5.0, calls: Calls | None = None) -> None:
        self.calls = calls or Calls()
        self._timeout = timeout
        self._pool = ConnectionPool.from_url(url, socket_timeout=None, socket_connect_timeout=timeout)
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def run(self, script: Script, argument: Any) -> Any:
        """Call a script; raises `StoreUnavailable` when Redis is away, slow beyond the timeout, or refuses to write.

        A call that failed may have been executed: every script of ours can be repeated. Cancelling drops the connection, since
        an answer would otherwise be taken for that of the next call.
        """
        return await self.run_packed(script, msgspec.msgpack.encode(argument))

    async def run_packed(self, script: Script, packed: bytes) -> Any:
        """Call a script with an argument that is MessagePack already; as `run` in all else."""
        async with self._turn:
            started = time.monotonic()
            try:
                async with asyncio.timeout(self._timeout):
                    try:
                        answer = await self._call(b"EVALSHA", script.sha, b"0", packed)
                    except exceptions.NoScriptError:
                        answer = await self._call(b"EVAL", script.source, b"0", packed)
                self.calls.seconds.observe(time.monotonic() - started)
                return answer
            except (*_LOADING, exceptions.ResponseError) as error:
                if not isinstance(error, _LOADING) and not refuses_writes(error):
                    raise
                self.calls.failures += 1
                # Another server may be the primary by now, at the same name: who stays is told READONLY for ever.
                await self._drop()
                raise StoreUnavailable(str(error)) from error
            except (*_FAILURES, TimeoutError) as error:
                self.calls.failures += 1
                await self._drop()
                raise StoreUnavailable(str(error) or f"no answer within {self._timeout} s") from error
            except asyncio.CancelledError:
                await self._drop()
                raise

    async def close(self) -> None:
        await self._drop()

    async def _call(self, *args: bytes) -> Any:
        connection = self._connection
        if connection is None:
            connection = cast("Connection", self._pool.make_connection())  # type: ignore[no-untyped-call]
            await connection.connect()  # type: ignore[no-untyped-call]
            self._connection = connection
        packed = hiredis.pack_command(args)  # type: ignore[arg-type]  # its stub means tuples of any length
        try:
            await connection.send_packed_command(packed, check_health=False)
        except RuntimeError as error:  # how uvloop says that the transport is closed
            raise exceptions.ConnectionError(str(error)) from error
        return await connection.read_response(disable_decoding=True)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


class Patience:
    """Repeats a call to the store until it answers: the caller stands still meanwhile, which is what stops its stage.

    Says once that the store is away for `stages`, and once that it is back. Cancelling a wait is safe.
    """

    def __init__(self, store: Store, stages: str = "its stages") -> None:
        self._store = store
        self._stages = stages
        self.away = False

    async def run(self, script: Script, argument: Any) -> Any:
        delay = 0.05
        while True:
            try:
                answer = await self._store.run(script, argument)
            except StoreUnavailable as error:
                if not self.away:
                    self.away = True
                    log.error("store away, %s wait reason=%r", self._stages, str(error))
                await asyncio.sleep(delay)
                delay = min(1.0, delay * 2)
            else:
                if self.away:
                    self.away = False
                    log.warning("store back for %s", self._stages)
                return answer
