"""Which request starts next in a lane, which waits, and which is refused.

**Order.** Tiers strictly by priority; in a tier, tenants by `fair_queue`, and of a tenant's own
requests its users in turn (`rotation`), the background ones last, within a bound. A request
that needs more slots than are empty holds back all behind it: none starves.

**With several ingress replicas** each has its part of the slots. Protected work may start
beyond it where the lane as a whole has slots that no replica has taken (`slots`).

**Sheddable work** takes slots that protected work does not need: those that it needed lately
(`Need`) and a reserve on top stay empty. While the lane is saturated it is held down to its
`min_share`, shed, evicted, by `saturation.Level`. Protected work is never refused before it
(`preemption`).

**A tenant over its KV budget** (`kv_budget`) has its next requests held back: others
pass them by, they need no slots, and nothing is preempted for them. Past its deadline,
or in a full queue, such a request is refused as its tenant's own matter.

Memory: `max_queued` waiting requests (past it only overdue ones), a ticket of about 300
bytes each, and the accounts of `fair_queue`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from router.admission.preemption import Peers, Preemption
from router.admission.saturation import Level
from router.admission.slots import TINY, Need, Slots
from router.admission.ticket import SlotRequest, Stage, Ticket, Tier
from router.admission.tier_queue import TierQueue, TierQueues, over_budget
from router.errors import Rejected

SMALL_LANE = 4
"""A lane of fewer slots keeps none back for protected work that is not there."""

TICK_S = 0.1
"""How often to look again while sheddable work is held, or protected work is overdue."""


def no_peers() -> int:
    return 0


@dataclass(frozen=True)
class QueueBounds:
    """Bounds of one lane's queue. `metadata` bounds what a file may say.

    Attributes:
        max_queued: requests that may wait.
        reserve_share: share of the slots kept empty for protected work beyond its recent need.
        need_decay_s: in this time a need of the whole lane is forgotten.

    """

    max_queued: int = field(default=1000, metadata={"ge": 1})
    reserve_share: float = field(default=0.1, metadata={"ge": 0, "le": 1})
    need_decay_s: float = field(default=5.0, metadata={"gt": 0})


@dataclass(frozen=True)
class QueueConfig(QueueBounds):
    """What one lane's queue goes by.

    After `grace_s` overdue protected work is refused even if it is not known what the other
    ingress replicas hold.
    """

    grace_s: float = 12.0


class LaneQueue:
    """The queue and the slots of one lane in one ingress replica.

    Of the other ingress replicas, `peers` counts the sheddable requests that they hold for the
    lane, queued or before their first token, and `elsewhere` the slots that they have taken.
    """

    def __init__(
        self,
        config: QueueConfig,
        capacity: int | None,
        peers: Peers = no_peers,
        elsewhere: Peers = no_peers,
    ) -> None:
        self.config = config
        self.slots = Slots(capacity)
        self.level = Level.NORMAL
        self._elsewhere = elsewhere
        self.queues = TierQueues(Need(self.slots, config.need_decay_s))
        self.kv = self.queues.kv
        self.preemption = Preemption(self.queues, peers)

    def submit(self, request: SlotRequest, now: float) -> Ticket:
        """Queue a request; it may have started, or been refused, on return."""
        tier, queues, part = request.tier, self.queues, self.queues.part(request.tier)
        ticket = Ticket(
            tier,
            part.queue.account(request.tenant, request.weight),
            self.slots.cost(request.num_sequences),
            request.prompt_tokens,
            float("inf") if tier.start_within_s is None else now + tier.start_within_s,
            request.is_background,
            request.user,
        )
        if request.kv is not None and not self.kv.enter(ticket, request.tenant, request.kv):
            self._hold_back(part, ticket, now)
            return ticket
        fits = not self.in_line and self._fits(part, ticket.cost)
        if fits and self._has_room(part, ticket, now):
            queues.note_need(ticket, ticket.cost, now)
            self._start(part, ticket)
            return ticket
        refused = self._refusal(part, ticket, now)
        if refused is not None and tier.sheddable:
            queues.turn_away(ticket, refused, now)
            return ticket
        queues.push(ticket, now)
        self._dispatch(now)
        if refused is not None and ticket.stage is Stage.WAITING:
            self._mark_overdue(ticket, refused, now)
        return ticket

    def begin(self, ticket: Ticket) -> None:
        """Note that the request's first token is sent: it is not evicted any more."""
        ticket.has_begun = True
        self.preemption.note_begin(ticket)

    def release(self, ticket: Ticket, output_tokens: int, now: float) -> None:
        """Free what the request holds, which is over in whatever way. Idempotent."""
        if ticket.stage in (Stage.DONE, Stage.REFUSED):
            return
        self.preemption.note_end(ticket)
        if ticket.stage is Stage.WAITING:
            self.queues.remove(ticket, now)
        else:
            part = self.queues.part_of(ticket)
            ticket.deliver(output_tokens)
            self.slots.give_back(ticket.cost)
            part.running -= ticket.cost
            part.queue.end(ticket.account)
            self.queues.note_need(ticket, -ticket.cost, now)
        ticket.stage, ticket.on_change = Stage.DONE, None
        self.queues.give_back(ticket, now)
        self._dispatch(now)
        self._preempt(now)

    def set_level(self, level: Level, now: float) -> None:
        self.level = level
        if level >= Level.SHED:
            for part in self.queues.sheddable:
                self.preemption.shed(part, self._share(part.tier), now)
        if level >= Level.EVICT:
            self.preemption.evict_all(now)
        self._dispatch(now)

    def set_capacity(self, capacity: int | None, now: float, lane: int | None = None) -> None:
        """Use so many slots from now on, of the lane's; what runs beyond them runs on."""
        self.slots.capacity, self.slots.lane = capacity, lane
        self._dispatch(now)

    def yield_to_protected(self, *, yields: bool, now: float) -> None:
        """Hold no sheddable work that has sent nothing, while protected work elsewhere waits."""
        self.preemption.yield_to_protected(yields=yields, now=now)
        self._dispatch(now)

    def poll(self, now: float) -> None:
        """Let time have its effect: deadlines, needs that fade, peers that answer."""
        for ticket in self.queues.late(now):
            part = self.queues.part_of(ticket)
            if ticket in part.held_back:
                self.queues.refuse(ticket, over_budget(), now)
            elif ticket.tier.sheddable:
                self.queues.refuse(ticket, part.late(now), now)
            else:
                self._mark_overdue(ticket, part.late(now), now)
        self._dispatch(now)
        self._preempt(now)

    def next_at(self, now: float) -> float | None:
        """Return when to call `poll`; None: not before something else happens."""
        if not self.is_waiting:
            return None
        has_sheddable = any(part.waiting for part in self.queues.sheddable)
        if self.preemption.has_overdue or self.slots.lane is not None or has_sheddable:
            # Nothing tells of needs that fade, and of what the others hold.
            return now + TICK_S
        deadline = self.queues.next_deadline()
        return None if deadline is None else max(now, deadline)

    @property
    def is_waiting(self) -> bool:
        return self.queues.waiting > 0

    @property
    def in_line(self) -> int:
        """Requests that wait for slots, not for their own tenant."""
        return self.queues.waiting - self.kv.waiting

    def depths(self) -> dict[str, int]:
        return {part.tier.name: part.waiting for part in self.queues.in_order}

    def _dispatch(self, now: float) -> None:
        """Start all that can, in order."""
        if not self.queues.waiting:
            return
        for part in self.queues.in_order:
            # Full is the usual case, and peeking brings a heap in order.
            while self._fits(part, 1) and (ticket := part.queue.peek()) is not None:
                if not self._fits(part, ticket.cost):
                    return
                if not self._has_room(part, ticket, now):
                    # It has its share; a tier below may still have its own.
                    break
                self.queues.remove(ticket, now, starts=True)
                self._start(part, ticket)
                ticket.tell()

    def _fits(self, part: TierQueue, cost: int) -> bool:
        slots, is_sheddable = self.slots, part.tier.sheddable
        fits = slots.fits(cost)
        if slots.lane is None or fits is not is_sheddable:
            return fits
        elsewhere = self._elsewhere()
        if elsewhere is None:
            return fits
        # What protected work borrowed there is not sheddable work's here.
        is_first = is_sheddable and slots.used == 0
        return is_first or slots.are_empty(cost, elsewhere)

    def _has_room(self, part: TierQueue, ticket: Ticket, now: float) -> bool:
        """Return whether protected work leaves a request the slots, which are empty."""
        if not part.tier.sheddable:
            return True
        if self.preemption.is_closed(now):
            return False
        running = sum(other.running for other in self.queues.sheddable)
        room = self._room(part, running, now)
        return room >= ticket.cost or (room > 0 and not running)

    def _room(self, part: TierQueue, running: int, now: float) -> int:
        """Return slots that a sheddable request may still take; such work runs in `running`."""
        capacity, own = self.slots.capacity, self._share(part.tier) - part.running
        if capacity is None:
            return own if self.level else 1 << 30
        needed = self.queues.need.kept(now=now)
        left = capacity - needed - running
        if self.level:
            return min(left, own)
        if needed and capacity >= SMALL_LANE:
            return max(min(left, own), left - ceil(self.config.reserve_share * capacity - TINY))
        return left

    def _share(self, tier: Tier) -> int:
        return ceil(tier.min_share * (self.slots.capacity or SMALL_LANE) - TINY)

    def _start(self, part: TierQueue, ticket: Ticket) -> None:
        self.slots.take(ticket.cost)
        part.running += ticket.cost
        part.queue.begin(ticket.account, ticket.prompt_tokens)
        ticket.stage = Stage.RUNNING
        self.preemption.note_start(ticket)

    def _hold_back(self, part: TierQueue, ticket: Ticket, now: float) -> None:
        """Let a request wait for its tenant's KV budget, beside the queue, if it may."""
        refused = self._shed_at_once(part, ticket, now)
        if refused is None and self.queues.waiting >= self.config.max_queued:
            refused = over_budget()
        if refused is None:
            self.queues.hold_back(ticket)
        else:
            self.queues.turn_away(ticket, refused, now)

    def _refusal(self, part: TierQueue, ticket: Ticket, now: float) -> Rejected | None:
        """Return why a request should not wait, if so."""
        if (refused := self._shed_at_once(part, ticket, now)) is not None:
            return refused
        is_full = self.queues.waiting >= self.config.max_queued
        if is_full and not self.preemption.make_room(part, now):
            return part.busy(now)
        return part.late(now) if part.is_hopeless(ticket, now) else None

    def _shed_at_once(self, part: TierQueue, ticket: Ticket, now: float) -> Rejected | None:
        if not ticket.tier.sheddable:
            return None
        is_over = part.running + part.waiting + ticket.cost > self._share(part.tier)
        if self.preemption.is_closed(now) or (self.level >= Level.SHED and is_over):
            return part.busy(now)
        return None

    def _mark_overdue(self, ticket: Ticket, refused: Rejected, now: float) -> None:
        self.preemption.note_overdue(ticket, refused, now)
        self._preempt(now)

    def _preempt(self, now: float) -> None:
        if self.preemption.preempt(now, self.config.grace_s):
            # What was refused may have let others of its tenant in.
            self._dispatch(now)
