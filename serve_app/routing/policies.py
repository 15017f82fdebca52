"""Everything that a reload replaces, as one consistent set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from classifier import Scorer
from router.routing.escalation import EscalationLevel
from router.routing.policy import RoutingPolicy, StrongerLane
from router.types import Lane, Reason
from serve_app.config.fleet import FleetConfig
from serve_app.config.records import StoreConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.tenancy.auth import Authenticator
from serve_app.tenancy.keys import KeyBook


@dataclass(frozen=True, slots=True)
class Policies:
    """What the pipeline decides by.

    Attributes:
        levels: the stronger lanes and their shares, strongest first.
        shipped: share to the score that it reaches on the artefact's stated mix.
        fixed_threshold: the operator's own, in place of the lowest level's.
        shadow: a candidate that scores beside the active classifier, without effect.

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

    @property
    def escalation_basis(self) -> tuple[object, ...]:
        """What scores and shares rest on: when it changes, they do not compare."""
        return self.scorer.version, self.levels, self.fleet.ingress.replicas


def build_policies(
    fleet: FleetConfig,
    tenants: TenantsConfig,
    scorer: Scorer,
    shipped: Callable[[float], float],
    shadow: Scorer | None = None,
    book: KeyBook | None = None,
) -> Policies:
    lanes = {
        name: Lane(name, lane.model_id, lane.max_model_len)
        for name, lane in fleet.enabled_lanes.items()
    }
    by_model: dict[str, str] = {}
    for lane in lanes.values():
        by_model.setdefault(lane.model_id, lane.name)
    routing = fleet.routing
    levels = _levels(fleet)
    reasons = {routing.frontier: Reason.FRONTIER, routing.complex: Reason.COMPLEX}
    policy = RoutingPolicy(
        lanes=lanes,
        default=routing.default,
        stronger=tuple(StrongerLane(level.lane, reasons[level.lane]) for level in levels),
        long_context=routing.long_context,
        tools=routing.tools,
        by_model=by_model,
        aliases=fleet.known_aliases,
    )
    return Policies(
        fleet=fleet,
        routing=policy,
        auth=Authenticator(tenants, routing.complex, routing.frontier, book),
        scorer=scorer,
        levels=levels,
        shipped=shipped,
        fixed_threshold=routing.escalation_threshold if levels else None,
        shadow=shadow,
        sticky_turns=routing.sticky_turns,
        store=tenants.store,
        default_output_tokens=routing.default_output_tokens,
    )


def _levels(fleet: FleetConfig) -> tuple[EscalationLevel, ...]:
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
