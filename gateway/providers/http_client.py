"""The requests of one lane: one aiohttp session for all its slots in this process, and what can be said of what went wrong.

What matters of a failure is whether the provider can have read the request. aiohttp tells by the class of its error: while a
connection is looked for and made nothing is written. Everything later is `NoAnswer`, also on a connection that had been kept and
was just being closed by the server: from here that looks the same whether the request was read or not.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from gateway.errors import GatewayError
from gateway.http_lane_config import HttpSettings
from gateway.providers.contract import Call, Reply
from gateway.providers.http_guard import objection, public_socket, redacted

log = logging.getLogger("gateway.http")

_KEPT_S = 4.0
"""How long an idle connection is kept. Common servers close theirs after 5 s, and what is written at that moment is UNKNOWN."""
_NAMES_KEPT_S = 30
# Nothing is compressed that was not asked to be, and the type of a body is the provider's to name.
_NO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type")
_AGENT = {"user-agent": "recado"}

_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_BAD_URL = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


class NotSent(GatewayError):
    """No connection could be made: the provider has certainly not read the request. `origin` is where it should have gone."""

    def __init__(self, reason: str, origin: URL) -> None:
        super().__init__(reason)
        self.origin = origin


class NoAnswer(GatewayError):
    """The request may have been read, and what became of it will not be known from this."""


class BadURL(GatewayError):
    """A URL to which no request goes, today or later."""


class HttpClient:
    """See the module. Whoever uses it says so with `open` and, as often, `close`: the first opens it, the last closes it."""

    def __init__(self, lane: str, settings: HttpSettings) -> None:
        """Read the certificates, which takes some milliseconds; raises `OSError` for a `ca_file` that cannot be read."""
        self._lane = lane
        self._settings = settings
        self._tls = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
        self._session: aiohttp.ClientSession | None = None
        self._users = 0

    def open(self) -> None:
        self._users += 1
        if self._session is not None:
            return
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # whoever sends has a bound of its own: nobody waits for a connection in here
                ttl_dns_cache=_NAMES_KEPT_S,
                keepalive_timeout=_KEPT_S,
                ssl=self._tls,
                socket_factory=None if settings.allow_private else public_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_AGENT,
            skip_auto_headers=_NO_HEADERS,
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s, connect=settings.connect_timeout_s),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections when nobody uses them any more."""
        self._users -= 1
        if not self._users and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def send(self, call: Call) -> Reply:
        """Make a request, once, and read its answer to the end. Redirects are answers.

        Raises `NotSent`, `NoAnswer` and `BadURL`. An answer that is longer than `max_response` is left there and its
        connection closed: `NoAnswer` too, whatever its status, for what became of the messages stands in the part not read.
        """
        assert self._session is not None
        url = self._url(call.url)
        started = time.monotonic() if log.isEnabledFor(logging.DEBUG) else 0.0
        what: object = "cancelled"
        size = 0
        try:
            response = await self._session.request(
                call.method,
                url,
                data=call.body or None,
                headers=call.headers,
                allow_redirects=False,
                # aiohttp itself sends again what it takes for idempotent, by its method.
                middlewares=None if call.method == "POST" else _ONCE,
            )
            try:
                body = await _read(response, self._settings.max_response)
            except BaseException:
                response.close()
                raise
            what, size = response.status, len(body)
            return Reply(response.status, response.headers, body)
        except _NOT_SENT as error:
            what = _reason(error)
            raise NotSent(what, url.origin()) from error
        except _BAD_URL as error:
            what = "bad URL"
            raise BadURL("the URL is not valid") from error
        except (aiohttp.ClientError, OSError, ValueError, NoAnswer) as error:
            what = _name(error)
            raise NoAnswer(what) from error
        finally:
            if started:
                elapsed_ms = (time.monotonic() - started) * 1000
                log.debug(
                    "request lane=%s method=%s host=%s path=%s status=%s ms=%.1f bytes=%d",
                    *(self._lane, call.method, url.raw_host, redacted(url), what, elapsed_ms, size),
                )

    async def probe(self, origin: URL) -> str:
        """Say why there is no connection to `origin`, empty when there is one: any answer will do, or none."""
        assert self._session is not None
        try:
            response = await self._session.head(origin, allow_redirects=False)
        except _NOT_SENT as error:
            return _reason(error)
        except (aiohttp.ClientError, OSError):
            return ""
        response.release()
        return ""

    def _url(self, text: str) -> URL:
        try:
            url = URL(text, encoded=True)  # as the provider wrote it: signatures are over its own spelling
            why = objection(url, self._settings.allow_private)
        except ValueError as error:
            raise BadURL("the URL is not valid") from error
        if why:
            raise BadURL(why)
        return url


async def _read(response: ClientResponse, most: int) -> bytes:
    content = response.content
    body = await content.readany()
    if len(body) <= most and content.at_eof():
        return body
    pieces = [body]
    size = len(body)
    while size <= most:
        piece = await content.readany()
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    raise NoAnswer("answer too long")


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Let a request that broke off end as that: aiohttp would send a GET, PUT or DELETE again."""
    try:
        return await handler(request)
    except _NOT_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise NoAnswer(_name(error)) from error


_ONCE = (_once,)


def _reason(error: Exception) -> str:
    """Say why there is no connection, without the URL that aiohttp's own words may quote."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dns: {error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"connect: {error.os_error}"
    return "connect: timeout"


def _name(error: Exception) -> str:
    """Say what broke off a request. The words of the error itself may quote the request."""
    if isinstance(error, NoAnswer):
        return str(error)
    return "timeout" if isinstance(error, asyncio.TimeoutError) else type(error).__name__
