"""Scoring requests, and the shares that go to the stronger lanes, in one ingress replica.

The classifier scores, `router.routing.escalation` holds the shares and budgets, and
`router.routing.pressure` takes load off a lane that is full; this module feeds them.
Replicas exchange what they saw every few seconds (`in_step`); none waits for another.

The first requests of agents' turns have a controller of their own, where the fleet has a
planning lane: its share is one of such turns, and their scores are no measure of chats.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel
from router.routing.levels import Band, LevelView, doubt_around
from router.routing.policy import Judgement
from router.routing.pressure import LoadObservation, YieldController
from router.routing.quantile import QuantileConfig
from router.types import LaneDecision, Reason
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.routing.cascading import cascading_of
from serve_app.routing.draws import draws_of
from serve_app.routing.policies import Policies
from serve_app.routing.scores import Doubt, Scores, brief, newest_turn
from serve_app.tenancy.auth import Tenant

# A first token this long ago says nothing about the lane's load now.
TTFT_WINDOW_S = 10.0
# A lane that got nothing for so long is not asked for its load.
BUSY_S = 60.0


class Escalation:
    """Owns the scores, the controller and the yielding of one ingress replica.

    `cascading`: the second stage of the complex lane's level; None: there is none.
    """

    def __init__(self, policies: Policies, replica: str = "") -> None:
        self._policies = policies
        self._replica = replica
        # Fixed at start, as the lanes are; the profile of a simulated one is read once.
        self._slots = {name: lane.slots for name, lane in policies.fleet.enabled_lanes.items()}
        self.scores = Scores()
        self._ttft: dict[str, tuple[float, float]] = {}
        self._sent: dict[str, float] = {}
        self._start(policies)

    def apply(self, policies: Policies) -> None:
        """Follow a reload; shares begin anew only when what they rest on changed."""
        before, self._policies = self._policies, policies
        if policies.escalation_basis != before.escalation_basis:
            self._start(policies)
        elif policies.fleet.routing.cascade != before.fleet.routing.cascade:
            self.cascading = cascading_of(policies)

    def _start(self, policies: Policies) -> None:
        self._policies = policies
        self._controller = self._controlling(policies, policies.levels)
        planning = policies.planning
        self._planning = self._controlling(policies, (planning,)) if planning is not None else None
        levels = (*policies.levels, *([planning] if planning is not None else []))
        self._yields = {level.lane: YieldController(now=time.monotonic()) for level in levels}
        self.cascading = cascading_of(policies)

    def _controlling(
        self, policies: Policies, levels: Sequence[EscalationLevel]
    ) -> EscalationController:
        replicas = policies.fleet.ingress.replicas
        # Thresholds are read from the top of the scores: a cascade's band is deeper.
        quantile = QuantileConfig()
        quantile = replace(quantile, tail_share=max(quantile.tail_share, policies.held_share))
        config = EscalationConfig(replicas, explored=policies.explored_width, quantile=quantile)
        return EscalationController(levels, policies.shipped, config, replica=self._replica)

    # -- deciding -----------------------------------------------------------

    def judge(
        self,
        policies: Policies,
        tenant: Tenant,
        parsed: ParsedRequest,
        session: str = "",
        *,
        is_planning: bool = False,
    ) -> Judgement:
        own = self._policies
        if policies is not own and policies.escalation_basis != own.escalation_basis:
            # A reload came while the body was read: its lanes may have no level any more.
            return Judgement((), {})
        scores = self.scores.of_turns(policies, parsed)
        if is_planning and self._planning is not None:
            budgets = _planning_budgets(policies, tenant)
            return Judgement(scores, self._planning.view(tenant.name, budgets))
        views = self._views(policies, tenant.name, tenant.rules.budgets)
        if not policies.routing.epsilon:
            return Judgement(scores, views)
        users = parsed.prompt.users
        return Judgement(scores, views, draws_of(session, users, len(users) - len(scores)))

    def doubts(
        self,
        policies: Policies,
        tenant: Tenant,
        parsed: ParsedRequest,
        judged: Judgement,
        *,
        is_planning: bool = False,
    ) -> list[Doubt]:
        """The turns for which a better score could change what was decided by this judgement.

        None where the tenant may not escalate, whatever its scores.
        """
        rules, planning = tenant.rules, self._planning if is_planning else None
        may = rules.may_escalate if planning is None else rules.may_plan
        bands = (planning or self._controller).doubts()
        fixed = policies.fixed_threshold
        if fixed is not None and planning is None:
            # Of a share that the window does not show, the scores are not around it.
            window = self._controller.window
            band = doubt_around(window, window.share(fixed))
            bands[policies.levels[-1].lane] = Band(min(band.low, fixed), max(band.high, fixed))
        open_to_it = [band for lane, band in bands.items() if lane in judged.views and may(lane)]
        return self.scores.doubts(policies, parsed, judged.scores, open_to_it)

    def learn(self, policies: Policies, doubts: Sequence[Doubt], shares: Sequence[float]) -> None:
        """Take the shares of the stated mix that turns belong to for scores of their own.

        Scores of two classifiers do not compare; shares do. So all that follows, thresholds,
        budgets and logs, is on the scale of the classifier in force.
        """
        self.scores.learn(doubts, [policies.shipped(share) for share in shares])

    def shadow(self, policies: Policies, parsed: ParsedRequest) -> tuple[str, float] | None:
        if policies.shadow is None or not parsed.prompt.users:
            return None
        turn = newest_turn(parsed)
        return policies.shadow.version, self.scores.score(policies.shadow, turn, brief(turn.system))

    def features(self, policies: Policies, parsed: ParsedRequest) -> dict[str, float]:
        return policies.scorer.features(newest_turn(parsed))

    def standing(self, tenant: Tenant, lane: str) -> tuple[LevelView, float] | None:
        """Return a level as it is for a tenant now, and the score where a cascade's band begins."""
        policies = self._policies
        view = self._views(policies, tenant.name, tenant.rules.budgets).get(lane)
        if view is None:
            return None
        return view, self._controller.window.threshold(policies.held_share)

    def note(self, tenant: Tenant, decision: LaneDecision, *, held: bool = False) -> None:
        now = time.monotonic()
        if decision.score is not None or decision.reason is Reason.STICKY:
            # The steps of an agent's turn fill a lane, too, and are not scored.
            self._sent[decision.lane.name] = now
        controller, budgets = self._controller, tenant.rules.budgets
        if decision.is_planning:
            if self._planning is None:
                # A reload has taken the role away since: its scores are no measure of chats.
                return
            controller, budgets = self._planning, _planning_budgets(self._policies, tenant)
        lane = decision.lane.name
        if decision.is_adopted:
            controller.adopt(tenant.name, budgets, lane)
        elif decision.score is not None:
            why, score = decision.reason, decision.score
            is_sticky, is_explored = why is Reason.STICKY, why is Reason.EXPLORED
            controller.note(
                tenant.name, budgets, score, lane, sticky=is_sticky, now=now, explored=is_explored
            )
            if self.cascading is not None and controller is self._controller:
                self.cascading.note(decision, held=held)

    def _views(
        self, policies: Policies, tenant: str, budgets: Mapping[str, float]
    ) -> Mapping[str, LevelView]:
        views = self._controller.view(tenant, budgets)
        fixed = policies.fixed_threshold
        if fixed is not None:
            # The operator's threshold stands for the lowest level; budgets hold as ever.
            lane = policies.levels[-1].lane
            band = self._controller.band(fixed)
            views[lane] = replace(views[lane], threshold=fixed, yield_threshold=fixed, band=band)
        return views

    # -- keeping in step ----------------------------------------------------

    def note_ttft(self, lane: str, seconds: float) -> None:
        """A first token came from a stronger lane; the mean of recent ones counts."""
        if lane in self._yields:
            before, _ = self._ttft.get(lane, (seconds, 0.0))
            self._ttft[lane] = (0.8 * before + 0.2 * seconds, time.monotonic())

    def observe(self, lane: str, replicas: Sequence[Mapping[str, Any]]) -> float:
        """Take a lane's load, as its replicas report it; returns the yield fraction.

        0 of a lane that a reload has taken its share from since it was asked.
        """
        if lane not in self._yields:
            return 0.0
        now = time.monotonic()
        fraction = self._yields[lane].observe(self.observation(lane, replicas, now), now=now)
        self._controller.set_yield(lane, fraction)
        if self._planning is not None:
            self._planning.set_yield(lane, fraction)
        return fraction

    def observation(
        self, lane: str, replicas: Sequence[Mapping[str, Any]], now: float
    ) -> LoadObservation:
        """A lane's load as its replicas report it, and its first tokens against their objective."""
        mean, at = self._ttft.get(lane, (0.0, float("-inf")))
        slo_s = self._policies.fleet.routing.escalation_ttft_s
        is_recent = now - at <= TTFT_WINDOW_S
        ttft = mean / slo_s if slo_s is not None and is_recent else None
        if not replicas:
            return LoadObservation(ttft=ttft)
        count = len(replicas)
        slots = self._slots[lane]
        return LoadObservation(
            waiting=sum(row["waiting"] for row in replicas) / count,
            running=sum(row["running"] for row in replicas) / (count * slots) if slots else None,
            kv_utilization=max(row["kv_utilization"] for row in replicas),
            ttft=ttft,
        )

    def busy_lanes(self) -> list[str]:
        """The stronger lanes that were sent something lately, or that yield."""
        now = time.monotonic()
        return [
            lane
            for lane, yielding in self._yields.items()
            if now - self._sent.get(lane, float("-inf")) <= BUSY_S or yielding.fraction(now=now)
        ]

    def export(self) -> dict[str, Any]:
        exported: dict[str, Any] = {
            "replica": self._replica,
            "basis": repr(self._policies.escalation_basis),
        }
        if self._planning is not None:
            exported["planning"] = self._planning.export()
        return {**exported, **self._controller.export()}

    def merge(self, exported: Mapping[str, Any]) -> None:
        """Take in a peer's export; one that runs on another artefact is left out."""
        if exported["basis"] != repr(self._policies.escalation_basis):
            return
        peer, now = exported["replica"], time.monotonic()
        plain = {k: v for k, v in exported.items() if k not in ("replica", "basis", "planning")}
        self._controller.merge(peer, plain, now=now)
        if self._planning is not None:
            self._planning.merge(peer, exported["planning"], now=now)

    # -- reporting ----------------------------------------------------------

    @property
    def alarm(self) -> bool:
        return self._controller.alarm

    def status(self) -> dict[str, dict[str, float]]:
        """Per lane: target and realised share, threshold, yield fraction."""
        now = time.monotonic()
        shares = self._controller.share(now=now)
        # Of a tenant with budget.
        views = self._views(self._policies, "", {})
        return {
            level.lane: {
                "target_share": level.share,
                "share": shares[level.lane],
                "threshold": views[level.lane].threshold,
                "yield": self._yields[level.lane].fraction(now=now),
            }
            for level in self._policies.levels
        }

    def planning_status(self) -> dict[str, Any] | None:
        """The same of the planning lane, by agents' turns; None: there is none."""
        level = self._policies.planning
        if level is None or self._planning is None:
            return None
        now = time.monotonic()
        return {
            "lane": level.lane,
            "target_share": level.share,
            "share": self._planning.share(now=now)[level.lane],
            "threshold": self._planning.view("", {})[level.lane].threshold,
            "yield": self._yields[level.lane].fraction(now=now),
        }


def _planning_budgets(policies: Policies, tenant: Tenant) -> dict[str, float]:
    """Return the tenant's own share of the planning lane; nothing: the lane's."""
    level, own = policies.planning, tenant.rules.planning_budget
    return {} if level is None or own is None else {level.lane: own}
