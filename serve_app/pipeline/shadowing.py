"""Shadows: a copy of a request that has been answered, for a lane that is tried out.

A copy is made when its request has ended, so nothing of it can reach the client or hold up its
stream. It takes a slot only where one is free and nobody waits, in a tier below all others: it
is the first that is evicted when protected work comes. It is nobody's account, and there are a
few at a time. What does not find room is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from router.placement.affinity import TurnFacts
from router.placement.spilled_sessions import session_hash
from router.routing.window_room import AMPLE_TOKENS
from router.types import Lane
from serve_app.admission.free_slot import in_free_slot
from serve_app.admission.lane_slots import SlotHold
from serve_app.bodies.images import has_images
from serve_app.bodies.parsed_request import ParsedRequest, for_engine
from serve_app.config.experiments import ExperimentConfig
from serve_app.config.tiers import TierConfig
from serve_app.experiments.book import SHADOW
from serve_app.metrics.experiments import ExperimentMetrics
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes, NoReplica, UpstreamFault
from serve_app.protocol.sse import Usage, parsed_json, read_usage
from serve_app.request.answer_limit import limited
from serve_app.request.call import Call, Outcome
from serve_app.request.plan import Plan
from serve_app.tenancy.auth import Tenant
from serve_app.transport.upstream import BrokenConnection, SilentConnection

logger = logging.getLogger("ray.serve")

MAX_BYTES = 262_144
"""A larger prompt is not copied: the copies that wait for their engines bound the memory."""

LOWEST = 1_000_000
"""Priority of a copy, in the engine too: after every tier's."""

_TIER = TierConfig(priority=LOWEST, sheddable=True)
_FAULTS = (UpstreamFault, BrokenConnection, SilentConnection, NoReplica, OSError)

Counted = dict[str, float]


@dataclass(frozen=True, slots=True)
class ShadowAnswer:
    """What a copy's engine answered.

    Attributes:
        request_id: of the request that was copied.
        asked: what the copy asked.
        answer: the body, as it came.

    """

    experiment: str
    request_id: str
    tenant: Tenant
    lane: Lane
    asked: ParsedRequest
    status: int
    duration_s: float
    usage: Usage | None
    answer: bytes

    @property
    def output_tokens(self) -> int:
        return self.usage.completion_tokens if self.usage else 0


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy on its way; `took_s` and `wrote` are of its request."""

    config: ExperimentConfig
    lane: Lane
    tenant: Tenant
    parsed: ParsedRequest
    request_id: str
    prompt_tokens: int
    answer_tokens: int
    limit: int | None
    has_priorities: bool
    took_s: float
    wrote: int


class Shadowing:
    """Sends the copies of one ingress replica.

    `avoided`: replicas of a lane that have failed of late; `sleeps`: whether a lane has its
    cards given away; `keep`: gets what was answered.
    """

    def __init__(
        self,
        state: IngressState,
        lanes: Lanes,
        avoided: Callable[[str], frozenset[str]],
        sleeps: Callable[[str], bool],
        metrics: ExperimentMetrics,
        keep: Callable[[ShadowAnswer], None] | None = None,
    ) -> None:
        self._state, self._lanes = state, lanes
        self._avoided, self._sleeps = avoided, sleeps
        self._metrics, self._keep = metrics, keep
        self._running: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()

    def consider(self, call: Call) -> None:
        """Begin the copies of a call that has been settled. Nothing is awaited."""
        book, plan = self._state.experiments, call.plan
        if not book or plan is None or call.outcome is not Outcome.ANSWERED:
            return
        for config in book.shadows(call.request_id, call.tenant, plan.lane):
            copy = _copied(call, plan, config)
            if copy is None:
                self._count(config.name, {"unfit": 1.0})
            elif self._running[config.name] >= config.at_once:
                self._count(config.name, {"dropped:at_once": 1.0})
            else:
                self._running[config.name] += 1
                task = asyncio.get_running_loop().create_task(self._send(copy))
                self.tasks.add(task)
                task.add_done_callback(partial(self._ended, config.name))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._running[name] -= 1

    async def _send(self, copy: _Copy) -> None:
        try:
            counts = await self._counted(copy)
        except Exception:
            # A boundary: nobody waits for it. The log learns nothing of its text.
            logger.exception("a shadow of request %s failed", copy.request_id)
            counts = {"failed": 1.0}
        self._count(copy.config.name, counts)

    def _count(self, name: str, counts: Counted) -> None:
        self._state.experiments.count(name, SHADOW, counts)
        # What became of it comes first, then figures of it.
        self._metrics.count(name, SHADOW, next(iter(counts)))

    async def _counted(self, copy: _Copy) -> Counted:
        """Ask, and return what to count."""
        name, admission = copy.lane.name, self._state.admission
        if self._sleeps(name):
            return {"dropped:full": 1.0}
        # No tenant's KV budget, as it is no tenant's.
        shadow = replace(copy.tenant, tier=_TIER, tier_name=SHADOW, kv=None)
        tokens, ask = (copy.prompt_tokens, copy.answer_tokens), partial(self._asked, copy)
        try:
            async with asyncio.timeout(copy.config.within_s):
                found = await in_free_slot(admission, name, shadow, tokens, ask, is_background=True)
        except TimeoutError:
            return {"late": 1.0}
        except _FAULTS:
            return {"failed": 1.0}
        if found is None:
            return {"dropped:full": 1.0}
        if found.status != 200:
            return {"failed": 1.0}
        if self._keep is not None:
            self._keep(found)
        return {
            "answered": 1.0,
            "duration_s": found.duration_s,
            "completion_tokens": found.output_tokens,
            "control_duration_s": copy.took_s,
            "control_completion_tokens": copy.wrote,
        }

    async def _asked(self, copy: _Copy, hold: SlotHold | None) -> ShadowAnswer:
        name, tenant, begun = copy.lane.name, copy.tenant, time.perf_counter()
        turn = TurnFacts(session_hash(tenant.cache_group), f"shadow:{copy.request_id}")
        replica = await self._lanes.choose(name, turn, self._avoided(name))
        if hold is not None:
            hold.move_to(replica.id)
        path, body = copy.parsed.route.engine_path, self._body(copy)
        headers = {"x-request-id": f"{copy.request_id}-shadow"}
        response = await self._lanes.open(replica, path, body, headers)
        with contextlib.closing(response):
            answer = await response.read()
        return ShadowAnswer(
            copy.config.name,
            copy.request_id,
            tenant,
            copy.lane,
            copy.parsed,
            response.status,
            time.perf_counter() - begun,
            read_usage(parsed_json(answer)),
            answer,
        )

    def _body(self, copy: _Copy) -> bytes:
        return for_engine(
            limited(copy.parsed, copy.limit),
            model=copy.lane.model_id,
            cache_salt=self._state.cache_salt(copy.tenant),
            priority=LOWEST if copy.has_priorities else None,
        )

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _copied(call: Call, plan: Plan, config: ExperimentConfig) -> _Copy | None:
    """A copy for the treatment's lane, whole, not streamed; None: that cannot take it."""
    parsed, lane = plan.parsed, call.policies.routing.lanes.get(config.treatment)
    if lane is None or not call.tenant.rules.allows(lane.name) or not call.route.answers:
        return None
    is_large = parsed.prompt.bytes > MAX_BYTES or parsed.num_sequences > 1
    fits = plan.longest_tokens + AMPLE_TOKENS <= lane.window_tokens
    if is_large or not fits or (parsed.tools and not lane.calls_tools):
        return None
    if has_images(parsed.messages):
        # What it shows would be fetched twice.
        return None
    body = {k: v for k, v in parsed.body.items() if k not in ("stream", "stream_options")}
    usage, limit = call.served.usage, plan.answer_limit
    return _Copy(
        config,
        lane,
        call.tenant,
        replace(parsed, body=body, stream=False),
        call.request_id,
        plan.prompt_tokens,
        plan.answer_tokens,
        None if limit is None else min(limit, lane.window_tokens - plan.longest_tokens),
        call.policies.fleet.lanes[lane.name].has_priorities,
        time.perf_counter() - call.started,
        usage.completion_tokens if usage else 0,
    )
