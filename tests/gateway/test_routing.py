"""Routes: the first that fits, the compiled form agrees with reading the list from the top; and which lane is taken."""

from collections import Counter
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Lane, Route
from gateway.model import Job, Recipient, TrafficClass
from gateway.numbers import country
from gateway.routing import Choice, Router, pick, shadowed
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
    return taken(Router(routes, LANES), job(**fields), to)


def taken(router: Router, message: Job, to: str, operator: str = "") -> str | None:
    """The lane that a message takes while all are up; None without a route."""
    choice = router.choices(message.channel, message.class_, message.tenant, message.sender)(to, operator)
    return None if choice is None else choice.only or pick(choice, to)


def choice_for(*lanes: Any, **fields: Any) -> Choice:
    found = Router([Route(lanes=lanes)], LANES).choices("sms", fields.get("class_", OTP), "", "")("+573001234567", "")
    assert found is not None
    return found


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
    compiled = {id(router.choices("sms", "bulk", f"t{number}", str(number))) for number in range(100)}
    assert len(compiled) == 1
    assert id(router.choices("sms", "bulk", "banco", "")) not in compiled


OPERATORS = {"claro": ("732101",), "both": ("732101", "732103"), "nobody": ()}


def operator_fits(wanted: str, operator: str) -> bool:
    codes = set(OPERATORS.get(wanted, (wanted,)))
    return (
        operator == wanted or operator in codes or (bool(OPERATORS.get(operator)) and set(OPERATORS[operator]) <= codes)
    )


def fits(route: Route, message: Job, to: str, operator: str = "") -> bool:
    return (
        any(message.class_ in LANES[name].classes for name in route.lane_names)
        and route.class_ in (None, message.class_)
        and route.tenant in (None, message.tenant)
        and route.sender in (None, message.sender)
        and to.startswith(route.prefix or "")
        and (not route.countries or country(to) in route.countries)
        and (route.operator is None or operator_fits(route.operator, operator))
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
        operator=some(st.sampled_from([*OPERATORS, "732101", "732123"])),
    ),
    max_size=8,
)
# With countries that share +1, and one that does not.
COUNTRIES = st.lists(
    st.builds(
        Route,
        lane=st.sampled_from(["all", "claro"]),
        prefix=some(st.sampled_from(["+1", "+5", "+57", "+573"])),
        country=some(st.sampled_from([("CO", "DO"), ("DO", "CO", "US")])),
        operator=some(st.sampled_from([*OPERATORS, "732101"])),
    )
    | st.builds(
        Route, lane=st.sampled_from(["all", "claro"]), country=st.sampled_from(["CO", "DO", "US", ("DO", "PR")])
    ),
    max_size=8,
)
JOBS = st.builds(
    job,
    class_=st.sampled_from(TrafficClass),
    tenant=st.sampled_from(["", "a", "b", "c"]),
    sender=st.sampled_from(["", "1", "2"]),
)
VALID = st.sampled_from(
    ["+18095551234", "+12125551234", "+17875551234", "+573001234567", "+576012345678", "+525512345678"]
)
NUMBERS = st.text("123", max_size=4).map("+".__add__) | VALID
KNOWN = st.sampled_from(["", *OPERATORS, "732101", "732103", "732999"])


@given(ROUTES | COUNTRIES, st.lists(st.tuples(JOBS, NUMBERS, KNOWN), min_size=1))
def test_the_compiled_routes_are_the_list(routes: list[Route], messages: list[tuple[Job, str, str]]) -> None:
    """For any routes and messages: the lane of the first route that fits, or none."""
    router = Router(routes, LANES, OPERATORS)
    for message, to, operator in messages:
        first = next((route.lane for route in routes if fits(route, message, to, operator)), None)
        assert taken(router, message, to, operator) == first


@given(ROUTES | COUNTRIES, JOBS, NUMBERS, KNOWN)
def test_a_shadowed_route_is_never_taken(routes: list[Route], message: Job, to: str, operator: str) -> None:
    """Whatever the message."""
    first = next((index for index, route in enumerate(routes) if fits(route, message, to, operator)), None)
    assert first not in shadowed(routes, LANES, OPERATORS)


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
        ([Route(lanes=("fast", "slow")), Route(lane="all", class_=OTP), Route(lane="all", class_=BULK)], [1, 2]),
        ([Route(lane="all", prefix="+57"), Route(lane="claro", country="CO")], [1]),
        ([Route(lane="all", country="CO"), Route(lane="claro", prefix="+573")], [1]),
        ([Route(lane="all", country="CO"), Route(lane="claro", country=("CO", "EC"))], []),
        (
            [
                Route(lane="all", country="CO"),
                Route(lane="claro", country="EC"),
                Route(lane="all", country=("CO", "EC")),
            ],
            [2],
        ),
        ([Route(lane="all", country="DO"), Route(lane="claro", prefix="+1")], []),
        ([Route(lane="all", prefix="+1"), Route(lane="claro", country="DO")], [1]),
        ([Route(lane="all", operator="732101"), Route(lane="claro")], []),
        ([Route(lane="all", operator="both"), Route(lane="claro", operator="732101")], [1]),
        ([Route(lane="all", operator="732-101"), Route(lane="claro", operator="both")], []),
    ],
)
def test_shadowed_routes_are_found(routes: list[Route], expected: list[int]) -> None:
    """Those whose every class an earlier route takes whole."""
    assert shadowed(routes, LANES, OPERATORS) == expected


def test_a_job_with_an_operator_finds_its_route() -> None:
    """By the network or by its name; without one, or for another, the route does not fit."""
    routes = [Route(lane="claro", operator="claro"), Route(lane="all")]
    router = Router(routes, LANES, OPERATORS)
    choice_of = router.choices("sms", "bulk", "", "")
    lanes = [choice.only for operator in ("claro", "732101", "both", "") if (choice := choice_of("+57300", operator))]
    assert lanes == ["claro", "claro", "all", "all"]
    assert router.by_operator
    assert not Router(routes[1:], LANES).by_operator


def test_one_lane_is_no_choice() -> None:
    """Then nothing has to be picked."""
    assert choice_for("all").only == "all"
    assert choice_for("all", "claro").only == ""


def test_lanes_that_do_not_carry_the_class_are_left_out() -> None:
    """Of their rank, and their rank if nothing is left of it."""
    assert choice_for("slow", {"fast": 1, "all": 1}, class_=OTP).lanes == ("fast", "all")
    assert choice_for("slow", {"fast": 1, "all": 1}, class_=BULK).lanes == ("slow", "all")
    assert choice_for("fast", "slow", class_=BULK).only == "slow"


@pytest.mark.parametrize(
    ("down", "tried", "expected"),
    [
        ([], [], "claro"),
        (["claro"], [], "fast"),
        ([], ["claro"], "fast"),
        (["claro"], ["fast"], "all"),
        (["claro", "fast", "all"], [], None),
        (["claro", "fast"], ["all"], None),
        (["slow"], ["slow"], "claro"),
    ],
)
def test_the_first_lane_that_is_neither_down_nor_tried_is_taken(
    down: list[str], tried: list[str], expected: str | None
) -> None:
    """Rank by rank; none when there is none left."""
    assert pick(choice_for("claro", "fast", "all"), "+573001234567", down, tried) == expected


PEOPLE = [f"+5730{number:08d}" for number in range(0, 40_000_000, 2003)]


@pytest.mark.parametrize("weights", [{"all": 1, "claro": 1}, {"all": 3, "claro": 1}, {"all": 1, "claro": 5, "fast": 4}])
def test_weights_hold_over_many_people(weights: dict[str, int]) -> None:
    """Within what chance allows (five standard deviations)."""
    choice = choice_for(weights)
    taken = Counter(pick(choice, to) for to in PEOPLE)
    for name, weight in weights.items():
        share = weight / sum(weights.values())
        assert abs(taken[name] - share * len(PEOPLE)) < 5 * (len(PEOPLE) * share * (1 - share)) ** 0.5


def test_only_the_people_of_a_lane_that_is_down_move() -> None:
    """To all others by their weights; everybody else stays, and so keeps the order of what is on its way."""
    choice = choice_for({"all": 2, "claro": 1, "fast": 1})
    before = {to: pick(choice, to) for to in PEOPLE}
    moved = Counter()
    for to, name in before.items():
        now = pick(choice, to, down={"all"})
        assert name in (now, "all")
        moved[now] += name == "all"
    assert moved["claro"] == pytest.approx(moved["fast"], rel=0.1)


def test_every_process_picks_the_same() -> None:
    """Nothing in it depends on the process: these lanes were picked by another one."""
    choice = choice_for({"all": 1, "claro": 1, "fast": 1})
    assert [pick(choice, f"+57300000000{digit}") for digit in range(6)] == [
        "all",
        "fast",
        "claro",
        "all",
        "all",
        "fast",
    ]


@given(NUMBERS, st.sets(st.sampled_from(["all", "claro", "fast"])), st.sets(st.sampled_from(["all", "claro", "fast"])))
def test_what_is_picked_can_carry(to: str, down: set[str], tried: set[str]) -> None:
    """Never a lane that is down or tried, and always one while there is one."""
    for ranks in (({"all": 1, "claro": 2}, "fast"), ("claro", "fast", "all"), ({"all": 1, "claro": 1, "fast": 1},)):
        choice = choice_for(*ranks)
        left = set(choice.lanes) - down - tried
        assert pick(choice, to, down, tried) in (left or {None})


def test_lanes_are_picked_independently_of_each_other() -> None:
    """Who prefers one lane to a second is as likely as anybody to prefer it to a third."""
    every = ["all", "claro", "fast"]
    for first, second in combinations(every, 2):
        third = next(name for name in every if name not in (first, second))
        mine = [to for to in PEOPLE if pick(choice_for({first: 1, second: 1}), to) == first]
        kept = sum(pick(choice_for({first: 1, third: 1}), to) == first for to in mine)
        # Of three in random order, whoever is before the second is before the third two times in three.
        assert kept / len(mine) == pytest.approx(2 / 3, abs=0.03)
