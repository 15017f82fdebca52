"""One pool: the phases of its lanes, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from router.swap.choice import Scene
from router.swap.lane_state import LaneState
from router.swap.terms import (
    LEAVING,
    Act,
    Demand,
    Expected,
    Order,
    Phase,
    PoolBounds,
    PooledLane,
    nothing_expected,
)

MayRest = Callable[[LaneState], bool]
"""Whether everybody knows that the lane is closed, so that nothing new can reach it."""


class SwapPool:
    """Decides which lanes of a pool are awake.

    `step` says what to do; whoever does it reports with `woken`, `rested`, `failed` and `busy`.
    Nothing here waits: a lane that leaves or wakes keeps its place until that is reported.

    Args:
        lanes: in the order of the fleet file; the first ones are woken at the start.
        host_gib: host memory for the weights of lanes that sleep.

    Attributes:
        swaps: wakings so far.
        closings: lanes closed so far; the number of the newest closing.

    """

    def __init__(
        self,
        bounds: PoolBounds,
        lanes: Sequence[PooledLane],
        *,
        host_gib: float = 0.0,
        now: float = 0.0,
    ) -> None:
        self.bounds, self.host_gib = bounds, host_gib
        self.lanes = {x.name: LaneState(x, since=now) for x in lanes}
        self.swaps = self.closings = 0

    @property
    def open_lanes(self) -> frozenset[str]:
        """Lanes that take new requests."""
        return frozenset(x.name for x in self.lanes.values() if x.phase is Phase.AWAKE)

    def wait_s(self, state: LaneState, now: float) -> float:
        """Guess how long it is until a lane serves, were it the next one to be woken."""
        if state.phase is Phase.WAKING:
            return max(0.0, state.costs.usual_wake_s(state.origin) - (now - state.since))
        return state.wake_s + max((x.costs.leave_s(now) for x in self._holders()), default=0.0)

    # -- what to do ----------------------------------------------------------------

    def step(
        self,
        demands: Mapping[str, Demand],
        may_rest: MayRest,
        now: float,
        expected: Expected = nothing_expected,
    ) -> list[Order]:
        """Return what is to be done now, each order once."""
        scene = Scene(self.bounds, demands, expected, now)
        for state in self.lanes.values():
            state.note_demand(scene.demand(state), now)
        orders = [
            order
            for state in self.lanes.values()
            if state.phase is Phase.CLOSING
            for order in self._leave(state, scene, may_rest)
        ]
        orders += self._wake_the_wanted(scene)
        return orders + self._look_ahead(scene)

    def _leave(self, state: LaneState, scene: Scene, may_rest: MayRest) -> list[Order]:
        """Open a lane that closes for nobody any more; tell one that is empty to rest."""
        wisher, demand = self.lanes[state.room_for], scene.demand(state)
        is_wanted = wisher.lane.is_pinned or scene.demand(wisher).waiting
        if not is_wanted and not (demand.is_idle and scene.is_foreseen(wisher)):
            state.enter(Phase.AWAKE, scene.now)
            return []
        if demand.running or not may_rest(state):
            return []
        state.enter(Phase.FALLING, scene.now)
        return [Order(state.name, self._rest_of(state))]

    def _rest_of(self, state: LaneState) -> Act:
        """Sleep where host memory has room for its weights beside those of others."""
        needed = state.weights_gib
        taken = sum(
            x.weights_gib or 0.0
            for x in self.lanes.values()
            if x.phase in (Phase.ASLEEP, Phase.FALLING) and x is not state
        )
        fits = needed is not None and taken + needed <= self.host_gib
        return Act.SLEEP if state.lane.can_sleep and fits else Act.UNLOAD

    def _wake_the_wanted(self, scene: Scene) -> list[Order]:
        holders = self._holders()
        orders = []
        for wanted in scene.candidates(list(self.lanes.values()), holders):
            if self._fits(wanted, holders):
                orders.append(self._wake(wanted, scene.now))
            elif not self._make_room(wanted, holders, scene):
                continue
            holders.append(wanted)
        return orders

    def _holders(self) -> list[LaneState]:
        return [x for x in self.lanes.values() if not x.is_resting]

    def _fits(self, state: LaneState, holders: Sequence[LaneState]) -> bool:
        return len(holders) < self.bounds.gpus and not _in_the_way(state, holders)

    def _wake(self, state: LaneState, now: float) -> Order:
        state.origin = state.phase
        state.enter(Phase.WAKING, now)
        return Order(state.name, Act.WAKE)

    def _make_room(self, wanted: LaneState, holders: list[LaneState], scene: Scene) -> bool:
        """Close who is in the way, if all of them give way; return whether room is coming.

        They are taken out of `holders` then: no other lane counts on the same room.
        """
        blocking = _in_the_way(wanted, holders)
        if not blocking:
            # No card of its own is taken, but the pool is full.
            leaving = [x for x in holders if x.phase in LEAVING]
            others = sorted(holders, key=scene.order_of_leaving)
            willing = [x for x in others if scene.gives_way(x, wanted, holders)]
            blocking = (leaving or willing)[:1]
        staying = [x for x in blocking if x.phase not in LEAVING]
        if not blocking or not all(scene.gives_way(x, wanted, holders) for x in staying):
            return False
        for state in staying:
            self._close(state, wanted, scene)
        for state in blocking:
            holders.remove(state)
        wanted.has_room = True
        return True

    def _close(self, state: LaneState, wanted: LaneState, scene: Scene) -> None:
        self.closings += 1
        state.enter(Phase.CLOSING, scene.now)
        state.room_for, state.closed_as = wanted.name, self.closings

    def _look_ahead(self, scene: Scene) -> list[Order]:
        """Where nobody waits: fill what is empty, and swap what a forecast wants swapped."""
        resting = [x for x in self.lanes.values() if x.is_resting and x.retry_at <= scene.now]
        if any(scene.demand(x).waiting for x in self.lanes.values() if x.phase is not Phase.AWAKE):
            return []
        resting.sort(
            key=lambda x: (
                not x.is_cold,
                -scene.expected(x.name, scene.now + x.wake_s),
                -x.busy_at,
            )
        )
        orders = []
        for state in resting:
            holders = self._holders()
            if self._fits(state, holders):
                orders.append(self._wake(state, scene.now))
                continue
            blocking = _in_the_way(state, holders) or holders
            if len(blocking) == 1 and scene.is_better_awake(state, blocking[0]):
                self._close(blocking[0], state, scene)
        return orders

    # -- how it went ---------------------------------------------------------------

    def woken(self, name: str, now: float) -> float:
        """Note that a lane is awake; return how long that took."""
        state = self.lanes[name]
        seconds = now - state.since
        state.costs.woken(state.origin, seconds)
        state.enter(Phase.AWAKE, now)
        state.failures, state.was_found, self.swaps = 0, False, self.swaps + 1
        return seconds

    def rested(self, name: str, act: Act, now: float) -> None:
        """Note that a lane sleeps or is unloaded."""
        state = self.lanes[name]
        state.costs.rested(now - state.since)
        state.enter(Phase.ASLEEP if act is Act.SLEEP else Phase.UNLOADED, now)

    def failed(self, name: str, now: float) -> None:
        """Note that a lane did not wake, or did not fall asleep: what it has is unknown.

        It is unloaded before it is tried again, so its replica has to be.
        """
        self.lanes[name].failed(now)

    def busy(self, name: str, now: float) -> None:
        """Note that a lane did not rest, as requests were open in it after all."""
        state = self.lanes[name]
        since = state.since
        # One that was found on its way to rest leaves for nobody that is known here.
        state.enter(Phase.CLOSING if state.room_for else Phase.AWAKE, now)
        state.since = since

    def lost(self, name: str, now: float) -> None:
        """Note that a lane's replica does not answer: the next one begins without an engine.

        One that was told to wake has failed, so that it leaves its card to the others for a while.
        """
        state = self.lanes[name]
        if state.phase is Phase.WAKING:
            state.failed(now)
        elif state.phase is not Phase.UNLOADED:
            state.enter(Phase.UNLOADED, now)

    def found(self, name: str, phase: Phase, now: float) -> None:
        """Take over what a lane's replica says of itself, unless an order is under way.

        That is how a new arbiter learns the pool, and how a replica that was replaced is seen.
        """
        state = self.lanes[name]
        if state.phase in (Phase.FALLING, Phase.WAKING):
            return
        has_engine = phase is Phase.AWAKE
        if has_engine != (not state.is_resting) or (state.is_resting and phase is not state.phase):
            state.enter(phase, now)
            state.was_found = has_engine


def _in_the_way(state: LaneState, holders: Sequence[LaneState]) -> list[LaneState]:
    """Those that may be on the same card. One that has no card at all is in nobody's way."""
    return [x for x in holders if x.shares_card(state)]
