"""RBM: a token first, then whom the agent reaches, then the message."""

from __future__ import annotations

from gateway.errors import Disposition
from gateway.providers.contract import Accepted, Failure, Reply, Result, Scope
from gateway.providers.http_client import NoAnswer, NotSent
from gateway.providers.http_reach import UNREACHABLE
from tests.providers import test_rbm
from tests.providers.exchange import LOST, NOT_ANSWERED, NOT_CONNECTED, REFUSED, Ask, Exchange
from tests.providers.suite import a_message, a_reply

R, T, S, X, E = (
    Disposition.RETRY,
    Disposition.THROTTLED,
    Disposition.STOP,
    Disposition.REJECTED,
    Disposition.REROUTE,
)
PERSON = Scope.RECIPIENT

HOST = "https://rcsbusinessmessaging.googleapis.com/v1"
TOKEN = a_reply({"access_token": "t1", "expires_in": 3600})
OTHER_TOKEN = a_reply({"access_token": "t2", "expires_in": 3600})
FOR_A_TOKEN = Ask(url="https://oauth2.googleapis.com/token")

MESSAGE = test_rbm.MESSAGE
ACCEPTED = test_rbm.accepted([MESSAGE])
REACHED = a_reply({"reachableUsers": [MESSAGE.to], "totalRandomSampleUserCount": 0})
WHO = Ask(
    url=f"{HOST}/users:batchGet",
    headers={"authorization": "Bearer t1"},
    body={"users": [MESSAGE.to], "agentId": "banco@rbm"},
)
NAMED = f"{HOST}/phones/+573001110000/agentMessages?messageId={test_rbm.ID}&agentId=banco%40rbm"


def _send(token: str = "t1", **content: object) -> Ask:
    content = content or {"text": "Año"}
    return Ask(url=NAMED, headers={"authorization": f"Bearer {token}"}, body={"contentMessage": content})


def _row(
    label: str,
    *said: tuple[Ask, Reply | NoAnswer | NotSent],
    outcome: Result,
    message: object = MESSAGE,
    first: Reply | NoAnswer | NotSent = REACHED,
) -> Exchange:
    """One row; `first` is the answer to who can be reached."""
    return Exchange(
        label=label,
        messages=(message,),  # type: ignore[arg-type]
        answers=(TOKEN, first, *(answer for _, answer in said)),
        asks=(FOR_A_TOKEN, WHO, *(ask for ask, _ in said)),
        outcomes=(outcome,),
    )


def _error(status: int) -> Reply:
    return a_reply({"error": {"code": status, "message": "m", "status": "S"}}, status)


CARD = a_message("", content='{"contentMessage":{"richCard":{"standaloneCard":{}}}}', channel="rcs")
SENT = Accepted(test_rbm.ID)

RBM = (
    _row("accepted", (_send(), ACCEPTED), outcome=SENT),
    _row("a card", (_send(richCard={"standaloneCard": {}}), ACCEPTED), outcome=SENT, message=CARD),
    # Whom it reaches.
    _row("nobody is reached", first=a_reply({}), outcome=UNREACHABLE),
    _row("only another is reached", first=a_reply({"reachableUsers": ["+573009999999"]}), outcome=UNREACHABLE),
    _row("nobody tells", (_send(), ACCEPTED), first=LOST, outcome=SENT),
    _row("it cannot be asked", (_send(), ACCEPTED), first=REFUSED, outcome=SENT),
    _row("it is asked too often", (_send(), ACCEPTED), first=_error(429), outcome=SENT),
    _row("it was asked at another region's address", (_send(), ACCEPTED), first=_error(400), outcome=SENT),
    _row("it tells nonsense", (_send(), ACCEPTED), first=a_reply(b"<html>"), outcome=SENT),
    # What becomes of the message.
    _row("not reached after all", (_send(), _error(404)), outcome=Failure(E, "404", "m", scope=PERSON)),
    _row("malformed", (_send(), _error(400)), outcome=Failure(X, "400", "m")),
    _row("no permission", (_send(), _error(403)), outcome=Failure(S, "403", "m")),
    _row("too many requests", (_send(), _error(429)), outcome=Failure(T, "429", "m")),
    _row("their failure", (_send(), _error(500)), outcome=Failure(R, "500", "m", doubtful=True)),
    _row("a proxy fails in between", (_send(), a_reply(b"<html>", 502)), outcome=Failure(R, "502", doubtful=True)),
    _row("a success that says nothing", (_send(), a_reply(b"<html>")), outcome=Failure(R, "http:200", doubtful=True)),
    _row("no connection", (_send(), REFUSED), outcome=NOT_CONNECTED),
    _row("no answer", (_send(), LOST), outcome=NOT_ANSWERED),
    _row(
        "the token has ended",
        (_send(), _error(401)),
        (FOR_A_TOKEN, OTHER_TOKEN),
        (_send("t2"), ACCEPTED),
        outcome=SENT,
    ),
    _row(
        "wrong credentials",
        (_send(), _error(401)),
        (FOR_A_TOKEN, a_reply({"error": "invalid_grant"}, 400)),
        outcome=Failure(S, "http:400"),
    ),
)
