"""Makes aiokafka survive a connection that closes under it on uvloop.

Writing to a transport that has just been closed raises OSError on asyncio's own loop and RuntimeError on uvloop's. aiokafka
expects only the first: the second ends its tasks for fetching, for heartbeats and for producing, and nothing starts them again
(https://github.com/aio-libs/aiokafka/issues/1038). Importing this module turns it into what aiokafka retries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


def _survives(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def send(self: AIOKafkaConnection, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"connection to {self.host}:{self.port} broke") from error

    return send


AIOKafkaConnection.send = _survives(AIOKafkaConnection.send)
AIOKafkaConnection._send_sasl_token = _survives(AIOKafkaConnection._send_sasl_token)
