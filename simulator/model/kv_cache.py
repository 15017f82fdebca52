"""The KV cache as blocks: shared prefixes, LRU eviction, exhaustion.

As vLLM's block pool: a full block is known by a key that stands for its tokens and
all before them; blocks nobody holds stay until their room is needed, oldest first.
One simplification: two sequences that compute the same block at the same time end
up sharing one copy, where vLLM keeps both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


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
