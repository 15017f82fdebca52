"""Until when the leases of one ingress replica hold."""

from __future__ import annotations

from dataclasses import dataclass

from router.leases.messages import DRIFT, LeaseTerms


@dataclass(slots=True)
class LeaseExpiry:
    """Until when an ingress replica's leases and its seat hold, on its own clock.

    Attributes:
        seated_at: since when it has had its seat without a break.

    """

    lease_until: float = float("-inf")
    seat_until: float = float("-inf")
    seated_at: float = float("inf")

    def has_lease(self, now: float) -> bool:
        """Return whether what the ledger granted holds."""
        return now < self.lease_until

    def has_seat(self, now: float) -> bool:
        """Return whether the safe capacities hold."""
        return now < self.seat_until

    def renew(self, terms: LeaseTerms, sent_at: float, *, has_seat: bool, now: float) -> None:
        """Extend the leases, and the seat if there is one: a report of `sent_at` was answered."""
        if not self.has_seat(now):
            self.seated_at = now
        # Our clock may be slower than the ledger's.
        self.lease_until = sent_at + terms.lease_s * (1 - DRIFT)
        self.seat_until = sent_at + terms.seat_s * (1 - DRIFT) if has_seat else now
