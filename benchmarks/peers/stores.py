"""The brokers and stores that peers need, each alone on loopback ports with its data in a directory of the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.peers.peer import CACHE, Unavailable
from gateway.embedded import HOST, REDIS_PROBE, Probe, Server, free_port

_HERE = Path(__file__).parent
DEBIAN = CACHE / "debian"

_AMQP_PROBE = Probe(b"AMQP\0\0\x09\x01", b"AMQPLAIN")
_EPMD_NAMES = b"\0\1n"


def check_rabbitmq() -> None:
    if not (DEBIAN / "usr/lib/rabbitmq/bin").exists():
        raise Unavailable("no RabbitMQ: python -m benchmarks.peers.install debian")


def check_redis() -> None:
    if shutil.which("redis-server") is None:
        raise Unavailable("no redis-server: apt-get install redis-server")


def redis_version() -> str:
    said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return said.partition("v=")[2].split()[0]


def debian_versions(*packages: str) -> dict[str, str]:
    lines = (DEBIAN / "versions.txt").read_text().splitlines()
    versions = dict(line.split() for line in lines)
    return {package: versions[package] for package in packages}


def debian_libraries() -> str:
    """LD_LIBRARY_PATH for binaries that were unpacked and not installed."""
    return f"{DEBIAN}/usr/lib/x86_64-linux-gnu:{DEBIAN}/lib/x86_64-linux-gnu"


def redis(directory: Path) -> Server:
    """Redis with the defaults that it is installed with."""
    port = free_port()
    command = ["redis-server", "--bind", HOST, "--port", str(port), "--dir", str(directory)]
    return Server("redis", command, port, REDIS_PROBE)


@contextlib.asynccontextmanager
async def rabbitmq(directory: Path) -> AsyncIterator[Server]:
    """RabbitMQ and the port mapper of Erlang, which it would start as a daemon if there were none."""
    port, epmd_port = free_port(), free_port()
    for name in ("rabbitmq.conf", "rabbitmq-env.conf"):
        (directory / name).write_text((_HERE / name).read_text().replace("{port}", str(port)))
    environment = {
        "HOME": directory,
        "PATH": f"{DEBIAN}/usr/bin:{os.environ['PATH']}",
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": epmd_port,
        "ERL_CRASH_DUMP": "/dev/null",
        "RABBITMQ_ALLOW_INPUT": 1,  # the script becomes the virtual machine, so that its pid is ours to end
        "RABBITMQ_NODENAME": "peer@localhost",
        "RABBITMQ_DIST_PORT": free_port(),
        "RABBITMQ_CONFIG_FILE": directory / "rabbitmq",
        "RABBITMQ_CONF_ENV_FILE": directory / "rabbitmq-env.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": directory / "plugins",
        "RABBITMQ_MNESIA_BASE": directory / "mnesia",
        "RABBITMQ_LOG_BASE": directory / "log",
    }
    env = ["env", "-C", str(directory), *(f"{key}={value}" for key, value in environment.items())]
    script = next((DEBIAN / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    mapper = [*env, "epmd", "-port", str(epmd_port), "-address", HOST]
    answer = Probe(_EPMD_NAMES, epmd_port.to_bytes(4, "big"))
    async with (
        Server("epmd", mapper, epmd_port, answer),
        Server("rabbitmq", [*env, str(script)], port, _AMQP_PROBE) as server,
    ):
        yield server
