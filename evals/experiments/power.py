"""How many ratings an experiment takes until its test decides: exact, by its stopping time.

The state of the test of preferences is (ratings, wins): the chance of each that has not been
stopped yet is carried from rating to rating, so no figure here is simulated. The fixed-horizon
test beside it may be looked at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from evals.experiments.sequential import SMALLEST, log_preference, mixture_size

MAX_RATINGS = 10_000
"""No experiment is reckoned beyond it: a second, and more than any deployment gets."""


@dataclass(frozen=True, slots=True)
class Power:
    """What an experiment takes that looks after every rating, or every `look_every`.

    Attributes:
        preference: the share that prefer the treatment.
        fixed: ratings of the fixed-horizon test with this power, looked at once.
        decided_ratio: chance that the sequential test has decided within `horizon` ratings.
        median, enough: ratings after which it has decided with probability 0.5, and `power`;
            None: not within the horizon.
        mean: ratings on average, those that reach the horizon counted with it.

    """

    preference: float
    alpha: float
    power: float
    horizon: int
    fixed: int | None
    decided_ratio: float
    median: int | None
    enough: int | None
    mean: float


def fixed_horizon(preference: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Ratings of the two-sided z-test of a share against a half; None: there is no difference.

    The usual normal approximation (J. Fleiss, Statistical Methods for Rates and Proportions,
    chapter 2): ((z_(1 - alpha/2) sqrt(1/4) + z_power sqrt(p (1 - p))) / |p - 1/2|)^2.
    """
    if preference == 0.5:
        return None
    normal = NormalDist()
    null = normal.inv_cdf(1.0 - alpha / 2.0) * 0.5
    other = normal.inv_cdf(power) * math.sqrt(preference * (1.0 - preference))
    return math.ceil(((null + other) / (preference - 0.5)) ** 2)


def stopping(
    preference: float,
    horizon: int,
    alpha: float = 0.05,
    smallest: float = SMALLEST,
    look_every: int = 1,
) -> np.ndarray:
    """Chance that the test has decided by each number of ratings; shape (horizon + 1,)."""
    limits = _limits(horizon, alpha, smallest)
    alive = np.zeros(horizon + 2)
    alive[0] = 1.0
    decided = np.zeros(horizon + 1)
    for n in range(1, horizon + 1):
        # Wins so far: one more with the chance of a preference, else the same.
        alive[1 : n + 1] = alive[1 : n + 1] * (1.0 - preference) + alive[:n] * preference
        alive[0] *= 1.0 - preference
        limit = limits[n]
        decided[n] = decided[n - 1]
        if n % look_every == 0 and limit <= n:
            decided[n] += alive[limit : n + 1].sum() + alive[: n - limit + 1].sum()
            alive[limit : n + 1] = 0.0
            alive[: n - limit + 1] = 0.0
    return decided


def power_of(
    preference: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    smallest: float = SMALLEST,
    horizon: int | None = None,
    look_every: int = 1,
) -> Power:
    """Reckon what an experiment takes; `horizon`: ratings after which it ends undecided.

    Raises:
        ValueError: a share, an error or a power that is none.

    """
    for name, value in (("preference", preference), ("alpha", alpha), ("power", power)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must be between 0 and 1, not {value:g}")
    fixed = fixed_horizon(preference, alpha, power)
    usual = 5 * fixed if fixed is not None else MAX_RATINGS
    most = min(MAX_RATINGS, usual if horizon is None else horizon)
    decided = stopping(preference, most, alpha, smallest, look_every)
    return Power(
        preference,
        alpha,
        power,
        most,
        fixed,
        float(decided[-1]),
        _first(decided, 0.5),
        _first(decided, power),
        float(np.sum(1.0 - decided[:-1])),
    )


def _first(decided: np.ndarray, chance: float) -> int | None:
    found = np.flatnonzero(decided >= chance)
    return int(found[0]) if found.size else None


def _limits(horizon: int, alpha: float, smallest: float) -> list[int]:
    """The fewest wins of `n` at which the test decides for the treatment; `n + 1`: none does.

    One more rating never takes more than one more win: the limit moves by a step or stays.
    """
    a, log_limit = mixture_size(smallest), -math.log(alpha)
    limits, wins = [1], 1
    for n in range(1, horizon + 1):
        while wins <= n and log_preference(wins, n, a) < log_limit:
            wins += 1
        limits.append(wins)
    return limits
