"""Whether intake takes more jobs, where the configuration says how far behind a lane may be. Pure."""

from __future__ import annotations

import logging
from collections.abc import Mapping

log = logging.getLogger("gateway.brake")


class Brake:
    """Holds intake from the moment in which more than `most` messages wait for a lane until it is half of that.

    `most` 0 never holds. Jobs wait in their topic then, all of them: it cannot be seen from outside which lane a job is for.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.lane = ""
        """The lane that intake waits for; empty while it takes jobs."""

    def observe(self, behind: Mapping[str, int]) -> None:
        """Note how many messages wait for each lane, in all processes. A lane that nobody speaks of is not waited for."""
        if not self.most:
            return
        if self.lane and behind.get(self.lane, 0) > self.most // 2:
            return
        lane = max(behind, key=behind.__getitem__, default="")
        lane = lane if lane and behind[lane] > self.most else ""
        if lane:
            log.warning("intake takes no jobs until a lane has caught up lane=%s waiting=%d", lane, behind[lane])
        elif self.lane:
            log.warning("intake takes jobs again")
        self.lane = lane
