"""Secrets come by reference and go to whom they are for: no output of the configuration shows one."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from gateway.check import describe
from gateway.config import Config, HttpLane, Lane, WhatsAppLane, load, loads
from gateway.errors import ConfigError
from gateway.providers.registry import PROVIDERS, build
from gateway.tables import Secret
from tests.gateway.test_examples import PEM, TEXT, blocks, folder
from tests.support.stage import toml

__all__ = ["folder"]

_SASL = 'sasl_mechanism = "PLAIN"\nsasl_username = "recado"\nsasl_password_env = "KAFKA_PASSWORD"\n'
EVERYTHING = "\n".join([TEXT, *blocks()]).replace("[kafka]\n", f"[kafka]\n{_SASL}", 1)
EVERYTHING = re.sub(r'(?m)^url = "redis[^\n]*', 'url_env = "STORE_URL"', EVERYTHING, count=1)
NAMES = sorted(set(re.findall(r'(?m)^\w+_env = "(\w+)"', EVERYTHING)))
# As short as a password of SMPP has to be, and like nothing else in the file.
VALUES = {name: f"zq{number:02}qz" for number, name in enumerate(NAMES)} | {
    "STORE_URL": "rediss://u:zq99qz@store:6380/0"
}
SHOWN = (*(value for name, value in VALUES.items() if name != "STORE_URL"), "zq99qz", "zq98qz", PEM.splitlines()[5])

_TELLING = re.compile(r"password|secret|token|private_key|(^|_)key$|passphrase")
_OPEN = {("VonageSettings", "api_key"), ("OAuth2", "token_url"), ("RbmSettings", "token_url")}
"""Names of accounts and addresses of endpoints."""


@pytest.fixture
def place(folder: Path) -> Path:
    """A folder with all that the configuration of everything refers to."""
    (folder / "vivo-password").write_text("zq98qz\n", encoding="utf-8")
    return folder


def assert_hidden(text: str) -> None:
    for secret in SHOWN:
        assert secret not in text


def test_nothing_that_is_shown_of_a_configuration_has_a_secret(place: Path) -> None:
    """Representations of the tree and of the providers made of it, and its summary; yet each secret has been read."""
    config = loads(EVERYTHING, VALUES, place)
    assert "zq99qz" in config.store.url.reveal()
    assert config.kafka.sasl_password.reveal() == VALUES["KAFKA_PASSWORD"]
    made = [build(lane) for lane in config.lanes.values() if isinstance(lane, HttpLane) and lane.provider != "smtp"]
    assert len(made) > 5
    for text in (repr(config), str(config), f"{config}", repr(made), str(made), repr(dict(config.lanes))):
        assert_hidden(text)
    assert_hidden(msgspec.json.encode(describe(config)).decode())
    with pytest.raises(TypeError) as unwritable:
        msgspec.json.encode(config)
    assert_hidden(str(unwritable.value))


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["people", "programs"])
def test_check_prints_no_secret(place: Path, options: tuple[str, ...]) -> None:
    """Neither for people nor for programs, whatever it says of the rest."""
    file = place / "everything.toml"
    file.write_text(EVERYTHING, encoding="utf-8")
    command = [sys.executable, "-m", "gateway.cli", "check", *options, str(file)]
    done = subprocess.run(command, env={"PATH": "", "HOME": str(place), **VALUES}, capture_output=True, check=False)
    shown = (done.stdout + done.stderr).decode()
    assert "claro-co" in shown
    assert_hidden(shown)


_TABLES: dict[str, Any] = tomllib.loads(EVERYTHING)


def _paths(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*path, key)
        if isinstance(value, Mapping):
            yield from _paths(value, (*path, key))


def _changed(table: Mapping[str, Any], path: tuple[str, ...], key: str, value: Any) -> dict[str, Any]:
    """A copy in which something else stands at a path, under a key that may be another."""
    if len(path) == 1:
        return {name: each for name, each in table.items() if name != path[0]} | {key: value}
    return {**table, path[0]: _changed(table[path[0]], path[1:], key, value)}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(sorted(_paths(_TABLES))),
    value=st.sampled_from(
        [SHOWN[0], "", 5, -1, True, [], [SHOWN[1]], {"a": SHOWN[2]}, "redis://u:zq99qz@h", "nowhere"]
    ),
    key=st.sampled_from(["", "password", "secret"]),
)
def test_no_problem_of_a_configuration_quotes_a_secret(
    place: Path, path: tuple[str, ...], value: Any, key: str
) -> None:
    """Whatever is wrong in the file, a secret among it that stands where its reference should."""
    bare = path[-1].removesuffix("_env").removesuffix("_file")
    secret = bare != path[-1] and bare != "ca"
    if secret:
        changed = _changed(_TABLES, path, bare, value)
    else:  # what is no secret may be quoted; it then holds none
        value = value if not _has_secret(value) else 5
        changed = _changed(_TABLES, path, key or path[-1], value)
    text = "\n".join(f"{name} = {toml(table)}" for name, table in changed.items())
    try:
        config = loads(text, VALUES, place)
    except ConfigError as error:
        for shown in (str(error), repr(error), repr(error.problems)):
            assert_hidden(shown)
    else:
        assert_hidden(repr(config))


def _has_secret(value: Any) -> bool:
    return any(secret in repr(value) for secret in SHOWN)


def _structs(kind: Any, seen: set[type]) -> Iterator[type[Struct]]:
    """Every struct that a configuration can hold, below `kind`."""
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, Struct) and each not in seen:
            seen.add(each)
            yield each
            for hint in get_type_hints(each).values():
                yield from _structs(hint, seen)
        elif each is not kind:
            yield from _structs(each, seen)


def test_no_field_with_a_telling_name_is_plain_text() -> None:
    """A password, token or key in any table is a `Secret`, which no representation shows."""
    seen: set[type] = set()
    models = [model for root in (Config, Lane, HttpLane, WhatsAppLane) for model in _structs(root, seen)]
    for entry in PROVIDERS.values():
        models += _structs(getattr(importlib.import_module(entry.module), entry.settings), seen)
    plain = {
        (model.__name__, name)
        for model in models
        for name, hint in get_type_hints(model).items()
        if _TELLING.search(name)
        and not any(isinstance(each, type) and issubclass(each, Secret) for each in (hint, *get_args(hint)))
    }
    assert plain - _OPEN == set()
    assert len(models) > 20


def test_a_secret_that_cannot_be_read_is_named_and_not_shown(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no text, or an environment without it: the problem says which, and nothing of its content."""
    (place / "vivo-password").write_bytes(b"zq98qz\xff\xfe")
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WA_TOKEN")
    file = place / "everything.toml"
    file.write_text(EVERYTHING, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert "WA_TOKEN" in str(caught.value)
    assert_hidden(str(caught.value))
