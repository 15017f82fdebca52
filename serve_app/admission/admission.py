"""A request's turn: waiting for a slot of its lane, and giving it back.

Who goes first is decided in `router.admission.lane_queue`; this module awaits it. Where slots are
free nothing is awaited. Each lane with a known `max_num_seqs` has its slots; the replica
that a session prefers is left aside while it is full.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from router.admission.kv_budget import KvAsk
from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.saturation import Level, Saturation
from router.admission.shed_order import AdmissionLog, Event
from router.admission.slots import share_of
from router.admission.ticket import SlotRequest, Stage, Ticket, Tier
from router.errors import Rejected
from router.leases.messages import LaneReport
from serve_app.config.fleet import LaneConfig
from serve_app.config.tenants import TierConfig
from serve_app.request.call import Call
from serve_app.routing.policies import Policies
from simulator.model.profile import load_profile

CLEAR_EVERY_S = 0.05

LaneView = Callable[[str], int | None]
"""A lane's count at the other ingress replicas: free requests that they hold, queued or before
their first token (`peers`); slots that they have taken (`elsewhere`); those and who is in line
for them (`Contentions`). None: not known. With several of them, `router.leases.holder` answers."""


def alone(_: str) -> int:
    """No other ingress replica."""
    return 0


class Place:
    """One request's hold on its lane: in the queue, then on slots of a replica."""

    __slots__ = ("_lane", "_number", "_replica", "_task", "ticket", "waiter")

    def __init__(self, lane: LaneRoom, ticket: Ticket) -> None:
        self._lane = lane
        self._number = lane.log.number()
        self._replica: str | None = None
        self._task = asyncio.current_task()
        self.ticket = ticket
        self.waiter: asyncio.Future[None] | None = None
        if ticket.stage is not Stage.REFUSED:
            ticket.on_change = self._changed
        self._note(Event.QUEUED)
        if ticket.stage is not Stage.WAITING:
            self._note_outcome()

    def _note(self, event: Event, code: str = "") -> None:
        tier, lane = self.ticket.tier, self._lane
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
        """Started or refused; of paid work, the refusal is noted when it is told (`refuse`)."""
        if self.ticket.stage is Stage.RUNNING:
            self._note(Event.STARTED)
        elif self.ticket.tier.sheddable and self.ticket.refused is not None:
            self._note(Event.REFUSED, self.ticket.refused.reason.value)

    def refuse(self, code: str) -> None:
        """The client is about to be told no."""
        self._note(Event.REFUSED, code)

    def _changed(self) -> None:
        if self.ticket.stage is Stage.EVICTED:
            # It awaits its engine: whoever runs it catches this and asks `evicted`.
            assert self._task is not None
            self._task.cancel()
            return
        self._note_outcome()
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def begin(self) -> None:
        """The client is about to be sent the first token."""
        if not self.ticket.has_begun:
            self._lane.queue.begin(self.ticket)
            self._note(Event.FIRST_TOKEN)

    @property
    def full(self) -> frozenset[str]:
        """Replicas that run all they can, this request's own not among them."""
        full = self._lane.full
        return full - {self._replica} if self._replica in full else full

    def move_to(self, replica: str) -> None:
        """The request goes to a replica: its first, or the next after a fault."""
        if replica != self._replica:
            self._lane.note(self._replica, -self.ticket.cost)
            self._lane.note(replica, self.ticket.cost)
            self._replica = replica

    def leave(self, output_tokens: int = 0) -> None:
        """The engine is done with the request, or the client is gone. Idempotent."""
        if self.ticket.stage is not Stage.DONE:
            if self.ticket.stage is not Stage.REFUSED:
                self._note(Event.LEFT)
            self._lane.note(self._replica, -self.ticket.cost)
            self._replica = None
            self._lane.queue.release(self.ticket, output_tokens, time.monotonic())
            self._lane.arm()

    def evicted(self) -> Rejected | None:
        """Why the running task was cancelled, if it was for the sake of paid work alone."""
        if self.ticket.stage is not Stage.EVICTED or self._task is None:
            return None
        return None if self._task.uncancel() else self.ticket.refused


class LaneRoom:
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
        self.full: frozenset[str] = frozenset()
        self._slots, self._ingresses = slots, ingresses
        self._of_replica = None if slots is None else share_of(slots, 1, ingresses)
        self._used: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, replica: str | None, cost: int) -> None:
        """A replica got so many sequences of ours more, or fewer."""
        if replica is None or self._of_replica is None:
            return
        used = self._used.get(replica, 0) + cost
        if used > 0:
            self._used[replica] = used
        else:
            self._used.pop(replica, None)
        if (used >= self._of_replica) != (replica in self.full):
            self.full = self.full ^ {replica}

    def resize(self, replicas: int, now: float) -> None:
        """The lane has so many replicas: our part of their slots, and all of them."""
        if self._slots is not None:
            capacity = share_of(self._slots, replicas, self._ingresses)
            lane = self._slots * replicas if self._ingresses > 1 else None
            self.queue.set_capacity(capacity, now, lane)

    def arm(self) -> None:
        """Look at the queue again when it says."""
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


class Admission:
    """The lanes' queues in one ingress replica."""

    def __init__(
        self,
        policies: Policies,
        peers: LaneView = alone,
        elsewhere: LaneView = alone,
    ) -> None:
        self._peers, self._elsewhere = peers, elsewhere
        self.log = AdmissionLog(now=time.monotonic())
        self._config = policies.fleet.admission
        # Requests under way hold places, or none: that does not change.
        self._is_enabled = self._config.enabled
        self._ingresses = policies.fleet.ingress.replicas
        self._queue_config = queue_config(policies)
        self._clear_s = policies.fleet.timeouts.choose_s
        # Fixed at start, as the lanes are: replicas and slots do not reload.
        self._rooms = {
            name: self._room(name, lane) for name, lane in policies.fleet.enabled_lanes.items()
        }
        self._tiers: dict[str, tuple[TierConfig, Tier]] = {}
        self.apply(policies)

    def _room(self, name: str, lane: LaneConfig) -> LaneRoom:
        slots = slots_of(lane) if self._is_enabled else None
        peers, elsewhere = self._peers, self._elsewhere
        queue = LaneQueue(self._queue_config, None, lambda: peers(name), lambda: elsewhere(name))
        room = LaneRoom(name, queue, slots, self._ingresses, self.log)
        room.resize(lane.replicas, time.monotonic())
        return room

    def apply(self, policies: Policies) -> None:
        """Use new policies from now on. Switching admission on or off takes a restart."""
        self._config = policies.fleet.admission
        self._queue_config = queue_config(policies)
        self._clear_s = policies.fleet.timeouts.choose_s
        for room in self._rooms.values():
            room.queue.config = self._queue_config
            room.saturation.config = self._config.saturation

    async def enter(self, call: Call) -> Rejected | None:
        """Wait for the request's turn; None when it may start.

        Whatever comes of it, `call.place` must be left.
        """
        room = self._rooms.get(call.lane)
        if room is None or not self._is_enabled or not call.route.generates:
            return None
        assert call.parsed is not None
        tenant = call.tenant
        request = SlotRequest(
            self._tier(tenant.tier_name, tenant.tier),
            tenant.name,
            call.prompt_tokens,
            call.parsed.copies,
            tenant.weight,
            self._kv_ask(call),
        )
        ticket = room.queue.submit(request, time.monotonic())
        call.place = Place(room, ticket)
        if ticket.stage is Stage.WAITING:
            await self._wait(call, room, call.place)
        return ticket.refused if ticket.stage is Stage.REFUSED else None

    def _kv_ask(self, call: Call) -> KvAsk | None:
        kv = call.tenant.kv
        if kv is None or kv.tokens_per_tenant is None:
            return None
        assert call.parsed is not None
        limit = max(1, kv.tokens_per_tenant // self._ingresses)
        # All that may become resident, not a part of it: what is in the cache cannot be
        # taken back from a request that runs.
        return KvAsk(limit, call.prompt_tokens, call.answer_tokens)

    async def _wait(self, call: Call, room: LaneRoom, place: Place) -> None:
        begun = time.perf_counter()
        place.waiter = asyncio.get_running_loop().create_future()
        room.arm()
        try:
            # A client that leaves has its task cancelled, here too.
            await place.waiter
        finally:
            call.stages["queue"] = time.perf_counter() - begun

    async def clear_free(self, call: Call) -> None:
        """Before paid work hears that no replica serves it: free work goes first."""
        room = self._rooms.get(call.lane)
        if room is None or not self._is_enabled or call.tenant.tier.sheddable:
            return
        for _ in range(ceil(self._clear_s / CLEAR_EVERY_S)):
            if room.queue.preemption.drain_sheddable(time.monotonic(), 4 * CLEAR_EVERY_S):
                return
            await asyncio.sleep(CLEAR_EVERY_S)

    def note_refusal(self, call: Call, refused: Rejected) -> None:
        """A request is about to be told no: evidence of the order in which work is shed.

        Free work was noted when its place was taken away.
        """
        if call.place is not None and not call.tenant.tier.sheddable:
            call.place.refuse(refused.reason.value)

    def _tier(self, name: str, config: TierConfig) -> Tier:
        known = self._tiers.get(name)
        if known is None or known[0] is not config:
            tier = Tier(
                name,
                config.priority,
                sheddable=config.sheddable,
                min_share=config.min_share,
                start_within_s=config.start_within_s,
            )
            known = self._tiers[name] = (config, tier)
        return known[1]

    # -- watching and reporting ---------------------------------------------

    def busy_lanes(self) -> list[str]:
        """Lanes whose engines should be asked for their load."""
        if not self._is_enabled:
            return []
        return [name for name, room in self._rooms.items() if room.is_busy]

    def observe(self, lane: str, replicas: Sequence[Mapping[str, Any]]) -> None:
        """Take a lane's load, as its replicas report it."""
        self._rooms[lane].observe(replicas)

    def depths(self) -> dict[str, dict[str, int]]:
        """Waiting requests by lane and tier."""
        return {name: room.queue.depths() for name, room in self._rooms.items()}

    def lane_reports(self) -> dict[str, LaneReport]:
        """What this replica's peers ask for, by lane."""
        now = time.monotonic()
        return {
            name: LaneReport(
                room.queue.preemption.sheddable_held(),
                room.queue.preemption.wants_preemption(now),
                room.queue.slots.used,
                room.queue.in_line,
            )
            for name, room in self._rooms.items()
        }

    def make_way(self, lane: str, *, makes_way: bool) -> None:
        """Hold no free work that has sent nothing, for the sake of paid work elsewhere."""
        if self._is_enabled:
            room = self._rooms[lane]
            room.queue.yield_to_protected(yields=makes_way, now=time.monotonic())
            room.arm()

    def load(self, lane: str) -> tuple[int, bool] | None:
        """What runs and waits here, and whether the lane is saturated; None: not counted.

        What waits belongs to it: a lane never runs more than it has slots.
        """
        if not self._is_enabled:
            return None
        queue = self._rooms[lane].queue
        return queue.slots.used + queue.in_line, queue.level > Level.NORMAL

    def unconfirmed(self) -> dict[str, int]:
        """By lane, paid requests refused though it was not known what the others hold."""
        return {name: room.queue.preemption.unconfirmed for name, room in self._rooms.items()}

    def status(self) -> dict[str, dict[str, Any]]:
        """Per lane: slots here, how many are taken, waiting by tier, saturation.

        `kv_tokens`: reserved by tenants with a KV budget; `over_kv_budget`: requests that
        wait for that, not for a slot.
        """
        return {
            name: {
                "slots": room.queue.slots.capacity,
                "used": room.queue.slots.used,
                "waiting": room.queue.depths(),
                "kv_tokens": room.queue.kv.tokens,
                "over_kv_budget": room.queue.kv.waiting,
                "saturation": room.queue.level.name.lower(),
            }
            for name, room in self._rooms.items()
        }


def queue_config(policies: Policies) -> QueueConfig:
    """The bounds of one lane's queue."""
    fleet = policies.fleet
    return replace(fleet.admission.queue, grace_s=fleet.ledger.grace_s)


def slots_of(lane: LaneConfig) -> int | None:
    """Sequences that one replica runs at once; None where nothing says it."""
    if lane.max_num_seqs is None and lane.engine == "simulated" and lane.simulated.profile:
        return load_profile(lane.simulated.profile).scheduling.max_num_seqs
    return lane.max_num_seqs
