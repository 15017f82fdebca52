"""Whether a request that began on a weak lane moves to a stronger one before its first byte.

Two stages share one level of `router.routing.escalation`. The first is the score: over the
level's threshold a request goes up at once. Of those below, the ones in the *band* begin on the
weak lane and are held; when its first tokens are there, an *uncertainty* is made of what the lane
knows of them (`uncertainty`, or another of `evals.cascade.signals`), and those from `threshold`
on move.

One share holds both. A move is noted and paid as an escalation is, once, when the second stage
has decided: it needs the tenant's budget, and it puts the level ahead of its share, so that the
first stage's threshold rises until both together are what was wanted. That threshold gives way
by a part only (`GAIN_MIN`), so moves have a bucket of their own: `part` of the share, and at most
`SAVED_MOVES` saved up. A lane that yields has no room for borderline cases: nobody is held for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.routing.levels import LevelView

SAVED_MOVES = 8.0
"""Enough for a burst, too few to be felt in a share that is held over hundreds of requests."""

MAX_PART = 0.7
"""1 - `GAIN_MIN` of `router.routing.pressure`: what the first stage can give way by."""

LEAST_LOGPROB = -30.0
"""In nats. A token that cannot be is told as -9999, and would be all of a mean."""

RECENT = 1000
"""Scored requests, exponentially weighted, that `held` and `moved` are shares of."""


def uncertainty(logprobs: Sequence[float]) -> float | None:
    """Return minus the mean log-probability of an answer's first tokens, in nats; None: of none.

    Length-normalised, as "Chow-Average" of arXiv 2404.10136.
    """
    if not logprobs:
        return None
    return -sum(max(one, LEAST_LOGPROB) for one in logprobs) / len(logprobs)


@dataclass(frozen=True, slots=True)
class CascadeConfig:
    """How much may move, and who.

    Attributes:
        part: of the level's share that moves may take, in (0, MAX_PART].
        threshold: the uncertainty from which a request moves.

    """

    part: float
    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.part <= MAX_PART:
            raise ValueError(f"a cascade's part of the share must lie in (0, {MAX_PART}]")


class Cascade:
    """The second stage of one level with this `share`, in one ingress replica.

    Attributes:
        held, moved: shares of the scored requests, as of late.

    """

    def __init__(self, config: CascadeConfig, share: float) -> None:
        self._config = config
        self._earned = config.part * share
        self._saved = 1.0
        self.held = self.moved = 0.0

    def holds(self, score: float, least_score: float, view: LevelView) -> bool:
        """Whether a request begins on the weak lane and is held.

        It is in the band, which begins at `least_score` and ends at the level's threshold, and
        it may move.
        """
        return least_score <= score < view.threshold and self._has_room(view)

    def moves(self, unsure: float, view: LevelView) -> bool:
        """Whether a held request moves; `view` is of now: others may have spent the budget."""
        return self.is_unsure(unsure) and self._has_room(view)

    def is_unsure(self, unsure: float) -> bool:
        return unsure >= self._config.threshold

    def _has_room(self, view: LevelView) -> bool:
        return view.has_budget and not view.is_yielding and self._saved >= 1

    def note(self, *, moved: bool, held: bool = False) -> None:
        """Count one scored request, held or not, after its decision."""
        self._saved = min(SAVED_MOVES, self._saved + self._earned) - moved
        self.held += (held - self.held) / RECENT
        self.moved += (moved - self.moved) / RECENT
