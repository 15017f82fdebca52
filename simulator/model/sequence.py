"""A sequence in an engine, the steps that compute it, and what those give."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.model.kv_cache import Run

HeldRun = tuple["Run", int, int]
"""A run of blocks, how many of its first ones a sequence holds, and the block after its last."""

ENDLESS = 1 << 62


class KeyRuns:
    """Keys of blocks that go by runs: within one, each key is the one before it plus one.

    Sequences that share a run share it from its first block on, so it is known by that one's key.

    Args:
        runs: (the block after its last, what is added to a block's index), ascending.

    """

    __slots__ = ("_runs",)

    def __init__(self, *runs: tuple[int, int]) -> None:
        self._runs = runs

    def run_at(self, index: int) -> tuple[int, int]:
        """Return the key of a block that begins a run, and the block after the run's last."""
        end, base = self._runs[bisect_right(self._runs, (index, math.inf))]
        return base + index, end

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield each run: its key, how many blocks it has, and the block after its last."""
        at = 0
        for end, base in self._runs:
            if at < end:
                yield base + at, end - at, end
                at = end

    def __call__(self, index: int) -> int:
        return self.run_at(index)[0]


class Sequence:
    """One sequence: a prompt and the number of tokens it will answer with.

    Args:
        prompt_tokens: length of the prompt, at least 1.
        output_tokens: tokens it will generate, at least 1.
        block_key: the key of its n-th full block (prompt and answer alike); called
            when that block is full or looked for, in ascending order. `KeyRuns` is asked once a
            run; of any other function each block is a run of its own.
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
        "held",
        "joined",
        "keyed",
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
        # Blocks that it holds: full ones by their runs, how many those are, and the others.
        self.held: list[HeldRun] = []
        self.keyed = self.unkeyed = 0
        # Rises when it leaves the batch: what heaps hold of it before is stale.
        self.epoch = 0

    def run_at(self, index: int) -> tuple[int, int]:
        """Return the key of the run that begins with a block, and the block after its last."""
        key = self.block_key
        return key.run_at(index) if isinstance(key, KeyRuns) else (key(index), index + 1)

    @property
    def order(self) -> tuple[int, int]:
        """Who goes first: by priority, then by arrival."""
        return (self.priority, self.number)


class StepResult:
    """What one step did.

    Attributes:
        at: when it ended.
        first: sequences whose prefill ended: each has one new token.
        decoded: sequences that decoded one token each (filled only on request).
        finished: sequences that are done; they are in `first` or `decoded` too.

    """

    __slots__ = ("at", "decoded", "finished", "first")

    def __init__(self, at: float = 0.0) -> None:
        self.at = at
        self.first: list[Sequence] = []
        self.decoded: list[Sequence] = []
        self.finished: list[Sequence] = []


class Step(StepResult):
    """A step that was decided on, and what it gives once it is counted.

    Attributes:
        prefill: sequences that it prefills, with the tokens of each.
        prefill_tokens: of all of them.
        pairs: what their attention looks at (`step_cost.pairs`).
        batch: sequences that decode.
        context: tokens that those hold.

    """

    __slots__ = ("batch", "context", "pairs", "prefill", "prefill_tokens")

    def __init__(
        self,
        prefill: list[tuple[Sequence, int]],
        pairs: float = 0.0,
        batch: int = 0,
        context: int = 0,
    ) -> None:
        # As the base class, without a call.
        self.at = 0.0
        self.first, self.decoded, self.finished = [], [], []
        self.prefill, self.pairs = prefill, pairs
        self.prefill_tokens = sum([tokens for _, tokens in prefill]) if prefill else 0
        self.batch, self.context = batch, context
