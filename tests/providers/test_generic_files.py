"""The generic provider: what a wrong file is told, and where its secrets come from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.errors import ConfigError
from gateway.providers.generic import load, secrets_of
from gateway.tables import Reader, Secret
from tests.providers.generic_lanes import (
    ACCOUNT,
    BEARER,
    JSON,
    OAUTH,
    REPLY,
    REQUEST,
    STATUS,
    WORD,
    read,
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (REQUEST + JSON + REPLY.replace('"id"', '"a..b"'), "reply.id: is not a path from character 3 on"),
        (REQUEST + JSON + REPLY.replace("200-299", "2xx"), "reply.success[0]: '2xx' is no HTTP status"),
        (
            REQUEST + JSON + REPLY.replace('http = "200-299"', 'is = 1, path = ""'),
            "reply.success[0]: does not say where",
        ),
        (REQUEST + JSON + REPLY.replace('id = "id"', ""), "reply.id: is missing"),
        (REQUEST + JSON + REPLY + "list = 5", "vendor.reply.list: expected a text"),
        (REQUEST + JSON + REPLY + "lsit = 5", "did you mean list?"),
        (
            REQUEST + JSON + REPLY + 'rules = [{ path = "a", matches = "(", then = "stop" }]',
            "reply.rules[0]: is not a reg",
        ),
        (REQUEST + JSON + REPLY + 'rules = [{ path = "a", then = "stopp" }]', "vendor.reply.rules[0].then"),
        (REQUEST + JSON + REPLY + 'rules = [{ path = "a", then = "stop", foo = 1 }]', "vendor.reply.rules"),
        (
            REQUEST + JSON + REPLY + 'rules = [{ path = "a", then = "stop", wait = { path = "b", matches = "x" } }]',
            "reply.rules[0].wait.matches: has 0 groups and needs 1",
        ),
        (REQUEST + JSON + REPLY + 'format = "text"\npattern = "x"', "reply.pattern: names no group"),
        (
            REQUEST + '[request.json]\nx = "{too}"' + REPLY,
            "request.json.x: has an unknown placeholder {too} (did you mean to?)",
        ),
        (
            REQUEST + '[request.json]\nx = ["{to"]' + REPLY,
            "request.json.x[0]: has a brace that opens or closes nothing",
        ),
        (REQUEST + '[request.json]\nx = "{secret.kye}"' + REPLY, "did you mean key?"),
        (REQUEST + '[request.json]\nx = "{setting.zone}"' + REPLY, "give the lane a zone in settings"),
        ('[request]\nurl = "https://x.example/"\n' + REPLY, "secret.password: is used nowhere"),
        ('[request]\nurl = "https://{to}/"\n' + REPLY, "request.url: does not begin with a fixed host"),
        ('[request]\nurl = "https://example.org{to}/"\n' + REPLY, "request.url: does not begin with a fixed host"),
        ('[request]\nurl = "ftp://x/"\n' + REPLY, "request.url: does not begin with a fixed host"),
        ('[request]\nurl = "https://x/{campaign?}"\n' + REPLY, "request.url: cannot be left out"),
        (
            REQUEST + JSON + '[request.sign]\nover = "{setting.no?}"\nname = "x"' + REPLY,
            "request.sign.over: cannot be left",
        ),
        ("idempotent = true\n" + REQUEST + JSON + REPLY, "idempotent: needs an id that stays the same"),
        (
            "idempotent = true\n" + REQUEST + JSON + 'id = "{reference.uuid}"' + REPLY,
            "idempotent: needs an id that stays the same when a message is sent again (let [request] carry {reference.once})",
        ),
        (REQUEST + 'needs = ["campaign"]\n' + JSON + REPLY, "request.needs: names {campaign}, which stands nowhere"),
        (REQUEST + "batch = 2\n" + JSON + REPLY, "request.batch: needs a list in the body"),
        (REQUEST + 'each = "nowhere"\n' + JSON + REPLY, "request.json.nowhere: is not a list in the body"),
        (REQUEST + 'each = "l"\n[request.json]\nl = [1, 2]' + REPLY, "request.json.l: has not exactly one element"),
        (REQUEST + 'method = "GET"\n' + JSON + REPLY, "request.method: GET has no body"),
        (REQUEST + JSON + '[request.form]\na = "b"' + REPLY, "request.form: stands beside json"),
        (REQUEST + '[request.json]\nx = "{token}"' + REPLY, "{token} has nothing to come from (add [oauth2])"),
        (REQUEST + JSON + REPLY + OAUTH, "{token} is used nowhere"),
        (BEARER + REPLY + OAUTH + 'send = "assertion"', "oauth2.client_secret: is not an RSA key in PEM"),
        (REQUEST + JSON + REPLY + f"[callback]\n{WORD}", "callback: reads nothing"),
        (REQUEST + JSON + REPLY + '[callback]\nproof = { kind = "hub" }' + STATUS, "callback.proof.secret: is missing"),
        (REQUEST + JSON + REPLY + '[callback]\nproof = { kind = "none" }' + STATUS, "vendor.callback.proof.kind"),
        (
            REQUEST + JSON + REPLY + f"[callback]\n{WORD}\nnetworks = ['10.0.0.1/8']" + STATUS,
            "callback.networks[0]: is no",
        ),
        (
            REQUEST + JSON + REPLY + f"[callback]\n{WORD}\nnetworks = ['::1']" + STATUS,
            "callback.address_header: is missing",
        ),
        (
            REQUEST + JSON + REPLY + f"[callback]\n{WORD}" + STATUS.replace("delivered", "orphan"),
            "statuses.ok: cannot be orph",
        ),
        (
            REQUEST + JSON + REPLY + f"[callback]\n{WORD}" + STATUS + 'at = { path = "t", zone = "Mars" }',
            "at.zone: is no time",
        ),
        (
            REQUEST + JSON + REPLY + f"[callback]\n{WORD}" + STATUS + 'at = { path = "t", format = "%Q" }',
            "callback.status.at.format: is not a format of a time",
        ),
        (
            REQUEST + JSON + REPLY + f"[callback]\n{WORD}" + STATUS + 'rules = [{ path = "a", then = "accepted" }]',
            "callback.status.rules[0].then: cannot be accepted",
        ),
    ],
)
def test_a_wrong_file_is_told_where_and_what(text: str, problem: str) -> None:
    """And makes no lane."""
    made, problems = read(text)
    assert made is None
    assert any(problem in found for found in problems), problems


def test_every_problem_is_found_at_once() -> None:
    """A person mends a file once."""
    _, problems = read(
        REQUEST.replace("/send", "/{nobody}") + '[request.json]\na = "{b}"\nc = "}"' + REPLY.replace('"id"', '"["')
    )
    assert len(problems) == 4


def test_no_problem_shows_a_secret() -> None:
    """Problems are printed."""
    account = msgspec.structs.replace(ACCOUNT, secrets={"key": Secret("hunter2{"), "unused": Secret("hunter3")})
    _, problems = read(REQUEST + JSON + REPLY, account)
    assert problems
    assert "hunter" not in " ".join(problems)


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """Absent, or no TOML."""
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    for file in (broken, tmp_path / "absent.toml"):
        with pytest.raises(ConfigError):
            load(file, ACCOUNT)


def test_a_lane_names_its_secrets_as_it_likes(tmp_path: Path) -> None:
    """Each in the environment or in a file."""
    (tmp_path / "password").write_text("two\n")
    reader = Reader({"KEY": "one"}, tmp_path)
    found = secrets_of(reader, {"api-key_env": "KEY", "password_file": "password"}, "lanes.x.secrets")
    assert {name: secret.reveal() for name, secret in found.items()} == {"api-key": "one", "password": "two"}
    secrets_of(reader, {"key": "written out"}, "lanes.x.secrets")
    assert "does not belong in the file" in str(reader.problems[0])
