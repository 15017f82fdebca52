"""The pools of a fleet file as they are simulated: who shares which card, and what swaps cost."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fleet.memory.budget import weight_bytes
from fleet.memory.shape import NotReckoned
from fleet.simulation.spec import LaneSpec, PooledSpec, PoolSpec
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.doctor.fit.checkpoint import shape_of_lane
from serve_app.doctor.fit.reckoning import engine_of
from serve_app.swap.pools import pooled_lanes
from simulator.model.profile import Profile, SleepCosts

GIB = 1024**3

COPY_GIB_PER_S = 10.0
"""Between a card and host memory: 8 GiB in 0.82 s, by vLLM's measurements of level 1 on an A100
(https://blog.vllm.ai/2025/10/26/sleep-mode.html)."""

WAKE_S = 0.1
"""Beside the copy; the least that the same page has."""


def pool_spec(
    name: str, fleet: FleetConfig, specs: Mapping[str, LaneSpec], start_s: float
) -> PoolSpec:
    """Return a pool as it is simulated.

    `host_memory_gib: auto` is taken to have room for all that sleeps: the machine that the fleet
    will have is not known here.

    Args:
        name: the pool's.
        fleet: as a deployment reads it.
        specs: of its lanes.
        start_s: until an engine that is started anew serves.

    """
    pool, lanes = fleet.pools[name], pooled_lanes(name, fleet)
    gib, each = pool.host_memory_gib, math.ceil(len(lanes) / pool.gpus)
    return PoolSpec(
        bounds=pool.bounds,
        lanes=tuple(
            PooledSpec(
                one,
                sleep_costs(fleet.lanes[one.name], specs[one.name].profile, start_s),
                # As many on each card as it takes to place all: Ray fills one after the other.
                str(number // each) if _needs_card(fleet.lanes[one.name]) else None,
                fleet.lanes[one.name].start_timeout_s,
            )
            for number, one in enumerate(lanes)
        ),
        host_gib=math.inf if gib == "auto" else gib,
        max_waiting=pool.max_waiting,
    )


def _needs_card(lane: LaneConfig) -> bool:
    return lane.engine == "vllm" and lane.accelerator == "gpu"


def sleep_costs(lane: LaneConfig, profile: Profile, start_s: float) -> SleepCosts:
    """Return what the lane's file says, else its profile, else what its weights take to copy."""
    if lane.simulated.sleep is not None:
        return lane.simulated.sleep
    if "sleep" in profile.model_fields_set:
        return profile.sleep
    try:
        gib = weight_bytes(shape_of_lane(lane)[0], engine_of(lane)) / GIB
    except NotReckoned:
        return SleepCosts(load_s=start_s)
    copy_s = gib / COPY_GIB_PER_S
    return SleepCosts(sleep_s=copy_s, wake_s=WAKE_S + copy_s, load_s=start_s, weights_gib=gib)
