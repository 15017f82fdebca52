"""All ceilings of one tenant in one of several ingress replicas, which share them.

The same interface as `router.limits.ceiling.TenantCeiling`. What is not leased is refused, so the
limit holds whatever becomes of the ledger; `is_short` tells such a refusal from one that
the tenant's whole limit would give, and then it is worth waiting for the next answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp

from router.errors import Rejected
from router.leases.leased_bucket import LeasedBucket
from router.leases.messages import LeaseTerms, PermitDemand, RateDemand, TenantDemand, TenantGrant
from router.limits.ceiling import (
    MAX_DEBT_S,
    MINUTE_S,
    CeilingConfig,
    RateLimitState,
    overdrawn,
    requests_spent,
    tokens_spent,
    too_many_at_once,
)
from router.limits.pacer import Pacer, Step
from router.limits.reservation import Reckoning, Reservation, first_charge

SHORT_S = 1.0
"""When to come back where only the lease is short."""

DEMAND_S = 1.0
"""Delivery is remembered with this time constant."""

LEAST_DEMAND = 0.01
"""Demand under this part of the limit is none: it would hold a share for long."""


@dataclass(slots=True)
class Tenure:
    """What the ingress replica holds as such, for all tenants: ends on its own clock.

    `seated_at`: since when it has had its seat without a break.
    """

    until: float = float("-inf")
    seat_until: float = float("-inf")
    seated_at: float = float("inf")

    def has_lease(self, now: float) -> bool:
        """Whether what the ledger granted holds."""
        return now < self.until

    def has_seat(self, now: float) -> bool:
        """Whether the floors hold."""
        return now < self.seat_until


class LeasedCeiling:
    """One tenant's limits, as far as they are here.

    Attributes:
        share: of the rate's leased part, 0 to 1, until the lease ends.
        permits: concurrent requests that are leased, the same.
        tokens: of the minute; None: they are not limited.

    """

    def __init__(
        self, config: CeilingConfig, terms: LeaseTerms, tenure: Tenure, *, now: float
    ) -> None:
        self.config = CeilingConfig()
        self.reserved = 0
        self.running = 0
        self.arriving = 0
        self.pacer: Pacer | None = None
        self._terms, self._tenure = terms, tenure
        self.tokens: LeasedBucket | None = None
        self._requests: LeasedBucket | None = None
        self.share = 0.0
        self._backlog_elsewhere = 0.0
        self._demand = 0.0
        self._booked = 0
        self.permits = 0
        self._used_elsewhere = 0
        self._wanted = 0
        self._reported_at = now
        self._has_past = False
        self.configure(config, now=now)
        self._has_past = True

    def configure(self, config: CeilingConfig, *, now: float) -> None:
        """Use new limits from now on; where one is as it was, all stays."""
        old, self.config = self.config, config
        self.tokens = self._bucket(
            self.tokens, old.tokens_per_minute, config.tokens_per_minute, now
        )
        self._requests = self._bucket(
            self._requests, old.requests_per_minute, config.requests_per_minute, now
        )
        if config.tokens_per_second is None:
            self.pacer = None
        else:
            self.pacer = self.pacer or Pacer(0.0, now=now)
            self._pace(now)

    def _bucket(
        self, kept: LeasedBucket | None, old: float | None, new: float | None, now: float
    ) -> LeasedBucket | None:
        if new is None or new == old:
            return None if new is None else kept
        seated_s = now - self._tenure.seated_at if self._tenure.has_seat(now) else 0.0
        return LeasedBucket(
            new, self._terms, seated_s=max(0.0, seated_s), now=now, has_past=self._has_past
        )

    # -- admission ------------------------------------------------------------------

    def first_charge(self, cost: Reckoning) -> int:
        """What a request reserves when it is admitted: of what can be had in one place."""
        return cost.whole if self.tokens is None else first_charge(cost, self.tokens.most)

    def try_admit(
        self, tokens: int, *, now: float, is_paced: bool = True
    ) -> Reservation | Rejected:
        refused = self.refusal(tokens, now=now, is_paced=is_paced, is_counted=True)
        if refused is not None:
            self._want(tokens, now)
            return refused
        has_seat, floor = self._tenure.has_seat(now), 0.0
        if self.tokens is not None:
            floor = self.tokens.charge(tokens, has_seat=has_seat, now=now)
        self.reserved += tokens
        self.running += 1
        return Reservation(tokens, now, floor)

    def try_request(self, *, now: float, will_run: bool = False) -> Rejected | None:
        """Count a request of the minute, or say why it may not come.

        `will_run`: it is `arriving` from now on, until `arrived` is called.
        """
        self._run_out(now)
        if will_run and self._lacks_permit(now):
            self._wanted += 1
            return too_many_at_once()
        refused = self.request_refusal(now=now)
        if self._requests is not None:
            if refused is not None:
                self._requests.want(1)
                return refused
            self._requests.charge(1, has_seat=self._tenure.has_seat(now), now=now)
        self.arriving += will_run
        return None

    def arrived(self) -> None:
        self.arriving -= 1

    @property
    def _open(self) -> int:
        return self.running + self.arriving

    def request_refusal(self, *, now: float) -> Rejected | None:
        """Whether the minute's requests are spent, as far as they are here."""
        return self._bucket_refusal(self._requests, 1, requests_spent, now)

    def _bucket_refusal(
        self,
        bucket: LeasedBucket | None,
        cost: float,
        spent: Callable[[float], Rejected],
        now: float,
    ) -> Rejected | None:
        has_seat = self._tenure.has_seat(now)
        if bucket is None or bucket.has_room(cost, has_seat=has_seat, now=now):
            return None
        return spent(bucket.wait_s(cost, has_seat=has_seat, now=now) or SHORT_S)

    def grow(self, reservation: Reservation, tokens: int, *, now: float) -> Reservation:
        floor = 0.0
        if self.tokens is not None:
            has_seat = self._tenure.has_seat(now)
            floor = self.tokens.charge(tokens, has_seat=has_seat, now=now)
        self.reserved += tokens
        return reservation.grown(tokens, floor, now=now)

    def settle(self, reservation: Reservation, used_tokens: int, *, now: float) -> None:
        self.reserved -= reservation.tokens
        self.running -= 1
        if self.tokens is not None:
            floor = reservation.floor_tokens
            for unused, since in reservation.unused(used_tokens):
                self.tokens.settle(unused, floor, since=since, now=now)
                floor = max(0.0, floor - unused)
            if self.reserved == 0:
                self.tokens.forget_peaks()

    def refusal(
        self, tokens: int, *, now: float, is_paced: bool = True, is_counted: bool = False
    ) -> Rejected | None:
        """The ceiling that would refuse a request of `tokens` now, if any.

        `is_counted`: it is one of the minute's already.
        """
        self._run_out(now)
        if self._lacks_permit(now):
            return too_many_at_once()
        refused = None if is_counted else self.request_refusal(now=now)
        refused = refused or self._bucket_refusal(self.tokens, tokens, tokens_spent, now)
        if refused is not None:
            return refused
        if is_paced and (debt := self._debt_s(now)) > MAX_DEBT_S:
            return overdrawn(debt)
        return None

    def is_short(self, tokens: int, *, now: float, is_counted: bool = False) -> bool:
        """Whether the tenant's whole limits have room for a request that was refused here."""
        limit = self.config.concurrent_requests
        if limit is not None and self._open + self._used_elsewhere >= limit:
            return False
        has_seat = self._tenure.has_seat(now)
        buckets = ((None if is_counted else self._requests, 1), (self.tokens, tokens))
        return self._debt_s(now) <= MAX_DEBT_S and not any(
            bucket is not None and bucket.wait_s(cost, has_seat=has_seat, now=now) > 0
            for bucket, cost in buckets
        )

    def _want(self, tokens: int, now: float) -> None:
        if self._lacks_permit(now):
            self._wanted += 1
        if self.tokens is not None:
            self.tokens.want(tokens)

    def _lacks_permit(self, now: float) -> bool:
        limit = self.config.concurrent_requests
        if limit is None:
            return False
        # A floor of whole permits is one only where the limit is large.
        floor = int(limit * self._terms.floor) if self._tenure.has_seat(now) else 0
        return self._open >= floor + self.permits

    def _debt_s(self, now: float) -> float:
        """The tenant's debt, here and elsewhere, at its whole rate."""
        rate = self.config.tokens_per_second
        if rate is None or self.pacer is None:
            return 0.0
        return (self.pacer.backlog(now=now) + self._backlog_elsewhere) / rate

    # -- what the headers say ----------------------------------------------------------

    def requests_state(self, *, now: float) -> RateLimitState | None:
        """Requests left in the minute, everywhere, as far as it is known here."""
        return self._state(self._requests, now)

    def tokens_state(self, *, now: float) -> RateLimitState | None:
        """Tokens left in the minute, everywhere, as far as it is known here."""
        return self._state(self.tokens, now)

    def _state(self, bucket: LeasedBucket | None, now: float) -> RateLimitState | None:
        if bucket is None:
            return None
        left = max(0.0, bucket.remaining(has_seat=self._tenure.has_seat(now), now=now))
        reset_s = max(0.0, bucket.limit - left) * MINUTE_S / bucket.limit
        return RateLimitState(int(bucket.limit), int(left), reset_s)

    # -- the lease ------------------------------------------------------------------------

    @property
    def limits_nothing(self) -> bool:
        unlimited = CeilingConfig(contended_from=self.config.contended_from)
        return self.config == unlimited

    def is_quiet(self, now: float) -> bool:
        """Whether nothing arrives, runs, waits or is owed under the pacer."""
        backlog = 0.0 if self.pacer is None else self.pacer.backlog(now=now)
        return not (self._open or self._wanted or backlog)

    @property
    def holds_tokens(self) -> bool:
        """Whether something handed out is to be given back, or owed."""
        return any(x is not None and not x.is_idle for x in (self.tokens, self._requests))

    def release(self, *, now: float) -> None:
        """The ledger hears of it no more: it holds nothing."""
        self.share, self.permits = 0.0, 0
        self._backlog_elsewhere, self._used_elsewhere = 0.0, 0
        self._pace(now)

    def report(self, *, gives_up: bool, now: float) -> TenantDemand:
        """What to tell the ledger; `gives_up`: nobody has been here for long."""
        self._run_out(now)
        if gives_up:
            self.release(now=now)
        tokens, requests = (
            None if x is None else x.report(gives_up=gives_up, now=now)
            for x in (self.tokens, self._requests)
        )
        limit, wanted = self.config.concurrent_requests, self._wanted
        self._wanted = 0
        permits = None
        if limit is not None:
            leased = limit - self._terms.seats * int(limit * self._terms.floor)
            floor = int(limit * self._terms.floor) if self._tenure.has_seat(now) else 0
            used = max(0, self._open - floor)
            permits = PermitDemand(leased, max(self.permits, used), used, wanted)
        return TenantDemand(self._report_rate(now), tokens, requests, permits)

    def _report_rate(self, now: float) -> RateDemand | None:
        rate = self.config.tokens_per_second
        if rate is None or self.pacer is None:
            return None
        step = now - self._reported_at
        if step > 0:
            new = (self.pacer.booked - self._booked) / (rate * step)
            keep = exp(-step / DEMAND_S)
            self._demand = keep * self._demand + (1 - keep) * new
            self._booked, self._reported_at = self.pacer.booked, now
        backlog = self.pacer.backlog(now=now)
        demand = min(1.0, self._demand + backlog / rate)
        if backlog:
            # Without a seat there is no floor to send it by.
            demand = max(demand, LEAST_DEMAND)
        return RateDemand(self.share, demand if demand >= LEAST_DEMAND else 0.0, backlog)

    def apply(self, grant: TenantGrant, *, epoch: int, number: int, now: float) -> None:
        """Take the ledger's answer to the last report: its epoch, and its number there."""
        if self.tokens is not None and grant.tokens is not None:
            self.tokens.apply(grant.tokens, epoch=epoch, number=number, now=now)
        if self._requests is not None and grant.requests is not None:
            self._requests.apply(grant.requests, epoch=epoch, number=number, now=now)
        if grant.permits is not None:
            self.permits, self._used_elsewhere = grant.permits
        if grant.rate is not None:
            self.share, self._backlog_elsewhere = grant.rate
        self._pace(now)

    def _run_out(self, now: float) -> None:
        """Without a lease, only the floor is left."""
        if self._tenure.has_lease(now):
            return
        self.share, self.permits = 0.0, 0
        self._backlog_elsewhere, self._used_elsewhere = 0.0, 0
        for bucket in (self.tokens, self._requests):
            if bucket is not None:
                bucket.run_out()

    def _pace(self, now: float) -> None:
        """The pacer's rates: the lease and the floor, then the floor, then nothing."""
        rate = self.config.tokens_per_second
        if self.pacer is None or rate is None:
            return
        floor, share = rate * self._terms.floor, rate * self._terms.leased * self.share
        tenure = self._tenure
        steps = [Step(tenure.until, floor + share), Step(tenure.seat_until, floor)]
        if tenure.until > tenure.seat_until:
            steps = [Step(tenure.seat_until, floor + share), Step(tenure.until, share)]
        self.pacer.set_steps(steps, now=now)
