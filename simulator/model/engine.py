"""Continuous batching in virtual time: a scheduler whose steps take time.

The clock is passed in. An hour of traffic takes seconds.
"""

from __future__ import annotations

from array import array

from simulator.model.profile import Scheduling, Timing
from simulator.model.scheduler import Scheduler
from simulator.model.sequence import Sequence, Step, StepResult

__all__ = ["BatchingEngine", "Sequence", "StepResult"]


class BatchingEngine(Scheduler):
    """One engine. Not thread-safe; time never runs backwards.

    Args:
        timing: cost of steps.
        scheduling: vLLM's settings.
        lists_decoded: whether `StepResult.decoded` is wanted (a server does).
        keeps_step_times: whether `step_ends` is kept, one float a decode step.

    """

    def __init__(
        self,
        timing: Timing,
        scheduling: Scheduling,
        *,
        lists_decoded: bool = False,
        keeps_step_times: bool = False,
    ) -> None:
        super().__init__(scheduling, lists_decoded=lists_decoded)
        self.timing, self._seconds = timing, timing.seconds
        self.step_ends = array("d")
        self.slowdown = 1.0
        self.steps = 0
        self.busy_s = 0.0
        self._keeps_step_times = keeps_step_times
        self._is_async = scheduling.async_scheduling
        self._under_way = Step([])
        self._step_ends_at: float | None = None
        # With async scheduling: the step after the one under way, and how long it takes.
        self._ahead: tuple[Step, float] | None = None
        self._is_cold = timing.warm_up_s > 0

    @property
    def next_at(self) -> float | None:
        """When the step under way ends; None while idle."""
        return self._step_ends_at

    def ended(self, first: int, last: int) -> array[float]:
        """When the decode steps from `first` on and before `last` ended."""
        return self.step_ends[first:last]

    def add(self, sequence: Sequence, now: float) -> None:
        """Queue a sequence. Raises ValueError when it can never run."""
        self.queue(sequence)
        sequence.arrived_at = now
        if self._step_ends_at is None and self._is_cold:
            self._is_cold = False
            self.busy_s += self.timing.warm_up_s
            self._step_ends_at = now + self.timing.warm_up_s
        elif self._step_ends_at is None:
            self._begin_step(now)

    def advance(self) -> StepResult:
        """End the step under way and begin the next at the same instant."""
        assert self._step_ends_at is not None
        now = self._step_ends_at
        self.steps += 1
        if not self._is_async:
            self.compute(self._under_way)
        result = self._deliver(self._under_way, now)
        self._begin_step(now)
        return result

    def _begin_step(self, now: float) -> None:
        """Begin the next step; with async scheduling, decide on the one after it too."""
        begun = self._ahead or self._schedule(now)
        self._ahead = None
        if begun is None:
            self._step_ends_at = None
            return
        self._under_way, seconds = begun
        self.busy_s += seconds
        self._step_ends_at = now + seconds
        if self._is_async:
            self._ahead = self._schedule(now)

    def _schedule(self, now: float) -> tuple[Step, float] | None:
        """Decide on a step, and how long it takes; None when there is nothing to do.

        An engine that schedules ahead counts what the step will do at once, as vLLM
        does; only its outcome, and the blocks of those that end, wait for its end.
        """
        step = self.decide(now)
        if step is None:
            return None
        took = self._seconds(step.prefill_tokens, step.pairs, step.batch, step.context)
        if self._is_async:
            self.compute(step)
        return step, self.slowdown * took

    def _deliver(self, step: Step, now: float) -> StepResult:
        """Date what a step did, without those who were aborted meanwhile."""
        result = step
        result.at = now
        if step.batch and self._keeps_step_times:
            self.step_ends.append(now)
        if not (result.first or result.finished or result.decoded):
            return result
        if self._has_aborted:
            for listed in (result.first, result.decoded, result.finished):
                listed[:] = [sequence for sequence in listed if not sequence.aborted]
        for sequence in result.first:
            if sequence.first_token_at is None:
                sequence.first_token_at = now
        self.let_go(result, now)
        return result
