"""A port over HTTP whose provider cannot be reached: refused, unknown, private, or not who it says."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from aiohttp.abc import ResolveResult
from aiohttp.resolver import DefaultResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.providers.contract import PUT_BACK
from tests.providers.http_stage import (
    Plain,
    Server,
    Stage,
    running,
)


async def test_a_port_that_cannot_connect_is_down_until_it_can() -> None:
    """The message counts an attempt, the rest of the lane is left alone, and the way back needs no message."""
    server = Server()
    await server.open()
    await server.close()
    async with running(Stage(Plain(f"http://127.0.0.1:{server.port}"))) as stage:
        assert await stage.outcome("a") == {"a": "retry connect"}
        assert (stage.port.bound, stage.port.room, stage.ups) == (False, 0, 1)
        assert stage.port.down_reason.startswith("connect: ")
        await server.open()
        await stage.until(lambda: stage.port.bound)
        assert (stage.ups, stage.port.down_reason, stage.inbox.wake.is_set()) == (2, "", True)
        assert await stage.outcome("b") == {"b": "id-b"}
    await server.close()
    assert server.probes == 1


async def test_what_waits_behind_a_failed_connection_is_put_back() -> None:
    """It was not written: it goes back without an attempt, last one first, for whoever puts back puts in front."""
    server = Server()  # accepts, and never shakes hands
    await server.open()
    provider = Plain(f"https://127.0.0.1:{server.port}", batch=4)
    async with running(Stage(provider, concurrency=1, connect_timeout_s=0.1)) as stage:
        stage.submit("a")
        await stage.until(lambda: server.connections)
        stage.submit("b", "c", "d")
        said = await stage.results(4)
        assert stage.port.down_reason == "connect: timeout"
    await server.close()
    assert list(said.items())[:4] == [
        ("a", "retry connect"),
        ("d", "throttled put-back"),
        ("c", "throttled put-back"),
        ("b", "throttled put-back"),
    ]
    assert PUT_BACK.after == 0.0


async def test_one_probe_at_a_time() -> None:
    """However many requests fail at once, one task looks whether it is over."""
    server = Server()
    await server.open()
    await server.close()
    async with running(
        Stage(Plain(f"http://127.0.0.1:{server.port}"), reconnect_min_s=60, reconnect_max_s=60)
    ) as stage:
        await stage.outcome(*"abcd")
        assert len([task for task in asyncio.all_tasks() if task.get_name().startswith("recovery")]) == 1


@pytest.mark.parametrize(
    ("errno", "said"),
    [(socket.EAI_NONAME, "Name or service not known"), (socket.EAI_AGAIN, "Temporary failure in name resolution")],
)
async def test_a_name_that_cannot_be_looked_up_takes_the_port_down(
    errno: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was written: it may be there again in a minute. Whether the name is wrong or its server away is another matter."""

    async def resolve(*_: object, **__: object) -> list[ResolveResult]:
        raise socket.gaierror(errno, said)

    monkeypatch.setattr(DefaultResolver, "resolve", resolve)
    async with running(Stage(Plain("http://provider.invalid"))) as stage:
        assert await stage.outcome("a") == {"a": "retry connect"}
        assert stage.port.down_reason == f"dns: {said}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_never_connected_to(host: str) -> None:
    """Whether it stands in the URL or behind a name."""
    server = Server()
    await server.open()
    provider = Plain(f"https://{host}:{server.port}")
    async with running(Stage(provider, allow_private=False)) as stage:
        assert await stage.outcome("a") == {"a": "retry connect"}
        assert "not a public address" in stage.port.down_reason
    await server.close()
    assert server.connections == 0


@pytest.mark.parametrize("url", ["http://8.8.8.8", "ftp://8.8.8.8", "https://127.1", "https://8.8.8.8:99999", "https:"])
async def test_a_url_that_cannot_be_used_stops_the_lane(url: str) -> None:
    """It is the lane's: a person has to look, and no message is spent on it."""
    async with running(Stage(Plain(url), allow_private=False)) as stage:
        assert await stage.outcome("a") == {"a": "stop url"}
        assert stage.port.bound


async def test_certificates_are_checked(tmp_path: Path) -> None:
    """Of a certificate that nobody vouches for nothing is sent; `ca_file` vouches for it."""
    ca_file, tls = _certificate(tmp_path)
    server = Server()
    await server.open(tls)
    provider = Plain(f"https://127.0.0.1:{server.port}")
    async with running(Stage(provider)) as stage:
        assert await stage.outcome("a") == {"a": "retry connect"}
        assert "certificate verify failed" in stage.port.down_reason
    assert server.requests == []
    async with running(Stage(provider, ca_file=ca_file)) as stage:
        assert await stage.outcome("a") == {"a": "id-a"}
    await server.close()


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "key.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return folder / "ca.pem", tls
