"""Voice by Twilio and by a file, mail by a file, WhatsApp."""

from __future__ import annotations

from gateway.errors import Disposition
from gateway.model import Message
from gateway.providers.contract import Accepted, Failure, Scope
from tests.providers import test_generic_vendors, test_twilio, whatsapp_case
from tests.providers.exchange import DOUBT, Ask, Exchange
from tests.providers.suite import a_message, a_reply
from tests.providers.tables.rows import unclear

R, T, H, S, X = (
    Disposition.RETRY,
    Disposition.THROTTLED,
    Disposition.HOLD,
    Disposition.STOP,
    Disposition.REJECTED,
)
PERSON, TEMPLATE = Scope.RECIPIENT, Scope.TEMPLATE
REFERENCE = "acme/job-1:0/1"

SPOKEN = a_message("", content='{"say":"Su cuota vence hoy","language":"es-CO"}', channel="voice")
PLAYED = a_message("", content=f'{{"audio":"{test_twilio.AUDIO}"}}', channel="voice")


def _call(twiml: str) -> Ask:
    return Ask(
        url="https://api.twilio.com/2010-04-01/Accounts/AC01/Calls.json",
        headers={"authorization": "Basic QUMwMTp0aGUtYXV0aC10b2tlbg=="},
        body={
            "To": "+573001110000",
            "From": "+12025550100",
            "Twiml": f"<Response>{twiml}</Response>",
            "StatusCallback": "https://hooks.example/sms?ref=acme%2Fjob-1%3A0%2F1#rc=5&rp=all",
        },
    )


SAY = _call('<Say language="es-CO">Su cuota vence hoy</Say>')
PLAY = _call("<Play>https://cdn.example/a.mp3?x=1&amp;y=2</Play>")
CALLING = a_reply({"sid": "CA1", "status": "queued"}, 201)
TWILIO_VOICE = (
    *(
        Exchange(label=label, messages=(message,), answers=(reply,), asks=(ask,), outcomes=(outcome,))
        for label, message, ask, reply, outcome in (
            ("spoken", SPOKEN, SAY, CALLING, Accepted("CA1")),
            ("played", PLAYED, PLAY, CALLING, Accepted("CA1")),
            (
                "not a number",
                PLAYED,
                PLAY,
                a_reply({"code": 21211, "message": "m"}, 400),
                Failure(X, "21211", "m", scope=PERSON),
            ),
            (
                "too many requests",
                SPOKEN,
                SAY,
                a_reply({"code": 20429, "message": "m"}, 429),
                Failure(T, "20429", "m"),
            ),
            (
                "account suspended",
                SPOKEN,
                SAY,
                a_reply({"code": 30002, "message": "m"}, 403),
                Failure(S, "30002", "m"),
            ),
        )
    ),
    *unclear(SAY, SPOKEN),
)


def _blast(**what: str) -> Ask:
    return Ask(
        url="https://blaster.example/v1/calls",
        headers={"authorization": "Basic dGhlLXVzZXI6dGhlLXBhc3N3b3Jk"},
        body={
            "campaign": "cobranza",
            "country": "57",
            "phone": "3001110000",
            "callback": "https://hooks.example/voice/the-word?ref=acme%2Fjob-1%3A0%2F1",
            **what,
        },
    )


BLAST = _blast(say="Su cuota vence hoy", language="es-CO")
BLASTER = (
    *(
        Exchange(label=label, messages=(message,), answers=(a_reply(line),), asks=(ask,), outcomes=(outcome,))
        for label, message, ask, line, outcome in (
            ("spoken", SPOKEN, BLAST, b"OK|77", Accepted("77")),
            ("played", PLAYED, _blast(audio=test_twilio.AUDIO), b"OK|78", Accepted("78")),
            ("busy", SPOKEN, BLAST, b"ERR|BUSY|retry in 30 s", Failure(T, "BUSY", "retry in 30 s", 30.0)),
            ("no credit", SPOKEN, BLAST, b"ERR|CREDIT|m", Failure(S, "CREDIT", "m")),
            ("no number", SPOKEN, BLAST, b"ERR|NUMBER|m", Failure(X, "NUMBER", "m", scope=PERSON)),
            ("new code", SPOKEN, BLAST, b"ERR|NEW|m", Failure(X, "NEW", "m")),
        )
    ),
    *unclear(BLAST, SPOKEN),
)

ANA, LUIS = test_generic_vendors.MAIL, test_generic_vendors.PLAIN
MAILS = Ask(
    url="https://api.postmarkapp.com/email/batch",
    headers={"x-postmark-server-token": "the-token"},
    body=[
        {
            "From": "Banco <avisos@banco.example>",
            "To": "ana@example.com",
            "Subject": "Su cuota",
            "TextBody": "Vence hoy",
            "HtmlBody": "<p>Vence hoy</p>",
            "Metadata": {"reference": REFERENCE},
        },
        {
            "From": "Banco <avisos@banco.example>",
            "To": "luis@example.com",
            "Subject": "s",
            "TextBody": "t",
            "Metadata": {"reference": "acme/job-1:1/1"},
        },
    ],
)
POSTMARK = (
    *(
        Exchange(label=label, messages=(ANA, LUIS), answers=(reply,), asks=(MAILS,), outcomes=outcomes)
        for label, reply, outcomes in (
            (
                "accepted",
                test_generic_vendors.mail_accepted([ANA, LUIS]),
                (Accepted("id-job-1:0"), Accepted("id-job-1:1")),
            ),
            (
                "one of two",
                a_reply(
                    [{"ErrorCode": 406, "Message": "m"}, {"To": "luis@example.com", "MessageID": "i", "ErrorCode": 0}]
                ),
                (Failure(X, "406", "m", scope=PERSON), Accepted("i")),
            ),
            ("one not named", a_reply([{"To": "ana@example.com", "MessageID": "i", "ErrorCode": 0}]), (DOUBT,) * 2),
            ("too many", a_reply({"ErrorCode": 429, "Message": "m"}, 422), (Failure(T, "429", "m"),) * 2),
            ("wrong token", a_reply({"ErrorCode": 10, "Message": "m"}, 401), (Failure(S, "10", "m"),) * 2),
        )
    ),
    *unclear(MAILS, ANA, LUIS),
)

TEMPLATED = whatsapp_case.MESSAGE
REPLY_BUTTONS = a_message(
    "",
    content='{"type":"interactive","interactive":{"type":"button","body":{"text":"¿Paga hoy?"},'
    '"action":{"buttons":[{"type":"reply","reply":{"id":"si","title":"Sí"}}]}}}',
    channel="whatsapp",
)


def _to_meta(message: Message, **content: object) -> Ask:
    return Ask(
        url="https://graph.facebook.com/v23.0/1065/messages",
        headers={"authorization": "Bearer t0ken", "content-type": "application/json"},
        body={
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": message.to,
            "biz_opaque_callback_data": REFERENCE,
            **content,
        },
    )


DUE = _to_meta(TEMPLATED, type="template", template={"name": "due", "language": {"code": "es_MX"}})
BUTTONS = _to_meta(
    REPLY_BUTTONS,
    type="interactive",
    interactive={
        "type": "button",
        "body": {"text": "¿Paga hoy?"},
        "action": {"buttons": [{"type": "reply", "reply": {"id": "si", "title": "Sí"}}]},
    },
)


def _meta_says(code: int, status: int = 400) -> tuple[object, int]:
    return {"error": {"message": "t", "code": code, "error_data": {"details": "m"}}}, status


WHATSAPP = (
    Exchange(
        label="reply buttons",
        messages=(REPLY_BUTTONS,),
        answers=(whatsapp_case.accepted([REPLY_BUTTONS]),),
        asks=(BUTTONS,),
        outcomes=(Accepted("wamid.job-1:0"),),
    ),
    *(
        Exchange(label=label, messages=(TEMPLATED,), answers=(a_reply(*said),), asks=(DUE,), outcomes=(outcome,))
        for label, said, outcome in (
            ("accepted", ({"messages": [{"id": "wamid.1", "message_status": "accepted"}]},), Accepted("wamid.1")),
            ("held", ({"messages": [{"id": "wamid.1", "message_status": "paused"}]},), Accepted("wamid.1")),
            ("throughput", _meta_says(130429, 403), Failure(T, "130429", "m")),
            ("pair", _meta_says(131056, 429), Failure(T, "131056", "m", scope=PERSON)),
            ("spam limit", _meta_says(131048), Failure(H, "131048", "m")),
            ("template paused", _meta_says(132015), Failure(H, "132015", "m", 10_800.0, TEMPLATE)),
            ("token", _meta_says(190, 401), Failure(S, "190", "m")),
            ("parameter", _meta_says(131008), Failure(X, "131008", "m", scope=TEMPLATE)),
            ("not on WhatsApp", _meta_says(131026), Failure(X, "131026", "m", scope=PERSON)),
            ("their failure, in their words", _meta_says(131000, 500), Failure(R, "131000", "m")),
        )
    ),
    *unclear(DUE, TEMPLATED),
)
