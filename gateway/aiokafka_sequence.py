"""Makes aiokafka number the records of an idempotent producer as Kafka does: after 2³¹ - 1 comes 0.

aiokafka 0.14 goes on with -2³¹, which Kafka refuses as invalid for the next two thousand million records of the partition: the
producer would stand until a restart, after some weeks of many messages. Importing this module mends it; a later aiokafka that
does it itself never has a number below 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from aiokafka import TopicPartition
from aiokafka.producer.transaction_manager import TransactionManager


def _from_zero(method: Callable[..., None]) -> Callable[..., None]:
    @wraps(method)
    def increment(self: Any, tp: TopicPartition, records: int) -> None:
        method(self, tp, records)
        if self._sequence_numbers[tp] < 0:
            self._sequence_numbers[tp] += 2**31

    return increment


TransactionManager.increment_sequence_number = _from_zero(TransactionManager.increment_sequence_number)
