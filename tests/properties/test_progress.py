"""The committed offset never passes an unfinished message, and reaches the end when all are done, in any order."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.progress import Progress


class ProgressMachine(RuleBasedStateMachine):
    """Batches with gaps begin, any of what is open is done, against sets that say the same slowly."""

    @initialize(start=st.integers(0, 2**62))
    def make(self, start):
        self.progress = Progress(start)
        self.start = self.next = start
        self.began: set[int] = set()
        self.open: set[int] = set()

    @rule(gaps=st.lists(st.integers(0, 3), max_size=30))
    def begin(self, gaps):
        batch = []
        for gap in gaps:
            batch.append(self.next + gap)
            self.next += gap + 1
        self.progress.begin(batch)
        self.began.update(batch)
        self.open.update(batch)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish_some(self, data):
        done = data.draw(st.lists(st.sampled_from(sorted(self.open)), unique=True, max_size=20))
        self.progress.done_many(done)
        self.open.difference_update(done)

    @rule(data=st.data())
    def finish_all(self, data):
        self.progress.done_many(data.draw(st.permutations(sorted(self.open))))
        self.open.clear()
        assert self.progress.position == self.next

    @precondition(lambda self: self.began - self.open)
    @rule(data=st.data())
    def finish_again(self, data):
        offset = data.draw(st.sampled_from(sorted(self.began - self.open)))
        with pytest.raises(ValueError, match="not open"):
            self.progress.done(offset)

    @invariant()
    def commits_what_is_done_and_no_more(self):
        if hasattr(self, "progress"):
            assert self.progress.position == min(self.open, default=self.next)
            assert self.progress.pending == len(self.open)


TestProgress = ProgressMachine.TestCase
