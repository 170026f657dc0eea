"""Asking gateways that run, at their admin ports: how they are, and to do something."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from gateway.cli import mistakes
from gateway.cli.terminal import fail
from gateway.config import Admin
from gateway.errors import GatewayError
from gateway.status import WorkerStatus

TOKEN = "RECADO_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
"""The variable that holds the token where no configuration says it."""

_TIMEOUT = aiohttp.ClientTimeout(total=5.0, connect=2.0)
_MOST = 256
"""Ports that are looked at from the configured one on: the processes of one machine."""
_GAP = 8
"""So many that do not answer side by side are the end of them: one that was drained or starts again leaves a gap."""

_decode = msgspec.json.Decoder(WorkerStatus).decode


class Deployment(msgspec.Struct, frozen=True):
    """Where the workers of a configuration answer on this machine, and what tells them from those of another."""

    admin: Admin
    name: str


class Unreachable(GatewayError):
    """Nobody answers there, or nobody of ours."""


class Denied(GatewayError):
    """A gateway that answers, and does not do it."""


async def statuses(urls: Sequence[str], ours: Deployment | None) -> dict[str, WorkerStatus | Unreachable]:
    """Ask gateways how they are: those named, or those of a configuration, from its port up to the last that is there.

    Of another configuration's workers, whose ports may lie among these, it is only said that they are there.
    """
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        if urls or ours is None:
            return await _ask(session, urls)
        found: dict[str, WorkerStatus | Unreachable] = {}
        all_ = _of(ours.admin)
        for first in range(0, len(all_), _GAP):
            answers = await _ask(session, all_[first : first + _GAP])
            for url, status in answers.items():
                if isinstance(status, WorkerStatus) and status.deployment != ours.name:
                    answers[url] = Unreachable(f"a gateway of {status.deployment} answers at {url}, not of {ours.name}")
            found |= answers
            if all(isinstance(status, Unreachable) for status in answers.values()):
                break
    last = max((n for n, status in enumerate(found.values()) if isinstance(status, WorkerStatus)), default=0)
    return dict(list(found.items())[: last + 1])


async def act(urls: Sequence[str], ours: Deployment | None, path: str) -> bool:
    """Have one gateway do something, which all of its deployment then do; True. Raises `Unreachable` or `Denied`.

    It is the first that answers, of those named or of a configuration: a token is for nobody else who listens there.
    """
    if not urls:
        found = await statuses(urls, ours)
        urls = [url for url, status in found.items() if isinstance(status, WorkerStatus)]
        if not urls:
            raise Unreachable("; ".join(map(str, found.values())))
    token = os.environ.get(TOKEN, "") or (ours.admin.token.reveal() if ours else "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    silent = []
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for url in urls:
            try:
                async with session.post(URL(url + path, encoded=True), headers=headers) as response:
                    said = (await response.text()).strip()
            except (aiohttp.ClientError, OSError, ValueError):
                silent.append(f"no gateway answers at {url}")
                continue
            if response.status != 200:
                raise Denied(said or f"HTTP {response.status}")
            return True
    raise Unreachable("; ".join(silent))


def deployment_of(config: Path | None, urls: Sequence[str] | None) -> Deployment | None:
    """Return what a configuration says of its workers, or end the command if there is nobody to ask."""
    loaded = mistakes.load(config) if config else None
    if not urls and loaded is None:
        fail("say where: --url http://127.0.0.1:9464, or --config with an admin.port", 2)
    if not urls and loaded is not None and not loaded.admin.port:
        fail("the configuration has no admin port: set admin.port", 2)
    return Deployment(loaded.admin, loaded.kafka.deployment) if loaded else None


def _of(admin: Admin) -> list[str]:
    """Where the workers of one machine are, the first of them first."""
    host = "127.0.0.1" if admin.host in ("0.0.0.0", "::") else admin.host  # noqa: S104 - where it listens, not where we ask
    named = f"[{host}]" if ":" in host else host
    return [f"http://{named}:{port}" for port in range(admin.port, min(admin.port + _MOST, 65_536))]


async def _ask(session: aiohttp.ClientSession, urls: Sequence[str]) -> dict[str, WorkerStatus | Unreachable]:
    return dict(zip(urls, await asyncio.gather(*(_status(session, url) for url in urls)), strict=True))


async def _status(session: aiohttp.ClientSession, url: str) -> WorkerStatus | Unreachable:
    try:
        async with session.get(f"{url}/lanes") as response:
            return _decode(await response.read())
    except (aiohttp.ClientError, OSError, ValueError, msgspec.DecodeError):
        return Unreachable(f"no gateway answers at {url}")
