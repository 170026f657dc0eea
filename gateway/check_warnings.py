"""What in a configuration is allowed and looks unintended, for `recado check`."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from gateway.config import AnyLane, Config, HttpLane, Lane, Route, WhatsAppLane
from gateway.errors import Problem
from gateway.model import TrafficClass
from gateway.providers.registry import PROVIDERS
from gateway.routing import shadowed
from gateway.tables import Secret

# A round trip within one country: answers of an SMSC seldom come sooner; those of a provider's servers, which are further
# away and do more, take some times that.
_USUAL_ROUND_TRIP_MS = 50
_USUAL_REQUEST_MS = 200


def warnings(config: Config) -> Iterator[Problem]:
    """Yield what deserves a look; nothing secret is in it."""
    yield from _of_lanes(config)
    yield from _of_listeners(config)
    yield from _of_callbacks(config)
    yield from _of_portfolios(config)
    yield from _of_routes(config)
    yield from _of_kafka(config)


def round_trip_ms(lane: AnyLane) -> float | None:
    """Return within which time answers must come for the rate to be reached; None for a paused lane."""
    return 1000 * lane.window * lane.slots / lane.rate if lane.rate else None


def _of_lanes(config: Config) -> Iterator[Problem]:
    for lane in config.lanes.values():
        path = f"lanes.{lane.name}"
        smpp = isinstance(lane, Lane)
        patience_ms = round_trip_ms(lane)
        if patience_ms is None:
            yield Problem(f"{path}.rate", "is 0: the lane is paused", "messages wait in its topics until it is set")
        elif patience_ms < (_USUAL_ROUND_TRIP_MS if smpp else _USUAL_REQUEST_MS):
            yield Problem(
                f"{path}.{'window' if smpp else 'concurrency'}",
                f"is too small for the rate unless answers come within {patience_ms:.0f} ms",
                "ask the operator for a larger window or more binds" if smpp else "raise it, or slots",
            )
        # That of a number of WhatsApp follows from its rate.
        if lane.rate and int(lane.burst) < lane.slots and not isinstance(lane, WhatsAppLane):
            shares = "binds" if smpp else "slots"
            yield Problem(
                f"{path}.burst",
                f"is {int(lane.burst)}, less than one for each of {lane.slots} {shares}: more processes than that take turns",
                f"{lane.slots}, or fewer {shares}; a turn is a second, and what is urgent comes first",
            )
        if isinstance(lane, Lane) and lane.tls and not lane.tls_verify:
            yield Problem(f"{path}.tls_verify", "is off: anyone in between can read the password", "set ca_file")
        if lane.provider == "aldeamo":
            yield Problem(
                f"{path}.provider", "is experimental", "no receipts: its contracts alone say what they look like"
            )
    yield from _of_accounts(config)


def _of_accounts(config: Config) -> Iterator[Problem]:
    """Lanes whose receipts come by one way, and would be looked for in two accounts."""
    ways: defaultdict[tuple[object, ...], list[AnyLane]] = defaultdict(list)
    for lane in config.lanes.values():
        if isinstance(lane, Lane):
            ways["login", *_login(lane)].append(lane)
        elif isinstance(lane, WhatsAppLane):
            # An app of Meta has one callback URL for all its numbers.
            ways["app", lane.settings.app_secret].append(lane)
    for (what, *_), lanes in ways.items():
        if len({lane.account for lane in lanes}) > 1:
            names = ", ".join(lane.name for lane in lanes)
            yield Problem(
                f"lanes.{lanes[0].name}.account",
                f"differs between lanes with the same {what}: {names}",
                "a receipt that comes by another lane's way will not be recognised; give them the same account",
            )


def _of_listeners(config: Config) -> Iterator[Problem]:
    """What other machines can reach, as far as a configuration tells: a network or a proxy may still be in between."""
    admin, webhooks = config.admin, config.webhooks
    if admin.port and not admin.token and not _is_loopback(admin.host):
        what = f"{admin.host} is open to other machines, and no token is set: whoever gets there sees every lane"
        yield Problem("admin.host", f"{what}, and nobody can pause one", "127.0.0.1, or set token_env")
    if webhooks.port and not webhooks.public_url and not _is_loopback(webhooks.host):
        what = f"{webhooks.host} is open to other machines, and nothing says that TLS is in front"
        yield Problem("webhooks.host", what, "127.0.0.1 behind a proxy, and set public_url to its https:// address")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _of_callbacks(config: Config) -> Iterator[Problem]:
    webhooks = config.webhooks
    called = [lane for lane in config.lanes.values() if isinstance(lane, HttpLane) and lane.has_callbacks]
    if called and not webhooks.port:
        names = ", ".join(lane.name for lane in called)
        yield Problem("webhooks.port", f"is 0: nobody hears what became of messages of {names}", "8080, behind a proxy")
    if webhooks.public_url.startswith("http://"):
        yield Problem("webhooks.public_url", "is not https://: callbacks can be read on their way", "a proxy with TLS")
    for lane in called:
        path = f"lanes.{lane.name}.{lane.provider}"
        proof = PROVIDERS[lane.provider].proof
        if getattr(lane.settings, proof) == Secret(""):
            ways = f"{proof}_env or {proof}_file"
            yield Problem(f"{path}.{proof}", "is not set: callbacks that nobody signed are refused", f"set {ways}")
        # A vendor's file that needs it does not load without.
        if getattr(lane.settings, "callback_url", None) == "" and webhooks.port and lane.provider != "generic":
            what = "is not set: the provider is not told where to call"
            yield Problem(f"{path}.callback_url", what, "set public_url of [webhooks]")


def _of_portfolios(config: Config) -> Iterator[Problem]:
    used = {lane.portfolio for lane in config.lanes.values() if isinstance(lane, WhatsAppLane)}
    for name in config.portfolios:
        if name not in used:
            yield Problem(f"portfolios.{name}", "has no lane", "no lane of WhatsApp names it")


def _of_routes(config: Config) -> Iterator[Problem]:
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


def _failover(route: Route, lanes: Mapping[str, AnyLane]) -> Iterator[tuple[str, str]]:
    """Say why a route with several lanes has, when it matters, fewer of them."""
    several = [lanes[name] for name in route.lane_names]
    if len(several) == 1:
        return
    for class_ in TrafficClass if route.class_ is None else ():
        carrying = [lane.name for lane in several if class_ in lane.classes]
        if len(carrying) == 1:
            others = " or ".join(lane.name for lane in several if class_ not in lane.classes)
            yield f"lead {class_} only to {carrying[0]}", f"when it is down they wait: let {others} carry {class_}"
    for other, lane in combinations(several, 2):
        if _login(lane) == _login(other):
            yield (
                f"{other.name} and {lane.name} are one login",
                "when one is down so is the other: name one of them",
            )


def _login(lane: AnyLane) -> tuple[object, ...]:
    return lane.identity if isinstance(lane, HttpLane) else (lane.host, lane.port, lane.system_id)


def _of_kafka(config: Config) -> Iterator[Problem]:
    if config.kafka.replication == 1:
        yield Problem("kafka.replication", "is 1: what a lost broker holds is lost", "3 on a cluster of three or more")
