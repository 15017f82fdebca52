"""Guard rails: when it is established that an experiment's treatment harms users or the bill.

Bad events (late, failed) are counted by day and compared with the share that is allowed. The
evidence is the likelihood ratio of shares that are several times as large, averaged over a few
such; of events whose true share is within the allowance it is a supermartingale, so the chance
that it ever reaches 1/x within the day is x at most (Ville's inequality; the mixture of
likelihood ratios is H. Robbins', Ann. Math. Statist. 41, 1970). Each day begins anew, as a lane
that was good for a week may become bad within an hour; the allowed error is divided among the
days, and so holds for the whole experiment. It may be looked at as often as one likes.

Costs are bounded by nothing, so their means are compared by the asymptotic confidence sequence
of I. Waudby-Smith et al., Time-uniform central limit theory, Ann. Statist. 52, 2024, Theorem
2.2, one for each arm at half the error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TIMES = (1.5, 2.0, 4.0, 8.0)
"""Shares over the allowed one, in multiples, that evidence is looked for of."""

MOST_RATIO = 0.95
LEAST_COSTS = 100
"""Requests of each arm before costs are compared: the sequence is asymptotic."""

TIGHT_AT = 500.0
"""Requests at which the confidence sequence of costs is about tightest."""


class Tally(NamedTuple):
    """Events of one rail and day."""

    good: int
    bad: int


class Costs(NamedTuple):
    """Costs of an arm's requests: how many, their sum, and the sum of their squares."""

    n: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Rails:
    """What the treatment may not do.

    Attributes:
        allowed: share of bad events that is allowed, by rail.
        cost_ratio: its mean cost of a request over the control's; None: whatever it costs.
        ratios: its 95th percentile of a time over the control's, by rail
            (`router.experiments.slowness`).
        error: chance with which a treatment that keeps within all of one rail is ever stopped.
        min_bad_events: with fewer in a day, nothing is stopped.
        days: that the experiment may last.

    """

    allowed: Mapping[str, float]
    cost_ratio: float | None = None
    error: float = 0.01
    min_bad_events: int = 5
    days: int = 14
    ratios: Mapping[str, float] = field(default_factory=dict)

    @property
    def are_none(self) -> bool:
        """Whether nothing that a treatment does stops it."""
        return not self.allowed and not self.ratios and self.cost_ratio is None


def log_evidence(tally: Tally, allowed: float) -> float:
    """Log of the evidence that more than the allowed share of events is bad."""
    return _mixed(tally, allowed, [min(MOST_RATIO, times * allowed) for times in TIMES])


def log_evidence_of_fewer(tally: Tally, share: float) -> float:
    """Log of the evidence that less than a share of events is bad."""
    return _mixed(tally, share, [share / times for times in TIMES])


def _mixed(tally: Tally, allowed: float, others: Iterable[float]) -> float:
    """Likelihood of other shares over that of the one that is tested, averaged over them."""
    logs = []
    for other in others:
        bad, good = math.log(other / allowed), math.log1p(-other) - math.log1p(-allowed)
        logs.append(tally.bad * bad + tally.good * good)
    top = max(logs)
    return top + math.log(sum(math.exp(x - top) for x in logs) / len(logs))


def breach(rails: Rails, day: Mapping[str, Tally], costs: Mapping[str, Costs]) -> str | None:
    """Say why the treatment has to stop; None: it is not established that it has to.

    `day`: of the treatment, today, by rail; `costs`: of both arms, from the beginning.
    """
    limit = math.log(rails.days / rails.error)
    for rail, tally in day.items():
        allowed = rails.allowed.get(rail)
        if allowed is None or tally.bad < rails.min_bad_events:
            continue
        if log_evidence(tally, allowed) >= limit:
            seen = tally.bad / (tally.good + tally.bad)
            return (
                f"{rail}: {tally.bad} of {tally.good + tally.bad} requests of a day were bad "
                f"({seen:.1%}, allowed {allowed:.1%})"
            )
    return None if rails.cost_ratio is None else _too_dear(rails.cost_ratio, rails.error, costs)


def rail_of(why: str) -> str:
    """Return the rail that a sentence of `breach` is about."""
    return why.partition(":")[0]


def _too_dear(ratio: float, error: float, costs: Mapping[str, Costs]) -> str | None:
    treatment, control = costs.get("treatment"), costs.get("control")
    if treatment is None or control is None or min(treatment.n, control.n) < LEAST_COSTS:
        return None
    least = treatment.mean - _radius(treatment, error / 2)
    most = control.mean + _radius(control, error / 2)
    if least <= ratio * most:
        return None
    return (
        f"cost: {treatment.mean:.4g} a request of the treatment's, {control.mean:.4g} of the "
        f"control's, of {treatment.n} and {control.n} (allowed {ratio:g} times as much)"
    )


def _radius(costs: Costs, error: float) -> float:
    variance = max(0.0, costs.squares / costs.n - costs.mean**2)
    # rho^2 of the paper, by its approximation of what is tightest after `TIGHT_AT` requests.
    logs = -2.0 * math.log(error)
    rho2 = (logs + math.log(logs + 1.0)) / TIGHT_AT
    scaled = costs.n * rho2 + 1.0
    inside = 2.0 * scaled / (costs.n**2 * rho2) * math.log(math.sqrt(scaled) / error)
    return math.sqrt(variance * inside)
