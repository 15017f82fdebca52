"""How full a lane's engines are, in four levels with hysteresis.

Read from what waits in the engines and from KV utilization, the two that foretell
preemption and a slow first token. GPU utilization is not among them: a card that decodes
one sequence shows 100 %.

A level is entered as soon as one signal is at its threshold, and left, one level at a time,
after `cooldown_s` in which every signal was under `leave_ratio` of the level's. Without
observations nothing is known against the lane: the level falls in the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

STALE_S = 5.0
"""Age from which the last observation says nothing."""


class Level(IntEnum):
    """What the lane asks of sheddable work. Each level includes those below it."""

    NORMAL = 0
    HOLD = 1
    """It waits."""
    SHED = 2
    """It is refused, and so is what waits."""
    EVICT = 3
    """What runs is ended, unless its first token was sent."""


HIGHEST_FIRST = (Level.EVICT, Level.SHED, Level.HOLD)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Of a level: either signal at its threshold is enough.

    Attributes:
        waiting: requests that wait in an engine, mean over the lane's replicas.
        kv_utilization: 0 to 1, the fullest replica's; over 1: never.

    """

    waiting: float = field(metadata={"gt": 0})
    kv_utilization: float = field(metadata={"gt": 0})

    def are_reached(self, waiting: float, kv_utilization: float, ratio: float = 1.0) -> bool:
        """Return whether a signal is at `ratio` of its threshold."""
        return waiting >= ratio * self.waiting or kv_utilization >= ratio * self.kv_utilization


@dataclass(frozen=True)
class SaturationConfig:
    """The thresholds of the three levels. `metadata` bounds what a file may say.

    A request or two in an engine's queue are its scheduler at work. vLLM preempts when
    it is out of blocks, so everything should be over before that.
    """

    hold: Thresholds = Thresholds(2.0, 0.90)
    shed: Thresholds = Thresholds(6.0, 0.95)
    evict: Thresholds = Thresholds(12.0, 0.98)
    leave_ratio: float = field(default=0.85, metadata={"gt": 0, "le": 1})
    cooldown_s: float = field(default=3.0, metadata={"ge": 0})

    def __post_init__(self) -> None:
        by_level = (self.hold, self.shed, self.evict)
        for signal in ("waiting", "kv_utilization"):
            values = [getattr(thresholds, signal) for thresholds in by_level]
            if values[0] <= 0 or values != sorted(values):
                raise ValueError(f"the thresholds of {signal} must be positive and not fall")
        if not 0 < self.leave_ratio <= 1:
            raise ValueError("leave_ratio must lie in (0, 1]")

    def thresholds(self, level: Level) -> Thresholds:
        return (self.hold, self.shed, self.evict)[level - 1]


class Saturation:
    """The level of one lane."""

    def __init__(self, config: SaturationConfig = SaturationConfig()) -> None:
        self.config = config
        self._level = Level.NORMAL
        # Since when every signal has been under the level's thresholds; None: one is not.
        self._calm_since: float | None = None
        self._seen_at = float("-inf")

    def observe(self, waiting: float, kv_utilization: float, *, now: float) -> Level:
        """Take a lane's load, every second or so, and return its level."""
        config = self.config
        self._seen_at = now
        entered = Level.NORMAL
        for level in HIGHEST_FIRST:
            if config.thresholds(level).are_reached(waiting, kv_utilization):
                entered = level
                break
        if entered >= self._level:
            self._level, self._calm_since = entered, None
            return self._level
        thresholds = config.thresholds(self._level)
        if thresholds.are_reached(waiting, kv_utilization, config.leave_ratio):
            self._calm_since = None
            return self._level
        return self._calm_down(now)

    def level(self, *, now: float) -> Level:
        """Return the level; it falls while observations are missing."""
        if self._level and now - self._seen_at > STALE_S:
            return self._calm_down(now)
        return self._level

    def _calm_down(self, now: float) -> Level:
        if self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= self.config.cooldown_s:
            self._level = Level(self._level - 1)
            self._calm_since = now if self._level else None
        return self._level
