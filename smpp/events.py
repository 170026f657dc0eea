"""What a session reports: one value for everything that came in, went out of time, or ended."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from smpp.pdu import Bind, BindResp, DataSM, DeliverSM, SubmitSM

__all__ = ["Closed", "Event", "Expired", "LateResponse", "Malformed", "Response", "Unexpected"]


class Response(msgspec.Struct, gc=False):
    """The peer answered a request: `context` is what came with it, `message_id` is empty where the answer has none."""

    context: Any
    command_status: int
    message_id: str


class LateResponse(msgspec.Struct, gc=False):
    """An answer to a request that had already ended in `Expired`."""

    context: Any
    command_status: int
    message_id: str


class Expired(msgspec.Struct, gc=False):
    """No answer within the response timeout: whether the request was accepted is unknown."""

    context: Any


class Malformed(msgspec.Struct, gc=False):
    """The peer sent a PDU that could not be read: a request was nacked, the message_id of an answer taken for none."""

    command_id: int
    reason: str


class Unexpected(msgspec.Struct, gc=False):
    """A response to nothing we asked, or a request that this state or role does not take; it was refused."""

    command_id: int


class Closed(msgspec.Struct):
    """The session is over. `unanswered` are the contexts whose outcome is unknown; `clean` after an orderly unbind."""

    reason: str
    unanswered: list[Any]
    clean: bool = False


Event: TypeAlias = (
    Response
    | LateResponse
    | Expired
    | Malformed
    | Unexpected
    | Closed
    | Bind
    | BindResp
    | SubmitSM
    | DeliverSM
    | DataSM
)
