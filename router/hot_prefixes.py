"""Which prompt prefixes are asked for most, lately: what a new replica should know.

A prefix here is the part of a request that all turns of all sessions of a tenant
begin with: system prompt and tool definitions. It is opaque bytes to this module.
How hot one is, is its number of requests, each halved every `half_life_s`.

Exponential decay keeps the order of two prefixes that are not asked for, so it need
not be applied: `heat` is kept as the base-2 logarithm of

    sum over requests i of 2 ** (t_i / half_life)

which is compared as it stands, whatever the time, and grows with the clock instead of
overflowing. The bound holds by evicting the coldest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2


@dataclass(frozen=True, slots=True)
class HotPrefix:
    """One prefix of one cache group.

    Attributes:
        group: whose cache it lies in.
        prefix: as it was noted.
        weight: requests, decayed to the time of asking.

    """

    group: str
    prefix: bytes
    weight: float


class HotPrefixes:
    """A bounded record of prefixes per lane, hottest first when asked.

    Args:
        capacity: prefixes of one lane.
        max_bytes: of all prefixes together. One that is longer than an eighth of this
            is not kept.
        half_life_s: seconds after which a request counts half.

    """

    def __init__(self, capacity: int, max_bytes: int, half_life_s: float) -> None:
        self._capacity, self._max_bytes, self._half_life_s = capacity, max_bytes, half_life_s
        # Heat by group and prefix.
        self._lanes: dict[str, dict[tuple[str, bytes], float]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def size_bytes(self) -> int:
        """Bytes of all prefixes held."""
        return self._bytes

    def note(self, lane: str, group: str, prefix: bytes, *, now: float) -> None:
        """One request with this prefix was answered by the lane."""
        if len(prefix) > self._max_bytes // 8:
            return
        heats = self._lanes.setdefault(lane, {})
        key = (group, prefix)
        fresh = now / self._half_life_s
        heat = heats.get(key)
        if heat is not None:
            heats[key] = _add(heat, fresh)
            return
        heats[key] = fresh
        self._bytes += len(prefix)
        if len(heats) > self._capacity:
            self._evict(lane)
        while self._bytes > self._max_bytes:
            self._evict(min(self._lanes, key=self._coldest))

    def hottest(self, lane: str, count: int, *, now: float) -> list[HotPrefix]:
        """The lane's hottest prefixes, at most `count`, hottest first."""
        base = now / self._half_life_s
        heats = self._lanes.get(lane, {})
        # A clock that went back must not overflow; what is long cold weighs nothing.
        return [
            HotPrefix(*key, weight=2.0 ** max(-1000.0, min(heats[key] - base, 1000.0)))
            for key in sorted(heats, key=heats.__getitem__, reverse=True)[:count]
        ]

    def _coldest(self, lane: str) -> float:
        return min(self._lanes[lane].values(), default=inf)

    def _evict(self, lane: str) -> None:
        heats = self._lanes[lane]
        coldest = min(heats, key=heats.__getitem__)
        del heats[coldest]
        self._bytes -= len(coldest[1])

    def check_integrity(self) -> None:
        """Raise AssertionError unless bytes and bounds are as they should be."""
        held = [key for heats in self._lanes.values() for key in heats]
        assert self._bytes == sum(len(prefix) for _, prefix in held)
        assert self._bytes <= self._max_bytes
        assert all(len(heats) <= self._capacity for heats in self._lanes.values())


def merge(parts: list[list[HotPrefix]], count: int) -> list[HotPrefix]:
    """The hottest of several records together: the same prefix's weights add up.

    Args:
        parts: what several ingress replicas hold, each of its own share of traffic.
        count: how many at most.

    """
    sums: dict[tuple[str, bytes], float] = {}
    for part in parts:
        for hot in part:
            key = (hot.group, hot.prefix)
            sums[key] = sums.get(key, 0.0) + hot.weight
    ordered = sorted(sums.items(), key=lambda item: item[1], reverse=True)
    return [HotPrefix(*key, weight) for key, weight in ordered[:count]]


def _add(heat: float, other: float) -> float:
    """log2(2 ** heat + 2 ** other), without overflow."""
    high, low = max(heat, other), min(heat, other)
    return high + log2(1.0 + 2.0 ** max(low - high, -1000.0))
