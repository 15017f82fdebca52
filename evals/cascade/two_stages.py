"""What both stages of a cascade would have done to rows whose outcomes are known.

Drives the decisions of `router.routing.escalation` and `router.routing.cascade`, in random
orders, as one ingress replica and one tenant would. The first stage is the classifier's score,
as it is when a request is routed; the second an uncertainty, from rows of other sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.cascade.deferral import Array, Judged
from router.routing.cascade import Cascade, CascadeConfig
from router.routing.escalation import EscalationController, EscalationLevel

BAND = 0.5
"""Share of the traffic that is in the band, or over it: the top half of the scores."""

PART = 0.5
ORDERS = 6
"""The first is not counted: a controller lends its first tenants half of what may be saved."""

_LANE, _TENANT = "stronger", "operator"


@dataclass(frozen=True)
class StageFigures:
    """Shares of all requests, and the mean outcome."""

    at_once: float
    moved: float
    held: float
    quality: float


def by_score(rows: Judged, share: float, rng: np.random.Generator) -> StageFigures:
    """Return what the first stage does alone with the whole share."""
    return _run(rows, None, share, np.zeros(len(rows)), rng)


def relayed(rows: Judged) -> Array:
    """Return the uncertainty that a deployment goes by, shape (rows,); fitted to nothing."""
    found: Array = -rows.features["mean_logprob"]
    return found


def two_stages(
    rows: Judged,
    uncertainty: Array,
    share: float,
    rng: np.random.Generator,
    part: float = PART,
    band: float = BAND,
) -> StageFigures:
    """Return what both stages do with one share; `uncertainty` has shape (rows,)."""
    least, threshold = thresholds(rows, uncertainty, share, part, band)
    cascade = Cascade(CascadeConfig(part, threshold), share)
    return _run(rows, cascade, share, uncertainty, rng, least)


def thresholds(
    rows: Judged, uncertainty: Array, share: float, part: float = PART, band: float = BAND
) -> tuple[float, float]:
    """Return the score where the band begins, and the uncertainty from which its rows move.

    Those are the most unsure of the band: so many as its part of the share is for.
    """
    scores = rows.features["score"]
    least = float(np.quantile(scores, 1 - band))
    inside = uncertainty[scores >= least]
    moving = min(1.0, part * share * len(rows) / len(inside))
    return least, float(np.quantile(inside, 1 - moving))


def _run(
    rows: Judged,
    cascade: Cascade | None,
    share: float,
    unsure: Array,
    rng: np.random.Generator,
    least: float = 0.0,
) -> StageFigures:
    scores = rows.features["score"]
    shipped = np.sort(scores)[::-1]
    controller = EscalationController(
        [EscalationLevel(_LANE, share)],
        lambda part: float(shipped[min(int(part * len(shipped)), len(shipped) - 1)]),
    )
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(ORDERS)])
    done = np.zeros((len(order), 4))
    for now, at in enumerate(order):
        score, view = float(scores[at]), controller.view(_TENANT, {})[_LANE]
        at_once = score >= view.threshold and view.has_budget
        held = cascade is not None and not at_once and cascade.holds(score, least, view)
        moved = held and cascade is not None and cascade.moves(float(unsure[at]), view)
        goes = at_once or moved
        controller.note(_TENANT, {}, score, _LANE if goes else None, sticky=False, now=now)
        if cascade is not None:
            cascade.note(moved=moved)
        done[now] = at_once, moved, held, (rows.strong if goes else rows.weak)[at]
    return StageFigures(*done[len(rows) :].mean(axis=0).tolist())
