"""The tables of a configuration that people name or list: lanes, portfolios, operators, routes, hours."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import cast

from gateway import http_lane_config
from gateway.hours import Hours
from gateway.http_lane_config import AnyLane, HttpLane
from gateway.lane_config import Lane
from gateway.providers.registry import PROVIDERS
from gateway.quantities import Text
from gateway.route_config import Network, Route, network
from gateway.tables import Reader, did_you_mean
from gateway.whatsapp_lane_config import Portfolio, WhatsAppLane

# A lane's name is a part of topics, keys, metric labels and URLs.
_LANE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

Lanes = Mapping[str, AnyLane | None]
"""By name; None for one with a problem, which is not also to be unknown to those that name it."""


def lanes(reader: Reader, raw: object, callback_url: Callable[[str], str]) -> Lanes:
    """Return the lanes; `callback_url` says where one of them hears from its provider."""
    if not isinstance(raw, dict) or not raw:
        reader.add("lanes", "there is no lane", "add a table [lanes.<name>] for each account at an operator")
        return {}
    for name in raw:
        if not _LANE_NAME.fullmatch(name):
            reader.add(
                f"lanes.{name}", "is not a name for a lane", "lower-case letters, digits and hyphens, at most 63"
            )
    found = {name: _lane(reader, table, name, callback_url(name)) for name, table in raw.items()}
    http = [lane for lane in found.values() if isinstance(lane, HttpLane)]
    for lane, other in combinations(http, 2):
        entry = PROVIDERS[other.provider]
        if entry.alone and lane.identity == other.identity:
            path = f"lanes.{other.name}.{other.provider}.{entry.identity[0]}"
            reader.add(path, f"is that of lane {lane.name}", "one lane for it, with as many slots as it needs")
    return found


def _lane(reader: Reader, raw: object, name: str, callback_url: str) -> AnyLane | None:
    path = f"lanes.{name}"
    provider = raw.get("provider", "smpp") if isinstance(raw, dict) else "smpp"
    if not isinstance(raw, dict) or provider == "smpp":
        return reader.table(Lane, raw, path, name=name)
    if not http_lane_config.known(reader, provider, path):
        return None
    model = WhatsAppLane if provider == "whatsapp" else HttpLane
    return http_lane_config.read(reader, model, raw, path, name=name, callback_url=callback_url)


def portfolios(reader: Reader, raw: object, lanes: Lanes) -> Mapping[str, Portfolio]:
    """Return the portfolios, with one for each lane of WhatsApp that names none."""
    read = reader.value(Mapping[Text, Portfolio], raw, "portfolios")
    found = dict(cast("Mapping[str, Portfolio]", read)) if isinstance(raw, dict) else {}
    for lane in lanes.values():
        if not isinstance(lane, WhatsAppLane) or lane.portfolio in found:
            continue
        if lane.portfolio == lane.account:
            found[lane.portfolio] = Portfolio()
        else:
            remedy = did_you_mean(lane.portfolio, found) or f"add a table [portfolios.{lane.portfolio}]"
            reader.add(f"lanes.{lane.name}.portfolio", f"there is no portfolio {lane.portfolio}", remedy)
    return found


def operators(reader: Reader, raw: object) -> dict[str, tuple[str, ...]]:
    """Return the networks of each operator."""
    before = len(reader.problems)
    read = reader.value(Mapping[Text, tuple[Network, ...]], raw, "operators")
    if len(reader.problems) > before:
        return dict.fromkeys(raw, ()) if isinstance(raw, dict) else {}
    found = cast("Mapping[str, tuple[str, ...]]", read)
    for name in found:
        if network(name):
            reader.add(f"operators.{name}", "is itself a network", "give it a name: routes may say MCC and MNC as well")
    return {name: tuple(code.replace("-", "") for code in codes) for name, codes in found.items()}


def routes(
    reader: Reader, raw: object, lanes: Lanes, operators: Mapping[str, tuple[str, ...]]
) -> Iterator[Route | None]:
    """Yield the routes; lanes and operators that they name must be there, and able to do what the routes say."""
    if not isinstance(raw, list) or not raw:
        reader.add(
            "routes", "there is no route", 'add [[routes]] with lane = "…"; the first that fits a message is taken'
        )
        return
    for index, table in enumerate(raw):
        path = f"routes[{index}]"
        route = reader.table(Route, table, path)
        yield route
        if route is None:
            continue
        for name in route.lane_names:
            where = f"{path}.{'lanes' if route.lanes else 'lane'}"
            if name not in lanes:
                reader.add(where, f"there is no lane {name}", did_you_mean(name, lanes) or f"lanes: {', '.join(lanes)}")
                continue
            lane = lanes[name]
            if lane and route.channel != lane.channel:
                # To another channel a message goes by its plan: there its content is another, too.
                remedy = f'channel = "{lane.channel}", or only lanes that carry {route.channel}'
                reader.add(f"{path}.channel", f"is {route.channel}, but lane {name} carries {lane.channel}", remedy)
            if lane and route.class_ and route.class_ not in lane.classes:
                reader.add(
                    f"{path}.class", f"lane {name} does not carry {route.class_}", "add it to the lane's classes"
                )
        if route.operator and not network(route.operator) and route.operator not in operators:
            remedy = did_you_mean(route.operator, operators) or "MCC and MNC, or a name of the table [operators]"
            reader.add(f"{path}.operator", f"there is no operator {route.operator}", remedy)


def hours(reader: Reader, raw: object) -> Iterator[Hours | None]:
    """Yield when people may be written to, as far as the file says so."""
    if not isinstance(raw, list):
        reader.add("hours", "is not a list of tables", "write each as [[hours]]")
        return
    for index, table in enumerate(raw):
        yield reader.table(Hours, table, f"hours[{index}]")
