"""`recado sim smsc`: the simulated SMSC for a person at a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.cli.terminal import say
from gateway.errors import GatewayError
from smpp.constants import CommandStatus
from smpp.simulator import Account, Behaviour, Simulator
from smpp.simulator.control import Control

_REPORT_EVERY_S = 5.0


class InvalidKnob(GatewayError):
    """A behaviour that means nothing."""


def behaviour(given: str | None, **knobs: Any) -> Behaviour:
    """Join what JSON (a text, or the path of a file) says with single knobs, which go first; None is not given.

    Raises `InvalidKnob`.
    """
    try:
        text = Path(given).read_bytes() if given and not given.lstrip().startswith("{") else (given or "{}").encode()
        fields = msgspec.json.decode(text, type=dict[str, Any])
        fields |= {name: value for name, value in knobs.items() if value not in (None, {})}
        return msgspec.convert(fields, Behaviour, str_keys=True)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise InvalidKnob(str(error)) from error


def statuses(given: Iterable[str]) -> dict[int, float]:
    """Read `ESME_RSYSERR=0.01` and the like: the share of submit_sm that are refused with a status."""
    shares = {}
    for name, share in _shares(given):
        try:
            number = CommandStatus[name] if name in CommandStatus.__members__ else int(name, 0)
        except ValueError:
            raise InvalidKnob(f"{name} is no status: ESME_RSYSERR, or a number such as 0x400") from None
        shares[int(number)] = share
    return shares


def states(given: Iterable[str]) -> dict[str, float]:
    """Read `UNDELIVERABLE=0.05` and the like: the share of messages that end in a state. The rest is DELIVERED."""
    shares = dict(_shares(given))
    return {"DELIVERED": max(0.0, 1 - sum(shares.values())), **shares} if shares else {}


def accounts(system_ids: Sequence[str], passwords: Sequence[str], how: Behaviour) -> list[Account]:
    """Pair logins with their passwords; without any, `recado` with the password `recado`."""
    if len(system_ids) != len(passwords):
        raise InvalidKnob(f"{len(system_ids)} system ids and {len(passwords)} passwords: give one for each")
    logins = list(zip(system_ids, passwords, strict=True)) or [("recado", "recado")]
    # An SMSC does not give out an id again when it was restarted.
    first_id = int(time.time()) * 1_000_000
    return [Account(name, password, how, first_id=first_id) for name, password in logins]


async def serve(simulated: Sequence[Account], host: str, port: int, control_port: int | None) -> None:
    """Serve until cancelled or told to stop, and say every few seconds what happened. Raises OSError for a taken port."""
    simulator = Simulator(simulated, host=host, port=port)
    control = Control(simulator)
    async with simulator, _controlled(control, host, control_port):
        say(f"SMSC on {host}:{simulator.port}, accounts: {', '.join(simulator.accounts)}")
        if control_port is not None:
            say(f"commands on {host}:{control.port}, one JSON object a line")
        last = {account.system_id: 0 for account in simulated}
        lines: dict[str, str] = {}
        while not control.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(control.stopped.wait(), _REPORT_EVERY_S)
            for account in simulated:
                name = account.system_id
                rate = (account.counts.accepted - last[name]) / _REPORT_EVERY_S
                last[name] = account.counts.accepted
                line = _status(account, rate)
                if line != lines.get(name):
                    say(f"{time.strftime('%H:%M:%S')}  {line}")
                lines[name] = line


@contextlib.asynccontextmanager
async def _controlled(control: Control, host: str, port: int | None) -> AsyncIterator[None]:
    if port is not None:
        await control.start(host, port)
    try:
        yield
    finally:
        await control.close()


def _status(account: Account, rate: float) -> str:
    counts = account.counts
    refused = "".join(f", {count:,} {name}" for name, count in counts.refused.items())
    return (
        f"{account.system_id}: {counts.binds} binds, {counts.accepted:,} accepted ({rate:,.0f}/s{refused}), "
        f"{counts.settled:,} deliveries answered, {counts.pending:,} pending"
    )


def _shares(given: Iterable[str]) -> Iterable[tuple[str, float]]:
    for text in given:
        name, _, share = text.partition("=")
        try:
            yield name, float(share)
        except ValueError:
            raise InvalidKnob(f"{text} is no NAME=SHARE, such as ESME_RSYSERR=0.01") from None
