"""`calibrate`: an artefact made to fit an operator's own traffic, from request logs.

Start-up thresholds come from the scores that the log shows. With labelled rows of
the operator's own lanes the probabilities are fitted anew, too.
"""

import hashlib
from dataclasses import replace

import numpy as np

from classifier.artifact import Artifact
from classifier.heads import Floats

MIN_SCORES = 1000
"""A share of 3 % rests on 30 of them: its threshold is good to about a fifth."""


def recalibrated(
    artifact: Artifact, scores: Floats, knots: tuple[Floats, Floats] | None = None
) -> Artifact:
    """The artefact with start-up quantiles of `scores`, and `knots` if they are given.

    Raises ValueError when there are fewer than `MIN_SCORES`.
    """
    if len(scores) < MIN_SCORES:
        raise ValueError(
            f"the logs hold {len(scores)} scores of {artifact.version}; "
            f"{MIN_SCORES} are needed for a threshold"
        )
    weights = artifact.weights
    if knots is not None:
        # Scores of the log are probabilities of the old map.
        raw = np.interp(scores, weights.knots_y, weights.knots_x)
        scores = np.interp(raw, *knots)
        weights = replace(weights, knots_x=knots[0], knots_y=knots[1])
    grid = np.linspace(0.0, 1.0, len(artifact.quantiles))
    quantiles = np.round(np.quantile(scores, grid), 6)
    mark = hashlib.sha256(quantiles.tobytes() + weights.knots_y.tobytes()).hexdigest()[:8]
    base = artifact.version.split("+")[0]
    note = {"scores": len(scores), "probabilities_refitted": knots is not None}
    return replace(
        artifact,
        version=f"{base}+{mark}",
        weights=weights,
        quantiles=tuple(quantiles.tolist()),
        training={**artifact.training, "recalibrated": note},
    )
