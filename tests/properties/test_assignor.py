"""Every slot has one owner, the load is even, and no slot moves that need not, whatever the group went through."""

from collections import Counter
from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from gateway.assignor import Slot, assign_slots

LANES = "abcdef"
MEMBERS = [f"w{number}" for number in range(7)]

groups = st.sets(st.sampled_from(MEMBERS), min_size=1)
layouts = st.dictionaries(st.sampled_from(LANES), st.integers(1, 8), min_size=1).map(
    lambda sizes: frozenset(Slot(lane, index) for lane, size in sizes.items() for index in range(size))
)
# Owners that no balanced assignment would make: members that crashed together, merged groups, lanes that grew.
all_slots = [Slot(lane, index) for lane in LANES for index in range(9)]
any_owners = st.lists(st.sampled_from([*MEMBERS, None]), min_size=1, max_size=12).flatmap(
    lambda pool: st.lists(st.sampled_from(pool), min_size=len(all_slots), max_size=len(all_slots)).map(
        lambda members: {slot: member for slot, member in zip(all_slots, members, strict=True) if member}
    )
)
any_candidates = st.fixed_dictionaries({lane: st.frozensets(st.sampled_from(MEMBERS)) for lane in LANES})


def owners_of(assigned):
    owners = {slot: member for member, slots in assigned.items() for slot in slots}
    assert len(owners) == sum(map(len, assigned.values())), "a slot has two owners"
    return owners


def assign_to_all(slots, members, owners=None):
    """Assign to members that all subscribe to all lanes; returns owners by slot."""
    candidates = dict.fromkeys({slot.lane for slot in slots}, frozenset(members))
    assigned = assign_slots(slots, candidates, owners or {})
    assert set(assigned) == set(members)
    return owners_of(assigned)


def loads(owners, members):
    count = Counter(owners.values())
    return [count[member] for member in members]


def moved(before, after):
    return {slot for slot, member in after.items() if before.get(slot) != member}


@given(layouts, any_candidates, any_owners)
def test_every_slot_has_one_owner_that_may_own_it(slots, candidates, owners):
    """If anybody may own it."""
    assigned = owners_of(assign_slots(slots, candidates, owners))
    assert set(assigned) == {slot for slot in slots if candidates[slot.lane]}
    assert all(member in candidates[slot.lane] for slot, member in assigned.items())


@given(layouts, groups, any_owners)
def test_the_load_is_even(slots, members, owners):
    """No member has two slots more than another, where all may own all."""
    load = loads(assign_to_all(slots, members, owners), members)
    assert max(load) - min(load) <= 1


@given(layouts, any_candidates, any_owners)
def test_no_single_move_would_even_the_load(slots, candidates, owners):
    """Where members may own different lanes."""
    assigned = assign_slots(slots, candidates, owners)
    for giver, taker in product(assigned, repeat=2):
        if any(taker in candidates[slot.lane] for slot in assigned[giver]):
            assert len(assigned[giver]) - len(assigned[taker]) <= 1


@given(layouts, groups)
def test_the_lanes_are_even_at_first(slots, members):
    """No member has two slots of a lane more than another."""
    owners = assign_to_all(slots, members)
    for lane in {slot.lane for slot in slots}:
        load = loads({slot: member for slot, member in owners.items() if slot.lane == lane}, members)
        assert max(load) - min(load) <= 1


@given(layouts, groups, any_owners)
def test_no_even_assignment_moves_fewer_slots(slots, members, owners):
    """Each member keeps what its share allows, and the larger shares go where they keep the most."""
    assigned = assign_to_all(slots, members, owners)
    held = loads({slot: member for slot, member in owners.items() if slot in slots}, members)
    share, larger = divmod(len(slots), len(members))
    most_kept = max(
        sum(min(count, share + (member in chosen)) for member, count in enumerate(held))
        for chosen in combinations(range(len(held)), larger)
    )
    assert len(moved(owners, assigned)) == len(slots) - most_kept


@given(layouts, any_candidates, any_owners)
def test_nothing_moves_when_nothing_changed(slots, candidates, owners):
    """A rebalance for its own sake costs no bind."""
    assigned = assign_slots(slots, candidates, owners)
    assert assign_slots(slots, candidates, owners_of(assigned)) == assigned


@given(layouts, groups.filter(lambda members: len(members) > 1), any_owners, st.data())
def test_when_a_member_leaves_only_its_slots_move(slots, members, owners, data):
    """Those who stay keep all that they have."""
    before = assign_to_all(slots, members, owners)
    left = data.draw(st.sampled_from(sorted(members)))
    after = assign_to_all(slots, members - {left}, before)
    assert moved(before, after) == {slot for slot, member in before.items() if member == left}


@given(layouts, groups, any_owners)
def test_when_a_member_joins_only_its_share_moves(slots, members, owners):
    """At most ceil(slots / members), and all of it to the newcomer."""
    before = assign_to_all(slots, members, owners)
    after = assign_to_all(slots, members | {"newcomer"}, before)
    moves = moved(before, after)
    assert {after[slot] for slot in moves} <= {"newcomer"}
    assert len(moves) <= -(-len(slots) // (len(members) + 1))


@given(layouts, any_candidates, any_owners, st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_does_not_matter(slots, candidates, owners, random):
    """Whoever leads decides the same."""

    def shuffled(items):
        return random.sample(items, len(items))

    assert assign_slots(
        shuffled(sorted(slots)), dict(shuffled(list(candidates.items()))), dict(shuffled(list(owners.items())))
    ) == assign_slots(slots, candidates, owners)
