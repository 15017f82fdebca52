"""Logs of explored requests with known outcomes on both lanes."""

from __future__ import annotations

import numpy as np

from evals.off_policy.logged import Logged

SHARE, WIDTH = 0.1, 0.1


def made_log(count, seed, epsilon=0.1, lift=0.3, turns=1):
    """Return a log, and each request's chance of a reward on the weaker and the stronger lane.

    Scores are uniform, the top tenth goes up, and the next tenth is explored. Conversations of
    several turns have one score and one outcome.
    """
    rng = np.random.default_rng(seed)
    conversation = np.repeat(np.arange(-(-count // turns)), turns)[:count]
    score = rng.random(count)[conversation]
    usual, band = score >= 1 - SHARE, score >= 1 - SHARE - WIDTH
    flips = band & (rng.random(count)[conversation] < epsilon)
    propensity = np.where(band, np.where(flips, epsilon, 1 - epsilon), 1.0)
    weak = np.full(count, 0.5)
    strong = weak + lift * score
    reward = rng.random(count)[conversation] < np.where(usual ^ flips, strong, weak)
    log = Logged(
        score=score,
        went_up=usual ^ flips,
        propensity=propensity,
        reward=reward.astype(float),
        cluster=conversation,
        tenant=conversation % 3,
        other_scores=np.empty((count, 0)),
    )
    return log, weak, strong
