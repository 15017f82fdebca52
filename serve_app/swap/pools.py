"""What the fleet file says of pools, as the graph and the arbiter need it."""

from __future__ import annotations

from router.swap.pool import SwapPool
from router.swap.terms import PooledLane
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.pools import PoolConfig, lanes_of, part_of_card
from serve_app.engine.host_cache import host_memory

AUTO_SHARE = 1 / 3
"""Of the RAM, for weights that sleep; a second-level KV cache takes half at most."""


def with_part_of_cards(lane: LaneConfig, fleet: FleetConfig) -> LaneConfig:
    """Return a lane as it is placed: of a pool's cards, and of its CPUs, it asks for a part."""
    if lane.cards is None:
        return lane
    sharing = len(lanes_of(lane.cards, fleet.enabled_lanes))
    part = part_of_card(fleet.pools[lane.cards], sharing)
    if lane.accelerator == "cpu":
        return lane.model_copy(update={"num_cpus": lane.num_cpus * part})
    return lane.model_copy(update={"bundle": {"CPU": 1, **(lane.bundle or {}), "GPU": part}})


def pools_of(fleet: FleetConfig, *, now: float, simulated: bool) -> dict[str, SwapPool]:
    """Build the pools; `simulated`: all their engines are, whatever the file says."""
    return {
        name: _pool(name, pool, fleet, now=now, simulated=simulated)
        for name, pool in fleet.pools.items()
    }


def pooled_lanes(name: str, fleet: FleetConfig, *, simulated: bool = False) -> list[PooledLane]:
    """Return the lanes of a pool, in the order of the file."""
    return [
        PooledLane(lane_name, is_pinned=lane.pin, can_sleep=simulated or lane.can_sleep)
        for lane_name, lane in lanes_of(name, fleet.enabled_lanes).items()
    ]


def _pool(
    name: str, config: PoolConfig, fleet: FleetConfig, *, now: float, simulated: bool
) -> SwapPool:
    lanes = pooled_lanes(name, fleet, simulated=simulated)
    gib = config.host_memory_gib
    host_gib = AUTO_SHARE * host_memory().ram if gib == "auto" else gib
    return SwapPool(config.bounds, lanes, host_gib=host_gib, now=now)
