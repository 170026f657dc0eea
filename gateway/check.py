"""What a configuration means, for `recado check`: lanes, routes and topics as they will be, and what looks unintended."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from msgspec import Struct

from gateway.config import Config, InDoubt, Lane, Route
from gateway.errors import Problem
from gateway.lane_config import ALL_OTHERS
from gateway.model import TrafficClass
from gateway.routing import shadowed

# A round trip within one country; answers of an SMSC seldom come sooner.
_USUAL_ROUND_TRIP_MS = 50


class LaneSummary(Struct, frozen=True, kw_only=True):
    """A lane with its derived figures."""

    name: str
    provider: str
    account: str
    address: str
    rate_per_s: float
    rate_per_hour: int
    burst: float
    slots: int
    window: int
    round_trip_ms: float | None
    """The rate is reached while answers take at most this long; None for a paused lane."""
    classes: tuple[TrafficClass, ...]
    sender: str
    caps: tuple[str, ...]
    """Parts per second of single senders, tenants and campaigns, in words."""


class Summary(Struct, frozen=True, kw_only=True):
    """The meaning of a configuration; `warnings` are no errors, but deserve a look."""

    lanes: tuple[LaneSummary, ...]
    routes: tuple[str, ...]
    topics: dict[str, int]
    in_doubt: dict[TrafficClass, InDoubt]
    warnings: tuple[Problem, ...]


def describe(config: Config) -> Summary:
    """Say what `config` means. Nothing secret is in it."""
    return Summary(
        lanes=tuple(map(_lane, config.lanes.values())),
        routes=tuple(map(_route, config.routes)),
        topics=config.topics(),
        in_doubt={class_: config.classes.in_doubt(class_) for class_ in TrafficClass},
        warnings=(*_warnings_of_lanes(config), *_warnings_of_routes(config), *_warnings_of_kafka(config)),
    )


def _lane(lane: Lane) -> LaneSummary:
    return LaneSummary(
        name=lane.name,
        provider=lane.provider,
        account=lane.account,
        address=f"{lane.host}:{lane.port}",
        rate_per_s=lane.rate,
        rate_per_hour=round(lane.rate * 3600),
        burst=lane.burst,
        slots=lane.slots,
        window=lane.window,
        round_trip_ms=_round_trip_ms(lane),
        classes=lane.classes,
        sender=lane.sender,
        caps=tuple(_caps(lane)),
    )


def _caps(lane: Lane) -> Iterator[str]:
    for kind in lane.caps.kinds:
        for name, rate in lane.caps.named(kind).items():
            yield f"{f'each {kind}' if name == ALL_OTHERS else f'{kind} {name}'} {rate:g}/s"


def _round_trip_ms(lane: Lane) -> float | None:
    return 1000 * lane.window * lane.binds / lane.rate if lane.rate else None


def _route(route: Route) -> str:
    conditions = [
        f"{name} {value}"
        for name, value in (
            ("class", route.class_),
            ("tenant", route.tenant),
            ("sender", route.sender),
            ("prefix", route.prefix),
            ("country", " or ".join(route.countries) or None),
            ("operator", route.operator),
        )
        if value is not None
    ]
    return f"{route.channel}, {', '.join(conditions) or 'anything'} → {_lanes_in_words(route)}"


def _lanes_in_words(route: Route) -> str:
    """The ranks in their order, and within a rank who gets which share."""
    ranks = []
    for rank in route.ranks:
        total = sum(weight for _, weight in rank)
        shares = [name if len(rank) == 1 else f"{name} ({100 * weight / total:.3g} %)" for name, weight in rank]
        ranks.append(" and ".join(shares))
    return ", else ".join(ranks)


def _warnings_of_lanes(config: Config) -> Iterator[Problem]:
    accounts: defaultdict[tuple[str, int, str], list[Lane]] = defaultdict(list)
    for lane in config.lanes.values():
        path = f"lanes.{lane.name}"
        round_trip_ms = _round_trip_ms(lane)
        if round_trip_ms is None:
            yield Problem(f"{path}.rate", "is 0: the lane is paused", "messages wait in its topics until it is set")
        elif round_trip_ms < _USUAL_ROUND_TRIP_MS:
            yield Problem(
                f"{path}.window",
                f"is too small for the rate unless answers come within {round_trip_ms:.0f} ms",
                "ask the operator for a larger window or more binds",
            )
        if lane.tls and not lane.tls_verify:
            yield Problem(f"{path}.tls_verify", "is off: anyone in between can read the password", "set ca_file")
        accounts[lane.host, lane.port, lane.system_id].append(lane)
    for lanes in accounts.values():
        if len({lane.account for lane in lanes}) > 1:
            names = ", ".join(lane.name for lane in lanes)
            yield Problem(
                f"lanes.{lanes[0].name}.account",
                f"differs between lanes with the same login: {names}",
                "a receipt that comes on another lane's bind will not be recognised; give them the same account",
            )


def _warnings_of_routes(config: Config) -> Iterator[Problem]:
    unreachable = set(shadowed(config.routes, config.lanes, config.operators))
    reached: set[str] = set()
    for index, route in enumerate(config.routes):
        if index in unreachable:
            yield Problem(f"routes[{index}]", "is never reached", "an earlier route takes all that it fits: move it up")
            continue
        reached.update(route.lane_names)
        for what, remedy in _failover(route, config.lanes):
            yield Problem(f"routes[{index}].lanes", what, remedy)
    for name in config.lanes:
        if name not in reached:
            yield Problem(f"lanes.{name}", "gets no messages", "no route leads to it")


def _failover(route: Route, lanes: Mapping[str, Lane]) -> Iterator[tuple[str, str]]:
    """Say why a route with several lanes has, when it matters, fewer of them."""
    several = [lanes[name] for name in route.lane_names]
    if len(several) == 1:
        return
    for class_ in TrafficClass if route.class_ is None else ():
        carrying = [lane.name for lane in several if class_ in lane.classes]
        if len(carrying) == 1:
            others = " or ".join(lane.name for lane in several if class_ not in lane.classes)
            yield f"lead {class_} only to {carrying[0]}", f"when it is down they wait: let {others} carry {class_}"
    for index, lane in enumerate(several):
        for other in several[:index]:
            if (lane.host, lane.port, lane.system_id) == (other.host, other.port, other.system_id):
                yield (
                    f"{other.name} and {lane.name} are one login",
                    "when one is down so is the other: name one of them",
                )


def _warnings_of_kafka(config: Config) -> Iterator[Problem]:
    if config.kafka.replication == 1:
        yield Problem("kafka.replication", "is 1: what a lost broker holds is lost", "3 on a cluster of three or more")
