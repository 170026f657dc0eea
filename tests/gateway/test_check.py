"""What `recado check` says of a configuration."""

from pathlib import Path

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
    assert warnings_of(QUIET + "binds = 5") == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (QUIET.replace("replication = 3", ""), "kafka.replication"),
        (QUIET.replace("rate = 100", "rate = 0"), "lanes.claro.rate"),
        (QUIET.replace("rate = 100", "rate = 300"), "lanes.claro.window"),
        (QUIET.replace("rate = 100", "rate = 20") + "binds = 2", "lanes.claro.burst"),
        (QUIET + "tls = true\ntls_verify = false", "lanes.claro.tls_verify"),
        (QUIET + '[[routes]]\nlane = "claro"\nprefix = "+57"', "routes[1]"),
        (QUIET + LANE.replace("claro", "spare").replace("recado", "other"), "lanes.spare"),
    ],
)
def test_what_looks_unintended_is_a_warning(text: str, path: str) -> None:
    """One for each, at its path."""
    assert warnings_of(text) == [path]


ADMIN = "[admin]\nport = 9464\n"
TOKEN = 'token_env = "PW"\n'
HEARS = "[webhooks]\nport = 8080\n"


@pytest.mark.parametrize(
    ("section", "paths"),
    [
        (ADMIN, []),
        (ADMIN + 'host = "127.0.0.8"', []),
        (ADMIN + 'host = "::1"', []),
        (ADMIN + 'host = "localhost"', []),
        (ADMIN + 'host = "0.0.0.0"', ["admin.host"]),
        (ADMIN + 'host = "::"', ["admin.host"]),
        (ADMIN + 'host = "10.0.0.5"', ["admin.host"]),
        (ADMIN + 'host = "gateway-1"', ["admin.host"]),
        (ADMIN + TOKEN + 'host = "0.0.0.0"', []),
        ('[admin]\nhost = "0.0.0.0"', []),
        (HEARS, []),
        (HEARS + 'host = "0.0.0.0"', ["webhooks.host"]),
        (HEARS + 'host = "0.0.0.0"\npublic_url = "https://messages.example.com"', []),
        (HEARS + 'host = "0.0.0.0"\npublic_url = "http://messages.example.com"', ["webhooks.public_url"]),
        ('[webhooks]\nhost = "0.0.0.0"', []),
    ],
)
def test_what_other_machines_can_reach_is_a_warning(section: str, paths: list[str]) -> None:
    """An admin port without a token, callbacks without TLS in front; not what is off, or stays on the machine."""
    assert warnings_of(QUIET + section) == paths


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


HOOKS = '[webhooks]\nport = 8080\npublic_url = "https://messages.example.com"\n'
WA = """
[lanes.wa]
provider = "whatsapp"
portfolio = "p"
{}
[lanes.wa.whatsapp]
phone_number_id = "1065"
token_env = "PW"
app_secret_env = "PW"
verify_token_env = "PW"
"""
SINCH = """
[lanes.sn]
provider = "sinch"
rate = 10
{}
[lanes.sn.sinch]
service_plan_id = "p"
api_token_env = "PW"
callback_secret_env = "PW"
"""


def over_http(lane: str = WA, keys: str = "", hooks: str = HOOKS, more: str = "[portfolios.p]\nlimit = 2000\n") -> str:
    name, channel = ("wa", "whatsapp") if "lanes.wa" in lane else ("sn", "sms")
    head = QUIET.partition("[[routes]]")[0]
    more = more if channel == "whatsapp" else ""
    return f'{head}[[routes]]\nchannel = "{channel}"\nlane = "{name}"\n{hooks}{more}' + lane.replace("{}", keys)


def test_a_lane_over_http_is_shown_with_what_it_may_do() -> None:
    """Requests, messages, where it is called back, and the limits of WhatsApp in words."""
    summary = summary_of(over_http(keys="slots = 2\nconcurrency = 20"))
    lane = summary.lanes[0]
    assert (lane.provider, lane.channel, lane.address) == ("whatsapp", "whatsapp", "graph.facebook.com")
    assert (lane.rate_per_s, lane.slots, lane.concurrency, lane.window, lane.round_trip_ms) == (80, 2, 20, 20, 500)
    assert (lane.portfolio, lane.callback) == ("p", "https://messages.example.com/hooks/wa")
    assert lane.limits == (
        "a person 1 in 6 s, 45 at once",
        "quality YELLOW 50 %",
        "quality RED otp 10 %, transactional 10 %, bulk paused",
        "a paused template holds its messages",
    )
    assert summary.lanes[0] == msgspec.convert(msgspec.to_builtins(lane), type(lane))


def test_a_lane_over_smpp_has_nothing_of_that() -> None:
    """No requests, no callbacks, no limits beside its rate."""
    lane = summary_of(QUIET).lanes[0]
    assert (lane.channel, lane.concurrency, lane.portfolio, lane.limits, lane.callback) == ("sms", None, "", (), "")


def test_limits_that_were_changed_are_told_as_they_are() -> None:
    """Of the classes that the lane carries, and none where there is none."""
    keys = 'templates = "next"\nallow_collections = true\nclasses = ["otp", "bulk"]\npair = { every_s = 0 }\n'
    lane = summary_of(over_http(keys=keys + "quality = { green = 0.125, yellow = 1, red = { otp = 0 } }")).lanes[0]
    assert lane.limits == (
        "a person any number",
        "quality GREEN 12.5 %",
        "quality RED paused",
        "a paused template's messages take the next step of their plan",
        "takes collections for third parties",
    )


def test_a_portfolio_is_shown_with_how_soon_it_is_used_up() -> None:
    """By all its numbers together at their rates."""
    other = WA.replace("lanes.wa", "lanes.wb").replace("1065", "1066").replace("{}", "rate = 20")
    text = over_http(keys="", more='[portfolios.p]\nlimit = 2000\n[portfolios.q]\nlimit = "unlimited"\n') + other
    shown = [(one.name, one.recipients, one.lanes, one.reached_after_s) for one in summary_of(text).portfolios]
    assert shown == [("p", 2000, ("wa", "wb"), 20), ("q", None, (), None)]
    paused = summary_of(over_http(keys="rate = 0"))
    assert paused.portfolios[0].reached_after_s is None


def test_where_a_lane_is_called_back_without_a_public_url() -> None:
    """At its path; a provider that never calls has none."""
    assert summary_of(over_http(hooks="[webhooks]\nport = 8080\n")).lanes[0].callback == "/hooks/wa"
    aldeamo = '[lanes.sn]\nprovider = "aldeamo"\nrate = 1\n[lanes.sn.aldeamo]\nuser = "u"\npassword_env = "PW"\n'
    lane = summary_of(over_http(aldeamo)).lanes[0]
    assert (lane.callback, lane.address) == ("", "apismsi.aldeamo.com")


def test_a_sound_configuration_over_http_has_no_warnings() -> None:
    """Neither with WhatsApp nor with another provider."""
    assert warnings_of(over_http()) == []
    assert warnings_of(over_http(SINCH)) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (over_http(hooks=""), "webhooks.port"),
        (over_http(SINCH, hooks=""), "webhooks.port"),
        (over_http(hooks=HOOKS.replace("https", "http")), "webhooks.public_url"),
        (over_http(SINCH, hooks="[webhooks]\nport = 8080\n"), "lanes.sn.sinch.callback_url"),
        (over_http(SINCH.replace('callback_secret_env = "PW"', "")), "lanes.sn.sinch.callback_secret"),
        (over_http(SINCH, keys="slots = 2"), "lanes.sn.burst"),
        (over_http(keys="rate = 0"), "lanes.wa.rate"),
        (over_http(keys="rate = 81"), "lanes.wa.concurrency"),
        (over_http(more="[portfolios.p]\n[portfolios.q]\n"), "portfolios.q"),
    ],
)
def test_what_looks_unintended_over_http_is_a_warning(text: str, path: str) -> None:
    """One for each, at its path."""
    assert warnings_of(text) == [path]


def test_what_is_experimental_says_so() -> None:
    """A message's fate is not known there."""
    aldeamo = '[lanes.sn]\nprovider = "aldeamo"\nrate = 1\n[lanes.sn.aldeamo]\nuser = "u"\npassword_env = "PW"\n'
    assert warnings_of(over_http(aldeamo, hooks="")) == ["lanes.sn.provider"]


def test_a_vendor_that_is_told_elsewhere_where_to_call_is_no_warning() -> None:
    """Its file does not ask for the URL: it stands in the vendor's dashboard."""
    keys = 'file = "postmark.toml"\nsettings = { callback_user = "u" }'
    secrets = 'secrets = { token_env = "PW", callback_password_env = "PW" }'
    lane = f'[lanes.sn]\nprovider = "generic"\nrate = 1\n[lanes.sn.generic]\n{keys}\n{secrets}\n'
    text = over_http(lane, hooks="[webhooks]\nport = 8080\n").replace('"sms"', '"email"')
    summary = describe(loads(text, {"PW": "s3cret"}, Path(__file__).parents[2] / "deploy" / "providers"))
    assert summary.warnings == ()
    assert (summary.lanes[0].address, summary.lanes[0].callback) == ("postmark.toml", "/hooks/sn")


def test_numbers_of_one_app_with_two_accounts_are_a_warning() -> None:
    """Their statuses come in at one URL."""
    other = WA.replace("lanes.wa", "lanes.wb").replace("1065", "1066")
    route = '[[routes]]\nchannel = "whatsapp"\nclass = "otp"\nlane = "wb"\n'
    text = over_http().replace("[[routes]]", route + "[[routes]]", 1) + other
    assert warnings_of(text.replace("{}", "")) == ["lanes.wa.account"]
    assert warnings_of(text.replace("{}", 'account = "wa"')) == []


def test_two_lanes_of_one_account_do_not_stand_in_for_each_other() -> None:
    """When the one is down so is the other; another provider's is not."""
    other = SINCH.replace("lanes.sn", "lanes.so").replace("{}", "")
    text = over_http(SINCH).replace('lane = "sn"', 'lanes = ["sn", "so"]') + other
    assert [warning.what for warning in summary_of(text).warnings] == ["sn and so are one login"]
    assert warnings_of(text.replace('plan_id = "p"', 'plan_id = "q"', 1)) == []
    claro = over_http(SINCH).replace('lane = "sn"', 'lanes = ["sn", "claro"]') + LANE
    assert warnings_of(claro) == []


def test_nothing_secret_is_in_the_summary() -> None:
    """It is printed."""
    for text in (QUIET, over_http(), over_http(SINCH)):
        assert b"s3cret" not in msgspec.json.encode(summary_of(text))
