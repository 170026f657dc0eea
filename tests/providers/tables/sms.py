"""Twilio's SMS, Vonage, Sinch, Infobip and Aldeamo."""

from __future__ import annotations

from gateway.errors import Disposition
from gateway.providers.contract import Accepted, Failure, Scope
from gateway.providers.requests import stable_id
from tests.providers import test_aldeamo, test_infobip, test_vonage
from tests.providers.exchange import DOUBT, Ask, Exchange
from tests.providers.suite import a_message, a_reply
from tests.providers.tables.rows import unclear

R, T, S, X, E = (
    Disposition.RETRY,
    Disposition.THROTTLED,
    Disposition.STOP,
    Disposition.REJECTED,
    Disposition.REROUTE,
)
PERSON = Scope.RECIPIENT

ONE = a_message("Año & más")
TWO = a_message("Vence ya", number=1)
REFERENCE, OTHER = "acme/job-1:0/1", "acme/job-1:1/1"

TWILIO_ASK = Ask(
    url="https://api.twilio.com/2010-04-01/Accounts/AC01/Messages.json",
    headers={"authorization": "Basic QUMwMTp0aGUtYXV0aC10b2tlbg=="},
    body={
        "To": "+573001110000",
        "From": "+12025550100",
        "Body": "Año & más",
        "StatusCallback": "https://hooks.example/sms?ref=acme%2Fjob-1%3A0%2F1#rc=5&rp=all",
    },
)
TWILIO = (
    *(
        Exchange(label=label, messages=(ONE,), answers=(reply,), asks=(TWILIO_ASK,), outcomes=(outcome,))
        for label, reply, outcome in (
            ("accepted", a_reply({"sid": "SM1", "status": "queued", "error_code": None}, 201), Accepted("SM1")),
            ("opted out", a_reply({"code": 21610, "message": "m"}, 400), Failure(X, "21610", "m", scope=PERSON)),
            ("sender cannot reach it", a_reply({"code": 21606, "message": "m"}, 400), Failure(E, "21606", "m")),
            ("new code", a_reply({"code": 29999, "message": "m"}, 400), Failure(X, "29999", "m")),
            (
                "too many requests",
                a_reply({"code": 20429, "message": "m"}, 429, retry_after="2"),
                Failure(T, "20429", "m", 2.0),
            ),
            ("sender's queue is full", a_reply({"code": 21611, "message": "m"}, 400), Failure(T, "21611", "m")),
            ("quiet hours", a_reply({"code": 30610, "message": "m"}, 400), Failure(R, "30610", "m")),
            ("wrong credentials", a_reply({"code": 20003, "message": "m"}, 401), Failure(S, "20003", "m")),
            ("their failure", a_reply({"code": 20500, "message": "m"}, 500), DOUBT),
        )
    ),
    *unclear(TWILIO_ASK, ONE),
)

VONAGE_ASK = Ask(
    url="https://rest.nexmo.com/sms/json",
    body={
        "api_key": "abcd1234",
        "api_secret": "the-api-secret",
        "callback": "https://hooks.example/v",
        "status-report-req": "1",
        "from": "12025550100",
        "to": "573001110000",
        "text": "Vence ya",
        "client-ref": REFERENCE,
    },
)
VONAGE_MESSAGE = a_message("Vence ya")
WAIT = "Throughput Rate Exceeded - please wait [ 250 ] and retry"
VONAGE = (
    *(
        Exchange(
            label=label,
            messages=(VONAGE_MESSAGE,),
            answers=(test_vonage.answer(*parts),),
            asks=(VONAGE_ASK,),
            outcomes=(outcome,),
        )
        for label, parts, outcome in (
            ("accepted", [("0", "A", "")], Accepted("A")),
            ("two parts", [("0", "A", ""), ("0", "B", "")], Accepted("A")),
            ("one part of two", [("0", "A", ""), ("1", "", WAIT)], DOUBT),
            ("told to wait", [("1", "", WAIT)], Failure(T, "1", WAIT, 0.25)),
            ("their failure", [("5", "", "m")], Failure(R, "5", "m")),
            ("wrong credentials", [("4", "", "m")], Failure(S, "4", "m")),
            ("no credit", [("9", "", "m")], Failure(S, "9", "m")),
            ("barred", [("7", "", "m")], Failure(X, "7", "m", scope=PERSON)),
            ("sender", [("15", "", "m")], Failure(E, "15", "m")),
        )
    ),
    *unclear(VONAGE_ASK, VONAGE_MESSAGE),
)

SINCH_ASK = Ask(
    url="https://us.sms.api.sinch.com/xms/v1/plan1/batches",
    headers={"authorization": "Bearer the-api-token"},
    body={
        "from": "24601",
        "to": ["+573001110000"],
        "body": "Año & más",
        "client_reference": REFERENCE,
        "delivery_report": "per_recipient_final",
        "callback_url": "https://hooks.example/s",
    },
)
SINCH = (
    *(
        Exchange(label=label, messages=(ONE,), answers=(reply,), asks=(SINCH_ASK,), outcomes=(outcome,))
        for label, reply, outcome in (
            ("accepted", a_reply({"id": "01F"}, 201), Accepted("01F")),
            (
                "not a mobile number",
                a_reply({"code": "illegal_number_type", "text": "m"}, 403),
                Failure(X, "illegal_number_type", "m", scope=PERSON),
            ),
            (
                "malformed",
                a_reply({"code": "syntax_invalid_json", "text": "m"}, 400),
                Failure(X, "syntax_invalid_json", "m"),
            ),
            ("too many requests", a_reply(b"", 429), Failure(T, "http:429")),
            ("wrong credentials", a_reply({"code": "unauthorized", "text": "m"}, 401), Failure(S, "unauthorized", "m")),
            ("their failure", a_reply({"code": "internal_error", "text": "m"}, 500), DOUBT),
        )
    ),
    *unclear(SINCH_ASK, ONE),
)


def _of_infobip(message_id: str, to: str, text: str, reference: str) -> dict[str, object]:
    return {
        "sender": "24601",
        "destinations": [{"to": to, "messageId": message_id}],
        "content": {"text": text},
        "webhooks": {
            "callbackData": reference,
            "contentType": "application/json",
            "delivery": {"url": "https://hooks.example/ib", "intermediateReport": False},
        },
    }


def _refused_by_infobip(code: str) -> dict[str, object]:
    return {"requestError": {"serviceException": {"messageId": code, "text": "m"}}}


INFOBIP_ASK = Ask(
    url="https://xyz.api.infobip.com/sms/3/messages",
    headers={"authorization": "App the-api-key", "accept": "application/json"},
    body={
        "messages": [
            _of_infobip(stable_id(ONE), "573001110000", "Año & más", REFERENCE),
            _of_infobip(stable_id(TWO), "573001110001", "Vence ya", OTHER),
        ]
    },
)
FLOODING = test_infobip.rejected("REJECTED_FLOODING_FILTER")
NO_SUCH = test_infobip.rejected("REJECTED_DESTINATION")
BROKE = test_infobip.rejected("REJECTED_NOT_ENOUGH_CREDITS")
INFOBIP = (
    *(
        Exchange(label=label, messages=(ONE, TWO), answers=(reply,), asks=(INFOBIP_ASK,), outcomes=outcomes)
        for label, reply, outcomes in (
            ("accepted", test_infobip.accepted([TWO, ONE]), (Accepted(stable_id(ONE)), Accepted(stable_id(TWO)))),
            (
                "one of two",
                test_infobip.answer((ONE, NO_SUCH), (TWO, test_infobip.PENDING)),
                (Failure(X, "REJECTED_DESTINATION", "why", scope=PERSON), Accepted(stable_id(TWO))),
            ),
            ("one not named", test_infobip.accepted([ONE]), (Accepted(stable_id(ONE)), DOUBT)),
            (
                "flooding, no credit",
                test_infobip.answer((ONE, FLOODING), (TWO, BROKE)),
                (
                    Failure(T, "REJECTED_FLOODING_FILTER", "why", scope=PERSON),
                    Failure(S, "REJECTED_NOT_ENOUGH_CREDITS", "why"),
                ),
            ),
            (
                "malformed, by one of them",
                a_reply(_refused_by_infobip("BAD_REQUEST"), 400),
                (Failure(R, "BAD_REQUEST", "m"),) * 2,
            ),
            (
                "too many requests",
                a_reply(_refused_by_infobip("TOO_MANY_REQUESTS"), 429, retry_after="3"),
                (Failure(T, "TOO_MANY_REQUESTS", "m", 3.0),) * 2,
            ),
            (
                "wrong credentials",
                a_reply(_refused_by_infobip("UNAUTHORIZED"), 401),
                (Failure(S, "UNAUTHORIZED", "m"),) * 2,
            ),
        )
    ),
    *unclear(INFOBIP_ASK, ONE, TWO),
)

ALDEAMO_ASK = Ask(
    url="https://apismsi.aldeamo.com/SmsiWS/smsSendPost/",
    headers={"authorization": "Basic cmVjYWRvOnRoZS1wYXNzd29yZA=="},
    body={
        "country": "57",
        "message": "",
        "encoding": "UTF-8",
        "messageFormat": 1,
        "addresseeList": [
            {"mobile": "3001110000", "message": "Año & más", "correlationLabel": REFERENCE},
            {"mobile": "3001110001", "message": "Vence ya", "correlationLabel": OTHER},
        ],
    },
)
ALDEAMO = (
    *(
        Exchange(label=label, messages=(ONE, TWO), answers=(reply,), asks=(ALDEAMO_ASK,), outcomes=outcomes)
        for label, reply, outcomes in (
            (
                "accepted",
                test_aldeamo.answer([("3001110001", 12), ("3001110000", "11")]),
                (Accepted("11"), Accepted("12")),
            ),
            (
                "one of two",
                test_aldeamo.answer([("3001110001", 12)], [("3001110000", -5, "m")]),
                (Failure(X, "-5", "m"), Accepted("12")),
            ),
            ("one not named", test_aldeamo.answer([("3001110001", 12)]), (DOUBT, Accepted("12"))),
            ("refused as a whole", a_reply({"status": -3, "reason": "m"}), (Failure(R, "-3", "m"),) * 2),
            ("too many requests", a_reply(b"", 429), (Failure(T, "http:429"),) * 2),
            ("wrong credentials", a_reply(b"", 401), (Failure(S, "http:401"),) * 2),
        )
    ),
    *unclear(ALDEAMO_ASK, ONE, TWO),
)
