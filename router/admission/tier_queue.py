"""The tiers of a lane: what waits, how fast it starts, and what the refused are told."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from operator import attrgetter

from router.admission.fair_queue import FairQueue
from router.admission.kv_budget import KvBudgets
from router.admission.slots import DrainRate, Need
from router.admission.ticket import Stage, Ticket, Tier
from router.errors import Rejected, RejectReason


class TierQueue:
    """The waiting requests of a tier, and the slots that those which run hold.

    `held_back`, by age, wait for room in their tenant's KV budget, with no place in the queue.
    """

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.queue: FairQueue[Ticket] = FairQueue()
        self.running = 0
        self.held_back: OrderedDict[Ticket, None] = OrderedDict()
        self.drain = DrainRate()

    @property
    def waiting(self) -> int:
        return len(self.queue) + len(self.held_back)

    def newest(self) -> Ticket | None:
        """Return the one to shed first: of those held back the last, else the last of all."""
        return next(reversed(self.held_back), None) or self.queue.newest()

    def let_in(self, ticket: Ticket, now: float) -> None:
        """Queue a request that was held back, as if its tenant came back from idle."""
        del self.held_back[ticket]
        old = ticket.account
        ticket.account = self.queue.account(old.tenant, old.weight)
        self.push(ticket, now)

    def push(self, ticket: Ticket, now: float) -> None:
        self.queue.push(ticket, is_background=ticket.is_background)
        self.drain.note_waiting(is_waiting=True, now=now)

    def remove(self, ticket: Ticket, now: float, *, starts: bool) -> bool:
        """Take a request out, to start it or not; return whether it stood in the queue."""
        if ticket in self.held_back:
            del self.held_back[ticket]
            return False
        self.queue.remove(ticket, starts=starts)
        if starts:
            self.drain.note_start(now=now)
        if not len(self.queue):
            self.drain.note_waiting(is_waiting=False, now=now)
        return True

    def is_hopeless(self, ticket: Ticket, now: float) -> bool:
        """Return whether a new request is known not to start before its deadline.

        Not when none waits: the pace is of when some did, and the first to wait again is
        the one that finds the new pace.
        """
        if not len(self.queue):
            return False
        wait = self.drain.wait_s(self._position(ticket), now=now)
        return wait is not None and now + wait > ticket.deadline

    def _position(self, ticket: Ticket) -> int:
        """Return where a new request comes to stand, at best.

        Behind its tenant's own that go first, and for each of those behind one of every other
        tenant.
        """
        queue, kind = self.queue, ticket.is_background
        own = ticket.account.ahead_of_new(ticket.user, is_background=kind)
        others = len(queue) - own
        return 1 + own + min(others, own * max(0, queue.waiting_tenants - 1))

    def busy(self, now: float) -> Rejected:
        """Return a 429: come when all that wait now have started, at the pace of late."""
        wait = self.drain.wait_s(len(self.queue) + 1, now=now)
        return Rejected(RejectReason.SHED, "The model is busy; try again later.", _least(wait))

    def late(self, now: float) -> Rejected:
        """Return a 504: come when a new request would start in time, at the pace of late."""
        wait = self.drain.wait_s(len(self.queue) + 1, now=now)
        if wait is not None:
            wait -= self.tier.start_within_s or 0.0
        message = "The request could not start in time."
        return Rejected(RejectReason.DEADLINE_EXCEEDED, message, _least(wait))


class TierQueues:
    """All tiers of one lane, and what waits in them.

    Attributes:
        in_order: the tiers; the first is served first.
        sheddable: those that are shed; the first goes first.
        waiting: requests that wait, held back or not.
        kv: the tenants' KV budgets.
        need: what protected work runs in, or waits for; LaneQueue adds what starts at once.

    """

    def __init__(self, need: Need) -> None:
        self.in_order: list[TierQueue] = []
        self.sheddable: list[TierQueue] = []
        self.waiting = 0
        self.kv: KvBudgets[Ticket] = KvBudgets()
        self.need = need
        self._by_name: dict[str, TierQueue] = {}
        self._deadlines: list[tuple[float, int, Ticket]] = []
        self._numbers = itertools.count()

    def part(self, tier: Tier) -> TierQueue:
        """Return a tier's queue, which is new where the tier is."""
        part = self._by_name.get(tier.name)
        if part is None:
            part = self._by_name[tier.name] = TierQueue(tier)
            self.in_order.append(part)
        elif part.tier is tier:
            return part
        # New, or the file was read again. What is here keeps what it came with.
        part.tier = tier
        self.in_order.sort(key=attrgetter("tier.priority", "tier.name"))
        self.sheddable = [other for other in reversed(self.in_order) if other.tier.sheddable]
        return part

    def part_of(self, ticket: Ticket) -> TierQueue:
        return self._by_name[ticket.tier.name]

    def push(self, ticket: Ticket, now: float) -> None:
        self.part_of(ticket).push(ticket, now)
        self.note_need(ticket, ticket.cost, now)
        self._wait(ticket)

    def hold_back(self, ticket: Ticket) -> None:
        self.part_of(ticket).held_back[ticket] = None
        self._wait(ticket)

    def remove(self, ticket: Ticket, now: float, *, starts: bool = False) -> None:
        self.waiting -= 1
        if self.part_of(ticket).remove(ticket, now, starts=starts) and not starts:
            self.note_need(ticket, -ticket.cost, now)

    def refuse(self, ticket: Ticket, refused: Rejected, now: float) -> None:
        self.remove(ticket, now)
        self.turn_away(ticket, refused, now)
        ticket.tell()

    def turn_away(self, ticket: Ticket, refused: Rejected, now: float) -> None:
        """Refuse a request that has not begun to wait."""
        ticket.stage, ticket.refused = Stage.REFUSED, refused
        self.give_back(ticket, now)

    def give_back(self, ticket: Ticket, now: float) -> None:
        """Free a request's KV tokens; those that waited for them come into the queue."""
        for other in self.kv.leave(ticket):
            self.part_of(other).let_in(other, now)
            self.note_need(other, other.cost, now)

    def note_need(self, ticket: Ticket, cost: int, now: float) -> None:
        """Count a request's slots as needed, if it is protected."""
        if not ticket.tier.sheddable:
            self.need.add(cost, now=now)

    def next_deadline(self) -> float | None:
        """Return when to ask for `late` again."""
        return self._deadlines[0][0] if self._deadlines else None

    def late(self, now: float) -> Iterator[Ticket]:
        """Yield requests that wait, newly past their deadline, and not overdue before."""
        while self._deadlines and self._deadlines[0][0] <= now:
            ticket = heapq.heappop(self._deadlines)[2]
            if ticket.stage is Stage.WAITING and ticket.overdue is None:
                yield ticket

    def _wait(self, ticket: Ticket) -> None:
        self.waiting += 1
        if ticket.deadline == float("inf"):
            return
        heapq.heappush(self._deadlines, (ticket.deadline, next(self._numbers), ticket))
        if len(self._deadlines) > 2 * self.waiting + 64:
            # Most are of requests that no longer wait.
            kept = [entry for entry in self._deadlines if entry[2].stage is Stage.WAITING]
            heapq.heapify(kept)
            self._deadlines = kept


def over_budget() -> Rejected:
    """Return a 429: the tenant's own limit, whatever the lane has room for."""
    message = "The tenant's share of the model's KV cache is in use; its requests wait for it."
    return Rejected(RejectReason.TENANT_CONCURRENCY, message, _least(None))


def _least(wait_s: float | None) -> float:
    """Return a second at least, also where the pace is not known."""
    return max(1.0, wait_s or 0.0)
