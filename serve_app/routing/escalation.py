"""Scoring requests, and the shares that go to the stronger lanes, in one ingress replica.

The classifier scores, `router.routing.escalation` holds the shares and budgets, and
`router.routing.pressure` takes load off a lane that is full; this module feeds them.
Replicas exchange what they saw every few seconds (`in_step`); none waits for another.

The first requests of agents' turns have a controller of their own, where the fleet has a
planning lane: its share is one of such turns, and their scores are no measure of chats.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from classifier import Conversation, Scorer
from router.routing.escalation import (
    EscalationConfig,
    EscalationController,
    EscalationLevel,
    LevelView,
)
from router.routing.policy import Judgement
from router.routing.pressure import LoadObservation, YieldController
from router.types import LaneDecision, Reason
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.routing.policies import Policies
from serve_app.tenancy.auth import Tenant

SCORE_CACHE_SIZE = 20_000
MAX_BRIEF_CHARS = 4096
# A first token this long ago says nothing about the lane's load now.
TTFT_WINDOW_S = 10.0
# A lane that got nothing for so long is not asked for its load.
BUSY_S = 60.0


class Escalation:
    """Owns the score cache, the controller and the yielding of one ingress replica.

    The cache has scores of turns by digest, the ones in use at the end.
    """

    def __init__(self, policies: Policies, replica: str = "") -> None:
        self._policies = policies
        self._replica = replica
        # Fixed at start, as the lanes are; the profile of a simulated one is read once.
        self._slots = {name: lane.slots for name, lane in policies.fleet.enabled_lanes.items()}
        self.cache: OrderedDict[bytes, float] = OrderedDict()
        self._ttft: dict[str, tuple[float, float]] = {}
        self._sent: dict[str, float] = {}
        self._start(policies)

    def apply(self, policies: Policies) -> None:
        """Follow a reload; shares begin anew only when what they rest on changed."""
        if policies.escalation_basis != self._policies.escalation_basis:
            self._start(policies)
        self._policies = policies

    def _start(self, policies: Policies) -> None:
        self._policies = policies
        self._controller = self._controlling(policies, policies.levels)
        planning = policies.planning
        self._planning = self._controlling(policies, (planning,)) if planning is not None else None
        levels = (*policies.levels, *([planning] if planning is not None else []))
        self._yields = {level.lane: YieldController(now=time.monotonic()) for level in levels}

    def _controlling(
        self, policies: Policies, levels: Sequence[EscalationLevel]
    ) -> EscalationController:
        config = EscalationConfig(replicas=policies.fleet.ingress.replicas)
        return EscalationController(levels, policies.shipped, config, replica=self._replica)

    # -- deciding -----------------------------------------------------------

    def judge(
        self,
        policies: Policies,
        tenant: Tenant,
        parsed: ParsedRequest,
        *,
        is_planning: bool = False,
    ) -> Judgement:
        own = self._policies
        if policies is not own and policies.escalation_basis != own.escalation_basis:
            # A reload came while the body was read: its lanes may have no level any more.
            return Judgement((), {})
        scores = self.scores(policies, parsed)
        if is_planning and self._planning is not None:
            budgets = _planning_budgets(policies, tenant)
            return Judgement(scores, self._planning.view(tenant.name, budgets))
        return Judgement(scores, self._views(policies, tenant.name, tenant.rules.budgets))

    def scores(self, policies: Policies, parsed: ParsedRequest) -> list[float]:
        """Scores of the last user turns, newest last; old turns come from a cache.

        A turn is scored as it looked when it was the newest one, so each ingress
        replica finds the same score for it, whether it saw that turn or not. Turns that
        the engine will not read are not scored.
        """
        turns, dropped = parsed.prompt.users, parsed.prompt.dropped_users
        before = max(len(turns) - policies.sticky_turns, dropped)
        users, system = turns[before:], _brief(parsed.prompt.system)
        return [
            self._score(policies.scorer, _conversation(parsed, text, before + index + 1), system)
            for index, text in enumerate(users)
        ]

    def shadow(self, policies: Policies, parsed: ParsedRequest) -> tuple[str, float] | None:
        if policies.shadow is None or not parsed.prompt.users:
            return None
        users = parsed.prompt.users
        conversation = _conversation(parsed, users[-1], len(users))
        system = _brief(conversation.system)
        return policies.shadow.version, self._score(policies.shadow, conversation, system)

    def features(self, policies: Policies, parsed: ParsedRequest) -> dict[str, float]:
        return policies.scorer.features(newest_turn(parsed))

    def note(self, tenant: Tenant, decision: LaneDecision) -> None:
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
            is_sticky = decision.reason is Reason.STICKY
            controller.note(tenant.name, budgets, decision.score, lane, sticky=is_sticky, now=now)

    def _views(
        self, policies: Policies, tenant: str, budgets: Mapping[str, float]
    ) -> Mapping[str, LevelView]:
        views = self._controller.view(tenant, budgets)
        fixed = policies.fixed_threshold
        if fixed is not None:
            # The operator's threshold stands for the lowest level; budgets hold as ever.
            lane = policies.levels[-1].lane
            views[lane] = replace(views[lane], threshold=fixed, yield_threshold=fixed)
        return views

    def _score(self, scorer: Scorer, conversation: Conversation, system: str) -> float:
        c = conversation
        key = _digest(f"{scorer.version}\0{c.user_turns}\0{c.tools}\0{system}\0{c.last_user}")
        score = self.cache.get(key)
        if score is None:
            score = self.cache[key] = scorer.score(conversation)
            if len(self.cache) > SCORE_CACHE_SIZE:
                self.cache.popitem(last=False)
        return score

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


def newest_turn(parsed: ParsedRequest) -> Conversation:
    """Return what the classifier reads of the newest user turn."""
    users = parsed.prompt.users
    return _conversation(parsed, users[-1] if users else "", max(1, len(users)))


def _conversation(parsed: ParsedRequest, text: str, turn: int) -> Conversation:
    return Conversation(
        last_user=text, system=parsed.prompt.system, user_turns=turn, tools=parsed.tools
    )


def _planning_budgets(policies: Policies, tenant: Tenant) -> dict[str, float]:
    """Return the tenant's own share of the planning lane; nothing: the lane's."""
    level, own = policies.planning, tenant.rules.planning_budget
    return {} if level is None or own is None else {level.lane: own}


def _brief(system: str) -> str:
    """What stands for a system prompt in the keys of its turns: a long one is read once."""
    return system if len(system) <= MAX_BRIEF_CHARS else _digest(system).hex()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
