"""Continuous batching in virtual time: the scheduler's loop without an engine.

The clock is passed in. A step costs time in proportion to what happens at its
edges (arrivals, block boundaries, ends), not to its batch: sequences that only
decode are counted, not visited, so an hour of traffic takes seconds.
"""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.model.kv_cache import BlockPool
from simulator.model.profile import Scheduling, Timing
from simulator.model.step_cost import pairs


class Sequence:
    """One sequence: a prompt and the number of tokens it will answer with.

    Args:
        prompt_tokens: length of the prompt, at least 1.
        output_tokens: tokens it will generate, at least 1.
        block_key: the key of its n-th full block (prompt and answer alike); called
            when that block is full or looked for, in ascending order.
        priority: lower runs first, as in vLLM.

    """

    __slots__ = (
        "aborted",
        "arrived_at",
        "block_key",
        "cached_tokens",
        "computed",
        "epoch",
        "finished_at",
        "first_token_at",
        "generated",
        "held_keys",
        "joined",
        "number",
        "output_tokens",
        "preemptions",
        "priority",
        "prompt_tokens",
        "scheduled_at",
        "segments",
        "to_fill",
        "unkeyed",
    )

    def __init__(
        self,
        prompt_tokens: int,
        output_tokens: int,
        block_key: Callable[[int], int],
        priority: int = 0,
    ) -> None:
        if prompt_tokens < 1 or output_tokens < 1:
            raise ValueError("a sequence has at least one token each way")
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.block_key = block_key
        self.priority = priority
        self.number = -1
        self.arrived_at = 0.0
        self.scheduled_at: float | None = None
        self.first_token_at: float | None = None
        self.finished_at: float | None = None
        self.aborted = False
        self.cached_tokens = 0
        self.preemptions = 0
        # Tokens generated up to the last time it joined or left the decoding batch.
        self.generated = 0
        # Decode step (of the engine) at which it joined; -1: not decoding.
        self.joined = -1
        # Decode steps it took part in: [first, last), one pair each time it joined.
        self.segments: list[tuple[int, int]] = []
        self.computed = 0
        self.to_fill = prompt_tokens
        self.held_keys: list[int] = []
        self.unkeyed = 0
        # Rises when it leaves the batch: what heaps hold of it before is stale.
        self.epoch = 0

    @property
    def order(self) -> tuple[int, int]:
        """Who goes first: by priority, then by arrival."""
        return (self.priority, self.number)


@dataclass(slots=True)
class StepResult:
    """What one step did.

    Attributes:
        at: when it ended.
        first: sequences whose prefill ended: each has one new token.
        decoded: sequences that decoded one token each (filled only on request).
        finished: sequences that are done; they are in `first` or `decoded` too.

    """

    at: float
    first: list[Sequence] = field(default_factory=list)
    decoded: list[Sequence] = field(default_factory=list)
    finished: list[Sequence] = field(default_factory=list)


@dataclass(slots=True)
class _Step:
    """A step that was decided on: prefills with their tokens, whether it decodes too."""

    prefill: list[tuple[Sequence, int]]
    decodes: bool
    seconds: float
    result: StepResult = field(default_factory=lambda: StepResult(0.0))


class BatchingEngine:
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
        self.timing = timing
        self.scheduling = scheduling
        self.pool = BlockPool(scheduling.num_gpu_blocks)
        self.step_ends = array("d")
        self.slowdown = 1.0
        self.steps = 0
        self.decode_steps = 0
        self.preemptions = 0
        self.busy_s = 0.0
        self._lists_decoded = lists_decoded
        self._keeps_step_times = keeps_step_times
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, Sequence]] = []
        self._gone = 0
        self._filling: dict[Sequence, None] = {}
        self._decoding: dict[Sequence, None] = {}
        self._context = 0
        # (decode step, arrival number, epoch, sequence)
        self._ends: list[tuple[int, int, int, Sequence]] = []
        self._boundaries: list[tuple[int, int, int, Sequence]] = []
        # Their last token is computed, or about to be, and not delivered yet.
        self._ending: dict[Sequence, None] = {}
        self._under_way = _Step([], False, 0.0)
        self._ahead: _Step | None = None
        self._step_ends_at: float | None = None
        # The step being decided on.
        self._step_prefill: list[tuple[Sequence, int]] = []
        self._step_decodes = False
        self._is_cold = timing.warm_up_s > 0

    # -- what is asked of it ---------------------------------------------------

    @property
    def running(self) -> int:
        """Sequences in the batch (`vllm:num_requests_running`)."""
        return len(self._filling) + len(self._decoding) + len(self._ending)

    @property
    def waiting(self) -> int:
        """Sequences that wait (`vllm:num_requests_waiting`)."""
        return len(self._waiting) - self._gone

    @property
    def next_at(self) -> float | None:
        """When the step under way ends; None while idle."""
        return self._step_ends_at

    def utilization(self) -> float:
        """Share of KV blocks in use (`vllm:kv_cache_usage_perc`)."""
        return self.pool.utilization()

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens fits into the KV cache at all."""
        size = self.scheduling.block_size
        return -(-tokens // size) <= self.pool.capacity

    def add(self, sequence: Sequence, now: float) -> None:
        """Queue a sequence. Raises ValueError when it can never run."""
        if not self.fits(sequence.prompt_tokens + sequence.output_tokens):
            raise ValueError("the sequence is longer than the KV cache")
        sequence.number = next(self._numbers)
        sequence.arrived_at = now
        if self.scheduling.scheduling_policy == "fcfs":
            sequence.priority = 0
        heapq.heappush(self._waiting, (*sequence.order, sequence))
        if self._step_ends_at is None and self._is_cold:
            self._is_cold = False
            self._run(_Step([], False, self.timing.warm_up_s), now)
        elif self._step_ends_at is None:
            self._begin_step(now)

    def abort(self, sequence: Sequence) -> None:
        """Drop a sequence wherever it is; one that has finished is left alone."""
        if sequence.aborted or sequence.finished_at is not None or sequence.number < 0:
            return
        sequence.aborted = True
        if sequence in self._filling:
            del self._filling[sequence]
        elif sequence in self._decoding:
            self._leave(sequence)
        elif sequence in self._ending:
            del self._ending[sequence]
        else:
            self._gone += 1
        self._release(sequence)

    def generated(self, sequence: Sequence) -> int:
        """Tokens of its answer, those of steps that are scheduled ahead included."""
        if sequence.joined < 0:
            return sequence.generated
        return sequence.generated + self.decode_steps - sequence.joined

    # -- steps -----------------------------------------------------------------

    def advance(self) -> StepResult:
        """End the step under way and begin the next at the same instant."""
        assert self._step_ends_at is not None
        now = self._step_ends_at
        self.steps += 1
        if not self.scheduling.async_scheduling:
            self._compute(self._under_way)
        result = self._deliver(self._under_way, now)
        self._begin_step(now)
        return result

    def _begin_step(self, now: float) -> None:
        """Begin the next step; with async scheduling, decide on the one after it too."""
        step = self._ahead or self._schedule(now)
        self._ahead = None
        if step is None:
            self._step_ends_at = None
            return
        self._run(step, now)
        if self.scheduling.async_scheduling:
            self._ahead = self._schedule(now)

    def _run(self, step: _Step, now: float) -> None:
        self._under_way = step
        self.busy_s += step.seconds
        self._step_ends_at = now + step.seconds

    def _schedule(self, now: float) -> _Step | None:
        """Decide on a step; None when there is nothing to do.

        An engine that schedules ahead counts what the step will do at once, as vLLM
        does; only its outcome, and the blocks of those that end, wait for its end.
        """
        self._step_prefill = []
        if self.scheduling.enable_chunked_prefill:
            self._schedule_mixed(now)
        else:
            self._schedule_prefill_first(now)
        if not self._step_decodes and not self._step_prefill:
            return None
        step = _Step(self._step_prefill, self._step_decodes, self._step_seconds())
        if self.scheduling.async_scheduling:
            self._compute(step)
        return step

    def _step_seconds(self) -> float:
        batch = len(self._decoding) if self._step_decodes else 0
        tokens = sum(tokens for _, tokens in self._step_prefill)
        work = sum(pairs(tokens, one.computed) for one, tokens in self._step_prefill)
        context = self._context if batch else 0
        return self.slowdown * self.timing.seconds(tokens, work, batch, context)

    def _compute(self, step: _Step) -> None:
        """Count the tokens that a step computes."""
        if step.decodes:
            self._count_decode(step.result)
        for sequence, tokens in step.prefill:
            if sequence in self._filling:
                self._count_prefill(sequence, tokens, step.result)

    def _count_decode(self, result: StepResult) -> None:
        self.decode_steps += 1
        self._context += len(self._decoding)
        if self._lists_decoded:
            result.decoded = list(self._decoding)
        ends = self._ends
        while ends and ends[0][0] <= self.decode_steps:
            _, _, epoch, sequence = heapq.heappop(ends)
            if sequence.epoch == epoch:
                self._leave(sequence)
                self._complete(sequence, result)

    def _count_prefill(self, sequence: Sequence, tokens: int, result: StepResult) -> None:
        sequence.computed += tokens
        self._seal_full(sequence)
        if sequence.computed < sequence.to_fill:
            return
        del self._filling[sequence]
        sequence.generated += 1
        result.first.append(sequence)
        if sequence.generated >= sequence.output_tokens:
            self._complete(sequence, result)
        else:
            self._join(sequence)

    def _complete(self, sequence: Sequence, result: StepResult) -> None:
        self._seal_full(sequence)
        self._ending[sequence] = None
        result.finished.append(sequence)

    def _deliver(self, step: _Step, now: float) -> StepResult:
        """Date what a step did, without those who were aborted meanwhile."""
        result = step.result
        result.at = now
        if step.decodes and self._keeps_step_times:
            self.step_ends.append(now)
        for listed in (result.first, result.decoded, result.finished):
            listed[:] = [sequence for sequence in listed if not sequence.aborted]
        for sequence in result.first:
            if sequence.first_token_at is None:
                sequence.first_token_at = now
        for sequence in result.finished:
            del self._ending[sequence]
            self._release(sequence)
            sequence.finished_at = now
        return result

    # -- scheduling --------------------------------------------------------------

    def _schedule_mixed(self, now: float) -> None:
        """Chunked prefill: everyone who decodes, then prompts with what is left."""
        preempted = self.preemptions
        self._grow_decoding()
        for sequence in list(self._filling):
            tokens = self._chunk(sequence, self._budget())
            if sequence not in self._filling or tokens <= 0:
                continue
            if self._make_room(sequence, tokens):
                self._step_prefill.append((sequence, tokens))
        self._step_decodes = bool(self._decoding)
        while self.preemptions == preempted and self._budget() > 0:
            admitted = self._admit()
            if admitted is None:
                return
            tokens = self._chunk(admitted, self._budget())
            if not self._has_room(admitted) or not self._allocate_for(admitted, tokens):
                self._put_back(admitted)
                return
            self._begin_prefill(admitted, tokens, now)

    def _budget(self) -> int:
        """Tokens that this step may still take."""
        prefill = sum(tokens for _, tokens in self._step_prefill)
        return self.scheduling.max_num_batched_tokens - len(self._decoding) - prefill

    def _make_room(self, sequence: Sequence, tokens: int) -> bool:
        """Blocks for a running sequence, others giving way; False if it had to itself."""
        while not self._allocate_for(sequence, tokens):
            victim = self._preempt_last()
            self._step_prefill = [(s, t) for s, t in self._step_prefill if s is not victim]
            if victim is sequence:
                return False
        return True

    def _schedule_prefill_first(self, now: float) -> None:
        """No chunks: whole prompts in a step of their own, while decoding stands still."""
        budget = self.scheduling.max_num_batched_tokens
        while True:
            sequence = self._admit()
            if sequence is None:
                break
            tokens = sequence.to_fill - sequence.computed
            is_over = tokens > budget and bool(self._step_prefill)
            if is_over or not self._allocate_for(sequence, tokens):
                self._put_back(sequence)
                break
            self._begin_prefill(sequence, tokens, now)
            budget -= tokens
        if self._step_prefill:
            self._step_decodes = False
            return
        self._grow_decoding()
        self._step_decodes = bool(self._decoding)

    def _chunk(self, sequence: Sequence, budget: int) -> int:
        tokens = min(sequence.to_fill - sequence.computed, budget)
        bound = self.scheduling.long_prefill_token_threshold
        return min(tokens, bound) if bound else tokens

    def _admit(self) -> Sequence | None:
        """The next that waits, with what the prefix cache holds of it."""
        while self._waiting:
            if self.running >= self.scheduling.max_num_seqs:
                return None
            sequence = heapq.heappop(self._waiting)[2]
            if sequence.aborted:
                self._gone -= 1
                continue
            sequence.to_fill = sequence.prompt_tokens + sequence.generated
            self._take_prefix(sequence)
            self._filling[sequence] = None
            return sequence
        return None

    def _begin_prefill(self, sequence: Sequence, tokens: int, now: float) -> None:
        if sequence.scheduled_at is None:
            sequence.scheduled_at = now
        self._step_prefill.append((sequence, tokens))

    def _put_back(self, sequence: Sequence) -> None:
        del self._filling[sequence]
        self._release(sequence)
        heapq.heappush(self._waiting, (*sequence.order, sequence))

    def _take_prefix(self, sequence: Sequence) -> None:
        size = self.scheduling.block_size
        sequence.computed = 0
        if not self.scheduling.enable_prefix_caching:
            return
        # The last token is always computed: its output is the next token.
        full = (sequence.to_fill - 1) // size
        keys = self.pool.match(map(sequence.block_key, range(full)))
        self.pool.hold(keys)
        sequence.held_keys = keys
        sequence.computed = len(keys) * size
        if not sequence.generated:
            sequence.cached_tokens = sequence.computed

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether the whole prompt fits now, where vLLM asks for that before the first chunk."""
        if not self.scheduling.scheduler_reserve_full_isl:
            return True
        blocks = -(-sequence.to_fill // self.scheduling.block_size)
        return blocks - len(sequence.held_keys) <= self.pool.capacity - self.pool.in_use

    def _allocate_for(self, sequence: Sequence, tokens: int) -> bool:
        size = self.scheduling.block_size
        held = len(sequence.held_keys) + sequence.unkeyed
        wanted = -(-(sequence.computed + tokens) // size) - held
        if wanted > 0:
            if not self.pool.allocate(wanted):
                return False
            sequence.unkeyed += wanted
        return True

    def _seal_full(self, sequence: Sequence) -> None:
        """Give every block that is full by now its key."""
        if not self.scheduling.enable_prefix_caching:
            return
        full = sequence.computed // self.scheduling.block_size
        for index in range(len(sequence.held_keys), full):
            key = sequence.block_key(index)
            self.pool.seal(key)
            sequence.held_keys.append(key)
            sequence.unkeyed -= 1

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.held_keys, sequence.unkeyed)
        sequence.held_keys, sequence.unkeyed = [], 0
        sequence.computed = 0

    # -- the decoding batch --------------------------------------------------------

    def _join(self, sequence: Sequence) -> None:
        sequence.joined = self.decode_steps
        self._decoding[sequence] = None
        self._context += sequence.computed
        entry = (sequence.number, sequence.epoch, sequence)
        left = sequence.output_tokens - sequence.generated
        heapq.heappush(self._ends, (self.decode_steps + left, *entry))
        self._await_boundary(sequence)

    def _await_boundary(self, sequence: Sequence) -> None:
        """Note the decode step before which this sequence needs another block."""
        size = self.scheduling.block_size
        room = (len(sequence.held_keys) + sequence.unkeyed) * size - sequence.computed
        due = sequence.joined + room
        heapq.heappush(self._boundaries, (due, sequence.number, sequence.epoch, sequence))

    def _leave(self, sequence: Sequence) -> None:
        del self._decoding[sequence]
        self._count(sequence)
        self._context -= sequence.computed
        sequence.joined = -1
        sequence.epoch += 1

    def _grow_decoding(self) -> None:
        """A block for everyone whose last one is full; others give way where there is none."""
        boundaries = self._boundaries
        while boundaries and boundaries[0][0] <= self.decode_steps:
            _, _, epoch, sequence = heapq.heappop(boundaries)
            if sequence.epoch != epoch:
                continue
            self._count(sequence)
            self._seal_full(sequence)
            if self._make_room(sequence, 1):
                self._await_boundary(sequence)

    def _count(self, sequence: Sequence) -> None:
        """Bring a decoding sequence's counts up to date."""
        took = self.decode_steps - sequence.joined
        if took:
            sequence.segments.append((sequence.joined, self.decode_steps))
        sequence.generated += took
        sequence.computed += took
        sequence.joined = self.decode_steps

    def _preempt_last(self) -> Sequence:
        """Send the last in order back to the queue; its KV is computed again (as vLLM)."""
        sequence = max([*self._decoding, *self._filling], key=lambda s: s.order)
        if sequence in self._decoding:
            self._leave(sequence)
        else:
            del self._filling[sequence]
        self._release(sequence)
        sequence.preemptions += 1
        self.preemptions += 1
        heapq.heappush(self._waiting, (*sequence.order, sequence))
        return sequence
