"""Routes: the first that fits, and the compiled form agrees with reading the list from the top."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Lane, Route
from gateway.model import Job, Recipient, TrafficClass
from gateway.routing import Router, shadowed
from gateway.tables import Secret

OTP, BULK = TrafficClass.OTP, TrafficClass.BULK


def lane(name: str, *classes: TrafficClass) -> Lane:
    return Lane(
        name=name,
        host="h",
        port=1,
        system_id="s",
        password=Secret("p"),
        rate=1,
        classes=classes or tuple(TrafficClass),
    )


LANES = {"all": lane("all"), "claro": lane("claro"), "fast": lane("fast", OTP), "slow": lane("slow", BULK)}


def job(**fields: Any) -> Job:
    return Job(job_id="j", text="x", recipients=[Recipient(to="+573001234567")], **fields)


def lane_for(routes: list[Route], to: str = "+573001234567", **fields: Any) -> str | None:
    return Router(routes, LANES).for_job(job(**fields))(to)


def test_the_first_route_that_fits_is_taken() -> None:
    """Even when a later one says more."""
    assert lane_for([Route(lane="all"), Route(lane="claro", prefix="+57")]) == "all"
    assert lane_for([Route(lane="claro", prefix="+57"), Route(lane="all")]) == "claro"
    assert lane_for([Route(lane="claro", prefix="+573"), Route(lane="all", prefix="+57")]) == "claro"
    assert lane_for([Route(lane="all", prefix="+57"), Route(lane="claro", prefix="+573")]) == "all"


@pytest.mark.parametrize(
    ("conditions", "fitting", "other"),
    [
        ({"class_": OTP}, {"class_": OTP}, {"class_": BULK}),
        ({"tenant": "banco"}, {"tenant": "banco"}, {"tenant": "otro"}),
        ({"tenant": ""}, {"tenant": ""}, {"tenant": "banco"}),
        ({"sender": "89000"}, {"sender": "89000"}, {}),
        ({"prefix": "+57"}, {"to": "+573001234567"}, {"to": "+525512345678"}),
        (
            {"tenant": "banco", "sender": "89000"},
            {"tenant": "banco", "sender": "89000"},
            {"tenant": "banco", "sender": "1"},
        ),
    ],
)
def test_every_condition_must_fit(conditions: dict[str, Any], fitting: dict[str, Any], other: dict[str, Any]) -> None:
    """What a route leaves out fits anything."""
    routes = [Route(lane="claro", **conditions), Route(lane="all")]
    assert lane_for(routes, **fitting) == "claro"
    assert lane_for(routes, **other) == "all"


def test_without_a_fitting_route_there_is_no_lane() -> None:
    """The recipient is rejected, not sent by a lane that nobody chose."""
    assert lane_for([Route(lane="claro", prefix="+57")], to="+525512345678") is None
    assert lane_for([Route(lane="claro", tenant="banco")], tenant="otro") is None


def test_a_route_without_a_class_fits_the_classes_of_its_lane() -> None:
    """A lane for one class may stand first without taking what it cannot carry."""
    routes = [Route(lane="fast"), Route(lane="all")]
    assert lane_for(routes, class_=OTP) == "fast"
    assert lane_for(routes, class_=BULK) == "all"


def test_publishers_cannot_make_the_router_grow() -> None:
    """Tenants and senders that no route names share one entry."""
    router = Router([Route(lane="claro", tenant="banco"), Route(lane="all")], LANES)
    compiled = {id(router.for_job(job(tenant=f"t{number}", sender=str(number)))) for number in range(100)}
    assert len(compiled) == 1
    assert id(router.for_job(job(tenant="banco"))) not in compiled


def fits(route: Route, message: Job, to: str) -> bool:
    return (
        message.class_ in LANES[route.lane].classes
        and route.class_ in (None, message.class_)
        and route.tenant in (None, message.tenant)
        and route.sender in (None, message.sender)
        and to.startswith(route.prefix or "")
    )


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


PREFIXES = st.text("12", min_size=1, max_size=3).map("+".__add__)
ROUTES = st.lists(
    st.builds(
        Route,
        lane=st.sampled_from(sorted(LANES)),
        class_=some(st.sampled_from(TrafficClass)),
        tenant=some(st.sampled_from(["", "a", "b"])),
        sender=some(st.sampled_from(["", "1"])),
        prefix=some(PREFIXES),
    ),
    max_size=8,
)
JOBS = st.builds(
    job,
    class_=st.sampled_from(TrafficClass),
    tenant=st.sampled_from(["", "a", "b", "c"]),
    sender=st.sampled_from(["", "1", "2"]),
)
NUMBERS = st.text("123", max_size=4).map("+".__add__)


@given(ROUTES, st.lists(st.tuples(JOBS, NUMBERS), min_size=1))
def test_the_compiled_routes_are_the_list(routes: list[Route], messages: list[tuple[Job, str]]) -> None:
    """For any routes and messages: the lane of the first route that fits, or none."""
    router = Router(routes, LANES)
    for message, to in messages:
        first = next((route.lane for route in routes if fits(route, message, to)), None)
        assert router.for_job(message)(to) == first


@given(ROUTES, JOBS, NUMBERS)
def test_a_shadowed_route_is_never_taken(routes: list[Route], message: Job, to: str) -> None:
    """Whatever the message."""
    first = next((index for index, route in enumerate(routes) if fits(route, message, to)), None)
    assert first not in shadowed(routes, LANES)


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([Route(lane="all"), Route(lane="claro")], [1]),
        ([Route(lane="all", prefix="+57"), Route(lane="claro", prefix="+573")], [1]),
        ([Route(lane="all", prefix="+573"), Route(lane="claro", prefix="+57")], []),
        ([Route(lane="all", tenant="a"), Route(lane="claro")], []),
        ([Route(lane="fast"), Route(lane="claro")], []),
        ([Route(lane="fast"), Route(lane="slow"), Route(lane="claro")], []),
        ([Route(lane="claro", class_=c) for c in TrafficClass] + [Route(lane="all")], [3]),
    ],
)
def test_shadowed_routes_are_found(routes: list[Route], expected: list[int]) -> None:
    """Those whose every class an earlier route takes whole."""
    assert shadowed(routes, LANES) == expected
