"""What a pool knows of one of its lanes."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.swap.costs import LaneCosts
from router.swap.terms import RESTING, Demand, Phase, PooledLane

SHARE_HALF_LIFE_S = 600.0
"""After so long, time awake counts half: fairness over the last quarter of an hour or so."""

RECENT_S = 30.0
"""A tier whose last request is no older is one that the lane serves: between two of them there
may be moments with none."""

FIRST_RETRY_S, LAST_RETRY_S = 5.0, 300.0
MAX_DOUBLINGS = 10


@dataclass(slots=True)
class LaneState:
    """One lane of a pool.

    Attributes:
        since: when it came to its phase.
        origin: what it was woken from last.
        busy_at: when it last had something to do.
        served: by priority, when the lane last had a request of it.
        room_for: for whom it gives way; only of one that leaves.
        has_room: another one gives way, or gave way, for its sake.
        was_loaded: its engine has been there once.
        was_found: it was awake before this arbiter was there.
        closed_as: the number of its last closing; see `Arbiter`.
        cards: where its engine runs; None: not known yet, so perhaps where any other does.
        weights_gib: what it takes of host memory while asleep; None: not known.
        failures: attempts to wake it in a row that came to nothing; none is made until
            `retry_at`.

    """

    lane: PooledLane
    phase: Phase = Phase.UNLOADED
    since: float = 0.0
    origin: Phase = Phase.UNLOADED
    busy_at: float = float("-inf")
    served: dict[int, float] = field(default_factory=dict)
    room_for: str = ""
    has_room: bool = False
    was_loaded: bool = False
    was_found: bool = False
    closed_as: int = 0
    cards: frozenset[str] | None = None
    weights_gib: float | None = None
    failures: int = 0
    retry_at: float = float("-inf")
    costs: LaneCosts = field(default_factory=LaneCosts)
    _awake: float = 0.0
    _awake_at: float = 0.0

    @property
    def name(self) -> str:
        return self.lane.name

    @property
    def is_resting(self) -> bool:
        return self.phase in RESTING

    def enter(self, phase: Phase, now: float) -> None:
        """Come to a phase; time in the one before is accounted for."""
        self._awake, self._awake_at = self.awake_s(now), now
        self.phase, self.since = phase, now
        if phase is Phase.AWAKE:
            self.room_for, self.was_loaded = "", True

    def awake_s(self, now: float) -> float:
        """Seconds that it has had a card, older ones counting less."""
        passed = max(0.0, now - self._awake_at)
        kept: float = 0.5 ** (passed / SHARE_HALF_LIFE_S)
        has_card = not self.is_resting
        return self._awake * kept + (passed if has_card else 0.0)

    def note_demand(self, demand: Demand, now: float) -> None:
        """Note what it has to do."""
        if not demand.is_idle:
            self.busy_at = now
            for priority in (*demand.waiting, *demand.running):
                self.served[priority] = now
        self.has_room = self.has_room and self.is_resting and bool(demand.waiting)

    def strongest(self, now: float) -> int | None:
        """Return the best priority that it has served lately; None: nobody's."""
        return min((x for x, at in self.served.items() if now - at <= RECENT_S), default=None)

    @property
    def is_cold(self) -> bool:
        """It could sleep, but was never loaded: its first request would wait for that."""
        return self.lane.can_sleep and not self.was_loaded

    def shares_card(self, other: LaneState) -> bool:
        """Whether the two may be on one card."""
        if self.cards is None or other.cards is None:
            return True
        return bool(self.cards & other.cards)

    @property
    def wake_s(self) -> float:
        """How long waking it takes from where it is, rather too long."""
        return self.costs.wake_s(self.phase if self.is_resting else Phase.ASLEEP)

    def failed(self, now: float) -> None:
        """Note that it did not wake; the next attempt waits, longer each time."""
        self.enter(Phase.UNLOADED, now)
        self.retry_at = now + min(
            LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(self.failures, MAX_DOUBLINGS)
        )
        self.failures += 1
