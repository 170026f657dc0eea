"""An SMSC for tests, demonstrations and benchmarks: asyncio on a real socket, scripted misbehaviour, no message leaves it.

`behaviour` says how an account is treated, `account` is the SMSC's memory of it without a socket, `record` what arrived,
`connection` and `server` the sockets, `control` the same from another process (`python -m smpp.simulator`).
"""

from smpp.simulator.account import Account
from smpp.simulator.behaviour import Behaviour
from smpp.simulator.control import ControlClient, ControlError
from smpp.simulator.record import RecordMode
from smpp.simulator.server import GARBAGE, Simulator

__all__ = ["GARBAGE", "Account", "Behaviour", "ControlClient", "ControlError", "RecordMode", "Simulator"]
