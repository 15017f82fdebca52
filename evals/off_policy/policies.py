"""Policies to ask about: other thresholds, shares, budgets and classifiers.

Each gives the probability of the stronger lane for each logged request, shape (requests,); what is
explored now is not part of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.off_policy.logged import Floats, Logged
from router.routing.budget import Account, Limits, limits_of


@dataclass(frozen=True, slots=True)
class Change:
    """What a policy changes of the one that runs; what is None stays as it is.

    Attributes:
        share: of all scored requests, that goes up; `threshold`: the score that this share reaches.
        budget: each tenant's own share.
        classifier: the one that scores instead, by the name that it was given by.

    """

    share: float | None = None
    threshold: float | None = None
    budget: float | None = None
    classifier: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A policy with a name to show."""

    name: str
    target_up: Floats
    change: Change = Change()

    @property
    def share(self) -> float:
        """Share of the requests that it sends up."""
        return float(self.target_up.mean())


def at_threshold(score: Floats, threshold: float) -> Floats:
    """Send up what scores at or over a threshold."""
    return (score >= threshold).astype(float)


def threshold_of(score: Floats, share: float) -> float:
    """Return the score that a share of the requests reaches; infinite for none."""
    most = round(share * len(score))
    return float(np.sort(score)[-most]) if most else float("inf")


def at_share(score: Floats, share: float) -> Floats:
    """Send up the share of the requests that scores highest."""
    return at_threshold(score, threshold_of(score, share))


def by_other_score(logged: Logged, other: int) -> Floats:
    """Send up what another classifier scores highest: of those that it has scored, as many as now.

    What it has not scored goes where it goes now.
    """
    score = logged.other_scores[:, other]
    known = ~np.isnan(score)
    target = logged.usual_up.astype(float)
    now = float(target[known].mean()) if known.any() else 0.0
    target[known] = at_share(score[known], now)
    return target


def within_budgets(logged: Logged, threshold: float, budget: float) -> Floats:
    """Send up what scores over a threshold while its tenant's own bucket pays.

    As the router's buckets (`router.routing.budget`) of one ingress replica, with nothing borrowed;
    requests are in the order of time.
    """
    limits = limits_of(budget, 1)
    accounts: dict[int, Account] = {}
    return np.array(
        [
            _pays(accounts, int(tenant), limits, is_over=bool(score >= threshold))
            for tenant, score in zip(logged.tenant, logged.score, strict=True)
        ]
    )


def _pays(accounts: dict[int, Account], tenant: int, limits: Limits, *, is_over: bool) -> float:
    account = accounts.get(tenant)
    if account is None:
        account = accounts[tenant] = limits.newcomer(limits.budget, is_known=True)
    account.earn(limits)
    goes_up = is_over and account.own >= 1 and account.hard >= 1
    if goes_up:
        account.pay(limits, sticky=False)
    return float(goes_up)
