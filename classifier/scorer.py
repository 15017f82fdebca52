"""From a conversation to one number: higher means more complex."""

from collections.abc import Sequence
from math import exp
from typing import Protocol

from classifier.conversation import Conversation
from classifier.features import extract

# exp overflows a float past 709.
_MAX_LOGIT = 700.0


class Scorer(Protocol):
    """What routing needs of any classifier."""

    @property
    def version(self) -> str:
        """Names the artefact; scores of different versions do not compare."""

    def score(self, conversation: Conversation) -> float:
        """Complexity in [0, 1]."""


class LinearScorer:
    """Logistic regression over the surface features, the scaler folded in.

    Args:
        weights: one a feature, in the order of `FEATURE_NAMES`.
        bias: the logit of an all-zero feature vector.

    """

    def __init__(self, version: str, weights: Sequence[float], bias: float) -> None:
        self._version = version
        self._weights = tuple(weights)
        self._bias = bias

    @property
    def version(self) -> str:
        """Name and version of the artefact."""
        return self._version

    def score(self, conversation: Conversation) -> float:
        """Complexity in [0, 1]."""
        logit = self._bias
        for weight, value in zip(self._weights, extract(conversation), strict=True):
            logit += weight * value
        return 1.0 / (1.0 + exp(-max(-_MAX_LOGIT, min(_MAX_LOGIT, logit))))
