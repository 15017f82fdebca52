"""Logged decisions between two lanes, as columns: what was known, done, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.types import Reason

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SURE = 1.0 - 1e-9
"""A propensity from which chance had no part in a decision."""


@dataclass(frozen=True)
class Logged:
    """Requests that were routed by score to one of two lanes; a column has shape (requests,).

    Attributes:
        score: in [0, 1], by the classifier that served.
        went_up: whether the stronger lane answered.
        propensity: probability in (0, 1] of the lane that answered.
        reward: in [0, 1].
        cluster: number of the conversation; rewards within one are not independent.
        tenant: number of the tenant.
        other_scores: by other classifiers, shape (requests, classifiers); NaN where one said
            nothing of a request.

    """

    score: Floats
    went_up: Mask
    propensity: Floats
    reward: Floats
    cluster: Ints
    tenant: Ints
    other_scores: Floats

    def __post_init__(self) -> None:
        if len({len(getattr(self, spec.name)) for spec in fields(self)}) > 1:
            raise ValueError("columns differ in length")
        if len(self) and not (self.propensity.min() > 0 and self.propensity.max() <= 1):
            raise ValueError("propensities must lie in (0, 1]")
        if len(self) and not (self.reward.min() >= 0 and self.reward.max() <= 1):
            raise ValueError("rewards must lie in [0, 1]")

    def __len__(self) -> int:
        return len(self.score)

    @property
    def chance_up(self) -> Floats:
        """Probability of the stronger lane, whichever answered."""
        return np.where(self.went_up, self.propensity, 1.0 - self.propensity)

    @property
    def usual_up(self) -> Mask:
        """Where each request goes without exploration."""
        return self.chance_up > 0.5

    @property
    def is_explored(self) -> Mask:
        """Whether chance could have sent it to either lane."""
        return self.propensity < SURE

    def take(self, rows: NDArray[Any]) -> Logged:
        """Return the requests of a mask or of places."""
        return Logged(**{spec.name: getattr(self, spec.name)[rows] for spec in fields(self)})


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a log, as far as an estimate needs it.

    `other_scores`: of the same classifiers, in the same order, in each row; None: none was made.
    `reason`: of its lane. What was moved by a cascade had begun below: the score did not send it.
    """

    request_id: str
    tenant: str
    session: str | None
    lane: str | None
    score: float | None
    propensity: float | None
    other_scores: tuple[float | None, ...] = ()
    reason: str | None = None


def reward_of(thumb: int) -> float:
    """Return 1 for a thumb up, 0 for one down."""
    return 1.0 if thumb > 0 else 0.0


def logged_of(
    rows: Iterable[Row], rewards: Mapping[tuple[str, str], float], weak: str, strong: str
) -> Logged:
    """Return the requests that were scored, went to one of both lanes, and have a reward.

    Args:
        rows: in the order of time.
        rewards: in [0, 1], by tenant and request id.
        weak: the lane below the threshold.
        strong: the lane above it.

    """
    found: list[tuple[float, bool, float, float, int, int, list[float]]] = []
    clusters: dict[tuple[str, str], int] = {}
    tenants: dict[str, int] = {}
    for row in rows:
        reward = rewards.get((row.tenant, row.request_id))
        if reward is None or row.score is None or row.propensity is None:
            continue
        if row.lane not in (weak, strong):
            continue
        key = row.tenant, row.session or row.request_id
        others = [np.nan if x is None else x for x in row.other_scores]
        found.append(
            (
                row.score,
                row.lane == strong and row.reason != Reason.CASCADE,
                row.propensity,
                reward,
                clusters.setdefault(key, len(clusters)),
                tenants.setdefault(row.tenant, len(tenants)),
                others,
            )
        )
    columns = list(zip(*found, strict=True)) or [()] * len(fields(Logged))
    kinds: tuple[Any, ...] = (float, bool, float, float, np.int64, np.int64, float)
    made = [np.array(x, kind) for x, kind in zip(columns, kinds, strict=True)]
    # Without another classifier the column is empty, and still has a row a request.
    made[-1] = made[-1].reshape(len(found), -1 if made[-1].size else 0)
    return Logged(*made)
