"""Lanes over HTTP in the configuration: what they have by default, what they offer, and every problem in them."""

from importlib import import_module
from pathlib import Path

import pytest

from gateway.config import Config, HttpLane, WhatsAppLane, loads
from gateway.errors import ConfigError, Problem
from gateway.http_lane_config import HttpSettings
from gateway.model import TrafficClass
from gateway.providers import registry
from gateway.providers.registry import NAMES
from gateway.tables import Secret
from gateway.whatsapp_lane_config import Quality

OTP, TRANSACTIONAL, BULK = TrafficClass
PROVIDERS = Path(__file__).parents[2] / "deploy" / "providers"
ENV = {"S": "s3cret"}
BASE = """
[kafka]
bootstrap = "localhost:9092"
[store]
url = "redis://localhost"
[[routes]]
channel = "{}"
lane = "{}"
"""
WA = """
[lanes.wa]
provider = "whatsapp"
{}
[lanes.wa.whatsapp]
phone_number_id = "1065"
token_env = "S"
app_secret_env = "S"
verify_token_env = "S"
"""
TWILIO = """
[lanes.tw]
provider = "twilio"
rate = 10
{}
[lanes.tw.twilio]
account_sid = "AC1"
auth_token_env = "S"
"""
HOOKS = '[webhooks]\nport = 8080\npublic_url = "https://messages.example.com/x/"\n'
GENERIC = f"""
{HOOKS}
[lanes.ib]
provider = "generic"
rate = 10
[lanes.ib.generic]
file = "infobip.toml"
settings = {{ base_url = "https://abc.api.infobip.com", callback_user = "u" }}
[lanes.ib.generic.secrets]
api_key_env = "S"
callback_password_env = "S"
"""
MAIL = """
[lanes.mail]
provider = "smtp"
rate = 10
[lanes.mail.smtp]
host = "smtp.example"
sender = "Banco <avisos@banco.example>"
"""


def config_of(text: str, lane: str = "wa", channel: str = "whatsapp") -> Config:
    return loads(BASE.format(channel, lane) + text, ENV, PROVIDERS)


def whatsapp(keys: str = "", more: str = "") -> WhatsAppLane:
    lane = config_of(WA.replace("{}", keys) + more).lanes["wa"]
    assert isinstance(lane, WhatsAppLane)
    return lane


def twilio(keys: str = "", more: str = "") -> HttpLane:
    lane = config_of(TWILIO.replace("{}", keys) + more, "tw", "voice" if "voice" in more else "sms").lanes["tw"]
    assert isinstance(lane, HttpLane)
    return lane


def problems_of(text: str, lane: str = "wa", channel: str = "whatsapp") -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        config_of(text, lane, channel)
    problems = {problem.path: problem for problem in caught.value.problems}
    assert len(problems) == len(caught.value.problems)
    return problems


def test_a_number_of_whatsapp_needs_its_credentials_only() -> None:
    """It has Meta's rate, its limits, and a portfolio of its own with the lowest limit there is."""
    config = config_of(WA.replace("{}", 'account = "andina"'))
    lane = config.lanes["wa"]
    assert isinstance(lane, WhatsAppLane)
    assert (lane.rate, lane.burst, lane.slots, lane.concurrency, lane.window) == (80, 4, 1, 16, 16)
    assert (lane.channel, lane.sender, lane.max_parts, lane.message_id_format) == ("whatsapp", "", 1, "same")
    assert (lane.pair.rate, lane.pair.burst) == (1 / 6, 45)
    assert (lane.templates, lane.poll_s, lane.allow_collections) == ("hold", 60, False)
    assert lane.portfolio == "andina"
    assert {name: portfolio.recipients for name, portfolio in config.portfolios.items()} == {"andina": 250}
    assert lane.settings.token == Secret("s3cret")
    assert lane.drain_s == 10
    assert "s3cret" not in repr(config)


def test_topics_have_a_partition_for_each_slot() -> None:
    """As those of a lane over SMPP have one for each bind."""
    topics = config_of(WA.replace("{}", 'slots = 3\nclasses = ["otp"]')).topics()
    assert {name: n for name, n in topics.items() if ".lane." in name} == {"recado.lane.wa.otp": 3}


def test_keys_of_its_requests_stand_in_the_table_of_the_lane() -> None:
    """Beside the rate, as the keys of a lane's binds do."""
    lane = twilio("concurrency = 4\ntimeout_s = 9\ndrain_s = 3\nallow_private = true")
    assert (lane.http.concurrency, lane.http.timeout_s, lane.http.allow_private) == (4, 9, True)
    assert (lane.concurrency, lane.window, lane.drain_s) == (4, 4, 3)


def test_a_window_counts_messages_and_not_requests() -> None:
    """Where a request carries several, as many times more are unanswered."""
    lane = config_of(GENERIC, "ib", "sms").lanes["ib"]
    assert isinstance(lane, HttpLane)
    assert (lane.concurrency, lane.window) == (16, 1600)


@pytest.mark.parametrize(
    ("lane", "name", "channel", "sender"),
    [
        (WA.replace("{}", ""), "wa", "whatsapp", ""),
        (TWILIO.replace("{}", "") + 'sender = "+1"', "tw", "sms", "+1"),
        (TWILIO.replace("{}", "") + 'product = "voice"', "tw", "voice", ""),
        (GENERIC, "ib", "sms", ""),
        (GENERIC.replace("settings =", 'sender = "Banco"\nsettings ='), "ib", "sms", "Banco"),
        (MAIL, "mail", "email", "Banco <avisos@banco.example>"),
    ],
)
def test_channel_and_sender_are_what_the_provider_says(lane: str, name: str, channel: str, sender: str) -> None:
    """By the provider, by the product that one has of it, or by a vendor's file."""
    found = config_of(lane, name, channel).lanes[name]
    assert (found.channel, found.sender) == (channel, sender)


def test_a_lane_is_told_where_it_is_called_back() -> None:
    """By the public URL of the webhooks, or as its own table says."""
    assert twilio().settings.callback_url == ""
    assert twilio(more=HOOKS).settings.callback_url == "https://messages.example.com/x/hooks/tw"
    own = twilio(more='callback_url = "https://other.example/"\n' + HOOKS)
    assert own.settings.callback_url == "https://other.example/"


def test_a_callback_that_its_provider_cannot_take_is_a_problem() -> None:
    """Although nobody wrote it: Vonage takes 100 characters."""
    lane = '[lanes.vo]\nprovider = "vonage"\nrate = 1\n[lanes.vo.vonage]\napi_key = "k"\napi_secret_env = "S"\n'
    hooks = HOOKS.replace("/x/", "/" + "x" * 100)
    assert problems_of(lane + hooks, "vo", "sms")["lanes.vo.vonage.callback_url"].remedy == "at most 100 characters"


def shares(quality: Quality, rating: str) -> list[float]:
    return [quality.policy[rating][class_] for class_ in TrafficClass]


def test_quality_gives_each_class_a_share() -> None:
    """Full, half, a tenth and no bulk; what Meta has no feedback on is as good."""
    quality = whatsapp().quality
    assert {rating: shares(quality, rating) for rating in quality.policy} == {
        "GREEN": [1, 1, 1],
        "YELLOW": [0.5, 0.5, 0.5],
        "RED": [0.1, 0.1, 0],
        "UNKNOWN": [1, 1, 1],
        "NA": [1, 1, 1],
    }


def test_quality_is_a_share_for_all_or_a_table_by_class() -> None:
    """A class that the table leaves out keeps its default."""
    quality = whatsapp(more="[lanes.wa.quality]\nyellow = 0.25\nred = { bulk = 0.05 }").quality
    assert quality == Quality(yellow=0.25, red={BULK: 0.05})
    assert (shares(quality, "YELLOW"), shares(quality, "RED")) == ([0.25, 0.25, 0.25], [0.1, 0.1, 0.05])


def test_the_limit_of_a_pair_can_be_switched_off() -> None:
    """A rate of 0 is none."""
    assert whatsapp(more="[lanes.wa.pair]\nevery_s = 0").pair.rate == 0


def test_numbers_share_the_portfolio_that_they_name() -> None:
    """And one that names none has its own."""
    other = WA.replace("lanes.wa", "lanes.wb").replace("1065", "1066")
    third = WA.replace("lanes.wa", "lanes.wc").replace("1065", "1067").replace("{}", "")
    lanes = (WA + other).replace("{}", 'portfolio = "p"') + third
    config = config_of(lanes + '[portfolios.p]\nlimit = "unlimited"')
    assert {name: getattr(lane, "portfolio", "") for name, lane in config.lanes.items()} == {
        "wa": "p",
        "wb": "p",
        "wc": "wc",
    }
    assert {name: portfolio.recipients for name, portfolio in config.portfolios.items()} == {"p": None, "wc": 250}


def test_a_portfolio_may_be_named_as_the_account_and_have_a_table() -> None:
    """Then the lane need not name it."""
    config = config_of(WA.replace("{}", "") + "[portfolios.wa]\nlimit = 100000")
    assert config.portfolios["wa"].recipients == 100_000


@pytest.mark.parametrize("reserve", ["{ bulk = 0.1 }", "{ otp = 0.3, transactional = 0.3 }"])
def test_a_portfolio_keeps_something_for_urgent_classes_only(reserve: str) -> None:
    """And half of it at most."""
    portfolio = "[portfolios.wa]\nreserve = {}"
    kept = config_of(WA.replace("{}", "") + portfolio.replace("{}", "{ otp = 0.3, transactional = 0.2 }")).portfolios
    assert kept["wa"].reserve == {OTP: 0.3, TRANSACTIONAL: 0.2}
    assert set(problems_of(WA.replace("{}", "") + portfolio.replace("{}", reserve))) == {"portfolios.wa.reserve"}


@pytest.mark.parametrize(
    ("keys", "more", "path"),
    [
        ("rate = -1", "", "rate"),
        ("slots = 0", "", "slots"),
        ("concurrency = 0", "", "concurrency"),
        ("concurency = 8", "", "concurency"),
        ("connect_timeout_s = 30", "", "connect_timeout_s"),
        ("binds = 2", "", "binds"),
        ("window = 2", "", "window"),
        ('sender = "x"', "", "sender"),
        ('classes = ["bulk", "bulk"]', "", "classes"),
        ('templates = "drop"', "", "templates"),
        ("poll_s = 0", "", "poll_s"),
        ('portfolio = "andina"', "", "portfolio"),
        ("", "[lanes.wa.quality]\nred = 2", "quality.red"),
        ("", "[lanes.wa.quality]\nred = { urgent = 1 }", "quality.red.urgent"),
        ("", "[lanes.wa.quality]\norange = 1", "quality.orange"),
        ("", "[lanes.wa.pair]\nburst = 0", "pair.burst"),
        ("", "[lanes.wa.twilio]\naccount_sid = 'AC1'", "twilio"),
        ("", '[lanes.wb]\nprovider = "smpp"', "wb"),
        ("settings = {}", "", "settings"),
        ("http = {}", "", "http"),
        ("whatsap = {}", "", "whatsap"),
    ],
)
def test_what_is_wrong_with_a_number_has_its_path(keys: str, more: str, path: str) -> None:
    """Of the lane, of its requests, of what only WhatsApp has, and of keys of other lanes."""
    paths = {name.removeprefix("lanes.wa.") for name in problems_of(WA.replace("{}", keys) + more)}
    if path == "wb":
        assert paths == {"lanes.wb.host", "lanes.wb.port", "lanes.wb.system_id", "lanes.wb.password", "lanes.wb.rate"}
    else:
        assert paths == {path}


def test_every_problem_of_a_lane_is_found_at_once() -> None:
    """Whatever part of the table it is in."""
    text = WA.replace("{}", "slots = 0\ntimeout_s = 0").replace('"1065"', '"+1065"').replace('token_env = "S"', "", 1)
    found = problems_of(text + 'version = "23"\n[lanes.wa.pair]\nevery_s = -1')
    assert set(found) == {
        f"lanes.wa.{key}"
        for key in (
            "slots",
            "timeout_s",
            "whatsapp.phone_number_id",
            "whatsapp.token",
            "whatsapp.version",
            "pair.every_s",
        )
    }


@pytest.mark.parametrize("value", ["-1", '"x"', "[[1]]", "{ a = 1 }"])
@pytest.mark.parametrize("provider", NAMES)
def test_no_value_of_any_key_is_a_surprise(provider: registry.Name, value: str) -> None:
    """Of a lane of any provider, and of what is the provider's own: nothing but ConfigError comes out."""
    entry = registry.PROVIDERS[provider]
    settings = getattr(import_module(entry.module), entry.settings).__struct_encode_fields__
    lane = {*WhatsAppLane.__struct_encode_fields__, *HttpSettings.__struct_encode_fields__, *NAMES} - {"provider"}
    texts = [f"{key} = {value}" for key in lane]
    texts += [f"[lanes.x.{provider}]\n{key}{way} = {value}" for key in settings for way in ("", "_env", "_file")]
    texts += [f"[lanes.x.{table}]\n{key} = {value}" for table in ("quality", "pair") for key in ("red", "burst")]
    for text in texts:
        with pytest.raises(ConfigError) as caught:
            loads(f'[lanes.x]\nprovider = "{provider}"\n{text}', ENV)
        assert all(problem.path and problem.what for problem in caught.value.problems)


def test_misspelt_keys_are_told_what_they_may_have_meant() -> None:
    """Those of the requests too, which are another struct to us and the same table to people."""
    assert problems_of(WA.replace("{}", "concurency = 8"))["lanes.wa.concurency"].remedy == "did you mean concurrency?"
    assert problems_of(WA.replace("{}", "polls = 8"))["lanes.wa.polls"].remedy == "did you mean poll_s?"


def test_a_provider_that_there_is_not_is_one_problem() -> None:
    """With a suggestion, or with all that there are."""
    assert problems_of('[lanes.wa]\nprovider = "whatsap"')["lanes.wa.provider"].remedy == "did you mean whatsapp?"
    for odd in ('"pigeon"', "5", "[]", "{}"):
        found = problems_of(f"[lanes.wa]\nprovider = {odd}\nrate = 1")
        assert set(found) == {"lanes.wa.provider"}
        assert found["lanes.wa.provider"].remedy.startswith("one of: smpp, whatsapp, rcs,")


@pytest.mark.parametrize("table", ["5", "[]", '"x"'])
def test_a_provider_s_table_that_is_none_is_a_problem(table: str) -> None:
    """And nothing but a problem."""
    for name, text in (("wa", WA), ("ib", GENERIC)):
        lane = text.partition(f"[lanes.{name}.")[0].replace("{}", "")
        provider = "whatsapp" if name == "wa" else "generic"
        assert f"lanes.{name}.{provider}" in problems_of(f"{lane}\n{provider} = {table}", name)


def test_a_number_belongs_to_one_lane() -> None:
    """Two would each take its rate and its pairs for their own."""
    found = problems_of((WA + WA.replace("lanes.wa", "lanes.wb")).replace("{}", ""))
    assert [(path, problem.what) for path, problem in found.items()] == [
        ("lanes.wb.whatsapp.phone_number_id", "is that of lane wa")
    ]
    two = (TWILIO + TWILIO.replace("lanes.tw", "lanes.tx")).replace("{}", "")
    assert set(config_of(two, "tw", "sms").lanes) == {"tw", "tx"}


def test_a_portfolio_that_there_is_not_is_a_problem() -> None:
    """With the nearest that there is; one with a problem of its own is not also missing."""
    text = WA.replace("{}", 'portfolio = "andin"')
    assert problems_of(text)["lanes.wa.portfolio"].remedy == "add a table [portfolios.andin]"
    assert problems_of(text + "[portfolios.andina]")["lanes.wa.portfolio"].remedy == "did you mean andina?"
    assert set(problems_of(text + "[portfolios.andin]\nlimit = 20000")) == {"portfolios.andin.limit"}
    with pytest.raises(ConfigError) as caught:
        loads("portfolios = 3\n" + BASE.format("whatsapp", "wa") + text, ENV)
    assert [problem.path for problem in caught.value.problems] == ["portfolios", "lanes.wa.portfolio"]


@pytest.mark.parametrize("url", ["https://api..example", "https://.example/x", "https://", "https://[::1"])
def test_a_base_url_whose_host_cannot_be_looked_up_is_refused(url: str) -> None:
    """Else every message would be in doubt."""
    problem = problems_of((WA + f'base_url = "{url}"').replace("{}", ""))["lanes.wa.whatsapp.base_url"]
    assert "1 to 63 characters" in problem.remedy


def test_a_server_of_mail_that_cannot_be_looked_up_is_refused() -> None:
    """As a host of SMPP is."""
    problem = problems_of(MAIL.replace("smtp.example", "smtp..example"), "mail", "email")["lanes.mail.smtp.host"]
    assert "1 to 63 characters" in problem.remedy


@pytest.mark.parametrize("url", ["http://graph.example", "graph.example", "ftp://graph.example"])
def test_a_provider_is_spoken_to_over_tls(url: str) -> None:
    """Its address says so, or the lane is of a network of ours."""
    text = WA + f'base_url = "{url}"'
    assert set(problems_of(text.replace("{}", ""))) == {"lanes.wa.whatsapp.base_url"}
    private = text.replace("{}", "allow_private = true")
    if url.startswith("http:"):
        assert config_of(private).lanes["wa"].name == "wa"
    else:
        assert set(problems_of(private)) == {"lanes.wa.whatsapp.base_url"}


def test_a_vendor_s_file_is_read_with_the_configuration() -> None:
    """What it lacks of the lane, and what it does not know, are problems like others."""
    assert problems_of(GENERIC.replace("infobip.toml", "nowhere.toml"), "ib", "sms").keys() == {"lanes.ib.generic.file"}
    assert "lanes.ib.generic.secrets.api_key_env" in problems_of(GENERIC.replace('"S"', '"NOWHERE"'), "ib", "sms")
    lacking = problems_of(GENERIC.replace('api_key_env = "S"', ""), "ib", "sms")
    assert lacking.keys() == {"lanes.ib.generic:infobip.toml.request.headers.authorization"}
    unused = problems_of(GENERIC.replace("callback_user", "calback_user"), "ib", "sms")
    assert all(path.startswith("lanes.ib.generic:infobip.toml.") for path in unused)


@pytest.mark.parametrize("octets", [b"[request", b"\xff", b"colour = 1"])
def test_a_vendor_s_file_that_is_none_is_a_problem(octets: bytes, tmp_path: Path) -> None:
    """Not TOML, not UTF-8, or something else."""
    (tmp_path / "infobip.toml").write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        loads(BASE.format("sms", "ib") + GENERIC, ENV, tmp_path)
    assert {problem.path.partition(".toml")[0] for problem in caught.value.problems} == {"lanes.ib.generic:infobip"}


def test_mail_has_no_keys_of_http() -> None:
    """They would do nothing."""
    lane = config_of(MAIL.replace("rate = 10", "rate = 10\nconcurrency = 4\ndrain_s = 1"), "mail", "email").lanes[
        "mail"
    ]
    assert (lane.window, lane.drain_s) == (4, 1)
    text = MAIL.replace("rate = 10", "rate = 10\ntimeout_s = 4")
    assert set(problems_of(text, "mail", "email")) == {"lanes.mail.timeout_s"}


@pytest.mark.parametrize("channel", ["sms", "rcs", "voice", "email"])
def test_a_route_leads_to_lanes_of_its_channel(channel: str) -> None:
    """A message of another one would be nothing that they carry."""
    problem = problems_of(WA.replace("{}", ""), "wa", channel)["routes[0].channel"]
    assert problem.what == f"is {channel}, but lane wa carries whatsapp"
    assert problem.remedy == f'channel = "whatsapp", or only lanes that carry {channel}'


def test_ranks_of_a_route_are_of_one_channel() -> None:
    """To another one leads the plan of a job."""
    text = BASE.format("whatsapp", "wa").replace('lane = "wa"', 'lanes = ["wa", { tw = 1 }]')
    with pytest.raises(ConfigError) as caught:
        loads(text + (WA + TWILIO).replace("{}", ""), ENV)
    assert [(problem.path, problem.what) for problem in caught.value.problems] == [
        ("routes[0].channel", "is whatsapp, but lane tw carries sms")
    ]
