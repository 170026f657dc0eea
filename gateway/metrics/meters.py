"""What a lane counts of itself, over all its slots and for as long as the process lives."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.metrics.count import Histogram, Line
from gateway.metrics.table import METRICS
from gateway.model import TrafficClass


def histogram(name: str) -> Histogram:
    """Make the histogram of a row of the table."""
    return Histogram(METRICS[name].bounds)


class LaneMeter:
    """Read by `collect.py`; whoever does something for the lane adds to it, once a batch."""

    def __init__(self, classes: Iterable[TrafficClass]) -> None:
        self.written = 0
        """Parts."""
        self.throttled = 0
        """Parts that were refused as too many for the lane, whatever the code."""
        self.binds = 0
        """How often a slot came up."""
        self.ledgers_lost = 0
        """Queues of which the store knew nothing any more, at a takeover or later."""
        self.round_trip = histogram("recado_provider_round_trip_seconds")
        self.waited = {class_: histogram("recado_queue_wait_seconds") for class_ in classes}
        self.paced = {class_: histogram("recado_pace_seconds") for class_ in classes}

    def line(self, class_: TrafficClass) -> Line:
        """Make the line in which parts of a queue of this class wait for their turn."""
        return Line(self.waited[class_], self.paced[class_])
