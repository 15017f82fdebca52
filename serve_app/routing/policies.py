"""Everything that a reload replaces, as one consistent set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from router.routing.escalation import EscalationLevel
from router.routing.policy import RoutingPolicy, StrongerLane
from router.slo.objectives import SloPolicy
from router.types import Lane, Reason
from serve_app.config.abilities import pooling_lanes, sight
from serve_app.config.experiment_faults import idle_experiments
from serve_app.config.fleet import FleetConfig
from serve_app.config.records import StoreConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.routing.languages import Languages, languages_of
from serve_app.tenancy.auth import Authenticator
from serve_app.tenancy.keys import KeyBook

if TYPE_CHECKING:
    from classifier import Scorer


@dataclass(frozen=True, slots=True)
class Policies:
    """What the pipeline decides by.

    Attributes:
        levels: the stronger lanes and their shares, strongest first.
        planning: the lane for hard turns of agents, and its share of those.
        languages: tells those that have a lane; None: none has.
        shipped: share to the score that it reaches on the artefact's stated mix.
        fixed_threshold: the operator's own, in place of the lowest level's.
        slo: what is promised to whom; None: nothing is.
        idle_tiers: a warning for each tier that it names and that is not there.
        shadow: a candidate that scores beside the active classifier, without effect.
        version: a hash of what lanes are chosen by: the same where the same is.

    """

    fleet: FleetConfig
    routing: RoutingPolicy
    auth: Authenticator
    scorer: Scorer
    levels: tuple[EscalationLevel, ...]
    shipped: Callable[[float], float] = field(compare=False)
    fixed_threshold: float | None
    shadow: Scorer | None
    sticky_turns: int
    store: StoreConfig
    default_output_tokens: int
    planning: EscalationLevel | None = None
    languages: Languages | None = field(default=None, compare=False)
    slo: SloPolicy | None = None
    idle_tiers: tuple[str, ...] = ()
    version: str = ""

    @property
    def escalation_basis(self) -> tuple[object, ...]:
        """What scores and shares rest on: when it changes, they do not compare."""
        replicas, widths = self.fleet.ingress.replicas, (self.explored_width, self.held_share)
        return self.scorer.version, self.levels, self.planning, replicas, *widths

    @property
    def held_share(self) -> float:
        """Of the scored requests, from the top, those that a cascade may hold; 0: none."""
        cascade = self.fleet.routing.cascade
        return 0.0 if cascade is None else cascade.band

    @property
    def explored_width(self) -> float:
        """Of the band around thresholds in which requests are explored; 0: none is."""
        exploration = self.fleet.routing.exploration
        return 0.0 if exploration is None else exploration.width


def build_policies(
    fleet: FleetConfig,
    tenants: TenantsConfig,
    scorer: Scorer,
    shipped: Callable[[float], float],
    shadow: Scorer | None = None,
    book: KeyBook | None = None,
) -> Policies:
    levels, planning = levels_of(fleet), planning_of(fleet)
    routing, policy = fleet.routing, routing_of(fleet)
    return Policies(
        fleet=fleet,
        routing=policy,
        auth=Authenticator(tenants, routing.complex, routing.frontier, book, fleet.enabled_lanes),
        scorer=scorer,
        levels=levels,
        shipped=shipped,
        fixed_threshold=routing.escalation_threshold if levels else None,
        shadow=shadow,
        sticky_turns=routing.sticky_turns,
        store=tenants.store,
        default_output_tokens=routing.default_output_tokens,
        planning=planning,
        languages=languages_of(policy.languages),
        slo=None if fleet.slo is None else fleet.slo.policy(),
        idle_tiers=(
            *(() if fleet.slo is None else fleet.slo.idle_tiers(tenants.tiers)),
            *idle_experiments(fleet.experiments, tenants, routing, fleet.enabled_lanes),
        ),
        version=version_of(fleet, scorer.version),
    )


def version_of(fleet: FleetConfig, classifier: str) -> str:
    """Return 12 hexadecimal digits of all that chooses a lane: rules, shares, classifier, arms."""
    decides = {
        "classifier": classifier,
        "routing": fleet.routing.model_dump(mode="json"),
        "experiments": [x.model_dump(mode="json") for x in fleet.experiments],
        "aliases": [(name, alias.model_dump(mode="json")) for name, alias in fleet.aliases.items()],
        "lanes": {
            name: (lane.model_id, lane.max_model_len, lane.calls_tools, sorted(lane.tasks))
            for name, lane in fleet.enabled_lanes.items()
        },
    }
    written = json.dumps(decides, sort_keys=True).encode()
    return blake2b(written, digest_size=6).hexdigest()


def routing_of(fleet: FleetConfig) -> RoutingPolicy:
    """Return the fleet's routing table."""
    seen = sight(fleet.enabled_lanes)
    lanes = {
        name: Lane(
            name, lane.model_id, lane.max_model_len, lane.calls_tools, seen[name], lane.tasks
        )
        for name, lane in fleet.enabled_lanes.items()
    }
    by_model: dict[str, str] = {}
    for lane in lanes.values():
        by_model.setdefault(lane.model_id, lane.name)
    routing, planning = fleet.routing, planning_of(fleet)
    reasons = {routing.frontier: Reason.FRONTIER, routing.complex: Reason.COMPLEX}
    return RoutingPolicy(
        lanes=lanes,
        default=routing.default,
        stronger=tuple(StrongerLane(level.lane, reasons[level.lane]) for level in levels_of(fleet)),
        long_context=routing.long_context,
        tools=routing.tools,
        planning=planning.lane if planning is not None else None,
        sub_agents=_running(fleet, routing.sub_agents),
        background=_running(fleet, routing.background),
        languages={
            code: lane
            for lane, codes in routing.languages.items()
            for code in codes
            if lane in lanes
        },
        by_model=by_model,
        aliases=fleet.known_aliases,
        vision=_running(fleet, routing.vision),
        pooling=pooling_lanes(routing.embeddings, routing.rerank, fleet.enabled_lanes),
        epsilon=0.0 if routing.exploration is None else routing.exploration.epsilon,
        cascade=None if routing.cascade is None else routing.complex,
    )


def _running(fleet: FleetConfig, lane: str | None) -> str | None:
    """Return a role's lane; None also while that is off: the role waits for it."""
    return lane if lane in fleet.enabled_lanes else None


def planning_of(fleet: FleetConfig) -> EscalationLevel | None:
    """Return the planning lane and its share of agents' turns; None: there is none."""
    lane, share = _running(fleet, fleet.routing.planning), fleet.routing.planning_share
    return EscalationLevel(lane, share) if lane is not None and share > 0 else None


def levels_of(fleet: FleetConfig) -> tuple[EscalationLevel, ...]:
    """Return the stronger lanes and their shares, strongest first."""
    routing = fleet.routing
    wanted = (
        (routing.frontier, routing.frontier_share),
        (routing.complex, routing.escalation_share),
    )
    alarm = routing.escalation_alarm
    return tuple(
        EscalationLevel(lane, share, alarm_over=alarm, alarm_under=0.8 * alarm)
        for lane, share in wanted
        if lane is not None and share > 0
    )
