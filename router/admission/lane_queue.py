"""Who starts next in a lane, who waits, and who is refused.

**Order.** Tiers strictly by priority; in a tier, tenants by `router.admission.fair_queue`. A request
that needs more slots than are empty holds back everyone behind it: nobody starves.

**With several ingress replicas** each has its part of the slots. Paid work may start beyond
it where the lane as a whole has slots that nobody has taken (`router.admission.slots`).

**Free work** (sheddable tiers) takes slots that paid work does not need: those that it
needed lately (`Need`) and a reserve on top stay empty. While the lane is saturated it is
held down to its `min_share`, shed, evicted, by `router.admission.saturation.Level`.

**Paid work is never refused before free.** A paid request whose deadline has passed, is
sure to, or which finds the queue full is *overdue*. It stays in the queue, and first

1. free requests that run and have sent nothing are evicted, one slot for each it needs;
2. then, when none is left, free requests that wait are shed;
3. then the other ingress replicas must say that they hold no free work of the lane either;

and only then is it refused. Where step 3 cannot be answered, it waits, for `grace_s` at
most. Where another ingress replica is at step 3, free work makes way here (`make_way`).

**A tenant over its KV budget** (`router.admission.kv_budget`) has its next requests held back: others
pass them by, they need no slots, and none of the above is done for them. Past its deadline,
or in a full queue, such a request is refused as its tenant's own matter.

Nothing here is shared between ingress replicas; `Peers` is what is known of the others.
Memory: `max_queued` waiting requests (past it only overdue ones), a ticket of about 300
bytes each, and what `FairQueue` says of accounts.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from operator import attrgetter

from router.admission.kv_budget import KvAsk, KvBudgets
from router.admission.saturation import Level
from router.admission.slots import TINY, Need, Slots
from router.admission.ticket import Stage, Ticket, Tier
from router.admission.tier_queue import TierQueue, over_budget
from router.errors import Rejected

Peers = Callable[[], int | None]
"""Free requests that the other ingress replicas hold for the lane, queued or before their
first token, as of now; None: not known."""

Elsewhere = Callable[[], int | None]
"""Slots of the lane that the other ingress replicas have taken; None: not known."""

SMALL_LANE = 4
"""A lane of fewer slots keeps none back for paid work that is not there."""

TICK_S = 0.1
"""How often to look again while free work is held, or paid work is overdue."""


def no_peers() -> int:
    """The only ingress replica."""
    return 0


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """Bounds of one lane's queue.

    Attributes:
        max_queued: requests that may wait.
        reserve_share: share of the slots kept empty for paid work beyond its recent need.
        forget_need_s: in this time a need of the whole lane is forgotten.
        grace_s: overdue paid work is refused after so long even if it is not known
            what the other ingress replicas hold.

    """

    max_queued: int = 1000
    reserve_share: float = 0.1
    forget_need_s: float = 5.0
    grace_s: float = 12.0


class LaneQueue:
    """The queue and the slots of one lane in one ingress replica."""

    def __init__(
        self,
        config: QueueConfig,
        capacity: int | None,
        peers: Peers = no_peers,
        elsewhere: Elsewhere = no_peers,
    ) -> None:
        self.config = config
        self.slots = Slots(capacity)
        self.level = Level.NORMAL
        self.kv: KvBudgets[Ticket] = KvBudgets()
        self._peers, self._elsewhere = peers, elsewhere
        self._need = Need(config.forget_need_s)
        self._tiers: list[TierQueue] = []
        self._by_name: dict[str, TierQueue] = {}
        self._queued = 0
        self._queued_cost = 0  # of paid work
        self._paid_running = 0
        self._free_running = 0
        # Free work that runs and has sent nothing, oldest first; and what of it must go.
        self._unbegun: OrderedDict[Ticket, None] = OrderedDict()
        self._leaving = 0
        # Since when each is.
        self._overdue: OrderedDict[Ticket, float] = OrderedDict()
        self._overdue_cost = 0
        self._makes_way = False
        self._clears_until = 0.0
        self.unconfirmed = 0
        """Paid requests refused though it was not known what the others hold."""
        self._deadlines: list[tuple[float, int, Ticket]] = []
        self._numbers = itertools.count()

    # -- what a request does ----------------------------------------------------

    def submit(
        self,
        tier: Tier,
        tenant: str,
        weight: float,
        prompt_tokens: int,
        copies: int,
        now: float,
        kv: KvAsk | None = None,
    ) -> Ticket:
        """Queue a request; it may have started, or been refused, on return.

        `kv`: what it needs of its tenant's KV budget, if that has one.
        """
        part = self._part(tier)
        within = float("inf") if tier.start_within_s is None else tier.start_within_s
        ticket = Ticket(
            part.tier,
            part.queue.account(tenant, weight),
            self.slots.cost(copies),
            prompt_tokens,
            now,
            now + within,
        )
        if kv is not None and not self.kv.enter(ticket, tenant, kv):
            self._hold_back(part, ticket, now)
            return ticket
        if self._queued == self.kv.waiting and self._may_start(part, ticket, now):
            self._start(part, ticket, now)
            return ticket
        refused = self._refusal(part, ticket, now)
        if refused is not None and tier.sheddable:
            ticket.stage, ticket.refused = Stage.REFUSED, refused
            self._give_back(ticket, now)
            return ticket
        part.push(ticket, now)
        self._note_queued(ticket, now)
        self._note_waiting(ticket)
        self._dispatch(now)
        if refused is not None and ticket.stage is Stage.WAITING:
            self._mark_overdue(ticket, refused, now)
        return ticket

    def begin(self, ticket: Ticket) -> None:
        """The request's first token is sent: it is not evicted any more."""
        ticket.has_begun = True
        self._unbegun.pop(ticket, None)

    def release(self, ticket: Ticket, output_tokens: int, now: float) -> None:
        """The request is over, in whatever way, or its client is gone. Idempotent."""
        part = self._by_name[ticket.tier.name]
        if ticket.stage is Stage.WAITING:
            self._take_out(part, ticket, now)
            ticket.stage = Stage.DONE
            self._give_back(ticket, now)
        elif ticket.stage in (Stage.RUNNING, Stage.EVICTED):
            self._end(part, ticket, output_tokens, now)
        else:
            return
        ticket.on_change = None
        self._dispatch(now)
        self._press(now)

    # -- what the lane does ------------------------------------------------------

    def set_level(self, level: Level, now: float) -> None:
        """The lane's saturation, as seen now."""
        self.level = level
        if level >= Level.SHED:
            for part in reversed(self._tiers):
                if not part.tier.sheddable:
                    break
                self._shed(part, self._share(part.tier), now)
        if level >= Level.EVICT:
            self._evict_all(now)
        self._dispatch(now)

    def set_capacity(self, capacity: int | None, now: float, lane: int | None = None) -> None:
        """So many slots from now on, of the lane's; what runs beyond them runs on."""
        self.slots.capacity, self.slots.lane = capacity, lane
        self._dispatch(now)

    def poll(self, now: float) -> None:
        """Let time have its effect: deadlines, needs that fade, peers that answer."""
        while self._deadlines and self._deadlines[0][0] <= now:
            ticket = heapq.heappop(self._deadlines)[2]
            if ticket.stage is Stage.WAITING and ticket.overdue is None:
                part = self._by_name[ticket.tier.name]
                refused = over_budget() if ticket in part.held_back else part.late(now)
                if ticket.tier.sheddable or ticket in part.held_back:
                    self._refuse(ticket, refused, now)
                else:
                    self._mark_overdue(ticket, refused, now)
        self._dispatch(now)
        self._press(now)

    def next_at(self, now: float) -> float | None:
        """When to call `poll`; None: not before something else happens."""
        if not self._queued:
            return None
        if self._overdue or self.slots.lane is not None or self._has_free_waiting:
            # Nobody tells of needs that fade, and of what the others hold.
            return now + TICK_S
        return max(now, self._deadlines[0][0]) if self._deadlines else None

    def clear_free(self, now: float, for_s: float = 0.0) -> bool:
        """Shed and evict all free work that has sent nothing; whether none is left.

        For paid work that no replica of the lane can serve; for `for_s` no other free
        work is let in.
        """
        self._clears_until = max(self._clears_until, now + for_s)
        self._evict_all(now)
        self._shed_all(now)
        return not self._unbegun and self._peers() == 0

    def make_way(self, *, makes_way: bool, now: float) -> None:
        """Hold no free work that has sent nothing, for the sake of paid work elsewhere."""
        self._makes_way = makes_way
        if makes_way:
            self._evict_all(now)
            self._shed_all(now)
        self._dispatch(now)

    def needs_way(self, now: float) -> bool:
        """Whether paid work waits for nothing but the others' free work to go."""
        return now < self._clears_until or (bool(self._overdue) and not self.free_held())

    def free_held(self) -> int:
        """Free requests here that wait or have sent nothing: what peers ask for."""
        queued = sum(p.waiting for p in self._tiers if p.tier.sheddable)
        return queued + len(self._unbegun)

    @property
    def is_waiting(self) -> bool:
        """Whether anyone waits."""
        return self._queued > 0

    @property
    def in_line(self) -> int:
        """Requests that wait for slots, not for their own tenant."""
        return self._queued - self.kv.waiting

    @property
    def _has_free_waiting(self) -> bool:
        return any(part.tier.sheddable and part.waiting for part in self._tiers)

    def depths(self) -> dict[str, int]:
        """Waiting requests by tier."""
        return {part.tier.name: part.waiting for part in self._tiers}

    # -- starting ---------------------------------------------------------------

    def _part(self, tier: Tier) -> TierQueue:
        part = self._by_name.get(tier.name)
        if part is None:
            part = self._by_name[tier.name] = TierQueue(tier)
            self._tiers.append(part)
            self._tiers.sort(key=attrgetter("rank"))
        elif part.tier is not tier:
            # The file was read again. Who is here keeps what it came with.
            part.tier = tier
            self._tiers.sort(key=attrgetter("rank"))
        return part

    def _dispatch(self, now: float) -> None:
        """Start whoever can, in order."""
        for part in self._tiers:
            # Full is the usual case, and peeking brings a heap in order.
            while self._fits(part, 1) and (ticket := part.queue.peek()) is not None:
                if not self._fits(part, ticket.cost):
                    return
                if not self._has_room(part, ticket, now):
                    # It has its share; a tier below may still have its own.
                    break
                self._take_out(part, ticket, now, starts=True)
                self._start(part, ticket, now)
                _tell(ticket)

    def _fits(self, part: TierQueue, cost: int) -> bool:
        slots = self.slots
        if slots.lane is None:
            return slots.fits(cost)
        elsewhere = self._elsewhere()
        if elsewhere is None:
            return slots.fits(cost)
        if part.tier.sheddable:
            # What paid work borrowed there is not free work's here.
            return slots.fits(cost) and (slots.used == 0 or slots.are_empty(cost, elsewhere))
        return slots.fits(cost) or slots.are_empty(cost, elsewhere)

    def _may_start(self, part: TierQueue, ticket: Ticket, now: float) -> bool:
        return self._fits(part, ticket.cost) and self._has_room(part, ticket, now)

    def _has_room(self, part: TierQueue, ticket: Ticket, now: float) -> bool:
        """Whether paid work leaves a request the slots, which are empty."""
        if not part.tier.sheddable:
            return True
        if self._is_closed(now):
            return False
        room = self._room_for_free(part, now)
        return room >= ticket.cost or (room > 0 and not self._free_running)

    def _is_closed(self, now: float) -> bool:
        """Whether no free work is let in, as paid work waits for what there is to go."""
        return (
            self._makes_way
            or now < self._clears_until
            or (bool(self._overdue) and not self._unbegun)
        )

    def _room_for_free(self, part: TierQueue, now: float) -> int:
        """Slots that a free request may still take."""
        capacity = self.slots.capacity
        if self.level == Level.NORMAL and capacity is None:
            return 1 << 30
        if capacity is None:
            return self._share(part.tier) - part.running
        needed = self._need.slots(capacity, now=now)
        left = capacity - needed - self._free_running
        room = min(left, self._share(part.tier) - part.running)
        if self.level == Level.NORMAL:
            reserve = self.config.reserve_share * capacity
            keeps = ceil(reserve - TINY) if needed and capacity >= SMALL_LANE else 0
            room = max(room, left - keeps)
        return room

    def _share(self, tier: Tier) -> int:
        """The slots of a tier's minimum share."""
        return ceil(tier.min_share * (self.slots.capacity or SMALL_LANE) - TINY)

    def _start(self, part: TierQueue, ticket: Ticket, now: float) -> None:
        self.slots.take(ticket.cost)
        part.running += ticket.cost
        part.queue.begin(ticket.account, ticket.prompt_tokens)
        ticket.stage = Stage.RUNNING
        if ticket.tier.sheddable:
            self._free_running += ticket.cost
            self._unbegun[ticket] = None
        else:
            self._paid_running += ticket.cost
            self._note_need(now)

    def _end(self, part: TierQueue, ticket: Ticket, output_tokens: int, now: float) -> None:
        ticket.deliver(output_tokens)
        self.slots.give_back(ticket.cost)
        part.running -= ticket.cost
        part.queue.end(ticket.account)
        if ticket.stage is Stage.EVICTED:
            self._leaving -= ticket.cost
        ticket.stage = Stage.DONE
        if ticket.tier.sheddable:
            self._free_running -= ticket.cost
            self._unbegun.pop(ticket, None)
        else:
            self._paid_running -= ticket.cost
            self._note_need(now)
        self._give_back(ticket, now)

    # -- the queue --------------------------------------------------------------

    def _hold_back(self, part: TierQueue, ticket: Ticket, now: float) -> None:
        """Its tenant's KV budget is used up: it waits for that, beside the queue."""
        refused = self._shed_at_once(part, ticket, now)
        if refused is None and self._queued >= self.config.max_queued:
            refused = over_budget()
        if refused is not None:
            ticket.stage, ticket.refused = Stage.REFUSED, refused
            self._give_back(ticket, now)
            return
        part.held_back[ticket] = None
        self._note_waiting(ticket)

    def _give_back(self, ticket: Ticket, now: float) -> None:
        """A request needs no KV any more; who waited for that gets a place in the queue."""
        for other in self.kv.leave(ticket):
            self._by_name[other.tier.name].let_in(other, now)
            self._note_queued(other, now)

    def _note_waiting(self, ticket: Ticket) -> None:
        self._queued += 1
        if ticket.deadline != float("inf"):
            heapq.heappush(self._deadlines, (ticket.deadline, next(self._numbers), ticket))
            self._trim_deadlines()

    def _note_queued(self, ticket: Ticket, now: float) -> None:
        if not ticket.tier.sheddable:
            self._queued_cost += ticket.cost
            self._note_need(now)

    def _take_out(
        self, part: TierQueue, ticket: Ticket, now: float, *, starts: bool = False
    ) -> None:
        was_queued = part.remove(ticket, now, starts=starts)
        self._queued -= 1
        if self._overdue.pop(ticket, None) is not None:
            self._overdue_cost -= ticket.cost
        if was_queued and not ticket.tier.sheddable:
            self._queued_cost -= ticket.cost
            self._note_need(now)

    def _trim_deadlines(self) -> None:
        """Forget deadlines of requests that no longer wait."""
        if len(self._deadlines) > 2 * self._queued + 64:
            kept = [entry for entry in self._deadlines if entry[2].stage is Stage.WAITING]
            heapq.heapify(kept)
            self._deadlines = kept

    def _note_need(self, now: float) -> None:
        held = self._paid_running + self._queued_cost
        capacity = self.slots.capacity
        self._need.note(held if capacity is None else min(held, capacity), capacity, now=now)

    # -- refusing ---------------------------------------------------------------

    def _refusal(self, part: TierQueue, ticket: Ticket, now: float) -> Rejected | None:
        """Why a request should not wait, if so."""
        refused = self._shed_at_once(part, ticket, now)
        if refused is not None:
            return refused
        if self._queued >= self.config.max_queued and not self._make_room(part, now):
            return part.busy(now)
        return part.late(now) if part.is_hopeless(ticket, now) else None

    def _shed_at_once(self, part: TierQueue, ticket: Ticket, now: float) -> Rejected | None:
        tier = ticket.tier
        if tier.sheddable and self._is_closed(now):
            return part.busy(now)
        if tier.sheddable and self.level >= Level.SHED:
            held = part.running + part.waiting
            if held + ticket.cost > self._share(tier):
                return part.busy(now)
        return None

    def _make_room(self, part: TierQueue, now: float) -> bool:
        """Refuse the newest that is held back, else of the lowest free tier under `part`."""
        for other in reversed(self._tiers):
            if other.held_back and other.tier.priority >= part.tier.priority:
                self._refuse(next(reversed(other.held_back)), over_budget(), now)
                return True
        lower = next(
            (
                other
                for other in reversed(self._tiers)
                if other.tier.sheddable
                and other.tier.priority > part.tier.priority
                and other.waiting
            ),
            None,
        )
        if lower is not None:
            self._shed(lower, lower.waiting - 1, now)
        return lower is not None

    def _shed(self, part: TierQueue, keep: int, now: float) -> None:
        """Refuse the newest of a free tier until `keep` wait."""
        while part.waiting > keep and (ticket := part.newest()) is not None:
            self._refuse(ticket, part.busy(now), now)

    def _shed_all(self, now: float) -> None:
        """Refuse all free work that waits."""
        for part in reversed(self._tiers):
            if part.tier.sheddable:
                self._shed(part, 0, now)

    def _refuse(self, ticket: Ticket, refused: Rejected, now: float) -> None:
        self._take_out(self._by_name[ticket.tier.name], ticket, now)
        ticket.stage, ticket.refused = Stage.REFUSED, refused
        self._give_back(ticket, now)
        _tell(ticket)

    def _mark_overdue(self, ticket: Ticket, refused: Rejected, now: float) -> None:
        ticket.overdue = refused
        self._overdue[ticket] = now
        self._overdue_cost += ticket.cost
        self._press(now)

    def _press(self, now: float) -> None:
        """Make way for overdue paid work; refuse it when nothing is left to shed."""
        if not self._overdue:
            return
        self._evict(self._overdue_cost - self._leaving, now)
        if self._unbegun:
            # Their slots come back in a moment.
            return
        self._shed_all(now)
        peers = self._peers()
        if peers:
            return
        while self._overdue:
            ticket, since = next(iter(self._overdue.items()))
            if peers is None and now - since < self.config.grace_s:
                break
            assert ticket.overdue is not None
            self.unconfirmed += peers is None
            self._refuse(ticket, ticket.overdue, now)
        # They may have let others of their tenants in.
        self._dispatch(now)

    def _evict_all(self, now: float) -> None:
        """End all free work that has sent nothing."""
        self._evict(sum(ticket.cost for ticket in self._unbegun), now)

    def _evict(self, slots: int, now: float) -> None:
        """End free work that has sent nothing, newest first, until so many slots leave."""
        for ticket in list(reversed(self._unbegun)) if slots > 0 else ():
            if slots <= 0:
                return
            if ticket.stage is Stage.RUNNING:
                slots -= ticket.cost
                self._leaving += ticket.cost
                ticket.stage = Stage.EVICTED
                ticket.refused = self._by_name[ticket.tier.name].busy(now)
                _tell(ticket)


def _tell(ticket: Ticket) -> None:
    if ticket.on_change is not None:
        ticket.on_change()
    if ticket.stage is Stage.REFUSED:
        ticket.on_change = None
