"""A lane's slots in one ingress replica, and what one request holds of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from router.admission.lane_queue import LaneQueue
from router.admission.saturation import Level, Saturation
from router.admission.shed_order import AdmissionLog, Event
from router.admission.slots import ReplicaSlots, share_of
from router.admission.ticket import Stage, Ticket
from router.errors import Rejected
from router.scaling.demand import LaneDemand


class SlotHold:
    """One request's hold on its lane: in the queue, then on slots of a replica."""

    __slots__ = ("_lane", "_number", "_replica", "_task", "_tokens", "_waiter", "ticket")

    def __init__(self, lane: LaneSlots, ticket: Ticket, tokens: int = 0) -> None:
        self._lane = lane
        # In the lane's queue, as long as it waits.
        self._tokens = tokens
        self._number = lane.log.number()
        self._replica: str | None = None
        self._task = asyncio.current_task()
        self.ticket = ticket
        self._waiter: asyncio.Future[None] | None = None
        if ticket.stage is not Stage.REFUSED:
            ticket.on_change = self._changed
        self._note(Event.QUEUED)
        if ticket.stage is not Stage.WAITING:
            self._note_outcome()
            self._wait_no_more()

    def _wait_no_more(self) -> None:
        self._lane.demand.started += self._tokens
        self._tokens = 0

    def _note(self, event: Event, code: str = "") -> None:
        tier, lane = self.ticket.tier, self._lane
        if not tier.sheddable and event is not Event.REFUSED:
            # Of protected work the log keeps refusals.
            return
        lane.log.note(
            time.monotonic(),
            lane.name,
            self._number,
            tier.name,
            event,
            sheddable=tier.sheddable,
            code=code,
        )

    def _note_outcome(self) -> None:
        """Note the start or the refusal; that of protected work when it is told (`refuse`)."""
        if self.ticket.stage is Stage.RUNNING:
            self._note(Event.STARTED)
        elif self.ticket.tier.sheddable and self.ticket.refused is not None:
            self._note(Event.REFUSED, self.ticket.refused.reason.value)

    def refuse(self, code: str) -> None:
        """Note that the client is about to be told no."""
        self._note(Event.REFUSED, code)

    def _changed(self) -> None:
        if self.ticket.stage is Stage.EVICTED:
            # It awaits its engine: whoever runs it catches this and asks `evicted`.
            if self._task is not None:
                self._task.cancel()
            return
        self._note_outcome()
        self._wait_no_more()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_waiting(self) -> bool:
        return self.ticket.stage is Stage.WAITING

    @property
    def refused(self) -> Rejected | None:
        """Why it will not start; None: it may, or waits."""
        return self.ticket.refused if self.ticket.stage is Stage.REFUSED else None

    async def wait(self) -> Rejected | None:
        """Until it may start (None) or is refused. Whatever comes of it, it must be left."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._lane.arm()
        # A client that leaves has its task cancelled, here too.
        await self._waiter
        return self.refused

    def begin(self) -> None:
        """Note that the client is about to be sent the first token."""
        if not self.ticket.has_begun:
            self._lane.queue.begin(self.ticket)
            self._note(Event.FIRST_TOKEN)

    @property
    def full(self) -> frozenset[str]:
        """Replicas that run all they can, this request's own not among them."""
        full = self._lane.replicas.full
        return full - {self._replica} if self._replica in full else full

    def move_to(self, replica: str) -> None:
        if replica != self._replica:
            self._lane.replicas.note(self._replica, -self.ticket.cost)
            self._lane.replicas.note(replica, self.ticket.cost)
            self._replica = replica

    def leave(self, output_tokens: int = 0) -> None:
        """Give the slots back: the engine is done, or the client is gone. Idempotent."""
        if self.ticket.stage is not Stage.DONE:
            if self.ticket.stage is not Stage.REFUSED:
                self._note(Event.LEFT)
            self._lane.replicas.note(self._replica, -self.ticket.cost)
            self._replica = None
            self._wait_no_more()
            if output_tokens:
                self._lane.demand.note_answer(output_tokens)
            self._lane.queue.release(self.ticket, output_tokens, time.monotonic())
            self._lane.arm()

    def evicted(self) -> Rejected | None:
        """Why the running task was cancelled, if it was for the sake of protected work alone."""
        if self.ticket.stage is not Stage.EVICTED or self._task is None:
            return None
        return None if self._task.uncancel() else self.ticket.refused


class LaneSlots:
    """One lane: its queue, the timer that the queue asks for, and its replicas' slots."""

    def __init__(
        self,
        name: str,
        queue: LaneQueue,
        slots: int | None,
        ingresses: int,
        log: AdmissionLog,
    ) -> None:
        self.name, self.queue, self.log = name, queue, log
        self.saturation = Saturation()
        self.demand = LaneDemand()
        self._slots, self._ingresses = slots, ingresses
        self.replicas = ReplicaSlots(None if slots is None else share_of(slots, 1, ingresses))
        self._timer: asyncio.TimerHandle | None = None

    def resize(self, replicas: int, now: float) -> None:
        """Take our part of the slots of so many replicas."""
        if self._slots is not None:
            capacity = share_of(self._slots, replicas, self._ingresses)
            lane = self._slots * replicas if self._ingresses > 1 else None
            self.queue.set_capacity(capacity, now, lane)

    def arm(self) -> None:
        if self._timer is not None:
            return
        now = time.monotonic()
        at = self.queue.next_at(now)
        if at is not None:
            # Not longer than this: a nearer deadline may come while the timer runs.
            delay = min(0.25, max(0.001, at - now))
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.queue.poll(time.monotonic())
        self.arm()

    @property
    def is_busy(self) -> bool:
        """Whether it is worth asking the engines how they are."""
        slots = self.queue.slots
        least = 1 if slots.capacity is None else max(1, slots.capacity // 2)
        return slots.used >= least or self.queue.level > Level.NORMAL or self.queue.is_waiting

    def observe(self, replicas: Sequence[Mapping[str, Any]]) -> None:
        """Take the load that the lane's replicas report; none: nothing is known."""
        now = time.monotonic()
        if replicas:
            waiting = sum(row["waiting"] for row in replicas) / len(replicas)
            kv_utilization = max(row["kv_utilization"] for row in replicas)
            level = self.saturation.observe(waiting, kv_utilization, now=now)
            self.resize(len(replicas), now)
        else:
            level = self.saturation.level(now=now)
        self.queue.set_level(level, now)
        self.arm()
