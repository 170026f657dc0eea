"""What `recado check` says of a configuration."""

import msgspec
import pytest

from gateway.check import Summary, describe
from gateway.config import loads
from gateway.model import TrafficClass

LANE = """
[lanes.claro]
host = "smsc.example"
port = 2775
system_id = "recado"
password_env = "PW"
rate = 100
"""
QUIET = f"""
[kafka]
bootstrap = "localhost:9092"
replication = 3
[store]
url = "redis://localhost"
[[routes]]
lane = "claro"
{LANE}"""


def summary_of(text: str) -> Summary:
    return describe(loads(text, {"PW": "s3cret"}))


def warnings_of(text: str) -> list[str]:
    return [warning.path for warning in summary_of(text).warnings]


def test_a_lane_is_shown_with_its_derived_figures() -> None:
    """Per hour too, and how soon answers must come for the rate to be reached."""
    lane = summary_of(QUIET + 'binds = 2\nwindow = 20\nsender = "89000"').lanes[0]
    assert (lane.name, lane.account, lane.address) == ("claro", "claro", "smsc.example:2775")
    assert (lane.rate_per_s, lane.rate_per_hour, lane.burst) == (100, 360_000, 5)
    assert (lane.slots, lane.window, lane.round_trip_ms) == (2, 20, 400)


def test_routes_policies_and_topics_are_shown() -> None:
    """Routes in their order, in words."""
    route = 'class = "otp"\ntenant = "banco"\nprefix = "+57"\n'
    summary = summary_of(QUIET.replace("[[routes]]\n", f'[[routes]]\nlane = "claro"\n{route}[[routes]]\n'))
    assert summary.routes == ("sms, class otp, tenant banco, prefix +57 → claro", "sms, anything → claro")
    assert summary.in_doubt[TrafficClass.BULK] == "report"
    assert summary.topics["recado.lane.claro.otp"] == 1


OTHER = LANE.replace("claro", "tigo").replace("recado", "other")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ('lane = "claro"\ncountry = ["CO", "DO"]', "sms, country CO or DO → claro"),
        ('lane = "claro"\noperator = "tigo"', "sms, operator tigo → claro"),
        ('lanes = ["claro", "tigo"]', "sms, anything → claro, else tigo"),
        ("lanes = [{ claro = 3, tigo = 1 }]", "sms, anything → claro (75 %) and tigo (25 %)"),
        ('lanes = [{ tigo = 5 }, "claro"]', "sms, anything → tigo, else claro"),
    ],
)
def test_routes_are_told_in_words(route: str, words: str) -> None:
    """Who shares with whom, and who comes after whom."""
    text = QUIET.replace('lane = "claro"', route) + OTHER + '[operators]\ntigo = ["732103"]'
    assert summary_of(text).routes == (words,)


def test_caps_are_told_in_words() -> None:
    """Each alike, or by name."""
    lane = summary_of(QUIET + 'caps = { sender = 50, tenant = { banco = 100, "*" = 20.5 } }').lanes[0]
    assert lane.caps == ("each sender 50/s", "tenant banco 100/s", "each tenant 20.5/s")


def test_a_sound_configuration_has_no_warnings() -> None:
    """Nothing is said that needs no look."""
    assert warnings_of(QUIET) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (QUIET.replace("replication = 3", ""), "kafka.replication"),
        (QUIET.replace("rate = 100", "rate = 0"), "lanes.claro.rate"),
        (QUIET.replace("rate = 100", "rate = 300"), "lanes.claro.window"),
        (QUIET + "tls = true\ntls_verify = false", "lanes.claro.tls_verify"),
        (QUIET + '[[routes]]\nlane = "claro"\nprefix = "+57"', "routes[1]"),
        (QUIET + LANE.replace("claro", "spare").replace("recado", "other"), "lanes.spare"),
    ],
)
def test_what_looks_unintended_is_a_warning(text: str, path: str) -> None:
    """One for each, at its path."""
    assert warnings_of(text) == [path]


def failover(classes: str, claro_classes: str = "", login: str = "other") -> str:
    return (
        QUIET.replace('lane = "claro"', 'lanes = ["claro", "tigo"]')
        + claro_classes
        + LANE.replace("claro", "tigo").replace("recado", login)
        + classes
    )


def test_failover_that_works_is_no_warning() -> None:
    """Two lanes, two logins, and both carry everything; or both carry the same one class."""
    assert warnings_of(failover("")) == []
    assert warnings_of(failover('classes = ["otp"]', 'classes = ["otp"]\n')) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (failover('classes = ["bulk", "otp"]'), ["lead transactional only to claro"]),
        (failover("", 'classes = ["bulk"]\n'), ["lead otp only to tigo", "lead transactional only to tigo"]),
        (failover('account = "claro"', login="recado"), ["claro and tigo are one login"]),
    ],
)
def test_failover_that_cannot_work_is_a_warning(text: str, said: list[str]) -> None:
    """A fallback that does not carry the class, or that goes down with the first."""
    assert [(warning.path, warning.what) for warning in summary_of(text).warnings] == [
        ("routes[0].lanes", what) for what in said
    ]


def test_a_fallback_is_reached() -> None:
    """A lane that is only a second choice does get messages; that of a route that nothing reaches does not."""
    text = (
        failover("") + '[[routes]]\nlanes = ["claro", "spare"]' + LANE.replace("claro", "spare").replace("recado", "x")
    )
    assert warnings_of(text) == ["routes[1]", "lanes.spare"]


def test_lanes_with_one_login_and_two_accounts_are_a_warning() -> None:
    """Receipts that come on the other lane's bind would find nothing."""
    lanes = QUIET + LANE.replace("claro", "otra") + '[[routes]]\nlane = "otra"\n'
    text = lanes.replace('[[routes]]\nlane = "claro"', '[[routes]]\nlane = "claro"\nprefix = "+57"')
    assert warnings_of(text) == ["lanes.claro.account"]
    assert warnings_of(text.replace("[lanes.otra]", '[lanes.otra]\naccount = "claro"')) == []


def test_nothing_secret_is_in_the_summary() -> None:
    """It is printed."""
    assert b"s3cret" not in msgspec.json.encode(summary_of(QUIET))
