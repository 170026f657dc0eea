"""Where requests may go, and how much of that may be written down.

An address is looked at when a socket is made for it, after every lookup: a name that changes its mind between a check and the
connection gains nothing, and an address that stands in a URL takes the same way.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import AddrInfoType
from yarl import URL

_UNICAST = IPv6Network("2000::/3")
"""What of IPv6 is given out to be routed everywhere (RFC 4291 §2.4, IANA's registry)."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052 §2.1: what a network without IPv4 makes of every IPv4 address."""
_PLAIN_SEGMENT = re.compile(r"[A-Za-z_.~-]{0,24}|v[0-9]{1,3}(\.[0-9]{1,3})?|[0-9]{4}-[0-9]{2}-[0-9]{2}")


class AddressRefused(OSError):
    """An address that is not of the public internet."""


def is_public(address: str) -> bool:
    """Say whether an address is one of the public internet, and of one machine there."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        carried = _carried(found)
        if carried is None:
            return found.is_global and found in _UNICAST
        found = carried
    return found.is_global and not found.is_multicast


def public_socket(address_info: AddrInfoType) -> socket.socket:
    """Make the socket for an address of `getaddrinfo`; raises `AddressRefused` for one that is not public."""
    family, kind, protocol, _, address = address_info
    if not is_public(address[0]):
        raise AddressRefused(f"{address[0]} is not a public address")
    return socket.socket(family, kind, protocol)


def objection(url: URL, allow_private: bool) -> str:
    """Say why no request goes to a URL, whatever its address turns out to be; empty where nothing is wrong with it."""
    if not url.raw_host:
        return "there is no host in the URL"
    if url.scheme == "https" or (allow_private and url.scheme == "http"):
        return ""
    return "the URL does not start with https://"


def redacted(url: URL) -> str:
    """Return the path of a URL for a log: no query, and only segments that look like words, versions or dates of an API.

    A number, an account or a token in a path is no such segment.
    """
    return "/".join(part if _PLAIN_SEGMENT.fullmatch(part) else "*" for part in url.raw_path.split("/"))


def _carried(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address in whose name an IPv6 address is used: RFC 4291 §2.5.5.2, RFC 3056 §2, RFC 6052 §2.1."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
