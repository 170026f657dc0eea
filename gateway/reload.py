"""What a changed configuration file means for a process that runs: what takes effect at once, what needs a restart. Pure."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TypeGuard

from msgspec import Struct

from gateway.config import Config
from gateway.errors import Problem
from gateway.http_lane_config import HttpLane
from gateway.lane_config import Contract


class Change(Struct, frozen=True):
    """One value that differs; secrets show only that they do."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} → {self.after}"


class Changes(Struct, frozen=True):
    """All that differs. With anything in `refused` nothing is applied: half of a file is a configuration that nobody wrote."""

    live: tuple[Change, ...]
    refused: tuple[Problem, ...]

    def __bool__(self) -> bool:
        return bool(self.live or self.refused)


_LIVE = re.compile(
    r"""routes\[.* | hours.* | operators\..* | classes\..* | portfolios\..*
    | lanes\.[^.]+\.(
        rate | burst | window | concurrency | caps\..* | quiet_s | throttle_pause_s | adaptive\..* | reserve\..* | weights\..*
        | errors\..* | max_attempts | down_after_s | up_after_s
        | quality\..* | pair\..* | templates | poll_s | allow_collections
    )""",
    re.VERBOSE,
)

# The first that fits.
_REMEDIES = (
    (r"lanes\.[^.]+", "restart: its topics have to be there, and the group has to learn of them"),
    (
        r"lanes\.[^.]+\.(binds|slots|fair_queues|classes)",
        "run recado topics, then restart: the lane's topics or their partitions change",
    ),
    (
        r"lanes\.[^.]+\.(host|port|system_id|password|system_type|address_range|bind|tls.*|ca_file|account)",
        "restart: the lane has to bind anew",
    ),
    (r"kafka\..*_partitions", "run recado topics, then restart"),
    (
        r"delay\.rungs_s.*",
        "run recado topics --create, then restart; a rung that goes has to be empty, since nobody reads it any more",
    ),
    (r".*", "restart"),
)


def changes(old: Config, new: Config) -> Changes:
    """Compare what runs with what the file says now."""
    live: list[Change] = []
    refused: list[Problem] = []
    for change in _differences("", old, new):
        if _LIVE.fullmatch(change.path):
            live.append(change)
            continue
        remedy = next(remedy for path, remedy in _REMEDIES if re.fullmatch(path, change.path))
        what = f"cannot change while it runs: {change.before} → {change.after}"
        refused.append(Problem(change.path, what, remedy))
    return Changes(tuple(live), tuple(refused))


def _differences(path: str, old: object, new: object) -> Iterator[Change]:
    if old == new:
        return
    dot = "." if path else ""
    if isinstance(old, Contract) and isinstance(new, Contract) and old.provider != new.provider:
        yield Change(f"{path}.provider", old.provider, new.provider)
        return
    if isinstance(old, Struct) and type(old) is type(new):
        inner = zip(old.__struct_encode_fields__, old.__struct_fields__, strict=True)
        parts = [(f"{path}{dot}{key}", getattr(old, name), getattr(new, name)) for key, name in inner]
        if isinstance(old, HttpLane):
            parts = [(_in_file(old, path, whole), before, after) for whole, before, after in parts]
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        parts = [(f"{path}{dot}{key}", old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in keys]
    elif _is_list(old) and _is_list(new):
        pairs = zip_longest(old, new, fillvalue=_ABSENT)
        parts = [(f"{path}[{index}]", before, after) for index, (before, after) in enumerate(pairs)]
    else:
        yield Change(path, _in_words(old), _in_words(new))
        return
    for part in parts:
        yield from _differences(*part)


def _in_file(lane: HttpLane, path: str, whole: str) -> str:
    """Return where the file has a field: those of `http` stand in the lane's own table, `settings` in the provider's."""
    return {f"{path}.http": path, f"{path}.settings": f"{path}.{lane.provider}"}.get(whole, whole)


def _is_list(value: object) -> TypeGuard[tuple[Struct, ...]]:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Struct)


_ABSENT = object()


def _in_words(value: object) -> str:
    if value is _ABSENT or value is None:
        return "not set"
    if isinstance(value, Struct):
        return "set"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
