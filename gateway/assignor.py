"""Which worker owns which slot: the decision, and the shell that the consumer group calls.

Slot `index` of a lane is partition `index` of every topic of that lane, and moving one means dropping a bind here and
making one there. So a whole slot goes to one worker, and stays where it is unless the balance forces it to move.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from heapq import heapify, heappop, heapreplace
from itertools import chain

import msgspec
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

log = logging.getLogger(__name__)

_VERSION = 0  # of the consumer protocol's metadata and assignment


class Slot(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """One of the parallel shares of a lane."""

    lane: str
    index: int


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """The slots that a member was given, by lane, and in which assignment: the later one counts when claims collide."""

    generation: int = 0
    lanes: dict[str, list[int]] = {}


def slot_owners(claims: Mapping[str, Claim]) -> dict[Slot, str]:
    """Say who owns which slot by what the members claim; within one generation the last member id wins."""
    owners: dict[Slot, str] = {}
    for member, claim in sorted(claims.items(), key=lambda item: (item[1].generation, item[0])):
        for lane, indices in claim.lanes.items():
            for index in indices:
                owners[Slot(lane, index)] = member
    return owners


def assign_slots(
    slots: Iterable[Slot], candidates: Mapping[str, Set[str]], owners: Mapping[Slot, str]
) -> dict[str, list[Slot]]:
    """Give every slot to one of its lane's candidates; a slot of a lane that has none goes to nobody.

    `candidates` are the members that may own a lane, `owners` those who own slots now. What is held to, in this order:
    no member has two slots more than another that may own one of them; as few slots move as that allows (exactly, where
    all members may own all lanes); those that move go where the fewest of their lane are. Equal arguments give equal
    results, whatever order they come in.
    """
    held: dict[str, dict[str, list[Slot]]] = {
        member: defaultdict(list) for member in chain.from_iterable(candidates.values())
    }
    load: Counter[str] = Counter()

    def give(slot: Slot, member: str) -> None:
        held[member][slot.lane].append(slot)
        load[member] += 1

    homeless: dict[str, list[Slot]] = defaultdict(list)
    for slot in sorted(slots):
        members = candidates.get(slot.lane, frozenset())
        owner = owners.get(slot)
        if owner is not None and owner in members:
            give(slot, owner)
        elif members:
            homeless[slot.lane].append(slot)

    def rank(lane: str, member: str) -> tuple[int, int, str, str]:
        return load[member], len(held[member][lane]), lane, member

    # Ranks only grow, so an entry that is out of date is found at the top, too early, and goes back where it belongs.
    heap = [rank(lane, member) for lane in homeless for member in candidates[lane]]
    heapify(heap)
    while heap:
        *_, lane, member = heap[0]
        if not homeless[lane]:
            heappop(heap)
        elif heap[0] != (current := rank(lane, member)):
            heapreplace(heap, current)
        else:
            give(homeless[lane].pop(), member)

    while move := _relief(held, load, candidates):
        lane, giver, taker = move
        load[giver] -= 1
        give(held[giver][lane].pop(), taker)
    return {member: sorted(chain.from_iterable(lanes.values())) for member, lanes in held.items()}


def _relief(
    held: Mapping[str, Mapping[str, list[Slot]]], load: Mapping[str, int], candidates: Mapping[str, Set[str]]
) -> tuple[str, str, str] | None:
    """Find the next move that evens the load, as lane, giver and taker; None if there is none.

    From the most loaded to the least loaded that can take from it, of the lane that they share the least evenly.
    """
    for taker in sorted(held, key=lambda member: (load[member], member)):
        options = [
            (load[giver], len(slots) - len(held[taker][lane]), lane, giver)
            for giver, lanes in held.items()
            if load[giver] > load[taker] + 1
            for lane, slots in lanes.items()
            if slots and taker in candidates[lane]
        ]
        if options:
            *_, lane, giver = max(options)
            return lane, giver, taker
    return None


def lane_of(topic: str, prefix: str) -> str | None:
    """Return the lane of a topic `<prefix>.lane.<lane>.<class>`, or None for any other topic."""
    head = f"{prefix}.lane."
    lane, _, traffic_class = topic.removeprefix(head).rpartition(".")
    return lane if topic.startswith(head) and lane and traffic_class else None


class SlotAssignor(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka ships no types
    """Assigns slots within a consumer group; it belongs to one consumer, as it remembers what that one was given.

    The leader sends each member its claim beside its partitions, and the member hands it back as it came when it next
    joins. So members agree on what a generation is (aiokafka does not tell an assignor the broker's), and a member that
    was away returns with an old claim that has no say over what others were given since.
    """

    name = "recado-slots"

    def __init__(self, prefix: str) -> None:
        """Assign the topics `<prefix>.lane.<lane>.<class>`; any other topic is left to nobody, with a warning."""
        self._prefix = prefix
        self._claim = b""

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Say, on joining, what this member subscribes to and which slots it holds."""
        return ConsumerProtocolMemberMetadata(_VERSION, sorted(topics), self._claim)

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Keep what this member was given for the next join."""
        self._claim = assignment.user_data

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign the slots, as the leader, to members that may subscribe to different topics.

        While a changed configuration rolls out, a lane goes to the members that know most of its topics: to those that
        know all, if there are any. A topic that the owner of a slot does not know waits.
        """
        topics_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # by lane and member
        partitions: dict[str, set[int]] = {}
        for topic in sorted(set(chain.from_iterable(metadata.subscription for metadata in members.values()))):
            lane = lane_of(topic, self._prefix)
            found = cluster.partitions_for_topic(topic)
            if lane is None or not found:
                log.warning("topic_not_assigned topic=%s", topic)
                continue
            partitions[topic] = found
            for member, metadata in members.items():
                if topic in metadata.subscription:
                    topics_of[lane][member].append(topic)

        claims = {member: _read_claim(member, metadata.user_data) for member, metadata in members.items()}
        slots = {
            Slot(lane, index)
            for lane, by_member in topics_of.items()
            for topics in by_member.values()
            for topic in topics
            for index in partitions[topic]
        }
        candidates: dict[str, Set[str]] = {}
        for lane, by_member in topics_of.items():
            most = max(map(len, by_member.values()))
            candidates[lane] = {member for member, topics in by_member.items() if len(topics) == most}
        assigned = assign_slots(slots, candidates, slot_owners(claims))
        generation = 1 + max(claim.generation for claim in claims.values())

        assignments = {}
        for member in members:
            claim = Claim(generation, defaultdict(list))
            for slot in assigned.get(member, ()):
                claim.lanes[slot.lane].append(slot.index)
            assignments[member] = ConsumerProtocolMemberAssignment(
                _VERSION,
                [
                    (topic, sorted(partitions[topic].intersection(indices)))
                    for lane, indices in claim.lanes.items()
                    for topic in topics_of[lane][member]
                ],
                msgspec.msgpack.encode(claim),
            )
        return assignments


def _read_claim(member: str, user_data: bytes) -> Claim:
    if not user_data:
        return Claim()
    try:
        return msgspec.msgpack.decode(user_data, type=Claim)
    except msgspec.DecodeError:
        # Better to move its slots than to have no assignment at all: the member may run another version.
        log.warning("claim_unreadable member=%s", member)
        return Claim()
