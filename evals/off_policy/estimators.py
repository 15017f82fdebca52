"""Estimates of what a policy would have brought, from requests that another one routed.

Notation: x what is known of a request, a the lane that answered, p its propensity, r the reward,
pi(a | x) the probability of that lane under the policy in question, w = pi(a | x) / p.

- **IPS** (inverse propensity score): mean of w r. Unbiased where every lane that pi may take has
  a propensity over 0 (Horvitz and Thompson 1952).
- **SNIPS** (self-normalised): sum of w r / sum of w. Slightly biased, less noisy, and within the
  rewards' range (Swaminathan and Joachims 2015).
- **DR** (doubly robust): mean of q(x, pi) + w (r - q(x, a)), with a model q of the rewards that
  was fitted on other requests. Unbiased whatever q is, as the propensities are known; the better
  q is, the less noise (Dudik, Langford and Li 2011).

What is asked is mostly the **gain**, the value of pi less that of the policy which logged: the
requests that both treat alike drop out of it, and all their noise.

**Support.** Nothing is known of a request on a lane that it could not have gone to. The share of
such requests, `unsupported`, widens the interval by the most that it could hide, since rewards lie
in [0, 1].

**Intervals.** Rewards of one conversation are added up first. The interval is that of Student's t
for a mean of those sums, with as many degrees of freedom as the few large ones among them are
worth: (sum of squares)^2 / (sum of fourth powers), and a variance as if two further explored
requests had been seen, one of either outcome (after Agresti and Coull 1998): a dozen explored
requests that all went well do not prove that every one does. `bernstein` is the alternative with a
guarantee for any number (Maurer and Pontil 2009), several times as wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf, log, sqrt

import numpy as np
from scipy import stats

from evals.off_policy.logged import Floats, Ints, Logged
from evals.off_policy.outcome import cross_fitted

LEAST_EFFECTIVE = 20.0
"""Explored requests, in effect, on whose outcome an estimate has to rest: with fewer the interval
does not cover the truth as often as it says (`make bench-off_policy`)."""


class Method(StrEnum):
    """How an estimate is made."""

    IPS = "ips"
    SNIPS = "snips"
    DR = "dr"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        requests: that it was made from.
        effective: explored requests whose outcome it rests on, counted by their weights:
            (sum of w)^2 / (sum of w^2) of those that tell the policy from the one that logged.
        largest_weight: the greatest w.
        unsupported: share of the requests that the policy sends where none could go.
        changed: share of the requests that it sends another way than usual.

    """

    value: float
    low: float
    high: float
    requests: int
    effective: float
    largest_weight: float
    unsupported: float
    changed: float

    @property
    def is_identified(self) -> bool:
        """Whether the logs say it: support for nearly all that changes."""
        return self.unsupported <= 0.05 * self.changed

    @property
    def is_enough(self) -> bool:
        return not self.changed or self.effective >= LEAST_EFFECTIVE

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def gain(
    logged: Logged,
    target_up: Floats,
    method: Method = Method.DR,
    level: float = 0.95,
    model: tuple[Floats, Floats] | None = None,
) -> Estimate:
    """Return how much more a request brings under a policy than under the one that logged.

    Args:
        logged: at least one request.
        target_up: probability of the stronger lane under the policy, shape (requests,).
        method: how.
        level: of the interval.
        model: of `cross_fitted`, where several policies are compared; else it is fitted here.

    """
    usual = logged.chance_up
    if method is Method.SNIPS:
        parts = _snips_parts(logged, target_up) - _snips_parts(logged, usual)
    elif method is Method.DR:
        model = cross_fitted(logged) if model is None else model
        parts = _dr_parts(logged, target_up, model) - _dr_parts(logged, usual, model)
    else:
        parts = (weights(logged, target_up) - 1.0) * logged.reward
    return _estimate(logged, target_up, parts, level)


def value(
    logged: Logged,
    target_up: Floats,
    method: Method = Method.DR,
    level: float = 0.95,
    model: tuple[Floats, Floats] | None = None,
) -> Estimate:
    """Return the mean reward of a request under a policy; arguments as of `gain`."""
    if method is Method.SNIPS:
        parts = _snips_parts(logged, target_up)
    elif method is Method.DR:
        parts = _dr_parts(logged, target_up, cross_fitted(logged) if model is None else model)
    else:
        parts = weights(logged, target_up) * logged.reward
    return _estimate(logged, target_up, parts, level)


def weights(logged: Logged, target_up: Floats) -> Floats:
    """Return w of each request."""
    return np.where(logged.went_up, target_up, 1.0 - target_up) / logged.propensity


def unsupported(logged: Logged, target_up: Floats) -> Floats:
    """Return with which probability a policy sends each request where it could not have gone."""
    other = np.where(logged.went_up, 1.0 - target_up, target_up)
    return np.where(logged.is_explored, 0.0, other)


def bernstein(values: Floats, width: float, level: float = 0.95) -> tuple[float, float]:
    """Return an interval for the mean of independent values within a range of this width.

    Two-sided empirical Bernstein bound (Maurer and Pontil 2009, theorem 4): it holds for any
    number of values, and is wide.
    """
    count = len(values)
    if count < 2:
        return -inf, inf
    tail = log(4.0 / (1.0 - level))
    half = sqrt(2 * float(np.var(values, ddof=1)) * tail / count)
    half += 7 * width * tail / (3 * (count - 1))
    mean = float(values.mean())
    return mean - half, mean + half


def _snips_parts(logged: Logged, target_up: Floats) -> Floats:
    """Return parts whose mean is the estimate, and whose spread is its own, linearised."""
    weight = weights(logged, target_up)
    mean_weight = float(weight.mean()) or 1.0
    estimate = float((weight * logged.reward).mean()) / mean_weight
    parts: Floats = estimate + weight / mean_weight * (logged.reward - estimate)
    return parts


def _dr_parts(logged: Logged, target_up: Floats, model: tuple[Floats, Floats]) -> Floats:
    weak, strong = model
    expected = target_up * strong + (1.0 - target_up) * weak
    of_lane = np.where(logged.went_up, strong, weak)
    parts: Floats = expected + weights(logged, target_up) * (logged.reward - of_lane)
    return parts


def _estimate(logged: Logged, target_up: Floats, parts: Floats, level: float) -> Estimate:
    weight = weights(logged, target_up)
    moved = np.where(logged.usual_up, 1.0 - target_up, target_up)
    # Those that went where the policy would have them and the usual one would not.
    telling = weight[(logged.usual_up != logged.went_up) & (weight > 0)]
    lost = float(unsupported(logged, target_up).mean())
    # Where none did, each that may yet be would weigh so much.
    awaited = 1.0 / (1.0 - logged.propensity[(moved > 0) & logged.is_explored])
    half = _half_width(parts, logged.cluster, telling if len(telling) else awaited, level)
    mean = float(parts.mean())
    return Estimate(
        value=mean,
        low=mean - half - lost,
        high=mean + half + lost,
        requests=len(logged),
        effective=effective_size(telling),
        largest_weight=float(weight.max()),
        unsupported=lost,
        changed=float(moved.mean()),
    )


def effective_size(weight: Floats) -> float:
    """Return how many equal weights are worth as much as these (Kish 1965)."""
    squares = float(np.square(weight).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def _half_width(parts: Floats, cluster: Ints, telling: Floats, level: float) -> float:
    count = len(parts)
    _, place = np.unique(cluster, return_inverse=True)
    sums = np.bincount(place, parts - parts.mean())
    squares = np.square(sums)
    total = float(squares.sum())
    # Of two outcomes that were not seen, half a reward from their mean.
    unseen = 2 * (0.5 * float(telling.mean())) ** 2 if len(telling) else 0.0
    clusters = len(sums)
    if clusters < 2:
        return inf
    if total + unseen == 0:
        return 0.0
    freedom = max(1.0, total**2 / float(np.square(squares).sum()) - 1) if total else 1.0
    variance = (total * clusters / (clusters - 1) + unseen) / count**2
    return float(stats.t.ppf(0.5 + level / 2, freedom)) * sqrt(variance)
