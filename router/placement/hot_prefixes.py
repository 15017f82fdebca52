"""Which prompt prefixes are asked for most, lately: what a new replica should know.

A prefix here is the part of a request that all turns of all sessions of a tenant
begin with: system prompt and tool definitions. It is opaque bytes to this module. One
that changes from turn to turn (a clock in it) is one prefix by its key, of which the
newest copy is kept. A prefix is as hot as its number of requests, each halved every
`half_life_s`.

Exponential decay keeps the order of two prefixes that are not asked for, so it need
not be applied: `heat` is kept as the base-2 logarithm of

    sum over requests i of 2 ** (t_i / half_life)

which is compared as it stands, whatever the time, and grows with the clock instead of
overflowing. The bound holds by evicting the coldest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log2


@dataclass(frozen=True, slots=True)
class HotPrefix:
    """One prefix of one cache group.

    Attributes:
        prefix: as it was noted last, `age_s` seconds ago.
        weight: requests, decayed to the time of asking.
        key: what makes it the same one; empty: the prefix itself.

    """

    group: str
    prefix: bytes
    weight: float
    key: bytes = b""
    age_s: float = 0.0


@dataclass(slots=True)
class _Noted:
    prefix: bytes
    key: bytes
    heat: float
    at: float


class HotPrefixes:
    """A record of at most `capacity` prefixes of each lane, `max_bytes` of all together.

    A prefix that is longer than an eighth of `max_bytes` is not kept. `held_bytes` are those of
    all that are.
    """

    def __init__(self, capacity: int, max_bytes: int, half_life_s: float) -> None:
        self._capacity, self._max_bytes, self._half_life_s = capacity, max_bytes, half_life_s
        # By group and key.
        self._lanes: dict[str, dict[tuple[str, bytes], _Noted]] = {}
        self.held_bytes = 0

    def note(self, lane: str, group: str, prefix: bytes, *, now: float, key: bytes = b"") -> None:
        """Count a request with this prefix that the lane has answered.

        `key` is what copies of it have in common; empty: it has no other copies.
        """
        if len(prefix) > self._max_bytes // 8:
            return
        noted = self._lanes.setdefault(lane, {})
        fresh = now / self._half_life_s
        one = noted.setdefault((group, key or prefix), _Noted(b"", key, -inf, now))
        self.held_bytes += len(prefix) - len(one.prefix)
        one.prefix, one.at, one.heat = prefix, now, _add(one.heat, fresh)
        if len(noted) > self._capacity:
            self._evict(lane)
        while self.held_bytes > self._max_bytes:
            self._evict(min(self._lanes, key=self._coldest))

    def hottest(self, lane: str, count: int, *, now: float) -> list[HotPrefix]:
        base = now / self._half_life_s
        noted = self._lanes.get(lane, {})
        ordered = sorted(noted.items(), key=lambda item: item[1].heat, reverse=True)
        # A clock that went back must not overflow; what is long cold weighs nothing.
        return [
            HotPrefix(
                group,
                one.prefix,
                weight=2.0 ** max(-1000.0, min(one.heat - base, 1000.0)),
                key=one.key,
                age_s=max(0.0, now - one.at),
            )
            for (group, _), one in ordered[:count]
        ]

    def _coldest(self, lane: str) -> float:
        return min((one.heat for one in self._lanes[lane].values()), default=inf)

    def _evict(self, lane: str) -> None:
        noted = self._lanes[lane]
        coldest = min(noted, key=lambda key: noted[key].heat)
        self.held_bytes -= len(noted.pop(coldest).prefix)


def merge(parts: list[list[HotPrefix]], count: int) -> list[HotPrefix]:
    """Return the `count` hottest of what several ingress replicas hold.

    Weights of the same prefix add up: each counted its own share of the traffic.
    """
    sums: dict[tuple[str, bytes], HotPrefix] = {}
    for hot in (hot for part in parts for hot in part):
        identity = hot.group, hot.key or hot.prefix
        other = sums.get(identity, replace(hot, weight=0.0))
        newest = min(hot, other, key=lambda copy: copy.age_s)
        sums[identity] = replace(newest, weight=other.weight + hot.weight)
    return sorted(sums.values(), key=lambda hot: hot.weight, reverse=True)[:count]


def _add(heat: float, other: float) -> float:
    """Return log2(2 ** heat + 2 ** other), without overflow."""
    high, low = max(heat, other), min(heat, other)
    return high + log2(1.0 + 2.0 ** max(low - high, -1000.0))
