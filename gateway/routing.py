"""Which lanes may carry a message, in which order: the first route that fits it; and which of them it takes.

A route without a class fits the classes that its lanes carry. What is the same for all recipients of a job is matched
once; for each of them there is only a look at the beginning of the number. Countries are beginnings of numbers, too,
but for those that share a calling code.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import log
from typing import NamedTuple
from zlib import crc32

from msgspec import Struct

from gateway import numbers
from gateway.config import Route
from gateway.lane_config import Contract
from gateway.route_config import Area, network


class Share(NamedTuple):
    """A lane among those of its rank."""

    lane: str
    weight: int
    seed: int
    """Of the lane's own hash, so that no two lanes rank people alike."""


class Choice(Struct, frozen=True):
    """The lanes that may carry a message, the preferred rank first; `only` is the one where there is no choice."""

    ranks: tuple[tuple[Share, ...], ...]
    only: str = ""

    @property
    def lanes(self) -> tuple[str, ...]:
        """All of them, in the order of preference."""
        return tuple(share.lane for rank in self.ranks for share in rank)


ChoiceOf = Callable[[str, str], Choice | None]
"""From a recipient's number and operator (its MCC-MNC or name, empty when nobody knows) to the lanes, or None: no route fits."""

Rule = tuple[str, frozenset[str] | None, Choice]
"""What is left to ask of a number whose beginning fits: its country unless empty, its operator unless None."""


def pick(choice: Choice, to: str, down: Collection[str] = (), tried: Collection[str] = ()) -> str | None:
    """Return the lane that a message to `to` takes, or None when all are down or tried.

    Within a rank by weighted rendezvous: a person's messages keep to one lane, and so keep their order, while the
    weights hold over many people; when a lane goes down only its own people move, and they come back to it. The same
    in every process. A message of which all lanes are down waits best where it would otherwise go: pick without `down`.
    """
    for rank in choice.ranks:
        left = [share for share in rank if share.lane not in down and share.lane not in tried]
        if len(left) == 1:
            return left[0].lane
        if left:
            return _nearest(left, crc32(to.encode()))
    return None


def _nearest(shares: Iterable[Share], person: int) -> str:
    # Highest of weight / -ln(u), u uniform by lane and person. The finaliser of splitmix64 makes it so; a CRC of both
    # would not, as those of two lanes differ by the same bits for all people.
    most, nearest = -1.0, ""
    for lane, weight, seed in shares:
        x = (person ^ seed) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        x = (x ^ x >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        # 52 bits and a half: neither 0 nor rounded to 1.
        score = weight / -log((((x ^ x >> 31) >> 12) + 0.5) / 0x10000000000000)
        if score > most:
            most, nearest = score, lane
    return nearest


class Router:
    """The routes of a configuration, compiled for each kind of message when the first such message comes."""

    def __init__(
        self,
        routes: Sequence[Route],
        lanes: Mapping[str, Contract],
        operators: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.routes = routes
        self._lanes = lanes
        self._operators = operators or {}
        self._tenants = {route.tenant for route in routes}
        self._senders = {route.sender for route in routes}
        self._compiled: dict[tuple[str, str, str | None, str | None], ChoiceOf] = {}
        self.by_operator = any(route.operator for route in routes)
        """Whether it makes a difference to know a recipient's operator."""

    def choices(self, channel: str, class_: str, tenant: str, sender: str) -> ChoiceOf:
        """Return the function that gives the lanes for a recipient of such messages; `sender` is the job's, not the lane's."""
        # Tenants and senders that no route names are all alike: publishers cannot make this map grow.
        kind = (
            channel,
            class_,
            tenant if tenant in self._tenants else None,
            sender if sender in self._senders else None,
        )
        choice_of = self._compiled.get(kind)
        if choice_of is None:
            choice_of = self._compiled[kind] = self._compile(*kind)
        return choice_of

    def _compile(self, channel: str, class_: str, tenant: str | None, sender: str | None) -> ChoiceOf:
        rules = []
        for route in self.routes:
            if (
                route.channel == channel
                and class_ in _classes(route, self._lanes)
                and route.tenant in (None, tenant)
                and route.sender in (None, sender)
            ):
                choice = _choice(route, class_, self._lanes)
                networks = accepted(route.operator, self._operators) if route.operator else None
                rules += [(prefix, (country, networks, choice)) for prefix, country in route.areas]
        return _first_match(rules)


def accepted(operator: str, operators: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return all that a route's operator may be called: a name has its networks, and a network the names that mean only it."""
    code = network(operator)
    codes = frozenset([code] if code else operators.get(operator, ()))
    return codes | {operator} | {name for name, theirs in operators.items() if theirs and codes.issuperset(theirs)}


def shadowed(
    routes: Sequence[Route], lanes: Mapping[str, Contract], operators: Mapping[str, Collection[str]] | None = None
) -> list[int]:
    """Return the indexes of the routes that no message reaches because earlier ones take all that they fit."""
    known = operators or {}
    return [
        later
        for later, route in enumerate(routes)
        if all(
            any(name in _classes(earlier, lanes) and _covers(earlier, route, area, known) for earlier in routes[:later])
            for name in _classes(route, lanes)
            for area in route.areas
        )
    ]


def _classes(route: Route, lanes: Mapping[str, Contract]) -> frozenset[str]:
    carried: frozenset[str] = frozenset().union(*(lanes[name].classes for name in route.lane_names))
    return carried if route.class_ is None else carried & {route.class_}


def _covers(earlier: Route, later: Route, area: Area, operators: Mapping[str, Collection[str]]) -> bool:
    prefix, country = area
    return (
        earlier.channel == later.channel
        and earlier.tenant in (None, later.tenant)
        and earlier.sender in (None, later.sender)
        and any(prefix.startswith(wider) and within in ("", country) for wider, within in earlier.areas)
        and (
            earlier.operator is None
            or (
                later.operator is not None
                and accepted(later.operator, operators) <= accepted(earlier.operator, operators)
            )
        )
    )


def _choice(route: Route, class_: str, lanes: Mapping[str, Contract]) -> Choice:
    ranks = tuple(
        tuple(Share(name, weight, _seed(name)) for name, weight in rank if class_ in lanes[name].classes)
        for rank in route.ranks
    )
    ranks = tuple(filter(None, ranks))
    alone = len(ranks) == 1 and len(ranks[0]) == 1
    return Choice(ranks, ranks[0][0].lane if alone else "")


def _seed(lane: str) -> int:
    name = lane.encode()
    return crc32(name) << 32 | crc32(name, 0x9E3779B9)


def _first_match(rules: Sequence[tuple[str, Rule]]) -> ChoiceOf:
    """Compile ordered rules into a look-up by prefix, at most one a length.

    Of the known prefixes of a number the longest decides: it stands for all rules with a part of it as their prefix, in
    their order, up to the first that asks for nothing else. It is left out where a shorter one says the same.
    """
    fitting: dict[str, tuple[Rule, ...]] = {}
    for known in sorted({"", *(prefix for prefix, _ in rules)}, key=len):
        these = _until_plain(rule for prefix, rule in rules if known.startswith(prefix))
        shorter = max((prefix for prefix in fitting if known.startswith(prefix)), key=len, default=None)
        if shorter is None or fitting[shorter] != these:
            fitting[known] = these
    table = {prefix: these[0][2] if _is_plain(these[0]) else these for prefix, these in fitting.items() if these}
    default = table.pop("", None)
    if not table and not isinstance(default, tuple):
        return lambda _to, _operator: default
    lengths = sorted({len(prefix) for prefix in table}, reverse=True)

    def choice_of(to: str, operator: str) -> Choice | None:
        for length in lengths:
            found = table.get(to[:length])
            if found is not None:
                break
        else:
            found = default
        return _ask(found, to, operator) if isinstance(found, tuple) else found

    return choice_of


def _until_plain(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    these = []
    for rule in rules:
        these.append(rule)
        if _is_plain(rule):
            break
    return tuple(these)


def _is_plain(rule: Rule) -> bool:
    country, networks, _ = rule
    return not country and networks is None


def _ask(rules: tuple[Rule, ...], to: str, operator: str) -> Choice | None:
    for country, networks, choice in rules:
        if (networks is None or operator in networks) and (not country or numbers.country(to) == country):
            return choice
    return None
