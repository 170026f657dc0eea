"""A Prometheus of our own: as it is configured for operation, but that it looks every half second."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import ClientSession

from gateway.embedded import HOST, Probe, Server, free_port

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"
_READY = Probe(b"GET /-/ready HTTP/1.0\r\n\r\n", b"200 OK")


class Prometheus:
    """Answers queries."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, query: str) -> list[Any]:
        """Return the series of an instant query; AssertionError with what Prometheus says of a bad one."""
        async with self._session.get(f"{self._url}/api/v1/query", params={"query": query}) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{query}: {answer['error']}"
        result: list[Any] = answer["data"]["result"]
        return result


@asynccontextmanager
async def running(folder: Path, workers: Iterable[str]) -> AsyncIterator[Prometheus]:
    """Run Debian's package over the configuration and the rules of `deploy/`; `workers` are `host:port`."""
    port = free_port()
    config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(DEPLOYED / file) for file in config["rule_files"]]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "workers.yml").write_text(yaml.safe_dump([{"targets": list(workers)}]))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    command += [f"--web.listen-address={HOST}:{port}", "--log.level=error"]
    async with Server("Prometheus", command, port, _READY), ClientSession() as session:
        yield Prometheus(session, f"http://{HOST}:{port}")
