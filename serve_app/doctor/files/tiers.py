"""Whether sheddable and protected tiers are served by the same lanes.

In a lane of both, protected work is served first and never shed before the other. But what
sheddable sessions hold of the engine's KV cache is no longer there for others, and a lane has one
model for both. So each tier should have a pool of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from router.types import TierRules
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.config.tiers import TierConfig
from serve_app.doctor.check import Verdict, not_applicable, ok, warning

USUAL_TOKENS = 4096
"""Of a session's history, where the tier has no cap."""

EXAMPLE = "configs/fleets/two_cards_free_tier.yaml"


def shared_lanes(fleet: FleetConfig, tenants: TenantsConfig) -> Verdict:
    """Warn of lanes on cards where rules of routing bring work of both kinds."""
    on_cards = [
        name
        for name, lane in fleet.enabled_lanes.items()
        if lane.accelerator == "gpu" and lane.engine == "vllm" and lane.generates
    ]
    sheddable = {name: tier for name, tier in tenants.tiers.items() if tier.sheddable}
    protected = {name: tier for name, tier in tenants.tiers.items() if not tier.sheddable}
    if not on_cards or not sheddable or not protected:
        return not_applicable("no lane on a card, or not both sheddable and protected tiers")
    theirs = {name: _reached(fleet, tier) for name, tier in protected.items()}
    taken = frozenset().union(*theirs.values())
    told, fixes, capped = [], [], []
    for name, tier in sheddable.items():
        shared = [x for x in on_cards if x in taken & _reached(fleet, tier)]
        if shared and tier.kv is not None and tier.kv.tokens_per_tenant is not None:
            capped.append(name)
        elif shared:
            others = [x for x, reached in theirs.items() if not reached.isdisjoint(shared)]
            told.append(
                f"{_lanes(shared)} of sheddable and protected tiers ({name} with "
                f"{', '.join(others)}): {name} sessions take KV cache from the others'"
            )
            unused = [x for x in on_cards if x not in taken]
            fixes.append(_fix(name, tier, fleet, unused, _cards(fleet, on_cards)))
    if told:
        return warning("\n      ".join(told), "; ".join(fixes))
    kept = f"; {', '.join(capped)}: by kv.tokens_per_tenant" if capped else ""
    return ok(f"sheddable tiers do not take the KV cache of protected ones{kept}")


def _lanes(names: list[str]) -> str:
    return f"shared lane{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _reached(fleet: FleetConfig, tier: TierConfig) -> frozenset[str]:
    """Return the lanes that a tier's requests get to without naming one."""
    rules = TierRules(tier.lanes_of(fleet.enabled_lanes))
    lanes = [name for name in fleet.enabled_lanes if rules.allows(name)]
    return frozenset(_base(fleet, tier, lanes)) | {
        name for name in _roles(fleet, tier) if name in lanes
    }


def _base(fleet: FleetConfig, tier: TierConfig, lanes: list[str]) -> list[str]:
    """As `router.routing.lane` has it: the tier's own, the fleet's, the first that is open."""
    wanted = (tier.default_lane, fleet.routing.default)
    return [x for x in (*wanted, *lanes) if x in lanes][:1]


def _roles(fleet: FleetConfig, tier: TierConfig) -> Iterator[str]:
    """Lanes of roles; none is asked for that the tier has no budget for."""
    budgets = {
        "complex": tier.escalation_budget,
        "frontier": tier.frontier_budget,
        "planning": tier.planning_budget,
    }
    roles = (*fleet.routing.needed_lanes, *fleet.routing.optional_lanes)
    # The default is the base lane's affair: a tier with one of its own does not get there.
    return (name for role, name in roles if role != "default" and budgets.get(role) != 0)


def _cards(fleet: FleetConfig, on_cards: list[str]) -> int:
    """Return how many cards the lanes that are on take; those of a pool take its cards."""
    lanes = [fleet.enabled_lanes[x] for x in on_cards]
    own = sum(x.replicas.min * x.workers for x in lanes if x.cards is None)
    return own + sum(fleet.pools[x].gpus for x in {x.cards for x in lanes if x.cards is not None})


def _fix(name: str, tier: TierConfig, fleet: FleetConfig, free: list[str], cards: int) -> str:
    """The lines that separate them; on the cards there are, those that bound what is taken."""
    if free:
        lane = free[0]
        return f"tiers.{name}.default_lane: {lane} and tiers.{name}.lanes: [{lane}]"
    most = 2 * (tier.history.high_tokens if tier.history is not None else USUAL_TOKENS)
    bound = f"tiers.{name}.kv: {{tokens_per_tenant: {most}}}"
    if cards == 1:
        return (
            f"one card has no room for a second pool: bound what {name} takes by {bound}, or take "
            f"a second card and {EXAMPLE} (nothing to do while nobody is of tier {name})"
        )
    wanted = tier.default_lane or name
    if wanted in fleet.lanes and not fleet.lanes[wanted].enabled:
        own = f"lanes.{wanted}.enabled: true (one more card)"
    else:
        own = f"lanes.{wanted}: a smaller model on another card, as in {EXAMPLE}"
    goes = f", tiers.{name}.default_lane: {wanted} and tiers.{name}.lanes: [{wanted}]"
    return f"{own}{'' if tier.only_default_lane else goes}; without another card, {bound}"
