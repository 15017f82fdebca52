"""How fast an error budget is spent, and whether somebody has to hear of it.

A burn rate is the share of bad events over the share that is allowed: at 1 the budget is
spent exactly when its period ends. A rule needs two windows over its rate: the long one says
that enough was spent to matter, the short one (a twelfth of it) that it goes on. Rates and
windows are those of Google's SRE workbook (chapter "Alerting on SLOs"), where they spend 2,
5 and 10 % of a budget of 30 days.

A few cards have quiet hours, in which one bad request of ten is a burn rate of 100. So a rule
also needs a least number of bad events in its long window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from router.slo.windows import NONE, PERIOD, WINDOWS_S, Tally


class Severity(StrEnum):
    """Whom it concerns: somebody at once, or somebody in working hours."""

    PAGE = "page"
    TICKET = "ticket"


class Verdict(StrEnum):
    """What can be said of an objective."""

    OK = "ok"
    BURNING = "burning"
    TOO_FEW = "too few requests to tell"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """It fires while both windows burn at `rate` or faster."""

    long: str
    short: str
    rate: float
    severity: Severity


RULES = (
    BurnRule("1h", "5m", 14.4, Severity.PAGE),
    BurnRule("6h", "30m", 6.0, Severity.PAGE),
    BurnRule("3d", "6h", 1.0, Severity.TICKET),
)
"""The most urgent first."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the events of one objective say.

    Attributes:
        rule: the most urgent one that fires; None: the verdict is not `burning`.
        burn_rates: by window; 0 without events.
        budget_left_ratio: of the period's budget: 1 is all of it, less than 0 is overspent.
            None while the budget is less than one bad request: no share says anything then.

    """

    verdict: Verdict
    rule: BurnRule | None
    burn_rates: Mapping[str, float]
    budget_left_ratio: float | None


def burn_rate(tally: Tally, allowed_ratio: float) -> float:
    """Return the share of bad events over the share that is allowed; 0 without events."""
    return tally.bad / (tally.total * allowed_ratio) if tally.total else 0.0


def assess(tallies: Mapping[str, Tally], allowed_ratio: float, min_bad_events: int) -> Assessment:
    """Judge the windows of one objective, of all ingress replicas together.

    `too few requests to tell` is the verdict while the period's budget is less than one bad
    request, and where a rule would fire but for the least number of bad events.
    """
    rates = {name: burn_rate(tallies.get(name, NONE), allowed_ratio) for name in WINDOWS_S}
    over = [x for x in RULES if rates[x.long] >= x.rate and rates[x.short] >= x.rate]
    firing = next((x for x in over if tallies.get(x.long, NONE).bad >= min_bad_events), None)
    period = tallies.get(PERIOD, NONE)
    budget = period.total * allowed_ratio
    left = 1 - period.bad / budget if budget >= 1 else None
    if firing is not None:
        verdict = Verdict.BURNING
    elif over or left is None:
        verdict = Verdict.TOO_FEW
    else:
        verdict = Verdict.OK
    return Assessment(verdict, firing, rates, left)
