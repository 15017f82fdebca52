"""The threshold over which a given share of recent scores lies.

Each ingress replica keeps its last scores in a ring, with a weight each, and so
knows the exact weighted quantiles of what it saw. Two other sources count beside
the ring:

- **peers**: a replica sends the top of its distribution (`tail`) to the others.
  What a replica uses is its own ring and the latest tail of each live peer. No tail
  contains another's, so nothing is counted twice.
- **the shipped quantiles**: before traffic was seen, thresholds are those that
  were measured offline. They count as pseudo-observations which leave as the
  ring fills, so thresholds move smoothly from shipped to observed and none of the
  prior is left when the ring is full.

Only the top is summed up (`tail_share` of the weight): no threshold for a larger
share is ever asked for. The sums are made anew every few dozen additions, which
keeps the amortized cost of one score at a few microseconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf, isfinite
from operator import neg
from typing import Any

Shipped = Callable[[float], float]
"""A share in (0, 1] to the threshold over which that share of scores lies."""


@dataclass(frozen=True, slots=True)
class QuantileConfig:
    """How much is remembered.

    Attributes:
        window: pairs in the ring. At a share of 3 % this is 61 scores over the threshold:
            13 % of noise on the share, which feedback takes out, and a new mix is learned
            within 2,048 requests.
        refresh_every: additions between two sums over the tail, which cost 50 us alone and
            200 us with three peers. At most `window`.
        tail_share: part of the weight, from the top, in which thresholds lie.
        prior_weight: pseudo-observations that the shipped quantiles count as: overruled
            after a few hundred requests.
        peer_ttl_s: age at which a peer's tail is dropped. Peers send every second or two: a
            replica is dead after many misses.

    """

    window: int = 2048
    refresh_every: int = 64
    tail_share: float = 0.15
    prior_weight: float = 500.0
    peer_ttl_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Tail:
    """The top of a distribution of this `weight`: (score, weight) pairs, highest score first."""

    weight: float
    pairs: tuple[tuple[float, float], ...]

    def to_plain(self) -> dict[str, Any]:
        return {"weight": self.weight, "pairs": [list(pair) for pair in self.pairs]}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Tail:
        """Parse what `to_plain` made; ValueError when a number makes no sense."""
        pairs = tuple((float(score), float(weight)) for score, weight in plain["pairs"])
        weight = float(plain["weight"])
        if not all(isfinite(score) and 0 <= part < inf for score, part in (*pairs, (0.0, weight))):
            raise ValueError("scores must be finite, weights finite and not negative")
        return cls(weight, tuple(sorted(pairs, reverse=True)))


KNOWN_THRESHOLDS = 16
"""Thresholds kept until the next refresh: a decision and its count ask for the same ones."""


class QuantileWindow:
    """Weighted quantiles of the last scores here and at the peers.

    `tail` is this replica's own part, as of the last refresh.
    """

    def __init__(self, shipped: Shipped, config: QuantileConfig) -> None:
        self._shipped = shipped
        self._config = config
        # (score, number, weight), oldest first; the number makes each one unique.
        self._ring: deque[tuple[float, int, float]] = deque()
        # The same entries by score.
        self._sorted: list[tuple[float, int, float]] = []
        self._number = 0
        # A running sum: its rounding stays under 1e-9 over years of requests.
        self._total = 0.0
        self.refresh()

    def add(self, score: float, weight: float) -> None:
        self._number += 1
        entry = (score, self._number, weight)
        self._total += weight
        self._ring.append(entry)
        insort(self._sorted, entry)
        if len(self._ring) > self._config.window:
            oldest = self._ring.popleft()
            self._total -= oldest[2]
            del self._sorted[bisect_left(self._sorted, oldest)]

    def refresh(self, peers: Sequence[Tail] = ()) -> None:
        """Sum up anew what thresholds are read from: the own scores and each live peer's tail."""
        self.tail = self._sum_own()
        tails = [self.tail, *peers]
        pairs: list[tuple[float, float]] = [pair for tail in tails for pair in tail.pairs]
        if peers:
            pairs.sort(reverse=True)
        self._scores = [score for score, _ in pairs]
        self._reached = list(accumulate([weight for _, weight in pairs]))
        self._weight = sum(tail.weight for tail in tails)
        self._known: dict[float, float] = {}
        filled = max(len(self._ring), self._weight) / self._config.window
        self._prior = self._config.prior_weight * max(0.0, 1 - filled)

    def threshold(self, share: float) -> float:
        """Return the score that `share` of the weight reaches; infinite for no share."""
        known = self._known.get(share)
        if known is None:
            if len(self._known) >= KNOWN_THRESHOLDS:
                self._known.clear()
            known = self._threshold(min(share, 1.0)) if share > 0 else inf
            self._known[share] = known
        return known

    def _threshold(self, share: float) -> float:
        if not self._scores:
            return self._shipped(share)
        index = bisect_left(self._reached, share * self._weight)
        observed = self._scores[min(index, len(self._scores) - 1)]
        if not self._prior:
            return observed
        prior = self._prior / (self._prior + self._weight)
        return prior * self._shipped(share) + (1 - prior) * observed

    def share(self, threshold: float) -> float:
        """Return the share of the weight that reaches a score, as far as the tail shows it."""
        reached = bisect_right(self._scores, -threshold, key=neg)
        return self._reached[reached - 1] / self._weight if reached else 0.0

    def _sum_own(self) -> Tail:
        pairs, left = [], self._config.tail_share * self._total
        for score, _, part in reversed(self._sorted):
            if left <= 0:
                break
            pairs.append((score, part))
            left -= part
        return Tail(self._total, tuple(pairs))


class RecentTraffic:
    """The last `size` scored requests here: which tenant sent them, to which lane they went."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring: deque[tuple[str, str | None]] = deque()
        self._tenants: Counter[str] = Counter()
        self.lanes: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, tenant: str, lane: str | None) -> None:
        """Count a request; `lane` is None when it stayed where it was."""
        self._ring.append((tenant, lane))
        self._tenants[tenant] += 1
        self.lanes[lane] += 1
        if len(self._ring) > self._size:
            tenant, lane = self._ring.popleft()
            self.lanes[lane] -= 1
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]

    def weight(self, tenant: str, least: float) -> float:
        """Return what a score of `tenant` weighs, in (0, 1].

        A tenant's requests count as at most `least` of the traffic, or as two
        tenants' even share when that is more.
        """
        share = max(least, 2 / max(1, len(self._tenants)))
        return min(1.0, share * len(self._ring) / max(1, self._tenants[tenant]))


def rein_in(
    score: float, levels: Sequence[tuple[float, float, float]]
) -> Sequence[tuple[float, float]]:
    """Winsorise one score of a tenant that is out of line; leave others as they are.

    `levels` has, for each threshold that the score reaches, strongest first: the threshold,
    the tenant's rate over it, and the rate that is in line.

    Returns (score, part) pairs that stand for the score. The parts add up to 1; what may
    not count as over any threshold is at 0.
    """
    if all(rate <= edge for _, rate, edge in levels):
        return ((score, 1.0),)
    factors = [_counted(rate, edge) for _, rate, edge in levels]
    # What counts over a threshold is limited by those below it too.
    limits = list(accumulate(reversed(factors), min))[::-1]
    parts = [after - before for before, after in pairwise([0.0, *limits, 1.0])]
    lower = [threshold for threshold, _, _ in levels[1:]]
    return list(zip([score, *lower, 0.0], parts, strict=True))


def _counted(rate: float, edge: float) -> float:
    """Return which part of a tenant's scores over a threshold counts as over it.

    All, up to the edge. Beyond, so much that the tenant's rate counts as
    edge / 2 * (1 + edge / rate): the edge at the edge, half of it for a flood.
    """
    return 1.0 if rate <= edge else edge / 2 * (1 + edge / rate) / rate
