"""Whether a lane is so busy that ceilings with `enforce: contended` bind.

A lane is contended when `contended_from` requests or more run or wait for a slot, or while it
is saturated: it runs no more than its slots, however many want them. It ceases to be after
`CALM_S` under `LEAVE_RATIO` of that, so that a lane around its threshold does not switch a
ceiling on and off.
"""

from __future__ import annotations

LEAVE_RATIO = 0.85
CALM_S = 3.0


class Contention:
    """Whether one lane is contended for one threshold; while that is not known, it is."""

    def __init__(self, contended_from: int, demand: int | None) -> None:
        self._from = contended_from
        self._calm_since: float | None = None
        self.is_contended = demand is None or demand >= contended_from

    def observe(self, demand: int | None, *, is_saturated: bool, now: float) -> None:
        """Take the number of the lane's requests, over all ingress replicas; None: not known."""
        if demand is None or is_saturated or demand >= self._from:
            self.is_contended, self._calm_since = True, None
        elif not self.is_contended or demand >= LEAVE_RATIO * self._from:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_S:
            self.is_contended = False


def paces(contention: Contention | None) -> bool:
    """Return whether tokens per second bind: without a contention to look at they always do."""
    return contention is None or contention.is_contended
