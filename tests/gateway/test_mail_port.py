"""A slot of a lane of mail: whatever befalls one message, it ends, and its connection goes on to the next."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.embedded import free_port
from gateway.errors import Disposition
from gateway.http_lane_config import HttpSettings
from gateway.inbox import Inbox
from gateway.mail import Composer, MailSender, MailSettings
from gateway.mail_port import MailPort
from gateway.model import EventStatus, Message
from gateway.providers.contract import PUT_BACK, Accepted, Failure, Result
from gateway.providers.http_answer import Refusal
from gateway.tables import Secret
from tests.gateway.test_mail import CERTIFICATE, Server, mail, serving
from tests.support.mail import MailServer, mail_lane, mail_server
from tests.support.stage import Stages, job, lane


@asynccontextmanager
async def a_port(
    server: MailServer | Server, connections: int = 1, ups: list[None] | None = None, **changes: Any
) -> AsyncIterator[tuple[MailPort, Inbox]]:
    """A port that is open; `ups` gets one more each time that it can send."""
    inbox = Inbox(10)
    settings = {"host": "localhost", "port": server.port, "tls": "off", "timeout_s": 5, **changes}
    port = MailPort(
        "mail",
        "mail",
        MailSettings(sender="avisos@banco.example", **settings),
        HttpSettings(concurrency=connections, drain_s=0.2, reconnect_min_s=0.05, reconnect_max_s=0.1),
        inbox,
        lambda: (ups if ups is not None else []).append(None),
    )
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


async def test_whom_to_trust_is_read_once_for_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes so long that nothing else may go on meanwhile, and a lane has slots with many connections each."""
    read: list[object] = []
    create = ssl.create_default_context

    def noted(**how: Any) -> ssl.SSLContext:
        read.append(how)
        return create(**how)

    monkeypatch.setattr(ssl, "create_default_context", noted)
    settings = MailSettings(host="localhost", sender="avisos@banco.example")
    ports = [MailPort("mail", "mail", settings, HttpSettings(concurrency=8), Inbox(10), lambda: None) for _ in range(2)]
    for port in ports:
        port.start()
    await asyncio.sleep(0)
    for port in ports:
        await port.close()
    assert len(read) == 1


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


async def test_a_server_that_cannot_be_reached_is_looked_for_without_a_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What waits is put back, none of it tried; the port says so, and again when it is over."""
    ups: list[None] = []
    absent = MailServer()
    absent.port = free_port()
    async with a_port(absent, 2, ups) as (port, inbox):
        assert (port.bound, port.down_reason, len(ups)) == (True, "", 1)
        port.submit([(mail(), n) for n in range(4)])
        await until(lambda: not port.in_flight)
        assert failures(inbox) == dict.fromkeys(range(4), PUT_BACK)
        assert all(type(answer) is Refusal for batch in inbox.answers for answer in batch)
        assert (port.bound, port.room) == (False, 0)
        assert "SMTPConnectError" in port.down_reason
        await until(lambda: caplog.text.count("lane cannot be reached lane=mail host=localhost") > 2)
        inbox.answers.clear()
        inbox.wake.clear()
        listening = await asyncio.start_server(absent.talk, "127.0.0.1", absent.port)
        async with listening:
            await until(lambda: port.bound)
            assert (port.down_reason, port.room, len(ups), inbox.wake.is_set()) == ("", 2, 2, True)
            port.submit([(mail(), 0), (mail(), 1)])
            await until(lambda: not port.in_flight)
            assert failures(inbox) == {0: None, 1: None}
            await port.close()
    assert len(absent.mails) == 2


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"GREETING": "421 4.3.2 maintenance"}, "maintenance"),
        ({"GREETING": "451 try later"}, "try later"),
        ({"GREETING": "!"}, "SMTPServerDisconnected|SMTPConnectError"),
        ({"AUTH": "454 4.7.0 later"}, "4.7.0 later"),
    ],
)
async def test_a_server_that_takes_nobody_is_not_there(script: Mapping[str, str], reason: str) -> None:
    """Whether it says so or not: another lane may have what waits. No message of it is tried."""
    login: dict[str, Any] = {"username": "me", "password": Secret("x"), "tls": "tls", "ca_file": CERTIFICATE}
    async with serving(script, "tls") as server, a_port(server, **login) as (port, inbox):
        port.submit([(mail(), 0)])
        await until(lambda: not port.in_flight)
        assert failures(inbox) == {0: PUT_BACK}
        assert not port.bound
        assert any(each in port.down_reason for each in reason.split("|"))
        for word in script:
            server.script[word] = {"GREETING": "220 ready", "AUTH": "235 ok"}[word]
        await until(lambda: port.bound)
        port.submit([(mail(), 1)])
        await until(lambda: not port.in_flight)
        assert failures(inbox)[1] is None


async def test_a_connection_too_many_does_not_take_down_the_others() -> None:
    """Servers allow so many: the message goes to one of those that there are, and the lane gives way."""
    async with serving() as server, a_port(server, 2) as (port, inbox):
        server.script["."] = ""
        port.submit([(mail(), 0)])
        await server.taken.wait()
        server.script["GREETING"] = "421 4.7.0 too many"
        port.submit([(mail(), 1)])
        await until(lambda: 1 in failures(inbox))
        assert failures(inbox)[1] == Failure(Disposition.THROTTLED, "smtp:421:4.7.0", "421 4.7.0 too many")
        assert (port.bound, port.room) == (True, 1)


async def test_connections_that_were_under_way_end_the_search_for_one() -> None:
    """Else a server that allows one would be down for as long as it has that one, which nobody uses."""
    async with serving() as server, a_port(server, 2) as (port, inbox):
        server.script["EHLO"] = ""
        port.submit([(mail(), 0)])
        await until(lambda: server.connections == 1)
        server.script["GREETING"] = "421 too many"
        port.submit([(mail(), 1)])
        await until(lambda: not port.bound)
        assert failures(inbox) == {1: PUT_BACK}
        server.writers[0].write(b"250 ok\r\n")
        await until(lambda: port.bound)
        await until(lambda: 0 in failures(inbox))
        assert failures(inbox)[0] is None


async def test_a_server_that_is_back_and_wants_us_no_more_stops_the_lane() -> None:
    """Without a message there is nothing to stop it with: the next one hears it."""
    async with serving({"GREETING": "421 busy"}) as server, a_port(server) as (port, inbox):
        port.submit([(mail(), 0)])
        await until(lambda: not port.bound)
        server.script["GREETING"] = "554 blocked"
        await until(lambda: port.bound)
        port.submit([(mail(), 1)])
        await until(lambda: not port.in_flight)
        assert failures(inbox) == {0: PUT_BACK, 1: Failure(Disposition.STOP, "smtp:554", "blocked")}


@pytest.mark.parametrize("silent", ["GREETING", "MAIL", "RCPT", "DATA"])
async def test_a_mail_of_which_nothing_is_written_is_put_back_when_the_slot_goes(silent: str) -> None:
    """The next owner sends it, whatever was written before it; it takes far longer to connect than a slot has to drain."""
    async with serving() as server, a_port(server) as (port, inbox):
        port.submit([(mail(), 0)])
        await until(lambda: not port.in_flight)
        server.script[silent] = ""
        if silent == "GREETING":
            server.script["MAIL"] = "421 bye"
            port.submit([(mail(), 1)])
            await until(lambda: not port.in_flight)
        said = len(server.lines)
        port.submit([(mail(), 2)])
        await until(lambda: any(line.upper().startswith(silent) for line in server.lines[said:]))
        started = time.monotonic()
        await port.close()
        assert time.monotonic() - started < 2
        assert failures(inbox)[2] == PUT_BACK
        assert (inbox.unanswered, port.in_flight) == ([], 0)


async def test_a_mail_that_was_written_and_not_answered_is_in_doubt_when_the_slot_goes() -> None:
    """Put back, it might come twice."""
    async with serving({".": ""}) as server, a_port(server) as (port, inbox):
        port.submit([(mail(), 0)])
        await server.taken.wait()
        await port.close()
        assert (inbox.unanswered, inbox.answers) == ([0], [])


async def test_a_slot_that_is_down_can_be_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody looks for the server then, and it is not up again."""
    ups: list[None] = []
    absent = MailServer()
    absent.port = free_port()
    async with a_port(absent, ups=ups) as (port, _):
        port.submit([(mail(), 0)])
        await until(lambda: not port.bound)
        await port.close()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(0.3)
        assert (caplog.text, port.bound, port.down_reason, len(ups)) == ("", False, "not started, or closed", 1)


async def test_what_waits_for_a_server_that_is_away_goes_to_the_next_lane(stage: Stages) -> None:
    """As over HTTP and SMPP: no attempt is burnt on it, and once it is back it has the next ones."""
    absent = MailServer()
    absent.port = free_port()
    quick = {"down_after_s": 0.5, "up_after_s": 0.5}
    letters = [f"persona{n}@example.com" for n in range(30)]
    said = {"channel": "email", "subject": "Su cuota", "text": "Vence mañana"}
    async with mail_server() as spare:
        lanes = {"sms": lane(1), "mail": mail_lane(absent) | quick, "spare": mail_lane(spare) | quick}
        routes = [{"lanes": ["mail", "spare"], "channel": "email"}]
        async with stage(lanes=lanes, routes=routes) as site, site.worker() as worker:
            await site.publish(job("away", letters, **said))
            ids = [f"away:{n}" for n in range(30)]
            await site.tally.until(lambda: all(site.tally.of(each) for each in ids))
            told = [event for each in ids for event in site.tally.of(each)]
            assert {(event.status, event.lane) for event in told} == {(EventStatus.SUBMITTED, "spare")}
            assert max(event.attempt for event in told) <= 2
            assert sorted(str(each["To"]) for each in spare.mails) == sorted(letters)
            assert "mail" in worker.failover.down
            async with await asyncio.start_server(absent.talk, "127.0.0.1", absent.port):
                await site.until(lambda: "mail" not in worker.failover.down)
                await site.publish(job("back", letters[:1], **said))
                await site.tally.until(lambda: bool(site.tally.of("back:0")))
                assert [event.lane for event in site.tally.of("back:0")] == ["mail"]
