"""A request's turn: waiting for a slot of its lane, and giving it back.

Who goes first is decided in `router.admission.lane_queue`; this module awaits it. Where slots are
free nothing is awaited. Each lane with a known `max_num_seqs` has its slots; the replica
that a session prefers is left aside while it is full.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from math import ceil
from typing import Any

from router.admission.kv_budget import KvAsk
from router.admission.lane_queue import LaneQueue
from router.admission.saturation import Level
from router.admission.shed_order import AdmissionLog
from router.admission.ticket import SlotRequest, Tier
from router.leases.messages import LaneReport
from serve_app.admission.lane_slots import LaneSlots, SlotHold
from serve_app.config.lane import LaneConfig
from serve_app.config.tiers import TierConfig
from serve_app.placement.lanes import Lanes
from serve_app.routing.policies import Policies
from serve_app.tenancy.auth import Tenant
from serve_app.transport.beat import beat

logger = logging.getLogger("ray.serve")

CLEAR_EVERY_S = 0.05
OBSERVE_PERIOD_S = 1.0

LaneView = Callable[[str], int | None]
"""A lane's count at the other ingress replicas: sheddable requests that they hold, queued or before
their first token (`peers`); slots that they have taken (`elsewhere`); those and who is in line
for them (`Contentions`). None: not known. With several of them, `router.leases.holder` answers."""


def alone(_: str) -> int:
    """No other ingress replica."""
    return 0


class Admission:
    """The queues of all enabled lanes in one ingress replica."""

    def __init__(
        self,
        policies: Policies,
        peers: LaneView = alone,
        elsewhere: LaneView = alone,
    ) -> None:
        self._peers, self._elsewhere = peers, elsewhere
        self.log = AdmissionLog(now=time.monotonic())
        self._config = policies.fleet.admission
        # Requests under way hold slots, or none: that does not change.
        self._is_enabled = self._config.enabled
        self._ingresses = policies.fleet.ingress.replicas
        self._queue_config = policies.fleet.queue_config
        self._clear_s = policies.fleet.timeouts.choose_s
        # Fixed at start, as the lanes are: replicas and slots do not reload.
        self.lanes = {
            name: self._slots_of_lane(name, lane)
            for name, lane in policies.fleet.enabled_lanes.items()
        }
        self._scaled = list(policies.fleet.scaled_lanes)
        self._tiers: dict[str, tuple[TierConfig, Tier]] = {}
        self.apply(policies)

    def _slots_of_lane(self, name: str, lane: LaneConfig) -> LaneSlots:
        slots = lane.slots if self._is_enabled else None
        peers, elsewhere = self._peers, self._elsewhere
        queue = LaneQueue(self._queue_config, None, lambda: peers(name), lambda: elsewhere(name))
        lane_slots = LaneSlots(name, queue, slots, self._ingresses, self.log)
        lane_slots.resize(lane.replicas.min, time.monotonic())
        return lane_slots

    def apply(self, policies: Policies) -> None:
        self._config = policies.fleet.admission
        self._queue_config = policies.fleet.queue_config
        self._clear_s = policies.fleet.timeouts.choose_s
        for lane_slots in self.lanes.values():
            lane_slots.queue.config = self._queue_config
            lane_slots.saturation.config = self._config

    def take(
        self,
        name: str,
        tenant: Tenant,
        sequences: int,
        prompt_tokens: int,
        answer_tokens: int,
        *,
        is_background: bool = False,
        user: str = "",
    ) -> SlotHold | None:
        """Get in line for slots of a lane; None: the lane counts none.

        `sequences` run at once; the tokens, estimated, are of all of them together. `user` is
        whose they are within the tenant.
        """
        lane = self.lanes.get(name)
        if lane is None or not self._is_enabled:
            return None
        request = SlotRequest(
            self._tier(tenant.tier_name, tenant.tier),
            tenant.name,
            prompt_tokens,
            sequences,
            tenant.weight,
            self._kv_ask(tenant, prompt_tokens, answer_tokens),
            is_background,
            user,
        )
        tokens = lane.demand.arrive(prompt_tokens, answer_tokens)
        return SlotHold(lane, lane.queue.submit(request, time.monotonic()), tokens)

    def has_room(self, name: str) -> bool:
        """Whether a lane has a free slot here, nobody waits for one, and its engines are not full.

        What must not make others wait, or be shed, asks before it gets in line.
        """
        lane = self.lanes.get(name)
        if lane is None or not self._is_enabled:
            return True
        slots, queue = lane.queue.slots, lane.queue
        is_free = slots.capacity is None or slots.used < slots.capacity
        return is_free and not queue.in_line and queue.level <= Level.NORMAL

    def _kv_ask(self, tenant: Tenant, prompt_tokens: int, answer_tokens: int) -> KvAsk | None:
        kv = tenant.kv
        if kv is None or kv.tokens_per_tenant is None:
            return None
        limit = max(1, kv.tokens_per_tenant // self._ingresses)
        # All that may become resident, not a part of it: what is in the cache cannot be
        # taken back from a request that runs.
        return KvAsk(limit, prompt_tokens, answer_tokens)

    async def drain_sheddable(self, name: str) -> None:
        """Let sheddable work go before protected work hears that no replica serves it."""
        lane = self.lanes.get(name)
        if lane is None or not self._is_enabled:
            return
        for _ in range(ceil(self._clear_s / CLEAR_EVERY_S)):
            if lane.queue.preemption.drain_sheddable(time.monotonic(), 4 * CLEAR_EVERY_S):
                return
            await asyncio.sleep(CLEAR_EVERY_S)

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
        if not self._is_enabled:
            return []
        return [name for name, lane_slots in self.lanes.items() if lane_slots.is_busy]

    def demands(self) -> dict[str, tuple[float, float]]:
        """Return what to tell the lanes that are scaled: tokens that wait, tokens a second."""
        now = time.monotonic()
        told = {name: self.lanes[name].demand.told(now) for name in self._scaled}
        return {name: x for name, x in told.items() if any(x)} if self._is_enabled else {}

    def depths(self) -> dict[str, dict[str, int]]:
        return {name: lane_slots.queue.depths() for name, lane_slots in self.lanes.items()}

    def lane_reports(self) -> dict[str, LaneReport]:
        now = time.monotonic()
        return {
            name: LaneReport(
                lane_slots.queue.preemption.sheddable_held(),
                lane_slots.queue.preemption.wants_preemption(now),
                lane_slots.queue.slots.used,
                lane_slots.queue.in_line,
            )
            for name, lane_slots in self.lanes.items()
        }

    def yield_to_protected(self, lane: str, *, yields: bool) -> None:
        """Hold no sheddable work that has sent nothing, for protected work elsewhere."""
        if self._is_enabled:
            lane_slots = self.lanes[lane]
            lane_slots.queue.yield_to_protected(yields=yields, now=time.monotonic())
            lane_slots.arm()

    def load(self, lane: str) -> tuple[int, bool] | None:
        """What runs and waits here, and whether the lane is saturated; None: not counted.

        What waits belongs to it: a lane never runs more than it has slots.
        """
        if not self._is_enabled:
            return None
        queue = self.lanes[lane].queue
        return queue.slots.used + queue.in_line, queue.level > Level.NORMAL

    def unconfirmed(self) -> dict[str, int]:
        return {
            name: lane_slots.queue.preemption.unconfirmed for name, lane_slots in self.lanes.items()
        }

    def status(self) -> dict[str, dict[str, Any]]:
        """Per lane: slots here, how many are taken, waiting by tier, saturation.

        `kv_tokens`: reserved by tenants with a KV budget; `over_kv_budget`: requests that
        wait for that, not for a slot.
        """
        return {
            name: {
                "slots": lane_slots.queue.slots.capacity,
                "used": lane_slots.queue.slots.used,
                "waiting": lane_slots.queue.depths(),
                "kv_tokens": lane_slots.queue.kv.tokens,
                "over_kv_budget": lane_slots.queue.kv.waiting,
                "saturation": lane_slots.queue.level.name.lower(),
            }
            for name, lane_slots in self.lanes.items()
        }


async def watch_saturation(admission: Admission, lanes: Lanes) -> None:
    """Tell `Admission` how full the engines are, for ever.

    Nothing in the hot path waits for it. When a lane does not answer, its level falls by
    itself and sheddable work is let in again: the queue's order and the slots do not
    depend on it.
    """
    while True:
        await beat(OBSERVE_PERIOD_S)
        try:
            await observe_lanes(admission, lanes)
        except Exception:
            # It must outlive whatever a lane answers.
            logger.exception("admission: a round of observing failed")


async def observe_lanes(admission: Admission, lanes: Lanes) -> None:
    """Ask the lanes that have work for their load, all at once."""
    demands = admission.demands()
    busy = list(dict.fromkeys([*admission.busy_lanes(), *demands]))
    loads = await asyncio.gather(*(lanes.engine_load(x, *demands.get(x, ())) for x in busy))
    for lane, replicas in zip(busy, loads, strict=True):
        admission.lanes[lane].observe(replicas)
