"""What a pool is, and what waits and runs in its lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Expected = Callable[[str, float], float]
"""Requests a second that are expected of a lane at a time, on the clock of `now`."""


def nothing_expected(_lane: str, _at: float) -> float:
    """No forecast: nothing is woken ahead of its first request."""
    return 0.0


class Phase(StrEnum):
    """Where a lane of a pool is in its life.

    Attributes:
        AWAKE: its engine serves.
        CLOSING: it serves what it has, and takes nothing new.
        FALLING: its engine was told to sleep, or to end.
        ASLEEP: its weights are in host memory (vLLM's level 1); its KV cache is gone.
        UNLOADED: its engine has ended; there is only the replica.
        WAKING: its engine was told to wake, or to load.

    """

    AWAKE = "awake"
    CLOSING = "closing"
    FALLING = "falling"
    ASLEEP = "asleep"
    UNLOADED = "unloaded"
    WAKING = "waking"


RESTING = frozenset({Phase.ASLEEP, Phase.UNLOADED})
"""Phases in which a lane has no card."""
LEAVING = frozenset({Phase.CLOSING, Phase.FALLING})

WAKE_WITHIN_S = 60.0
"""An engine that has not woken from host memory in this time never will, and it holds its card:
the weights of a large model are back in 3 to 6 s."""


class Act(StrEnum):
    """What a lane's replica is told to do."""

    WAKE = "wake"
    SLEEP = "sleep"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do now; whoever does it says how it went (`SwapPool.woken`, `rested`, ...)."""

    lane: str
    act: Act


@dataclass(frozen=True, slots=True)
class PoolBounds:
    """The settings of a pool.

    Attributes:
        gpus: its cards; on each of them one lane is awake at most. Lanes without cards
            (CPU, simulated) are counted only: so many of them are awake.
        dwell_s: how long a lane that has work stays awake at least, before it gives way to
            requests of a stronger tier; never less than waking it took.
        idle_s: how long a lane must have had nothing to do before it gives way to any request.
        wait_bound_s: the longest that a request waits for its lane to wake. Lanes give way in
            time for that, whoever is served there; a request that is late all the same is
            refused.

    """

    gpus: int = 1
    dwell_s: float = 15.0
    idle_s: float = 2.0
    wait_bound_s: float = 60.0


@dataclass(frozen=True, slots=True)
class PooledLane:
    """A lane of a pool.

    Attributes:
        is_pinned: it is woken at once and never sleeps.
        can_sleep: its engine can keep its weights in host memory; else it is unloaded.

    """

    name: str
    is_pinned: bool = False
    can_sleep: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """What one lane is asked for.

    Attributes:
        waiting: by priority, since when the oldest request of it waits; of one whose own bound
            is shorter than the pool's, so much earlier.
        running: by priority, how many requests were let through and have not ended.

    """

    waiting: Mapping[int, float] = field(default_factory=dict)
    running: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def oldest(self) -> float:
        """Since when the oldest waits; of a lane for which one does."""
        return min(self.waiting.values())

    @property
    def strongest(self) -> int:
        """The best priority of what waits and runs, smaller is better; of one with work."""
        return min([*self.waiting, *self.running])


NO_DEMAND = Demand()


def merged(demands: Iterable[Demand]) -> Demand:
    """Bring together what several ingress replicas have of one lane."""
    waiting: dict[int, float] = {}
    running: dict[int, int] = {}
    for demand in demands:
        for priority, since in demand.waiting.items():
            waiting[priority] = min(since, waiting.get(priority, since))
        for priority, count in demand.running.items():
            running[priority] = running.get(priority, 0) + count
    return Demand(waiting, running)
