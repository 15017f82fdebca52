"""An engine that takes the steps nobody can see the end of in one stride.

While sequences only decode and nobody waits, every step costs what the one before it cost and
one more token of context a sequence. When the next sequence ends is known then, and so is when
each step until there ends. These steps are reckoned at once and taken when somebody looks, adds
or aborts: all that can be seen is what `BatchingEngine` shows step by step, to the last bit.

Two bounds keep that so. A stride ends before the step that ends a sequence, and before the KV
cache could be full: then sequences give way to each other, and the batch changes.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from simulator.model.engine import BatchingEngine
from simulator.model.profile import Scheduling, Timing
from simulator.model.sequence import Sequence, StepResult

SHORTEST, LONGEST = 16, 128
"""Steps of a stride. Of one that is broken off what is left was reckoned in vain: the next one is
no longer than twice what was taken."""

KEPT_STEP_ENDS = 1 << 16


class StridingEngine(BatchingEngine):
    """One engine, for those who want no word of single steps (`lists_decoded` is not offered).

    `step_ends` begins with the oldest step that a sequence took part in which is still here.

    Args:
        clock: the time, by which `utilization`, `generated` and `abort` look and act.

    """

    def __init__(
        self,
        timing: Timing,
        scheduling: Scheduling,
        clock: Callable[[], float],
        *,
        keeps_step_times: bool = False,
    ) -> None:
        super().__init__(timing, scheduling, keeps_step_times=keeps_step_times)
        self._dropped = 0
        self._clock = clock
        # Of a stride: when each of its steps ends, that under way first, and when the one after
        # them does; what the steps cost that it begins; how many of its steps were taken.
        self._ends: list[float] = []
        self._costs: list[float] = []
        self._taken = 0
        self._reach = SHORTEST

    @property
    def next_at(self) -> float | None:
        """When the next step ends that may show something; None while idle."""
        return self._ends[-1] if self._ends else self._step_ends_at

    def ended(self, first: int, last: int) -> array[float]:
        """When the decode steps from `first` on and before `last` ended."""
        return self.step_ends[first - self._dropped : last - self._dropped]

    def add(self, sequence: Sequence, now: float) -> None:
        """Queue a sequence. Raises ValueError when it can never run."""
        self._halt(now)
        super().add(sequence, now)

    def abort(self, sequence: Sequence) -> None:
        """Drop a sequence wherever it is; the next step to await may be an earlier one then."""
        self._halt(self._clock())
        super().abort(sequence)

    def utilization(self) -> float:
        """Share of KV blocks in use, now."""
        self.catch_up(self._clock())
        return super().utilization()

    def decoded(self) -> int:
        """Decode steps by now, of the stride those that have ended."""
        if not self._ends:
            return self.decode_steps
        return self.decode_steps + self._passed(self._clock()) - self._taken

    def advance(self) -> StepResult:
        """End the step that `next_at` tells of, and all before it."""
        if self._ends:
            self._take(len(self._ends) - 1)
            self._ends = []
            self._reach = min(LONGEST, 2 * self._reach)
        if len(self.step_ends) > KEPT_STEP_ENDS:
            self._drop_ends()
        result = super().advance()
        self._stride()
        return result

    def catch_up(self, now: float) -> None:
        """Take the steps of the stride that have ended by now."""
        if self._ends:
            self._take(self._passed(now))

    def _passed(self, now: float) -> int:
        """Return how many steps of the stride have ended by now."""
        ends, taken = self._ends, self._taken
        if ends[taken] > now:
            return taken
        passed, last = bisect_right(ends, now, taken), len(ends) - 1
        return passed if passed < last else last

    def _halt(self, now: float) -> None:
        self.catch_up(now)
        if self._ends:
            self._ends = []
            self._reach = min(LONGEST, max(SHORTEST, 2 * self._taken))

    def _stride(self) -> None:
        """Reckon the steps ahead, if there are at least two that show nothing."""
        steps = self._quiet_steps()
        if steps < 2:
            return
        steps = steps if steps < self._reach else self._reach
        assert self._step_ends_at is not None
        batch, context = len(self._decoding), self._context
        if self._ahead is None:
            # A step is decided on once the one before it has been counted.
            contexts = range(context + batch, context + batch * steps + 1, batch)
            costs = self.timing.decoding_s(batch, contexts)
        else:
            contexts = range(context, context + batch * (steps - 1) + 1, batch)
            costs = [self._ahead[1], *self.timing.decoding_s(batch, contexts)]
        if self.slowdown != 1.0:
            first = 0 if self._ahead is None else 1
            costs[first:] = [self.slowdown * cost for cost in costs[first:]]
        self._costs, self._taken = costs, 0
        self._ends = list(accumulate(costs[:steps], initial=self._step_ends_at))

    def _quiet_steps(self) -> int:
        """Return how many steps from the one under way on only decode, and end no sequence."""
        batch, under_way, ahead = len(self._decoding), self._under_way, self._ahead
        if not batch or self._filling or self._ending or under_way.prefill or not under_way.batch:
            return 0
        if ahead is not None and (ahead[0].prefill or not ahead[0].batch):
            return 0
        if self.waiting and self.running < self._max_seqs:
            return 0
        ends = self._endings
        while ends[0][3].epoch != ends[0][2]:
            heapq.heappop(ends)
        room = ((self.pool.capacity - self.pool.in_use) // batch - 2) * self._block_size
        left = ends[0][0] - self.decode_steps - 1
        return left if left < room else room

    def _take(self, until: int) -> None:
        """Take the stride's steps up to, and without, its `until`-th."""
        count, self._taken = until - self._taken, until
        if not count:
            return
        batch, ends = len(self._decoding), self._ends
        is_ahead = self._ahead is not None
        steps = self.decode_steps + count
        if self._boundaries and self._boundaries[0][0] <= steps - is_ahead:
            self._grow_until(steps - is_ahead)
        self.decode_steps = steps
        self._context += batch * count
        self.steps += count
        self.busy_s = sum(self._costs[until - count : until], self.busy_s)
        if self._keeps_step_times:
            self.step_ends.extend(ends[until - count : until])
        self._step_ends_at = ends[until]
        # Both only decode, and show nothing: another one's figures are all that tells them apart.
        under_way = self._under_way
        under_way.batch, under_way.context = batch, self._context
        if self._ahead is not None:
            ahead = self._ahead[0]
            ahead.batch, ahead.context = batch, self._context
            self._ahead = ahead, self._costs[until]

    def _grow_until(self, step: int) -> None:
        """Give sequences the blocks that they need up to a decode step, each at its own."""
        boundaries, size = self._boundaries, self._block_size
        next_block = self._blocks.next_block
        while boundaries and boundaries[0][0] <= step:
            due, number, epoch, sequence = boundaries[0]
            if sequence.epoch != epoch:
                heapq.heappop(boundaries)
            elif next_block(sequence):
                heapq.heapreplace(boundaries, (due + size, number, epoch, sequence))
            else:
                steps = self.decode_steps
                self.decode_steps = due if due > steps else steps
                self._grow_decoding()

    def _drop_ends(self) -> None:
        """Forget when steps ended in which no sequence that is here took part."""
        here = [*self._decoding, *self._filling, *self._ending, *(x[2] for x in self._waiting)]
        firsts = [x.segments[0][0] if x.segments else x.joined for x in here]
        oldest = min((first for first in firsts if first >= 0), default=self.decode_steps)
        dropped = max(0, min(oldest - self._dropped, len(self.step_ends)))
        del self.step_ends[:dropped]
        self._dropped += dropped
