"""Sheddable work goes for the sake of protected work.

**Protected work is never refused before sheddable.** A protected request whose deadline has
passed, is sure to, or which finds the queue full is *overdue*. It stays in the queue, and first

1. sheddable requests that run and have sent nothing are evicted, one slot for each it needs;
2. then, when none is left, sheddable requests that wait are shed;
3. then the other ingress replicas must say that they hold no such work of the lane either;

and only then is it refused. Where step 3 cannot be answered, it waits, for the grace at
most. Where another ingress replica is at step 3, sheddable work goes here, too
(`yield_to_protected`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from router.admission.ticket import Stage, Ticket
from router.admission.tier_queue import TierQueue, TierQueues, over_budget
from router.errors import Rejected

Peers = Callable[[], int | None]
"""A count of the lane at the other ingress replicas, as of now; None: not known."""


class Preemption:
    """What sheddable work of a lane can still be told to go, and what it has to go for.

    `unconfirmed` counts protected requests refused though the peers' count was not known.
    """

    def __init__(self, queues: TierQueues, peers: Peers) -> None:
        self._queues, self._peers = queues, peers
        self.unconfirmed = 0
        # Sheddable work that runs and has sent nothing, oldest first; its slots that were
        # told to go.
        self._unbegun: OrderedDict[Ticket, None] = OrderedDict()
        self._leaving = 0
        # Since when each is.
        self._overdue: OrderedDict[Ticket, float] = OrderedDict()
        self._overdue_cost = 0
        self._yields = False
        self._drains_until = 0.0

    def note_start(self, ticket: Ticket) -> None:
        self._forget_overdue(ticket)
        if ticket.tier.sheddable:
            self._unbegun[ticket] = None

    def note_begin(self, ticket: Ticket) -> None:
        self._unbegun.pop(ticket, None)

    def note_end(self, ticket: Ticket) -> None:
        """Forget a request that is over; its stage still says whether it waited or ran."""
        self._forget_overdue(ticket)
        self._unbegun.pop(ticket, None)
        if ticket.stage is Stage.EVICTED:
            self._leaving -= ticket.cost

    def note_overdue(self, ticket: Ticket, refused: Rejected, now: float) -> None:
        """Note a protected request that is to be refused, after all sheddable ones."""
        ticket.overdue = refused
        self._overdue[ticket] = now
        self._overdue_cost += ticket.cost

    def _forget_overdue(self, ticket: Ticket) -> None:
        if self._overdue.pop(ticket, None) is not None:
            self._overdue_cost -= ticket.cost

    @property
    def has_overdue(self) -> bool:
        return bool(self._overdue)

    def is_closed(self, now: float) -> bool:
        """Return whether no sheddable work is let in: what there is has to go."""
        return (
            self._yields or now < self._drains_until or (bool(self._overdue) and not self._unbegun)
        )

    def wants_preemption(self, now: float) -> bool:
        """Return whether protected work waits for nothing but the peers' sheddable work."""
        return now < self._drains_until or (bool(self._overdue) and not self.sheddable_held())

    def sheddable_held(self) -> int:
        """Return how many sheddable requests wait here or have sent nothing."""
        queued = sum(part.waiting for part in self._queues.sheddable)
        return queued + len(self._unbegun)

    def preempt(self, now: float, grace_s: float) -> bool:
        """Make room for overdue work; refuse it, and return True, when none is left to make."""
        if not self._overdue:
            return False
        self._evict(self._overdue_cost - self._leaving, now)
        if self._unbegun:
            # Their slots come back in a moment.
            return False
        self.shed_all(now)
        peers = self._peers()
        if peers:
            return False
        while self._overdue:
            ticket, since = next(iter(self._overdue.items()))
            if peers is None and now - since < grace_s:
                break
            assert ticket.overdue is not None
            self.unconfirmed += peers is None
            self._forget_overdue(ticket)
            self._queues.refuse(ticket, ticket.overdue, now)
        return True

    def yield_to_protected(self, *, yields: bool, now: float) -> None:
        """Hold no sheddable work that has sent nothing, for the sake of other replicas'."""
        self._yields = yields
        if yields:
            self.evict_all(now)
            self.shed_all(now)

    def drain_sheddable(self, now: float, for_s: float = 0.0) -> bool:
        """Shed and evict all that has sent nothing; return whether no replica holds any.

        For protected work that no replica of the lane can serve; for `for_s` no other
        sheddable work is let in.
        """
        self._drains_until = max(self._drains_until, now + for_s)
        self.evict_all(now)
        self.shed_all(now)
        return not self._unbegun and self._peers() == 0

    def make_room(self, part: TierQueue, now: float) -> bool:
        """Refuse the newest that is held back, else of the lowest sheddable tier under `part`.

        Return whether there was one.
        """
        for other in reversed(self._queues.in_order):
            if other.held_back and other.tier.priority >= part.tier.priority:
                self._queues.refuse(next(reversed(other.held_back)), over_budget(), now)
                return True
        for other in self._queues.sheddable:
            if other.waiting and other.tier.priority > part.tier.priority:
                self.shed(other, other.waiting - 1, now)
                return True
        return False

    def shed(self, part: TierQueue, keep: int, now: float) -> None:
        """Refuse the newest of a sheddable tier until `keep` wait."""
        while part.waiting > keep and (ticket := part.newest()) is not None:
            self._queues.refuse(ticket, part.busy(now), now)

    def shed_all(self, now: float) -> None:
        for part in self._queues.sheddable:
            self.shed(part, 0, now)

    def evict_all(self, now: float) -> None:
        self._evict(sum(ticket.cost for ticket in self._unbegun), now)

    def _evict(self, slots: int, now: float) -> None:
        """End such work, newest first, until so many slots more are told to go."""
        for ticket in list(reversed(self._unbegun)) if slots > 0 else ():
            if slots <= 0:
                return
            if ticket.stage is Stage.RUNNING:
                slots -= ticket.cost
                self._leaving += ticket.cost
                ticket.stage = Stage.EVICTED
                ticket.refused = self._queues.part_of(ticket).busy(now)
                ticket.tell()
