"""The far ends of HTTP lanes for tests, demonstrations and benchmarks: real sockets, scripted misbehaviour, nobody is reached.

`behaviour` says how a client is treated and `script` what happens next, `end` what a far end is without its socket, `whatsapp`
and `vendors` those there are, `record` what arrived, `server` and `courier` the sockets, `control` the same from another process
(`python -m gateway.simulators`).
"""

from gateway.simulators.behaviour import Behaviour
from gateway.simulators.control import Control, ControlClient, ControlError
from gateway.simulators.limits import Limits
from gateway.simulators.script import Scripted
from gateway.simulators.simulators import HttpSimulator, WhatsAppSimulator
from gateway.simulators.vendors import Account
from gateway.simulators.whatsapp import TemplateState, WhatsApp

__all__ = [
    "Account",
    "Behaviour",
    "Control",
    "ControlClient",
    "ControlError",
    "HttpSimulator",
    "Limits",
    "Scripted",
    "TemplateState",
    "WhatsApp",
    "WhatsAppSimulator",
]
