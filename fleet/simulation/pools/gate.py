"""Requests of one ingress replica that wait for lanes of a pool to wake, as `serve_app.swap.gates`.

Reports and verdicts are those of `router.swap.arbiter`. No heartbeat is lost here, so that a
lease never ends.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from fleet.simulation.world import Action
from router.swap.arbiter import Report, Verdict
from router.swap.waiting_room import WaitingRoom


@dataclass(slots=True, eq=False)
class Passing:
    """One request's way through the gate.

    Attributes:
        since: when the pool's bound on its wait began; it waits until `until` at most.
        begin: called when it is let through; `late`: when it was not in time.
        broken: called when its lane could not be woken; None: it waits on.
        begun: when it was let through.

    """

    lane: str
    priority: int
    since: float
    until: float
    begin: Action
    late: Action
    tenant: str = ""
    begun: float | None = None
    broken: Action | None = None


class Gate:
    """The lanes of one pool, as one ingress replica (a holder) knows them.

    Args:
        holder: its name.
        exchange: has the arbiter hear this gate, now.
        room: bounds how many wait; None: nothing does.

    Attributes:
        begun: requests let through, by lane; whoever reads it takes them out.

    """

    def __init__(
        self, holder: str, exchange: Callable[[Gate, float], None], room: WaitingRoom | None = None
    ) -> None:
        self.holder, self._exchange, self._room = holder, exchange, room
        self._open: frozenset[str] = frozenset()
        self._broken: frozenset[str] = frozenset()
        self.begun: Counter[str] = Counter()
        self._heard = 0
        self.waiting: list[Passing] = []
        self.running: dict[str, Counter[int]] = defaultdict(Counter)
        self._longest: dict[str, float] = {}

    def try_enter(self, passing: Passing, now: float) -> bool:
        """Let a request through, or have it wait; decline where as many wait as may."""
        if passing.lane in self._open:
            self._begin(passing, now)
            return True
        if self._room is not None and not self._room.try_enter(passing.tenant):
            return False
        if passing.lane in self._broken and passing.broken is not None:
            self._leave_room(passing)
            passing.broken(now)
            return True
        self.waiting.append(passing)
        self._exchange(self, now)
        return True

    def leave(self, passing: Passing, now: float) -> None:
        """Take a request out, wherever it is."""
        if passing.begun is None:
            if passing in self.waiting:
                self.waiting.remove(passing)
                self._leave_room(passing)
            return
        lane, took = passing.lane, now - passing.begun
        self._longest[lane] = max(self._longest.get(lane, 0.0), took)
        self.running[lane][passing.priority] -= 1

    def _leave_room(self, passing: Passing) -> None:
        if self._room is not None:
            self._room.leave(passing.tenant)

    def _begin(self, passing: Passing, now: float) -> None:
        passing.begun = now
        self.begun[passing.lane] += 1
        self.running[passing.lane][passing.priority] += 1
        passing.begin(now)

    # -- the arbiter -----------------------------------------------------------

    def report(self, now: float) -> Report:
        """Say what waits and runs; whoever waited for too long has left by then."""
        for passing in [x for x in self.waiting if now > x.until]:
            self.waiting.remove(passing)
            self._leave_room(passing)
            passing.late(now)
        waiting: dict[str, dict[int, float]] = defaultdict(dict)
        for passing in self.waiting:
            oldest = waiting[passing.lane].get(passing.priority, 0.0)
            waiting[passing.lane][passing.priority] = max(oldest, now - passing.since)
        running = {lane: dict(+counts) for lane, counts in self.running.items() if +counts}
        longest, self._longest = self._longest, {}
        return Report(self.holder, self._heard, waiting, running, longest)

    def take(self, verdict: Verdict, now: float) -> None:
        """Take the arbiter's word, let through who waited for it, and refuse who waits in vain."""
        self._open, self._heard = verdict.open_lanes, verdict.closing
        self._broken = frozenset(verdict.broken_s)
        for passing in [x for x in self.waiting if x.lane in self._broken]:
            if passing.broken is not None:
                self.leave(passing, now)
                passing.broken(now)
        ready = [x for x in self.waiting if x.lane in self._open]
        self.waiting = [x for x in self.waiting if x.lane not in self._open]
        for passing in ready:
            self._leave_room(passing)
            self._begin(passing, now)
