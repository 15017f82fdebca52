"""The ledger: leases of tenants' limits to ingress replicas, and what each holds of a lane.

It keeps no configuration and no files. Reports say what the limits are, and a new ledger
learns from them who holds what. It is told which holders the one before it answered
(`awaited`), and until when that one's grants last at most (`learning_until`).

It is in learning mode until that time, or until all of these holders have reported after an
answer of its own: an earlier report may have been long on its way. While it is learning,
nobody gets more than it reports to have, no new seat is given, and what the others hold of a
lane is not known.

What is left of a bucket per minute is computed from what all of them report of the last
ledger's answers (`RecoveredLevel`). The bucket begins empty where one of them was not heard,
or none of them reports the tenant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from router.leases.allocators import (
    BucketAllocator,
    PermitAllocator,
    RateAllocator,
    RecoveredLevel,
    ReportContext,
)
from router.leases.messages import (
    Answer,
    BucketDemand,
    LaneAnswer,
    LaneReport,
    LeaseTerms,
    RateDemand,
    Report,
    TenantGrant,
)

SWEEP_S = 1.0
"""How often it forgets limits of which nobody holds or owes anything."""


@dataclass(slots=True)
class _Holder:
    """An ingress replica. Its last report, `seq`, was taken at `at`."""

    seq: int
    at: float
    has_seat: bool = False
    tenants: frozenset[str] = frozenset()
    lanes: dict[str, LaneReport] = field(default_factory=dict)


class Ledger:
    """Answers reports, one after the other.

    Args:
        epoch: higher than that of every ledger before.
        learning_until: when all that the ledgers before have granted has run out.
        awaited: the holders that they have granted anything; None: that is not known.
        is_first: nothing was granted before, so that buckets are full.

    """

    def __init__(
        self,
        epoch: int,
        terms: LeaseTerms,
        *,
        learning_until: float,
        awaited: frozenset[str] | None = None,
        is_first: bool = False,
    ) -> None:
        self.epoch = epoch
        self.terms = terms
        self.learning_until = learning_until
        self._full_from = None if is_first else learning_until
        self._awaited = awaited
        # Seats outlast leases.
        seats_last_s = 0.0 if is_first else terms.seat_s - terms.lease_s
        self._seats_from = learning_until + seats_last_s
        self._holders: dict[str, _Holder] = {}
        # The allocators of each tenant, by the index of their limit in `TenantDemand`.
        self._limits: dict[str, dict[int, Any]] = {}
        self._swept_at = float("-inf")
        self._answers = 0

    def exchange(self, report: Report, *, now: float) -> Answer | None:
        """Take a report and answer it; None: it is too late, or meant for a later ledger."""
        if report.epoch > self.epoch:
            return None
        self._expire(now)
        was_learning = self.is_learning(now)
        self._hear(report, now)
        holder = self._holders.setdefault(report.holder, _Holder(report.seq - 1, now))
        if report.seq <= holder.seq:
            return None
        holder.seq, holder.at, holder.lanes = report.seq, now, dict(report.lanes)
        self._seat(holder, report, now)
        self._drop(report.holder, holder.tenants - report.tenants.keys())
        holder.tenants = frozenset(report.tenants)
        grants = self._grants(report, now, was_learning=was_learning)
        lanes = self._lanes_for(report, now=now)
        self._answers += 1
        return Answer(self.epoch, report.seq, holder.has_seat, grants, lanes, self._answers)

    def _hear(self, report: Report, now: float) -> None:
        """End learning mode when the last of the awaited holders has reported.

        Only a report after an answer of this ledger counts. An earlier one may have been long
        on its way, and a ledger before may have granted more since.
        """
        if not self._awaited or report.epoch < self.epoch:
            return
        self._awaited -= {report.holder}
        if not self._awaited:
            self.learning_until = min(self.learning_until, now)
            self._seats_from = min(self._seats_from, now)
            self._full_from = self.learning_until

    def known(self, *, now: float) -> frozenset[str]:
        """Return the holders that may have anything by now, for the ledger after this one."""
        # Those that the ledger before answered hold nothing once its seats have run out, too.
        awaited = self._awaited if now < self._seats_from else None
        return frozenset(self._holders).union(awaited or ())

    def is_learning(self, now: float) -> bool:
        return now < self.learning_until

    def _seat(self, holder: _Holder, report: Report, now: float) -> None:
        # A holder that reports a seat has one: this ledger gave it, or the one before.
        others = sum(x.has_seat for x in self._holders.values() if x is not holder)
        is_free = others < self.terms.seats
        holder.has_seat = is_free and (report.has_seat or now >= self._seats_from)

    def _grants(self, report: Report, now: float, *, was_learning: bool) -> dict[str, TenantGrant]:
        context = ReportContext(
            report.holder,
            report.seq,
            report.applied,
            now,
            self.is_learning(now),
            report.epoch < self.epoch,
            self._awaited is not None and not self._awaited,
        )
        grants = {}
        for tenant, demands in report.tenants.items():
            parts: list[Any] = [None] * len(demands)
            limits = self._limits.setdefault(tenant, {})
            for kind, demand in enumerate(demands):
                if demand is not None:
                    if kind not in limits:
                        limits[kind] = self._allocator(demand, now, was_learning=was_learning)
                    parts[kind] = limits[kind].exchange(context, demand)
            grants[tenant] = TenantGrant(*parts)
        return grants

    def _allocator(self, demand: object, now: float, *, was_learning: bool) -> Any:
        if isinstance(demand, BucketDemand):
            recovered = RecoveredLevel() if was_learning else None
            return BucketAllocator(
                demand.limit, full_from=self._full_from, now=now, recovered=recovered
            )
        return RateAllocator() if isinstance(demand, RateDemand) else PermitAllocator()

    def _lanes_for(self, report: Report, *, now: float) -> dict[str, LaneAnswer]:
        # A holder that was silent for a lease has let its sheddable work go.
        peers = [
            x
            for name, x in self._holders.items()
            if name != report.holder and now - x.at <= self.terms.lease_s
        ]
        oldest = max((now - x.at for x in peers), default=0.0)
        is_known = not self.is_learning(now) and oldest <= self.terms.stale_s
        answers = {}
        for lane in report.lanes:
            theirs = [x.lanes[lane] for x in peers if lane in x.lanes]
            answers[lane] = LaneAnswer(
                sum(x.sheddable for x in theirs) if is_known else None,
                oldest,
                any(x.wants_preemption for x in theirs),
                sum(x.running for x in theirs) if is_known else None,
                sum(x.waiting for x in theirs),
            )
        return answers

    def _expire(self, now: float) -> None:
        """Take back what has run out; forget limits of which nothing is held or owed."""
        for name, holder in list(self._holders.items()):
            silent_s = now - holder.at
            if silent_s > self.terms.lease_s:
                self._drop(name, holder.tenants)
                holder.tenants = frozenset()
                # It is remembered for as long as an earlier answer to it may count.
                keep_s = self.terms.seat_s if holder.has_seat else 2 * self.terms.lease_s
                if silent_s > keep_s:
                    del self._holders[name]
        if now - self._swept_at >= SWEEP_S:
            self._swept_at = now
            context = ReportContext("", 0, 0, now, self.is_learning(now))
            for tenant, limits in list(self._limits.items()):
                # Each of them must be asked, because it takes its refill then.
                idle = [x.is_idle(context) for x in limits.values()]
                if all(idle):
                    del self._limits[tenant]

    def _drop(self, holder: str, tenants: Iterable[str]) -> None:
        for tenant in tenants:
            for limit in self._limits.get(tenant, {}).values():
                limit.drop(holder)
