"""E-mail: what a message becomes, what a server's replies mean, and a conversation with a server that keeps to a script."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import Disposition
from gateway.mail import Composer, MailSender, MailSettings, Unreachable, failure
from gateway.model import Message
from gateway.providers.contract import Accepted, Failure, Result, Scope, Unsendable
from gateway.providers.requests import stable_id
from gateway.tables import Contradiction, Secret
from tests.providers.suite import NOW, a_message

CERTIFICATE = Path(__file__).parents[1] / "vectors" / "localhost.pem"
SETTINGS = MailSettings(host="localhost", sender="Banco Ejemplo <avisos@banco.example>", tls="off", timeout_s=5)
CONTENT = {"subject": "Su cuota de mañana", "text": "Vence mañana\n.\nfin", "html": "<p>Vence mañana</p>"}


def mail(to: str = "ana@example.com", number: int = 0, **content: str) -> Message:
    return a_message("", to=to, number=number, content=msgspec.json.encode(content or CONTENT).decode())


def composed(message: Message, **changes: object) -> EmailMessage:
    settings = msgspec.structs.replace(SETTINGS, **changes)
    read = message_from_bytes(Composer(settings).compose(message, NOW).as_bytes(), policy=default)
    assert isinstance(read, EmailMessage)
    return read


def test_a_message_becomes_a_mail_with_both_of_its_forms() -> None:
    """In 7 bits, so that any relay can carry it; the id is of the attempt and the date the time given."""
    read = composed(mail())
    assert {name: str(read[name]) for name in ("From", "To", "Subject", "Date", "Message-ID")} == {
        "From": "Banco Ejemplo <avisos@banco.example>",
        "To": "ana@example.com",
        "Subject": "Su cuota de mañana",
        "Date": "Fri, 15 Jan 2027 08:00:00 +0000",
        "Message-ID": f"<{stable_id(mail())}@banco.example>",
    }
    assert read["List-Unsubscribe"] is None
    assert read.get_content_type() == "multipart/alternative"
    text, html = read.iter_parts()
    assert isinstance(text, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().splitlines() == ["Vence mañana", ".", "fin"]
    assert html.get_content().splitlines() == ["<p>Vence mañana</p>"]
    assert Composer(SETTINGS).compose(mail(), NOW).as_bytes().isascii()


def test_a_mail_may_have_one_form_alone() -> None:
    """Text, or HTML."""
    assert composed(mail(subject="s", text="t")).get_content_type() == "text/plain"
    assert composed(mail(subject="s", html="<p>t</p>")).get_content_type() == "text/html"


def test_people_are_told_where_to_unsubscribe() -> None:
    """With our reference in the address."""
    read = composed(mail(), unsubscribe="https://banco.example/baja?m={reference}")
    assert read["List-Unsubscribe"] == "<https://banco.example/baja?m=acme%2Fjob-1%3A0%2F1>"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (mail(subject="a\r\nBcc: all@example.com", text="t"), "subject"),
        (mail(subject="a\nb", text="t"), "subject"),
        (mail(subject="a\u2028b", text="t"), "subject"),
        (mail(subject="a\u2029b", text="t"), "subject"),
        (mail(subject="a\x85b", text="t"), "subject"),
        (mail(subject="a\u2028", text="t"), "subject"),
        (mail(subject="a\x00b", text="t"), "subject"),
        (mail(subject="", text="t"), "subject"),
        (mail(subject="s" * 999, text="t"), "subject"),
        (mail(subject="s"), "text"),
        (mail(subject="s", text="t", bcc="all@example.com"), "content"),
        (mail(text="t"), "content"),
        (a_message("t", to="ana@example.com"), "content"),
        (mail("ana@example.com\r\nDATA"), "to"),
        (mail("ana@example.com>,<b@example.com"), "to"),
        (mail("ana@example.com, b@example.com"), "to"),
        (mail("Ana <ana@example.com>"), "to"),
        (mail("añá@example.com"), "to"),
        (mail("ana"), "to"),
        (mail("ana@localhost"), "to"),
        (mail("@example.com"), "to"),
        (mail("+573001110000"), "to"),
        (mail(""), "to"),
        (mail("a" * 250 + "@example.com"), "to"),
    ],
)
def test_what_is_no_mail_is_not_sent(message: Message, code: str) -> None:
    """Nothing of a message can become a header or a command."""
    with pytest.raises(Unsendable) as refused:
        Composer(SETTINGS).compose(message, NOW)
    assert refused.value.code == code
    assert "example.com" not in str(refused.value)


@given(
    subject=st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=80),
    text=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=200),
)
def test_any_subject_and_text_arrive_as_they_were_written(subject: str, text: str) -> None:
    """Whatever the script, and no header more than ours."""
    made = Composer(SETTINGS).compose(mail(subject=subject, text=text + "."), NOW)
    octets = made.as_bytes()
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    read = message_from_bytes(octets, policy=default)
    assert isinstance(read, EmailMessage)
    assert read.keys() == made.keys()
    assert str(read["Subject"]).split() == subject.split()


# What the library would decode, or fold where it should not.
_SNARES = (
    "=?utf-8?q?",
    "=?UTF-8?B?",
    "=0D=0ABcc:_evil@x.com",
    "DQpCY2M6IGV2aWxAeC5jb20=",
    "?=",
    "=?",
    " ",
    "\t",
    "\u2028",
    "ñ",
    "a" * 70,
)
_HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "MIME-Version", "Content-Type"]


@given(st.lists(st.sampled_from(_SNARES), min_size=1, max_size=12).map("".join))
@example("=?utf-8?q?a=0D=0ABcc:_evil@x.com?=")
@example("Su cuota =?utf-8?b?DQpCY2M6IGV2aWxAeC5jb20=?=")
def test_no_value_of_a_person_becomes_a_header(value: str) -> None:
    """What looks encoded is not decoded: it arrives as it was written, or the mail is not sent."""
    settings = msgspec.structs.replace(
        SETTINGS, unsubscribe="https://banco.example/baja?m={reference}&s={content.subject}"
    )
    for message in (mail(subject=value, text="t", html="t"), mail(f"{value}@example.com"), mail(f"ana@{value}.com")):
        try:
            octets = Composer(settings).compose(message, NOW).as_bytes()
        except Unsendable:
            continue
        head = octets.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
        assert sorted(line.partition(":")[0] for line in head if line[0] not in " \t") == sorted(_HEADERS)
        subject = message_from_bytes(octets, policy=default)["Subject"]
        assert str(subject).split() == msgspec.json.decode(message.content)["subject"].split()


@pytest.mark.parametrize(
    "subject",
    [
        "atención Bogotá Andina en favor páguela cuota mañana 15 María atención de información crédito próximo",
        "ñ x" * 332,
        "s" * 998,
        "Ana\tMaría",
        "Ana\tMaria",
        "2+2=? Y 3+3=?",
    ],
)
def test_a_subject_may_be_as_long_as_a_job_may_make_it(subject: str) -> None:
    """No word of it is lost where it is folded, and a tab of a pasted name is a blank like any other."""
    octets = Composer(SETTINGS).compose(mail(subject=subject, text="t"), NOW).as_bytes()
    assert str(message_from_bytes(octets, policy=default)["Subject"]) == subject
    assert max(map(len, octets.split(b"\r\n"))) <= 78


def test_a_long_address_to_unsubscribe_at_is_written_as_it_is() -> None:
    """Nobody decodes encoded words there (RFC 2369 §2), and the id of a job is often a UUID."""
    message = msgspec.structs.replace(mail(), message_id="550e8400-e29b-41d4-a716-446655440000:12")
    octets = Composer(
        msgspec.structs.replace(SETTINGS, unsubscribe="https://banco.example/baja?m={reference}")
    ).compose(message, NOW)
    url = b"https://banco.example/baja?m=acme%2F550e8400-e29b-41d4-a716-446655440000%3A12%2F1"
    assert b"\r\nList-Unsubscribe: <" + url + b">\r\n" in octets.as_bytes()


def test_an_address_to_unsubscribe_at_that_no_line_holds_is_not_sent() -> None:
    """RFC 5322 §2.1.1."""
    settings = msgspec.structs.replace(SETTINGS, unsubscribe="https://banco.example/baja?s={content.subject}")
    with pytest.raises(Unsendable) as refused:
        Composer(settings).compose(mail(subject="ñ" * 300, text="t"), NOW)
    assert refused.value.code == "unsubscribe"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sender": "nobody"}, "sender"),
        ({"sender": "a@b.example\r\nBcc: c@d.example"}, "sender"),
        ({"sender": "Banco\u2028Ejemplo <a@b.example>"}, "sender"),
        ({"username": "me"}, "username"),
        ({"username": "me", "password": Secret("x"), "tls": "off"}, "tls"),
        ({"unsubscribe": "http://x.example"}, "unsubscribe"),
        ({"unsubscribe": "https://x.example/mañana"}, "unsubscribe"),
        ({"unsubscribe": "https://x.example/{whom}"}, "unsubscribe"),
        ({"unsubscribe": "https://x.example/{reference.url}"}, "unsubscribe"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, object], key: str) -> None:
    """A password never goes in clear."""
    with pytest.raises(Contradiction) as refused:
        msgspec.structs.replace(SETTINGS, **changes).__post_init__()
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("code", "of_mail", "disposition", "scope"),
    [
        (421, True, Disposition.THROTTLED, Scope.LANE),
        (450, True, Disposition.RETRY, Scope.RECIPIENT),
        (451, True, Disposition.RETRY, Scope.RECIPIENT),
        (452, True, Disposition.RETRY, Scope.RECIPIENT),
        (450, False, Disposition.THROTTLED, Scope.LANE),
        (451, False, Disposition.THROTTLED, Scope.LANE),
        (452, False, Disposition.THROTTLED, Scope.LANE),
        (432, False, Disposition.RETRY, Scope.LANE),
        (454, False, Disposition.RETRY, Scope.LANE),
        (530, True, Disposition.STOP, Scope.LANE),
        (535, False, Disposition.STOP, Scope.LANE),
        (550, True, Disposition.REJECTED, Scope.RECIPIENT),
        (552, True, Disposition.REJECTED, Scope.RECIPIENT),
        (554, False, Disposition.STOP, Scope.LANE),
        (250, False, Disposition.RETRY, Scope.LANE),
    ],
)
def test_a_reply_says_what_to_do(code: int, of_mail: bool, disposition: Disposition, scope: Scope) -> None:
    """4yz may pass, 5yz is for good, and some are about the whole lane, which is not slower for one mailbox that is full."""
    assert failure(code, "why", of_mail=of_mail) == Failure(disposition, f"smtp:{code}", "why", scope=scope)


def test_why_a_server_is_not_reached_is_text() -> None:
    """It stands in logs and on pages, and servers answer in Latin-1 too, and at length."""
    error = Unreachable("smtp:421", b"buz\xf3n".decode("utf-8", "surrogateescape") + "x" * 5000)
    assert str(error).startswith("buz?nxxx")
    assert len(str(error)) <= 500


def test_an_enhanced_code_is_part_of_the_code() -> None:
    """RFC 3463: it says more than the three digits."""
    assert failure(550, "5.1.1 no such user").code == "smtp:550:5.1.1"
    assert failure(550, "5.1.1.9 no").code == "smtp:550"


# A server that answers as its script says: a command's first word, or `.` for the end of a message, to a reply. An empty
# reply is silence, `!` closes the connection.

GOOD = {"EHLO": "250-x\r\n250 AUTH PLAIN", "DATA": "354 go on", "AUTH": "235 ok", "QUIT": "221 bye"}


class Server:
    def __init__(self, script: Mapping[str, str], context: ssl.SSLContext | None) -> None:
        self.script = dict(script)
        self.lines: list[str] = []
        self.mails: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.taken = asyncio.Event()
        self.connections = 0
        self.port = 0
        self._context = context

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word, line = "", b"greeting\r\n"
        while line:
            if word == "DATA" and self.script["DATA"].startswith("354"):
                self.mails.append((await reader.readuntil(b"\r\n.\r\n"))[:-3])
                self.taken.set()
                word = "."
            else:
                word = line.split(maxsplit=1)[0].decode().upper().rstrip("\r\n")
                self.lines.append(line.decode().strip())
            reply = self.script.get(word, "220 ready" if word in {"GREETING", "STARTTLS"} else "250 ok")
            if reply == "!":
                return
            if reply:
                writer.write(f"{reply}\r\n".encode())
                await writer.drain()
            if word == "STARTTLS" and self._context:
                await writer.start_tls(self._context)
            if word in {"QUIT", ""} or reply.startswith("421"):
                return
            if word != "DATA" or not reply.startswith("354"):
                line = await reader.readline()


@asynccontextmanager
async def serving(script: Mapping[str, str] | None = None, tls: str = "off") -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = Server({**GOOD, **(script or {})}, context if tls == "starttls" else None)
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0, ssl=context if tls == "tls" else None)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


@asynccontextmanager
async def sending(server: Server, **changes: object) -> AsyncIterator[MailSender]:
    sender = MailSender(msgspec.structs.replace(SETTINGS, port=server.port, hostname="gateway.example", **changes))
    try:
        yield sender
    finally:
        await sender.close()


async def sent(script: Mapping[str, str], **changes: object) -> Result:
    async with serving(script) as server, sending(server, **changes) as sender:
        return await sender.send(mail(), NOW)


async def test_mails_go_one_after_the_other_over_one_connection() -> None:
    """With the envelope of the message, its dots doubled, and our Message-ID as the provider's id."""
    async with serving() as server, sending(server) as sender:
        results = [await sender.send(mail(f"p{n}@example.com", n), NOW) for n in range(3)]
    assert results == [Accepted(f"{stable_id(mail(number=n))}@banco.example") for n in range(3)]
    assert server.connections == 1
    assert server.lines[:4] == [
        "greeting",
        "EHLO gateway.example",
        "MAIL FROM:<avisos@banco.example>",
        "RCPT TO:<p0@example.com>",
    ]
    assert server.lines[-1] == "QUIT"
    plain = Composer(SETTINGS).compose(mail("p0@example.com"), NOW).as_bytes()
    assert len(server.mails) == 3
    assert _headers(server.mails[0]) == _headers(plain)


def _headers(octets: bytes) -> list[tuple[str, str]]:
    # The boundary between the parts is random.
    return [(name, value) for name, value in message_from_bytes(octets).items() if name != "Content-Type"]


async def test_a_line_that_begins_with_a_dot_does_not_end_the_mail() -> None:
    """RFC 5321 §4.5.2."""
    async with serving() as server, sending(server) as sender:
        await sender.send(mail(subject="s", text="uno\n.\n..dos\nfin"), NOW)
    assert server.mails[0].endswith(b"\r\n\r\nuno\r\n..\r\n...dos\r\nfin\r\n")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"GREETING": "554 blocked"}, Failure(Disposition.STOP, "smtp:554", "blocked")),
        ({"EHLO": "550 denied"}, Failure(Disposition.STOP, "smtp:550", "denied")),
        ({"MAIL": "451 4.3.0 later"}, Failure(Disposition.THROTTLED, "smtp:451:4.3.0", "4.3.0 later")),
        ({"MAIL": "503 log in first"}, Failure(Disposition.STOP, "smtp:503", "log in first")),
        ({"MAIL": "550 not you"}, Failure(Disposition.STOP, "smtp:550", "not you")),
        ({"MAIL": "552 no more today"}, Failure(Disposition.STOP, "smtp:552", "no more today")),
        ({"MAIL": "530 log in"}, Failure(Disposition.STOP, "smtp:530", "log in")),
        ({"RCPT": "421 busy"}, Failure(Disposition.THROTTLED, "smtp:421", "busy")),
        ({"RCPT": "450 grey"}, Failure(Disposition.RETRY, "smtp:450", "grey", scope=Scope.RECIPIENT)),
        ({"RCPT": "550 nobody"}, Failure(Disposition.REJECTED, "smtp:550", "nobody", scope=Scope.RECIPIENT)),
        ({"DATA": "452 full"}, Failure(Disposition.RETRY, "smtp:452", "full", scope=Scope.RECIPIENT)),
        ({".": "554 spam"}, Failure(Disposition.REJECTED, "smtp:554", "spam", scope=Scope.RECIPIENT)),
        ({".": "450 later"}, Failure(Disposition.RETRY, "smtp:450", "later", scope=Scope.RECIPIENT)),
        ({".": "552 too large"}, Failure(Disposition.REJECTED, "smtp:552", "too large", scope=Scope.RECIPIENT)),
        ({".": "421 going down"}, Failure(Disposition.THROTTLED, "smtp:421", "going down")),
        ({"RCPT": "!"}, Failure(Disposition.RETRY, "smtp:connection", "SMTPServerDisconnected")),
        ({"DATA": "!"}, Failure(Disposition.RETRY, "smtp:connection", "SMTPServerDisconnected")),
        ({".": "!"}, Failure(Disposition.UNKNOWN, "smtp:silence", "SMTPServerDisconnected")),
        ({".": "nonsense"}, Failure(Disposition.UNKNOWN, "smtp:silence", "SMTPResponseException")),
        ({".": "354 go on"}, Failure(Disposition.UNKNOWN, "smtp:354", "go on")),
    ],
)
async def test_what_the_server_says_and_when_decides(script: dict[str, str], expected: Failure) -> None:
    """A connection lost before the end of the message sent nothing; after it nobody knows.

    What is said for good before there is a recipient is about us: no message of the lane fails for it. MAIL too, since it
    has no SIZE (RFC 1870): the server knows nothing of the message then, 552 or not.
    """
    assert await sent(script) == expected


@pytest.mark.parametrize("reply", ["250 ok", "200 queued", "252 queued"])
async def test_any_success_after_the_content_is_one(reply: str) -> None:
    """RFC 5321 §4.3.2: the first digit decides. Sent again, the person has it twice."""
    assert isinstance(await sent({".": reply}), Accepted)


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ({"GREETING": "421 busy"}, "smtp:421", "busy"),
        ({"GREETING": "450 4.7.0 later"}, "smtp:450:4.7.0", "4.7.0 later"),
        ({"GREETING": "HTTP/1.1 400 Bad Request"}, "smtp:-1", "Malformed SMTP response line"),
        ({"GREETING": "!"}, "smtp:connection", "SMTPConnectError: "),
        ({"EHLO": "421 busy"}, "smtp:421", "busy"),
        ({"EHLO": "!"}, "smtp:connection", "SMTPServerDisconnected: "),
    ],
)
async def test_a_server_that_takes_nobody_now_has_said_nothing_of_the_message(
    script: dict[str, str], code: str, reason: str
) -> None:
    """It is not tried, and no attempt of it is counted."""
    with pytest.raises(Unreachable, match=reason) as unreachable:
        await sent(script)
    assert unreachable.value.code == code


async def test_a_server_of_old_is_greeted_as_it_knows() -> None:
    """RFC 5321 §3.2: EHLO is unknown to it."""
    async with serving({"EHLO": "502 what?"}) as server, sending(server) as sender:
        assert isinstance(await sender.send(mail(), NOW), Accepted)
    assert server.lines[1:3] == ["EHLO gateway.example", "HELO gateway.example"]


@pytest.mark.parametrize(
    ("silent", "disposition"),
    [("DATA", Disposition.RETRY), (".", Disposition.UNKNOWN)],
)
async def test_silence_is_judged_by_when_it_began(silent: str, disposition: Disposition) -> None:
    """The two patiences are apart: the longer is for the end of a message."""
    result = await sent({silent: ""}, timeout_s=0.05, accept_timeout_s=0.05)
    assert isinstance(result, Failure)
    assert result.disposition is disposition


async def test_silence_instead_of_a_greeting_is_no_connection() -> None:
    """As if nobody had answered."""
    with pytest.raises(Unreachable, match="SMTPConnectTimeoutError"):
        await sent({"GREETING": ""}, timeout_s=0.05)


async def test_nothing_is_written_of_a_message_that_waits_for_the_one_before() -> None:
    """Whatever was of that one: who is cancelled now was not sent."""
    async with serving() as server, sending(server) as sender:
        assert isinstance(await sender.send(mail(), NOW), Accepted)
        assert sender.written
        server.script["QUIT"] = ""
        closing = asyncio.create_task(sender.close())
        waiting = asyncio.create_task(sender.send(mail(), NOW))
        await asyncio.sleep(0)
        assert not sender.written
        waiting.cancel()
        closing.cancel()
        await asyncio.wait((waiting, closing))


async def test_a_refusal_leaves_the_connection_ready() -> None:
    """The next message goes over the same one, after a reset."""
    async with serving({"RCPT": "550 nobody"}) as server, sending(server) as sender:
        assert isinstance(await sender.send(mail(), NOW), Failure)
        server.script["RCPT"] = "250 ok"
        assert isinstance(await sender.send(mail(), NOW), Accepted)
    assert server.connections == 1
    assert server.lines.count("RSET") == 1


async def test_a_lost_connection_is_opened_again() -> None:
    """By the next message."""
    async with serving({".": "!"}) as server, sending(server) as sender:
        assert isinstance(await sender.send(mail(), NOW), Failure)
        server.script.pop(".")
        assert isinstance(await sender.send(mail(), NOW), Accepted)
    assert server.connections == 2


async def test_a_cancelled_sending_drops_its_connection() -> None:
    """What the server still says would be taken for the answer to the next message."""
    async with serving({".": ""}) as server, sending(server) as sender:
        sending_it = asyncio.create_task(sender.send(mail(), NOW))
        await server.taken.wait()
        sending_it.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending_it
        server.script.pop(".")
        assert isinstance(await sender.send(mail(), NOW), Accepted)
    assert server.connections == 2


@pytest.mark.parametrize("tls", ["tls", "starttls"])
async def test_the_password_goes_over_tls_to_a_server_that_proves_its_name(tls: str) -> None:
    """At once, or after STARTTLS."""
    script = {"EHLO": "250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN"}
    login = {"username": "me", "password": Secret("the-password"), "tls": tls}
    async with serving(script, tls) as server, sending(server, ca_file=CERTIFICATE, **login) as sender:
        assert isinstance(await sender.send(mail(), NOW), Accepted)
    credentials = base64.b64encode(b"\0me\0the-password").decode()
    assert [line for line in server.lines if line.startswith(("STARTTLS", "AUTH"))] == [
        *(["STARTTLS"] if tls == "starttls" else []),
        f"AUTH PLAIN {credentials}",
    ]


@pytest.mark.parametrize("tls", ["tls", "starttls"])
async def test_a_server_that_does_not_prove_its_name_gets_nothing(tls: str) -> None:
    """Neither the password nor the mail."""
    async with serving({"EHLO": "250-x\r\n250 STARTTLS"}, tls) as server, sending(server, tls=tls) as sender:
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await sender.send(mail(), NOW)
    assert not server.mails


async def test_a_server_without_starttls_gets_nothing() -> None:
    """Whoever sits between us and it could have taken the offer out."""
    async with serving() as server, sending(server, tls="starttls") as sender:
        with pytest.raises(Unreachable, match="STARTTLS"):
            await sender.send(mail(), NOW)
    assert not server.mails


async def test_a_wrong_password_stops_the_lane() -> None:
    """535, and no second try with it."""
    script = {"AUTH": "535 5.7.8 wrong"}
    login = {"username": "me", "password": Secret("x"), "tls": "tls", "ca_file": CERTIFICATE}
    async with serving(script, "tls") as server, sending(server, **login) as sender:
        result = await sender.send(mail(), NOW)
    assert result == Failure(Disposition.STOP, "smtp:535:5.7.8", "5.7.8 wrong")
    assert sum(line.startswith("AUTH") for line in server.lines) == 1


async def test_a_login_that_the_server_cannot_judge_now_is_no_connection() -> None:
    """454: its directory is away."""
    login = {"username": "me", "password": Secret("x"), "tls": "tls", "ca_file": CERTIFICATE}
    async with serving({"AUTH": "454 4.7.0 later"}, "tls") as server, sending(server, **login) as sender:
        with pytest.raises(Unreachable, match="later") as unreachable:
            await sender.send(mail(), NOW)
    assert unreachable.value.code == "smtp:454:4.7.0"
