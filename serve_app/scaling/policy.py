"""The autoscaling policy of a lane as Serve's controller runs it.

The controller calls it ten times a second for each lane that is scaled; it decides once a
second, from what the lane's replicas sent. It raises nothing: whatever goes wrong leaves the
target as it is, and is logged once a minute. Serve ships this class by value, with the modules
that it names by reference: they have to be importable where the controller runs, which is where
Serve was started.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.serve.config import AutoscalingContext

from router.scaling.foretold import Foretold
from router.scaling.lane_load import Decision, LaneLoad, Reason, ScalingTerms
from router.scaling.policy import ExpectedLoad, LaneScaler, unknown
from router.scaling.start_up import StartUp
from router.scaling.throughput import Throughput
from serve_app.scaling import decisions
from serve_app.scaling.cards import FreeCards, Nodes, free_of_nodes
from serve_app.scaling.forecasts import published
from serve_app.scaling.readings import Arrivals, LaneReadings, newest, summed

logger = logging.getLogger("ray.serve")

DECIDE_EVERY_S = 1.0
SAY_EVERY_S = 60.0

WANTING = frozenset({Reason.NO_CARD, Reason.AT_MAX, Reason.STALE})
"""Reasons to leave the target as it is that an operator should hear of."""


class LanePolicy:
    """Decides for one lane; one object for as long as the deployment's configuration stands.

    Args:
        lane: its name.
        terms: of `ScalingTerms`, as JSON.
        bundles: what one replica takes of Ray's resources.
        has_forecast: whether it follows the lane's forecast, too.
        ask: returns what each node has free.

    """

    def __init__(
        self,
        *,
        lane: str,
        terms: Mapping[str, Any],
        bundles: list[dict[str, float]],
        has_forecast: bool = False,
        ask: Callable[[], Nodes] = free_of_nodes,
    ) -> None:
        self._lane = lane
        self._free = FreeCards(bundles, ask)
        self._terms = ScalingTerms(**terms)
        self._scaler = LaneScaler(self._terms)
        self._throughput = Throughput(self._terms.slots)
        slots = self._terms.slots if has_forecast else None
        self._foretold = None if slots is None else Foretold(lane, slots, published)
        self._start_up = StartUp()
        self._arrivals = Arrivals(self._terms.stale_s)
        self._next = self._say_at = float("-inf")
        self._last: Decision | None = None
        self._has_read = False

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Return the target, and no state: this object keeps it."""
        now = time.monotonic()
        self._start_up.see(context.current_num_replicas, context.target_num_replicas, now)
        if now < self._next:
            return context.target_num_replicas, {}
        self._next = now + DECIDE_EVERY_S
        try:
            decision = self._decide(context, now)
            self._tell(decision, context.target_num_replicas, now)
        except Exception:
            if self._may_say(now):
                logger.exception("lane '%s': the autoscaling policy failed", self._lane)
            return context.target_num_replicas, {}
        return decision.target, {}

    def _decide(self, context: AutoscalingContext, now: float) -> Decision:
        # While one goes there are more than the target for a moment; it serves no more.
        ready = min(context.current_num_replicas, context.target_num_replicas)
        starting = context.target_num_replicas - ready
        found = self._arrivals.fresh(newest(context.raw_metrics or {}), now)
        if not found:
            return self._scaler.decide(LaneLoad(ready, starting), now)
        self._has_read = True
        readings = summed(found)
        for name, reading in readings.by_replica.items():
            self._throughput.note(name, reading)
        self._throughput.retain(frozenset(readings.by_replica))
        load = self._load(readings, ready, starting)
        decision = self._scaler.decide(load, now, self._expected(now))
        if decision.target <= load.replicas:
            return decision
        return decision.within_cards(load.replicas, self._free.replicas(now))

    def _expected(self, now: float) -> ExpectedLoad:
        foretold = self._foretold
        if foretold is None:
            return unknown
        wall = time.time()  # noqa: TID251  # forecasts are of times of day
        return lambda at: foretold.worth(at - now, wall)

    def _load(self, readings: LaneReadings, ready: int, starting: int) -> LaneLoad:
        return LaneLoad(
            ready=ready,
            starting=starting,
            reporting=min(ready, len(readings.by_replica)),
            age_s=0.0,
            running=readings.running,
            kv_utilization=readings.kv_utilization,
            queued_tokens=readings.queued_tokens,
            offered_tokens_per_s=readings.offered_tokens_per_s,
            tokens_per_s=self._throughput.tokens_per_s,
            start_up_s=self._start_up.took_s or readings.start_up_s,
        )

    def _tell(self, decision: Decision, before: int, now: float) -> None:
        last, self._last = self._last, decision
        if last is None or (last.target, last.reason) != (decision.target, decision.reason):
            decisions.publish(self._lane, decision)
        is_news = decision.reason in WANTING and self._has_read
        if decision.target != before or (is_news and self._may_say(now)):
            logger.info(
                "lane '%s': %d replicas -> %d (%s); %s replicas' worth of work",
                *(self._lane, before, decision.target, decision.reason.value),
                "unknown" if decision.demand is None else f"{decision.demand:.2f}",
            )

    def _may_say(self, now: float) -> bool:
        """Return whether it is time to say again what has not changed."""
        is_time = now >= self._say_at
        if is_time:
            self._say_at = now + SAY_EVERY_S
        return is_time
