"""A slot of a lane of mail: whatever befalls one message, it ends, and its connection goes on to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import Disposition
from gateway.inbox import Inbox
from gateway.mail import Composer, MailSender, MailSettings
from gateway.mail_port import MailPort
from gateway.model import Message
from gateway.providers.contract import Accepted, Failure, Result
from tests.gateway.test_mail import mail
from tests.support.mail import MailServer, mail_server


@asynccontextmanager
async def a_port(server: MailServer, connections: int = 1) -> AsyncIterator[tuple[MailPort, Inbox]]:
    """A port that is open."""
    inbox = Inbox(10)
    settings = MailSettings(host="127.0.0.1", port=server.port, tls="off", sender="avisos@banco.example", timeout_s=5)
    port = MailPort("mail", "mail", settings, connections, 1, inbox, lambda: None)
    port.start()
    try:
        yield port, inbox
    finally:
        await port.close()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


def failures(inbox: Inbox) -> dict[Any, Failure | None]:
    """Of what was answered, by its context."""
    return {answer.context: answer.failure for batch in inbox.answers for answer in batch}


async def test_a_mail_that_cannot_be_made_ends_and_the_next_goes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in making one fails that one for good, with a reason; the log has its kind alone."""
    compose = Composer.compose

    def broken(self: Composer, message: Message, now: float) -> Any:
        if message.to.startswith("bad"):
            raise ValueError(message.to)
        return compose(self, message, now)

    monkeypatch.setattr(Composer, "compose", broken)
    async with mail_server() as server, a_port(server) as (port, inbox):
        port.submit([(mail("bad@example.com"), 0), (mail("ana@example.com"), 1)])
        await until(lambda: not port.in_flight)
        said = failures(inbox)
        assert said[1] is None
        assert said[0] is not None
        assert (said[0].disposition, said[0].code) == (Disposition.REJECTED, "internal")
        assert port.room == 1
    assert [str(each["To"]) for each in server.mails] == ["ana@example.com"]
    assert "a mail broke lane=mail error=ValueError" in caplog.text
    assert "bad@example.com" not in caplog.text


async def test_what_breaks_after_the_mail_was_written_leaves_it_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have it; the connection is a new one for the next."""
    message_id = Composer.message_id
    asked = 0

    def broken(self: Composer, message: Message) -> str:
        nonlocal asked
        asked += 1
        if asked == 2:  # for the header, then for the answer
            raise ValueError(message.to)
        return message_id(self, message)

    monkeypatch.setattr(Composer, "message_id", broken)
    async with mail_server() as server, a_port(server) as (port, inbox):
        port.submit([(mail("ana@example.com"), 0), (mail("eva@example.com"), 1)])
        await until(lambda: not port.in_flight)
        assert inbox.unanswered == [0]
        assert failures(inbox) == {1: None}
    assert len(server.mails) == 2


async def test_a_subject_of_two_lines_is_refused_and_the_lane_goes_on() -> None:
    """U+2028 comes with names that were pasted."""
    async with mail_server() as server, a_port(server) as (port, inbox):
        port.submit([(mail(subject="a\u2028b", text="t"), 0), (mail(), 1)])
        await until(lambda: not port.in_flight)
        said = failures(inbox)
    assert said[1] is None
    assert said[0] is not None
    assert (said[0].disposition, said[0].code) == (Disposition.REJECTED, "subject")


async def test_how_many_connections_there_are_changes_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """More begin at once; one too many takes leave of the server when it has nothing in hand."""
    under_way = 0
    closed: list[MailSender] = []
    go = asyncio.Event()

    async def send(self: MailSender, message: Message, now: float) -> Result:
        nonlocal under_way
        under_way += 1
        await go.wait()
        under_way -= 1
        return Accepted("x")

    async def close(self: MailSender) -> None:
        closed.append(self)

    monkeypatch.setattr(MailSender, "send", send)
    monkeypatch.setattr(MailSender, "close", close)
    async with mail_server() as server, a_port(server) as (port, inbox):
        port.submit([(mail(), n) for n in range(6)])
        await until(lambda: under_way == 1)
        port.set_window(4)
        await until(lambda: under_way == 4)
        port.set_window(2)
        assert (port.room, closed) == (0, [])
        go.set()
        await until(lambda: not port.in_flight)
        await until(lambda: len(closed) == 2)
        assert port.room == 2
        port.set_window(1)  # of two that are idle
        await until(lambda: len(closed) == 3)
        go.clear()
        port.submit([(mail(), 6)])
        await until(lambda: under_way == 1)
        go.set()
        await until(lambda: not port.in_flight)
        assert failures(inbox) == dict.fromkeys(range(7))
    assert len(closed) == 4
