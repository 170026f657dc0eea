"""Providers by name: their settings, what they carry, and that only what is used is imported."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import fields

from gateway.config import HttpLane, loads
from gateway.content.model import Channel
from gateway.errors import ConfigError
from gateway.providers import registry
from gateway.providers.generic import Generic
from gateway.providers.registry import NAMES, PROVIDERS
from gateway.tables import Reader
from tests.providers.test_rbm import PEM

ENV = {"S": "s3cret", "PEM": PEM}
DEPLOY = Path(__file__).parents[2] / "deploy"

TABLES = {
    "whatsapp": 'phone_number_id = "1"\ntoken_env = "S"\napp_secret_env = "S"\nverify_token_env = "S"',
    "rcs": 'agent_id = "a"\nclient_email = "e"\nprivate_key_env = "PEM"',
    "twilio": 'account_sid = "AC1"\nauth_token_env = "S"',
    "infobip": 'base_url = "https://abc.api.infobip.com"\napi_key_env = "S"\nbatch = 7',
    "vonage": 'api_key = "k"\napi_secret_env = "S"',
    "sinch": 'service_plan_id = "p"\napi_token_env = "S"',
    "aldeamo": 'user = "u"\npassword_env = "S"',
    "generic": 'file = "providers/postmark.toml"\nsender = "a@b.example"\nsettings = { callback_user = "u" }\n'
    '[lanes.one.generic.secrets]\ntoken_env = "S"\ncallback_password_env = "S"',
    "smtp": 'host = "h"\nsender = "a@b.example"',
}
CHANNELS = {"whatsapp": "whatsapp", "rcs": "rcs", "generic": "email", "smtp": "email"}


def lane_of(provider: str, table: str = "") -> HttpLane:
    text = f"""
        [kafka]
        bootstrap = "k:9092"
        [store]
        url = "redis://s"
        [[routes]]
        channel = "{CHANNELS.get(provider, "voice" if "voice" in table else "sms")}"
        lane = "one"
        [lanes.one]
        provider = "{provider}"
        rate = 10
        [lanes.one.{provider}]
        {table or TABLES[provider]}
    """
    lane = loads(text, ENV, DEPLOY).lanes["one"]
    assert isinstance(lane, HttpLane)
    return lane


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process in which neither the packages of extras nor the modules that need them have been imported."""
    packages = ("cryptography", "aiosmtplib")
    with monkeypatch.context() as patch:
        for module in list(sys.modules):
            if module in ("gateway.providers.rbm", "gateway.mail") or module.startswith(packages):
                patch.delitem(sys.modules, module)
        for package in packages:
            patch.setitem(sys.modules, package, None)
        yield patch


@pytest.mark.parametrize("provider", NAMES)
def test_every_provider_has_settings_and_a_channel(provider: registry.Name) -> None:
    """What the table names is there: an account, a proof where there is one, one of our channels."""
    entry, lane = PROVIDERS[provider], lane_of(provider)
    assert type(lane.settings).__name__ == entry.settings
    assert lane.channel == CHANNELS.get(provider, "sms")
    assert lane.channel in get_args(Channel)
    known = {field.name for field in fields(lane.settings)} | {"proof", "channel"}
    assert {*entry.identity, *filter(None, (entry.proof, entry.told_by))} <= known


@pytest.mark.parametrize("provider", sorted(set(NAMES) - {"smtp"}))
def test_a_provider_is_built_from_its_lane(provider: str) -> None:
    """And takes as many messages in a request as the lane says beforehand."""
    lane = lane_of(provider)
    made = registry.build(lane)
    assert (type(made).__name__.lower(), made.batch) == (
        {"rcs": "rbm"}.get(provider, provider),
        registry.batch(lane.settings),
    )
    assert lane.window == 16 * made.batch


def test_batches_differ() -> None:
    """One, as set, or as a vendor's file has it."""
    batches = {provider: registry.batch(lane_of(provider).settings) for provider in NAMES}
    assert {name: batch for name, batch in batches.items() if batch > 1} == {"infobip": 7, "generic": 500}


def test_a_generic_provider_has_what_its_lane_says() -> None:
    """It compiles again into what was checked when the file was read."""
    made = registry.build(lane_of("generic"))
    assert isinstance(made, Generic)
    assert made.batch == 500


@pytest.mark.parametrize(
    ("provider", "table", "hears"),
    [
        ("whatsapp", "", True),
        ("sinch", "", True),
        ("generic", "", True),
        ("generic", 'file = "silent.toml"', False),
        ("aldeamo", "", False),
        ("smtp", "", False),
    ],
)
def test_who_calls_back(
    provider: str, table: str, hears: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vendor's file says so by its table [callback]."""
    silent = '[request]\nurl = "https://v.example/"\n[reply]\nsuccess = [{ http = "200" }]\nid = "id"\notherwise = "rejected"'
    (tmp_path / "silent.toml").write_text(silent, encoding="utf-8")
    if table:
        monkeypatch.setattr(sys.modules[__name__], "DEPLOY", tmp_path)
        monkeypatch.setitem(CHANNELS, provider, "sms")
    assert lane_of(provider, table).has_callbacks is hears


@pytest.mark.parametrize("provider", NAMES)
def test_an_account_is_the_same_whatever_else_the_lane_says(provider: registry.Name) -> None:
    """And no other provider's is equal to it."""
    settings = lane_of(provider).settings
    own = registry.identity(provider, settings)
    assert own == registry.identity(provider, lane_of(provider).settings)
    if "sender" in type(settings).__struct_fields__:
        other = lane_of(
            provider, "sender = 'Banco <c@d.example>'\n" + TABLES[provider].replace('sender = "a@b.example"', "")
        )
        assert own == registry.identity(provider, other.settings)
    assert all(own != lane_of(name).identity for name in NAMES if name != provider)


@pytest.mark.parametrize(
    ("provider", "package", "extra"), [("rcs", "cryptography", "rcs"), ("smtp", "aiosmtplib", "mail")]
)
def test_a_package_that_is_missing_is_a_problem_of_the_lane(
    provider: str, package: str, extra: str, without: pytest.MonkeyPatch
) -> None:
    """With what to install."""
    with pytest.raises(ConfigError) as caught:
        lane_of(provider)
    assert [str(problem) for problem in caught.value.problems] == [
        f"lanes.one.provider: needs the package {package} (pip install 'recado[{extra}]')"
    ]


def test_a_vendor_s_file_may_need_a_package_too(tmp_path: Path, without: pytest.MonkeyPatch) -> None:
    """That of the service accounts."""
    file = (DEPLOY / "providers" / "postmark.toml").read_text(encoding="utf-8")
    oauth = (
        '[oauth2]\nurl = "https://t.example/"\nclient_id = "i"\nclient_secret = "{secret.token}"\nsend = "assertion"\n'
    )
    text = file.replace('"{secret.token}"', '"{token}"') + oauth
    (tmp_path / "v.toml").write_text(text, encoding="utf-8")
    raw = {
        "file": "v.toml",
        "settings": {"callback_user": "u"},
        "secrets": {"token_env": "S", "callback_password_env": "S"},
    }
    with pytest.raises(registry.MissingPackage) as caught:
        registry.read(Reader(ENV, tmp_path), "generic", raw, "lanes.one.generic", "")
    assert caught.value.remedy == "pip install 'recado[rcs]'"


def test_an_error_in_a_module_of_ours_is_not_taken_for_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could install it."""
    monkeypatch.setitem(sys.modules, "gateway.providers.sinch", None)
    with pytest.raises(ModuleNotFoundError):
        lane_of("sinch")


def test_only_what_is_used_is_imported() -> None:
    """A configuration without lanes over HTTP loads no provider, and none needs an HTTP client to be read."""
    code = (
        "import sys, gateway.config\n"
        "print(sorted(m for m in sys.modules if m.startswith('gateway.providers.') or m in ('aiohttp', 'cryptography')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['gateway.providers.contract', 'gateway.providers.registry']"


def test_no_secret_is_in_what_identifies_a_lane() -> None:
    """It may be compared; it is not printed."""
    for provider in NAMES:
        assert "s3cret" not in repr(registry.identity(provider, lane_of(provider).settings))
