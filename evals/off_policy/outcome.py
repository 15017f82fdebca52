"""A model of the reward by score and lane, fitted without the requests that it is asked about."""

from __future__ import annotations

import numpy as np

from evals.off_policy.logged import Floats, Ints, Logged, Mask

FOLDS = 5
RIDGE = 1.0
STEPS = 25
MOST_STEP = 4.0
"""Of a coefficient in one step of Newton's method: it is far from the data at first."""


def cross_fitted(logged: Logged) -> tuple[Floats, Floats]:
    """Return the expected reward of each request on the weaker and on the stronger lane.

    A conversation's requests are in one fold, and are predicted by the others: a model that has
    seen an outcome would take part of its own error out of the estimate.
    """
    weak, strong = np.empty(len(logged)), np.empty(len(logged))
    fold = _fold_of(logged.cluster)
    for part in range(FOLDS):
        asked = fold == part
        for found, lane in ((weak, ~logged.went_up), (strong, logged.went_up)):
            found[asked] = _predicted(logged, lane & ~asked, logged.score[asked])
    return weak, strong


def _fold_of(cluster: Ints) -> Ints:
    # Conversations are numbered as they came: neighbours in time go to different folds.
    return cluster % FOLDS


def _predicted(logged: Logged, rows: Mask, score: Floats) -> Floats:
    reward = logged.reward[rows]
    if not len(reward):
        return np.full(len(score), logged.reward.mean() if len(logged) else 0.5)
    # Requests that chance has put there stand for all that it could have: weigh them so.
    weight = 1.0 / logged.propensity[rows]
    weight *= len(weight) / weight.sum()
    center, scale = logged.score[rows].mean(), max(float(logged.score[rows].std()), 1e-3)
    inputs = _inputs((logged.score[rows] - center) / scale)
    fitted = logistic(inputs, reward, weight)
    # A line that was fitted to one part of the scores says nothing far away from it.
    asked = np.clip((score - center) / scale, -5, 5)
    return _sigmoid(_inputs(asked) @ fitted)


def logistic(inputs: Floats, reward: Floats, weight: Floats) -> Floats:
    """Return coefficients, shape (inputs,), of a ridge-penalised logistic regression.

    Newton's method; the first input is the constant, which is not penalised but for a trace that
    keeps it finite where all rewards are alike. Rewards may be fractions.
    """
    penalty = np.full(inputs.shape[1], RIDGE)
    penalty[0] = 0.01
    found = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        chance = _sigmoid(inputs @ found)
        slope = inputs.T @ (weight * (reward - chance)) - penalty * found
        curve = (inputs * (weight * chance * (1 - chance))[:, None]).T @ inputs + np.diag(penalty)
        step = np.clip(np.linalg.solve(curve, slope), -MOST_STEP, MOST_STEP)
        found = found + step
        if np.abs(step).max() < 1e-8:
            break
    return found


def _inputs(score: Floats) -> Floats:
    return np.column_stack([np.ones_like(score), score])


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
