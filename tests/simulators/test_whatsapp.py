"""A WhatsApp portfolio without its socket: what it answers, what it enforces, what it reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.simulators.behaviour import Behaviour
from gateway.simulators.end import Request
from gateway.simulators.graph import ERRORS
from gateway.simulators.limits import Limits
from gateway.simulators.script import Scripted
from gateway.simulators.whatsapp import TemplateState, WhatsApp
from tests.simulators.graph_requests import (
    DAY,
    NUMBER,
    TEXT,
    TO,
    buttons,
    code,
    message,
    rows,
    submit,
    template,
)


def test_an_accepted_template_is_answered_as_meta_does() -> None:
    """With the number as it was given, as WhatsApp knows it, an id and a status."""
    answer = submit(WhatsApp(), message())
    found = json.loads(answer.body)
    assert answer.status == 200
    assert found["messaging_product"] == "whatsapp"
    assert found["contacts"] == [{"input": TO, "wa_id": "573001234567"}]
    assert found["messages"][0]["id"].startswith("wamid.")
    assert found["messages"][0]["message_status"] == "accepted"


def test_ids_are_never_the_same() -> None:
    """Whoever is written to."""
    end = WhatsApp(first_id=7)
    ids = {json.loads(submit(end, message()).body)["messages"][0]["id"] for _ in range(40)}
    assert len(ids) == 40


def test_a_mexican_number_comes_back_with_its_one() -> None:
    """As WhatsApp keeps it."""
    found = json.loads(submit(WhatsApp(), message(to="+525512345678")).body)
    assert found["contacts"] == [{"input": "+525512345678", "wa_id": "5215512345678"}]


@pytest.mark.parametrize("path", ["v23.0/100000000000001/messages", "100000000000001/messages"])
def test_the_version_of_the_graph_is_anybodys(path: str) -> None:
    """Or none."""
    answer = WhatsApp().receive(
        Request("POST", path, {"Authorization": "Bearer recado"}, json.dumps(message()).encode()), 0
    )
    assert answer.status == 200


@pytest.mark.parametrize("authorization", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "recado"}])
def test_a_wrong_token_is_190(authorization: dict[str, str]) -> None:
    """And 401, before anything is read."""
    answer = WhatsApp().receive(Request("POST", f"v23.0/{NUMBER}/messages", authorization, b"{"), 0)
    assert (answer.status, code(answer)) == (401, 190)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "v23.0/1/messages"), ("GET", f"v23.0/{NUMBER}/messages"), ("POST", "messages"), ("GET", "")],
)
def test_what_is_not_there_is_as_graph_says_it(method: str, path: str) -> None:
    """A number that is nobody's, a path that is none: 33 comes as the subcode of 100."""
    answer = WhatsApp().receive(Request(method, path, {"Authorization": "Bearer recado"}), 0)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["error_subcode"]) == (400, 100, 33)
    assert error["type"] == "GraphMethodException"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (message(to="573001234567"), 100),
        (message(to="+0123"), 100),
        ({**message(), "messaging_product": "sms"}, 100),
        ({**message(), "recipient_type": "group"}, 100),
        ({"to": TO, **TEXT}, 100),
        (message({"type": "text"}), 131008),
        (message({"type": "template"}), 131008),
        (message({"type": "dance"}), 131051),
        (message({"type": "to"}), 131051),
        (message({"type": "text", "text": {"body": ""}}), 100),
        (message({"type": "text", "text": {"body": "x" * 4097}}), 100),
        (message(template("Payment Due")), 100),
        (message({"type": "template", "template": {"name": "a"}}), 100),
        (message(template("a", {"type": "text"})), 100),
        (message(template("a", {"type": "dance", "dance": {}})), 100),
        (message(template("a", {"type": "currency", "currency": {"code": "MXN"}})), 100),
        (message(template("a", {"type": "image", "image": {}})), 100),
        (message({"type": "image", "image": {"id": "1", "link": "https://a"}}), 100),
        (message(buttons(4)), 100),
        (message(buttons(1, "x" * 1025)), 100),
        (message(rows(6)), 100),
    ],
)
def test_a_wrong_message_is_refused_with_its_code(content: dict[str, Any], expected: int) -> None:
    """100 for what is no message of that type, 131008 and 131051 for what is missing or unknown."""
    assert code(submit(WhatsApp(), content)) == expected


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        {"type": "image", "image": {"link": "https://a/b.png", "caption": "x"}},
        {"type": "document", "document": {"id": "1", "filename": "a.pdf"}},
        {"type": "location", "location": {"latitude": 1, "longitude": 2}},
        buttons(3),
        rows(5),
    ],
)
def test_everything_is_taken_within_a_service_window(content: dict[str, Any]) -> None:
    """And nothing but templates outside of one, before or after."""
    end = WhatsApp()
    assert code(submit(end, message(content))) == 131047
    end.inbound(TO[1:], "", "hola", {}, 0.0, 0.0)
    assert code(submit(end, message(content), DAY - 1)) is None
    assert code(submit(end, message(content), DAY)) == 131047


def test_every_kind_of_parameter_is_taken() -> None:
    """As Meta's reference of messages has it."""
    body = {
        "type": "body",
        "parameters": [
            {"type": "text", "text": "Ana", "parameter_name": "nombre"},
            {"type": "currency", "currency": {"fallback_value": "$1,200", "code": "MXN", "amount_1000": 1200000}},
            {"type": "date_time", "date_time": {"fallback_value": "5 dic"}},
        ],
    }
    components = [
        {"type": "header", "parameters": [{"type": "image", "image": {"id": "1"}}]},
        body,
        {
            "type": "button",
            "sub_type": "quick_reply",
            "index": "0",
            "parameters": [{"type": "payload", "payload": "a"}],
        },
        {"type": "button", "sub_type": "url", "index": 1, "parameters": [{"type": "text", "text": "a"}]},
    ]
    content = {"name": "a", "language": {"code": "es"}, "components": components}
    assert submit(WhatsApp(), message({"type": "template", "template": content})).status == 200


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (template("due", {"type": "text", "text": "1"}, {"type": "text", "text": "2"}), None),
        (template("due", {"type": "text", "text": "1"}), 132000),
        (template("due"), 132000),
        (template("any", {"type": "text", "text": "1"}), None),
        (template("any"), None),
        (template("due", language="pt_BR"), 132001),
        (template("other"), 132001),
        (template("paused"), 132015),
        (template("disabled"), 132016),
        (template("pending"), 132001),
    ],
)
def test_templates_are_those_that_there_are(content: dict[str, Any], expected: int | None) -> None:
    """In their language, approved, with the right number of parameters."""
    templates = {
        ("due", "es_MX"): TemplateState(parameters=2),
        ("any", "es_MX"): TemplateState(),
        ("paused", "es_MX"): TemplateState(status="PAUSED"),
        ("disabled", "es_MX"): TemplateState(status="DISABLED"),
        ("pending", "es_MX"): TemplateState(status="PENDING"),
    }
    assert code(submit(WhatsApp(templates=templates), message(content))) == expected


@pytest.mark.parametrize("number", sorted(ERRORS))
def test_every_code_comes_on_demand_in_metas_body(number: int) -> None:
    """With the status of Meta's table."""
    end = WhatsApp()
    end.script.add(Scripted(code=str(number)))
    answer = submit(end, message())
    error = json.loads(answer.body)["error"]
    assert answer.status == ERRORS[number].status
    assert (error["code"], error["type"], error["error_data"]["messaging_product"]) == (
        number,
        "OAuthException",
        "whatsapp",
    )
    assert error["message"].startswith(f"(#{number})")
    assert error["error_data"]["details"]
    assert error["fbtrace_id"]
    assert code(submit(end, message())) is None


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_any_code_comes_with_any_status(status: int) -> None:
    """By the script, or of all by the behaviour."""
    end = WhatsApp(Behaviour(error_status=status, rejected={"1234567": "131056"}))
    end.script.add(Scripted(code="130429", status=418, retry_after="7"))
    scripted, drawn = submit(end, message()), submit(end, message(to="+1234567"))
    assert (scripted.status, code(scripted), scripted.headers) == (418, 130429, {"Retry-After": "7"})
    assert (drawn.status, code(drawn)) == (status, 131056)


def test_a_number_takes_so_many_in_any_second() -> None:
    """Each number by itself, what was refused does not count, what people write does."""
    end = WhatsApp(limits=Limits(throughput_mps=3), numbers=("1", "2"))
    end.inbound("573009", "1", "hola", {}, 0.0, 0.0)
    codes = [code(submit(end, message(to=f"+57300000000{n}"), 0.1 * n, "1")) for n in range(4)]
    assert codes == [None, None, 130429, 130429]
    assert code(submit(end, message(), 0.4, "2")) is None
    assert code(submit(end, message(), 1.0, "1")) is None


def test_a_person_gets_45_at_once_and_then_one_each_6_seconds() -> None:
    """From one number."""
    end = WhatsApp(numbers=("1", "2"))
    assert [code(submit(end, message(), 0.0, "1")) for _ in range(46)] == [None] * 45 + [131056]
    assert code(submit(end, message(), 0.0, "2")) is None


@pytest.mark.parametrize("over_limit", ["refuse", "fail"])
def test_the_portfolio_reaches_so_many_people_in_a_day(over_limit: Any) -> None:
    """By all its numbers; beyond it messages are refused, or fail later."""
    limits = Limits(messaging_limit=2, over_limit=over_limit)
    end = WhatsApp(limits=limits, numbers=("1", "2"), webhook_url="http://a")
    answers = [submit(end, message(to=f"+5730000000{n}"), n, str(n % 2 + 1)) for n in (1, 2, 3)]
    if over_limit == "refuse":
        assert [code(answer) for answer in answers] == [None, None, 131048]
    else:
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert [update.code for _, update in answers[2].updates] == ["131048"]
    assert code(submit(end, message(to="+57300000001"), 4, "2")) is None
    assert (end.reached(4), end.most_reached) == (2, 2)


def test_a_person_counts_for_a_day_from_the_last_message() -> None:
    """Then another may be reached."""
    end = WhatsApp(limits=Limits(messaging_limit=1, day_s=10))
    assert code(submit(end, message(), 0)) is None
    assert code(submit(end, message(), 5)) is None
    assert code(submit(end, message(to="+573009999999"), 14)) == 131048
    assert code(submit(end, message(to="+573009999999"), 15)) is None


def test_who_wrote_does_not_count_nor_who_got_nothing() -> None:
    """Service windows, refusals and failures are outside the limit."""
    end = WhatsApp(Behaviour(rejected={"57300000001": "131026"}), limits=Limits(messaging_limit=1))
    end.inbound("57300000002", "", "hola", {}, 0.0, 0.0)
    assert code(submit(end, message(to="+57300000001"))) == 131026
    assert code(submit(end, message(TEXT, to="+57300000002"))) is None
    end.script.behaviour = Behaviour(failures={"131049": 1.0})
    assert code(submit(end, message(to="+57300000003"))) is None
    assert end.reached(0) == 0


def test_what_is_held_says_so_and_goes_later_or_fails() -> None:
    """Pacing: by the template's shares."""
    templates = {
        ("a", "es_MX"): TemplateState(held=1, held_s=60),
        ("b", "es_MX"): TemplateState(held=1, held_dropped=1),
    }
    end = WhatsApp(templates=templates, webhook_url="http://a")
    later, dropped = submit(end, message(template("a"))), submit(end, message(template("b")))
    for answer in (later, dropped):
        assert json.loads(answer.body)["messages"][0]["message_status"] == "held_for_quality_assessment"
    assert [(after, update.state) for after, update in later.updates] == [(60, "sent"), (60, "delivered")]
    assert [(after, update.state, update.code) for after, update in dropped.updates] == [(5, "failed", "132015")]


def test_a_fault_is_of_the_answer_and_the_message_is_accepted() -> None:
    """Unless it says that it is not."""
    end = WhatsApp(webhook_url="http://a")
    end.script.add(Scripted(fault="reset"))
    end.script.add(Scripted(fault="bare_503"))
    accepted, refused = submit(end, message(reference="1")), submit(end, message(reference="2"))
    assert (accepted.fault, len(accepted.updates)) == ("reset", 2)
    assert (refused.fault, len(refused.updates)) == ("bare_503", 0)
    assert (end.record.copies("1"), end.record.copies("2")) == (1, 0)
    assert end.record.counts.faults == {"reset": 1, "bare_503": 1}


def test_arrivals_carry_our_reference_and_our_number() -> None:
    """As they were sent, not as WhatsApp writes them."""
    end = WhatsApp()
    submit(end, message(to="+525512345678", reference="gw:1"), 3.0)
    (arrival,) = end.record.arrivals()
    assert (arrival.at, arrival.sender, arrival.recipient, arrival.reference, arrival.code) == (
        3.0,
        NUMBER,
        "525512345678",
        "gw:1",
        "",
    )


def test_a_number_tells_its_quality_throughput_and_limit() -> None:
    """What was asked for, and its id."""
    end = WhatsApp(limits=Limits(messaging_limit=2000))
    end.set_quality(NUMBER, "RED")
    fields = "quality_rating,throughput,whatsapp_business_manager_messaging_limit,unknown"
    answer = end.receive(Request("GET", f"v23.0/{NUMBER}?fields={fields}", {"Authorization": "Bearer recado"}), 0)
    assert json.loads(answer.body) == {
        "quality_rating": "RED",
        "throughput": {"level": "STANDARD"},
        "whatsapp_business_manager_messaging_limit": "TIER_2K",
        "id": NUMBER,
    }


@pytest.mark.parametrize(("mps", "level"), [(80, "STANDARD"), (1000, "HIGH"), (None, "NOT_APPLICABLE")])
def test_the_level_of_a_numbers_throughput_goes_with_what_it_takes(mps: int | None, level: str) -> None:
    """A gateway keeps to a level that it knows; one that is none leaves it its own rate."""
    end = WhatsApp(limits=Limits(throughput_mps=mps))
    answer = end.receive(Request("GET", f"v23.0/{NUMBER}?fields=throughput", {"Authorization": "Bearer recado"}), 0)
    assert json.loads(answer.body)["throughput"] == {"level": level}
