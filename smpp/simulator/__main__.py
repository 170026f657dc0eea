"""The simulator as a process of its own: `python -m smpp.simulator --help`.

Once it listens it prints one line of JSON, {"port": …, "control_port": …}, and it ends by SIGTERM, SIGINT or the command `stop`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
import time
from collections.abc import Sequence
from typing import get_args

import msgspec
import uvloop

from smpp.simulator.account import Account
from smpp.simulator.behaviour import Behaviour
from smpp.simulator.control import Control
from smpp.simulator.record import RecordMode
from smpp.simulator.server import Simulator


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m smpp.simulator", description="An SMSC that delivers to nobody.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="SMPP port; 0 takes any that is free")
    parser.add_argument("--control-port", type=int, default=0, help="port for JSON commands; 0 takes any that is free")
    parser.add_argument(
        "--account",
        action="append",
        metavar="SYSTEM_ID[:PASSWORD]",
        help="an account, as often as there are any (default: recado:recado)",
    )
    parser.add_argument("--record", choices=get_args(RecordMode), default="counts")
    parser.add_argument("--behaviour", default="{}", help="JSON of what differs from the defaults, for all accounts")
    parser.add_argument("--deliver-window", type=int, default=1000, help="deliveries of a bind not yet answered")
    parser.add_argument("--deliver-timeout", type=float, default=10.0, help="seconds until one is sent again")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


async def run(arguments: argparse.Namespace, behaviour: Behaviour) -> None:
    """Serve until told to stop."""
    # An SMSC does not give out an id again when it was restarted.
    first_id = int(time.time()) * 1_000_000
    accounts = []
    for given in arguments.account or ["recado:recado"]:
        system_id, _, password = given.partition(":")
        accounts.append(
            Account(system_id, password, behaviour, record=arguments.record, first_id=first_id, seed=arguments.seed)
        )
    simulator = Simulator(
        accounts,
        host=arguments.host,
        port=arguments.port,
        deliver_window=arguments.deliver_window,
        deliver_timeout=arguments.deliver_timeout,
    )
    control = Control(simulator)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.stopped.set)
    async with simulator:
        await control.start(arguments.host, arguments.control_port)
        ports = {"port": simulator.port, "control_port": control.port}
        sys.stdout.write(msgspec.json.encode(ports).decode() + "\n")
        sys.stdout.flush()
        await control.stopped.wait()
        await control.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = parse_arguments(arguments)
    try:
        behaviour = msgspec.json.decode(parsed.behaviour, type=Behaviour)
    except msgspec.MsgspecError as error:
        sys.stderr.write(f"--behaviour: {error}\n")
        return 2
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(run(parsed, behaviour))
    return 0


if __name__ == "__main__":
    sys.exit(main())
