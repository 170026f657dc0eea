"""The example configurations: they load, mean what they say, and show every key there is."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct
from msgspec.structs import fields

from gateway.check import describe
from gateway.config import (
    Adaptive,
    Caps,
    Config,
    ErrorRule,
    HttpLane,
    Lane,
    Portfolio,
    Route,
    WhatsAppLane,
    load,
    loads,
)
from gateway.hours import Hours
from gateway.http_lane_config import HttpSettings
from gateway.providers.registry import NAMES
from gateway.tables import Secret
from gateway.whatsapp_lane_config import Pair, Quality

DEPLOY = Path(__file__).parents[2] / "deploy"
CERTIFICATE = Path(__file__).parents[1] / "vectors" / "localhost.pem"
TEXT = (DEPLOY / "recado.toml").read_text(encoding="utf-8")
PEM = rsa.generate_private_key(65_537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def secrets_of(text: str) -> dict[str, str]:
    return dict.fromkeys(re.findall(r'_env = "(\w+)"', text), "s3cret")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the example says is beside it."""
    (tmp_path / "vivo-password").write_text("pw\n", encoding="utf-8")
    (tmp_path / "rcs-key.pem").write_text(PEM, encoding="utf-8")
    for name in ("claro-ca.pem", "provider-ca.pem", "mail-ca.pem"):
        shutil.copy(CERTIFICATE, tmp_path / name)
    shutil.copytree(DEPLOY / "providers", tmp_path / "providers")
    return tmp_path


def blocks() -> Iterator[str]:
    """The tables of the example that are comments as a whole: other providers."""
    for block in re.split(r"\n\n+", TEXT):
        if block.startswith("# [lanes."):
            yield "\n".join(line.removeprefix("# ") for line in block.splitlines())


def shown(section: str) -> set[str]:
    """The keys that the example shows in a section, in comments too."""
    found = re.findall(rf"^(?:# )?\[{section}\][^\n]*\n(.*?)(?=^(?:# )?\[|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return {key for body in found for key in re.findall(r"^(?:# )?(\w+) = ", body, re.MULTILINE)}


def keys_of(model: type[Struct]) -> set[str]:
    return set(model.__struct_encode_fields__)


def without_ways(keys: set[str]) -> set[str]:
    return {key.removesuffix("_env").removesuffix("_file") if key != "ca_file" else key for key in keys}


def test_the_example_shows_every_key(folder: Path) -> None:
    """Of every section, every kind of lane and every provider."""
    config = loads(TEXT, secrets_of(TEXT), folder)
    for name in set(Config.__struct_fields__) - {"lanes", "portfolios", "routes", "operators", "classes", "hours"}:
        assert keys_of(type(getattr(config, name))) - without_ways(shown(name)) == set(), name
    assert shown("classes.otp") == {"in_doubt"}
    assert keys_of(Lane) - {"name", "errors"} - without_ways(shown("lanes.claro-co")) == set()
    of_every_lane = keys_of(Lane) & keys_of(HttpLane) - {"provider", "rate"}
    own = keys_of(WhatsAppLane) - of_every_lane - {"http", "settings", "quality", "pair"}
    assert own | keys_of(HttpSettings) == shown("lanes.wa-co")
    assert shown("lanes.wa-co.quality") == keys_of(Quality)
    assert shown("lanes.wa-co.pair") == keys_of(Pair)
    assert shown("portfolios.andina") == keys_of(Portfolio)
    assert keys_of(Hours) == shown(r"\[hours\]")
    assert keys_of(Route) - shown(r"\[routes\]") - {"lane"} == set()
    for inner in (Adaptive, Caps, ErrorRule):
        assert [key for key in inner.__struct_encode_fields__ if f" {key} = " not in TEXT] == []
    assert config.operators


def test_the_example_shows_every_provider(folder: Path) -> None:
    """What is a comment there loads too, with all keys of the provider's own."""
    text = "\n".join([TEXT, *blocks()])
    config = loads(text, secrets_of(text), folder)
    http = {lane.provider: lane for lane in config.lanes.values() if isinstance(lane, HttpLane)}
    assert sorted(http) == sorted(NAMES)
    tables = tomllib.loads(text)["lanes"]
    for provider, lane in http.items():
        assert keys_of(type(lane.settings)) - {"vendor"} == without_ways(set(tables[lane.name][provider])), provider


def test_the_example_shows_the_defaults(folder: Path) -> None:
    """A value that is not a default says so in its comment."""
    config = loads(TEXT, secrets_of(TEXT), folder)
    least = """
        [kafka]
        bootstrap = "k:9092"
        [store]
        url = "redis://s"
        [lanes.claro]
        host = "h"
        port = 1
        system_id = "s"
        password_env = "X"
        rate = 1
        [lanes.wa]
        provider = "whatsapp"
        [lanes.wa.whatsapp]
        phone_number_id = "1"
        token_env = "X"
        app_secret_env = "X"
        verify_token_env = "X"
        [[routes]]
        lane = "claro"
    """
    plain = loads(least, {"X": "s3cret"})
    for name in ("classes", "delay", "receipts", "claims", "limits", "admin"):
        assert getattr(config, name) == getattr(plain, name)
    for section, said in (
        ("webhooks", {"port", "public_url"}),
        (
            "lanes.claro",
            {"name", "account", "host", "port", "system_id", "password", "binds", "window", "rate", "burst", "sender"},
        ),
        ("lanes.wa", {"name", "account", "slots", "portfolio"}),
    ):
        where, _, lane = section.partition(".")
        given, default = getattr(config, where), getattr(plain, where)
        if lane:
            given, default = given[f"{lane}-co"], default[lane]
        for field in set(type(default).__struct_fields__) - said - {"settings"}:
            assert getattr(given, field) == getattr(default, field), field


def test_the_example_shows_the_defaults_of_every_provider(folder: Path) -> None:
    """A value of its table that is not the default says so; where it is called back and secrets can have none."""
    text = "\n".join([TEXT, *blocks()])
    config = loads(text, secrets_of(text), folder)
    for lane in config.lanes.values():
        if not isinstance(lane, HttpLane):
            continue
        for field in fields(lane.settings):
            line = next((line for line in blocks_of(text, lane) if line.startswith(f"{field.name} = ")), "")
            if line and not re.search("# .*(required|default)", line) and field.name != "callback_url":
                assert getattr(lane.settings, field.name) == field.default, f"{lane.name}: {line}"


def blocks_of(text: str, lane: HttpLane) -> list[str]:
    _, _, table = text.partition(f"[lanes.{lane.name}.{lane.provider}]\n")
    return table.partition("\n\n")[0].partition("\n[")[0].splitlines()


@pytest.mark.parametrize("name", ["operator", "operators", "whatsapp"])
def test_a_complete_example_leaves_nothing_to_be_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads where it stands, and there is no warning."""
    file = DEPLOY / f"{name}.toml"
    for key, value in secrets_of(file.read_text(encoding="utf-8")).items():
        monkeypatch.setenv(key, value)
    assert describe(load(file)).warnings == ()


def test_the_numbers_of_the_whatsapp_example_share_what_is_shared() -> None:
    """The limit of their portfolio and the callbacks of their app; each has its own rate and classes."""
    text = (DEPLOY / "whatsapp.toml").read_text(encoding="utf-8")
    config = loads(text, secrets_of(text), DEPLOY)
    lanes = [lane for lane in config.lanes.values() if isinstance(lane, WhatsAppLane)]
    assert {(lane.portfolio, lane.account, lane.rate) for lane in lanes} == {("andina", "andina", 80)}
    assert config.portfolios["andina"].recipients == 10_000
    assert lanes[0].settings.token == Secret("s3cret")


def test_the_operators_of_the_example_are_ranked() -> None:
    """Own short codes first, then whoever reaches everybody."""
    text = (DEPLOY / "operators.toml").read_text(encoding="utf-8")
    summary = describe(loads(text, secrets_of(text), DEPLOY))
    assert summary.routes == (
        "sms, operator claro → claro, else infobip",
        "sms, operator tigo → tigo, else infobip",
        "sms, class otp, country CO → claro (75 %) and tigo (25 %), else twilio",
        "sms, country CO → claro, else infobip (66.7 %) and twilio (33.3 %)",
        "sms, anything → twilio, else infobip",
        "voice, anything → voice",
    )
