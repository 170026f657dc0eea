"""Vendors' files in pieces, for the tests of the generic provider: a test says what it changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

from gateway.providers.generic import Generic, compile_vendor
from gateway.providers.generic_config import Account
from gateway.tables import Reader, Secret

ACCOUNT = Account(
    sender="+57600",
    callback="https://hooks.example/lane",
    settings={"host": "https://api.example"},
    secrets={"key": Secret("k=1&"), "password": Secret("the-password")},
)

REQUEST = """
[request]
url = "{setting.host}/send"
headers = { x-key = "{secret.key}", x-password = "{secret.password}" }
"""
JSON = '[request.json]\nto = "{to}"\ntext = "{text}"\n'
REPLY = """
[reply]
success = [{ http = "200-299" }]
id = "id"
otherwise = "rejected"
"""
STATUS = """
[callback.status]
status = "s"
statuses = { ok = "delivered", no = "failed" }
id = "id"
otherwise = "rejected"
"""


def read(text: str, account: Account = ACCOUNT) -> tuple[Generic | None, list[str]]:
    reader = Reader({}, Path())
    lane = compile_vendor(reader, tomllib.loads(text), account, "vendor")
    return lane, [str(problem) for problem in reader.problems]


def lane(*parts: str, account: Account = ACCOUNT) -> Generic:
    made, problems = read("\n".join(parts), account)
    assert not problems
    assert made
    return made


HETEROGENEOUS = """
country = "{to.country}"
[[request.json.list]]
mobile = "{to.national}"
message = "{text}"
label = "{reference}"
"""
OAUTH = """
[oauth2]
url = "{setting.host}/token"
client_id = "me"
client_secret = "{secret.password}"
scope = "sms send"
"""
BEARER = '[request]\nurl = "{setting.host}/"\nheaders = { authorization = "Bearer {token}", x = "{secret.key}" }\n'
WORD = 'proof = { kind = "header", name = "X-Word", secret = "{secret.password}" }'


def callback(*lines: str) -> Generic:
    return lane(REQUEST, JSON, REPLY, "[callback]\n" + "\n".join(lines))
