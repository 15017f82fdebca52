"""How many requests a replay may have in a lane: what paying traffic leaves, and no more.

Priority alone does not keep a replay out of the way. vLLM orders its *waiting* queue by
priority, but a running sequence shares every step with the others and keeps its KV blocks. So a
replay also bounds itself by what the lane has free, as `/status` tells it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KEPT_FREE = 0.5
"""Share of a lane's slots that a replay leaves free, so that a burst of paying requests finds
room before the next look (a choice; `make bench-replay` shows what it costs)."""

MOST_KV = 0.7
"""KV utilisation from which a replay begins nothing: cached prefixes of users would go."""


@dataclass(frozen=True, slots=True)
class LaneUse:
    """A lane as it is now.

    Attributes:
        running, waiting: requests in its engines and its queue, the replay's own among them.
        slots: sequences that it runs at once, over all replicas; None: not known.
        kv: part of the KV cache that is in use, of its fullest replica.
        is_burning: an objective of the lane burns its error budget.

    """

    running: float
    waiting: float
    slots: int | None
    kv: float = 0.0
    is_burning: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """How many requests may be open; `why` is told where it is none."""

    requests: int
    why: str = ""


def room_in(use: LaneUse, own: int, most: int) -> Room:
    """Return how many requests a replay may have open in a lane, of which it has `own`."""
    if use.is_burning:
        return Room(0, "an objective of the lane burns its error budget")
    if use.waiting > 0:
        return Room(0, "requests wait")
    if use.kv >= MOST_KV:
        return Room(0, f"{use.kv:.0%} of the KV cache is in use")
    others = max(0.0, use.running - own)
    if use.slots is None:
        # Nobody says how many fit: one at a time, and only while nobody else is there.
        return Room(0, "others are served, and /status names no slots") if others else Room(1)
    free = math.floor((1 - KEPT_FREE) * use.slots - others)
    return Room(min(most, free)) if free > 0 else Room(0, "the lane is half full")
