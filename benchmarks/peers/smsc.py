"""The simulated SMSC as a process of its own; its record of arrivals is the truth of every figure."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Self

from benchmarks.peers.peer import PASSWORD, SYSTEM_ID
from benchmarks.peers.verdict import Arrival
from gateway.embedded import Probe, Server, free_port
from smpp.simulator import ControlClient

_PROBE = Probe(b'{"do":"stats"}\n', b'{"result"')
RECEIPT_DELAY_S = 1.0
"""From the answer to the receipt: no phone is faster, and a peer that has not yet noted the answer would be punished for it."""
_BEHAVIOUR = f'{{"receipt_delay_s": {RECEIPT_DELAY_S}}}'
_BIND_PATIENCE_S = 60.0


class SMSC(Server):
    """`python -m smpp.simulator` with one account: it accepts and delivers everything, and its record keeps all that came."""

    def __init__(self) -> None:
        self.smpp_port = free_port()
        control_port = free_port()
        command = [sys.executable, "-m", "smpp.simulator", "--account", f"{SYSTEM_ID}:{PASSWORD}", "--record", "full"]
        command += ["--port", str(self.smpp_port), "--control-port", str(control_port)]
        command += ["--behaviour", _BEHAVIOUR]
        super().__init__("the simulator", command, control_port, _PROBE)
        self._control = ControlClient(control_port)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self._control.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._control.__aexit__()
        await super().__aexit__(*exc)

    async def counts(self) -> dict[str, Any]:
        """`smpp.simulator.record.Counts` of the account."""
        counts: dict[str, Any] = (await self._control.call("stats"))[SYSTEM_ID]
        return counts

    async def bound(self) -> None:
        """Wait until somebody has bound. Raises TimeoutError after a minute."""
        async with asyncio.timeout(_BIND_PATIENCE_S):
            while not (await self.counts())["binds"]:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)

    async def arrivals(self) -> list[Arrival]:
        """Every submit_sm that was accepted, in order."""
        rows = await self._control.call("arrivals", system_id=SYSTEM_ID)
        return [Arrival(to, at) for to, at, status in rows if not status]
