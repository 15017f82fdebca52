"""Who is in an engine's next step: vLLM's scheduler without an engine or a clock.

Sequences that only decode are counted, not visited: a step costs time in proportion
to what happens at its edges (arrivals, block boundaries, ends), not to its batch.
"""

from __future__ import annotations

import heapq
import itertools

from simulator.model.kv_cache import BlockPool, SequenceBlocks
from simulator.model.profile import Scheduling
from simulator.model.sequence import Sequence, Step, StepResult
from simulator.model.step_cost import pairs


class Scheduler:
    """The queue, the batch and the KV cache of one engine.

    Args:
        scheduling: vLLM's settings.
        lists_decoded: whether `StepResult.decoded` is wanted (a server does).

    """

    def __init__(self, scheduling: Scheduling, *, lists_decoded: bool = False) -> None:
        self.scheduling = scheduling
        self.pool = BlockPool(scheduling.num_gpu_blocks)
        self.decode_steps = 0
        self.preemptions = 0
        self._blocks = SequenceBlocks(self.pool, scheduling)
        self._lists_decoded = lists_decoded
        # Reading a setting is a look-up in a pydantic model, for each step and sequence.
        self._block_size = scheduling.block_size
        self._max_seqs = scheduling.max_num_seqs
        self._max_tokens = scheduling.max_num_batched_tokens
        self._longest_chunk = scheduling.long_prefill_token_threshold
        self._is_chunked = scheduling.enable_chunked_prefill
        self._has_aborted = False
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, Sequence]] = []
        self._gone = 0
        self._filling: dict[Sequence, None] = {}
        self._decoding: dict[Sequence, None] = {}
        # Their last token is computed, or about to be, and not delivered yet.
        self._ending: dict[Sequence, None] = {}
        self._context = 0
        # (decode step, arrival number, epoch, sequence)
        self._endings: list[tuple[int, int, int, Sequence]] = []
        self._boundaries: list[tuple[int, int, int, Sequence]] = []
        # The step being decided on.
        self._step_prefill: list[tuple[Sequence, int]] = []
        self._step_decodes = False

    @property
    def running(self) -> int:
        """Sequences in the batch (`vllm:num_requests_running`)."""
        return len(self._filling) + len(self._decoding) + len(self._ending)

    @property
    def waiting(self) -> int:
        """Sequences that wait (`vllm:num_requests_waiting`)."""
        return len(self._waiting) - self._gone

    def utilization(self) -> float:
        """Share of KV blocks in use (`vllm:kv_cache_usage_perc`)."""
        return self.pool.utilization()

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens fits into the KV cache at all."""
        return -(-tokens // self._block_size) <= self.pool.capacity

    def queue(self, sequence: Sequence) -> None:
        """Let a sequence wait. Raises ValueError when it can never run."""
        if not self.fits(sequence.prompt_tokens + sequence.output_tokens):
            raise ValueError("the sequence is longer than the KV cache")
        sequence.number = next(self._numbers)
        if self.scheduling.scheduling_policy == "fcfs":
            sequence.priority = 0
        heapq.heappush(self._waiting, (*sequence.order, sequence))

    def abort(self, sequence: Sequence) -> None:
        """Drop a sequence wherever it is; one that has finished is left alone."""
        if sequence.aborted or sequence.finished_at is not None or sequence.number < 0:
            return
        sequence.aborted = self._has_aborted = True
        if sequence in self._filling:
            del self._filling[sequence]
        elif sequence in self._decoding:
            self._leave(sequence)
        elif sequence in self._ending:
            del self._ending[sequence]
        else:
            self._gone += 1
        self._blocks.release(sequence)

    def generated(self, sequence: Sequence) -> int:
        """Tokens of its answer, those of steps that are scheduled ahead included."""
        if sequence.joined < 0:
            return sequence.generated
        return sequence.generated + self.decoded() - sequence.joined

    def decoded(self) -> int:
        """Decode steps by now."""
        return self.decode_steps

    def decide(self, now: float) -> Step | None:
        """Decide on a step; None when there is nothing to do."""
        self._step_prefill = []
        if self._is_chunked:
            self._schedule_mixed(now)
        else:
            self._schedule_prefill_first(now)
        if not self._step_decodes and not self._step_prefill:
            return None
        prefill, work = self._step_prefill, 0.0
        if prefill:
            work = sum([pairs(tokens, one.computed) for one, tokens in prefill])
        if not self._step_decodes:
            return Step(prefill, work)
        return Step(prefill, work, len(self._decoding), self._context)

    def _schedule_mixed(self, now: float) -> None:
        """Chunked prefill: everyone who decodes, then prompts with what is left."""
        preempted = self.preemptions
        boundaries = self._boundaries
        if boundaries and boundaries[0][0] <= self.decode_steps:
            self._grow_decoding()
        if not self._filling and not self._waiting:
            self._step_decodes = bool(self._decoding)
            return
        for sequence in list(self._filling):
            tokens = self._chunk(sequence, self._budget())
            if sequence not in self._filling or tokens <= 0:
                continue
            if self._make_room(sequence, tokens):
                self._step_prefill.append((sequence, tokens))
        self._step_decodes = bool(self._decoding)
        if self.preemptions != preempted:
            return
        budget = self._budget()
        while budget > 0 and self._waiting:
            admitted = self._admit()
            if admitted is None:
                return
            tokens = self._chunk(admitted, budget)
            if not self._blocks.allocate_first(admitted, tokens):
                self._put_back(admitted)
                return
            self._begin_prefill(admitted, tokens, now)
            budget -= tokens

    def _budget(self) -> int:
        """Tokens that this step may still take."""
        taken = len(self._decoding)
        if self._step_prefill:
            taken += sum([tokens for _, tokens in self._step_prefill])
        return self._max_tokens - taken

    def _make_room(self, sequence: Sequence, tokens: int) -> bool:
        """Blocks for a running sequence, others giving way; False if it had to itself."""
        while not self._blocks.allocate_for(sequence, tokens):
            victim = self._preempt_last()
            self._step_prefill = [(s, t) for s, t in self._step_prefill if s is not victim]
            if victim is sequence:
                return False
        return True

    def _schedule_prefill_first(self, now: float) -> None:
        """No chunks: whole prompts in a step of their own, while decoding stands still."""
        budget = self._max_tokens
        while True:
            sequence = self._admit()
            if sequence is None:
                break
            tokens = sequence.to_fill - sequence.computed
            is_over = tokens > budget and bool(self._step_prefill)
            if is_over or not self._blocks.allocate_for(sequence, tokens):
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
        left, bound = sequence.to_fill - sequence.computed, self._longest_chunk
        tokens = left if left < budget else budget
        return min(tokens, bound) if bound else tokens

    def _admit(self) -> Sequence | None:
        """The next that waits, with what the prefix cache holds of it."""
        while self._waiting:
            if self.running >= self._max_seqs:
                return None
            sequence = heapq.heappop(self._waiting)[2]
            if sequence.aborted:
                self._gone -= 1
                continue
            sequence.to_fill = sequence.prompt_tokens + sequence.generated
            self._blocks.take_prefix(sequence)
            self._filling[sequence] = None
            return sequence
        return None

    def _begin_prefill(self, sequence: Sequence, tokens: int, now: float) -> None:
        if sequence.scheduled_at is None:
            sequence.scheduled_at = now
        self._step_prefill.append((sequence, tokens))

    def _put_back(self, sequence: Sequence) -> None:
        del self._filling[sequence]
        self._blocks.release(sequence)
        heapq.heappush(self._waiting, (*sequence.order, sequence))

    def _join(self, sequence: Sequence) -> None:
        sequence.joined = self.decode_steps
        self._decoding[sequence] = None
        self._context += sequence.computed
        entry = (sequence.number, sequence.epoch, sequence)
        left = sequence.output_tokens - sequence.generated
        heapq.heappush(self._endings, (self.decode_steps + left, *entry))
        self._await_boundary(sequence)

    def _await_boundary(self, sequence: Sequence) -> None:
        """Note the decode step before which this sequence needs another block."""
        room = (sequence.keyed + sequence.unkeyed) * self._block_size - sequence.computed
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
        boundaries, now = self._boundaries, self.decode_steps
        next_block, size = self._blocks.next_block, self._block_size
        while boundaries and boundaries[0][0] <= now:
            due, number, epoch, sequence = boundaries[0]
            if sequence.epoch != epoch:
                heapq.heappop(boundaries)
                continue
            if next_block(sequence):
                heapq.heapreplace(boundaries, (due + size, number, epoch, sequence))
                continue
            heapq.heappop(boundaries)
            self._count(sequence)
            if self._make_room(sequence, 1):
                self._await_boundary(sequence)

    def _count(self, sequence: Sequence) -> None:
        """Bring a decoding sequence's counts up to date."""
        took = self.decode_steps - sequence.joined
        if not took:
            return
        segments, first = sequence.segments, sequence.joined
        if segments and segments[-1][1] == first:
            first = segments.pop()[0]
        segments.append((first, self.decode_steps))
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
        self._blocks.release(sequence)
        sequence.preemptions += 1
        self.preemptions += 1
        heapq.heappush(self._waiting, (*sequence.order, sequence))
        return sequence

    def compute(self, step: Step) -> None:
        """Count the tokens that a step computes."""
        if step.batch:
            self._count_decode(step)
        for sequence, tokens in step.prefill:
            if sequence in self._filling:
                self._count_prefill(sequence, tokens, step)

    def _count_decode(self, result: StepResult) -> None:
        self.decode_steps += 1
        self._context += len(self._decoding)
        if self._lists_decoded:
            result.decoded = list(self._decoding)
        ends = self._endings
        while ends and ends[0][0] <= self.decode_steps:
            _, _, epoch, sequence = heapq.heappop(ends)
            if sequence.epoch == epoch:
                self._leave(sequence)
                self._complete(sequence, result)

    def _count_prefill(self, sequence: Sequence, tokens: int, result: StepResult) -> None:
        sequence.computed += tokens
        self._blocks.seal_full(sequence)
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
        self._blocks.seal_full(sequence)
        self._ending[sequence] = None
        result.finished.append(sequence)

    def let_go(self, result: StepResult, now: float) -> None:
        """Give back the blocks of those whose last token is delivered."""
        for sequence in result.finished:
            del self._ending[sequence]
            self._blocks.release(sequence)
            sequence.finished_at = now
