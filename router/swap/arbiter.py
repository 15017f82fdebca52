"""What several ingress replicas say of a pool, and what each of them is told.

Every ingress replica (a holder) reports, a few times a second, what waits and runs in the
lanes of the pool, and the number of the newest closing that it has heard of. It lets requests
through to the lanes that it was last told are open, for `LEASE_S` at most: then it holds them
back until it hears again. So a lane that was closed is empty once every holder has reported
after hearing of the closing, or has not been heard of for longer than its lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.swap.lane_state import LaneState
from router.swap.pool import SwapPool
from router.swap.terms import Demand, Expected, Order, merged, nothing_expected

LEASE_S = 3.0
"""So long a holder may go by what it was told; counted from when it asked."""
FORGET_S = LEASE_S + 1.0
MAX_HOLDERS = 64
"""More than there are ingress replicas, those of a rollout included."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one holder says of one pool.

    Attributes:
        heard: the number of the newest closing that it goes by.
        waiting: by lane and priority, seconds of the pool's bound that are gone for the oldest
            request: those that it has waited, and those by which its own bound is shorter.
        running: by lane and priority, requests let through that have not ended.
        longest: by lane, seconds of the longest request that has ended since the last report.

    """

    holder: str
    heard: int = 0
    waiting: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    running: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    longest: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a holder is told.

    Attributes:
        closing: the number of the newest closing; `open_lanes` is what is open after it.
        wait_s: by lane that is not open, a guess at the seconds until it is.
        broken_s: by lane that does not wake, seconds until it is tried again.

    """

    closing: int
    open_lanes: frozenset[str]
    wait_s: Mapping[str, float] = field(default_factory=dict)
    broken_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Holder:
    heard_at: float
    heard: int
    demands: dict[str, Demand]


class Arbiter:
    """One pool, and everybody who sends requests to it.

    A new arbiter does not know who was told what by the one before: no lane that was awake then
    rests until the leases of that one have run out.

    Args:
        epoch: larger than the number of any closing of an arbiter before this one.

    """

    def __init__(self, pool: SwapPool, *, now: float, epoch: int = 0) -> None:
        self.pool = pool
        pool.closings = epoch
        self._begun = now
        self._holders: dict[str, _Holder] = {}

    def hear(self, report: Report, now: float) -> Verdict:
        """Take a report, and say what is open now."""
        self._forget(now)
        if report.holder in self._holders or len(self._holders) < MAX_HOLDERS:
            self._holders[report.holder] = _Holder(now, report.heard, _demands(report, now))
            for lane, seconds in report.longest.items():
                # A holder of an older fleet file, in a rollout, may have other lanes.
                if lane in self.pool.lanes:
                    self.pool.lanes[lane].costs.streamed(seconds, now)
        return self.verdict(now)

    def verdict(self, now: float) -> Verdict:
        pool = self.pool
        shut = [x for x in pool.lanes.values() if x.name not in pool.open_lanes]
        return Verdict(
            pool.closings,
            pool.open_lanes,
            {x.name: pool.wait_s(x, now) for x in shut},
            {x.name: x.retry_at - now for x in shut if x.failures and x.retry_at > now},
        )

    def step(self, now: float, expected: Expected = nothing_expected) -> list[Order]:
        """Return what is to be done now; see `SwapPool.step`."""
        self._forget(now)
        return self.pool.step(self.demands(), lambda x: self._may_rest(x, now), now, expected)

    def demands(self) -> dict[str, Demand]:
        """What waits and runs in all."""
        return {
            name: merged(x.demands[name] for x in self._holders.values() if name in x.demands)
            for name in self.pool.lanes
        }

    def _may_rest(self, state: LaneState, now: float) -> bool:
        has_learnt = not state.was_found or now - self._begun >= FORGET_S
        return has_learnt and all(x.heard >= state.closed_as for x in self._holders.values())

    def _forget(self, now: float) -> None:
        gone = [name for name, x in self._holders.items() if now - x.heard_at > FORGET_S]
        for name in gone:
            del self._holders[name]


def _demands(report: Report, now: float) -> dict[str, Demand]:
    lanes = {*report.waiting, *report.running}
    return {
        lane: Demand(
            {p: now - waited for p, waited in report.waiting.get(lane, {}).items()},
            dict(report.running.get(lane, {})),
        )
        for lane in lanes
    }


def report_from_wire(wire: Mapping[str, Any]) -> Report:
    """Read a report that has come as plain values."""
    names = ("holder", "heard", "waiting", "running", "longest")
    return Report(*(wire[name] for name in names))
