"""How the ledger divides one limit of one tenant among the ingress replicas.

Each allocator answers one holder at a time, from what all have last reported. It never gives
out what another may still hold. Shares follow demand. What nobody has demand for stays with
the ledger, for the holder that asks next.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

from router.leases.messages import (
    IDLE_S,
    BucketDemand,
    BucketGrant,
    PermitDemand,
    PermitGrant,
    RateDemand,
    RateGrant,
)
from router.leases.running_sum import RunningSum
from router.limits.bucket import MINUTE_S

# A share stays as it is while it is so near to what it should be, because what changes hands
# is of no use to anybody for a heartbeat or two.
STEADY_SHARE = 0.03

# Part of what nobody waits for that is handed out; the rest is for holders that come later.
SPARE_SHARE = 0.5

# A holder may have more than it should by this part of the bucket before it must give back.
STEADY_HELD = 0.1

TRACE = 1e-9
"""A share up to this is none: what rounding leaves of a sum."""

FRESH_S = 0.8 * IDLE_S
"""Age up to which an old ledger's answer counts; the rest of `IDLE_S` is for late heartbeats
and for clocks that differ."""


class ReportContext(NamedTuple):
    """Whose report is answered, and what the ledger knows at that time."""

    holder: str
    seq: int
    applied: int  # `seq` of the last report whose answer counted
    now: float
    # Grants of an earlier ledger may still hold, so nobody gets more than it has.
    is_learning: bool = False
    is_old: bool = False  # the holder has had no answer of this ledger
    all_heard: bool = False  # every holder that the ledger before answered has reported


class _Allocator:
    """Divides a limit into parts that never add up to more.

    What a report costs does not grow with the number of holders: sums over them are kept.
    """

    def __init__(self) -> None:
        # The most that each may hold by now, as it is not known whether the last grant arrived.
        self._liable = RunningSum()

    def _allot(self, context: ReportContext, held: float, target: float, *, limit: float) -> float:
        """Return the holder's part: `target`, or as much of it as nobody else may hold."""
        wish = held if context.is_learning else target
        granted = min(wish, max(0, limit - self._liable.besides(context.holder)))
        self._liable.put(context.holder, max(held, granted))
        return granted

    def is_idle(self, _: ReportContext) -> bool:
        """Return whether forgetting this limit changes nothing."""
        return not self._liable


class RateAllocator(_Allocator):
    """Divides the tokens per second of one tenant into shares."""

    def __init__(self) -> None:
        super().__init__()
        self._demand, self._backlog = RunningSum(), RunningSum()
        # Those that have demand and no share.
        self._starving: set[str] = set()

    def exchange(self, context: ReportContext, demand: RateDemand) -> RateGrant:
        """Take what a holder reports and grant its next share."""
        holder = context.holder
        self._demand.put(holder, demand.demand)
        self._backlog.put(holder, demand.backlog)
        self._note_starving(holder, demand, demand.held)
        share = self._allot(context, demand.held, self._target(holder, demand), limit=1.0)
        self._note_starving(holder, demand, max(demand.held, share))
        return RateGrant(share, self._backlog.besides(holder))

    def drop(self, holder: str) -> None:
        for one in (self._liable, self._demand, self._backlog):
            one.drop(holder)
        self._starving.discard(holder)

    def _note_starving(self, holder: str, demand: RateDemand, share: float) -> None:
        if demand.demand and share <= TRACE:
            self._starving.add(holder)
        else:
            self._starving.discard(holder)

    def _target(self, holder: str, mine: RateDemand) -> float:
        if not mine.demand:
            return 0.0
        elsewhere = self._demand.besides(holder)
        target = mine.demand / (mine.demand + elsewhere)
        is_near = abs(target - mine.held) <= STEADY_SHARE
        # A holder without a seat has no safe capacity either, so it must not wait long.
        return mine.held if is_near and elsewhere and not self._starving else target


class PermitAllocator(_Allocator):
    """Divides the concurrent requests of one tenant into whole permits."""

    def __init__(self) -> None:
        super().__init__()
        self._used, self._needs = RunningSum(), RunningSum()
        self._limits: dict[str, int] = {}
        # How many holders read which limit.
        self._readers: Counter[int] = Counter()

    def exchange(self, context: ReportContext, demand: PermitDemand) -> PermitGrant:
        """Take what a holder reports and grant its next permits."""
        holder = context.holder
        self._note_limit(holder, demand.limit)
        self._used.put(holder, demand.used)
        self._needs.put(holder, demand.used + demand.wanted)
        # For a moment the ingress replicas may have read different versions of the tenants file.
        limit = min(self._readers)
        permits = int(self._allot(context, demand.held, self._target(demand, limit), limit=limit))
        return PermitGrant(permits, int(self._used.besides(holder)))

    def drop(self, holder: str) -> None:
        for one in (self._liable, self._used, self._needs):
            one.drop(holder)
        self._note_limit(holder, None)

    def _note_limit(self, holder: str, limit: int | None) -> None:
        before = self._limits.pop(holder, None)
        if before is not None:
            self._readers[before] -= 1
            if not self._readers[before]:
                del self._readers[before]
        if limit is not None:
            self._limits[holder] = limit
            self._readers[limit] += 1

    def _target(self, mine: PermitDemand, limit: int) -> int:
        need, needs = mine.used + mine.wanted, int(self._needs.total)
        if needs >= limit:
            # It may be rounded up, because what there is no room for is not granted.
            return ceil(limit * need / needs) if needs else 0
        return need + floor((limit - needs) * SPARE_SHARE / len(self._needs))


class RecoveredLevel:
    """Computes what is left of a bucket that an earlier ledger kept, from its holders' reports.

    The last answer that counted anywhere says what was left at its time, including what was
    held. From that is taken all that each holder can have spent since the last of its own
    reports that was answered. What the bucket has gained since then is left out. So the result
    is never too much.

    A holder may have spent after that answer, told the old ledger, and given the tenant up
    since. It reports nothing then, but it had to be idle for `IDLE_S` first. So an answer
    counts only while it is younger than that.
    """

    def __init__(self) -> None:
        self._said: dict[str, tuple[BucketDemand, float]] = {}

    def hear(self, context: ReportContext, demand: BucketDemand) -> None:
        """Take a holder's report.

        The last `is_old` report of each holder counts, or else its first: what the old ledger
        has granted is all in that one. Later ones tell what was done with this ledger's grants.
        """
        if context.is_old or context.holder not in self._said:
            self._said[context.holder] = (demand, context.now)

    def level(self, now: float) -> float:
        """Return the tokens left that nobody holds, once all holders were heard.

        It is 0 where that is not known, and negative where tokens are owed.
        """
        said = [demand for demand, _ in self._said.values()]
        last, at = max(self._said.values(), key=lambda x: (x[0].epoch, x[0].number))
        if any(x.epoch < 0 for x in said) or last.age_s + now - at > FRESH_S:
            return 0.0
        gone = sum(x.unanswered + x.held for x in said)
        return max(last.level - gone, min(0.0, last.level))


@dataclass(slots=True)
class _BucketHolder:
    said: BucketDemand
    # Handed out in the answer to report `added_at`, which may not have arrived.
    added: float = 0.0
    added_at: int = 0


class BucketAllocator:
    """Hands out one tenant's bucket of tokens (or requests) per minute, in parts.

    Args:
        full_from: time at which the bucket was empty at worst; None: it is full.
        recovered: collects what holders report of an earlier ledger, while this one is
            learning.

    """

    def __init__(
        self,
        limit: float,
        *,
        full_from: float | None,
        now: float,
        recovered: RecoveredLevel | None = None,
    ) -> None:
        self.limit = limit
        self._recovered = recovered
        self._at = now
        since = float("inf") if full_from is None else max(0.0, now - full_from)
        # Tokens that nobody holds.
        self._left = min(limit, since * limit / MINUTE_S)
        self._holders: dict[str, _BucketHolder] = {}
        # What holders have, and what was handed out and may not have arrived; what they ask.
        self._out, self._need, self._pace = RunningSum(), RunningSum(), RunningSum()

    def exchange(self, context: ReportContext, demand: BucketDemand) -> BucketGrant:
        """Take what a holder reports, and hand out."""
        self.limit = demand.limit
        if self._recovered is not None:
            self._recovered.hear(context, demand)
            if not context.is_learning:
                self._left += self._recovered.level(context.now) if context.all_heard else 0.0
                self._recovered = None
        self._refill(context)
        before = self._holders.get(context.holder)
        if before is None or (context.is_learning and context.is_old):
            # What it has returned so far was returned to earlier ledgers.
            before = _BucketHolder(demand)
        if context.applied != before.added_at:
            # That answer has not counted, and never will.
            self._left += before.added
        self._left += max(0.0, demand.returned - before.said.returned)
        mine = self._holders[context.holder] = _BucketHolder(demand, added_at=context.seq)
        self._out.put(context.holder, demand.held)
        self._need.put(context.holder, demand.need)
        self._pace.put(context.holder, demand.pace)
        self._clip()
        if context.is_learning:
            return BucketGrant(0.0, None, self.level)
        target = self._target(demand)
        # What one holder has overdrawn is covered at once: it is the tenant's debt.
        mine.added = max(0.0, -demand.held, min(target - demand.held, self._left))
        self._left -= mine.added
        self._out.put(context.holder, demand.held + mine.added)
        has_excess = demand.held - target > STEADY_HELD * self.limit
        return BucketGrant(mine.added, target if has_excess else None, self.level)

    def _target(self, mine: BucketDemand) -> float:
        spare = max(0.0, self.level - self._need.total)
        part = mine.pace / self._pace.total if self._pace.total else 0.0
        return min(self.limit, mine.need) + SPARE_SHARE * spare * part

    def _refill(self, context: ReportContext) -> None:
        if context.now > self._at:
            if not context.is_learning:
                self._left += (context.now - self._at) * self.limit / MINUTE_S
            self._at = context.now
        self._clip()

    def _clip(self) -> None:
        # What holders have is still a part of the one bucket, which may not be over its limit.
        self._left = min(self._left, self.limit - self._out.total)

    @property
    def level(self) -> float:
        """Tokens left, with the ledger and with the holders."""
        return self._left + self._out.total

    def drop(self, holder: str) -> None:
        """Forget a holder; what it held is void, and what it owed is still owed."""
        gone = self._holders.pop(holder, None)
        if gone is not None:
            self._left += min(0.0, gone.said.held + gone.added)
            for one in (self._out, self._need, self._pace):
                one.drop(holder)

    def is_idle(self, context: ReportContext) -> bool:
        """Return whether forgetting it changes nothing: it is full, and nobody holds a part."""
        self._refill(context)
        return not self._holders and self._left >= self.limit
