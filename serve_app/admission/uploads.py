"""Requests whose body is still arriving: how many of one tenant, and of all, at once.

A request holds one of the places that Serve has on an ingress replica
(`ingress.max_ongoing_requests`) from its header on, however slowly its body comes. Half of
the places are for bodies. A tenant may have as many of those as are free: alone it gets a
quarter of all places, two a sixth each, and however many take theirs, there are free ones.
"""

from __future__ import annotations

from collections import Counter

from router.errors import Rejected, RejectReason

TOO_MANY = Rejected(
    RejectReason.TENANT_CONCURRENCY, "Too many requests whose body has not arrived.", 1.0
)


class Uploads:
    """Those of one ingress replica, on which Serve lets `places` requests in at once.

    Attributes:
        held: by tenant; one that has none is not in it.
        count: of all tenants.

    """

    def __init__(self, places: int) -> None:
        self._most = max(1, places // 2)
        self.held: Counter[str] = Counter()
        self.count = 0

    def try_begin(self, tenant: str, most: int) -> Rejected | None:
        """Count a request of the tenant whose body arrives, or say why it may not.

        `most`: of one tenant, however many are free. `end` has to follow where it may.
        """
        held = self.held.get(tenant, 0)
        if held >= min(most, self._most - self.count):
            return TOO_MANY
        self.count += 1
        self.held[tenant] = held + 1
        return None

    def end(self, tenant: str) -> None:
        """Count one less: its body is here, or will not come."""
        self.count -= 1
        left = self.held.pop(tenant) - 1
        if left:
            self.held[tenant] = left
