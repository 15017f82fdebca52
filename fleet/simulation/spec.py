"""What a fleet is, as far as its simulation depends on it: lanes, tenants, policy, prices.

Wherever `router/` has a class for a setting, that class is used, so a simulated fleet decides
by what a deployment would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleet.simulation.pools.faults import LOAD_WITHIN_S
from router.admission.lane_queue import QueueConfig
from router.admission.saturation import SaturationConfig
from router.admission.ticket import Tier
from router.limits.ceiling import CeilingConfig
from router.limits.quota import EVEN_WEIGHTS, NO_QUOTA, QuotaConfig, TokenWeights
from router.placement.affinity import AffinityConfig
from router.recovery.breaker import BreakerConfig
from router.recovery.retry_budget import RetryBudgetConfig
from router.routing.escalation import EscalationLevel
from router.routing.policy import RoutingPolicy
from router.scaling.lane_load import Decision, LaneLoad, ScalingTerms
from router.scaling.policy import LaneScaler
from router.slo.objectives import SloPolicy, Targets
from router.swap.pool import SwapPool
from router.swap.terms import PoolBounds, PooledLane
from router.types import Lane, TierRules
from simulator.model.profile import Profile, SleepCosts


class Scaler(Protocol):
    """How many replicas a lane should have; the shipped one is `LaneScaler`."""

    def decide(self, load: LaneLoad, now: float) -> Decision: ...


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """One lane.

    Attributes:
        profile: of its engines.
        slots: sequences that one engine runs at once; None: admission counts none, and the
            profile's own bound holds.
        cards: of one replica.
        start_s: from the decision to a warm replica.
        drain_s: how long open streams of a replica that goes may still take.
        scaling: by which the number of replicas follows the load; None: it is fixed.
        scaler: makes another policy than the shipped one, for comparisons.

    """

    lane: Lane
    profile: Profile
    replicas: int = 1
    slots: int | None = None
    cards: int = 1
    start_s: float = 60.0
    drain_s: float = 900.0
    scaling: ScalingTerms | None = None
    scaler: Callable[[ScalingTerms], Scaler] = LaneScaler


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """What a tenant of one tier gets.

    Attributes:
        kv_tokens: it may have in a lane's KV caches; None: no limit.
        session_tokens: a longer conversation is refused; None: no limit.
        weight: in the fair queue.

    """

    tier: Tier
    rules: TierRules = field(default_factory=TierRules)
    ceilings: CeilingConfig = field(default_factory=CeilingConfig)
    quotas: QuotaConfig = NO_QUOTA
    weights: TokenWeights = EVEN_WEIGHTS
    kv_tokens: int | None = None
    session_tokens: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PooledSpec:
    """A lane that shares the cards of a pool.

    Attributes:
        costs: what it takes to give up its card, and to be back.
        card: the one that its engine is placed on; None: it needs none, and is counted only.
        load_within_s: the bound of a load, after which its replica ends.

    """

    lane: PooledLane
    costs: SleepCosts = field(default_factory=SleepCosts)
    card: str | None = None
    load_within_s: float = LOAD_WITHIN_S


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Cards that lanes share by turns.

    Attributes:
        host_gib: host memory for weights that sleep.
        max_waiting: requests of one ingress replica that wait for lanes to wake.

    """

    bounds: PoolBounds
    lanes: tuple[PooledSpec, ...]
    host_gib: float = math.inf
    max_waiting: int = 1000

    def policy(self) -> SwapPool:
        """Return what decides who is awake."""
        pool = SwapPool(self.bounds, [x.lane for x in self.lanes], host_gib=self.host_gib)
        for x in self.lanes:
            state = pool.lanes[x.lane.name]
            state.cards = frozenset(() if x.card is None else (x.card,))
            state.weights_gib = x.costs.weights_gib
        return pool


def no_cost(_lane: str, _prompt: int, _cached: int, _completion: int) -> float:
    """Tokens without prices."""
    return 0.0


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """A fleet and its policy.

    Attributes:
        lanes: by name, the enabled ones.
        pools: by name, of lanes that share cards.
        history: by lane of a pool, the requests a second of each five minutes before the run,
            the newest last; forecasts are made of it, and of what the run adds.
        tiers: by name; `tenants`: those that have something of their own.
        levels: shares of the stronger lanes, strongest first; `planning`: of agents' turns.
        fixed_threshold: the operator's own, in place of the lowest level's.
        escalation_ttft_s: objective over which stronger lanes yield.
        ingresses: ingress replicas.
        choose_s: how long a request waits for a lane without a replica.
        token_cost: what tokens of a lane cost: lane, prompt, cached of it, completion.
        card_hour: price of one card for an hour, in the same currency.

    """

    lanes: Mapping[str, LaneSpec]
    routing: RoutingPolicy
    tiers: Mapping[str, TenantSpec]
    tenants: Mapping[str, TenantSpec] = field(default_factory=dict)
    pools: Mapping[str, PoolSpec] = field(default_factory=dict)
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    levels: tuple[EscalationLevel, ...] = ()
    planning: EscalationLevel | None = None
    fixed_threshold: float | None = None
    escalation_ttft_s: float | None = None
    sticky_turns: int = 3
    default_output_tokens: int = 256
    ingresses: int = 1
    queue: QueueConfig = field(default_factory=QueueConfig)
    saturation: SaturationConfig = field(default_factory=SaturationConfig)
    affinity: AffinityConfig = field(default_factory=AffinityConfig)
    warm_s: float = 600.0
    max_spilled: int = 256
    tracked_sessions: int = 20_000
    report_period_s: float = 1.0
    retries: RetryBudgetConfig = field(default_factory=RetryBudgetConfig)
    breaker: BreakerConfig = field(default_factory=BreakerConfig)
    attempts: int = 3
    max_failovers: int = 8
    choose_s: float = 5.0
    slo: SloPolicy = field(default_factory=lambda: SloPolicy(Targets()))
    token_cost: Callable[[str, int, int, int], float] = no_cost
    card_hour: float = 0.0
    currency: str = "USD"

    def tenant(self, name: str, tier: str) -> TenantSpec:
        """Return what a tenant gets: its own, or what its tier has. Raises KeyError."""
        return self.tenants.get(name) or self.tiers[tier]
