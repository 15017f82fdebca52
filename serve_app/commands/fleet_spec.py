"""Fleet and tenants files to the fleet that is simulated."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.cards.table import Card, cards_by_kind
from fleet.memory.shape import NotReckoned
from fleet.plan.reckoning.engine import Served
from fleet.simulation.spec import FleetSpec, LaneSpec, TenantSpec
from router.admission.ticket import Tier
from router.slo.objectives import SloPolicy, Targets
from router.types import Lane
from serve_app.advice.decoding import profile_of
from serve_app.commands.client import CommandError
from serve_app.commands.fleet_pools import pool_spec
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.tenants import TenantConfig, TenantsConfig
from serve_app.doctor.fit.cards import kind_of_lane
from serve_app.doctor.fit.checkpoint import shape_of_lane
from serve_app.doctor.fit.reckoning import engine_of
from serve_app.routing.policies import levels_of, planning_of, routing_of
from simulator.model.profile import Profile, load_profile

DERIVED = "data sheet"
"""Source of a profile that is derived from the card's, because nobody measured or documents one."""

USUAL_TOKENS = 2048
"""Of a session, by which the room for sessions with sliding windows is reckoned."""


def spec_of(
    fleet: FleetConfig,
    tenants: TenantsConfig,
    *,
    profiles: Mapping[str, str | Profile] | None = None,
    start_s: float = 60.0,
    card_hour: float = 0.0,
    card: Card | None = None,
) -> FleetSpec:
    """Return a fleet as it is simulated.

    Args:
        fleet: as a deployment reads it.
        tenants: the same.
        profiles: by lane, the simulator's profile or its name; before the fleet's own,
            the documented, and what is derived from the data sheet of the lane's card.
        start_s: from the decision to a warm replica.
        card_hour: price of one card for an hour.
        card: that lanes are on whose bundle names none.

    Raises CommandError for a lane without a profile, and FileNotFoundError, yaml.YAMLError or
    pydantic's ValidationError for a profile that cannot be read.

    """
    lanes = {
        name: _lane(name, lane, fleet, (profiles or {}).get(name), start_s, card)
        for name, lane in fleet.enabled_lanes.items()
    }
    named = {name: TenantConfig(tier=name) for name in tenants.tiers}
    tiers = tenants.model_copy(update={"tenants": named})
    routing, affinity, recovery = fleet.routing, fleet.sessions.affinity, fleet.recovery
    levels = levels_of(fleet)
    return FleetSpec(
        lanes=lanes,
        routing=routing_of(fleet),
        tiers={name: _tenant(name, tiers, fleet) for name in tenants.tiers},
        tenants={name: _tenant(name, tenants, fleet) for name in tenants.tenants},
        pools={name: pool_spec(name, fleet, lanes, start_s) for name in fleet.pools},
        levels=levels,
        planning=planning_of(fleet),
        fixed_threshold=routing.escalation_threshold if levels else None,
        escalation_ttft_s=routing.escalation_ttft_s,
        sticky_turns=routing.sticky_turns,
        default_output_tokens=routing.default_output_tokens,
        ingresses=fleet.ingress.replicas,
        queue=fleet.queue_config,
        saturation=fleet.admission,
        affinity=affinity,
        warm_s=affinity.warm_s,
        max_spilled=affinity.max_spilled,
        tracked_sessions=affinity.tracked_sessions,
        report_period_s=affinity.report_period_s,
        retries=recovery,
        breaker=recovery,
        attempts=recovery.attempts,
        max_failovers=recovery.max_failovers,
        choose_s=fleet.timeouts.choose_s,
        slo=SloPolicy(Targets()) if fleet.slo is None else fleet.slo.policy(),
        token_cost=fleet.prices.cost,
        card_hour=card_hour,
        currency=fleet.prices.currency,
    )


def _lane(
    name: str,
    lane: LaneConfig,
    fleet: FleetConfig,
    profile: str | Profile | None,
    start_s: float,
    card: Card | None,
) -> LaneSpec:
    if isinstance(profile, Profile):
        found: Profile | None = profile
    else:
        found = load_profile(profile) if profile else profile_of(name, lane, fleet.advice)
    if found is None:
        found = _derived(name, lane, card)
    ttft_s = None if fleet.slo is None else fleet.slo.policy().of(name, "").ttft_p95_s
    threshold = lane.engine_args.get("long_prefill_token_threshold") or 0
    scheduling = found.scheduling.model_copy(
        update={"long_prefill_token_threshold": int(threshold)}
    )
    return LaneSpec(
        lane=Lane(name, lane.model_id, lane.max_model_len, lane.calls_tools),
        profile=found.model_copy(update={"scheduling": scheduling}),
        replicas=lane.replicas.min + lane.replicas.standby,
        slots=lane.slots if fleet.admission.enabled else None,
        cards=lane.workers,
        start_s=start_s,
        drain_s=lane.drain_s,
        scaling=lane.replicas.terms(lane.slots, ttft_s) if lane.replicas.follow_load else None,
    )


def _derived(name: str, lane: LaneConfig, card: Card | None) -> Profile:
    """Return an estimate from the data sheet of its bundle's card, else of the one given."""
    why = "its bundle names no kind of card that is known here (accelerator_type:...), nor --card"
    kind = kind_of_lane(lane)
    card = card if kind is None else cards_by_kind().get(kind)
    if card is not None and lane.engine == "vllm" and lane.generates:
        try:
            engine = engine_of(lane)
            served = Served(lane.model_source, shape_of_lane(lane)[0], engine, card, card.kind)
            profile = served.simulated(engine.max_num_seqs, min(USUAL_TOKENS, lane.max_model_len))
            return profile.model_copy(update={"source": DERIVED})
        except NotReckoned as error:
            why = str(error)
    raise CommandError(
        f"lane '{name}': no profile says how fast {lane.model_source} is, and {why}; give one "
        f"with --profile {name}=NAME, or in the fleet file under advice.profiles"
    )


def _tenant(name: str, tenants: TenantsConfig, fleet: FleetConfig) -> TenantSpec:
    config = tenants.tenants[name]
    tier, kv = tenants.tiers[config.tier], tenants.kv_of(name)
    return TenantSpec(
        tier=Tier(
            config.tier,
            tier.priority,
            sheddable=tier.sheddable,
            min_share=tier.min_share,
            start_within_s=tier.start_within_s,
        ),
        rules=tenants.rules_of(
            name, fleet.routing.complex, fleet.routing.frontier, fleet.enabled_lanes
        ),
        ceilings=tenants.ceilings_of(name),
        quotas=tenants.quotas_of(name),
        weights=tenants.weights_of(name),
        kv_tokens=None if kv is None else kv.tokens_per_tenant,
        session_tokens=None if kv is None else kv.tokens_per_session,
        weight=config.weight,
    )
