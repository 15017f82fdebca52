"""An engine without contention: the same TTFT and ITL for everyone, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math

from simulator.model.engine import Sequence, StepResult
from simulator.model.profile import FixedTiming


class FixedEngine:
    """Answers as many sequences at once as are sent, each on a clock of its own.

    For measuring what stands before an engine; see `BatchingEngine` for one that
    behaves like a card. The interface is the same.
    """

    def __init__(self, timing: FixedTiming) -> None:
        self.timing = timing
        self.slowdown = 1.0
        self.preemptions = 0
        self.waiting = 0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Sequence]] = []
        self._open: set[Sequence] = set()

    @property
    def running(self) -> int:
        return len(self._open)

    @property
    def next_at(self) -> float | None:
        """When the next token is due; None while idle."""
        return self._due[0][0] if self._due else None

    def utilization(self) -> float:
        """There is no KV cache."""
        return 0.0

    def add(self, sequence: Sequence, now: float) -> None:
        sequence.number = next(self._numbers)
        sequence.arrived_at = sequence.scheduled_at = now
        self._open.add(sequence)
        due = now + self.slowdown * self.timing.ttft_s
        heapq.heappush(self._due, (due, sequence.number, sequence))

    def abort(self, sequence: Sequence) -> None:
        if sequence in self._open:
            self._open.discard(sequence)
            sequence.aborted = True

    def generated(self, sequence: Sequence) -> int:
        return sequence.generated

    def advance(self) -> StepResult:
        """Give the token that is due."""
        due, _, sequence = heapq.heappop(self._due)
        result = StepResult(due)
        if sequence.aborted:
            return result
        sequence.generated += 1
        if sequence.generated == 1:
            sequence.first_token_at = due
            result.first.append(sequence)
        else:
            result.decoded.append(sequence)
        if sequence.generated >= sequence.output_tokens:
            sequence.finished_at = due
            self._open.discard(sequence)
            result.finished.append(sequence)
        else:
            heapq.heappush(self._due, (self._following(due), sequence.number, sequence))
        return result

    def _following(self, at: float) -> float:
        """When the token after one at `at` is due."""
        gap = self.slowdown * self.timing.itl_s
        if not self.timing.in_step or gap == 0:
            return at + gap
        # A whole number of steps; rounding must not give the same step twice.
        return gap * (math.floor(at / gap + 1e-6) + 1)
