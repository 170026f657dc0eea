"""What leaves the machine towards the store and the brokers: over TLS, to whoever proves itself, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from benchmarks.apache import ApacheKafka
from gateway import config, topics
from gateway.embedded import HOST, free_port
from gateway.errors import StoreUnavailable
from gateway.store import Script, Store
from tests.support.kafka import KIND

CERTIFICATE = Path(__file__).parents[1] / "vectors" / "localhost.pem"
"""Of localhost, signed by itself, with its key."""
SEVEN = Script("return 7")
SASL_HANDSHAKE, API_VERSIONS = 17, 18


@pytest.fixture
def other_authority(tmp_path: Path) -> Path:
    """A certificate that has signed nothing here."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    file = tmp_path / "other.pem"
    subject = ["-subj", "/CN=localhost", "-keyout", str(tmp_path / "key.pem"), "-out", str(file)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
    )
    return file


# Redis.


@pytest.fixture
def tls_store() -> Iterator[int]:
    """The port of a Redis that speaks nothing but TLS. The embedded store is built without."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed, and the embedded store is built without TLS")
    port = free_port()
    files = [f"--tls-{what}-file" for what in ("cert", "key", "ca-cert")]
    options = [part for option in files for part in (option, str(CERTIFICATE))]
    command = ["redis-server", "--bind", HOST, "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
    process = subprocess.Popen([*command, *options, "--save", ""], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert any("Ready to accept" in line for line in process.stdout)
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.asynccontextmanager
async def store(url: str) -> AsyncIterator[Store]:
    client = Store(url)
    yield client
    await client.close()
    await asyncio.sleep(0.05)  # the end of a TLS connection is agreed on behind our back


async def test_scripts_run_over_tls(tls_store: int) -> None:
    """With the authority that signed the server's certificate, by the server's name."""
    async with store(f"rediss://localhost:{tls_store}/0?ssl_ca_certs={CERTIFICATE}") as client:
        assert await client.run(SEVEN, []) == 7


async def test_a_store_that_does_not_prove_itself_is_away(tls_store: int, other_authority: Path) -> None:
    """By default, with another authority, and in plain text: nothing is run."""
    for url in (
        f"rediss://localhost:{tls_store}/0",
        f"rediss://localhost:{tls_store}/0?ssl_ca_certs={other_authority}",
        f"redis://localhost:{tls_store}/0",
    ):
        async with store(url) as client:
            with pytest.raises(StoreUnavailable):
                await client.run(SEVEN, [])


# Kafka.


class Broker:
    """Takes TLS connections, keeps the first request of each, and answers nothing."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[bytes] = asyncio.Queue()
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(4), "big")
            self.requests.put_nowait(await reader.readexactly(size))
        writer.close()


@contextlib.asynccontextmanager
async def broker() -> AsyncIterator[Broker]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    taken = Broker()
    async with await asyncio.start_server(taken, HOST, 0, ssl=context) as listening:
        taken.port = listening.sockets[0].getsockname()[1]
        yield taken


def kafka(port: int, **settings: Any) -> config.Kafka:
    return config.Kafka(bootstrap=f"localhost:{port}", idempotence=False, tls=True, **settings)


SASL = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "recado", "sasl_password": config.Secret("s3cret12")}


async def _reaches(settings: config.Kafka, taken: Broker) -> bytes:
    """The first request that a producer with these settings makes."""
    producer = topics.producer(settings)
    starting = asyncio.create_task(producer.start())
    asked = asyncio.create_task(taken.requests.get())
    await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED, timeout=20)
    starting.cancel()
    asked.cancel()
    await asyncio.wait((starting, asked))
    await producer.stop()
    if asked.cancelled():
        raise starting.exception() or AssertionError("nothing was asked")
    return asked.result()


@pytest.mark.parametrize("sasl", [{}, SASL], ids=["tls", "tls and sasl"])
async def test_brokers_are_spoken_to_over_tls(sasl: dict[str, Any]) -> None:
    """The first request comes through a handshake that the configured authority vouches for, and carries no password."""
    async with broker() as taken:
        request = await _reaches(kafka(taken.port, ca_file=CERTIFICATE, **sasl), taken)
        assert int.from_bytes(request[:2], "big") in (API_VERSIONS, SASL_HANDSHAKE)
        assert b"s3cret12" not in request


async def test_a_broker_that_does_not_prove_itself_is_told_nothing(other_authority: Path) -> None:
    """Neither by default, nor with another authority."""
    async with broker() as taken:
        for authority in (None, other_authority):
            with pytest.raises(KafkaError):
                await _reaches(kafka(taken.port, ca_file=authority, **SASL), taken)
        assert taken.requests.empty()


@pytest.mark.parametrize(
    ("settings", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"tls": True}, "SSL"),
        (SASL, "SASL_PLAINTEXT"),
        ({"tls": True, **SASL}, "SASL_SSL"),
    ],
)
async def test_every_client_is_told_what_is_configured(settings: dict[str, Any], protocol: str) -> None:
    """Protocol, mechanism, name and password reach the library, alike in producers and consumers."""
    configured = config.Kafka(bootstrap="localhost:1", idempotence=False, **settings)
    for client in (topics.producer(configured), topics.consumer(configured, "stage")):
        inner: Any = client.client if hasattr(client, "client") else client._client
        assert inner._security_protocol == protocol
        if protocol.startswith("SASL"):
            assert inner._sasl_mechanism == "SCRAM-SHA-512"
            assert (inner._sasl_plain_username, inner._sasl_plain_password) == ("recado", "s3cret12")
        if protocol.endswith("SSL"):
            assert inner._ssl_context.verify_mode is ssl.CERT_REQUIRED
            assert inner._ssl_context.check_hostname
        assert "s3cret12" not in repr(client)
        await client.stop()


# A real broker, where there is one.


@contextlib.asynccontextmanager
async def guarded(directory: Path) -> AsyncIterator[int]:
    """The port of an Apache Kafka that speaks TLS to whoever knows recado's password."""
    port = free_port()
    properties = {
        "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": CERTIFICATE,
    }
    user = ("--add-scram", f"SCRAM-SHA-512=[name=recado,password={SASL['sasl_password'].reveal()}]")
    listeners = (f"SASL_SSL://localhost:{port}",)
    async with ApacheKafka(
        directory, heap="512m", properties=properties, listeners=listeners, formatting=user
    ) as running:
        admin = AIOKafkaAdminClient(bootstrap_servers=running.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("recado.jobs", 1, 1)])
        await admin.close()
        yield port


@pytest.mark.servers
@pytest.mark.skipif(KIND != "kafka", reason="the embedded broker has neither TLS nor SASL: RECADO_TEST_BROKER=kafka")
async def test_a_broker_takes_whoever_knows_the_password_and_nobody_else(tmp_path: Path) -> None:
    """What is produced over TLS with SCRAM is read over TLS with SCRAM; a wrong password gets nothing."""
    async with guarded(tmp_path) as port:
        ours = kafka(port, ca_file=CERTIFICATE, **SASL)
        producer, consumer = topics.producer(ours), topics.consumer(ours, "intake")
        consumer.subscribe([ours.jobs_topic])
        await asyncio.gather(producer.start(), consumer.start())
        await producer.send_and_wait(ours.jobs_topic, b"a job")
        assert (await asyncio.wait_for(consumer.getone(), 20)).value == b"a job"
        await asyncio.gather(producer.stop(), consumer.stop())
        stranger = topics.producer(kafka(port, ca_file=CERTIFICATE, **SASL | {"sasl_password": config.Secret("wrong")}))
        with pytest.raises(KafkaError):
            await stranger.start()
        await stranger.stop()
