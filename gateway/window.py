"""WhatsApp's service window: for 24 hours after a person wrote to a number, it may answer with more than templates.

META/messages/send-messages: opened, and opened anew, by what the person sends; a free message outside it is refused (131047).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.store import Patience, Script

WINDOW_S = 24 * 3600

# [prefix, [key, open until (Unix seconds), …]]; the key goes when the window closes.
_OPEN = Script("""
local a = cmsgpack.unpack(ARGV[1])
for n = 1, #a[2], 2 do
  local key, until_ = a[1] .. a[2][n], a[2][n + 1]
  if until_ > tonumber(redis.call('GET', key) or 0) then
    redis.call('SET', key, until_)
    redis.call('EXPIREAT', key, until_)
  end
end
""")

# [prefix, keys] → for each whether it is there
_ASK = Script("""
local a = cmsgpack.unpack(ARGV[1])
local open = {}
for n, key in ipairs(a[2]) do open[n] = redis.call('EXISTS', a[1] .. key) end
return open
""")


class Window:
    """The windows of all numbers, which all processes share; `account` is the id of a number of ours."""

    def __init__(self, store: Patience, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def opened(self, account: str, wrote: Iterable[tuple[str, float]]) -> None:
        """Return when it is noted who wrote when (Unix seconds). What comes late or again shortens nothing."""
        flat: list[str | int] = []
        for person, at in wrote:
            flat += (_key(account, person), int(at) + WINDOW_S)
        if flat:
            await self._store.run(_OPEN, (self._prefix, flat))

    async def open_for(self, account: str, numbers: Sequence[str]) -> list[bool]:
        """Say for each number whether `account` may write to it freely now; one call of the store for all."""
        if not numbers:
            return []
        found = await self._store.run(_ASK, (self._prefix, [_key(account, number) for number in numbers]))
        return [bool(each) for each in found]


def _key(account: str, person: str) -> str:
    return f"w:{account}:{as_one(person)}"


def as_one(number: str) -> str:
    """Return the same for a number and for the way in which WhatsApp writes it, without a plus.

    WhatsApp keeps a 1 behind 52 (Mexico) and a 9 behind 54 (Argentina) that are not always dialled, and some people of Brazil
    without the 9 that their numbers have got since. What is no number, such as an id of a person, stays as it is.
    """
    digits = number.removeprefix("+")
    if len(digits) == 13 and digits.startswith(("521", "549")):
        return digits[:2] + digits[3:]
    if len(digits) == 12 and digits.startswith("55") and digits[4] in "6789":
        return f"{digits[:4]}9{digits[4:]}"
    return digits
