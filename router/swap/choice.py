"""Who is woken next, and who gives way for it: functions of what is known now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router.swap.lane_state import LaneState
from router.swap.terms import NO_DEMAND, Demand, Expected, Phase, PoolBounds

MARGIN_S = 1.0
"""Two heartbeats of an ingress replica, and what an order takes on its way."""

MUCH_MORE = 2.0
"""A lane that sleeps has to be expected so many times as often as an idle one that is awake
to be woken in its place: forecasts that are nearly equal must not swap them back and forth."""

PAUSE_S = 60.0
"""A lane that had a request since then is in the middle of a conversation: the next turn comes
sooner than a forecast of requests a second has it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A pool at one moment."""

    bounds: PoolBounds
    demands: Mapping[str, Demand]
    expected: Expected
    now: float

    def demand(self, state: LaneState) -> Demand:
        return self.demands.get(state.name, NO_DEMAND)

    def due(self, state: LaneState, holders: Sequence[LaneState]) -> float:
        """When room for a lane has to be made, so that its oldest request keeps the bound.

        `holders`: who has the cards now.
        """
        if state.lane.is_pinned:
            return float("-inf")
        leave_s = max((x.costs.leave_s(self.now) for x in holders), default=0.0)
        spent_s = state.wake_s + leave_s + MARGIN_S
        return self.demand(state).oldest + self.bounds.wait_bound_s - spent_s

    def candidates(
        self, states: Sequence[LaneState], holders: Sequence[LaneState]
    ) -> list[LaneState]:
        """Lanes that are to be woken, the first one first.

        Whom another makes room for has it. Then come those whose time has come, in its order, so
        that nobody starves; then the stronger tier; among equals, whoever had a card for less
        of the last while.
        """
        wanted = [
            x
            for x in states
            if x.is_resting
            and x.retry_at <= self.now
            and (x.lane.is_pinned or self.demand(x).waiting)
        ]

        def rank(state: LaneState) -> tuple[bool, bool, float, int, float, float]:
            due, demand = self.due(state, holders), self.demand(state)
            is_due = due <= self.now
            strongest = demand.strongest if demand.waiting else 0
            return (
                not state.has_room,
                not is_due,
                due if is_due else 0.0,
                strongest,
                state.awake_s(self.now),
                due,
            )

        return sorted(wanted, key=rank)

    def gives_way(self, state: LaneState, wanted: LaneState, holders: Sequence[LaneState]) -> bool:
        """Whether a lane that is awake stops taking requests for the sake of another."""
        if state.phase is not Phase.AWAKE or state.lane.is_pinned:
            return False
        if self.demand(state).waiting:
            # Whoever waits has not heard yet that it is awake: it was woken for them.
            return False
        if self._is_unused(state) or self.due(wanted, holders) <= self.now:
            return True
        served = state.strongest(self.now)
        is_stronger = served is not None and self.demand(wanted).strongest < served
        return is_stronger and self._has_dwelt(state)

    def _has_dwelt(self, state: LaneState) -> bool:
        least_s = max(self.bounds.dwell_s, state.costs.usual_wake_s(state.origin, 0.0))
        return self.now - state.since >= least_s

    def order_of_leaving(self, state: LaneState) -> tuple[bool, int, float]:
        """Sort key of who gives way: idle ones, the weakest tier, who had most of the cards."""
        demand = self.demand(state)
        strongest = 0 if demand.is_idle else demand.strongest
        return not demand.is_idle, -strongest, -state.awake_s(self.now)

    def is_better_awake(self, state: LaneState, awake: LaneState) -> bool:
        """Whether a lane that nobody waits for is woken in the place of one that is idle.

        It is where a forecast wants it more, or where it was never loaded.
        """
        if awake.phase is not Phase.AWAKE or awake.lane.is_pinned or not self._is_unused(awake):
            return False
        if state.is_cold:
            return True
        at = self.now + state.wake_s
        wished, kept = self.expected(state.name, at), self.expected(awake.name, at)
        has_paused = self.now - awake.busy_at >= PAUSE_S
        return has_paused and self._has_dwelt(awake) and wished > MUCH_MORE * kept

    def is_foreseen(self, state: LaneState) -> bool:
        """Whether a lane was to be woken without a request, and still is."""
        return state.is_cold or self.expected(state.name, self.now + state.wake_s) > 0

    def _is_unused(self, state: LaneState) -> bool:
        idle_s = self.now - max(state.busy_at, state.since)
        return self.demand(state).is_idle and idle_s >= self.bounds.idle_s
