"""Tests of experiments that hold however often they are looked at.

A fixed-horizon test states its error for one look, at a number of ratings that was chosen
before. Whoever looks every day and stops at the first p < 0.05 is wrong far more often. The
tests here are *e-processes*: wealth of somebody who starts with 1 and bets against "no
difference" at fair odds. Under that hypothesis it is a nonnegative supermartingale, and by
Ville's inequality (J. Ville, Étude critique de la notion de collectif, 1939)

    P(it is ever 1/alpha or more) <= alpha,

so it may be looked at after each rating, and the experiment stopped or prolonged at will. The
values not yet rejected at 1/alpha form a *confidence sequence*, which covers the truth at all
times at once with probability 1 - alpha.

What is assumed: under the hypothesis each rating is fair given those before it. Ratings of one
session are not independent of each other, so a session has one (`evals.experiments.report`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SMALLEST = 0.05
"""Preference beyond a half that the mixture is tuned for, unless another one is given."""

BETS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Parts of the wealth that `mean_evidence` stakes at once, each in both directions."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known after so many ratings.

    Attributes:
        n: ratings that count (ties do not).
        estimate: the share, or the mean; None: there is no rating.
        low, high: confidence sequence at `1 - alpha`.
        e_value: evidence against "no difference", now; `most`: the most that it ever was, by
            which the test decides.
        alpha: the test's error.
        decided_at: ratings after which it reached `1 / alpha`; None: it has not.

    """

    n: int
    estimate: float | None
    low: float
    high: float
    e_value: float
    most: float
    alpha: float
    decided_at: int | None = None

    @property
    def p_value(self) -> float:
        """Anytime-valid: at most x with probability x under "no difference", at any time."""
        return min(1.0, 1.0 / self.most)


def mixture_size(smallest: float) -> float:
    """The `a` of a Beta(a, a) whose standard deviation is the smallest difference of interest.

    The variance of Beta(a, a) is 1 / (4 (2a + 1)). A mixture that is as wide as the differences
    which matter finds them with the fewest ratings; any `a` is valid.
    """
    return max(1.0, (1.0 / (4.0 * smallest * smallest) - 1.0) / 2.0)


def log_preference(wins: int, n: int, a: float, null: float = 0.5) -> float:
    """Log of the e-value of `wins` of `n` against P(win) = `null`.

    The likelihood ratio mixed over Beta(a, a), both directions at once:
    B(a + wins, a + n - wins) / B(a, a) / (null^wins (1 - null)^(n - wins)). A mixture of
    likelihood ratios is a test martingale (H. Robbins, Ann. Math. Statist. 41, 1970); with a
    beta mixture: S. Howard et al., Time-uniform confidence sequences, Ann. Statist. 49, 2021;
    as an A/B test, mSPRT: R. Johari et al., Always valid inference, Oper. Res. 70, 2022.
    """
    if not 0.0 < null < 1.0:
        losses = n - wins
        is_certain = (null <= 0.0 and wins == 0) or (null >= 1.0 and losses == 0)
        return _log_beta(a + wins, a + losses) - _log_beta(a, a) if is_certain else math.inf
    fitted = _log_beta(a + wins, a + n - wins) - _log_beta(a, a)
    return fitted - wins * math.log(null) - (n - wins) * math.log1p(-null)


def preference(wins: Sequence[bool], alpha: float = 0.05, smallest: float = SMALLEST) -> Evidence:
    """Test whether one of two answers is preferred: `wins`, in order, of the treatment."""
    a, log_limit = mixture_size(smallest), -math.log(alpha)
    count, most, decided, now = 0, 0.0, None, 0.0
    for n, won in enumerate(wins, 1):
        count += won
        now = log_preference(count, n, a)
        most = max(most, now)
        if decided is None and now >= log_limit:
            decided = n
    n = len(wins)
    low, high = preference_interval(count, n, alpha, smallest)
    share = count / n if n else None
    return Evidence(n, share, low, high, _exp(now), _exp(most), alpha, decided)


def preference_interval(
    wins: int, n: int, alpha: float = 0.05, smallest: float = SMALLEST
) -> tuple[float, float]:
    """All shares that `wins` of `n` do not reject at 1/alpha: the confidence sequence at `n`.

    The e-value as a function of the null is log-convex with its least at wins / n, so the set
    is an interval; its ends are found by halving.
    """
    if n == 0:
        return 0.0, 1.0
    a, limit, share = mixture_size(smallest), -math.log(alpha), wins / n

    def is_rejected(null: float) -> bool:
        return log_preference(wins, n, a, null) >= limit

    return _end(is_rejected, share, 0.0), _end(is_rejected, share, 1.0)


def mean_evidence(
    outcomes: Sequence[tuple[bool, float]], share: float, alpha: float = 0.05
) -> Evidence:
    """Test whether the mean of an outcome in [0, 1] differs by arm.

    `outcomes`, in order, are (is of the treatment, outcome); `share` is the probability with
    which one is of the treatment. Each becomes an unbiased estimate of the difference,

        x = (y - m) (T / share - (1 - T) / (1 - share)),

    with `m` the mean of the outcomes before it, which takes variance away and no validity: it
    does not depend on this one's arm. Wealth is that of fixed bets on x, averaged over sizes and
    directions (betting: I. Waudby-Smith and A. Ramdas, Estimating means of bounded random
    variables by betting, J. R. Stat. Soc. B 86, 2024, section 4; inverse propensity under
    randomisation: I. Waudby-Smith et al., Time-uniform central limit theory, Ann. Statist. 52,
    2024). The interval is their Theorem 2's empirical Bernstein one, on x.
    """
    scaled = Differences(share)
    logs, most, decided, now = [0.0] * (2 * len(BETS)), 0.0, None, 0.0
    limit = -math.log(alpha)
    interval = _Bernstein(alpha)
    for n, (is_treated, outcome) in enumerate(outcomes, 1):
        x = scaled.next(is_treated, outcome)
        for i, bet in enumerate(BETS):
            logs[2 * i] += math.log1p(bet * x)
            logs[2 * i + 1] += math.log1p(-bet * x)
        now = _log_mean(logs)
        most = max(most, now)
        if decided is None and now >= limit:
            decided = n
        interval.note((x + 1.0) / 2.0)
    bound = scaled.bound
    low, high = (bound * (2.0 * end - 1.0) for end in interval.ends())
    mean = scaled.mean
    ends = max(-1.0, low), min(1.0, high)
    return Evidence(len(outcomes), mean, *ends, _exp(now), _exp(most), alpha, decided)


def least_outcomes(alpha: float) -> int:
    """Outcomes without which `mean_evidence` decides nothing, whatever they are.

    The largest bet grows by 1 + its part at most, and is one of all bets.
    """
    return math.ceil(math.log(2 * len(BETS) / alpha) / math.log1p(max(BETS)))


class Differences:
    """Estimates of the difference, divided by `bound`: each is within [-1, 1]."""

    def __init__(self, share: float) -> None:
        self._share = share
        self.bound = max(1.0 / share, 1.0 / (1.0 - share))
        self._outcomes, self._sum, self._n = 0.5, 0.0, 0

    def next(self, is_treated: bool, outcome: float) -> float:  # noqa: FBT001 - a reading
        centre = self._outcomes / (self._n + 1)
        weight = 1.0 / self._share if is_treated else -1.0 / (1.0 - self._share)
        x = (outcome - centre) * weight
        self._outcomes += outcome
        self._sum += x
        self._n += 1
        return x / self.bound

    @property
    def mean(self) -> float | None:
        return max(-1.0, min(1.0, self._sum / self._n)) if self._n else None


class _Bernstein:
    """The predictable plug-in empirical Bernstein confidence sequence of a mean in [0, 1]."""

    def __init__(self, alpha: float) -> None:
        self._log = math.log(2.0 / alpha)
        self._n, self._sum, self._squares = 0, 0.5, 0.25
        self._bets = self._weighted = self._spread = 0.0
        self._low, self._high = 0.0, 1.0

    def note(self, x: float) -> None:
        n = self._n + 1
        mean, variance = self._sum / n, self._squares / n
        bet = min(0.5, math.sqrt(2.0 * self._log / (variance * n * math.log1p(n))))
        self._bets += bet
        self._weighted += bet * x
        # The paper's 4 (x - mean)^2 times its psi_E, which has the 4 below the line.
        self._spread += (x - mean) ** 2 * (-math.log1p(-bet) - bet)
        self._n, self._sum = n, self._sum + x
        self._squares += (x - self._sum / (n + 1)) ** 2
        centre, radius = self._weighted / self._bets, (self._log + self._spread) / self._bets
        self._low, self._high = max(self._low, centre - radius), min(self._high, centre + radius)

    def ends(self) -> tuple[float, float]:
        return self._low, self._high


def _end(is_rejected: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where rejection begins between a value that is not rejected and the range's end."""
    if not is_rejected(outside):
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2.0
        if is_rejected(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_mean(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(x - top) for x in logs) / len(logs))


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))
