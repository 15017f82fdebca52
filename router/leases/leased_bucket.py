"""A tenant's tokens (or requests) per minute, as one ingress replica holds them.

Three parts. The **stash** are tokens that the ledger has handed out: nothing is added to
it but by the ledger, and it is void when the lease runs out. The **floor** is a small bucket
of this ingress replica's own, as long as it has its seat. The **mirror** is what is known
of the tenant's one bucket: it refuses nothing, but says what is left everywhere, how long
to wait, and how much of a reservation may be given back.
"""

from __future__ import annotations

from math import exp

from router.leases.messages import BucketDemand, BucketGrant, LeaseTerms
from router.limits.ceiling import MINUTE_S, Bucket

# A whole bucket may be short of its sum by rounding.
NEARLY = 1.0 - 1e-6

PACE_S = 2.0
"""Spending is remembered with this time constant."""


class LeasedBucket:
    """What one tenant may still spend here.

    Args:
        seated_s: for how long the floor has filled.
        has_past: there was another limit before, of which things were spent.

    Attributes:
        stash: what is left of the tokens that were handed out; negative: owed.
        floor: this ingress replica's own bucket.

    """

    def __init__(
        self,
        limit: float,
        terms: LeaseTerms,
        *,
        seated_s: float,
        now: float,
        has_past: bool = False,
    ) -> None:
        self.limit = limit
        self._leased = limit * terms.leased
        self._mirror = Bucket(self._leased, MINUTE_S, now=now, refunds=True)
        # Nobody knows what was spent of it before: it has filled for as long as its seat.
        self.floor = Bucket(limit * terms.floor, MINUTE_S, now=now, refunds=True)
        self.floor.correct(seated_s * limit * terms.floor / MINUTE_S, now=now)
        self.stash = 0.0
        self._returned = 0.0
        self._need = 0.0
        self._pace = 0.0
        self._spent = 0.0
        self._reported_at = now
        # Spent of the stash since the last report: the answer does not know of it.
        self._since_report = 0.0
        self._is_known = False
        # For a ledger that comes after this one: see `BucketDemand`.
        self._epoch = -1 if has_past else 0
        self._number = 0
        self._level = 0.0
        self._unanswered = 0.0
        self._told_at = float("-inf")
        self._has_reported = False

    # -- spending -------------------------------------------------------------

    @property
    def most(self) -> float:
        """All that there can be in one ingress replica: what is leased, and its own floor."""
        return self._leased + self.floor.limit

    def has_room(self, tokens: float, *, has_seat: bool, now: float) -> bool:
        """Whether the tokens are here. A request larger than all there can be needs all."""
        floor = self.floor.level(now=now) if has_seat else 0.0
        most = self._leased + (self.floor.limit if has_seat else 0.0)
        return self.stash + floor >= min(tokens, most) * NEARLY

    def charge(self, tokens: float, *, has_seat: bool, now: float) -> float:
        """Spend; returns how much of it came from the floor."""
        floor = 0.0
        if has_seat:
            missing = max(0.0, tokens - max(0.0, self.stash))
            floor = min(missing, max(0.0, self.floor.level(now=now)))
            self.floor.charge(floor, now=now)
        self._spend(tokens - floor, now)
        self._spent += tokens
        return floor

    def settle(self, unused: float, floor: float, *, since: float, now: float) -> None:
        """Give back what a reservation made at `since` did not use; negative: it used more."""
        if unused <= 0:
            self._spend(-unused, now)
            return
        to_floor = min(unused, floor)
        self.floor.charge(-self.floor.refundable(to_floor, since=since, now=now), now=now)
        rest = self._mirror.refundable(unused - to_floor, since=since, now=now)
        self._spend(-rest, now)

    def _spend(self, tokens: float, now: float) -> None:
        self.stash -= tokens
        self._since_report += tokens
        self._mirror.charge(tokens, now=now)

    def forget_peaks(self) -> None:
        """Nothing is reserved any more."""
        self._mirror.forget_peaks()
        self.floor.forget_peaks()

    # -- what is known of the whole ---------------------------------------------

    def remaining(self, *, has_seat: bool, now: float) -> float:
        """Left in the minute, as far as it is known here."""
        return self._mirror.level(now=now) + (self.floor.level(now=now) if has_seat else 0.0)

    def wait_s(self, tokens: float, *, has_seat: bool, now: float) -> float:
        """Seconds until the tenant's whole limit has room for the tokens."""
        needed = min(tokens, self._leased) * NEARLY
        missing = needed - self.remaining(has_seat=has_seat, now=now)
        return max(0.0, missing) * MINUTE_S / self._leased

    # -- the lease ----------------------------------------------------------------

    def want(self, tokens: float) -> None:
        self._need += tokens

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to tell the ledger."""
        return self.stash == 0.0 and self._need == 0.0

    def report(self, *, gives_up: bool, now: float) -> BucketDemand:
        """What to tell the ledger; `gives_up`: everything goes back."""
        step = now - self._reported_at
        if step > 0:
            keep = exp(-step / PACE_S)
            self._pace = keep * self._pace + (1 - keep) * self._spent / step
            self._spent, self._reported_at = 0.0, now
        if gives_up:
            self._keep(0.0)
            self._pace = 0.0
        # Any of the reports since may have been the last that was taken, lost answer or not.
        self._unanswered = max(0.0, self._unanswered + self._since_report)
        self._has_reported = True
        need, self._need, self._since_report = self._need, 0.0, 0.0
        return BucketDemand(
            self._leased,
            self.stash,
            self._returned,
            need,
            self._pace,
            self._epoch,
            self._number,
            self._level,
            self._unanswered,
            now - self._told_at,
        )

    def apply(self, grant: BucketGrant, *, epoch: int, number: int, now: float) -> None:
        # To a bucket that has not reported it says what became of the one before.
        self._epoch, self._number = epoch if number and self._has_reported else -1, number
        self._level, self._unanswered, self._told_at = grant.level, 0.0, self._reported_at
        self._mirror.correct(grant.level - self._since_report, now=now)
        if not self._is_known:
            # It was reckoned full for want of knowledge: that was no peak.
            self._mirror.forget_peaks()
            self._is_known = True
        self.stash += grant.add
        if grant.keep is not None:
            self._keep(grant.keep)

    def run_out(self) -> None:
        """The lease is over: what is left of the stash is void."""
        self.stash = min(0.0, self.stash)

    def _keep(self, tokens: float) -> None:
        excess = max(0.0, self.stash - tokens)
        self.stash -= excess
        self._returned += excess
