"""The KV cache as blocks: shared prefixes, LRU eviction, exhaustion.

As vLLM's block pool: a full block is known by a key that stands for its tokens and
all before them; blocks nobody holds stay until their room is needed, oldest first.
One simplification: two sequences that compute the same block at the same time end
up sharing one copy, where vLLM keeps both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from simulator.model.profile import Scheduling
from simulator.model.sequence import Sequence


class BlockPool:
    """Counts blocks; holds no contents.

    Args:
        capacity: blocks in all.

    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evictions = 0
        self._unkeyed = 0
        self._held: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def in_use(self) -> int:
        """Blocks that a sequence holds."""
        return self._unkeyed + len(self._held)

    @property
    def cached(self) -> int:
        """Blocks kept for their contents that nobody holds."""
        return len(self._idle)

    def utilization(self) -> float:
        """Share of blocks in use, 0 to 1 (`vllm:kv_cache_usage_perc`)."""
        return self.in_use / self.capacity

    def match(self, keys: Iterable[int]) -> list[int]:
        """The longest run of leading keys whose blocks are here."""
        held, idle, found = self._held, self._idle, []
        for key in keys:
            if key not in idle and key not in held:
                break
            found.append(key)
        return found

    def hold(self, keys: Iterable[int]) -> None:
        """Take blocks that `match` found."""
        held, idle = self._held, self._idle
        for key in keys:
            if key in idle:
                del idle[key]
                held[key] = 1
            else:
                held[key] += 1

    def allocate(self, count: int) -> bool:
        """Take `count` new blocks, evicting idle ones; False, and nothing taken, if full."""
        if self.capacity - self.in_use < count:
            return False
        for _ in range(count - (self.capacity - self.in_use - len(self._idle))):
            self._idle.popitem(last=False)
            self.evictions += 1
        self._unkeyed += count
        return True

    def seal(self, key: int) -> None:
        """A new block is full: from now on it is found under `key`."""
        self._unkeyed -= 1
        count = self._held.get(key, 0)
        if not count:
            self._idle.pop(key, None)
        self._held[key] = count + 1

    def release(self, keys: list[int], unkeyed: int) -> None:
        """Give back a sequence's blocks; the end of a prefix is evicted before its start."""
        self._unkeyed -= unkeyed
        held, idle = self._held, self._idle
        for key in reversed(keys):
            count = held[key]
            if count == 1:
                del held[key]
                idle[key] = None
            else:
                held[key] = count - 1


class SequenceBlocks:
    """The blocks that each sequence holds of a pool."""

    def __init__(self, pool: BlockPool, scheduling: Scheduling) -> None:
        self._pool = pool
        self._scheduling = scheduling

    def take_prefix(self, sequence: Sequence) -> None:
        """Begin a sequence with what the prefix cache holds of it."""
        size = self._scheduling.block_size
        sequence.computed = 0
        if not self._scheduling.enable_prefix_caching:
            return
        # The last token is always computed: its output is the next token.
        full = (sequence.to_fill - 1) // size
        keys = self._pool.match(map(sequence.block_key, range(full)))
        self._pool.hold(keys)
        sequence.held_keys = keys
        sequence.computed = len(keys) * size
        if not sequence.generated:
            sequence.cached_tokens = sequence.computed

    def allocate_first(self, sequence: Sequence, tokens: int) -> bool:
        """As `allocate_for`, for a prompt's first tokens: vLLM may ask that all of it fits."""
        if self._scheduling.scheduler_reserve_full_isl:
            blocks = -(-sequence.to_fill // self._scheduling.block_size) - len(sequence.held_keys)
            if blocks > self._pool.capacity - self._pool.in_use:
                return False
        return self.allocate_for(sequence, tokens)

    def allocate_for(self, sequence: Sequence, tokens: int) -> bool:
        """Blocks for so many more tokens; False, and nothing taken, where there are too few."""
        size = self._scheduling.block_size
        held = len(sequence.held_keys) + sequence.unkeyed
        wanted = -(-(sequence.computed + tokens) // size) - held
        if wanted > 0:
            if not self._pool.allocate(wanted):
                return False
            sequence.unkeyed += wanted
        return True

    def seal_full(self, sequence: Sequence) -> None:
        """Give every block that is full by now its key."""
        if not self._scheduling.enable_prefix_caching:
            return
        full = sequence.computed // self._scheduling.block_size
        for index in range(len(sequence.held_keys), full):
            key = sequence.block_key(index)
            self._pool.seal(key)
            sequence.held_keys.append(key)
            sequence.unkeyed -= 1

    def release(self, sequence: Sequence) -> None:
        """Give everything back; what is computed counts no more."""
        self._pool.release(sequence.held_keys, sequence.unkeyed)
        sequence.held_keys, sequence.unkeyed = [], 0
        sequence.computed = 0
