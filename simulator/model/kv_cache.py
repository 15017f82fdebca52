"""The KV cache as blocks: shared prefixes, LRU eviction, exhaustion.

As vLLM's block pool: a full block is known by a key that stands for its tokens and
all before them; blocks nobody holds stay until their room is needed, oldest first.
One simplification: two sequences that compute the same block at the same time end
up sharing one copy, where vLLM keeps both.

Blocks are counted by runs, not one by one: a system prompt is a run, and what a session has
said is another. Of a run, a sequence holds the first so many blocks; those that the longest
holder has not are idle, and the last of them are evicted before the first.
"""

from __future__ import annotations

from collections import OrderedDict

from simulator.model.profile import Scheduling
from simulator.model.sequence import HeldRun, Sequence


class _Idle:
    """Blocks `low` to `high` (that one left out) of a run, which became idle together."""

    __slots__ = ("high", "low", "run")

    def __init__(self, run: Run, low: int, high: int) -> None:
        self.run, self.low, self.high = run, low, high


class Run:
    """Blocks that are here of one run: from its first on, without a gap.

    Attributes:
        held: blocks of the longest holder; the rest is idle.
        holders: by how many blocks they hold, how many sequences.
        idle: oldest first, which is the end of the run.

    """

    __slots__ = ("held", "holders", "idle", "key")

    def __init__(self, key: int) -> None:
        self.key, self.held = key, 0
        self.holders: dict[int, int] = {}
        self.idle: list[_Idle] = []

    @property
    def blocks(self) -> int:
        return self.idle[0].high if self.idle else self.held


class BlockPool:
    """Counts blocks; holds no contents.

    Attributes:
        capacity: blocks in all.
        in_use: blocks that a sequence holds.
        cached: blocks kept for their contents that nobody holds.

    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evictions = self.in_use = self.cached = 0
        self._runs: dict[int, Run] = {}
        self._idle: OrderedDict[_Idle, None] = OrderedDict()

    def utilization(self) -> float:
        """Share of blocks in use, 0 to 1 (`vllm:kv_cache_usage_perc`)."""
        return self.in_use / self.capacity

    def find(self, key: int) -> Run | None:
        """Return what is here of a run; None: nothing."""
        return self._runs.get(key)

    def hold(self, run: Run, blocks: int) -> None:
        """Take the first blocks of what `find` found."""
        run.holders[blocks] = run.holders.get(blocks, 0) + 1
        if blocks > run.held:
            self.in_use += blocks - run.held
            self._wake(run, blocks)
            run.held = blocks

    def allocate(self, count: int) -> bool:
        """Take `count` new blocks, evicting idle ones; False, and nothing taken, if full."""
        free = self.capacity - self.in_use
        if free < count:
            return False
        self.in_use += count
        if count > free - self.cached:
            self._evict(count - (free - self.cached))
        return True

    def seal(self, key: int, known: int, blocks: int) -> Run:
        """Find new blocks, which are full, under a run's key from now on.

        `known` blocks of the run their sequence held before, and `blocks` it holds now.
        """
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = Run(key)
        holders, held = run.holders, run.held
        if known:
            left = holders[known] - 1
            if left:
                holders[known] = left
            else:
                del holders[known]
        holders[blocks] = holders.get(blocks, 0) + 1
        # Those that another sequence has are shared from now on.
        if blocks <= held:
            self.in_use -= blocks - known
            return run
        self.in_use -= held - known
        if run.idle:
            self._wake(run, blocks)
        run.held = blocks
        return run

    def lengthen(self, run: Run, known: int) -> bool:
        """As `seal`, for one block that follows the `known` ones of a run's only holder.

        False, and nothing done, where others hold the run or some of it is idle.
        """
        holders = run.holders
        if run.idle or len(holders) > 1 or holders.get(known) != 1:
            return False
        del holders[known]
        holders[known + 1] = 1
        run.held = known + 1
        return True

    def release(self, held: list[HeldRun], unkeyed: int) -> None:
        """Give back a sequence's blocks; the end of a prefix is evicted before its start."""
        self.in_use -= unkeyed
        for run, blocks, _ in reversed(held):
            holders = run.holders
            if holders[blocks] > 1:
                holders[blocks] -= 1
                continue
            del holders[blocks]
            if blocks < run.held:
                continue
            left = max(holders) if holders else 0
            part = _Idle(run, left, blocks)
            run.idle.append(part)
            self._idle[part] = None
            self.cached += blocks - left
            self.in_use -= blocks - left
            run.held = left

    def _wake(self, run: Run, blocks: int) -> None:
        """Have so many blocks of a run be idle no more."""
        idle = run.idle
        while idle and idle[-1].low < blocks:
            part = idle[-1]
            upto = min(part.high, blocks)
            self.cached -= upto - part.low
            part.low = upto
            if upto == part.high:
                idle.pop()
                del self._idle[part]

    def _evict(self, count: int) -> None:
        self.evictions += count
        self.cached -= count
        while count:
            part = next(iter(self._idle))
            left = part.high - part.low
            if left > count:
                part.high -= count
                return
            part.high = part.low
            count -= left
            self._forget(part)

    def _forget(self, part: _Idle) -> None:
        del self._idle[part]
        run = part.run
        run.idle.pop(0)
        if not run.held and not run.idle:
            del self._runs[run.key]


class SequenceBlocks:
    """The blocks that each sequence holds of a pool."""

    def __init__(self, pool: BlockPool, scheduling: Scheduling) -> None:
        self._pool = pool
        self._size = scheduling.block_size
        self._is_caching = scheduling.enable_prefix_caching
        self._reserves_all = scheduling.scheduler_reserve_full_isl

    def take_prefix(self, sequence: Sequence) -> None:
        """Begin a sequence with what the prefix cache holds of it."""
        sequence.computed = 0
        if not self._is_caching:
            return
        pool = self._pool
        # The last token is always computed: its output is the next token.
        at, full = 0, (sequence.to_fill - 1) // self._size
        while at < full:
            key, end = sequence.run_at(at)
            run = pool.find(key)
            if run is None:
                break
            last = (end if end < full else full) - at
            blocks = run.blocks
            blocks = blocks if blocks < last else last
            pool.hold(run, blocks)
            sequence.held.append((run, blocks, end))
            at += blocks
            if at < end:
                break
        sequence.keyed = at
        sequence.computed = at * self._size
        if not sequence.generated:
            sequence.cached_tokens = sequence.computed

    def allocate_first(self, sequence: Sequence, tokens: int) -> bool:
        """As `allocate_for`, for a prompt's first tokens: vLLM may ask that all of it fits."""
        if self._reserves_all:
            blocks = -(-sequence.to_fill // self._size) - sequence.keyed
            if blocks > self._pool.capacity - self._pool.in_use:
                return False
        return self.allocate_for(sequence, tokens)

    def allocate_for(self, sequence: Sequence, tokens: int) -> bool:
        """Blocks for so many more tokens; False, and nothing taken, where there are too few."""
        held = sequence.keyed + sequence.unkeyed
        wanted = -(-(sequence.computed + tokens) // self._size) - held
        if wanted > 0:
            if not self._pool.allocate(wanted):
                return False
            sequence.unkeyed += wanted
        return True

    def seal_full(self, sequence: Sequence) -> None:
        """Give every block that is full by now its key."""
        self._seal(sequence, sequence.computed // self._size)

    def _seal(self, sequence: Sequence, full: int) -> None:
        at = sequence.keyed
        if at >= full or not self._is_caching:
            return
        sequence.unkeyed -= full - at
        sequence.keyed = full
        held = sequence.held
        seal = self._pool.seal
        if held and held[-1][2] > at:
            run, known, end = held[-1]
            upto = min(end, full)
            blocks = known + upto - at
            held[-1] = (seal(run.key, known, blocks), blocks, end)
            at = upto
        while at < full:
            key, end = sequence.run_at(at)
            upto = min(end, full)
            held.append((seal(key, 0, upto - at), upto - at, end))
            at = upto

    def next_block(self, sequence: Sequence) -> bool:
        """Take another block for a sequence whose blocks are all full; False: there is none."""
        held, pool = sequence.held, self._pool
        if sequence.unkeyed == 1 and held and held[-1][2] > sequence.keyed:
            # Nearly always: an answer grows by a block that nobody else has.
            run, known, end = held[-1]
            if not pool.lengthen(run, known):
                run = pool.seal(run.key, known, known + 1)
            held[-1] = (run, known + 1, end)
            sequence.keyed += 1
            sequence.unkeyed = 0
        else:
            self._seal(sequence, sequence.keyed + sequence.unkeyed)
        if not pool.allocate(1):
            return False
        sequence.unkeyed += 1
        return True

    def read(self, sequence: Sequence, blocks: int) -> int:
        """Read so many blocks at once and let go of them: the prefix cache has them from now on.

        Returns how many of them it had before. Without room for all only those stay.
        """
        self.take_prefix(sequence)
        found = sequence.keyed
        if self.allocate_for(sequence, (blocks - found) * self._size):
            sequence.computed = blocks * self._size
            self.seal_full(sequence)
        self.release(sequence)
        return found

    def release(self, sequence: Sequence) -> None:
        """Give everything back; what is computed counts no more."""
        self._pool.release(sequence.held, sequence.unkeyed)
        sequence.held = []
        sequence.keyed = sequence.unkeyed = 0
        sequence.computed = 0
