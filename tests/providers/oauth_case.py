"""A vendor of a file that gives credentials for some time and knows a message again by our id, in the contract suite."""

from __future__ import annotations

from gateway.providers.requests import stable_id
from tests.providers.generic_lanes import BEARER, OAUTH, REPLY, STATUS, WORD, lane
from tests.providers.suite import Case, a_hook, a_message, a_reply, with_header, without

BODY = '[request.json]\nto = "{to}"\ntext = "{text}"\nid = "{reference.once}"\n'
LANE = lane("idempotent = true", BEARER, BODY, REPLY, OAUTH, f"[callback]\n{WORD}", STATUS)
MESSAGE = a_message()
ID = stable_id(MESSAGE, once=True)
HOOK = a_hook(b'{"id":"%b","s":"ok"}' % ID.encode(), {"x-word": "the-password"})

CASE = Case(
    name="oauth in TOML",
    provider=LANE,
    message=MESSAGE,
    accepted=lambda messages: a_reply({"id": stable_id(messages[0], once=True)}),
    secrets=("k=1&", "the-password"),
    hook=HOOK,
    forged={"unsigned": without(HOOK, "x-word"), "wrong signature": with_header(HOOK, "x-word", "another")},
)
