"""The gate: a candidate has to reach 0.92 of the incumbent, and that has to be sure.

Both answered the same cases, so cases are drawn in pairs (the paired bootstrap). What is judged
is `candidate - 0.92 * incumbent` of a quotient of sums: F1 is twice the right calls over all
calls, a mean score is the sum of scores over the cases.

Draws from a few cases that all went well would show no spread at all, and "sure" would be three
cases of three. So one case more is drawn from: for the lower bound one that the candidate got
wrong and the incumbent right, for the upper bound the other way round. With nothing wrong it
then takes 38 cases to be 95 % sure of 0.92, as the rule of three says (3 / 38 = 0.079).

A candidate that does better in a case is never judged worse: the draws stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from evals.replay.intervals import Interval, resampled_sums

LEAST_RATIO = 0.92
"""Of the incumbent: the agent guide's bar for tool selection."""

MOST_RATIO = 100.0
"""A larger ratio is told as this one: the incumbent got next to nothing right."""

RESAMPLES = 2000
SIDE = 0.05
"""Chance of each bound to be wrong."""

SEED = 92


class GateVerdict(StrEnum):
    """`TOO_FEW`: the cases do not say."""

    PASS = "pass"  # noqa: S105  (no password)
    FAIL = "fail"
    TOO_FEW = "too few to tell"


@dataclass(frozen=True, slots=True)
class Paired:
    """One case of both sides: what each adds above and below the line of its quotient."""

    candidate: float
    candidate_of: float
    incumbent: float
    incumbent_of: float


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gate says.

    Attributes:
        cases: that say anything.
        candidate, incumbent: their quotients; None: nothing to divide by.
        ratio: the candidate's part of the incumbent's, with its 90 % interval: each bound is
            wrong with a chance of 5 %; None: the incumbent got nothing right.

    """

    verdict: GateVerdict
    cases: int
    candidate: float | None
    incumbent: float | None
    ratio: Interval | None
    least_ratio: float = LEAST_RATIO


def gate(pairs: Sequence[Paired], least_ratio: float = LEAST_RATIO) -> Gate:
    """Judge a candidate by its cases."""
    told = [x for x in pairs if x.candidate_of or x.incumbent_of]
    candidate = _quotient([(x.candidate, x.candidate_of) for x in told])
    incumbent = _quotient([(x.incumbent, x.incumbent_of) for x in told])
    if not told:
        return Gate(GateVerdict.TOO_FEW, 0, candidate, incumbent, None, least_ratio)
    worse = _ratios([*told, Paired(0, _usual(told), _usual(told), _usual(told))])
    better = _ratios([*told, Paired(_usual(told), _usual(told), 0, _usual(told))])
    low = float(np.quantile(worse, SIDE, method="lower"))
    high = float(np.quantile(better, 1 - SIDE, method="higher"))
    verdict = GateVerdict.TOO_FEW
    if low >= least_ratio:
        verdict = GateVerdict.PASS
    elif high < least_ratio:
        verdict = GateVerdict.FAIL
    ratio = None
    if incumbent:
        value = min(MOST_RATIO, (candidate or 0.0) / incumbent)
        ratio = Interval(value, min(low, value), max(high, value))
    return Gate(verdict, len(told), candidate, incumbent, ratio, least_ratio)


def _quotient(parts: Sequence[tuple[float, float]]) -> float | None:
    below = sum(part[1] for part in parts)
    return sum(part[0] for part in parts) / below if below else None


def _usual(told: Sequence[Paired]) -> float:
    """Weight of the case that is added: a usual one's."""
    return sum(max(x.candidate_of, x.incumbent_of) for x in told) / len(told)


def _ratios(told: Sequence[Paired]) -> NDArray[np.float64]:
    """Return the ratio of each draw, the most where the incumbent got nothing right."""
    columns = (
        [x.candidate for x in told],
        [x.candidate_of for x in told],
        [x.incumbent for x in told],
        [x.incumbent_of for x in told],
    )
    above, below, other, other_below = resampled_sums(columns, resamples=RESAMPLES, seed=SEED).T
    ours = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    theirs = np.divide(other, other_below, out=np.zeros_like(other), where=other_below > 0)
    ratios = np.divide(ours, theirs, out=np.full_like(ours, MOST_RATIO), where=theirs > 0)
    bounded: NDArray[np.float64] = np.minimum(ratios, MOST_RATIO)
    return bounded
