"""Changes to inputs; those to bodies leave them bodies: a value of JSON or a field of a form becomes another one.

Octets changed at random are hardly ever JSON, and what lies behind the parser would never be seen. Pure but for the generator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode

_ODD: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 255, 2**31, 2**53, 2**63, 2**64, 10**30, -(10**30), 0.1, -0.5, 1e308, 1e999),
    *("", " ", "0", "-1", "1e999", "nan", "inf", "9" * 30, "9" * 5000, "{", "}", "{x}", "{name}", "{{", "%s", "%"),
    *("\0", "\n", "\r\n", "\u00a0", "\u2028", "\ud800", "\udfff", "👍🏽", "é" * 200, "x" * 1100, "٣", "²"),
    *("+573001234567", "573001234567", "+", "true", "null", "[]", "https://a.example/x", "javascript:x"),
    *("2027-01-15T08:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2027-02-30", "253402300800"),
    *("1969-12-31T23:59:59Z", "24:00", "-62135596801"),
    *([], {}, [[]], [None], {"": ""}, [{}]),
)


def any_of(inputs: Sequence[bytes], head: int | None, random: Random) -> bytes:
    """Return one of some inputs, changed: the body that begins after the line behind `head` as what it is, or octets anywhere."""
    octets = random.choice(inputs)
    if head is not None and random.randrange(4):
        start = octets.find(b"\n", head) + 1 if head else 0
        changed = body(octets[start:], random)
        if changed is not None:
            return octets[:start] + changed
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randint(0, len(octets))
        match random.randrange(3):
            case 0:
                octets = octets[:at] + random.randbytes(random.randint(0, 4)) + octets[at + random.randint(0, 4) :]
            case 1:
                octets = octets[:at] + octets[at + random.randint(1, 16) :]
            case _:
                other = random.choice(inputs)
                octets = octets[:at] + other[random.randint(0, len(other)) :]
    return octets


def body(octets: bytes, random: Random) -> bytes | None:
    """Return a changed JSON or form, or None for what is neither."""
    start = octets.lstrip()[:1]
    if start in (b"{", b"["):
        try:
            return json.dumps(_changed(json.loads(octets), random)).encode()
        except (ValueError, RecursionError):
            return None
    if b"=" in octets and start.isalnum():
        fields = dict(parse_qsl(octets.decode("latin-1"), keep_blank_values=True))
        changed = _changed(fields, random)
        if isinstance(changed, dict):
            return urlencode({name: str(value) for name, value in changed.items()}, errors="replace").encode()
    return None


def _changed(root: Any, random: Random) -> Any:
    holder = [root]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        places = _places(holder)
        within, key = random.choice(places)
        what = random.randrange(10)
        if what < 2:
            within[key] = _copy(random.choice(_ODD))
        elif what == 3 and within is not holder:
            del within[key]
        elif what == 4:
            other, at = random.choice(places)
            within[key] = _copy(other[at])
        elif what == 5 and isinstance(within, list):
            within.append(_copy(within[key]))
        elif what == 6 and isinstance(within, dict):
            other, at = random.choice(places)
            within[at if isinstance(at, str) else random.choice(("type", "text", "id", "to"))] = _copy(
                random.choice(_ODD)
            )
        else:
            within[key] = _near(within[key], random)
    return holder[0]


def _copy(value: Any) -> Any:
    """What is put in a second place is changed there alone, and never becomes a part of itself."""
    return json.loads(json.dumps(value)) if isinstance(value, (dict, list)) else value


def _places(root: Any) -> list[tuple[Any, Any]]:
    places = []
    todo = [root]
    while todo:
        within = todo.pop()
        for key in range(len(within)) if isinstance(within, list) else tuple(within):
            places.append((within, key))
            if isinstance(within[key], (dict, list)):
                todo.append(within[key])
    return places


def _near(value: Any, random: Random) -> Any:
    """A value that differs a little."""
    if isinstance(value, str):
        at = random.randint(0, len(value))
        piece = random.choice(("", "{", "}", "{name}", "\0", "é", "€", "\ud83d", "9", "-", ".", ":", " ", "\n", value))
        return value[:at] + piece + value[at + random.randint(0, 2) :]
    if isinstance(value, (int, float)):
        return random.choice((-value, value + 1, str(value), [value]))
    return random.choice(([value], {"x": value}, str(value)))
