"""Where a message goes next, and in which partition it waits there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, loads
from gateway.failover import Failover, admits, topic_of, with_step
from gateway.model import Step, TrafficClass
from gateway.routing import Router
from tests.support.dispatching import LANE, configured, message, messages
from tests.support.stage import toml

LANES = {"andina": {}, "brava": {}, "caribe": {}}
MEXICO = {"to": "+525512345678"}


def failover_of(config: Config) -> Failover:
    return Failover(config.kafka, config.lanes, Router(config.routes, config.lanes, config.operators))


def failover(*routes: dict[str, Any], lanes: dict[str, Any] | None = None, down: str = "") -> Failover:
    one = failover_of(configured({**LANES, **(lanes or {})}, routes))
    one.down = frozenset(down.split())
    return one


RANKED = {"lanes": ["andina", "brava", "caribe"]}


@pytest.mark.parametrize(
    ("down", "tried", "lane", "following"),
    [
        ("", (), "andina", "brava"),
        ("", (), "brava", "andina"),
        ("brava", (), "andina", "caribe"),
        ("brava caribe", (), "andina", ""),
        ("", ("brava",), "andina", "caribe"),
        ("", ("brava", "caribe"), "andina", ""),
        ("andina", (), "andina", "brava"),
        ("caribe", ("andina",), "brava", ""),
    ],
)
def test_the_next_lane_is_the_best_that_can_have_it(
    down: str, tried: tuple[str, ...], lane: str, following: str
) -> None:
    """Neither down, nor one that did not want it, nor the one where it is."""
    assert failover(RANKED, down=down).next_lane(message(tried=tried), lane) == following


def test_a_lane_alone_has_no_next_one() -> None:
    """What waits for it goes on waiting."""
    assert failover({"lane": "andina"}).next_lane(message(), "andina") == ""


def test_what_no_route_fits_any_more_has_no_next_lane() -> None:
    """A reload may have taken its route away."""
    config = configured(LANES)
    one = Failover(config.kafka, config.lanes, Router([], config.lanes))
    assert one.next_lane(message(), "andina") == ""


def test_the_route_is_that_of_the_message() -> None:
    """Its number, tenant, sender, class and operator."""
    one = failover(
        {"lanes": ["andina", "caribe"], "prefix": "+52"},
        {"lanes": ["andina", "caribe"], "tenant": "tienda"},
        {"lanes": ["andina", "caribe"], "class": "otp"},
        {"lanes": ["andina", "caribe"], "operator": "732101"},
        {"lanes": ["andina", "brava"]},
    )
    others: list[dict[str, Any]] = [MEXICO, {"tenant": "tienda"}, {"class_": TrafficClass.OTP}, {"operator": "732101"}]
    assert one.next_lane(message(), "andina") == "brava"
    assert {one.next_lane(message(**other), "andina") for other in others} == {"caribe"}


def test_people_keep_to_one_of_several_next_lanes() -> None:
    """By weight over many of them, and the same in every process."""
    route = {"lanes": ["andina", {"brava": 3, "caribe": 1}]}
    first, second = failover(route), failover(route)
    lanes = [first.next_lane(each, "andina") for each in messages(400)]
    assert lanes == [second.next_lane(each, "andina") for each in messages(400)]
    assert Counter(lanes)["brava"] == pytest.approx(300, abs=40)


def test_what_waits_on_a_lane_that_its_route_has_left_goes_to_the_new_one() -> None:
    """The operator is down for good, the file names another, and the queue is not stranded."""
    assert failover({"lane": "brava"}, down="andina").next_lane(message(), "andina") == "brava"


# Purposes.

COLLECTION = {"channel": "whatsapp", "purpose": "third_party_collection"}


def numbers(lanes: str, down: str = "") -> Failover:
    """Numbers of WhatsApp in this order of preference; those of which the name begins with c may carry collections."""
    tables = [
        f"""[lanes.{name}]
        provider = "whatsapp"
        allow_collections = {str(name.startswith("c")).lower()}
        whatsapp = {{ phone_number_id = "{n}", token_env = "S", app_secret_env = "S", verify_token_env = "S" }}"""
        for n, name in enumerate(lanes.split())
    ]
    head = 'kafka.bootstrap = "localhost:9092"\nstore.url = "redis://localhost"'
    route = f'[[routes]]\nchannel = "whatsapp"\nlanes = {toml(lanes.split())}'
    one = failover_of(loads("\n".join([head, *tables, route]), {"S": "secret"}))
    one.down = frozenset(down.split())
    return one


@pytest.mark.parametrize(("lanes", "following"), [("c1 b", ""), ("c1 b c2", "c2"), ("c1 a b", ""), ("c1 c2 b", "c2")])
def test_collections_move_only_to_lanes_that_may_carry_them(lanes: str, following: str) -> None:
    """Meta blocks the account of any other; messages for other purposes go to the next."""
    one = numbers(lanes, down="c1")
    assert one.next_lane(message(**COLLECTION), "c1") == following
    assert one.next_lane(message(channel="whatsapp"), "c1") == lanes.split()[1]


@pytest.mark.parametrize(
    ("lanes", "down", "found"),
    [("a c1", "", "c1"), ("a c1 c2", "c1", "c2"), ("a c1 c2", "c1 c2", "c1"), ("a b", "", None), ("c1 b", "c1", "c1")],
)
def test_collections_take_a_step_over_the_lanes_that_may_carry_them(lanes: str, down: str, found: str | None) -> None:
    """Though another is preferred, or is the only one that is up."""
    step = Step("whatsapp", "", "Hola", "")
    after_sms = message(channel="sms", purpose="third_party_collection", plan=(step,))
    assert numbers(lanes, down).next_step(after_sms) == (found and (0, found))


VENDOR = """
channel = "whatsapp"
[request]
url = "https://bsp.example.com/messages"
json = { to = "{to}", text = "{text}" }
[reply]
success = [{ http = "200" }]
id = "id"
otherwise = "rejected"
"""


def test_collections_go_over_whatsapp_whoever_carries_them_there_only_where_they_are_allowed(tmp_path: Path) -> None:
    """A provider that a file describes is known by its channel, and has no way to allow them."""
    (tmp_path / "bsp.toml").write_text(VENDOR)
    (tmp_path / "blaster.toml").write_text(VENDOR.replace("whatsapp", "voice"))
    lanes = {
        name: {"provider": "generic", "rate": 5, "generic": {"file": f"{name}.toml"}} for name in ("bsp", "blaster")
    }
    config = loads(
        f"""kafka.bootstrap = "localhost:9092"
        store.url = "redis://localhost"
        lanes = {toml(lanes)}
        routes = [{{ channel = "whatsapp", lane = "bsp" }}]""",
        {},
        tmp_path,
    )
    assert not admits(config.lanes["bsp"], "third_party_collection")
    assert admits(config.lanes["bsp"], "first_party_reminder")
    assert admits(config.lanes["blaster"], "third_party_collection")


# Steps.


def test_a_step_is_routed_by_its_own_number() -> None:
    """Behind a step over mail the message is at an address. A step over mail has no number: it goes by that of the message."""
    lanes = {
        "mail": {"provider": "smtp", "rate": 1, "smtp": {"host": "relay.example.com", "sender": "a@example.com"}},
        "mexico": {**LANE, "password_env": "S"},
    }
    routes = [
        {"channel": "email", "lane": "mail", "country": "MX"},
        {"lane": "mexico", "prefix": "+52"},
    ]
    config = loads(
        f"""kafka.bootstrap = "localhost:9092"
        store.url = "redis://localhost"
        lanes = {toml(lanes)}
        routes = {toml(routes)}""",
        {"S": "secret"},
    )
    one = failover_of(config)
    mail, sms = Step("email", "", "", "{}", "ana@example.com"), Step("sms", "", "Hola", "", MEXICO["to"])
    by_phone = message(**MEXICO, channel="voice", plan=(mail, sms))
    assert one.next_step(by_phone) == (0, "mail")
    assert one.next_step(with_step(by_phone, 0, 2)) == (0, "mexico")


def test_a_step_is_the_first_attempt_of_its_channel() -> None:
    """Whatever was tried on the channel before; what only moves to another lane goes on counting."""
    before = message(attempt=16, first_attempt=3, plan=(Step("whatsapp", "", "Hola", ""),))
    after = with_step(before, 0, 17)
    assert (after.attempt, after.first_attempt) == (17, 17)


# Addresses.


def test_a_person_keeps_to_one_partition_within_the_lane() -> None:
    """In every process, so that his messages keep their order."""
    lanes = {"andina": {"binds": 4}}
    first, second = failover(lanes=lanes), failover(lanes=lanes)
    addresses = [first.address("andina", each) for each in messages(1000)]
    assert addresses == [second.address("andina", each) for each in messages(1000, text="otra cosa", attempt=7)]
    counts = Counter(addresses)
    assert {partition for _, partition in counts} == {0, 1, 2, 3}
    assert max(counts.values()) < 2 * 1000 / 4


def test_classes_and_tenants_wait_in_topics_of_their_own() -> None:
    """A tenant in that of his queue, whatever the person."""
    one = failover(lanes={"andina": {"fair_queues": 8}})
    assert one.address("andina", message(tenant=""))[0] == "recado.lane.andina.bulk"
    assert one.address("andina", message(tenant="banco"))[0] == "recado.lane.andina.bulk-1"
    assert one.address("andina", message(class_=TrafficClass.OTP, tenant="banco"))[0] == "recado.lane.andina.otp-1"
    assert {one.address("andina", each)[0] for each in messages(50)} == {"recado.lane.andina.bulk-1"}


def test_every_address_is_of_a_topic_that_there_is() -> None:
    """Topics and partitions are those that the configuration creates."""
    config = configured({"andina": {"binds": 3, "fair_queues": 5}, "brava": {"classes": ["bulk"]}})
    one = failover_of(config)
    topics = config.topics()
    for tenant in (f"t{n}" for n in range(100)):
        for class_ in TrafficClass:
            topic, partition = one.address("andina", message(tenant=tenant, class_=class_))
            assert partition < topics[topic]
            assert topic == topic_of(config.kafka, config.lanes["andina"], class_, tenant)


# Reload.


def test_a_lane_that_does_not_carry_a_class_is_no_way_for_it() -> None:
    """What waits would step aside for it again and again."""
    config = configured({"andina": {}, "brava": {"classes": ["otp"]}}, [{"lanes": ["andina", "brava"]}])
    one = failover_of(config)
    assert one.has_way("andina", TrafficClass.OTP)
    assert not one.has_way("andina", TrafficClass.BULK)


def test_a_reload_changes_the_way() -> None:
    """Of what is queued, too; what is down stays down."""
    one = failover(RANKED, down="brava")
    config = configured({**LANES, "andina": {"binds": 2}}, [{"lanes": ["andina", "brava", "caribe"]}])
    one.configure(config.lanes, Router(config.routes, config.lanes))
    assert one.next_lane(message(), "andina") == "caribe"
    assert {one.address("andina", each)[1] for each in messages(50)} == {0, 1}
