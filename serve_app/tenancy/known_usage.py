"""What tenants used this day and this month, as far as one ingress replica knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from router.limits.quota import TokenWeights, day_of, month_of
from serve_app.tenancy.store import Counts, Slot, Totals

_NONE = Counts()


class KnownUsage:
    """The store's totals, and what has ended here since they were read.

    Not thread-safe: its owner has the lock for that. `version` is that of the totals.
    """

    def __init__(self) -> None:
        self.version = 0
        self._periods: set[str] = set()
        self._used: dict[tuple[str, str], Counts] = {}
        self._since: dict[tuple[str, str], Counts] = {}
        self._reserved_elsewhere: Mapping[str, float] = {}

    def spent(self, tenant: str, weights: TokenWeights, now: datetime) -> tuple[float, float]:
        """Weighted tokens of this day and this month, with what others hold for open requests."""
        held = self._reserved_elsewhere.get(tenant, 0.0)
        day, month = (
            held + self._weighed((period, tenant), weights)
            for period in (day_of(now), month_of(now))
        )
        return day, month

    def _weighed(self, key: tuple[str, str], weights: TokenWeights) -> float:
        used = self._used.get(key, _NONE).plus(self._since.get(key, _NONE))
        return weights.weigh(used.prompt, used.cached, used.completion)

    def add(self, slot: Slot, counts: Counts) -> None:
        """Count a request that the totals do not have."""
        for period in (slot.day, slot.day[:7]):
            key = (period, slot.tenant)
            self._since[key] = self._since.get(key, _NONE).plus(counts)

    def adopt(self, totals: Totals, pending: Mapping[Slot, Counts], now: datetime) -> None:
        """Take new totals, which have all that has ended but what is pending."""
        periods = {day_of(now), month_of(now)}
        used = {} if totals.is_whole else self._used
        if periods != self._periods:
            used = {key: counts for key, counts in used.items() if key[0] in periods}
            self._periods = periods
        used.update((k, v) for k, v in totals.used.items() if k[0] in periods)
        self._used = used
        self._reserved_elsewhere = totals.reserved
        self.version = totals.version
        self._since = {}
        for slot, counts in pending.items():
            self.add(slot, counts)
