"""Which share of the requests should go up, from a log of explored requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evals.off_policy.estimators import LEAST_EFFECTIVE, Estimate, Method, gain
from evals.off_policy.logged import Floats, Logged
from evals.off_policy.outcome import cross_fitted
from evals.off_policy.policies import Candidate, Change, at_threshold

LEVEL = 0.95

UNIDENTIFIED = (
    "nothing is identified: each candidate moves requests that could not have gone the other way. "
    "A threshold that moved does that (leave out the days of a start), budgets that were spent, "
    "and a band of routing.exploration that is too narrow"
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one candidate would bring more than what runs, a request; `net` of what it costs."""

    candidate: Candidate
    gain: Estimate
    net: Estimate

    @property
    def is_known(self) -> bool:
        return self.gain.is_identified and self.gain.is_enough


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do and why.

    Attributes:
        rows: of all candidates.
        best: the one to change to; None: to none.
        says: a sentence.

    """

    rows: tuple[Row, ...]
    best: Row | None
    says: str


def recommended(
    logged: Logged,
    candidates: Sequence[Candidate],
    price: float = 0.0,
    level: float = LEVEL,
    method: Method = Method.DR,
) -> Recommendation:
    """Judge candidates against what runs.

    All intervals hold together with the level's confidence (Bonferroni), so that the best of many
    is not one that luck has made.

    Args:
        logged: the requests.
        candidates: what to compare.
        price: reward that one escalation has to bring for it to be worth its cost.
        level: of the intervals.
        method: of the estimates.

    """
    if not len(logged):
        return Recommendation((), None, "no request has a score, a propensity and a reward")
    model = cross_fitted(logged) if method is Method.DR else None
    each = 1.0 - (1.0 - level) / max(1, len(candidates))
    now = float(logged.chance_up.mean())
    rows = []
    for candidate in candidates:
        found = gain(logged, candidate.target_up, method, each, model)
        rows.append(Row(candidate, found, _less(found, price * (candidate.share - now))))
    known = [row for row in rows if row.is_known and row.gain.changed]
    sure = [row for row in known if row.net.low > 0]
    if not known:
        is_enough = any(row.gain.is_enough and row.gain.changed for row in rows)
        says = UNIDENTIFIED if is_enough else too_few(logged)
        return Recommendation(tuple(rows), None, says)
    if not sure:
        says = "no candidate is surely better than what runs: leave it"
        return Recommendation(tuple(rows), None, says)
    best = max(sure, key=lambda row: row.net.low)
    net = best.net
    says = (
        f"{best.candidate.name}: {net.value:+.4f} reward a request, "
        f"between {net.low:+.4f} and {net.high:+.4f}"
    )
    return Recommendation(tuple(rows), best, says)


def too_few(logged: Logged) -> str:
    """Say what the log lacks for an estimate."""
    explored = logged.is_explored
    went = int((explored & (logged.usual_up != logged.went_up)).sum())
    if not explored.any():
        return (
            "no request was explored: set routing.exploration in the fleet file, and come back "
            "when there is feedback on explored requests"
        )
    return (
        f"too few logs: {went} of {len(logged)} requests with a reward were sent the other way; "
        f"{LEAST_EFFECTIVE:g} are needed between the threshold that runs and another"
    )


def thresholds_around(logged: Logged, scored: Floats, count: int = 10) -> list[Candidate]:
    """Return thresholds over the scores that were explored, evenly by rank, as candidates.

    `scored`: scores of all requests, with a reward or without, shape (scored,).
    """
    explored = np.sort(logged.score[logged.is_explored])
    if not len(explored):
        return []
    at = np.unique(np.linspace(0, len(explored) - 1, count).round().astype(int))
    return [threshold_candidate(logged, scored, float(x)) for x in np.unique(explored[at])]


def threshold_candidate(logged: Logged, scored: Floats, threshold: float) -> Candidate:
    """Return the policy that sends up what reaches a threshold, named by its share of all."""
    share = float((scored >= threshold).mean())
    name = f"share {share:.2%} (threshold {threshold:.4f})"
    change = Change(share=share, threshold=threshold)
    return Candidate(name, at_threshold(logged.score, threshold), change)


def _less(found: Estimate, cost: float) -> Estimate:
    return replace(found, value=found.value - cost, low=found.low - cost, high=found.high - cost)
