"""On which lane the turns of agents run, so that their steps stay there.

An agent's turn is many requests: each brings the results of the tools that the last answer
called, and the whole conversation again. A step on another lane reads all of that anew. The
lane of a turn's first step is kept here, by session and by a digest of what the user said.
Each ingress replica has a table of its own, which a restart empties; for a turn that is not
in it, `router.routing.lane` decides from the request alone.

One turn is one escalation, however many steps it has, but what its tools bring may be
anything: a turn that went up is looked at anew after `MAX_STEPS` steps, as if it were not
known, so that nobody lives on the stronger lane by one question.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from router.types import HeldLane, LaneDecision, Reason

MAX_STEPS = 100
"""Steps for which an escalation is good. Coding agents seldom take more in one turn."""

_CLIMBED = frozenset(
    {Reason.COMPLEX, Reason.FRONTIER, Reason.PLANNING, Reason.STICKY, Reason.CASCADE}
)
_BY_ITSELF = _CLIMBED | {Reason.YIELDED}
"""Reasons of a first step. Its later steps are there because it was: `sticky`."""


@dataclass(slots=True)
class _Turn:
    """A turn under way. `steps` are counted of one that went up, and stay 0 of any other."""

    held: HeldLane
    seen: float
    steps: int


class TurnLanes:
    """The lanes of turns under way, the latest at the end.

    Args:
        max_turns: over it, the turn that was seen longest ago is forgotten (300 bytes each).
        idle_s: a turn that is not seen for this long is forgotten.

    """

    def __init__(self, max_turns: int = 20_000, idle_s: float = 3600.0) -> None:
        self._max_turns = max_turns
        self._idle_s = idle_s
        self._turns: OrderedDict[Hashable, _Turn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def find(self, turn: Hashable, now: float) -> HeldLane | None:
        """Return where a turn runs; None: it is not known here, or is to be looked at anew."""
        self._forget_idle(now)
        found = self._turns.get(turn)
        return None if found is None or found.steps >= MAX_STEPS else found.held

    def note(self, turn: Hashable, decision: LaneDecision, now: float) -> None:
        """Keep where a step of a turn went."""
        self._forget_idle(now)
        reason = Reason.STICKY if decision.reason in _BY_ITSELF else decision.reason
        held = HeldLane(decision.lane.name, reason)
        self._turns[turn] = _Turn(held, now, self._steps(turn, decision))
        self._turns.move_to_end(turn)
        if len(self._turns) > self._max_turns:
            self._turns.popitem(last=False)

    def _steps(self, turn: Hashable, decision: LaneDecision) -> int:
        """Return how many steps of the turn its last escalation has paid for, this one included."""
        if decision.is_adopted or (decision.score is not None and decision.reason in _CLIMBED):
            return 1
        known = self._turns.get(turn)
        if known is None or not known.steps or known.held.lane != decision.lane.name:
            return 0
        return known.steps + 1

    def _forget_idle(self, now: float) -> None:
        while self._turns:
            turn, oldest = next(iter(self._turns.items()))
            if now - oldest.seen < self._idle_s:
                return
            del self._turns[turn]
