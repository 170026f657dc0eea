"""What a WhatsApp portfolio tells its webhook."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from gateway.simulators.behaviour import Behaviour
from gateway.simulators.limits import Limits
from gateway.simulators.script import Scripted
from gateway.simulators.whatsapp import WhatsApp
from tests.simulators.graph_requests import (
    NUMBER,
    TAP,
    TEXT,
    changes,
    code,
    message,
    submit,
)


def test_reports_are_signed_and_carry_our_reference() -> None:
    """Joined by number, at most 1,000 in a request."""
    end = WhatsApp(
        webhook_url="http://a/b", app_secret="s3cret", numbers=("1", "2"), limits=Limits(throughput_mps=None)
    )
    updates = [
        update
        for n in range(600)
        for _, update in submit(end, message(to=f"+57300{n:07}", reference=f"r{n}"), n, str(n % 2 + 1)).updates
    ]
    posts = end.reports(updates, 1_700_000_000.9)
    assert [post.size for post in posts] == [1000, 200]
    for post in posts:
        expected = hmac.new(b"s3cret", post.body, hashlib.sha256).hexdigest()
        assert post.headers["X-Hub-Signature-256"] == f"sha256={expected}"
        assert post.url == "http://a/b"
    found = [
        (value["metadata"]["phone_number_id"], status) for _, value in changes(posts) for status in value["statuses"]
    ]
    assert len(found) == 1200
    number, status = found[0]
    assert number == "1"
    assert status.pop("pricing")["pricing_model"] == "PMP"
    assert status.pop("id").startswith("wamid.")
    assert status == {
        "status": "sent",
        "timestamp": "1700000000",
        "recipient_id": "573000000000",
        "biz_opaque_callback_data": "r0",
    }


def test_a_failure_is_reported_with_its_error() -> None:
    """As Meta's reference of webhooks has them."""
    end = WhatsApp(Behaviour(failures={"131026": 1.0}), webhook_url="http://a")
    updates = [update for _, update in submit(end, message()).updates]
    ((field, value),) = changes(end.reports(updates, 0))
    (status,) = value["statuses"]
    assert (field, status["status"]) == ("messages", "failed")
    assert (status["errors"][0]["code"], status["errors"][0]["title"]) == (131026, "Message undeliverable")


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("hola", {}, {"type": "text", "text": {"body": "hola"}}),
        ("", TAP, TAP),
        ("hola", {"context": {"id": "w"}}, {"type": "text", "text": {"body": "hola"}, "context": {"id": "w"}}),
    ],
)
def test_what_people_write_comes_with_who_they_are(text: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    """A text, or whatever they did."""
    ((field, value),) = changes([WhatsApp(webhook_url="http://a").inbound("525512345678", "", text, given, 0.0, 9.0)])
    (written,) = value["messages"]
    assert field == "messages"
    assert value["contacts"][0]["wa_id"] == "5215512345678"
    assert written.pop("id").startswith("wamid.")
    assert written == {"from": "5215512345678", "timestamp": "9", **expected}


def test_a_new_limit_is_told_of_the_business_and_of_each_number() -> None:
    """By its tier."""
    end = WhatsApp(webhook_url="http://a", numbers=("1", "2"))
    found = changes(end.set_limit(10_000))
    assert [field for field, _ in found] == ["business_capability_update", *["phone_number_quality_update"] * 2]
    assert found[0][1] == {"max_daily_conversations_per_business": "TIER_10K"}
    assert found[1][1]["current_limit"] == "TIER_10K"
    assert end.limits.messaging_limit == 10_000


def test_only_a_higher_throughput_is_told() -> None:
    """And it holds at once, both ways."""
    end = WhatsApp(webhook_url="http://a")
    assert end.set_throughput(NUMBER, 1) == []
    assert [code(submit(end, message())) for _ in range(2)] == [None, 130429]
    ((field, value),) = changes(end.set_throughput(NUMBER, 1000))
    assert (field, value["event"]) == ("phone_number_quality_update", "THROUGHPUT_UPGRADE")
    assert code(submit(end, message())) is None


def test_a_template_that_is_paused_is_told_and_refused() -> None:
    """Until it is back; what does not change its status is not told."""
    end = WhatsApp(webhook_url="http://a")
    ((field, value),) = changes(end.set_template("payment_due", "es_MX", {"status": "PAUSED"}, "NONE"))
    assert field == "message_template_status_update"
    assert (value["event"], value["message_template_name"], value["message_template_language"]) == (
        "PAUSED",
        "payment_due",
        "es_MX",
    )
    assert code(submit(end, message())) == 132015
    assert end.set_template("payment_due", "es_MX", {"held": 0.5}, "NONE") == []
    end.set_template("payment_due", "es_MX", {"status": "APPROVED"}, "NONE")
    assert code(submit(end, message())) is None
    with pytest.raises(ValueError, match="dance"):
        end.set_template("payment_due", "es_MX", {"dance": 1}, "NONE")


def test_a_reset_forgets_who_was_reached_and_not_what_was_set() -> None:
    """So that one simulator serves one test after another."""
    end = WhatsApp(limits=Limits(messaging_limit=1))
    end.inbound("57300000009", "", "hola", {}, 0.0, 0.0)
    submit(end, message())
    end.script.add(Scripted(code="1"))
    end.reset()
    assert (end.reached(0), end.record.counts.accepted, end.script.unused) == (0, 0, 0)
    assert code(submit(end, message(TEXT, to="+57300000009"))) == 131047
    assert end.limits.messaging_limit == 1
