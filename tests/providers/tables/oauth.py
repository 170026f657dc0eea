"""A vendor of a file: a token first, then messages under an id of ours, which it may be told again."""

from __future__ import annotations

from gateway.errors import Disposition
from gateway.providers.contract import Accepted, Failure, Reply, Result
from gateway.providers.http_client import NoAnswer, NotSent
from tests.providers import oauth_case
from tests.providers.exchange import LOST, NOT_ANSWERED, NOT_CONNECTED, REFUSED, Ask, Exchange
from tests.providers.suite import a_reply

R, T, S, X = Disposition.RETRY, Disposition.THROTTLED, Disposition.STOP, Disposition.REJECTED

FOR_A_TOKEN = Ask(
    url="https://api.example/token",
    headers={"authorization": "Basic bWU6dGhlLXBhc3N3b3Jk"},
    body={"grant_type": "client_credentials", "scope": "sms send"},
)
TOKEN, OTHER_TOKEN = (a_reply({"access_token": token, "expires_in": 3600}) for token in ("t1", "t2"))
ACCEPTED = a_reply({"id": oauth_case.ID})


def _send(token: str = "t1") -> Ask:
    return Ask(
        url="https://api.example/",
        headers={"authorization": f"Bearer {token}", "x": "k=1&"},
        body={"to": "+573001110000", "text": "Su pago vence hoy", "id": oauth_case.ID},
    )


def _row(label: str, *said: tuple[Ask, Reply | NoAnswer | NotSent], outcome: Result) -> Exchange:
    return Exchange(
        label=label,
        messages=(oauth_case.MESSAGE,),
        answers=(TOKEN, *(answer for _, answer in said)),
        asks=(FOR_A_TOKEN, *(ask for ask, _ in said)),
        outcomes=(outcome,),
    )


OAUTH = (
    _row("accepted", (_send(), ACCEPTED), outcome=Accepted(oauth_case.ID)),
    _row("refused", (_send(), a_reply(b"", 400)), outcome=Failure(X, "http:400")),
    _row("too many requests", (_send(), a_reply(b"", 429, retry_after="9")), outcome=Failure(T, "http:429", after=9.0)),
    _row("no connection", (_send(), REFUSED), outcome=NOT_CONNECTED),
    _row("a proxy fails in between", (_send(), a_reply(b"<html>", 502)), outcome=Failure(R, "http:502", doubtful=True)),
    _row("a success that says nothing", (_send(), a_reply(b"<html>")), outcome=Failure(R, "http:200", doubtful=True)),
    _row("no answer", (_send(), LOST), outcome=NOT_ANSWERED),
    _row(
        "the token has ended",
        (_send(), a_reply(b"", 401)),
        (FOR_A_TOKEN, OTHER_TOKEN),
        (_send("t2"), ACCEPTED),
        outcome=Accepted(oauth_case.ID),
    ),
    _row(
        "wrong credentials",
        (_send(), a_reply(b"", 401)),
        (FOR_A_TOKEN, a_reply({"error": "invalid_client"}, 401)),
        outcome=Failure(S, "http:401", "there is no credential in the answer"),
    ),
)
