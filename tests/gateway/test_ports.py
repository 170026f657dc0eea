"""Ports: had before anything else is begun, and what is said where one cannot be had."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway import ports
from gateway.embedded import free_port
from gateway.errors import ConfigError
from tests.gateway.test_cli import recado, write

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody listens who shares it with nobody."""
    with closing(socket.create_server((HOST, 0))) as server:
        yield server.getsockname()[1]


async def test_a_port_is_shared_with_those_who_share_it() -> None:
    """The processes of one machine; whoever connects meanwhile reaches those who listen, and nobody else."""
    with closing(socket.create_server((HOST, 0), reuse_port=True)) as server:
        await ports.probe("webhooks", HOST, server.getsockname()[1])
        with closing(socket.create_connection(server.getsockname())):
            server.accept()[0].close()


async def test_a_port_can_be_had_after_it_was_asked_for() -> None:
    """Nothing is left of the question; also of a name with several addresses."""
    port = free_port()
    for _ in range(2):
        await ports.probe("webhooks", "localhost", port)
    socket.create_server((HOST, port)).close()


def without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a kernel without IPv6, on a machine that names its addresses as one with it does."""

    class Socket(socket.socket):
        def __init__(self, family: int = -1, *rest: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest)

    async def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        first = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        return [first] if host == "::1" else [first, (socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]

    monkeypatch.setattr(socket, "socket", Socket)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)


async def test_only_the_addresses_of_families_that_the_machine_has_are_tried(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """At those the server listens, and leaves out the others."""
    port = free_port()
    without_ipv6(monkeypatch)
    await ports.probe("webhooks", "localhost", port)
    with pytest.raises(ConfigError, match="is taken"):
        await ports.probe("webhooks", "localhost", taken)


async def test_a_host_without_any_address_of_such_a_family_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would listen, and nothing would say so."""
    without_ipv6(monkeypatch)
    with pytest.raises(ConfigError, match="Address family not supported"):
        await ports.probe("webhooks", "::1", 8080)


async def test_port_0_is_none() -> None:
    """What is off is not asked for."""
    await ports.probe("webhooks", "nowhere.invalid", 0)


async def test_a_port_that_is_taken_is_a_problem_of_the_configuration(taken: int) -> None:
    """With where it stands there, and what to do."""
    with pytest.raises(ConfigError) as refused:
        await ports.probe("webhooks", HOST, taken)
    [problem] = refused.value.problems
    assert (problem.path, problem.what) == ("webhooks.port", f"{taken} of {HOST} is taken")
    assert "ss -ltnp" in problem.remedy


@pytest.mark.parametrize(
    ("host", "port", "error", "path", "what"),
    [
        (HOST, 80, OSError(errno.EACCES, "x"), "admin.port", "80 may not be opened by this user"),
        ("192.0.2.1", 80, OSError(errno.EADDRNOTAVAIL, "x"), "admin.host", "192.0.2.1 is no address of this machine"),
        ("nowhere", 80, socket.gaierror(-2, "x"), "admin.host", "nowhere is no address of this machine"),
        (HOST, 80, OSError(errno.ENOBUFS, "x"), "admin.port", f"80 of {HOST}: No buffer space available"),
        (HOST, 65_536, None, "admin.port", "65536 is no port"),
    ],
)
def test_every_refusal_is_told_in_words(host: str, port: int, error: OSError | None, path: str, what: str) -> None:
    """By what the system says."""

    def listen() -> None:
        with ports.explained("admin", host, port):
            assert error is not None
            raise error

    with pytest.raises(ConfigError) as refused:
        listen()
    [problem] = refused.value.problems
    assert (problem.path, problem.what, bool(problem.remedy)) == (path, what, True)


@pytest.mark.parametrize("section", ["admin", "webhooks"])
def test_a_gateway_whose_port_is_taken_does_not_begin(tmp_path: Path, taken: int, section: str) -> None:
    """Exit code 2 as of any mistake in a configuration, before Kafka is asked, which is not there either."""
    config = write(tmp_path)
    config.write_text(f"{config.read_text()}\n[{section}]\nport = {taken}\n")
    done = recado("run", "-c", config, "--log-level", "ERROR")
    assert (done.returncode, done.stdout) == (2, "")
    head, problem = done.stderr.splitlines()
    assert head == "recado: the configuration cannot be used on this machine"
    assert problem.startswith(f"  {section}.port: {taken} of {HOST} is taken (")
