"""How many retries tenants may ask for: so that a dying fleet is not hammered.

Each tenant has a bucket of retries. Every request of its own puts a share of one in;
time puts in a floor, so that a quiet deployment can retry too; every retry takes one
out. (The shape of Finagle's RetryBudget, with a burst large enough for all of a
tenant's streams on one replica.) Over any time a tenant's retries are at most
`retry_burst + retry_floor_per_s * seconds + retry_share * its requests`.

All tenants together spend from one bucket of `tenants` such budgets. Where others have
emptied it, a tenant has a reserve of an eighth of its own, of which nobody else can
spend: who has not retried gets its retry, whatever others do.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

RESERVE = 0.125
"""Part of a tenant's budget that is its own even where the total is spent."""

MAX_PURSES = 4096
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


@dataclass(slots=True)
class _Bucket:
    """At most `limit` retries, of which `per_s` come back each second."""

    limit: float
    per_s: float
    level: float
    at: float

    def resize(self, limit: float, per_s: float) -> None:
        self.limit, self.per_s = limit, per_s
        self.level = min(self.level, limit)

    def add(self, retries: float) -> None:
        self.level = min(self.limit, self.level + retries)

    def refill(self, now: float) -> None:
        if now > self.at:
            self.add((now - self.at) * self.per_s)
            self.at = now

    def take(self) -> bool:
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class _Purse:
    """What one tenant may spend, and what of it nobody can spend before it."""

    own: _Bucket
    reserve: _Bucket


class RetryBudget:
    """The budgets of one ingress replica. `now` is in seconds on the caller's clock.

    Attributes:
        purses: what tenants have spent; who is not here has spent nothing.

    """

    def __init__(self, config: RetryBudgetConfig, *, now: float) -> None:
        self._config = config
        self._total = _bucket(config, config.retry_tenants, now)
        self.purses: OrderedDict[str, _Purse] = OrderedDict()

    def apply(self, config: RetryBudgetConfig) -> None:
        self._config = config
        self._total.resize(*_limits(config, config.retry_tenants))
        for purse in self.purses.values():
            purse.own.resize(*_limits(config, 1.0))
            purse.reserve.resize(*_limits(config, RESERVE))

    def note_request(self, tenant: str) -> None:
        """A request of a tenant has begun."""
        share = self._config.retry_share
        self._total.add(share)
        purse = self.purses.get(tenant)
        if purse is not None:
            purse.own.add(share)
            purse.reserve.add(share * RESERVE)

    def try_spend(self, tenant: str, *, now: float) -> bool:
        """Take one retry out for a tenant, unless there is none for it."""
        purse = self._purse(tenant, now)
        self._total.refill(now)
        purse.own.refill(now)
        purse.reserve.refill(now)
        if purse.own.level < 1.0 or not (self._total.take() or purse.reserve.take()):
            return False
        return purse.own.take()

    def _purse(self, tenant: str, now: float) -> _Purse:
        purse = self.purses.pop(tenant, None)
        if purse is None:
            config = self._config
            purse = _Purse(_bucket(config, 1.0, now), _bucket(config, RESERVE, now))
        self.purses[tenant] = purse
        if len(self.purses) > MAX_PURSES:
            self.purses.popitem(last=False)
        return purse


def _limits(config: RetryBudgetConfig, part: float) -> tuple[float, float]:
    """Retries at once and retries a second of a part of one tenant's budget."""
    return max(1.0, config.retry_burst * part), config.retry_floor_per_s * part


def _bucket(config: RetryBudgetConfig, part: float, now: float) -> _Bucket:
    limit, per_s = _limits(config, part)
    return _Bucket(limit, per_s, limit, now)
