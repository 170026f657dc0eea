"""Ports that cannot be had, known before anything is begun: a process that nobody could call does not join the groups."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import ConfigError, Problem

_HIGHEST = 65_535
_RESOLVE_S = 5.0


@contextmanager
def explained(section: str, host: str, port: int) -> Iterator[None]:
    """Raise `ConfigError` where listening at `host` and `port`, which a section of the configuration names, is refused."""
    try:
        if port > _HIGHEST:
            raise OverflowError
        yield
    except (OSError, OverflowError) as error:
        raise ConfigError((_problem(section, host, port, error),)) from error


async def probe(section: str, host: str, port: int) -> None:
    """Raise `ConfigError` if a port that processes share cannot be had; 0 is none.

    Nobody listens at it meanwhile: whoever connected would have to wait until this process can take what he brings.
    """
    if not port:
        return
    with explained(section, host, port):
        async with asyncio.timeout(_RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        # As asyncio does, which listens at the others; where there are none, it is said why.
        for family, kind, protocol, _, address in [one for one in found if _has(one[0])] or found:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:  # as asyncio does, which binds to both
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tried.bind(address)


def _has(family: int) -> bool:
    """Whether this machine has a family of addresses: it may name one of IPv6, and its kernel be without."""
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def _problem(section: str, host: str, port: int, error: Exception) -> Problem:
    code = error.errno if isinstance(error, OSError) else None
    if isinstance(error, OverflowError):
        return Problem(f"{section}.port", f"{port} is no port", "begin lower: with --workers each process has the next")
    if code == errno.EADDRINUSE:
        remedy = "end what listens there (`ss -ltnp` names it), or choose another port"
        return Problem(f"{section}.port", f"{port} of {host} is taken", remedy)
    if code in (errno.EACCES, errno.EPERM):
        remedy = "choose one above 1023, or allow the process CAP_NET_BIND_SERVICE"
        return Problem(f"{section}.port", f"{port} may not be opened by this user", remedy)
    if code == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror | TimeoutError):
        remedy = "name one of its addresses, 127.0.0.1 or 0.0.0.0"
        return Problem(f"{section}.host", f"{host} is no address of this machine", remedy)
    return Problem(
        f"{section}.port", f"{port} of {host}: {os.strerror(code) if code else error}", "choose another port"
    )
