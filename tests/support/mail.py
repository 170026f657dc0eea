"""A server of mail that takes everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


class MailServer:
    """Keeps what it was sent; `refused` addresses get a 550."""

    def __init__(self, refused: frozenset[str] = frozenset()) -> None:
        self.mails: list[EmailMessage] = []
        self.port = 0
        self._refused = refused

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        writer.write(b"220 ready\r\n")
        try:
            while line := await reader.readline():
                word = line.split(maxsplit=1)[0].upper()
                if word == b"DATA":
                    writer.write(b"354 go on\r\n")
                    octets = await reader.readuntil(b"\r\n.\r\n")
                    self.mails.append(message_from_bytes(octets[:-3], policy=default))
                refused = word == b"RCPT" and any(address.encode() in line for address in self._refused)
                writer.write(b"550 5.1.1 no such person\r\n" if refused else b"250 ok\r\n")
                if word == b"QUIT":
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def mail_server(*refused: str) -> AsyncIterator[MailServer]:
    """A server that listens on a port of its own."""
    server = MailServer(frozenset(refused))
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


def mail_lane(server: MailServer) -> dict[str, object]:
    """A lane to it."""
    settings = {"host": "127.0.0.1", "port": server.port, "tls": "off", "sender": "avisos@banco.example"}
    return {"provider": "smtp", "rate": 1000, "smtp": settings}
