"""Experiments that can do nothing, or not together, as far as a fleet and its tenants tell.

What the fleet file alone tells stops the start. The tenants file may be changed by itself, so
what does not go with that is a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from router.slo.objectives import Targets
from router.types import Task
from serve_app.config.abilities import known_to_see
from serve_app.config.errors import nearest
from serve_app.config.experiments import ExperimentConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.routing import RoutingConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.config.tiers import TierConfig


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What experiments need to know of their fleet.

    Attributes:
        lanes: those that are on.
        priced: lanes that have a price.
        promised: objectives of the whole deployment.

    """

    lanes: Mapping[str, LaneConfig]
    priced: Collection[str]
    promised: Targets


def experiments_fault(experiments: Iterable[ExperimentConfig], fleet: Surroundings) -> str | None:
    """Say what is wrong with the experiments of a fleet; None: nothing is."""
    listed = list(experiments)
    for index, one in enumerate(listed):
        where = f"experiments.{index} ({one.name})"
        fault = _lanes_fault(one, fleet) or _guard_fault(one, fleet)
        if fault is not None:
            return f"{where}: {fault}"
        for other in listed[:index]:
            if one.name == other.name:
                return f"{where}: another experiment has this name"
            if _overlap(one, other):
                return (
                    f"{where}: '{other.name}' is about the same lane at the same time; one "
                    "request can be in one of them: give them other lanes, times, tenants or tiers"
                )
    return None


def idle_experiments(
    experiments: Iterable[ExperimentConfig],
    tenants: TenantsConfig,
    routing: RoutingConfig,
    lanes: Mapping[str, LaneConfig],
) -> list[str]:
    """Return a warning for what the tenants file does not have, and for what is nobody's."""
    told = []
    for index, one in enumerate(experiments):
        where = f"experiments.{index}"
        told += _unknown(f"{where}.tiers", "tier", one.tiers, tenants.tiers)
        told += _unknown(f"{where}.tenants", "tenant", one.tenants, tenants.tenants)
        tiers = [tenants.tiers[x] for x in _tiers_of(one, tenants)]
        closed = {lane for lane in one.lanes if not any(_may_use(tier, lane) for tier in tiers)}
        if tiers and closed:
            told.append(
                f"{where}: nobody whose requests it is about may use lane "
                f"'{min(closed)}' (lanes of their tiers): no request will be in it"
            )
        elif one.tiers and one.tenants and not tiers:
            told.append(
                f"{where}: none of its tenants is of one of its tiers: no request will be in it"
            )
        elif one.kind != "shadow" and not _is_chosen(one.control, tiers, routing, lanes):
            told.append(
                f"{where}.control: nothing sends requests to '{one.control}' but a caller who "
                "names it, and those are in no experiment: no request will be in it"
            )
    return told


def _unknown(where: str, kind: str, names: Iterable[str], known: Collection[str]) -> list[str]:
    return [
        f"{where}: the tenants file has no {kind} '{name}'{nearest(name, known)}"
        for name in names
        if name not in known
    ]


def _tiers_of(one: ExperimentConfig, tenants: TenantsConfig) -> set[str]:
    """The tiers of whom it is about."""
    tiers = set(one.tiers or tenants.tiers) & set(tenants.tiers)
    if one.tenants:
        tiers &= {tenants.tenants[x].tier for x in one.tenants if x in tenants.tenants}
    return tiers


def _is_chosen(
    lane: str, tiers: Iterable[TierConfig], routing: RoutingConfig, lanes: Mapping[str, LaneConfig]
) -> bool:
    """Whether routing sends somebody there who named no lane."""
    # Without a lane for images, the first that sees gets them.
    may_see = routing.vision is None and known_to_see(lanes[lane])
    if lane in routing.chosen_lanes or may_see:
        return True
    return any(
        tier.default_lane == lane or (lane in tier.lanes and routing.default not in tier.lanes)
        for tier in tiers
    )


def _may_use(tier: TierConfig, lane: str) -> bool:
    return not tier.lanes or lane in tier.lanes


def _lanes_fault(one: ExperimentConfig, fleet: Surroundings) -> str | None:
    for role, name in (("control", one.control), ("treatment", one.treatment)):
        lane = fleet.lanes.get(name)
        if lane is None:
            return f"{role}: '{name}' is not an enabled lane{nearest(name, fleet.lanes)}"
        if Task.GENERATE not in lane.tasks:
            return f"{role}: lane '{name}' does not generate text"
    return None


def _guard_fault(one: ExperimentConfig, fleet: Surroundings) -> str | None:
    guard = one.guard
    if guard.cost_ratio is not None:
        missing = [x for x in one.lanes if x not in fleet.priced]
        if missing:
            return f"guard.cost_ratio: prices.lanes has no '{missing[0]}'"
    # Who switches objectives off by null means it so.
    if "guard" in one.model_fields_set and not guard.given and one.rails(fleet.promised).are_none:
        return (
            "guard: it stops nothing: neither it nor slo: has an objective, and it has no ratio; "
            "say one, such as failures_ratio: 0.01, or leave it out"
        )
    return None


def _overlap(one: ExperimentConfig, other: ExperimentConfig) -> bool:
    """Whether a request could be in both: a shadow moves none, and disturbs only its like."""
    if (one.kind == "shadow") != (other.kind == "shadow"):
        return one.treatment == other.treatment and _meet(one, other)
    return bool(set(one.lanes) & set(other.lanes)) and _meet(one, other)


def _meet(one: ExperimentConfig, other: ExperimentConfig) -> bool:
    if one.ends <= other.begins or other.ends <= one.begins:
        return False
    pairs = ((one.tenants, other.tenants), (one.tiers, other.tiers))
    return all(not a or not b or set(a) & set(b) for a, b in pairs)
