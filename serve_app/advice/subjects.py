"""What the configuration says about the lanes that triggers are judged for."""

from __future__ import annotations

from typing import Any

from router.advice.table import FLEET, Subject
from router.advice.trigger import Scope
from serve_app.advice.decoding import profile_of
from serve_app.advice.signals import LaneShape
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.tenants import TenantsConfig

USUAL_WINDOW = 8192
"""The chatbot guide: "most chats are under 8k — set it there"."""

USUAL_STEP = 4096
"""Tokens of a step where the file does not say; the guides' load tests have it, too."""

ROLES = ("complex", "frontier", "long_context", "planning", "sub_agents", "background", "tools")


def shapes(fleet: FleetConfig) -> dict[str, LaneShape]:
    """Return what the signals of each lane that is on are relative to."""
    return {
        name: LaneShape(
            lane.replicas.max,
            lane.assumed_slots,
            lane.max_model_len,
            profile_of(name, lane, fleet.advice),
            _prefill_chunk(lane),
            follow_load=lane.replicas.follow_load,
        )
        for name, lane in fleet.enabled_lanes.items()
    }


def _prefill_chunk(lane: LaneConfig) -> int:
    """Most tokens of one prompt that a step reads."""
    given = lane.engine_args
    whole = given.get("max_num_batched_tokens", USUAL_STEP)
    return int(given.get("long_prefill_token_threshold") or whole)


def subjects(fleet: FleetConfig, tenants: TenantsConfig) -> list[Subject]:
    """Return the lanes that are on, and the deployment as a whole."""
    common = _tenant_facts(tenants)
    lanes = fleet.enabled_lanes
    found = [_lane(name, lane, fleet, common) for name, lane in lanes.items()]
    default = fleet.routing.default
    whole = {
        **_lane(default, lanes[default], fleet, common).facts,
        "shares_pools": not fleet.sessions.affinity.dedicated_replicas,
    }
    return [*found, Subject(FLEET, frozenset({Scope.FLEET}), whole)]


def _lane(name: str, lane: LaneConfig, fleet: FleetConfig, common: dict[str, Any]) -> Subject:
    routing, slots = fleet.routing, lane.assumed_slots
    scopes = {Scope.EACH}
    if routing.default == name:
        scopes.add(Scope.DEFAULT)
    if name == (routing.tools or routing.default) and lane.calls_tools:
        scopes.add(Scope.TOOLS)
    if name in (routing.complex, routing.frontier):
        scopes.add(Scope.STRONGER)
    roles = [f"routing.{role}" for role in ROLES if getattr(routing, role) == name]
    facts = {
        **common,
        "lane": name,
        "replicas": _told(lane, 0),
        "more": _told(lane, 1),
        "fewer": _told(lane, -1),
        "max_num_seqs": slots,
        "fewer_seqs": max(1, round(0.75 * slots)),
        "max_model_len": lane.max_model_len,
        "half_window": lane.max_model_len // 2 if lane.max_model_len > USUAL_WINDOW else 0,
        "memory_share": lane.engine_args.get("gpu_memory_utilization", 0.9),
        "role": ", ".join(roles) if lane.replicas.max == 1 and routing.default != name else "",
        "heavy": routing.planning or routing.complex or "heavy",
        "drifted": "nothing so far",
        "has_prefix_cache": lane.engine_args.get("enable_prefix_caching", True),
    }
    return Subject(name, frozenset(scopes), facts)


def _told(lane: LaneConfig, change: int) -> int | str:
    """Return so many replicas more at most, as the file has it."""
    most = lane.replicas.max + change
    return f"{{max: {most}}}" if lane.replicas.follow_load else most


def _tenant_facts(tenants: TenantsConfig) -> dict[str, Any]:
    """Return the first tier without a ceiling, and the first that keeps whole histories."""
    local = tenants.local_tenant
    own = tenants.tenants[local].tier if local is not None else None
    # What is for whoever is logged in on this machine has no limits by design.
    tiers = {name: tier for name, tier in tenants.tiers.items() if name != own}
    uncapped = [name for name, x in tiers.items() if x.ceilings.tokens_per_second is None]
    whole = [name for name, x in tiers.items() if x.history is None]
    # Sheddable tiers first: they are the ones whose resident history the guide caps.
    whole.sort(key=lambda name: not tiers[name].sheddable)
    return {
        "tier": next(iter(uncapped), ""),
        "whole_tier": next(iter(whole), ""),
        "contended_from": 40,
    }
