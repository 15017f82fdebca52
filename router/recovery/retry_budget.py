"""How many retries tenants may ask for: so that a dying fleet is not hammered.

Each tenant has a bucket of retries. Every request of its own puts a share of one in;
time puts in a floor, so that a quiet deployment can retry too; every retry takes one
out. (The shape of Finagle's RetryBudget, with a burst large enough for all of a
tenant's streams on one replica.) Over any time a tenant's retries are at most
`retry_burst + retry_floor_per_s * seconds + retry_share * its requests`.

All tenants together spend from one bucket of `tenants` such budgets. Where others have
emptied it, a tenant has a reserve of an eighth of its own, of which nobody else can
spend: a tenant that has not retried gets its retry, whatever others do.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import chain

RESERVE = 0.125
"""Part of a tenant's budget that is its own even where the total is spent."""

MAX_TENANTS = 4096
"""Tenants whose spending is remembered; past them, the one that spent longest ago is not."""


@dataclass(frozen=True)
class RetryBudgetConfig:
    """Limits of the budget. `metadata` bounds what a file may say.

    Attributes:
        retry_share: retries that each request adds to its tenant's budget.
        retry_floor_per_s: retries a second that time alone gives.
        retry_burst: most retries of one tenant at once; all streams of one replica should fit.
        retry_tenants: how many tenants may spend all of theirs at the same time.

    """

    retry_share: float = field(default=0.2, metadata={"ge": 0, "le": 2})
    retry_floor_per_s: float = field(default=10.0, metadata={"ge": 0})
    retry_burst: float = field(default=256.0, metadata={"ge": 1})
    retry_tenants: float = field(default=4.0, metadata={"ge": 1})


class _Bucket:
    """Retries of a `part` of one tenant's budget."""

    def __init__(self, part: float, config: RetryBudgetConfig, now: float) -> None:
        self.part, self._at = part, now
        self.level = math.inf
        self.apply(config)

    def apply(self, config: RetryBudgetConfig) -> None:
        self._limit = max(1.0, config.retry_burst * self.part)
        self._per_s = config.retry_floor_per_s * self.part
        self.level = min(self.level, self._limit)

    def add(self, retries: float) -> None:
        self.level = min(self._limit, self.level + retries)

    def refill(self, now: float) -> None:
        if now > self._at:
            self.add((now - self._at) * self._per_s)
            self._at = now

    def take(self) -> bool:
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True


class RetryBudget:
    """The budgets of one ingress replica. `now` is in seconds on the caller's clock.

    `spent` has each tenant's own bucket and its reserve, the latest to spend at the end.
    """

    def __init__(self, config: RetryBudgetConfig, *, now: float) -> None:
        self._config = config
        self._total = _Bucket(config.retry_tenants, config, now)
        self.spent: OrderedDict[str, tuple[_Bucket, _Bucket]] = OrderedDict()

    def apply(self, config: RetryBudgetConfig) -> None:
        self._config = config
        self._total.part = config.retry_tenants
        for bucket in (self._total, *chain.from_iterable(self.spent.values())):
            bucket.apply(config)

    def note_request(self, tenant: str) -> None:
        share = self._config.retry_share
        self._total.add(share)
        if (buckets := self.spent.get(tenant)) is not None:
            own, reserve = buckets
            own.add(share)
            reserve.add(share * RESERVE)

    def try_spend(self, tenant: str, *, now: float) -> bool:
        """Take one retry out for a tenant, unless there is none for it."""
        own, reserve = self._buckets(tenant, now)
        for bucket in (self._total, own, reserve):
            bucket.refill(now)
        if own.level < 1.0 or not (self._total.take() or reserve.take()):
            return False
        return own.take()

    def _buckets(self, tenant: str, now: float) -> tuple[_Bucket, _Bucket]:
        buckets = self.spent.pop(tenant, None)
        if buckets is None:
            buckets = _Bucket(1.0, self._config, now), _Bucket(RESERVE, self._config, now)
        self.spent[tenant] = buckets
        if len(self.spent) > MAX_TENANTS:
            self.spent.popitem(last=False)
        return buckets
