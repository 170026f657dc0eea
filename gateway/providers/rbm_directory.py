"""Whom an agent of RBM reaches, asked for many numbers at a time (rcs-business-messaging, reference/rest/v1/users/batchGet).

Only operators count at which the agent is launched: of one that is still being tested it says that it reaches nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from msgspec import Struct

from gateway.providers.contract import Call, Failure, Reply
from gateway.providers.hooks import plus
from gateway.providers.replies import by_status, read_json
from gateway.providers.requests import post_json


class _Reached(Struct, rename="camel"):
    # Left out where it is empty, as all of proto3's JSON.
    reachable_users: list[str] = []


_decode = msgspec.json.Decoder(_Reached)


class RbmDirectory:
    """One agent's; a `Directory`."""

    # The most is not documented; clients are seen to ask about ten times as many.
    batch = 1000

    def __init__(self, base_url: str, agent_id: str, *, per_s: float, reachable_s: float, unreachable_s: float) -> None:
        self.per_s = per_s
        self.reachable_s = reachable_s
        self.unreachable_s = unreachable_s
        self._url = base_url + "/v1/users:batchGet"
        self._agent = agent_id

    def ask(self, numbers: Sequence[str], token: str) -> Call:
        headers = (("authorization", f"Bearer {token}"),)
        return post_json(self._url, headers, {"users": numbers, "agentId": self._agent})

    def read(self, reply: Reply) -> Collection[str] | Failure:
        reached = read_json(_decode, reply.body) if reply.status == 200 else None
        return by_status(reply) if reached is None else {plus(user) for user in reached.reachable_users}
