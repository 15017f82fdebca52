"""A tenant's tokens (or requests) per minute, as one ingress replica holds them.

It has three parts. The tokens **held** are those that the ledger has handed out. Only the
ledger adds to them, and they are void when the lease runs out. The **safe** capacity is a
small bucket of this ingress replica's own, which it may use while it has its seat. The **known
level** is what is known of the tenant's one bucket. It refuses nothing: it says what is left
everywhere, how long to wait, and how much of a reservation may be given back.
"""

from __future__ import annotations

from math import exp

from router.leases.expiry import LeaseExpiry
from router.leases.messages import BucketDemand, BucketGrant, LeaseTerms
from router.limits.bucket import MINUTE_S, Bucket, RateLimitState

# The parts of a whole bucket may add up to less, by rounding.
NEARLY = 1.0 - 1e-6

PACE_S = 2.0
"""Time constant of the average of what is spent a second."""

SHORT_S = 1.0
"""When to come back where the whole limit has room, and only the lease is short."""


class MovingRate:
    """Exponentially weighted moving average of a rate, in units a second."""

    def __init__(self, fades_s: float, *, now: float) -> None:
        self._fades_s, self._at = fades_s, now
        self._total = 0.0
        self.per_s = 0.0

    def observe(self, total: float, now: float) -> None:
        """Take the number of units that were counted so far."""
        if now > self._at:
            keep = exp((self._at - now) / self._fades_s)
            new = (total - self._total) / (now - self._at)
            self.per_s = keep * self.per_s + (1 - keep) * new
            self._total, self._at = total, now


class LeasedBucket(Bucket):
    """What one tenant may still spend here; as a bucket, its level is the known level.

    Args:
        has_past: the tenant had another limit before, and has spent of that.

    Attributes:
        limit: the leased part of the tenant's limit.
        whole: the tenant's limit a minute.
        held: what is left of the tokens that were handed out; negative: owed.
        safe: this ingress replica's own bucket.

    """

    def __init__(
        self, limit: float, terms: LeaseTerms, expiry: LeaseExpiry, *, now: float, has_past: bool
    ) -> None:
        super().__init__(limit * terms.leased, now=now, refunds=True)
        self.whole = limit
        self.held = 0.0
        self.safe = Bucket(limit * terms.safe_share, now=now, refunds=True)
        # What was spent of it before is not known. It has filled since the seat was given.
        seated_s = max(0.0, now - expiry.seated_at) if expiry.has_seat(now) else 0.0
        self.safe.correct(seated_s * limit * terms.safe_share / MINUTE_S, now=now)
        self._expiry = expiry
        self._pace = MovingRate(PACE_S, now=now)
        self._spent = 0.0
        # Spent of what is held since the last report; the answer to that does not know of it.
        self._since_report = 0.0
        self._has_reported = self._is_known = False
        self._reported_at, self._told_at = now, float("-inf")
        self._said = BucketDemand(self.limit, epoch=-1 if has_past else 0)
        self._returned = self._need = 0.0

    # -- spending -------------------------------------------------------------

    @property
    def most(self) -> float:
        return self.limit + self.safe.limit

    def _safe_level(self, now: float) -> float:
        return self.safe.level(now=now) if self._expiry.has_seat(now) else 0.0

    def wait_s(self, tokens: float, *, now: float) -> float:
        """Return the seconds until it is worth asking again; 0: the tokens are here.

        A request that is larger than all there can be in one ingress replica needs all of it.
        """
        most = self.most if self._expiry.has_seat(now) else self.limit
        if self.held + self._safe_level(now) >= min(tokens, most) * NEARLY:
            return 0.0
        return self.known_wait_s(tokens, now=now) or SHORT_S

    def known_wait_s(self, tokens: float, *, now: float) -> float:
        """Return the seconds until the tenant's whole limit has room for the tokens."""
        missing = min(tokens, self.limit) * NEARLY - self._remaining(now)
        return max(0.0, missing) * MINUTE_S / self.limit

    def charge(self, tokens: float, *, now: float) -> float:
        missing = max(0.0, tokens - max(0.0, self.held))
        safe = min(missing, max(0.0, self._safe_level(now)))
        if safe:
            self.safe.charge(safe, now=now)
        self._spend(tokens - safe, now)
        self._spent += tokens
        return safe

    def give_back(self, unused: float, safe: float, /, *, since: float, now: float) -> None:
        """Give back what a reservation of `since` did not use; negative: it used more.

        `safe` is how much of the reservation came from the safe capacity.
        """
        if unused > 0:
            to_safe = min(unused, safe)
            self.safe.give_back(to_safe, 0.0, since=since, now=now)
            unused = self.refundable(unused - to_safe, since=since, now=now)
        self._spend(-unused, now)

    def _spend(self, tokens: float, now: float) -> None:
        self.held -= tokens
        self._since_report += tokens
        super().charge(tokens, now=now)

    def forget_peaks(self) -> None:
        super().forget_peaks()
        self.safe.forget_peaks()

    def _remaining(self, now: float) -> float:
        return self.level(now=now) + self._safe_level(now)

    def state(self, *, now: float) -> RateLimitState:
        """Return what is left of the whole limit, as far as it is known here."""
        left = max(0.0, self._remaining(now))
        reset_s = max(0.0, self.whole - left) * MINUTE_S / self.whole
        return RateLimitState(int(self.whole), int(left), reset_s)

    # -- the lease ----------------------------------------------------------------

    def want(self, tokens: float) -> None:
        self._need += tokens

    @property
    def is_idle(self) -> bool:
        """Return whether there is nothing to tell the ledger."""
        return self.held == 0.0 and self._need == 0.0

    def report(self, *, gives_up: bool, now: float) -> BucketDemand:
        """Return what to tell the ledger; `gives_up`: all that is held goes back."""
        self._pace.observe(self._spent, now)
        if gives_up:
            self._keep(0.0)
            self._pace.per_s = 0.0
        # Any of the reports since then may have been the last that the ledger took, because
        # its answer may have been lost.
        unanswered = max(0.0, self._said.unanswered + self._since_report)
        self._said = self._said._replace(
            held=self.held,
            returned=self._returned,
            need=self._need,
            pace=self._pace.per_s,
            unanswered=unanswered,
            age_s=now - self._told_at,
        )
        self._need = self._since_report = 0.0
        self._has_reported, self._reported_at = True, now
        return self._said

    def apply(self, grant: BucketGrant, *, epoch: int, number: int, now: float) -> None:
        # A bucket that has not reported yet is told about the one with the limit before.
        epoch = epoch if number and self._has_reported else -1
        self._said = self._said._replace(
            epoch=epoch, number=number, level=grant.level, unanswered=0.0
        )
        self._told_at = self._reported_at
        self.correct(grant.level - self._since_report, now=now)
        if not self._is_known:
            # It was taken to be full because nothing was known. That was no peak.
            super().forget_peaks()
            self._is_known = True
        self.held += grant.add
        if grant.keep is not None:
            self._keep(grant.keep)

    def run_out(self) -> None:
        """Drop what is held, as the lease is over; what is owed stays owed."""
        self.held = min(0.0, self.held)

    def _keep(self, tokens: float) -> None:
        excess = max(0.0, self.held - tokens)
        self.held -= excess
        self._returned += excess
