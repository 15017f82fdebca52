"""How many requests a replay may have in a lane, and how long it rests: what is spare, no more.

Priority alone does not keep a replay out of the way. vLLM orders its *waiting* queue by
priority, but a running sequence shares every step with the others: its prompt, read in large
chunks, holds up all of their tokens. `make bench-replay` has the figures: four replayed requests
at a time make the paid p99 of whole answers longer by 20 to 30 %, of the lowest priority as they
are, in a lane that is mostly empty. What helps is to be there seldom:

- nothing is begun while requests wait, while an objective burns, or where the lane is half full;
- while others are served there is one request at a time, and after each the replay rests nine
  times as long as it took: at most every tenth moment has a replayed request in it;
- a lane in which nobody was seen for a minute is the replay's, as far as it is asked to go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KEPT_FREE = 0.5
"""Share of a lane's slots that a replay leaves free (a choice)."""

MOST_KV = 0.7
"""KV utilization from which a replay begins nothing: cached prefixes of users would go."""

REST = 9.0
"""Times as long as a request took that the replay rests after it, while others are served."""

QUIET_S = 60.0
"""A lane is quiet when nobody was seen in it for so long."""


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

    def others(self, own: int) -> float:
        """Return the requests that run and are not the replay's."""
        return max(0.0, self.running - own)


@dataclass(frozen=True, slots=True)
class Room:
    """How many requests may be open; `why` is told where it is none."""

    requests: int
    why: str = ""


def room_in(use: LaneUse, own: int, most: int, *, quiet_s: float) -> Room:
    """Return how many requests a replay may have open in a lane.

    Args:
        use: the lane when it was looked at.
        own: the replay's requests in it at that moment.
        most: that the replay was asked for, in a lane that is quiet.
        quiet_s: for how long nobody else was seen there.

    """
    if use.is_burning:
        return Room(0, "an objective of the lane burns its error budget")
    if use.waiting > 0:
        return Room(0, "requests wait")
    if use.kv >= MOST_KV:
        return Room(0, f"{use.kv:.0%} of the KV cache is in use")
    if use.slots is None:
        return Room(1)
    free = math.floor((1 - KEPT_FREE) * use.slots - use.others(own))
    if free <= 0:
        return Room(0, "the lane is half full")
    return Room(min(most, free) if quiet_s >= QUIET_S else 1)


def rest_s(took_s: float, *, quiet_s: float) -> float:
    """Return how long to begin nothing in a lane after a request that took so long."""
    return 0.0 if quiet_s >= QUIET_S else REST * took_s
