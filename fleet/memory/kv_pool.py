"""How vLLM 0.29 deals a card's KV pool out: blocks that layers of several kinds share.

Layers of one kind form groups of equally many layers, and every block has room for one group:
so many layers, each with one page. A conversation takes blocks for each group: by its length
where a layer keeps everything, by the window where it forgets, one where it keeps a state.
After `vllm.v1.core.kv_cache_utils` (grouping, unified pages) and `vllm.v1.kv_cache_interface`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK_TOKENS = 16
"""vLLM's own on CUDA; models with states get larger ones, so that a state fits a page."""
FEW_MORE = 1.5
"""Kinds whose counts differ by less are padded to the larger one."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers of one kind on one card.

    Attributes:
        token_bytes: of one token in one layer.
        window: tokens that the layer looks back; None: all.
        state_bytes: of one conversation in one layer; `token_bytes` is 0 then.

    """

    count: int
    token_bytes: float
    window: int | None = None
    state_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Groups:
    """The groups of one kind: how many, and tokens of one page; 0: it holds a state."""

    count: int
    tokens: int
    window: int | None


@dataclass(frozen=True, slots=True)
class KvLayout:
    """What one block takes on a card, and how many a conversation needs."""

    block_bytes: float
    groups: tuple[_Groups, ...]

    def blocks(self, tokens: int, in_flight: int = 0, states: int = 1) -> int:
        """Blocks of a conversation of so many tokens.

        Args:
            tokens: its length.
            in_flight: tokens that are read at once and not yet forgotten; while an answer is
                written, none to speak of.
            states: kept of one conversation; two with prefix caching.

        """
        found = 0
        for group in self.groups:
            if not group.tokens:
                found += group.count * states
                continue
            needed = math.ceil(tokens / group.tokens)
            if group.window is not None:
                kept = min(tokens, group.window - 1 + max(in_flight, 1))
                # A window need not begin where a block does.
                needed = min(needed, math.ceil(kept / group.tokens) + 1)
            found += group.count * needed
        return found


def layout_of(kinds: Sequence[Layers]) -> KvLayout:
    """Group the layers of a model as vLLM does."""
    page = _page(kinds)
    counts = [kind.count for kind in kinds]
    fewest, most = min(counts), max(counts)
    size = most if most < FEW_MORE * fewest else fewest
    groups = tuple(
        _Groups(math.ceil(kind.count / size), _tokens(kind, page), kind.window) for kind in kinds
    )
    return KvLayout(block_bytes=size * page, groups=groups)


def _page(kinds: Sequence[Layers]) -> float:
    """Bytes of one layer's page: of the widest kind, and large enough for a state."""
    widest = max(kind.token_bytes for kind in kinds)
    state = max(kind.state_bytes for kind in kinds)
    if not widest:
        return state
    return widest * BLOCK_TOKENS * max(1, math.ceil(state / (widest * BLOCK_TOKENS)))


def _tokens(kind: Layers, page: float) -> int:
    if not kind.token_bytes:
        return 0
    # Pages that do not divide evenly are padded instead.
    times, rest = divmod(page, kind.token_bytes * BLOCK_TOKENS)
    return BLOCK_TOKENS if rest else int(times) * BLOCK_TOKENS
