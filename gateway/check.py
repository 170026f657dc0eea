"""What a configuration means, for `recado check`: lanes, routes and topics as they will be, and what looks unintended."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.check_warnings import round_trip_ms, warnings
from gateway.config import AnyLane, Config, HttpLane, InDoubt, Lane, Route, WhatsAppLane
from gateway.content.model import Channel
from gateway.errors import Problem
from gateway.hours import Hours
from gateway.lane_config import ALL_OTHERS
from gateway.model import TrafficClass


class LaneSummary(Struct, frozen=True, kw_only=True):
    """A lane with its derived figures."""

    name: str
    provider: str
    channel: Channel
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
    concurrency: int | None
    """Requests of a slot at a time; None over SMPP."""
    portfolio: str
    limits: tuple[str, ...]
    """What a provider allows beside the rate, and what we make of it, in words."""
    callback: str
    """Where its provider calls us; empty for one that does not."""


class PortfolioSummary(Struct, frozen=True, kw_only=True):
    """How many people the numbers of a portfolio may write to."""

    name: str
    recipients: int | None
    """Distinct people in any 24 hours, until Meta says otherwise; None for any number."""
    lanes: tuple[str, ...]
    reached_after_s: float | None
    """With nobody written to twice and all its lanes at their rate; None for never."""


class Summary(Struct, frozen=True, kw_only=True):
    """The meaning of a configuration; `warnings` are no errors, but deserve a look."""

    lanes: tuple[LaneSummary, ...]
    routes: tuple[str, ...]
    hours: tuple[str, ...]
    """When people may be written to, in words."""
    portfolios: tuple[PortfolioSummary, ...]
    topics: dict[str, int]
    in_doubt: dict[TrafficClass, InDoubt]
    warnings: tuple[Problem, ...]


def describe(config: Config) -> Summary:
    """Say what `config` means. Nothing secret is in it."""
    return Summary(
        lanes=tuple(_lane(config, lane) for lane in config.lanes.values()),
        routes=tuple(map(_route, config.routes)),
        hours=tuple(map(_hours, config.hours)),
        portfolios=tuple(_portfolios(config)),
        topics=config.topics(),
        in_doubt={class_: config.classes.in_doubt(class_) for class_ in TrafficClass},
        warnings=tuple(warnings(config)),
    )


def _lane(config: Config, lane: AnyLane) -> LaneSummary:
    return LaneSummary(
        name=lane.name,
        provider=lane.provider,
        channel=lane.channel,
        account=lane.account,
        address=_address(lane),
        rate_per_s=lane.rate,
        rate_per_hour=round(lane.rate * 3600),
        burst=lane.burst,
        slots=lane.slots,
        window=lane.window,
        round_trip_ms=round_trip_ms(lane),
        classes=lane.classes,
        sender=lane.sender,
        caps=tuple(_caps(lane)),
        concurrency=lane.concurrency if isinstance(lane, HttpLane) else None,
        portfolio=lane.portfolio if isinstance(lane, WhatsAppLane) else "",
        limits=tuple(_limits(lane)) if isinstance(lane, WhatsAppLane) else (),
        callback=_callback(config, lane) if isinstance(lane, HttpLane) else "",
    )


def _address(lane: AnyLane) -> str:
    """Where it connects to; for a vendor that a file describes, the file."""
    if isinstance(lane, Lane):
        return f"{lane.host}:{lane.port}"
    settings = lane.settings
    if lane.provider == "generic":
        return str(settings.file.name)
    if lane.provider == "smtp":
        return f"{settings.host}:{settings.port}"
    return urlsplit(str(settings.base_url)).netloc


def _callback(config: Config, lane: HttpLane) -> str:
    if not lane.has_callbacks:
        return ""
    return (
        getattr(lane.settings, "callback_url", "") or config.webhooks.url(lane.name) or config.webhooks.path(lane.name)
    )


def _limits(lane: WhatsAppLane) -> Iterator[str]:
    pair = lane.pair
    yield f"a person 1 in {pair.every_s:g} s, {pair.burst} at once" if pair.every_s else "a person any number"
    policy = lane.quality.policy
    for rating in ("GREEN", "YELLOW", "RED"):
        shares = {class_: policy[rating][class_] for class_ in lane.classes}
        if set(shares.values()) != {1.0}:
            yield f"quality {rating} {', '.join(_shares(shares))}"
    if lane.templates == "hold":
        yield "a paused template holds its messages"
    else:
        yield "a paused template's messages take the next step of their plan"
    if lane.allow_collections:
        yield "takes collections for third parties"


def _shares(shares: Mapping[TrafficClass, float]) -> Iterator[str]:
    alike = len(set(shares.values())) == 1
    for class_, share in shares.items():
        what = f"{100 * share:.3g} %" if share else "paused"
        yield what if alike else f"{class_} {what}"
        if alike:
            return


def _portfolios(config: Config) -> Iterator[PortfolioSummary]:
    for name, portfolio in config.portfolios.items():
        lanes = [lane for lane in config.lanes.values() if isinstance(lane, WhatsAppLane) and lane.portfolio == name]
        rate = sum(lane.rate for lane in lanes)
        people = portfolio.recipients
        yield PortfolioSummary(
            name=name,
            recipients=people,
            lanes=tuple(lane.name for lane in lanes),
            reached_after_s=people / rate if people and rate else None,
        )


def _caps(lane: AnyLane) -> Iterator[str]:
    for kind in lane.caps.kinds:
        for name, rate in lane.caps.named(kind).items():
            yield f"{f'each {kind}' if name == ALL_OTHERS else f'{kind} {name}'} {rate:g}/s"


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


def _hours(hours: Hours) -> str:
    whom = [", ".join(hours.classes)]
    if hours.countries:
        whom.append(f"country {' or '.join(hours.countries)}")
    if hours.prefixes:
        whom.append(f"prefix {' or '.join(hours.prefixes)}")
    days = ", ".join(f"{days} {span}" for days, span in hours.days.items())
    holidays = f", but for {len(hours.holidays)} holidays until {max(hours.holidays)}" if hours.holidays else ""
    return f"{', '.join(whom)}: {days} in {hours.time_zone}{holidays}"


def _lanes_in_words(route: Route) -> str:
    """The ranks in their order, and within a rank who gets which share."""
    ranks = []
    for rank in route.ranks:
        total = sum(weight for _, weight in rank)
        shares = [name if len(rank) == 1 else f"{name} ({100 * weight / total:.3g} %)" for name, weight in rank]
        ranks.append(" and ".join(shares))
    return ", else ".join(ranks)
