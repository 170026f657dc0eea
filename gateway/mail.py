"""E-mail over SMTP: a message as RFC 5322 text, replies as failures, and one connection that carries one after the other.

The only module that needs the package `aiosmtplib`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.policy import EmailPolicy
from email.utils import format_datetime, parseaddr
from functools import cached_property
from typing import Annotated, Literal

import aiosmtplib
import msgspec
from msgspec import Meta, Struct

from gateway.errors import Disposition, GatewayError
from gateway.model import Message
from gateway.providers.contract import Accepted, Failure, Result, Scope, Unsendable, storable
from gateway.providers.paths import Malformed
from gateway.providers.placeholders import Constants, Filler, Template
from gateway.providers.requests import stable_id
from gateway.tables import Certificates, Contradiction, Secret

# RFC 5321 §4.2.3 and RFC 4954 §6. What is not listed goes by its first digit: 4 may pass, 5 is for good.
DISPOSITIONS: Mapping[int, Disposition] = {
    421: Disposition.THROTTLED,  # closing the connection: too many, too fast, or going down
    450: Disposition.THROTTLED,  # busy
    451: Disposition.THROTTLED,  # trouble of the server's own
    452: Disposition.THROTTLED,  # no room
    454: Disposition.RETRY,  # TLS or authentication not available now
    530: Disposition.STOP,  # authentication or TLS wanted
    534: Disposition.STOP,  # too weak a way to authenticate
    535: Disposition.STOP,  # wrong name or password
    538: Disposition.STOP,  # encryption wanted
}

_MAX_LINE = 998  # RFC 5322 §2.1.1
_MAX_FOLDED = 76  # RFC 2047 §2
_MAX_SUBJECT = 998  # as of a job; folded, it is one line to the person all the same
# With all that Python calls a line break: a header that has one cannot be set.
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$)")  # RFC 3463 §2
_DOT = re.compile(rb"(?m)^\.")

# 7 bit: no relay on the way has to know 8BITMIME.
_POLICY = WIRE.clone(cte_type="7bit")

Seconds = Annotated[float, Meta(gt=0, le=3600, description="seconds, above 0 and at most 3600")]


class MailSettings(Struct, frozen=True, kw_only=True, dict=True):
    """One account at one server that relays mail."""

    host: Annotated[str, Meta(min_length=1, description="a host name, as in the server's certificate")]
    sender: str
    """`name@example.com`, or `Somebody <name@example.com>`."""
    port: Annotated[int, Meta(ge=1, le=65_535, description="a TCP port, from 1 to 65535")] = 587
    # `off` is for a relay on the same machine; a password never goes over it.
    tls: Literal["starttls", "tls", "off"] = "starttls"
    ca_file: Certificates | None = None
    username: str = ""
    password: Secret = Secret("")
    # Our name in EHLO; empty: this machine's.
    hostname: str = ""
    # List-Unsubscribe (RFC 2369 §3.2): an address of the web or `mailto:`, with placeholders such as {reference}.
    unsubscribe: str = ""
    timeout_s: Seconds = 60
    # RFC 5321 §4.5.3.2.6 waits ten minutes for the reply to a message: a server that gave up on sooner has often taken it.
    accept_timeout_s: Seconds = 600

    def __post_init__(self) -> None:
        if _address(parseaddr(self.sender)[1]) is None or _CONTROL.search(self.sender):
            raise Contradiction("sender", "is no address", "name@example.com, or Somebody <name@example.com>")
        if bool(self.username) != bool(self.password):
            raise Contradiction("username", "goes with a password", "set both, or neither")
        if self.username and self.tls == "off":
            raise Contradiction("tls", "is off, and there is a password", 'use "starttls" or "tls"')
        try:
            _unsubscribe(self.unsubscribe)
        except Malformed as exc:
            raise Contradiction("unsubscribe", exc.what, exc.remedy) from exc

    @cached_property
    def tls_context(self) -> ssl.SSLContext | None:
        """Whom to trust: read once for all connections of the lane, which takes some 20 ms; None without TLS."""
        return None if self.tls == "off" else ssl.create_default_context(cafile=self.ca_file)


class _Content(Struct, forbid_unknown_fields=True):
    subject: str
    text: str = ""
    html: str = ""


_decode = msgspec.json.Decoder(_Content).decode


class Composer:
    """Makes RFC 5322 messages for one account; keeps nothing of them."""

    def __init__(self, settings: MailSettings) -> None:
        name, address = parseaddr(settings.sender)
        sender = _address(address, name)
        assert sender is not None
        self.sender = sender
        self._unsubscribe = _unsubscribe(settings.unsubscribe)
        self._filler = Filler(self._unsubscribe.names if self._unsubscribe else (), "")

    def message_id(self, message: Message) -> str:
        """Return the Message-ID without its brackets: the same for the same attempt, and what bounces quote."""
        return f"{stable_id(message)}@{self.sender.domain}"

    def compose(self, message: Message, now: float) -> EmailMessage:
        """Return the message; `now` is Unix time. Raises `Unsendable`."""
        to = _address(message.to)
        if to is None:
            raise Unsendable("to", "the recipient is no address that SMTP carries without an extension")
        content = _content(message)
        mail = EmailMessage(policy=_POLICY)
        mail["From"] = self.sender
        mail["To"] = to
        mail["Subject"] = _subject(content.subject)
        mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
        mail["Message-ID"] = f"<{self.message_id(message)}>"
        if self._unsubscribe:
            mail["List-Unsubscribe"] = self._where_to_unsubscribe(message, now)
        if content.text:
            mail.set_content(content.text)
        if content.html and content.text:
            mail.add_alternative(content.html, subtype="html")
        elif content.html:
            mail.set_content(content.html, subtype="html")
        return mail

    def _where_to_unsubscribe(self, message: Message, now: float) -> _Written:
        assert self._unsubscribe is not None
        header = _Written("List-Unsubscribe", f"<{self._unsubscribe.text(self._filler.fill(message, now))}>")
        if len(header.line) > _MAX_LINE:
            raise Unsendable("unsubscribe", f"the address to unsubscribe at takes a line beyond {_MAX_LINE} characters")
        return header


class _Written(str):
    """What goes into a header as it is.

    The library would decode what looks like an encoded word, line breaks included (CVE-2024-6923), lose blanks where it
    folds, and encode an address for being long.
    """

    __slots__ = ("name",)  # by which the library knows that it need not make a header of it
    name: str

    def __new__(cls, name: str, value: str) -> _Written:
        made = super().__new__(cls, value)
        made.name = name
        return made

    @property
    def line(self) -> str:
        return f"{self.name}: {self}"

    def fold(self, *, policy: EmailPolicy) -> str:
        """Return the header's lines: what the library asks for when it writes the mail."""
        return self.line + policy.linesep


def _subject(text: str) -> _Written:
    header = _Written("Subject", text)
    if text.isascii() and "=?" not in text and len(header.line) <= _MAX_FOLDED:
        return header
    words = Header(text, "utf-8", _MAX_FOLDED, header.name)
    return _Written(header.name, words.encode(linesep=_POLICY.linesep))


def _content(message: Message) -> _Content:
    try:
        content = _decode(message.content)
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise Unsendable("content", f"the content is not that of an e-mail: {exc}") from exc
    if not content.subject:
        raise Unsendable("subject", "the subject is empty")
    if _CONTROL.search(content.subject.replace("\t", " ")):
        # A line break would begin a header of the publisher's choice.
        raise Unsendable("subject", "the subject has a line break or a control character that is no tab")
    if len(content.subject) > _MAX_SUBJECT:
        raise Unsendable("subject", f"the subject has more than {_MAX_SUBJECT} characters")
    if not content.text and not content.html:
        raise Unsendable("text", "there is neither a text nor HTML")
    return content


def _address(text: str, name: str = "") -> Address | None:
    if not text.isascii() or _CONTROL.search(text) or len(text) > 254:  # RFC 5321 §4.5.3.1.3, less its brackets
        return None
    try:
        address = Address(display_name=name, addr_spec=text)
    except (ValueError, IndexError, HeaderParseError):
        return None
    return address if address.username and "." in address.domain.strip(".") else None


def _unsubscribe(text: str) -> Template | None:
    if not text:
        return None
    if not text.isascii() or _CONTROL.search(text) or not text.startswith(("https://", "mailto:")):
        raise Malformed("is no address to unsubscribe at", "https://… or mailto:…")
    return Template(text, Constants({}), escape=True)


class Unreachable(GatewayError):
    """There is no connection: nobody answers, or the server takes nobody now. It has heard nothing of a message."""

    def __init__(self, code: str, reason: str) -> None:
        why = storable(Failure(Disposition.RETRY, code, reason))  # a server's words stand in logs and on pages too
        super().__init__(why.text)
        self.code = why.code


def failure(code: int, text: str, *, of_mail: bool = False) -> Failure:
    """Say what a reply of the server asks for; `of_mail` is whether it was about one mail and its recipient alone.

    What is for good and about no mail is about us: the next one would hear it too.
    """
    disposition = DISPOSITIONS.get(code)
    if disposition is None:
        for_good = Disposition.REJECTED if of_mail else Disposition.STOP
        disposition = for_good if 500 <= code < 600 else Disposition.RETRY
    of_mail = of_mail and code != 421 and disposition is not Disposition.STOP
    if of_mail and disposition is Disposition.THROTTLED:
        disposition = Disposition.RETRY  # greylisting, a mailbox that is full: the others go on as fast
    enhanced = _ENHANCED.match(text)
    scope = Scope.RECIPIENT if of_mail else Scope.LANE
    return Failure(disposition, f"smtp:{code}" + (f":{enhanced[0]}" if enhanced else ""), text, scope=scope)


class MailSender:
    """One connection to the server, opened when it is first needed and again when it was lost."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings
        self._composer = Composer(settings)
        self._context = settings.tls_context
        self._client: aiosmtplib.SMTP | None = None
        self._lock = asyncio.Lock()
        self.written = False
        """Something of the message that is being sent, or was sent last, may have reached the server."""

    async def send(self, message: Message, now: float) -> Result:
        """Send one message and return what the server made of it; `now` is Unix time.

        Messages go one after the other. Whatever fails before the last octet of a message is RETRY or what the server said;
        silence after it is UNKNOWN. Raises `Unsendable` and `Unreachable`. Cancelled, it drops the connection: whether the
        server took what is `written` is then as unknown as after a lost one.
        """
        self.written = False
        async with self._lock:
            octets = self._composer.compose(message, now).as_bytes()
            try:
                return await self._send(message, octets)
            except BaseException:
                self._drop()
                raise

    @property
    def connected(self) -> bool:
        """There is a connection, as far as we know."""
        return self._client is not None and self._client.is_connected

    async def open(self) -> Failure | None:
        """Connect, unless there is a connection; return why a person has to look, if so. Raises `Unreachable`."""
        if self.connected:
            return None
        try:
            self._client = await self._connected()
        except aiosmtplib.SMTPResponseException as exc:
            why = failure(exc.code, exc.message)
            if why.disposition is Disposition.STOP:
                return why
            raise Unreachable(why.code, f"{exc.code} {why.text}") from exc
        except Exception as exc:  # whatever it was: no message must fail for it
            raise Unreachable("smtp:connection", f"{type(exc).__name__}: {exc}") from exc
        return None

    async def close(self) -> None:
        """Take leave of the server."""
        async with self._lock:
            client, self._client = self._client, None
            if client is not None and client.is_connected:
                try:
                    await client.quit(timeout=5)
                except (aiosmtplib.SMTPException, OSError):
                    client.close()

    async def _send(self, message: Message, octets: bytes) -> Result:
        why = await self.open()
        if why is not None:
            return why
        client = self._client
        assert client is not None
        try:
            await client.mail(self._composer.sender.addr_spec)
            try:
                await client.rcpt(message.to)
            except aiosmtplib.SMTPRecipientRefused as exc:
                return await self._refused(client, failure(exc.code, exc.message, of_mail=True))
            reply = await client.execute_command(b"DATA")
            if reply.code != 354:
                return await self._refused(client, failure(reply.code, reply.message, of_mail=True))
        except aiosmtplib.SMTPResponseException as exc:
            # MAIL says nothing of the message, not even its size: what is wrong with it is wrong with the next.
            return await self._refused(client, failure(exc.code, exc.message))
        except (aiosmtplib.SMTPException, OSError) as exc:
            self._drop()
            return Failure(Disposition.RETRY, "smtp:connection", type(exc).__name__)
        return await self._deliver(client, message, octets)

    async def _deliver(self, client: aiosmtplib.SMTP, message: Message, octets: bytes) -> Result:
        wire = client.protocol
        try:
            if wire is None:
                raise aiosmtplib.SMTPServerDisconnected("lost")
            self.written = True
            wire.write(_DOT.sub(b"..", octets) + (b".\r\n" if octets.endswith(b"\r\n") else b"\r\n.\r\n"))
            reply = await wire.read_response(timeout=self._settings.accept_timeout_s)
        except (aiosmtplib.SMTPException, OSError) as exc:
            self._drop()
            return Failure(Disposition.UNKNOWN, "smtp:silence", type(exc).__name__)
        # RFC 5321 §4.3.2: the first digit decides.
        if 200 <= reply.code < 300:
            return Accepted(self._composer.message_id(message))
        why = failure(reply.code, reply.message, of_mail=True)
        if 400 <= reply.code < 600:
            return await self._refused(client, why)
        self._drop()
        return Failure(Disposition.UNKNOWN, why.code, why.text)

    async def _connected(self) -> aiosmtplib.SMTP:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username or None,
            password=settings.password.reveal() or None,
            local_hostname=settings.hostname or None,
            timeout=settings.timeout_s,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=self._context,
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await _greet(client)
        except BaseException:
            client.close()
            raise
        return client

    async def _refused(self, client: aiosmtplib.SMTP, why: Failure) -> Failure:
        """Make the connection ready for the next message, or drop it where the server gives it up."""
        if not client.is_connected or why.disposition is Disposition.STOP:
            self._drop()
            return why
        try:
            await client.rset()
        except (aiosmtplib.SMTPException, OSError):
            self._drop()
        return why

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as exc:
        if exc.code not in (500, 502):  # RFC 5321 §3.2: a server of old does not know EHLO
            raise
        await client.helo()
