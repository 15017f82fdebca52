"""How complex is a conversation? The serving side: no training code, no scikit-learn."""

from classifier.artifact import DEFAULT_ARTIFACT, Artifact, ArtifactError, load_artifact
from classifier.conversation import Conversation
from classifier.features import FEATURE_NAMES, extract
from classifier.scorer import LinearScorer, Scorer

__all__ = [
    "DEFAULT_ARTIFACT",
    "FEATURE_NAMES",
    "Artifact",
    "ArtifactError",
    "Conversation",
    "LinearScorer",
    "Scorer",
    "extract",
    "load_artifact",
]
