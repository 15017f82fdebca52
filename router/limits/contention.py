"""Whether a lane is so busy that ceilings with `enforce: contended` bind.

It is from `contended_from` requests on that run or wait for a slot, or while the lane is
saturated: a lane runs no more than its slots, however many want them. It ceases to be after
`calm_s` under `leave_ratio` of that, so that a lane around its mark does not switch a
ceiling on and off.
"""

from __future__ import annotations

LEAVE_RATIO = 0.85
CALM_S = 3.0


class Contention:
    """One lane and one mark. What is not known counts as contended."""

    def __init__(self, contended_from: int, demand: int | None) -> None:
        self._from = contended_from
        self._calm_since: float | None = None
        self.is_contended = demand is None or demand >= contended_from

    def observe(self, demand: int | None, *, is_saturated: bool, now: float) -> None:
        """Take the lane's requests, over all ingress replicas; None: not known."""
        if demand is None or is_saturated or demand >= self._from:
            self.is_contended, self._calm_since = True, None
        elif not self.is_contended or demand >= LEAVE_RATIO * self._from:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_S:
            self.is_contended = False


def paces(contention: Contention | None) -> bool:
    """Whether tokens per second bind: they always do where nothing is to contend for."""
    return contention is None or contention.is_contended
