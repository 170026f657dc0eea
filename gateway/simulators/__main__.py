"""The simulators as a process of their own: `python -m gateway.simulators whatsapp --help`, `… http --help`.

Once it listens it prints one line of JSON, {"port": …}, and it ends by SIGTERM, SIGINT or the command `stop`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Sequence

import msgspec
import uvloop

from gateway.errors import GatewayError
from gateway.simulators.control import Control
from gateway.simulators.server import Simulator
from gateway.simulators.setup import HttpSetup, Setup, WhatsAppSetup, read_setup

_SETUPS: dict[str, type[Setup]] = {"whatsapp": WhatsAppSetup, "http": HttpSetup}


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.simulators", description="Providers over HTTP that deliver to nobody."
    )
    parser.add_argument("kind", choices=_SETUPS)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="of requests and commands; 0 takes any that is free")
    parser.add_argument("--webhook-url", default="", help="where callbacks go; of http, {vendor} in it is replaced")
    parser.add_argument("--setup", default="{}", help="JSON, or a file of it, with all else: see setup.py")
    return parser.parse_args(arguments)


async def run(simulator: Simulator) -> None:
    """Serve until told to stop."""
    control = Control(simulator)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.stopped.set)
    async with simulator:
        sys.stdout.write(msgspec.json.encode({"port": simulator.port}).decode() + "\n")
        sys.stdout.flush()
        await control.stopped.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = parse_arguments(arguments)
    try:
        setup = read_setup(parsed.setup, _SETUPS[parsed.kind], webhook_url=parsed.webhook_url)
    except GatewayError as error:
        sys.stderr.write(f"--setup: {error}\n")
        return 2
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(run(setup.simulator(parsed.host, parsed.port)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
