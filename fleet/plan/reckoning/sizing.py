"""Sessions that a replica holds, and which wall is met first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.plan.reckoning.load import Load, Replica, Talk, load
from simulator.virtual_time.users import Promise

MOST_SESSIONS = 4096
"""No engine is asked for more."""


class Wall(StrEnum):
    """What keeps a replica from more sessions."""

    DECODE = "decode"
    """Tokens come too slowly: the first 30, or all of an answer, are late."""
    PREFILL = "prefill"
    """The first token is late."""
    KV = "KV cache"
    """Histories of sessions that talk no longer fit, and are read again each turn."""
    COST = "cost"
    """A hosted model does this volume for less than the cards cost."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Sessions that a replica holds.

    Attributes:
        walls: sessions at which each wall is met.
        at: what the replica gives there.

    """

    walls: dict[Wall, int]
    at: Load | None

    @property
    def sessions(self) -> int:
        return min(self.walls.values())

    @property
    def wall(self) -> Wall:
        """The wall that is met first."""
        return min(self.walls, key=lambda wall: self.walls[wall])


def capacity(replica: Replica, talk: Talk, promise: Promise) -> Capacity:
    """Return how many sessions a replica holds within what is promised.

    Of the first 30 tokens prefill is one part and decoding the other. The wall of each is
    where it breaks the promise with the other part as one session alone has it; the lower
    of both walls is set to where both together break it.
    """
    warm = Replica(replica.step, math.inf, replica.cards, replica.overhead_s)
    alone = load(warm, talk, 1)

    def most(keeps: Callable[[Load], bool]) -> int:
        return _most(lambda sessions: keeps(load(warm, talk, sessions)))

    decode = most(lambda x: _keeps(replace(x, ttft_p95_s=alone.ttft_p95_s), promise))
    prefill = most(lambda x: _keeps(replace(alone, ttft_p95_s=x.ttft_p95_s), promise))
    both = most(lambda x: _keeps(x, promise))
    walls = {
        Wall.DECODE: both if decode <= prefill else decode,
        Wall.PREFILL: both if prefill < decode else prefill,
        Wall.KV: kv_sessions(replica.pool_tokens, talk),
    }
    sessions = min(walls.values())
    return Capacity(walls, load(replica, talk, sessions) if sessions else None)


def kv_sessions(pool_tokens: float, talk: Talk) -> int:
    """Return the sessions whose mean history, and the turn under way, stay in the pool."""
    each = talk.history + talk.tokens
    pool = max(0.0, pool_tokens)
    # Each tenant's system prompt is there once; of few sessions each has its own tenant.
    own = pool / (each + talk.system)
    if own <= talk.tenants:
        return math.floor(own)
    return math.floor((pool - talk.tenants * talk.system) / each)


def replicas(sessions: float, held: int) -> int:
    """Return the replicas that hold so many sessions; at least one."""
    if held < 1:
        raise ValueError("a replica that holds no session is no use in any number")
    # A session's share of rounding must not buy a card.
    return max(1, math.ceil(sessions / held - 1e-9))


def _keeps(seen: Load, promise: Promise) -> bool:
    return (
        _within(seen.ttft_p95_s, promise.ttft_p95_s)
        and _within(seen.first_30_p95_s, promise.first_30_p95_s)
        and _within(seen.answer_p95_s, promise.answer_p95_s)
        and _within(seen.turn_p95_s, promise.turn_p95_s)
    )


def _within(seen: float, bound: float | None) -> bool:
    return bound is None or seen <= bound


def _most(keeps: Callable[[int], bool]) -> int:
    """Return the largest number that keeps, where more keep no better than fewer."""
    low, high = 0, 1
    while high <= MOST_SESSIONS and keeps(high):
        low, high = high, 2 * high
    high = min(high, MOST_SESSIONS + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if keeps(middle):
            low = middle
        else:
            high = middle
    return low
