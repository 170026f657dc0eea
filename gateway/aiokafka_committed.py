"""Makes aiokafka hear a coordinator that cannot say what was committed, and commit nothing of an assignment that is over.

One that moves, loads or stops answers OffsetFetch with an error for the whole of it, and with no partitions. aiokafka 0.14
reads only the partitions: to it nothing was ever committed, and everything is read again from the beginning. Importing this
module makes an error of it, as a partition's would be; those that pass are asked again. A later aiokafka that does this
itself never sees the error, and loses nothing.

A commit that has to be repeated goes out as of whatever generation there is by then: the offsets of one assignment would be
committed in the next, also of partitions that others have by now, who have committed more. And one that meets a join is refused,
for which aiokafka forgets the membership that it was just given. Either fails here, before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    NotCoordinatorForGroupError,
    for_code,
)
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


def _in_its_time(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def send(self: GroupCoordinator, assignment: Any, offsets: Any) -> None:
        joining = (
            self._performed_join_prepare
        )  # from the return of the listener that let go until the next one has taken over
        if joining or not assignment.active:
            raise IllegalGenerationError(self.group_id)
        await method(self, assignment, offsets)

    return send


GroupCoordinator._send_req = _hears(GroupCoordinator._send_req)
GroupCoordinator._do_commit_offsets = _in_its_time(GroupCoordinator._do_commit_offsets)
