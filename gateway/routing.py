"""Which lane carries a message: the first route that fits it.

A route without a class fits the classes that its lane carries. What is the same for all recipients of a job is matched
once; for each of them there is only a look at the beginning of the number.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.config import Lane, Route
from gateway.model import Job

LaneOf = Callable[[str], str | None]


class Router:
    """The routes of a configuration, compiled for each kind of job when the first such job comes."""

    __slots__ = ("_compiled", "_lanes", "_routes", "_senders", "_tenants")

    def __init__(self, routes: Sequence[Route], lanes: Mapping[str, Lane]) -> None:
        self._routes = routes
        self._lanes = lanes
        self._tenants = {route.tenant for route in routes}
        self._senders = {route.sender for route in routes}
        self._compiled: dict[tuple[str, str, str | None, str | None], LaneOf] = {}

    def for_job(self, job: Job) -> LaneOf:
        """Return the function from a recipient's number to the name of its lane, or to None where no route fits."""
        # Tenants and senders that no route names are all alike: publishers cannot make this map grow.
        tenant = job.tenant if job.tenant in self._tenants else None
        sender = job.sender if job.sender in self._senders else None
        kind = (job.channel, job.class_, tenant, sender)
        lane_of = self._compiled.get(kind)
        if lane_of is None:
            lane_of = self._compiled[kind] = _first_match(
                (route.prefix or "", route.lane)
                for route in self._routes
                if route.channel == job.channel
                and job.class_ in _classes(route, self._lanes)
                and route.tenant in (None, tenant)
                and route.sender in (None, sender)
            )
        return lane_of


def shadowed(routes: Sequence[Route], lanes: Mapping[str, Lane]) -> list[int]:
    """Return the indexes of the routes that no message reaches because an earlier one takes all that they fit."""
    return [
        later
        for later, route in enumerate(routes)
        if all(
            any(_covers(earlier, route) and name in _classes(earlier, lanes) for earlier in routes[:later])
            for name in _classes(route, lanes)
        )
    ]


def _classes(route: Route, lanes: Mapping[str, Lane]) -> frozenset[str]:
    carried = frozenset(lanes[route.lane].classes)
    return carried if route.class_ is None else carried & {route.class_}


def _covers(earlier: Route, later: Route) -> bool:
    return (
        earlier.channel == later.channel
        and earlier.tenant in (None, later.tenant)
        and earlier.sender in (None, later.sender)
        and (later.prefix or "").startswith(earlier.prefix or "")
    )


def _first_match(rules: Iterable[tuple[str, str]]) -> LaneOf:
    """Compile ordered (prefix, lane) rules into a look-up by prefix, at most one a length.

    A rule behind a shorter or equal prefix of its own is never reached. Without those, of two prefixes that fit the
    same number the longer comes first, so that the longest match is the first match.
    """
    table: dict[str, str] = {}
    for prefix, lane in rules:
        if not any(prefix.startswith(known) for known in table):
            table[prefix] = lane
    default = table.pop("", None)
    if not table:
        return lambda _to: default
    lengths = sorted({len(prefix) for prefix in table}, reverse=True)

    def lane_of(to: str) -> str | None:
        for length in lengths:
            lane = table.get(to[:length])
            if lane is not None:
                return lane
        return default

    return lane_of
