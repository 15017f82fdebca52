"""Whether a request that began on a weak lane moves to a stronger one before its first byte.

Two stages share one level of `router.routing.escalation`. The first is the score: over the
level's threshold a request goes up at once. Of those below, the ones in the *band* begin on the
weak lane and are held; when its first tokens are there, an *uncertainty* is made of what the lane
knows of them (`evals.cascade.signals`), and those from `threshold` on move.

One share holds both. A move is noted and paid as an escalation is, once, when the second stage
has decided: it needs the tenant's budget, and it puts the level ahead of its share, so that the
first stage's threshold rises until both together are what was wanted. That threshold gives way
by a part only (`GAIN_MIN`), so moves have a bucket of their own: `part` of the share, and at most
`SAVED_MOVES` saved up.
"""

from __future__ import annotations

from dataclasses import dataclass

from router.routing.levels import LevelView

SAVED_MOVES = 8.0
"""Enough for a burst, too few to be felt in a share that is held over hundreds of requests."""

MAX_PART = 0.7
"""1 - `GAIN_MIN` of `router.routing.pressure`: what the first stage can give way by."""


@dataclass(frozen=True, slots=True)
class CascadeConfig:
    """How much may move, and who.

    Attributes:
        part: of the level's share that moves may take, in (0, MAX_PART].
        least_score: where the band begins; it ends at the level's threshold.
        threshold: the uncertainty from which a request moves.

    """

    part: float
    least_score: float
    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.part <= MAX_PART:
            raise ValueError(f"a cascade's part of the share must lie in (0, {MAX_PART}]")


class Cascade:
    """The second stage of one level with this `share`, in one ingress replica."""

    def __init__(self, config: CascadeConfig, share: float) -> None:
        self._config = config
        self._earned = config.part * share
        self._saved = 1.0

    def holds(self, score: float, view: LevelView) -> bool:
        """Whether a request begins on the weak lane and is held: in the band, and it may move."""
        is_in_band = self._config.least_score <= score < view.threshold
        return is_in_band and view.has_budget and self._saved >= 1

    def moves(self, uncertainty: float, view: LevelView) -> bool:
        """Whether a held request moves; `view` is of now: others may have spent the budget."""
        return uncertainty >= self._config.threshold and view.has_budget and self._saved >= 1

    def note(self, *, moved: bool) -> None:
        """Count one scored request, held or not, after its decision."""
        self._saved = min(SAVED_MOVES, self._saved + self._earned) - moved
