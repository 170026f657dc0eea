"""Makes aiokafka hear a coordinator that cannot say what was committed.

One that moves, loads or stops answers OffsetFetch with an error for the whole of it, and with no partitions. aiokafka 0.14
reads only the partitions: to it nothing was ever committed, and everything is read again from the beginning. Importing this
module makes an error of it, as a partition's would be; those that pass are asked again. A later aiokafka that does this
itself never sees the error, and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest


def _hears(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def send(self: GroupCoordinator, request: Any) -> Any:
        response = await method(self, request)
        if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
            error = for_code(code)
            if error in (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
                self.coordinator_dead()
            raise error
        return response

    return send


GroupCoordinator._send_req = _hears(GroupCoordinator._send_req)
