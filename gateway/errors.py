"""What can go wrong in the gateway, and what each kind of failure of a lane asks for."""

from enum import StrEnum
from typing import Literal

from msgspec import Struct

DeadKind = Literal["json", "schema", "content"]
"""What is wrong with a record that is no job."""


class Disposition(StrEnum):
    """What a failure asks for, whatever provider it came from (docs/design.md, "Dispositions")."""

    RETRY = "retry"
    """Certainly not accepted and may work later: again after a while, until the message expires."""
    THROTTLED = "throttled"
    """Told to slow down: put back without counting an attempt, and the lane's rate is cut."""
    REROUTE = "reroute"
    """This lane cannot carry it, another may."""
    REJECTED = "rejected"
    """Permanent for this message: it has failed."""
    HOLD = "hold"
    """Permanent for a part of the lane (a sender, a template): that part pauses, the rest goes on."""
    STOP = "stop"
    """Permanent for the lane (credentials, billing): it stops until a person has looked."""
    UNKNOWN = "unknown"
    """Written without an answer: the traffic class decides between waiting and sending again."""


class GatewayError(Exception):
    """Anything that this package raises on purpose."""


class Problem(Struct, frozen=True):
    """One thing in a configuration that needs a person: where it is, what is wrong and what to do about it."""

    path: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" + (f" ({self.remedy})" if self.remedy else "")


class ConfigError(GatewayError):
    """A configuration that cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class InvalidJob(GatewayError):
    """A record of the jobs topic that is not a job: it goes to the dead-letter topic and is never retried.

    It is counted by `kind`: `json` is none, `schema` has other fields than a job, `content` is what cannot be said so.
    """

    def __init__(self, reason: str, kind: DeadKind = "content") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind: DeadKind = kind


class MissingParameter(GatewayError):
    """A recipient for whom a placeholder of the text has no value: that recipient is rejected, the others go."""

    def __init__(self, name: str) -> None:
        super().__init__(f"parameter {name!r} is missing")
        self.name = name


class StoreUnavailable(GatewayError):
    """Kafka or the store of the ledger is away: stop taking in, do not guess, go on when it is back."""
