"""All ceilings of one tenant in one of several ingress replicas, which share them.

What is not leased is refused, so that the limit holds whatever becomes of the ledger.
`is_short` tells such a refusal from one that the tenant's whole limit would give. After the
former it is worth waiting for the ledger's next answer.
"""

from __future__ import annotations

from router.errors import Rejected, RejectReason
from router.leases.expiry import LeaseExpiry
from router.leases.leased_bucket import LeasedBucket, MovingRate
from router.leases.messages import LeaseTerms, PermitDemand, RateDemand, TenantDemand, TenantGrant
from router.limits.ceiling import MAX_DEBT_S, CeilingConfig, TenantCeiling
from router.limits.pacer import Pacer, Step
from router.limits.reservation import Reservation

DEMAND_S = 1.0
"""Time constant of the average of what is delivered a second."""

LEAST_DEMAND = 0.01
"""Demand under this part of the limit counts as none: it would hold a share for long."""


class LeasedCeiling(TenantCeiling):
    """One tenant's limits, as far as they are here.

    Attributes:
        share: of the leased part of the rate, 0 to 1, until the lease ends.
        permits: concurrent requests that are leased, until the lease ends.

    """

    tokens: LeasedBucket | None
    requests: LeasedBucket | None

    def __init__(
        self, config: CeilingConfig, terms: LeaseTerms, expiry: LeaseExpiry, *, now: float
    ) -> None:
        self.share = 0.0
        self.permits = 0
        self._terms, self._expiry = terms, expiry
        self._backlog_elsewhere = 0.0
        self._used_elsewhere = 0
        self._wanted = 0
        self._has_past = False
        super().__init__(config, now=now)
        self._has_past = True

    def configure(self, config: CeilingConfig, *, now: float) -> None:
        """Use new limits from now on; of one that is as it was, everything stays."""
        self.config = config
        self.tokens = self._bucket(self.tokens, config.tokens_per_minute, now)
        self.requests = self._bucket(self.requests, config.requests_per_minute, now)
        if config.tokens_per_second is None:
            self.pacer = None
        elif self.pacer is None:
            self.pacer = Pacer(0.0, now=now)
            self._demand = MovingRate(DEMAND_S, now=now)
        self._pace(now)

    def _bucket(
        self, kept: LeasedBucket | None, limit: float | None, now: float
    ) -> LeasedBucket | None:
        if limit is None or (kept is not None and kept.whole == limit):
            return None if limit is None else kept
        return LeasedBucket(limit, self._terms, self._expiry, now=now, has_past=self._has_past)

    @property
    def _buckets(self) -> list[LeasedBucket]:
        return [x for x in (self.tokens, self.requests) if x is not None]

    # -- admission ------------------------------------------------------------------

    def try_admit(
        self, tokens: int, *, now: float, is_paced: bool = True
    ) -> Reservation | Rejected:
        outcome = super().try_admit(tokens, now=now, is_paced=is_paced)
        if isinstance(outcome, Rejected):
            self._wanted += self._is_full(now)
            if self.tokens is not None:
                self.tokens.want(tokens)
        return outcome

    def try_request(self, *, now: float, will_run: bool = False) -> Rejected | None:
        self._run_out(now)
        refused = super().try_request(now=now, will_run=will_run)
        if refused is not None and refused.reason is RejectReason.TENANT_CONCURRENCY:
            self._wanted += 1
        elif refused is not None and self.requests is not None:
            self.requests.want(1)
        return refused

    def refusal(
        self, tokens: int, *, now: float, is_paced: bool = True, is_counted: bool = False
    ) -> Rejected | None:
        self._run_out(now)
        return super().refusal(tokens, now=now, is_paced=is_paced, is_counted=is_counted)

    def try_charge(self, tokens: int, *, now: float) -> Reservation | None:
        self._run_out(now)
        return super().try_charge(tokens, now=now)

    def is_short(self, tokens: int, *, now: float, is_counted: bool = False) -> bool:
        """Return whether the tenant's whole limits have room for a request refused here."""
        limit = self.config.concurrent_requests
        if limit is not None and self._open + self._used_elsewhere >= limit:
            return False
        buckets = ((None if is_counted else self.requests, 1), (self.tokens, tokens))
        return self._debt_s(now) <= MAX_DEBT_S and not any(
            bucket is not None and bucket.known_wait_s(cost, now=now) > 0
            for bucket, cost in buckets
        )

    def _is_full(self, now: float) -> bool:
        limit = self.config.concurrent_requests
        return limit is not None and self._open >= self._safe_permits(limit, now) + self.permits

    def _safe_permits(self, limit: int, now: float) -> int:
        # Permits are whole: where the limit is small, none are safe.
        return int(limit * self._terms.safe_share) if self._expiry.has_seat(now) else 0

    def _debt_s(self, now: float) -> float:
        """Return the seconds of the tenant's whole rate that are owed, here and elsewhere."""
        rate = self.config.tokens_per_second
        if rate is None or self.pacer is None:
            return 0.0
        return (self.pacer.backlog(now=now) + self._backlog_elsewhere) / rate

    # -- the lease ------------------------------------------------------------------------

    @property
    def limits_nothing(self) -> bool:
        """Return whether there is nothing to lease."""
        return self.config == CeilingConfig(contended_from=self.config.contended_from)

    def is_quiet(self, now: float) -> bool:
        """Return whether no request arrives, runs or waits, and no delivery is owed."""
        backlog = 0.0 if self.pacer is None else self.pacer.backlog(now=now)
        return not (self._open or self._wanted or backlog)

    @property
    def holds_tokens(self) -> bool:
        """Return whether tokens are to be given back, or owed, or waited for."""
        return any(not x.is_idle for x in self._buckets)

    def release(self, *, now: float) -> None:
        """Give up the share and the permits."""
        self.share, self.permits = 0.0, 0
        self._backlog_elsewhere, self._used_elsewhere = 0.0, 0
        self._pace(now)

    def report(self, *, gives_up: bool, now: float) -> TenantDemand:
        """Return what to tell the ledger; `gives_up`: all that is leased goes back."""
        self._run_out(now)
        if gives_up:
            self.release(now=now)
        return TenantDemand(
            self._report_rate(now),
            None if self.tokens is None else self.tokens.report(gives_up=gives_up, now=now),
            None if self.requests is None else self.requests.report(gives_up=gives_up, now=now),
            self._report_permits(now),
        )

    def _report_rate(self, now: float) -> RateDemand | None:
        rate = self.config.tokens_per_second
        if rate is None or self.pacer is None:
            return None
        self._demand.observe(self.pacer.booked, now)
        backlog = self.pacer.backlog(now=now)
        demand = min(1.0, (self._demand.per_s + backlog) / rate)
        if backlog:
            # Without a seat there is no safe capacity that would deliver it.
            demand = max(demand, LEAST_DEMAND)
        return RateDemand(self.share, demand if demand >= LEAST_DEMAND else 0.0, backlog)

    def _report_permits(self, now: float) -> PermitDemand | None:
        limit, wanted, self._wanted = self.config.concurrent_requests, self._wanted, 0
        if limit is None:
            return None
        leased = limit - self._terms.seats * int(limit * self._terms.safe_share)
        used = max(0, self._open - self._safe_permits(limit, now))
        return PermitDemand(leased, max(self.permits, used), used, wanted)

    def apply(self, grant: TenantGrant, *, epoch: int, number: int, now: float) -> None:
        """Take the ledger's answer to the last report, of that epoch and number."""
        for bucket, part in ((self.tokens, grant.tokens), (self.requests, grant.requests)):
            if bucket is not None and part is not None:
                bucket.apply(part, epoch=epoch, number=number, now=now)
        if grant.permits is not None:
            self.permits, self._used_elsewhere = grant.permits
        if grant.rate is not None:
            self.share, self._backlog_elsewhere = grant.rate
        self._pace(now)

    def _run_out(self, now: float) -> None:
        """Leave only the safe capacity, if the lease is over."""
        if not self._expiry.has_lease(now):
            self.release(now=now)
            for bucket in self._buckets:
                bucket.run_out()

    def _pace(self, now: float) -> None:
        """Pace by lease and safe capacity, then by what outlasts the other, then not at all."""
        if self.pacer is None:
            return
        rate = self.config.tokens_per_second or 0.0
        safe, share = rate * self._terms.safe_share, rate * self._terms.leased * self.share
        lease, seat = self._expiry.lease_until, self._expiry.seat_until
        then = share if lease > seat else safe
        steps = [Step(min(lease, seat), safe + share), Step(max(lease, seat), then)]
        self.pacer.set_steps(steps, now=now)
