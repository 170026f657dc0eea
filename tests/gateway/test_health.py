"""Lanes that are down, and how long they have to be fine before they are up again."""

from gateway.config import Lane
from gateway.health import Health
from gateway.tables import Secret


def lane(name: str, down_after_s: float = 30, up_after_s: float = 60) -> Lane:
    return Lane(
        name=name,
        host="h",
        port=1,
        system_id="s",
        password=Secret("p"),
        rate=1,
        down_after_s=down_after_s,
        up_after_s=up_after_s,
    )


def health() -> Health:
    return Health({"a": lane("a"), "b": lane("b", down_after_s=0, up_after_s=0)})


def test_a_lane_is_up_until_it_was_unable_to_send_for_long_enough() -> None:
    """Nothing is down that nobody has looked at."""
    lanes = health()
    assert lanes.down(0) == frozenset()
    lanes.observe("a", False, 100)
    assert [lanes.down(now) for now in (100, 129.9, 130)] == [frozenset(), frozenset(), {"a"}]


def test_a_short_reconnect_changes_nothing() -> None:
    """The time begins anew with every failure."""
    lanes = health()
    lanes.observe("a", False, 100)
    lanes.observe("a", True, 120)
    lanes.observe("a", False, 125)
    assert lanes.down(154) == frozenset()
    assert lanes.down(155) == {"a"}


def test_a_lane_is_up_again_when_it_has_held_for_long_enough() -> None:
    """A bind that comes and goes stays down."""
    lanes = health()
    lanes.observe("a", False, 0)
    for now in (40, 80, 120):
        lanes.observe("a", True, now)
        lanes.observe("a", False, now + 30)
        assert lanes.down(now + 35) == {"a"}
    lanes.observe("a", True, 200)
    assert lanes.down(259) == {"a"}
    assert lanes.down(260) == frozenset()


def test_what_was_not_asked_for_in_between_still_counts() -> None:
    """A lane that failed for a minute and came back is down, whether or not somebody looked meanwhile."""
    lanes = health()
    lanes.observe("a", False, 0)
    lanes.observe("a", True, 60)
    assert lanes.down(61) == {"a"}


def test_repeated_observations_do_not_begin_anew() -> None:
    """A loop says every second what it sees."""
    lanes = health()
    for now in range(31):
        lanes.observe("a", False, now)
    assert lanes.down(30) == {"a"}
    for now in range(31, 92):
        lanes.observe("a", True, now)
    assert lanes.down(91) == frozenset()


def test_without_hysteresis_a_lane_is_as_it_is_seen() -> None:
    """0 seconds are none."""
    lanes = health()
    lanes.observe("b", False, 0)
    assert lanes.down(0) == {"b"}
    lanes.observe("b", True, 0)
    assert lanes.down(0) == frozenset()


def test_a_lane_that_was_stopped_is_down_until_it_is_resumed() -> None:
    """However well its binds are; then it is up at once."""
    lanes = health()
    lanes.stop("a", 0)
    lanes.observe("a", True, 1)
    assert lanes.down(10_000) == {"a"}
    lanes.resume("a")
    assert lanes.down(10_000) == frozenset()


def test_the_answer_is_the_same_object_while_nothing_changes() -> None:
    """So that whoever depends on it can see by `is` that nothing has."""
    lanes = health()
    lanes.observe("a", False, 0)
    assert lanes.down(40) is lanes.down(50)


def test_a_reload_changes_the_patience() -> None:
    """Of what is failing already, too."""
    lanes = health()
    lanes.observe("a", False, 0)
    lanes.configure({"a": lane("a", down_after_s=5)})
    assert lanes.down(5) == {"a"}
