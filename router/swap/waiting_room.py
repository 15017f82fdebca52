"""How many requests may wait for lanes of a pool, and how many of one tenant.

A lane that generates has given the request a slot before it waits here, in the order of tiers
and tenants. One that embeds or scores gives none out, so that here is the only bound: without
shares, one tenant's batch would have every place.
"""

from __future__ import annotations

from collections import Counter


class WaitingRoom:
    """Places, of which a tenant may have as many as are left free.

    That is the dynamic threshold of Choudhury and Hahne (IEEE/ACM Transactions on Networking 6(2),
    1998) with a factor of 1: one tenant alone has half of the places, two have a third each, and
    there is always one left for whoever comes first.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: Counter[str] = Counter()
        self.waiting = 0

    def try_enter(self, tenant: str) -> bool:
        """Take a place, unless the tenant has its share; `leave` gives it back."""
        # Not counted yet: a name that is only asked for is not kept.
        if self._waiting.get(tenant, 0) >= self._places - self.waiting:
            return False
        self._waiting[tenant] += 1
        self.waiting += 1
        return True

    def leave(self, tenant: str) -> None:
        self.waiting -= 1
        self._waiting[tenant] -= 1
        if not self._waiting[tenant]:
            del self._waiting[tenant]
