"""One tier's part of a lane: who waits, how fast they start, and what to tell who may not."""

from __future__ import annotations

from collections import OrderedDict

from router.admission.fair_queue import FairQueue
from router.admission.slots import DrainRate
from router.admission.ticket import Ticket, Tier
from router.errors import Rejected, RejectReason


class TierQueue:
    """The waiting requests of a tier.

    Attributes:
        running: slots that its requests hold.
        drain: the pace at which those who waited have started.
        held_back: requests that wait for room in their tenant's KV budget, by age; they
            have no place in the queue.

    """

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.queue: FairQueue[Ticket] = FairQueue()
        self.running = 0
        self.held_back: OrderedDict[Ticket, None] = OrderedDict()
        self.drain = DrainRate()

    @property
    def rank(self) -> tuple[int, str]:
        """Tiers go in this order."""
        return (self.tier.priority, self.tier.name)

    @property
    def waiting(self) -> int:
        """Requests that wait, held back or not."""
        return len(self.queue) + len(self.held_back)

    def newest(self) -> Ticket | None:
        """The one to shed first: of those held back the last, else the last of all."""
        return next(reversed(self.held_back), None) or self.queue.newest()

    def let_in(self, ticket: Ticket, now: float) -> None:
        """Queue a request that was held back, as if its tenant came back from idle."""
        del self.held_back[ticket]
        old = ticket.account
        ticket.account = self.queue.account(old.tenant, old.weight)
        self.push(ticket, now)

    def push(self, ticket: Ticket, now: float) -> None:
        self.queue.push(ticket)
        self.drain.note_waiting(is_waiting=True, now=now)

    def remove(self, ticket: Ticket, now: float, *, starts: bool) -> bool:
        """Take a request out, to start it or not; whether it stood in the queue."""
        if ticket in self.held_back:
            del self.held_back[ticket]
            return False
        self.queue.remove(ticket)
        if starts:
            self.drain.note_start(now=now)
        if not len(self.queue):
            self.drain.note_waiting(is_waiting=False, now=now)
        return True

    def is_hopeless(self, ticket: Ticket, now: float) -> bool:
        """Whether a new request is known not to start before its deadline.

        Not when nobody waits: the pace is of when somebody did, and the first to wait
        again is who finds the new one.
        """
        if not len(self.queue):
            return False
        wait = self.drain.wait_s(self._position(ticket), now=now)
        return wait is not None and now + wait > ticket.deadline

    def _position(self, ticket: Ticket) -> int:
        """Where a new request comes to stand, at best.

        Behind its tenant's own, and for each of those behind one of every other tenant.
        """
        queue, own = self.queue, len(ticket.account.queued)
        others = len(queue) - own
        return 1 + own + min(others, own * max(0, queue.waiting_tenants - 1))

    def busy(self, now: float) -> Rejected:
        """429: come when all who wait now have started, at the pace of late."""
        wait = self.drain.wait_s(len(self.queue) + 1, now=now)
        return Rejected(RejectReason.SHED, "The model is busy; try again later.", _least(wait))

    def late(self, now: float) -> Rejected:
        """504: come when a new request would start in time, at the pace of late."""
        wait = self.drain.wait_s(len(self.queue) + 1, now=now)
        if wait is not None:
            wait -= self.tier.start_within_s or 0.0
        message = "The request could not start in time."
        return Rejected(RejectReason.DEADLINE_EXCEEDED, message, _least(wait))


def over_budget() -> Rejected:
    """429: the tenant's own limit, whatever the lane has room for."""
    message = "The tenant's share of the model's KV cache is in use; its requests wait for it."
    return Rejected(RejectReason.TENANT_CONCURRENCY, message, _least(None))


def _least(wait_s: float | None) -> float:
    """A second at least, also where the pace is not known."""
    return max(1.0, wait_s or 0.0)
