"""The ledger: leases of tenants' limits to ingress replicas, and what each holds of a lane.

It keeps no configuration and no files: reports say what the limits are, and a new ledger
learns from them who holds what. It is told whom the one before it answered (`awaited`) and
until when its grants last at most (`quiet_until`). Until all of these have reported after an
answer from here (one from before may have been long on its way), or that time has come, it
is quiet: nobody gets more than it says it has, no new seat is given, and what the others
hold of a lane is not known. What is left of a bucket per minute is reckoned
from what they all say of the last ledger's answers (`Past`); where one of them was not heard,
or the tenant was nowhere, from empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from router.leases.books import BucketBook, Past, PermitBook, RateBook
from router.leases.messages import (
    Answer,
    BucketDemand,
    BucketGrant,
    LaneAnswer,
    LaneReport,
    LeaseTerms,
    Report,
    TenantDemand,
    TenantGrant,
)

SWEEP_S = 1.0
"""How often tenants are forgotten that hold nothing and owe nothing."""


@dataclass(slots=True)
class _Holder:
    """An ingress replica; `at` is when its last report was taken."""

    seq: int
    at: float
    has_seat: bool = False
    tenants: frozenset[str] = frozenset()
    lanes: dict[str, LaneReport] = field(default_factory=dict)


class _Book:
    """One tenant's limits."""

    def __init__(self) -> None:
        self.rate = RateBook()
        self.permits = PermitBook()
        self.tokens: BucketBook | None = None
        self.requests: BucketBook | None = None

    def drop(self, holder: str) -> None:
        self.rate.drop(holder)
        self.permits.drop(holder)
        for bucket in (self.tokens, self.requests):
            if bucket is not None:
                bucket.drop(holder)

    def is_idle(self, now: float, *, frozen: bool) -> bool:
        buckets = (x for x in (self.tokens, self.requests) if x is not None)
        return (
            self.rate.is_idle
            and self.permits.is_idle
            and all(x.is_idle(now, frozen=frozen) for x in buckets)
        )


class Ledger:
    """Answers reports, one after the other.

    Args:
        epoch: higher than that of every ledger before.
        quiet_until: when all that they granted has run out.
        awaited: to whom they granted anything; None: that is not known.
        is_first: nothing was granted before, so that buckets are full.

    """

    def __init__(
        self,
        epoch: int,
        terms: LeaseTerms,
        *,
        quiet_until: float,
        awaited: frozenset[str] | None = None,
        is_first: bool = False,
    ) -> None:
        self.epoch = epoch
        self.terms = terms
        self.quiet_until = quiet_until
        self._full_from = None if is_first else quiet_until
        self._awaited = awaited
        # Seats outlast leases.
        self._seats_from = quiet_until if is_first else quiet_until + terms.seat_s - terms.lease_s
        self._holders: dict[str, _Holder] = {}
        self._books: dict[str, _Book] = {}
        self._swept_at = float("-inf")
        self._answers = 0
        self._wakes = False

    def exchange(self, report: Report, *, now: float) -> Answer | None:
        """Take a report and answer it; None: it is late, or meant for a later ledger."""
        if report.epoch > self.epoch:
            return None
        self._expire(now)
        self._wakes = self._hear(report, now)
        holder = self._holders.get(report.holder)
        if holder is None:
            holder = self._holders[report.holder] = _Holder(report.seq, now)
        elif report.seq <= holder.seq:
            return None
        holder.seq, holder.at, holder.lanes = report.seq, now, dict(report.lanes)
        self._seat(holder, report, now)
        self._drop(report.holder, holder.tenants - report.tenants.keys())
        holder.tenants = frozenset(report.tenants)
        grants = {name: self._grant(name, x, report, now) for name, x in report.tenants.items()}
        lanes = self._lanes_for(report, now=now)
        self._answers += 1
        return Answer(self.epoch, report.seq, holder.has_seat, grants, lanes, self._answers)

    def _hear(self, report: Report, now: float) -> bool:
        """Whether the quiet is over now: the last of those who may hold anything says what.

        What counts is a report of who has had an answer from here. One from before that may
        have been long on its way: since then an earlier ledger may have granted more.
        """
        if not self._awaited or report.epoch < self.epoch:
            return False
        self._awaited -= {report.holder}
        if self._awaited:
            return False
        was_quiet = self._is_quiet(now)
        self.quiet_until = min(self.quiet_until, now)
        self._seats_from = min(self._seats_from, now)
        self._full_from = self.quiet_until
        return was_quiet

    def known(self, *, now: float) -> frozenset[str]:
        """Who may hold anything by now: for the ledger after this one."""
        # Whom the one before answered holds nothing when its seats have run out, too.
        awaited = self._awaited if now < self._seats_from else None
        return (awaited or frozenset()) | self._holders.keys()

    def _is_quiet(self, now: float) -> bool:
        return now < self.quiet_until

    def _seat(self, holder: _Holder, report: Report, now: float) -> None:
        """Who says that it has a seat has one: it was given by us or by the one before."""
        others = sum(x.has_seat for x in self._holders.values() if x is not holder)
        is_free = others < self.terms.seats
        holder.has_seat = is_free and (report.has_seat or now >= self._seats_from)

    def _grant(self, name: str, demand: TenantDemand, report: Report, now: float) -> TenantGrant:
        book = self._books.get(name)
        if book is None:
            book = self._books[name] = _Book()
        quiet = self._is_quiet(now)
        who = report.holder
        rate, permits = demand.rate, demand.permits
        tokens = requests = None
        if demand.tokens is not None:
            book.tokens = book.tokens or self._bucket(demand.tokens, now)
            tokens = self._hand_out(book.tokens, demand.tokens, report, now)
        if demand.requests is not None:
            book.requests = book.requests or self._bucket(demand.requests, now)
            requests = self._hand_out(book.requests, demand.requests, report, now)
        return TenantGrant(
            None if rate is None else book.rate.exchange(who, rate, is_frozen=quiet),
            tokens,
            requests,
            None if permits is None else book.permits.exchange(who, permits, is_frozen=quiet),
        )

    def _bucket(self, demand: BucketDemand, now: float) -> BucketBook:
        past = Past() if self._is_quiet(now) or self._wakes else None
        return BucketBook(demand.limit, full_from=self._full_from, now=now, past=past)

    def _hand_out(
        self, book: BucketBook, demand: BucketDemand, report: Report, now: float
    ) -> BucketGrant:
        return book.exchange(
            report.holder,
            report.seq,
            report.applied,
            demand,
            now=now,
            frozen=self._is_quiet(now),
            is_old=report.epoch < self.epoch,
            all_heard=self._awaited is not None and not self._awaited,
        )

    # -- lanes --------------------------------------------------------------------

    def _lanes_for(self, report: Report, *, now: float) -> dict[str, LaneAnswer]:
        # Who has been silent for a lease has let its free work go.
        peers = [
            x
            for name, x in self._holders.items()
            if name != report.holder and now - x.at <= self.terms.lease_s
        ]
        oldest = max((now - x.at for x in peers), default=0.0)
        is_known = not self._is_quiet(now) and oldest <= self.terms.stale_s
        answers = {}
        for lane in report.lanes:
            theirs = [x.lanes[lane] for x in peers if lane in x.lanes]
            answers[lane] = LaneAnswer(
                sum(x.free for x in theirs) if is_known else None,
                oldest,
                any(x.needs for x in theirs),
                sum(x.running for x in theirs) if is_known else None,
                sum(x.waiting for x in theirs),
            )
        return answers

    # -- whom nothing is heard of ---------------------------------------------------

    def _expire(self, now: float) -> None:
        for name, holder in list(self._holders.items()):
            silent_s = now - holder.at
            if silent_s > self.terms.lease_s:
                self._drop(name, holder.tenants)
                holder.tenants = frozenset()
                # Remembered for as long as an answer may count that was given before.
                keep_s = self.terms.seat_s if holder.has_seat else 2 * self.terms.lease_s
                if silent_s > keep_s:
                    del self._holders[name]
        if now - self._swept_at >= SWEEP_S:
            self._swept_at = now
            quiet = self._is_quiet(now)
            idle = [k for k, x in self._books.items() if x.is_idle(now, frozen=quiet)]
            for name in idle:
                del self._books[name]

    def _drop(self, holder: str, tenants: Iterable[str]) -> None:
        for name in tenants:
            if name in self._books:
                self._books[name].drop(holder)

    def status(self, *, now: float) -> dict[str, object]:
        """For operators: who is there, and how long ago each was heard."""
        return {
            "epoch": self.epoch,
            "quiet_s": max(0.0, self.quiet_until - now),
            "tenants": len(self._books),
            "holders": {
                name: {"age_s": now - x.at, "has_seat": x.has_seat, "tenants": len(x.tenants)}
                for name, x in self._holders.items()
            },
        }
