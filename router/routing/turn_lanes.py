"""On which lane the turns of agents run, so that their steps stay there.

An agent's turn is many requests: each brings the results of the tools that the last answer
called, and the whole conversation again. A step on another lane reads all of that anew. The
lane of a turn's first step is kept here, by session and by a digest of what the user said.
Each ingress replica has a table of its own, which a restart empties; for a turn that is not
in it, `router.routing.lane` decides from the request alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from router.types import HeldLane, LaneDecision, Reason

_BY_ITSELF = frozenset({Reason.COMPLEX, Reason.FRONTIER, Reason.YIELDED})
"""Reasons of a first step. Its later steps are there because it was: `sticky`."""


class TurnLanes:
    """The lanes of turns under way, the latest at the end.

    Args:
        max_turns: over it, the turn that was seen longest ago is forgotten (300 bytes each).
        idle_s: a turn that is not seen for this long is forgotten.

    """

    def __init__(self, max_turns: int = 20_000, idle_s: float = 3600.0) -> None:
        self._max_turns = max_turns
        self._idle_s = idle_s
        self._turns: OrderedDict[Hashable, tuple[float, HeldLane]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def find(self, turn: Hashable, now: float) -> HeldLane | None:
        """Return where a turn runs; None: it is not known here."""
        self._forget_idle(now)
        found = self._turns.get(turn)
        return None if found is None else found[1]

    def note(self, turn: Hashable, decision: LaneDecision, now: float) -> None:
        """Keep where a step of a turn went."""
        self._forget_idle(now)
        reason = Reason.STICKY if decision.reason in _BY_ITSELF else decision.reason
        self._turns[turn] = now, HeldLane(decision.lane.name, reason)
        self._turns.move_to_end(turn)
        if len(self._turns) > self._max_turns:
            self._turns.popitem(last=False)

    def _forget_idle(self, now: float) -> None:
        while self._turns:
            turn, (seen, _) = next(iter(self._turns.items()))
            if now - seen < self._idle_s:
                return
            del self._turns[turn]
