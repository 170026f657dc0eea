"""Which worker owns which slot: chosen examples, and the shell as the consumer group calls it."""

import logging
from collections.abc import Iterable, Mapping

import msgspec
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.structs import TopicPartition

from gateway.assignor import Claim, Slot, SlotAssignor, assign_slots, lane_of, slot_owners


def slots_of(**sizes: int) -> list[Slot]:
    """Make the slots of lanes given by name and number."""
    return [Slot(lane, index) for lane, size in sizes.items() for index in range(size)]


def owners_of(assigned: Mapping[str, Iterable[Slot]]) -> dict[Slot, str]:
    """Turn an assignment round."""
    return {slot: member for member, slots in assigned.items() for slot in slots}


class Cluster:
    """What the assignor asks of the cluster: which partitions a topic has."""

    def __init__(self, **topics: int) -> None:
        self.sizes = {name.replace("__", "."): size for name, size in topics.items()}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        size = self.sizes.get(topic)
        return None if size is None else set(range(size))


class Group:
    """A consumer group: every member joins, the first leads, all learn what they were given, encoded as on the wire."""

    def __init__(self, cluster: Cluster, prefix: str = "r") -> None:
        self.cluster, self.prefix = cluster, prefix
        self.members: dict[str, tuple[SlotAssignor, list[str]]] = {}
        self.owned: dict[str, set[TopicPartition]] = {}

    def join(self, member: str, *topics: str, assignor: SlotAssignor | None = None) -> SlotAssignor:
        assignor = assignor or SlotAssignor(self.prefix)
        self.members[member] = (assignor, list(topics))
        return assignor

    def rebalance(self) -> dict[str, set[TopicPartition]]:
        joined = {
            member: ConsumerProtocolMemberMetadata.decode(assignor.metadata(topics).encode())
            for member, (assignor, topics) in self.members.items()
        }
        leader, _ = next(iter(self.members.values()))
        assigned = leader.assign(self.cluster, joined)
        assert set(assigned) == set(self.members)
        for member, (assignor, _) in self.members.items():
            assignment = ConsumerProtocolMemberAssignment.decode(assigned[member].encode())
            partitions = assignment.partitions()
            assert len(partitions) == len(set(partitions))
            self.owned[member] = set(partitions)
            assignor.on_assignment(assignment)
        return self.owned


def test_lanes_of_one_slot_are_spread():
    """Slot 0 of every lane does not go to the same worker."""
    assigned = assign_slots(slots_of(a=1, b=1, c=1), dict.fromkeys("abc", frozenset({"x", "y", "z"})), {})
    assert sorted(map(len, assigned.values())) == [1, 1, 1]


def test_slots_of_a_lane_are_spread():
    """The loss of one worker leaves a lane half of its binds."""
    assigned = assign_slots(slots_of(a=2, b=2), dict.fromkeys("ab", frozenset({"x", "y"})), {})
    assert [[slot.lane for slot in slots] for slots in assigned.values()] == [["a", "b"], ["a", "b"]]


def test_owners_keep_what_they_have():
    """However unevenly the lanes are spread, as long as the load is even."""
    owners = owners_of({"x": slots_of(a=2), "y": slots_of(b=2)})
    assigned = assign_slots(slots_of(a=2, b=2), dict.fromkeys("ab", frozenset({"x", "y"})), owners)
    assert owners_of(assigned) == owners


def test_a_newcomer_takes_from_lanes_that_are_crowded():
    """A restart heals what an earlier one left: of two slots of a lane on one worker, one moves on."""
    owners = owners_of({"x": slots_of(a=2, b=1)})
    assigned = assign_slots(owners, dict.fromkeys("ab", frozenset({"x", "y"})), owners)
    assert assigned == {"x": [Slot("a", 0), Slot("b", 0)], "y": [Slot("a", 1)]}


def test_slots_that_must_move_go_where_the_fewest_of_their_lane_are():
    """What a worker left behind does not pile up on those who have that lane already."""
    owners = {Slot("a", 0): "x", Slot("b", 0): "y", Slot("a", 1): "gone", Slot("b", 1): "gone"}
    assigned = assign_slots(owners, dict.fromkeys("ab", frozenset({"x", "y"})), owners)
    assert assigned == {"x": [Slot("a", 0), Slot("b", 1)], "y": [Slot("a", 1), Slot("b", 0)]}


def test_an_owner_that_may_no_longer_own_a_lane_loses_it():
    """It left that lane's topics."""
    owners = owners_of({"x": slots_of(a=2)})
    assert assign_slots(slots_of(a=2), {"a": {"y"}}, owners) == {"y": slots_of(a=2)}


def test_a_lane_without_candidates_goes_to_nobody():
    """The others are not touched by it."""
    assert assign_slots(slots_of(a=1, b=1), {"a": {"x"}}, {}) == {"x": [Slot("a", 0)]}


def test_slots_that_are_no_more_are_forgotten():
    """A claim to a slot that does not exist assigns nothing."""
    owners = owners_of({"x": slots_of(a=3)})
    assert assign_slots(slots_of(a=1), {"a": {"x"}}, owners) == {"x": [Slot("a", 0)]}


def test_who_may_own_little_is_made_room_for():
    """The one that may own every lane leaves lane a to the one that may own nothing else."""
    assigned = assign_slots(slots_of(a=2, b=2), {"a": {"x", "y"}, "b": {"y"}}, {})
    assert assigned == {"x": slots_of(a=2), "y": slots_of(b=2)}


@pytest.mark.parametrize("names", [("x", "y"), ("y", "x")])
def test_the_later_claim_counts(names):
    """A worker that was away comes back with a claim to what others were given since."""
    early, late = names
    owners = slot_owners({early: Claim(3, {"a": [0, 1]}), late: Claim(4, {"a": [1, 2]})})
    assert owners == {Slot("a", 0): early, Slot("a", 1): late, Slot("a", 2): late}


@pytest.mark.parametrize(
    ("topic", "lane"),
    [
        ("r.lane.claro-co.bulk", "claro-co"),
        ("r.lane.claro.co.bulk", "claro.co"),
        ("r.lane.bulk", None),
        ("r.lane..bulk", None),
        ("r.lane.claro.", None),
        ("r.jobs", None),
        ("other.lane.claro.bulk", None),
    ],
)
def test_lane_of_a_topic(topic, lane):
    """Between the prefix and the class, dots and all."""
    assert lane_of(topic, "r") == lane


def test_a_slot_goes_to_one_member_with_all_its_topics():
    """The same partitions of every class of a lane."""
    group = Group(Cluster(r__lane__a__bulk=4, r__lane__a__otp=4, r__lane__b__bulk=2))
    for member in "xy":
        group.join(member, "r.lane.a.bulk", "r.lane.a.otp", "r.lane.b.bulk")
    owned = group.rebalance()
    indices = {
        member: [{tp.partition for tp in owned[member] if tp.topic == f"r.lane.a.{c}"} for c in ("bulk", "otp")]
        for member in owned
    }
    assert indices["x"][0] == indices["x"][1]
    assert indices["y"][0] == indices["y"][1]
    assert sum(map(len, owned.values())) == len(owned["x"] | owned["y"]) == 10
    assert {len(indices[member][0]) for member in owned} == {2}


def test_a_member_that_leaves_moves_only_its_slots():
    """Those who stay keep theirs, though another leads."""
    group = Group(Cluster(r__lane__a__bulk=6, r__lane__b__bulk=3))
    for member in "xyz":
        group.join(member, "r.lane.a.bulk", "r.lane.b.bulk")
    before = {member: set(owned) for member, owned in group.rebalance().items()}
    del group.members["x"], group.owned["x"]
    after = group.rebalance()
    assert before["y"] < after["y"]
    assert before["z"] < after["z"]
    assert len(after["y"] | after["z"]) == 9


def test_a_member_that_returns_has_no_say_over_what_was_moved():
    """It slept through a rebalance; it gets its share again, but not by its old claim."""
    group = Group(Cluster(r__lane__a__bulk=6))
    asleep = group.join("x", "r.lane.a.bulk")
    group.join("y", "r.lane.a.bulk")
    group.rebalance()
    del group.members["x"], group.owned["x"]
    group.join("z", "r.lane.a.bulk")
    before = {member: set(owned) for member, owned in group.rebalance().items()}
    group.join("zz", "r.lane.a.bulk", assignor=asleep)  # the last id, so that it would win a tie
    after = group.rebalance()
    assert {member: len(before[member] & after[member]) for member in before} == {"y": 2, "z": 2}


def test_members_of_different_configurations():
    """A lane that is being rolled out goes to those who know it, and evens out what they have."""
    group = Group(Cluster(r__lane__a__bulk=4, r__lane__b__bulk=2))
    group.join("old", "r.lane.a.bulk")
    group.join("new", "r.lane.a.bulk", "r.lane.b.bulk")
    owned = group.rebalance()
    assert {TopicPartition("r.lane.b.bulk", 0), TopicPartition("r.lane.b.bulk", 1)} < owned["new"]
    assert {member: len(partitions) for member, partitions in owned.items()} == {"old": 3, "new": 3}


def test_a_lane_goes_to_those_who_know_all_its_classes():
    """No topic of a lane is left unread while there is a member that reads it."""
    group = Group(Cluster(r__lane__a__bulk=2, r__lane__a__otp=2))
    group.join("old", "r.lane.a.bulk")
    group.join("new", "r.lane.a.bulk", "r.lane.a.otp")
    owned = group.rebalance()
    assert owned["old"] == set()
    assert len(owned["new"]) == 4


def test_nobody_is_given_a_topic_that_it_did_not_subscribe_to():
    """No member knows both classes: each slot's owner reads the one that it knows, and the other waits."""
    group = Group(Cluster(r__lane__a__bulk=2, r__lane__a__otp=2))
    group.join("x", "r.lane.a.bulk")
    group.join("y", "r.lane.a.otp")
    owned = group.rebalance()
    assert [[tp.topic for tp in owned[member]] for member in "xy"] == [["r.lane.a.bulk"], ["r.lane.a.otp"]]


def test_topics_of_different_length():
    """While partitions are being added, a slot has the topics that have its partition already."""
    group = Group(Cluster(r__lane__a__bulk=3, r__lane__a__otp=2))
    group.join("x", "r.lane.a.bulk", "r.lane.a.otp")
    assert len(group.rebalance()["x"]) == 5


@pytest.mark.parametrize("topic", ["r.jobs", "r.lane.missing.bulk"])
def test_topics_that_cannot_be_assigned_are_named(topic, caplog):
    """Not a lane's, or not there; the others are assigned."""
    group = Group(Cluster(r__lane__a__bulk=1, r__jobs=1))
    group.join("x", "r.lane.a.bulk", topic)
    with caplog.at_level(logging.WARNING):
        assert group.rebalance()["x"] == {TopicPartition("r.lane.a.bulk", 0)}
    assert caplog.messages == [f"topic_not_assigned topic={topic}"]


@pytest.mark.parametrize(
    "user_data", [b"\xff\xff", b"{}", msgspec.msgpack.encode(["1", {}]), msgspec.msgpack.encode([1, {b"\xff": [0]}])]
)
def test_a_claim_that_cannot_be_read_is_no_claim(user_data, caplog):
    """A member of another version costs a warning, not the assignment."""
    members = {"x": ConsumerProtocolMemberMetadata(0, ["r.lane.a.bulk"], user_data)}
    assigned = SlotAssignor("r").assign(Cluster(r__lane__a__bulk=1), members)
    assert assigned["x"].partitions() == [TopicPartition("r.lane.a.bulk", 0)]
    assert caplog.messages == ["claim_unreadable member=x"]
