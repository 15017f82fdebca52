"""Pools of cards that several lanes share (docs/swap.md)."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Annotated, Literal

from pydantic import Field

from router.swap.terms import PoolBounds
from serve_app.config.errors import StrictModel, nearest
from serve_app.config.lane import LaneConfig


class PoolConfig(StrictModel):
    """Cards, and how the lanes on them take turns.

    Attributes:
        gpus: the pool's cards; on each of them one of its lanes is awake at most. Lanes on
            the CPU are counted only: so many of them are awake.
        host_memory_gib: host memory for the weights of lanes that sleep (vLLM's sleep level
            1); a lane that does not fit is unloaded. `auto`: a third of the RAM of the head
            node; say it where the cards are in another one.
        dwell_s: how long a lane with work stays awake at least, before it gives way to
            requests of a stronger tier; never less than waking it took.
        idle_s: how long a lane must have had nothing to do before it gives way to any request.
        wait_bound_s: the longest that a request waits for its lane to wake (and never longer
            than its tier's `start_within_s`). Busy lanes give way in time for that.
        max_waiting: requests of one ingress replica that wait for lanes to wake; of one tenant
            as many as there are places left.

    """

    gpus: int = Field(1, ge=1, le=64)
    host_memory_gib: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    dwell_s: float = Field(15, ge=0)
    idle_s: float = Field(2, ge=0)
    wait_bound_s: float = Field(120, ge=1)
    max_waiting: int = Field(1000, ge=1)

    @property
    def bounds(self) -> PoolBounds:
        return PoolBounds(self.gpus, self.dwell_s, self.idle_s, self.wait_bound_s)


def lanes_of(pool: str, lanes: Mapping[str, LaneConfig]) -> dict[str, LaneConfig]:
    """Return the lanes that share a pool's cards, in the order of the file."""
    return {name: lane for name, lane in lanes.items() if lane.cards == pool}


def pool_fault(pools: Mapping[str, PoolConfig], lanes: Mapping[str, LaneConfig]) -> str | None:
    """Say what is wrong with the pools of the lanes that run."""
    for name, lane in lanes.items():
        if lane.cards is not None and lane.cards not in pools:
            return f"lanes.{name}.cards: no pool '{lane.cards}'{nearest(lane.cards, pools)}"
    for name, pool in pools.items():
        members = lanes_of(name, lanes)
        pinned = [x for x, lane in members.items() if lane.pin]
        if not members:
            return f"pools.{name}: no lane that runs has 'cards: {name}'"
        if len(pinned) > pool.gpus or (len(pinned) == pool.gpus < len(members)):
            return (
                f"pools.{name}: {', '.join(pinned)} are pinned and take all {pool.gpus} of its "
                "cards; no other lane would ever wake"
            )
        if len({lane.accelerator for lane in members.values()}) > 1:
            return f"pools.{name}: lanes on the CPU and lanes on cards do not share"
    return None


def part_of_card(pool: PoolConfig, lanes: int) -> float:
    """Return what each of so many lanes asks Ray for, of a card, so that all of them fit.

    As many lanes are placed on each card as it takes to place all: of five on two cards three.
    """
    return int(10_000 / ceil(lanes / pool.gpus)) / 10_000
