"""What a decision knows of one escalation level: its threshold, scores near it, what is left."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from router.routing.quantile import QuantileWindow
from router.types import record


@dataclass(frozen=True, slots=True)
class Band:
    """Scores from `low` up to `high` lie near a threshold; by default none does."""

    low: float = inf
    high: float = -inf

    def holds(self, score: float) -> bool:
        return self.low <= score < self.high


NO_BAND = Band()


def band_around(window: QuantileWindow, share: float, width: float) -> Band:
    """Return the scores within `width` of the threshold that a `share` of the scores reaches.

    The width is one of ranks, a share of the scored requests: what exploring costs is then known
    beforehand (`epsilon * width` of the requests go up for it), whatever the scores' distribution.
    A width in scores would be a tenth of one fleet's requests and none of another's.
    """
    return Band(window.threshold(share + width), window.threshold(share - width))


def doubt_around(window: QuantileWindow, share: float) -> Band:
    """Return the scores between the thresholds of twice and half of a share.

    A score that is better only in part moves few requests further than that, and what lies in
    there is one and a half times the share: it bounds what asking for better scores costs.
    """
    return Band(window.threshold(2 * share), window.threshold(share / 2))


@record
class LevelView:
    """What a decision needs to know of one level.

    Attributes:
        threshold: scores at or above it are meant for the level.
        yield_threshold: the same while the lane yields; never lower.
        has_budget: the tenant may pay for a new escalation.
        has_sticky_budget: it may pay for another turn of an escalated conversation.
        may_adopt: it may go on here with a turn that went up at another ingress replica.
        band: scores with which a request may be sent to the other side of the threshold.

    """

    threshold: float
    yield_threshold: float
    has_budget: bool
    has_sticky_budget: bool
    may_adopt: bool = True
    band: Band = NO_BAND

    @property
    def is_yielding(self) -> bool:
        return self.yield_threshold > self.threshold
