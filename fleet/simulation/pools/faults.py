"""Wakings that come to nothing: an engine that does not load, and one that hangs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from fleet.simulation.world import Incident
from router.swap.terms import WAKE_WITHIN_S, Phase
from simulator.model.profile import SleepCosts

FAILS_AFTER_S = 1.0
"""Until an engine that does not come up says so; then it is unloaded. Assumed."""

REPLACED_S = 15.0
"""Until Serve has another replica in place of one that ended: importing vLLM takes some 10 s."""

LOAD_WITHIN_S = 900.0
"""`start_timeout_s` of a lane that says none."""


class WakeFault(StrEnum):
    """How a waking ends that does not end well.

    Attributes:
        FAILS: with an error, soon: a damaged file, no memory.
        HANGS: with its replica, when its bound is over.

    """

    FAILS = "wake_fails"
    HANGS = "wake_hangs"


KINDS = frozenset(WakeFault)

Faults = Callable[[str, float], WakeFault | None]
"""What befalls the waking of a lane that is ordered at a time."""


def no_faults(_lane: str, _now: float) -> None:
    """All wakings end well."""


class PlannedFaults:
    """Those that a run's incidents bring: wakings ordered from `at` on, for `for_s`."""

    def __init__(self) -> None:
        self._incidents: list[Incident] = []

    def add(self, incident: Incident) -> None:
        self._incidents.append(incident)

    def __call__(self, lane: str, now: float) -> WakeFault | None:
        """Return the one that was planned last of those that hold."""
        for x in reversed(self._incidents):
            if x.lane == lane and x.at <= now < x.at + x.for_s:
                return WakeFault(x.kind)
        return None


def noted_after_s(
    fault: WakeFault, origin: Phase, costs: SleepCosts, load_within_s: float
) -> float:
    """Return how long it is until the arbiter knows of a fault, as `serve_app` has it."""
    if fault is WakeFault.FAILS:
        return FAILS_AFTER_S + costs.unload_s
    bound_s = WAKE_WITHIN_S if origin is Phase.ASLEEP else load_within_s
    return min(bound_s, load_within_s) + REPLACED_S
