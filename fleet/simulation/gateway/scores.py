"""Scores and the shares of stronger lanes at one ingress replica (`router.routing.escalation`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fleet.simulation.engines.lane import LaneEngines
from fleet.simulation.spec import FleetSpec
from fleet.simulation.world import Ask, World
from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel
from router.routing.policy import Judge, Judgement
from router.routing.pressure import LoadObservation, YieldController
from router.types import LaneDecision, Reason, TierRules

OBSERVE_PERIOD_S = 2.0
TTFT_WINDOW_S = 10.0


class Climbing:
    """Judges requests by their scores, and keeps shares, budgets and yielding lanes."""

    def __init__(
        self,
        spec: FleetSpec,
        me: str,
        lanes: Mapping[str, LaneEngines],
        world: World,
        shipped: Callable[[float], float],
    ) -> None:
        self._spec, self._lanes, self._world = spec, lanes, world

        def controller(levels: tuple[EscalationLevel, ...]) -> EscalationController:
            config = EscalationConfig(replicas=spec.ingresses)
            return EscalationController(levels, shipped, config, replica=me)

        self.chats = controller(spec.levels)
        self.planning = None if spec.planning is None else controller((spec.planning,))
        levels = (*spec.levels, *([spec.planning] if spec.planning is not None else []))
        self._yields = {level.lane: YieldController(now=0.0) for level in levels}
        self._ttft: dict[str, tuple[float, float]] = {}
        if levels:
            world.every(OBSERVE_PERIOD_S, self._observe)

    def judging(self, ask: Ask, rules: TierRules) -> Judge:
        """Return what scores this request, if it is asked to."""

        def judge(*, is_planning: bool = False) -> Judgement:
            if is_planning and self.planning is not None:
                views = self.planning.view(ask.tenant, self._planning_budgets(rules))
                return Judgement(ask.scores, views)
            views = self.chats.view(ask.tenant, rules.budgets)
            fixed = self._spec.fixed_threshold
            if fixed is not None and self._spec.levels:
                lane = self._spec.levels[-1].lane
                views[lane] = replace(views[lane], threshold=fixed, yield_threshold=fixed)
            return Judgement(ask.scores, views)

        return judge

    def note(self, tenant: str, rules: TierRules, decision: LaneDecision) -> None:
        """Count a decision, once."""
        controller, budgets, lane = self.chats, rules.budgets, decision.lane.name
        if decision.is_planning and self.planning is not None:
            controller, budgets = self.planning, self._planning_budgets(rules)
        if decision.is_adopted:
            controller.adopt(tenant, budgets, lane)
        elif decision.score is not None:
            is_sticky = decision.reason is Reason.STICKY
            now = self._world.now
            controller.note(tenant, budgets, decision.score, lane, sticky=is_sticky, now=now)

    def _planning_budgets(self, rules: TierRules) -> Mapping[str, float]:
        level, own = self._spec.planning, rules.planning_budget
        return {} if level is None or own is None else {level.lane: own}

    def note_ttft(self, lane: str, seconds: float) -> None:
        if lane in self._yields:
            before, _ = self._ttft.get(lane, (seconds, 0.0))
            self._ttft[lane] = (0.8 * before + 0.2 * seconds, self._world.now)

    def merge(self, other: Climbing, now: float) -> None:
        """Take in what another ingress replica saw."""
        self.chats.merge_own(other.chats, now=now)
        if self.planning is not None and other.planning is not None:
            self.planning.merge_own(other.planning, now=now)

    def _observe(self, now: float) -> None:
        for lane, yielding in self._yields.items():
            engines, objective = self._lanes[lane], self._spec.escalation_ttft_s
            mean, at = self._ttft.get(lane, (0.0, float("-inf")))
            is_recent = now - at <= TTFT_WINDOW_S
            ttft = mean / objective if objective is not None and is_recent else None
            load = LoadObservation(engines.waiting, engines.running, engines.kv_utilization, ttft)
            fraction = yielding.observe(load if engines.replicas else LoadObservation(), now=now)
            self.chats.set_yield(lane, fraction)
            if self.planning is not None:
                self.planning.set_yield(lane, fraction)
