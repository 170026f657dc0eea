"""The vendors of the HTTP simulator: a file each."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.simulators.vendors.aldeamo import Aldeamo
from gateway.simulators.vendors.generic import Generic
from gateway.simulators.vendors.infobip import Infobip
from gateway.simulators.vendors.rbm import Rbm
from gateway.simulators.vendors.sinch import Sinch
from gateway.simulators.vendors.twilio import Twilio
from gateway.simulators.vendors.vendor import Account, Vendor
from gateway.simulators.vendors.vonage import Vonage

__all__ = ["VENDORS", "Account", "Vendor"]

VENDORS: Mapping[str, type[Vendor]] = MappingProxyType(
    {vendor.kind: vendor for vendor in (Twilio, Infobip, Vonage, Sinch, Aldeamo, Rbm, Generic)}
)
"""By the first step of the path at which each is served."""
